//! The thread that waits in the kernel for the data or status stage of a control request.
//!
//! FunctionFS moves the data of a control request within read(2) or write(2), and waits there for the host whatever
//! O_NONBLOCK says: with a host that gave the request up and is silent, until its next request. AIO does not reach this file.
//! So the answer is given here, and the daemon goes on. One answer at a time: the kernel has one request at a time.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{
    sys::signals::{self, Interrupt},
    wait::Waker,
};

/// It calls read and write, no more.
const STACK_SIZE: usize = 64 << 10;
/// How often an answer is tried while somebody else is in the control file, which is a moment while the gadget is unbound.
const TRIES: u32 = 100;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(1);
/// How long an answer may still take when the device is about to leave the bus: the host is likely to be taking it.
const GRACE: Duration = Duration::from_millis(20);
/// From the end of an answer to leaving the bus, at least. ASPEED's virtual hub ends a status stage when the controller has it and not when the
/// host has: a device that leaves at once takes the acknowledgement of DETACH along.
pub(crate) const SETTLING: Duration = Duration::from_millis(10);
/// The same where hosts are not told that the device leaves by itself: dfu-util then follows DETACH with a bus reset, and fails where there is
/// nothing to reset any more.
pub(crate) const SETTLING_FOR_RESET: Duration = Duration::from_millis(200);
/// How often the thread is interrupted then, [`PAUSE`] apart. Once is enough if it is in the kernel already.
const INTERRUPTS: u32 = 1000;

/// What to do with the request that waits in the kernel.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Sends this, and does the status stage. With wLength 0 and the direction IN it is the status stage alone.
    Data(Vec<u8>),
    /// Takes so many bytes, and does the status stage. With wLength 0 and the direction OUT it is the status stage alone.
    Take(usize),
}

struct Job {
    id: u64,
    file: Arc<OwnedFd>,
    answer: Answer,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    done: Option<(u64, Result<Vec<u8>, Errno>)>,
    last_id: u64,
    /// When the last answer ended that the host took, by what the kernel says.
    taken: Option<Instant>,
    /// The thread is with an answer.
    busy: bool,
    /// It is to give that up.
    stop: bool,
    end: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle of the thread.
pub(crate) struct Answerer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    interrupt: Interrupt,
}

impl Answerer {
    /// Starts it. `waker` ends the wait when an answer is through.
    pub(crate) fn new(waker: Waker) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let its = Arc::clone(&shared);
        let interrupt = Interrupt::new()?;
        let builder = thread::Builder::new().name("ep0".into()).stack_size(STACK_SIZE);
        let thread = builder.spawn(move || serve(&its, &waker, interrupt))?;
        Ok(Self { shared, thread: Some(thread), interrupt })
    }

    /// Gives an answer. What is still under way is forgotten: it is of a request that is gone.
    pub(crate) fn start(&self, file: &Arc<OwnedFd>, answer: Answer) {
        let mut state = self.shared.lock();
        state.last_id += 1;
        state.done = None;
        state.job = Some(Job { id: state.last_id, file: Arc::clone(file), answer });
        self.shared.changed.notify_all();
    }

    /// The end of the answer started last, once it is there; with the data taken.
    pub(crate) fn take(&self) -> Option<Result<Vec<u8>, Errno>> {
        let mut state = self.shared.lock();
        let last = state.last_id;
        state.done.take_if(|(id, _)| *id == last).map(|(_, result)| result)
    }

    /// Has the thread out of the kernel, and what it gave last out of the controller, for which that gets `settling` from the end of the
    /// answer: before the gadget is unbound. Who unbinds takes the request back and then waits for a lock that the thread holds while it
    /// answers. A thread that hands its request over between the two, to a controller that takes requests also without a connection, would
    /// never come out, and neither would who unbinds. Kernels that take nothing back first free the request under the thread.
    pub(crate) fn still(&self, settling: Duration) {
        let Some(thread) = &self.thread else { return };
        let state = self.shared.lock();
        let has_one = |state: &mut State| state.busy || state.job.is_some();
        let waited = self.shared.changed.wait_timeout_while(state, GRACE, has_one);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.stop = true;
        if let Some(job) = state.job.take() {
            state.done = Some((job.id, Err(Errno::INTR)));
        }
        for _ in 0..INTERRUPTS {
            if !state.busy {
                break;
            }
            // It may have come a moment before the thread was in the kernel: then once more.
            self.interrupt.send(thread);
            let waited = self.shared.changed.wait_timeout_while(state, PAUSE, |state| state.busy);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.busy {
            log::warn!("an answer to the host does not end");
        }
        state.stop = false;
        let left = state.taken.and_then(|taken| settling.checked_sub(taken.elapsed()));
        drop(state);
        if let Some(left) = left {
            thread::sleep(left);
        }
    }

    /// Interrupts the answer that is under way and tries it again, as a kernel that has cancelled its request refuses at once.
    pub(crate) fn retry(&self) {
        if let Some(thread) = &self.thread
            && self.shared.lock().busy
        {
            self.interrupt.send(thread);
        }
    }

    /// Forgets the answer that is under way.
    pub(crate) fn forget(&self) {
        let mut state = self.shared.lock();
        state.last_id += 1;
        state.job = None;
        state.done = None;
    }

    /// Ends the thread and waits for it, which is soon if the gadget is unbound.
    pub(crate) fn end(&mut self) {
        self.let_go();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Ends the thread, once the host lets it.
    pub(crate) fn let_go(&self) {
        self.shared.lock().end = true;
        self.shared.changed.notify_all();
    }
}

fn serve(shared: &Shared, waker: &Waker, interrupt: Interrupt) {
    // Any other signal would end the wait in the kernel, and with it the request.
    signals::block_all_but(interrupt);
    let mut state = shared.lock();
    while !state.end {
        let Some(Job { id, file, answer }) = state.job.take() else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.busy = true;
        drop(state);
        let result = give(shared, &file, &answer);
        drop(file);
        state = shared.lock();
        state.busy = false;
        if result.is_ok() {
            state.taken = Some(Instant::now());
        }
        state.done = Some((id, result));
        shared.changed.notify_all();
        waker.wake();
    }
}

fn give(shared: &Shared, file: &Arc<OwnedFd>, answer: &Answer) -> Result<Vec<u8>, Errno> {
    for _ in 0..TRIES {
        if shared.lock().stop {
            return Err(Errno::INTR);
        }
        let mut data = Vec::new();
        let moved = match answer {
            Answer::Data(data) => rustix::io::write(file.as_fd(), data),
            Answer::Take(length) => {
                data.resize(*length, 0);
                rustix::io::read(file.as_fd(), &mut *data)
            }
        };
        match moved {
            // The control file's lock is taken: EAGAIN and not a wait, by O_NONBLOCK.
            Err(Errno::AGAIN) => thread::sleep(PAUSE),
            // The kernel took the answer back and keeps the request.
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            // Less than the host announced: its data stage was cut short.
            Ok(length) if length < data.len() => return Err(Errno::IO),
            Ok(_) => return Ok(data),
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::io::PipeReader;

    use super::*;
    use crate::Waiter;

    /// An answerer that waits in a read which nothing ends.
    fn waiting() -> (Answerer, Arc<OwnedFd>, io::PipeWriter) {
        let (reader, writer): (PipeReader, _) = io::pipe().unwrap();
        let file = Arc::new(OwnedFd::from(reader));
        let answerer = Answerer::new(Waiter::new().unwrap().waker()).unwrap();
        answerer.start(&file, Answer::Take(4));
        (answerer, file, writer)
    }

    #[test]
    fn a_thread_that_waits_for_the_host_comes_out_when_it_is_asked_to() {
        let (mut answerer, file, _writer) = waiting();
        while !answerer.shared.lock().busy {
            thread::yield_now();
        }
        answerer.still(SETTLING);
        assert_eq!(answerer.take(), Some(Err(Errno::INTR)));
        assert_eq!(Arc::strong_count(&file), 1, "the thread has let go of it");
        answerer.end();
    }

    #[test]
    fn what_was_answered_last_has_time_to_leave_the_controller() {
        let (mut answerer, _file, writer) = waiting();
        let started = Instant::now();
        rustix::io::write(&writer, b"data").unwrap();
        while answerer.take().is_none() {
            thread::yield_now();
        }
        answerer.still(SETTLING);
        assert!(started.elapsed() >= SETTLING);
        answerer.end();
    }

    #[test]
    fn an_answer_that_is_interrupted_is_tried_again() {
        let (mut answerer, _file, writer) = waiting();
        while !answerer.shared.lock().busy {
            thread::yield_now();
        }
        for _ in 0..10 {
            answerer.retry();
            assert_eq!(answerer.take(), None);
        }
        rustix::io::write(&writer, b"data").unwrap();
        answerer.still(SETTLING);
        assert_eq!(answerer.take(), Some(Ok(b"data".to_vec())));
        answerer.end();
    }

    #[test]
    fn an_answer_that_the_host_is_taking_is_let_through() {
        let (mut answerer, _file, writer) = waiting();
        while !answerer.shared.lock().busy {
            thread::yield_now();
        }
        rustix::io::write(&writer, b"data").unwrap();
        answerer.still(SETTLING);
        assert_eq!(answerer.take(), Some(Ok(b"data".to_vec())));
        answerer.end();
    }
}
