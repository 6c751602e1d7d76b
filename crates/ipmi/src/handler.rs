//! The BMC's side.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    command::{Capabilities, Command, Door, FLAG_STARTED, Piece, Started, Status, Wishes, acknowledged},
    wire::{COMMAND, Code, NETFN, ORGANISATION, Reply, Request},
};

/// How long a repeat of a command is answered as the command was: longer than any host's retries (IPMI leaves those to the channel; Linux gives up behind some
/// seconds).
pub const REPEATED: Duration = Duration::from_secs(60);

/// When a start whose time is over, and whose session is at work, is looked at again, unless that has ended before.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The system interface: KCS, BT, SSIF. Whoever can use it is the host's administrator.
    System,
    /// Anything else: LAN, IPMB, serial; whatever the user's privilege.
    Other,
}

/// Whoever opens and shuts the doors. A method that refuses has changed nothing.
///
/// Refusals are the completion codes 80h to BEh.
pub trait Doorkeeper {
    /// What the BMC can do.
    fn capabilities(&self) -> Capabilities;

    /// How things stand, as of the session alone: `nonce`, `holds_s` and [`FLAG_STARTED`] are the handler's.
    fn status(&self, now: Duration) -> Status;

    /// The session there is, also where the host is not told its number yet; 0 none.
    fn session(&self) -> u32;

    /// A text or a page; `None` if there is none with that number. At most 255 bytes.
    fn item(&self, item: u8, now: Duration) -> Option<Vec<u8>>;

    /// Opens a door, until [`shut`](Self::shut).
    ///
    /// # Errors
    /// It stays shut.
    fn open(&mut self, now: Duration, door: Door, wishes: &Wishes) -> Result<(), Code>;

    /// Whether what came in by the door that was opened is at work still, so that a start does not run out.
    fn is_at_work(&self) -> bool;

    /// Shuts the door that was opened. With `commit`, what has come in is judged; else it is dropped, if the BMC does not have it already.
    ///
    /// # Errors
    /// [`Code::NOTHING`]: nothing has come in that could be judged; the door is shut all the same.
    fn shut(&mut self, now: Duration, commit: bool) -> Result<(), Code>;

    /// The time of the start is over, and what came in by it is not at work. Nobody begins another session by its door, which is shut: behind
    /// the time in which a host reads what came of the last one, if there is a host.
    fn run_out(&mut self, now: Duration);

    /// Drops the session there is, by whatever door.
    ///
    /// # Errors
    /// [`Code::NOTHING`]: there is none, or the BMC has all of it.
    fn abort(&mut self, now: Duration) -> Result<(), Code>;

    /// Restarts into staged firmware.
    ///
    /// # Errors
    /// [`Code::NOTHING`], [`Code::NOT_ALLOWED`], [`Code::BUSY`].
    fn activate(&mut self, now: Duration) -> Result<(), Code>;

    /// The running firmware is good.
    ///
    /// # Errors
    /// [`Code::NOTHING`], [`Code::NOT_ALLOWED`].
    fn confirm(&mut self, now: Duration) -> Result<(), Code>;
}

/// A start in force.
#[derive(Clone, Copy, Debug)]
struct Start {
    nonce: u32,
    until: Duration,
    /// Its time is over: it ends with the session that was at work then, whatever would come next.
    late: bool,
}

/// A command that did something, and what was answered.
#[derive(Debug)]
struct Done {
    /// The request's data.
    data: Vec<u8>,
    reply: Reply,
    at: Duration,
    /// The session there was then.
    session: u32,
}

/// Answers requests (spec, 2 and 3).
///
/// **Inputs.** [`handle`](Self::handle) takes a request and answers it at once; [`handle_timeout`](Self::handle_timeout) the time.
/// **Outputs.** [`poll_timeout`](Self::poll_timeout) says when the time is wanted.
///
/// Memory: one request and one reply.
#[derive(Debug)]
pub struct Handler {
    command: u8,
    holds: Duration,
    start: Option<Start>,
    /// The nonce of the last start, whose session may be at work still, or be what the status tells of.
    last: u32,
    done: Option<Done>,
}

impl Handler {
    /// One that answers to this command of the network function 2Eh. A start holds for so long, unless what came in is at work then.
    #[must_use]
    pub const fn new(command: u8, holds: Duration) -> Self {
        Self { command, holds, start: None, last: 0, done: None }
    }

    /// Whether a request is for this handler; all others are somebody else's.
    #[must_use]
    pub fn is_ours(&self, request: &Request<'_>) -> bool {
        request.netfn == NETFN && request.command == self.command && request.data.starts_with(&ORGANISATION)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.start.map(|start| start.until)
    }

    /// Ends a start that has run out. To be called behind the end of a session, too.
    pub fn handle_timeout(&mut self, now: Duration, keeper: &mut impl Doorkeeper) {
        let Some(start) = self.start.filter(|start| start.late || start.until <= now) else { return };
        if keeper.is_at_work() {
            // The session has deadlines of its own.
            if start.until <= now {
                self.start = Some(Start { until: now.saturating_add(LOOK_AGAIN), late: true, ..start });
            }
            return;
        }
        self.start = None;
        keeper.run_out(now);
    }

    /// The door that a start opened was shut by somebody else: the session is over, or somebody on the BMC wants it so.
    pub const fn handle_shut(&mut self) {
        self.start = None;
    }

    /// A restart has come to nothing: nothing that was answered is taken for done.
    pub fn handle_restart_failed(&mut self) {
        self.handle_shut();
        self.done = None;
    }

    /// Answers a request that [is for this handler](Self::is_ours). `random` becomes the nonce of a start; not 0.
    pub fn handle(
        &mut self,
        now: Duration,
        origin: Origin,
        request: &Request<'_>,
        random: u32,
        keeper: &mut impl Doorkeeper,
    ) -> Reply {
        if !self.is_ours(request) {
            return Code::INVALID_COMMAND.into();
        }
        match origin {
            Origin::System if request.lun == 0 => {}
            Origin::System => return Code::INVALID_COMMAND.into(),
            Origin::Other => return Code::PRIVILEGE.into(),
        }
        self.handle_timeout(now, keeper);
        let command = match Command::decode(&request.data[ORGANISATION.len()..]) {
            Ok(command) => command,
            Err(code) => return code.into(),
        };
        let Some(tag) = command.tag() else { return self.ask(now, command, keeper) };
        if let Some(done) = &self.done
            && tag != 0
            && done.data == request.data
            && now.saturating_sub(done.at) < REPEATED
            && self.still_holds(&command, keeper.session() == done.session)
        {
            return done.reply.clone();
        }
        match self.act(now, command, tag, random, keeper) {
            Ok(data) => {
                let (reply, session) = (Reply::ok(data), keeper.session());
                self.done =
                    Some(Done { data: request.data.to_vec(), reply: reply.clone(), at: now, session });
                reply
            }
            // What was refused may be tried again: the reason may have gone.
            Err(code) => {
                self.done = None;
                code.into()
            }
        }
    }

    /// Whether a command that was done is done still: what a start gave may be over, and another session may have begun since an abort.
    const fn still_holds(&self, command: &Command, same_session: bool) -> bool {
        match command {
            Command::Start { .. } => self.start.is_some(),
            Command::Abort { .. } => same_session && self.start.is_none(),
            _ => true,
        }
    }

    fn ask(&self, now: Duration, command: Command, keeper: &impl Doorkeeper) -> Reply {
        match command {
            Command::Capabilities => Reply::ok(keeper.capabilities().encode()),
            Command::Info { item, offset } => match keeper.item(item, now) {
                Some(whole) => Reply::ok(Piece::encode(item, &whole, offset)),
                None => Code::FIELD.into(),
            },
            Command::Status => {
                let mut status = keeper.status(now);
                status.nonce = self.last;
                if let Some(start) = self.start {
                    status.flags |= FLAG_STARTED;
                    // Rounded up: while it holds, it is not 0.
                    let left = start.until.saturating_sub(now).as_millis().div_ceil(1000).max(1);
                    status.holds_s = u16::try_from(left).unwrap_or(u16::MAX);
                }
                Reply::ok(status.encode())
            }
            Command::Start { .. }
            | Command::Stop { .. }
            | Command::Activate { .. }
            | Command::Confirm { .. }
            | Command::Abort { .. } => Code::INVALID_COMMAND.into(),
        }
    }

    fn act(
        &mut self,
        now: Duration,
        command: Command,
        tag: u32,
        random: u32,
        keeper: &mut impl Doorkeeper,
    ) -> Result<Vec<u8>, Code> {
        match command {
            Command::Start { door, wishes, .. } => {
                if self.start.is_some() {
                    return Err(Code::BUSY);
                }
                keeper.open(now, door, &wishes)?;
                // Another one than before, whatever the source of randomness is worth: a script must not take a new session for its own.
                let mut nonce = random.max(1);
                if nonce == self.last {
                    nonce = nonce.wrapping_add(1).max(1);
                }
                self.last = nonce;
                self.start = Some(Start { nonce, until: now.saturating_add(self.holds), late: false });
                let holds_s = u16::try_from(self.holds.as_secs()).unwrap_or(u16::MAX);
                return Ok(Started { nonce, holds_s }.encode(tag));
            }
            Command::Stop { nonce, commit, .. } => {
                self.start.take_if(|start| start.nonce == nonce).ok_or(Code::WRONG_NONCE)?;
                keeper.shut(now, commit)?;
            }
            Command::Abort { .. } => {
                let started = self.start.take().is_some();
                let session = keeper.abort(now);
                if started {
                    let _ = keeper.shut(now, false);
                } else {
                    session?;
                }
            }
            Command::Activate { .. } => keeper.activate(now)?,
            Command::Confirm { .. } => keeper.confirm(now)?,
            Command::Capabilities | Command::Status | Command::Info { .. } => {
                return Err(Code::INVALID_COMMAND);
            }
        }
        Ok(acknowledged(tag))
    }
}

impl Default for Handler {
    /// The command and the time of docs/spec/ipmi.md: 49h, 15 minutes.
    fn default() -> Self {
        Self::new(COMMAND, Duration::from_secs(15 * 60))
    }
}
