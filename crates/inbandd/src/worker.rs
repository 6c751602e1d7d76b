//! The half of the daemon that hashes and writes, apart from the half that answers the host.
//!
//! The answering half must never wait for flash or for a hash. It hands work over as [`Command`]s and learns what became of
//! it by [`Reply`]s. On a BMC the two halves are threads ([`Thread`]); on the virtual bus they take turns in one
//! ([`Inline`]), so that tests are the same at every run.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use inband_package::{Expected, Verifier};
use inband_session::{Door, Offered, Pipeline, Progress, ResultCode, Settled, StoreView};
use inband_store::Medium;

use crate::memory;

/// So many blocks that nobody waits for are handed over at once, so that the thread is not woken for each.
const BATCH: usize = 8;

/// Of a host's pages so many are freed before the system has their memory: 1 MiB. While it is given back nobody else gets any, and the half that
/// answers is not to wait for it.
pub(crate) const GIVEN_BACK: usize = 64;

/// Work. What belongs to a session carries its id, so that what is late can be told from what is new.
#[derive(Debug)]
pub enum Command {
    /// A session begins.
    Begin {
        /// Its id.
        session: u32,
        /// The door it came in by.
        door: Door,
        /// The time, for the budgets.
        now: Duration,
        /// What was said of its package before it came.
        expected: Expected,
    },
    /// Payload of a session.
    Data {
        /// Its id.
        session: u32,
        /// The bytes. The buffer comes back.
        bytes: Vec<u8>,
        /// Somebody waits for what becomes of it. All else may lie a while, as long as more of it comes.
        awaited: bool,
    },
    /// A session begins with an offer of a package: of its data only what is missing comes.
    BeginOffer {
        /// Its id.
        session: u32,
        /// The door it came in by.
        door: Door,
        /// The time, for the budgets.
        now: Duration,
        /// What was said of its package before it came.
        expected: Expected,
    },
    /// A portion of what came by bulk.
    Portion {
        /// The session's id.
        session: u32,
        /// The bytes. The buffer comes back.
        bytes: Vec<u8>,
        /// What is in it, in order.
        parts: Vec<Part>,
        /// The answering half is woken when the buffer comes back; else it finds it later.
        awaited: bool,
    },
    /// The offer is complete.
    Offered {
        /// The session's id.
        session: u32,
    },
    /// All chunks that were asked for have come.
    Settle {
        /// The session's id.
        session: u32,
    },
    /// The last byte of a file is in.
    EndOfFile {
        /// The session's id.
        session: u32,
        /// The result if the file is not complete.
        lacking: ResultCode,
    },
    /// The host has no access to the bytes any more: read back, stage.
    Finish {
        /// The session's id.
        session: u32,
    },
    /// The session is over, for this reason.
    Abort {
        /// Its id.
        session: u32,
        /// Why.
        reason: ResultCode,
    },
    /// What uptime has brought to the budgets is to survive a restart.
    KeepBudget {
        /// The time.
        now: Duration,
    },
    /// Somebody on the BMC wants an update: used-up budgets are no reason against one.
    GrantOne {
        /// The time.
        now: Duration,
    },
    /// The running firmware is healthy.
    Confirm,
    /// The running firmware is unhealthy.
    Unhealthy,
    /// The host asked for the restart that is about to come.
    GiveBootBack,
    /// The machine starts anew: the boot loader decides what runs.
    Boot,
    /// Much memory was freed: the system is to have it.
    GiveMemoryBack,
    /// This goes, and the system is to have its memory.
    Discard(Discarded),
}

/// Pages that a host wrote, and that nobody wants. To free them takes a while, as there are thousands, and longer than a host may wait for its answer.
pub struct Discarded(Box<dyn Iterator<Item = Vec<u8>> + Send>);

impl Discarded {
    /// Takes these.
    pub fn new(pages: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Self {
        Self(Box::new(pages))
    }
}

impl fmt::Debug for Discarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Discarded")
    }
}

/// Bytes of a portion that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What they are.
    pub what: Payload,
    /// Where in the portion.
    pub range: Range<usize>,
}

/// What came by bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The next bytes of a file, or of what stands in it before its first member.
    File,
    /// The next bytes of the chunk of this number.
    Chunk(u32),
}

/// What became of a [`Command`].
#[derive(Debug)]
pub enum Reply {
    /// Payload was taken, and every check so far passed. What the pipeline knows now.
    Taken(Progress),
    /// The buffer of a [`Command::Data`], to be filled again.
    Buffer {
        /// The bytes it was sent with.
        bytes: Vec<u8>,
        /// As in the command.
        awaited: bool,
    },
    /// The buffer of a [`Command::Portion`], to be filled again.
    Portion {
        /// The bytes it was sent with.
        bytes: Vec<u8>,
        /// As in the command.
        awaited: bool,
    },
    /// The package that is offered was accepted.
    Offered {
        /// The session's id.
        session: u32,
        /// What is to come of it.
        offered: Offered,
    },
    /// Chunks that were said to be there, and are not: to be sent as well.
    Missing {
        /// The session's id.
        session: u32,
        /// Their numbers, in rising order.
        chunks: Vec<u32>,
    },
    /// All is there: [`Command::Finish`] is due.
    Complete(Progress),
    /// The session is over: refused, or failed.
    Failed {
        /// Its id.
        session: u32,
        /// Why.
        refused: Refused,
    },
    /// The slot is being read back.
    ReadBack {
        /// The session's id.
        session: u32,
        /// How far it is.
        percent: u8,
    },
    /// The session's package is staged.
    Staged {
        /// Its id.
        session: u32,
    },
    /// The store changed. Comes before the reply that tells of the cause.
    View(Box<StoreView>),
    /// What became of [`Command::Confirm`].
    Confirmed(Result<(), Refused>),
    /// What became of [`Command::Unhealthy`].
    Unhealthy(Result<(), Refused>),
    /// What became of [`Command::GiveBootBack`]: whether the boot was given back.
    BootGivenBack(Result<bool, Refused>),
    /// What became of [`Command::Boot`].
    Booted(Result<(), Refused>),
}

impl Reply {
    /// Whether the other half has something to do when it hears of it. What only the host can ask for can wait until it asks, and
    /// nobody is woken for each block.
    fn is_news(&self) -> bool {
        match self {
            Self::Taken(progress) => progress.complete,
            Self::Buffer { awaited, .. } | Self::Portion { awaited, .. } => *awaited,
            Self::Offered { .. }
            | Self::Missing { .. }
            | Self::Complete(_)
            | Self::Failed { .. }
            | Self::ReadBack { .. }
            | Self::Staged { .. }
            | Self::View(_)
            | Self::Confirmed(_)
            | Self::Unhealthy(_)
            | Self::BootGivenBack(_)
            | Self::Booted(_) => true,
        }
    }
}

/// A result that is not `ok`, with a text for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The numbered result.
    pub code: ResultCode,
    /// What exactly was wrong.
    pub text: String,
}

/// The worker is gone. It never ends by itself, so this is a fault of the daemon's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Something that carries out [`Command`]s in order.
pub trait Worker {
    /// Hands work over, without waiting for it. There is no bound but the caller's: see [`backlog`](Self::backlog).
    ///
    /// # Errors
    /// [`Gone`]: nothing will be done any more.
    fn send(&mut self, command: Command) -> Result<(), Gone>;

    /// What became of it, if something did.
    ///
    /// # Errors
    /// [`Gone`]: nothing was done that was not told.
    fn poll(&mut self) -> Result<Option<Reply>, Gone>;

    /// Commands handed over and not yet carried out.
    fn backlog(&self) -> usize;
}

/// The pipeline and the session it is at.
#[derive(Debug)]
struct Bench<M, V> {
    pipeline: Pipeline<M, V>,
    session: Option<u32>,
    /// The session's package was accepted, and the other half knows what that did to the store.
    accepted: bool,
    /// The last session whose end is on its way here. What has come of it is worth keeping, so that it has not to come again; but nothing
    /// else of it is worth any time.
    ended: Arc<AtomicU32>,
}

impl<M: Medium, V: Verifier + Clone> Bench<M, V> {
    fn new(pipeline: Pipeline<M, V>) -> Self {
        Self { pipeline, session: None, accepted: false, ended: Arc::default() }
    }

    /// Carries out one command; replies go to `reply` in order.
    fn carry_out(&mut self, command: Command, reply: &mut impl FnMut(Reply)) {
        match command {
            Command::Begin { session, door, now, expected } => {
                let begun = self.pipeline.begin(session, door, now, expected);
                self.begun(session, begun, reply);
            }
            Command::BeginOffer { session, door, now, expected } => {
                let begun = self.pipeline.begin_offer(session, door, now, expected);
                self.begun(session, begun, reply);
            }
            Command::Portion { session, bytes, parts, awaited } => {
                match self.take(session, &bytes, &parts) {
                    Ok(None) => {}
                    Ok(Some(progress)) => {
                        self.tell_accepted(&progress, reply);
                        reply(Reply::Taken(progress));
                    }
                    Err(code) => self.fail(session, code, reply),
                }
                reply(Reply::Portion { bytes, awaited });
            }
            Command::Offered { session } => {
                if self.is_at(session) {
                    match self.pipeline.offered() {
                        Ok(offered) => {
                            if let Some(progress) = self.pipeline.progress() {
                                self.tell_accepted(&progress, reply);
                                reply(Reply::Taken(progress));
                            }
                            reply(Reply::Offered { session, offered });
                        }
                        Err(code) => self.fail(session, code, reply),
                    }
                }
            }
            Command::Settle { session } => {
                while self.is_at(session) {
                    match self.pipeline.settle() {
                        Ok(Settled::NotYet) => continue,
                        Ok(Settled::Missing(chunks)) => reply(Reply::Missing { session, chunks }),
                        Ok(Settled::Complete(progress)) => reply(Reply::Complete(progress)),
                        Err(code) => self.fail(session, code, reply),
                    }
                    break;
                }
            }
            Command::EndOfFile { session, lacking } => {
                if self.is_at(session) {
                    let code = match self.pipeline.progress() {
                        Some(progress) if progress.complete && progress.whole => {
                            return reply(Reply::Complete(progress));
                        }
                        // What is behind the end is no more than a part of what may be there.
                        Some(progress) if progress.complete => ResultCode::TrailingBytes,
                        Some(_) | None => lacking,
                    };
                    self.pipeline.abort(code);
                    self.fail(session, code, reply);
                }
            }
            Command::Data { session, bytes, awaited } => {
                // What is still queued behind the end of its session means nothing any more.
                if self.session == Some(session) {
                    match self.pipeline.push(&bytes) {
                        Ok(progress) => {
                            self.tell_accepted(&progress, reply);
                            reply(Reply::Taken(progress));
                        }
                        Err(code) => self.fail(session, code, reply),
                    }
                }
                reply(Reply::Buffer { bytes, awaited });
            }
            Command::Finish { session } => {
                if self.session == Some(session) {
                    let verified = self.pipeline.verify().map(|progress| {
                        // Of a tar without a head nobody knew before what it is.
                        if self.tell_accepted(&progress, reply) {
                            reply(Reply::Taken(progress));
                        }
                    });
                    let finished = verified.and_then(|()| {
                        self.pipeline
                            .finish_telling(&mut |percent| reply(Reply::ReadBack { session, percent }))
                    });
                    match finished {
                        Ok(()) => {
                            reply(self.view());
                            reply(Reply::Staged { session });
                        }
                        Err(code) => self.fail(session, code, reply),
                    }
                }
            }
            Command::Abort { session, reason } => {
                if self.session == Some(session) {
                    self.session = None;
                    self.pipeline.abort(reason);
                    if let Some(text) = self.pipeline.last_error() {
                        log::error!("session {session}: {text}");
                    }
                    reply(self.view());
                }
            }
            Command::KeepBudget { now } => {
                if let Err(code) = self.pipeline.keep_budget(now) {
                    log::error!("cannot keep what is left of the budgets: {}", self.refused(code).text);
                }
                reply(self.view());
            }
            Command::GrantOne { now } => {
                if let Err(code) = self.pipeline.grant_one(now) {
                    log::error!("cannot grant a session: {}", self.refused(code).text);
                }
                reply(self.view());
            }
            Command::Confirm => {
                let result = self.pipeline.confirm().map_err(|code| self.refused(code));
                reply(self.view());
                reply(Reply::Confirmed(result));
            }
            Command::Unhealthy => {
                let result = self.pipeline.unhealthy().map_err(|code| self.refused(code));
                reply(self.view());
                reply(Reply::Unhealthy(result));
            }
            Command::GiveBootBack => {
                let result = self.pipeline.give_boot_back().map_err(|code| self.refused(code));
                reply(self.view());
                reply(Reply::BootGivenBack(result));
            }
            Command::GiveMemoryBack => memory::give_back(),
            Command::Discard(Discarded(mut pages)) => loop {
                let dropped = pages.by_ref().take(GIVEN_BACK).count();
                memory::give_back();
                if dropped == 0 {
                    break;
                }
                std::thread::yield_now();
            },
            Command::Boot => {
                self.session = None;
                let result = self.pipeline.boot().map(|_| ()).map_err(|code| self.refused(code));
                reply(self.view());
                reply(Reply::Booted(result));
            }
        }
    }

    /// Whether a session is under way, and not about to be ended.
    fn is_at(&self, session: u32) -> bool {
        self.session == Some(session) && self.ended.load(Ordering::Acquire) != session
    }

    fn begun(&mut self, session: u32, begun: Result<(), ResultCode>, reply: &mut impl FnMut(Reply)) {
        self.session = begun.is_ok().then_some(session);
        self.accepted = false;
        reply(self.view());
        if let Err(code) = begun {
            reply(Reply::Failed { session, refused: self.refused(code) });
        }
    }

    /// Takes a portion in, as far as its session goes on or nothing has to be looked for. Returns what the pipeline knows then.
    fn take(&mut self, session: u32, bytes: &[u8], parts: &[Part]) -> Result<Option<Progress>, ResultCode> {
        let mut taken = None;
        for part in parts {
            let bytes = bytes.get(part.range.clone()).ok_or(ResultCode::Internal)?;
            taken = match part.what {
                // What is still queued behind the end of its session means nothing any more.
                _ if self.session != Some(session) => return Ok(None),
                Payload::File => Some(self.pipeline.push(bytes)?),
                Payload::Chunk(number) => {
                    while !self.pipeline.look()? {
                        if !self.is_at(session) {
                            return Ok(None);
                        }
                    }
                    Some(self.pipeline.chunk(number, bytes)?)
                }
            };
        }
        Ok(taken)
    }

    /// Shows the store once the session's package is accepted: the slot is not what it was, and nothing else would tell before
    /// the end of the session. Returns whether that was new.
    fn tell_accepted(&mut self, progress: &Progress, reply: &mut impl FnMut(Reply)) -> bool {
        let new = progress.accepted.is_some() && !self.accepted;
        if new {
            self.accepted = true;
            reply(self.view());
        }
        new
    }

    fn fail(&mut self, session: u32, code: ResultCode, reply: &mut impl FnMut(Reply)) {
        self.session = None;
        reply(self.view());
        reply(Reply::Failed { session, refused: self.refused(code) });
    }

    fn view(&self) -> Reply {
        Reply::View(Box::new(self.pipeline.view()))
    }

    fn refused(&self, code: ResultCode) -> Refused {
        Refused { code, text: self.pipeline.last_error().unwrap_or(code.meaning()).to_owned() }
    }
}

/// A worker that works when it is asked for replies, in the caller's thread.
#[derive(Debug)]
pub struct Inline<M, V> {
    bench: Bench<M, V>,
    commands: VecDeque<Command>,
    replies: VecDeque<Reply>,
}

impl<M: Medium, V: Verifier + Clone> Inline<M, V> {
    /// Works on this pipeline.
    #[must_use]
    pub fn new(pipeline: Pipeline<M, V>) -> Self {
        Self { bench: Bench::new(pipeline), commands: VecDeque::new(), replies: VecDeque::new() }
    }

    /// The pipeline, to look at.
    #[must_use]
    pub const fn pipeline(&self) -> &Pipeline<M, V> {
        &self.bench.pipeline
    }

    /// Gives the pipeline back; what is queued is lost, as in a power cut.
    #[must_use]
    pub fn into_pipeline(self) -> Pipeline<M, V> {
        self.bench.pipeline
    }
}

impl<M: Medium, V: Verifier + Clone> Worker for Inline<M, V> {
    fn send(&mut self, command: Command) -> Result<(), Gone> {
        if let Command::Abort { session, .. } = command {
            self.bench.ended.store(session, Ordering::Release);
        }
        self.commands.push_back(command);
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Reply>, Gone> {
        while self.replies.is_empty() {
            let Some(command) = self.commands.pop_front() else { return Ok(None) };
            self.bench.carry_out(command, &mut |reply| self.replies.push_back(reply));
        }
        Ok(self.replies.pop_front())
    }

    fn backlog(&self) -> usize {
        self.commands.len()
    }
}

/// A worker in a thread of its own. Dropping it waits until all that was handed over is carried out.
#[derive(Debug)]
pub struct Thread {
    commands: Option<Sender<Vec<Command>>>,
    /// Payload that is not handed over yet.
    held: Vec<Command>,
    backlog: Arc<AtomicUsize>,
    /// See [`Bench`].
    ended: Arc<AtomicU32>,
    replies: Receiver<Reply>,
    /// The other half has been woken, and has not looked at all replies since.
    woken: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts the thread. `wake` is called when there is a reply that calls for something after [`poll`](Worker::poll) has told that there
    /// are none, to end the wait of the other half: of several in a row it hears once, and of a block that was taken not at all.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn start<M, V>(pipeline: Pipeline<M, V>, wake: impl Fn() + Send + 'static) -> std::io::Result<Self>
    where
        M: Medium + Send + 'static,
        V: Verifier + Clone + Send + 'static,
    {
        let (commands, work) = channel::<Vec<Command>>();
        let (answers, replies) = channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&backlog);
        let woken = Arc::new(AtomicBool::new(false));
        let is_woken = Arc::clone(&woken);
        let mut bench = Bench::new(pipeline);
        let ended = Arc::clone(&bench.ended);
        let thread = std::thread::Builder::new().name("worker".into()).spawn(move || {
            for command in work.into_iter().flatten() {
                bench.carry_out(command, &mut |reply| {
                    let is_news = reply.is_news();
                    // The other half is only ever gone because the daemon ends.
                    let _ = answers.send(reply);
                    if is_news && !is_woken.swap(true, Ordering::AcqRel) {
                        wake();
                    }
                });
                left.fetch_sub(1, Ordering::Relaxed);
                // A BMC may have one processor, and a scheduler that lets a thread run on for milliseconds while another one has been woken: the
                // half that answers is not to wait for more than one block.
                std::thread::yield_now();
            }
        })?;
        let commands = Some(commands);
        Ok(Self { commands, held: Vec::new(), backlog, ended, replies, woken, thread: Some(thread) })
    }
}

impl Thread {
    fn hand_over(&mut self) -> Result<(), Gone> {
        let held = std::mem::take(&mut self.held);
        self.commands.as_ref().ok_or(Gone)?.send(held).map_err(|_| Gone)
    }
}

impl Worker for Thread {
    fn send(&mut self, command: Command) -> Result<(), Gone> {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        if let Command::Abort { session, .. } = command {
            self.ended.store(session, Ordering::Release);
        }
        let can_wait = matches!(command, Command::Data { awaited: false, .. });
        self.held.push(command);
        if can_wait && self.held.len() < BATCH { Ok(()) } else { self.hand_over() }
    }

    fn poll(&mut self) -> Result<Option<Reply>, Gone> {
        let reply = match self.replies.try_recv() {
            Err(TryRecvError::Empty) if self.woken.swap(false, Ordering::AcqRel) => {
                // One that came before the worker could see that it has to wake again.
                self.replies.try_recv()
            }
            reply => reply,
        };
        match reply {
            Ok(reply) => Ok(Some(reply)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }

    fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The thread is only ever gone because it panicked.
        let _ = self.hand_over();
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the worker has been printed by its own thread.
            let _ = thread.join();
        }
    }
}
