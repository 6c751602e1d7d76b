//! The control endpoint of a FunctionFS instance: which of the kernel's events mean what, and whether the request the
//! function holds is still wanted. The file is behind a trait, so that all of it is tested without a kernel.
//!
//! # How a cancelled request is known
//! A request that was read is answered by the next read or write of the control file, so nothing else may be read while the function
//! holds it; yet a new SETUP, a reset or an unplug cancels it, and poll(2) says the same of a request that waits and of one that
//! was cancelled. But the kernel counts every event in an eventfd, also those it drops from its queue. The count is 0 whenever
//! the queue was read to its end, so a count above 0 while a request is held says that it is cancelled, and then reading is
//! safe: it says EIDRM once and brings the events after that.
//!
//! # Controllers that cannot stall
//! Reading or writing the wrong way makes the kernel halt ep0, which some controllers' drivers have no function for: the kernel calls none and
//! oopses, and with it any host could bring the machine down by one request that is refused. With those a request is refused by silence: it
//! stays in the kernel, the host gives it up, and the next event cancels it. It is as one that is held: nothing is read before
//! something was counted.
//!
//! # Answers that do not end
//! The same count tells of an answer whose request was cancelled while it is in the kernel: drivers of controllers end it then, and some
//! do not, because they said yes to a request that they never queued. Nothing can be read before it ends.
//!
//! # Events that are lost
//! The kernel keeps the last change of state only: of a DISABLE and the ENABLE after it, as a bus reset makes them, nothing but the ENABLE is left
//! if nobody read in between, which is how a SET_INTERFACE looks as well. The count tells them apart: one event was counted or two.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use inband_usb::{ControlError, Direction, Setup};
use rustix::io::Errno;

use crate::codec::{self, EVENT_SIZE, Event, MAX_EVENTS};

/// Reads in a row that bring neither events nor an end: a kernel that never stops is given up for this time.
const MAX_READS: u32 = 64;

/// The control file and its eventfd.
pub(crate) trait ControlFile {
    /// How many events there were since this was asked last.
    fn count(&self) -> u64;
    /// Reads events; never waits.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// Refuses a request of this direction by reading or writing the wrong way; never waits. Only where the controller can stall.
    fn refuse(&self, direction: Direction) -> Result<(), Errno>;
    /// Whether there are events to read and no request, waiting or cancelled, is in the way. `false` also if that cannot be said.
    fn has_events_only(&self) -> bool;
}

/// The control file is of no use any more: the instance was taken out of configfs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dead;

/// What the function knows of its request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// There is none; or one waits in the kernel that was refused by silence.
    None,
    /// It has this one.
    Held(Setup),
    /// An answer is under way; `read` if it is for data (or the status stage) that the function asks for again.
    Answering {
        /// [`control_read`](inband_usb::DeviceBackend::control_read).
        read: bool,
    },
    /// What the function asks for has come, or will not.
    Answered(Result<Vec<u8>, ControlError>),
    /// It was cancelled, and the function has not been told.
    Cancelled,
    /// The backend answers a request of its own; `cancelled` if the function still has to hear of one.
    Own {
        /// As [`Request::Cancelled`].
        cancelled: bool,
    },
}

/// What comes of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Enabled, or another setting.
    Enable,
    /// Disabled.
    Disable,
    /// Idle.
    Suspend,
    /// Busy again.
    Resume,
    /// A request, which is the function's once [`Ep0::next`] has returned it.
    Setup(Setup),
}

/// State of the control endpoint while a gadget is attached.
pub(crate) struct Ep0 {
    /// What the function knows of its request.
    pub(crate) request: Request,
    /// Not yet told. At most one SETUP is in it, which waits in the kernel for its answer.
    queue: VecDeque<Change>,
    /// Events counted and not yet looked for.
    counted: u64,
    /// Some of them came while the answer under way was: it is of a request that is cancelled.
    overtaken: bool,
    /// The last change of state that was read is an Enable.
    up: bool,
    /// The controller can stall.
    stalls: bool,
}

impl Ep0 {
    /// A gadget that is not enabled, on a controller that can stall or cannot.
    pub(crate) fn new(stalls: bool) -> Self {
        Self {
            request: Request::None,
            queue: VecDeque::new(),
            counted: 0,
            overtaken: false,
            up: false,
            stalls,
        }
    }

    /// A gadget that was on the bus before this process had it, configured or not. Whoever had it may have read the count and died before it
    /// read the events: they are looked for in any case.
    pub(crate) fn inherited(configured: bool) -> Self {
        let queue = configured.then_some(Change::Enable).into_iter().collect();
        Self { queue, counted: 1, up: configured, ..Self::new(true) }
    }

    /// As [`inherited`](Self::inherited), on a controller that cannot stall. Whether a request that was read waits still cannot be known, nor
    /// can it be refused: then nothing is read before the next event. What was counted up to now may have come before that request.
    pub(crate) fn inherited_without_stalls(configured: bool, file: &impl ControlFile) -> Self {
        let counted = file.count();
        let counted = if file.has_events_only() { counted.max(1) } else { 0 };
        Self { counted, stalls: false, ..Self::inherited(configured) }
    }

    /// Reads the events there are. Returns whether the endpoints' transfers were ended by one of them.
    pub(crate) fn pull(&mut self, file: &impl ControlFile) -> Result<bool, Dead> {
        let more = file.count();
        self.counted += more;
        if self.counted == 0 {
            return Ok(false);
        }
        match self.request {
            // The file belongs to the answer: reading would wait for it.
            Request::Answering { .. } | Request::Own { .. } => {
                self.overtaken |= more > 0;
                return Ok(false);
            }
            // Counted after the request was read: it is cancelled.
            Request::Held(_) => self.request = Request::Cancelled,
            Request::None | Request::Answered(_) | Request::Cancelled => {}
        }
        self.queue.retain(|change| !matches!(change, Change::Setup(_)));
        let (batch, lost) = self.read_all(file)?;
        let mut ended = false;
        for event in batch {
            match event {
                // A Bind of what is bound: the Unbind before it was dropped.
                Event::Bind | Event::Unbind | Event::Disable => ended |= self.disable(),
                Event::Enable => {
                    // Something that is no longer there went before it. It may have been a request the host gave up before it chose
                    // another setting; that it was a reset is likelier, and to take a setting for a reset is safe.
                    if lost {
                        self.disable();
                    }
                    self.queue.push_back(Change::Enable);
                    self.up = true;
                    ended = true;
                }
                Event::Setup(setup) => self.queue.push_back(Change::Setup(setup)),
                Event::Suspend => self.queue.push_back(Change::Suspend),
                Event::Resume => self.queue.push_back(Change::Resume),
            }
        }
        Ok(ended)
    }

    fn disable(&mut self) -> bool {
        if self.up {
            self.queue.push_back(Change::Disable);
        }
        std::mem::take(&mut self.up)
    }

    /// Reads until as many events are known as were counted, or nothing was counted meanwhile; the events, and whether the
    /// kernel has dropped some.
    fn read_all(&mut self, file: &impl ControlFile) -> Result<(Vec<Event>, bool), Dead> {
        let (mut batch, mut seen) = (Vec::new(), 0);
        for _ in 0..MAX_READS {
            let mut buffer = [0; EVENT_SIZE * MAX_EVENTS];
            match file.read(&mut buffer) {
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    seen += (bytes.len() / EVENT_SIZE) as u64;
                    batch.extend(codec::events(bytes));
                }
                // The queue is empty; or the file's lock is taken. That is by no thread of ours, because nothing is read while an answer is under
                // way, but by whoever unbinds the gadget: what stays in the queue is read when the UNBIND behind it is counted.
                Err(Errno::AGAIN) => {}
                // EIDRM: a request of before was cancelled, said once. EINTR comes without any signal of ours.
                Err(Errno::IDRM | Errno::INTR) => continue,
                // The instance is closing: somebody took the gadget out of configfs.
                Err(Errno::BADFD | Errno::NODEV | Errno::SHUTDOWN) => return Err(Dead),
                // After the host gave a request up, kernels have said EINVAL and EOVERFLOW once.
                Err(error) => {
                    log::debug!("reading the control endpoint: {error}");
                    continue;
                }
            }
            let more = file.count();
            self.counted += more;
            if more == 0 || seen >= self.counted {
                break;
            }
            // Something came while this was read, and whether it came before a request that was read or cancelled that cannot be known.
            // To refuse is right in both cases: EIDRM if it was cancelled, STALL if not.
            if let Some(at) = batch.iter().position(|event| matches!(event, Event::Setup(_)))
                && let Event::Setup(setup) = batch.remove(at)
            {
                if !self.stalls {
                    // Neither may it be read over: the next event says that it is cancelled.
                    log::debug!("a request came within one read, and maybe went: left alone");
                    break;
                }
                let refused = file.refuse(setup.direction());
                log::debug!("a request came and went within one read: {refused:?}");
            }
        }
        let lost = seen < self.counted;
        self.counted = 0;
        Ok((batch, lost))
    }

    /// What to tell next, without taking it.
    pub(crate) fn peek(&self) -> Option<Change> {
        self.queue.front().copied()
    }

    /// What to tell next. A request is the function's to answer from here on.
    pub(crate) fn next(&mut self) -> Option<Change> {
        let change = self.queue.pop_front()?;
        match change {
            Change::Setup(setup) => self.request = Request::Held(setup),
            Change::Disable => self.request = Request::None,
            Change::Enable | Change::Suspend | Change::Resume => {}
        }
        Some(change)
    }

    /// The next change is a request that the backend answers by itself: takes it.
    pub(crate) fn take_own(&mut self) {
        self.queue.pop_front();
        let cancelled = self.request == Request::Cancelled;
        self.request = Request::Own { cancelled };
    }

    /// Whether an answer is under way that the kernel should have ended, because an event has come since that cancels its request.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// An answer has ended. `result` is the data of an OUT request.
    pub(crate) fn answered(&mut self, result: Result<Vec<u8>, ControlError>) {
        self.overtaken = false;
        self.request = match self.request {
            Request::Answering { read: true } => Request::Answered(result),
            Request::Own { cancelled: true } => Request::Cancelled,
            Request::Answering { read: false }
            | Request::Own { cancelled: false }
            | Request::None
            | Request::Held(_)
            | Request::Answered(_)
            | Request::Cancelled => Request::None,
        };
    }

    /// Refuses the request taken by [`take_own`](Self::take_own).
    pub(crate) fn refuse_own(&mut self, file: &impl ControlFile, direction: Direction) {
        if self.stalls {
            // Too late is all the same.
            let _ = refused(file.refuse(direction));
        }
        self.answered(Ok(Vec::new()));
    }

    /// Refuses the request the function holds.
    pub(crate) fn refuse(&mut self, file: &impl ControlFile, setup: Setup) -> Result<(), ControlError> {
        self.request = Request::None;
        if self.stalls { refused(file.refuse(setup.direction())) } else { Ok(()) }
    }

    /// Whether the function has a request, or had one and was not told of its end.
    pub(crate) fn has_request(&self) -> bool {
        match self.request {
            Request::None | Request::Answering { read: false } | Request::Own { cancelled: false } => false,
            Request::Held(_)
            | Request::Answering { read: true }
            | Request::Answered(_)
            | Request::Cancelled
            | Request::Own { cancelled: true } => true,
        }
    }

    /// Whether a state was told, or is about to be, in which endpoints may be used.
    pub(crate) fn is_settled(&self) -> bool {
        self.up && !self.queue.iter().any(|change| matches!(change, Change::Enable | Change::Disable))
    }
}

/// What the kernel says to a refusal: EL2HLT is success; all else means that there was nothing to refuse any more.
fn refused(result: Result<(), Errno>) -> Result<(), ControlError> {
    match result {
        Ok(()) | Err(Errno::L2HLT) => Ok(()),
        Err(error) => {
            log::debug!("a refusal came too late: {error}");
            Err(ControlError::Cancelled)
        }
    }
}
