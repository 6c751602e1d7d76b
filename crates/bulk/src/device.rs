//! The device's side (spec, 6).

use alloc::{collections::VecDeque, vec::Vec};

use inband_usb::Direction;

use crate::{
    chunks::ChunkSet,
    stream::{Part, Stream},
    wire::{
        HEADER_LENGTH, Header, Kind, OFFER_LENGTHS, Outcome, PROTOCOL, VERSION, WHOLE_LENGTH, are_chunks,
        message, message_length, parse_whole, pieces,
    },
};

/// What has come from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// An OFFER has begun, of a body with so many bytes: a session may begin. [`Device::end`] refuses it, before a byte of it is looked
    /// at.
    Package {
        /// Bytes of the package up to its first member.
        length: u32,
    },
    /// Bytes of the package, the next ones.
    Head(&'a [u8]),
    /// The OFFER is complete. [`Device::describe`] and [`Device::ask`], or [`Device::end`], are due.
    HeadEnd,
    /// A file of so many bytes is announced; its pieces are described already. A session may begin; then [`Device::ask`] is due, for all of
    /// them, or [`Device::end`].
    File {
        /// Bytes of the file.
        length: u64,
    },
    /// Bytes of a chunk that was asked for.
    Chunk {
        /// Its number.
        number: u32,
        /// Offset of the bytes in the chunk as it is sent.
        offset: u32,
        /// At least one.
        bytes: &'a [u8],
        /// The chunk ends with them.
        complete: bool,
    },
    /// The last chunk of the round has come. [`Device::ask`] or [`Device::end`] is due.
    RoundEnd,
    /// The host broke the protocol. The exchange, if there was one, is over, and the host will be told; so is the session.
    Broken(Violation),
}

/// How a host breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A version that is not spoken here.
    #[error("protocol version {0}; {VERSION} is spoken here")]
    Version(u8),
    /// A reserved byte of a header, or the number of a message that has none, is not zero.
    #[error("a reserved field of {0} is not zero")]
    Reserved(Kind),
    /// An OFFER, a WHOLE or a file that has a length which no such thing has.
    #[error("{0} with a length of {1} bytes")]
    Length(Kind, u64),
    /// Something else than the chunk that has to come next, with the length that it has.
    #[error("something else came than chunk {0}")]
    NotTheChunk(u32),
    /// A message is not filled up with zeros.
    #[error("the filling behind a message is not zero")]
    Filling,
    /// A transfer ended inside a unit.
    #[error("a transfer that is not made of whole units")]
    ShortTransfer,
}

/// What the owner has to do with the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take back all transfers of that direction, before another request of the host's is answered: behind GETSTATUS it may begin the next
    /// exchange, which none of these reads may swallow. What comes home with reads is given to [`Device::handle_bytes`] or dropped, by whole
    /// transfers.
    TakeBack(Direction),
    /// Send this, as one transfer.
    Send(Vec<u8>),
}

/// The owner asked for what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(&'static str);

#[derive(Clone, Debug)]
enum State {
    /// Waits for an OFFER or a WHOLE.
    Idle,
    /// Takes an OFFER's body.
    Offer,
    /// Takes a WHOLE's body, of which so many bytes are there.
    Whole([u8; WHOLE_LENGTH], usize),
    /// The host waits for a NEED or a RESULT.
    Owing,
    /// Takes the chunks of a round: this one is next.
    Chunks(u32),
}

/// The device's side of the stream, without I/O and without a clock.
///
/// **Inputs.** [`handle_bytes`](Self::handle_bytes) takes what has come on the OUT endpoint, in portions of any length, and tells what it is.
/// [`handle_end_of_read`](Self::handle_end_of_read) is for the end of each read. [`reset`](Self::reset) is for what empties the endpoints: bus
/// reset, unplug, SET_INTERFACE.
///
/// **Commands** of the owner: [`set_session`](Self::set_session), [`describe`](Self::describe), [`ask`](Self::ask),
/// [`end`](Self::end).
///
/// **Outputs.** [`poll_action`](Self::poll_action), behind every input and command, until there is none; [`expected`](Self::expected) says how
/// much may be read.
///
/// The device keeps no data: the bytes of a package and of chunks are handed on as they come. It knows their number and their lengths,
/// 64 KiB of them at most. Time is the session's: nothing of the host's is late while [`is_owing`](Self::is_owing).
#[derive(Clone, Debug)]
pub struct Device {
    stream: Stream,
    state: State,
    /// Of the exchange under way, or of the last one.
    exchange: u32,
    session: u32,
    /// Lengths of the chunks as they are sent.
    lengths: Vec<u32>,
    /// What was asked for so far.
    asked: ChunkSet,
    /// What is asked for in this round.
    round: ChunkSet,
    rounds: u32,
    /// Bytes that are certain to come, while a message or a round comes.
    left: u64,
    actions: VecDeque<Action>,
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl Device {
    /// A device that has just been configured.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stream: Stream::new(),
            state: State::Idle,
            exchange: 0,
            session: 0,
            lengths: Vec::new(),
            asked: ChunkSet::default(),
            round: ChunkSet::default(),
            rounds: 0,
            left: 0,
            actions: VecDeque::new(),
        }
    }

    // Getters.

    /// Whether no exchange is under way.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether the host waits for [`ask`](Self::ask) or [`end`](Self::end).
    #[must_use]
    pub const fn is_owing(&self) -> bool {
        matches!(self.state, State::Owing)
    }

    /// Bytes that are certain to come before the device has anything to say. Reads that ask for more than that, all of them together, may
    /// never be filled; those that are under way count. Behind the end of a read it is a number of whole units.
    #[must_use]
    pub fn expected(&self) -> u64 {
        match self.state {
            State::Idle => self.stream.unit_left() as u64,
            State::Owing => 0,
            State::Offer | State::Whole(..) | State::Chunks(_) => self.left,
        }
    }

    /// How many chunks there are, once that is known.
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        self.asked.count()
    }

    // Inputs.

    /// Takes from the front of the input what makes one thing to be told. `None` if there is none: then all of the input was taken, or the
    /// rest of it is not due before the owner has answered ([`is_owing`](Self::is_owing)) and is to be given again then.
    pub fn handle_bytes<'a>(&mut self, input: &mut &'a [u8]) -> Option<Incoming<'a>> {
        loop {
            if self.is_owing() {
                return None;
            }
            let before = input.len();
            let part = self.stream.next(input);
            self.left = self.left.saturating_sub((before - input.len()) as u64);
            let incoming = match part? {
                Part::Header(header) => self.header(header),
                Part::Body { offset, bytes } => self.body(offset, bytes),
                Part::End => self.message_end(),
                Part::BadFilling => Some(self.broken(Violation::Filling)),
                Part::Dropped => None,
            };
            if incoming.is_some() {
                return incoming;
            }
        }
    }

    /// A read came home, and all that it brought was given to [`handle_bytes`](Self::handle_bytes). If that ends inside a unit, the host has sent
    /// a short packet, which breaks the protocol in an exchange; the next packet begins a unit. Else all that follows would be read askew, and
    /// no exchange ever begin again.
    pub fn handle_end_of_read(&mut self) -> Option<Incoming<'static>> {
        if self.stream.is_between_units() {
            return None;
        }
        let broken = (!self.is_idle()).then(|| self.broken(Violation::ShortTransfer));
        self.stream = Stream::new();
        broken
    }

    /// The endpoints begin anew: nothing of what was is to be sent or comes. Ends an exchange without a word.
    ///
    /// A backend gives transfers back before it says why. Behind one that came home as disabled none is submitted until the backend says
    /// that the endpoints may be used again: it would be one for the exchange that is over, and take what begins the next.
    pub fn reset(&mut self) {
        *self = Self::new();
        self.actions.extend([Direction::Out, Direction::In].map(Action::TakeBack));
    }

    // Commands.

    /// Says which session the exchange under way is; 0 until it is said.
    pub fn set_session(&mut self, session: u32) {
        self.session = session;
    }

    /// Says how long the chunks of the package are, as they are sent. Once, behind [`Incoming::HeadEnd`].
    ///
    /// # Errors
    /// Any other time, and more chunks than there can be, or such as cannot be.
    pub fn describe(&mut self, lengths: Vec<u32>) -> Result<(), Misuse> {
        if !self.is_owing() || !self.lengths.is_empty() {
            return Err(Misuse("the chunks are described once, when the OFFER is complete"));
        }
        if !are_chunks(&lengths) {
            return Err(Misuse("chunks that there cannot be"));
        }
        // Checked, so that it fits.
        self.asked = ChunkSet::new(lengths.len() as u32);
        self.lengths = lengths;
        Ok(())
    }

    /// Asks the host for these chunks. If there are any, they are what comes next; if there are none, which only the first time can be, another
    /// answer is due.
    ///
    /// # Errors
    /// Where no answer is due; chunks that were asked for before; none, but for the first time; a set of another number of chunks.
    pub fn ask(&mut self, wanted: &ChunkSet) -> Result<(), Misuse> {
        if !self.is_owing() {
            return Err(Misuse("the host waits for no answer"));
        }
        if wanted.count() != self.asked.count() || wanted.intersects(&self.asked) {
            return Err(Misuse("a chunk is asked for once"));
        }
        let need = message(Kind::Need, self.exchange, self.rounds, &wanted.to_need(&self.lengths));
        match wanted.next(0) {
            Some(first) => {
                self.state = State::Chunks(first);
                self.left = wanted.message_bytes(&self.lengths);
                self.asked.extend(wanted);
                self.round = wanted.clone();
            }
            None if self.rounds == 0 => {}
            None => return Err(Misuse("only the first NEED asks for nothing")),
        }
        self.rounds = self.rounds.saturating_add(1);
        self.actions.push_back(Action::Send(need));
        Ok(())
    }

    /// Ends the exchange under way, if there is one, and tells the host so; `result` is a number of docs/spec/results.md.
    pub fn end(&mut self, result: u16) {
        if !self.is_idle() {
            self.finish(result);
        }
    }

    // Outputs.

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn length(&self, chunk: u32) -> u32 {
        self.lengths.get(chunk as usize).copied().unwrap_or(0)
    }

    fn header<'a>(&mut self, header: Option<Header>) -> Option<Incoming<'a>> {
        match (&self.state, header) {
            (State::Idle, Some(header)) => match Kind::from_number(header.kind) {
                Some(kind @ (Kind::Offer | Kind::Whole)) => self.begin(kind, &header),
                Some(Kind::Chunk | Kind::Need | Kind::Result) | None => {
                    self.stream.drop_unit();
                    None
                }
            },
            (State::Idle, None) => {
                self.stream.drop_unit();
                None
            }
            (State::Chunks(next), header) => {
                let due = Header::new(Kind::Chunk, self.exchange, *next, self.length(*next));
                if header == Some(due) { None } else { Some(self.broken(Violation::NotTheChunk(*next))) }
            }
            // A header never comes before the message that it would stand in is over.
            (State::Offer | State::Whole(..) | State::Owing, _) => None,
        }
    }

    /// A message that begins an exchange.
    fn begin<'a>(&mut self, kind: Kind, header: &Header) -> Option<Incoming<'a>> {
        // What the host has not read by now is of an exchange that is over, and so is what nobody has sent yet. Reads of that
        // exchange still have to be taken back: they may ask for more than this one brings.
        let mut actions = core::mem::take(&mut self.actions);
        actions.retain(|action| *action == Action::TakeBack(Direction::Out));
        actions.push_back(Action::TakeBack(Direction::In));
        *self = Self { stream: self.stream.clone(), exchange: header.exchange, actions, ..Self::new() };
        let length_fits = match kind {
            Kind::Offer => OFFER_LENGTHS.contains(&header.length),
            Kind::Whole | Kind::Chunk | Kind::Need | Kind::Result => header.length == WHOLE_LENGTH as u32,
        };
        let violation = if header.version != VERSION {
            Violation::Version(header.version)
        } else if !header.clean || header.number != 0 {
            Violation::Reserved(kind)
        } else if !length_fits {
            Violation::Length(kind, header.length.into())
        } else {
            self.left = message_length(header.length) - HEADER_LENGTH as u64;
            if kind == Kind::Offer {
                self.state = State::Offer;
                return Some(Incoming::Package { length: header.length });
            }
            self.state = State::Whole([0; WHOLE_LENGTH], 0);
            return None;
        };
        Some(self.broken(violation))
    }

    fn body<'a>(&mut self, offset: u32, bytes: &'a [u8]) -> Option<Incoming<'a>> {
        match &mut self.state {
            State::Offer => Some(Incoming::Head(bytes)),
            State::Whole(body, have) => {
                // The header said that there are no more.
                body[*have..*have + bytes.len()].copy_from_slice(bytes);
                *have += bytes.len();
                None
            }
            State::Chunks(next) => {
                let number = *next;
                let complete = u64::from(offset) + bytes.len() as u64 == u64::from(self.length(number));
                Some(Incoming::Chunk { number, offset, bytes, complete })
            }
            State::Idle | State::Owing => None,
        }
    }

    fn message_end<'a>(&mut self) -> Option<Incoming<'a>> {
        match self.state {
            State::Offer => {
                self.state = State::Owing;
                Some(Incoming::HeadEnd)
            }
            State::Whole(body, _) => match parse_whole(&body) {
                Some(length) => {
                    self.state = State::Owing;
                    self.lengths = pieces(length);
                    self.asked = ChunkSet::new(u32::try_from(self.lengths.len()).unwrap_or(u32::MAX));
                    Some(Incoming::File { length })
                }
                None => Some(self.broken(Violation::Length(Kind::Whole, u64::from_le_bytes(body)))),
            },
            State::Chunks(next) => match self.round.next(next + 1) {
                Some(next) => {
                    self.state = State::Chunks(next);
                    None
                }
                None => {
                    self.state = State::Owing;
                    Some(Incoming::RoundEnd)
                }
            },
            State::Idle | State::Owing => None,
        }
    }

    fn broken<'a>(&mut self, violation: Violation) -> Incoming<'a> {
        self.finish(PROTOCOL);
        Incoming::Broken(violation)
    }

    /// The exchange is over; what still comes of it is dropped.
    fn finish(&mut self, result: u16) {
        let outcome = Outcome { result, session: self.session };
        let result = message(Kind::Result, self.exchange, 0, &outcome.to_bytes());
        self.state = State::Idle;
        self.stream.drop_unit();
        // A NEED that the host has not read yet stays: it belongs before the RESULT.
        self.actions.extend([Action::TakeBack(Direction::Out), Action::Send(result)]);
    }
}
