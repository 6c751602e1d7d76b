//! The host's side (spec, 7). **The device is not trusted**: what it asks for is checked to the bit, and what it drops or keeps back is
//! bounded by [`Limits`].

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    chunks::{ChunkSet, NeedError},
    stream::{Part, Stream},
    wire::{
        HEADER_LENGTH, Header, Kind, MAX_FILE_LENGTH, NEED_LENGTH, OFFER_LENGTHS, OK, Outcome, RESULT_LENGTH,
        UNIT, VERSION, are_chunks, blank, message, message_length, pieces,
    },
};

/// Units in a row that are none of this exchange, at most: what an earlier one has left behind is less.
const MAX_DROPPED: u32 = 64;

/// How much is under way, and how long a device may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes given out whose transfers have not ended, at most; a single message may be longer.
    pub under_way: u64,
    /// Most bytes of a transfer of the OFFER's: a multiple of 512. A chunk is one transfer.
    pub transfer: usize,
    /// From the beginning to the last byte of a round: all rounds together, however slow a device that always takes a little is.
    pub sending: Duration,
    /// From the last byte of the OFFER to the first NEED.
    pub need: Duration,
    /// From the last byte of a round to the next NEED, or the RESULT.
    pub result: Duration,
}

impl Default for Limits {
    /// 1 MiB, 64 KiB, 2 h (as for all blocks of a download), 120 s, 10 min.
    fn default() -> Self {
        Self {
            under_way: 1 << 20,
            transfer: 1 << 16,
            sending: Duration::from_secs(7200),
            need: Duration::from_secs(120),
            result: Duration::from_secs(600),
        }
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Make this transfer to the device.
    Submit(Vec<u8>),
    /// Put the bytes of this chunk, as they are sent, into the message from [`HEADER_LENGTH`] on, and make the transfer to the device.
    Chunk {
        /// Its number.
        number: u32,
        /// How long it is, in bytes.
        length: u32,
        /// The message.
        message: Vec<u8>,
    },
    /// Wait for the end of a transfer, either way, or for [`Host::poll_timeout`].
    Wait,
    /// The exchange is over. The transfers that are under way are to be taken back.
    Over(Outcome),
}

/// Why an exchange ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device broke the protocol.
    #[error("the device broke the bulk protocol: {0}")]
    Misbehaved(Misbehaviour),
    /// The device says nothing.
    #[error("the device did not answer in time")]
    TooSlow,
    /// An earlier call has failed, or what was given cannot be: the caller is wrong.
    #[error("{0}")]
    Misuse(&'static str),
}

/// How a device breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// A message that is not due.
    #[error("{0} at the wrong time")]
    Untimely(Kind),
    /// A version that was not offered.
    #[error("a message of version {0}")]
    Version(u8),
    /// A reserved field, or the number of a message that has none or another one.
    #[error("{0} with a reserved field or a number that is wrong")]
    Field(Kind),
    /// A body of another length than that message has.
    #[error("{0} with {1} bytes")]
    Length(Kind, u32),
    /// The filling is not zero.
    #[error("the filling behind a message is not zero")]
    Filling,
    /// What it asks for.
    #[error("in what it asks for, {0}")]
    Need(NeedError),
    /// It asks for a chunk a second time.
    #[error("it asks for a chunk twice")]
    Twice,
    /// It asks for nothing, and not for the first time.
    #[error("it asks for nothing")]
    Nothing,
    /// It asks for a part of a file that it needs all of.
    #[error("it asks for a part of a file without an index")]
    Part,
    /// RESULT with a result that is none.
    #[error("a result that is none")]
    NoResult,
    /// It sends what is none of this exchange.
    #[error("nothing that it sends belongs to this exchange")]
    Foreign,
}

#[derive(Clone, Debug)]
enum State {
    /// The message that begins the exchange is given out, up to here.
    Offering(Vec<u8>, usize),
    /// NEED or RESULT is due.
    Waiting,
    /// The chunks of this round are given out, from this one on.
    Sending(ChunkSet, u32),
    Over(Outcome),
    Failed(Error),
}

/// The host's side of one exchange, without I/O.
///
/// Ask [`poll_next`](Self::poll_next) until it says [`Next::Wait`], and again behind each input. **Inputs**: [`handle_sent`](Self::handle_sent) when a
/// transfer to the device has ended, [`handle_received`](Self::handle_received) with what one from the device has brought. Keep reads of
/// [`expected`](Self::expected) bytes posted, all of them together, and no more: others may never be filled.
#[derive(Clone, Debug)]
pub struct Host {
    exchange: u32,
    limits: Limits,
    state: State,
    lengths: Vec<u32>,
    /// They are the pieces of a file, of which the device needs all.
    whole: bool,
    /// All that was asked for.
    asked: ChunkSet,
    rounds: u32,
    /// Bytes given out, and of these the ones whose transfers have ended.
    given: u64,
    sent: u64,
    /// Bytes that all that was asked for makes, with the message that began.
    total: u64,
    begun: Duration,
    /// When the device last took something, or asked for something: what else it sends gains it no time.
    since: Duration,
    stream: Stream,
    /// The message that comes in.
    header: Option<Header>,
    body: Vec<u8>,
    /// Bytes left of it, behind what has come.
    left: usize,
    dropped: u32,
}

impl Host {
    /// Offers a package: `head` is what stands in front of its first member's tar header, `lengths` are those of its chunks as they are
    /// sent, across all members in their order.
    ///
    /// # Errors
    /// [`Error::Misuse`] for what is no package's.
    pub fn offer(
        now: Duration,
        limits: Limits,
        exchange: u32,
        head: &[u8],
        lengths: Vec<u32>,
    ) -> Result<Self, Error> {
        let offers = u32::try_from(head.len()).is_ok_and(|length| OFFER_LENGTHS.contains(&length));
        if !offers || !are_chunks(&lengths) {
            return Err(Error::Misuse("no package begins so, or has such chunks"));
        }
        Self::begin(now, limits, exchange, message(Kind::Offer, exchange, 0, head), lengths)
    }

    /// Sends a file that has no index, of so many bytes. Its chunks are pieces of 64 KiB.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an empty file, and one that is too long.
    pub fn whole(now: Duration, limits: Limits, exchange: u32, length: u64) -> Result<Self, Error> {
        if !(1..=MAX_FILE_LENGTH).contains(&length) {
            return Err(Error::Misuse("a file has 1 byte to 1 GiB"));
        }
        let first = message(Kind::Whole, exchange, 0, &length.to_le_bytes());
        let host = Self::begin(now, limits, exchange, first, pieces(length))?;
        Ok(Self { whole: true, ..host })
    }

    fn begin(
        now: Duration,
        limits: Limits,
        exchange: u32,
        first: Vec<u8>,
        lengths: Vec<u32>,
    ) -> Result<Self, Error> {
        if limits.transfer == 0 || !limits.transfer.is_multiple_of(UNIT) {
            return Err(Error::Misuse("a transfer is made of whole units"));
        }
        Ok(Self {
            exchange,
            limits,
            total: first.len() as u64,
            state: State::Offering(first, 0),
            // Checked, so that it fits.
            asked: ChunkSet::new(lengths.len() as u32),
            lengths,
            whole: false,
            rounds: 0,
            given: 0,
            sent: 0,
            begun: now,
            since: now,
            stream: Stream::new(),
            header: None,
            body: Vec::new(),
            left: 0,
            dropped: 0,
        })
    }

    // Getters.

    /// Bytes that the device has taken, headers and filling included.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes to be sent, as far as the device has asked by now.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// NEEDs that have come.
    #[must_use]
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// The chunks that the device has asked for by now; `None` before it has.
    #[must_use]
    pub const fn asked(&self) -> Option<&ChunkSet> {
        if self.rounds == 0 { None } else { Some(&self.asked) }
    }

    /// Bytes that reads from the device may ask for, those that are posted included: the rest of a message, or one unit where none has
    /// begun. None once the exchange is over.
    #[must_use]
    pub const fn expected(&self) -> usize {
        match &self.state {
            State::Over(_) | State::Failed(_) => 0,
            State::Offering(..) | State::Waiting | State::Sending(..) => match self.header {
                Some(_) => self.left,
                None => self.stream.unit_left(),
            },
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if a time is running: a moment, not a distance. How long one transfer may take is
    /// for who makes it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let sent = self.begun.saturating_add(self.limits.sending);
        match self.state {
            State::Offering(..) | State::Sending(..) => Some(sent),
            State::Waiting => {
                let limit = if self.rounds == 0 { self.limits.need } else { self.limits.result };
                let answered = self.since.saturating_add(limit);
                Some(if self.sent < self.given { answered.min(sent) } else { answered })
            }
            State::Over(_) | State::Failed(_) => None,
        }
    }

    // Outputs.

    /// What to do next.
    ///
    /// # Errors
    /// Why the exchange has failed.
    pub fn poll_next(&mut self) -> Result<Next, Error> {
        let under_way = self.given.saturating_sub(self.sent);
        let full = |length: u64| under_way > 0 && under_way.saturating_add(length) > self.limits.under_way;
        match &mut self.state {
            State::Offering(message, at) => {
                let length = self.limits.transfer.min(message.len() - *at);
                if full(length as u64) {
                    return Ok(Next::Wait);
                }
                let part = message[*at..*at + length].to_vec();
                *at += length;
                self.given += length as u64;
                if *at == message.len() {
                    self.state = State::Waiting;
                }
                Ok(Next::Submit(part))
            }
            State::Sending(round, number) => {
                let number = *number;
                // Asked for, so that there is one.
                let length = self.lengths.get(number as usize).copied().unwrap_or(0);
                if full(message_length(length)) {
                    return Ok(Next::Wait);
                }
                self.given += message_length(length);
                self.state = match round.next(number + 1) {
                    Some(next) => State::Sending(core::mem::take(round), next),
                    None => State::Waiting,
                };
                let message = blank(&Header::new(Kind::Chunk, self.exchange, number, length));
                Ok(Next::Chunk { number, length, message })
            }
            State::Waiting => Ok(Next::Wait),
            State::Over(outcome) => Ok(Next::Over(*outcome)),
            State::Failed(error) => Err(*error),
        }
    }

    // Inputs.

    /// A transfer to the device has ended, with so many bytes that it took.
    pub fn handle_sent(&mut self, now: Duration, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64).min(self.given);
        self.since = now;
    }

    /// Takes what a transfer from the device has brought, in portions of any length.
    ///
    /// # Errors
    /// [`Error::Misbehaved`]; the exchange has failed then. What comes behind a RESULT is not looked at.
    pub fn handle_received(&mut self, now: Duration, mut bytes: &[u8]) -> Result<(), Error> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        while !matches!(self.state, State::Over(_)) {
            let before = bytes.len();
            let part = self.stream.next(&mut bytes);
            self.left = self.left.saturating_sub(before - bytes.len());
            let Some(part) = part else { break };
            self.part(now, part).map_err(|misbehaviour| self.fail(Error::Misbehaved(misbehaviour)))?;
        }
        Ok(())
    }

    /// Fails the exchange if it is out of time.
    ///
    /// # Errors
    /// [`Error::TooSlow`].
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), Error> {
        match self.poll_timeout() {
            Some(due) if due <= now => Err(self.fail(Error::TooSlow)),
            Some(_) | None => Ok(()),
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.state = State::Failed(error);
        error
    }

    fn part(&mut self, now: Duration, part: Part<'_>) -> Result<(), Misbehaviour> {
        match part {
            Part::Header(header) => match header.and_then(|header| Some((self.own(&header)?, header))) {
                Some((kind, header)) => {
                    self.check(kind, &header)?;
                    self.dropped = 0;
                    self.body.clear();
                    // Checked: a few units.
                    self.left = message_length(header.length) as usize - HEADER_LENGTH;
                    self.header = Some(header);
                    Ok(())
                }
                None => {
                    self.stream.drop_unit();
                    self.dropped += 1;
                    if self.dropped > MAX_DROPPED { Err(Misbehaviour::Foreign) } else { Ok(()) }
                }
            },
            Part::Body { bytes, .. } => {
                self.body.extend_from_slice(bytes);
                Ok(())
            }
            Part::End => match self.header.take() {
                Some(header) if header.kind == Kind::Need.number() => self.need(now),
                Some(_) => self.result(),
                None => Ok(()),
            },
            Part::BadFilling => Err(Misbehaviour::Filling),
            Part::Dropped => Ok(()),
        }
    }

    /// What a message is, if it is one of this exchange.
    fn own(&self, header: &Header) -> Option<Kind> {
        let kind = Kind::from_number(header.kind)?;
        let from_device = matches!(kind, Kind::Need | Kind::Result);
        (from_device && header.exchange == self.exchange).then_some(kind)
    }

    fn check(&self, kind: Kind, header: &Header) -> Result<(), Misbehaviour> {
        let (number, length) = match kind {
            // It tells why the version was refused in any version.
            Kind::Result => (0, RESULT_LENGTH),
            Kind::Need | Kind::Offer | Kind::Whole | Kind::Chunk => {
                if header.version != VERSION {
                    return Err(Misbehaviour::Version(header.version));
                }
                if !matches!(self.state, State::Waiting) {
                    return Err(Misbehaviour::Untimely(kind));
                }
                (self.rounds, NEED_LENGTH + self.lengths.len().div_ceil(8))
            }
        };
        if !header.clean || header.number != number {
            return Err(Misbehaviour::Field(kind));
        }
        if usize::try_from(header.length) != Ok(length) {
            return Err(Misbehaviour::Length(kind, header.length));
        }
        Ok(())
    }

    fn need(&mut self, now: Duration) -> Result<(), Misbehaviour> {
        let wanted = ChunkSet::from_need(&self.body, &self.lengths).map_err(Misbehaviour::Need)?;
        if wanted.intersects(&self.asked) {
            return Err(Misbehaviour::Twice);
        }
        if self.whole && wanted.len() != wanted.count() {
            return Err(Misbehaviour::Part);
        }
        match wanted.next(0) {
            Some(first) => {
                self.total += wanted.message_bytes(&self.lengths);
                self.asked.extend(&wanted);
                self.state = State::Sending(wanted, first);
            }
            None if self.rounds == 0 => {}
            None => return Err(Misbehaviour::Nothing),
        }
        self.rounds += 1;
        self.since = now;
        Ok(())
    }

    fn result(&mut self) -> Result<(), Misbehaviour> {
        let mut body = [0; RESULT_LENGTH];
        body.copy_from_slice(&self.body);
        let outcome = Outcome::parse(&body).ok_or(Misbehaviour::Field(Kind::Result))?;
        let complete = matches!(self.state, State::Waiting) && self.rounds > 0;
        match outcome.result {
            0 => Err(Misbehaviour::NoResult),
            OK if !complete => Err(Misbehaviour::Untimely(Kind::Result)),
            _ => {
                self.state = State::Over(outcome);
                Ok(())
            }
        }
    }
}
