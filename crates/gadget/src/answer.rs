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
    time::Duration,
};

use rustix::io::Errno;

use crate::{sys::signals, wait::Waker};

/// It calls read and write, no more.
const STACK_SIZE: usize = 64 << 10;
/// How often an answer is tried while somebody else is in the control file, which is a moment while the gadget is unbound.
const TRIES: u32 = 100;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(1);

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
}

impl Answerer {
    /// Starts it. `waker` ends the wait when an answer is through.
    pub(crate) fn new(waker: Waker) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let its = Arc::clone(&shared);
        let builder = thread::Builder::new().name("ep0".into()).stack_size(STACK_SIZE);
        let thread = builder.spawn(move || serve(&its, &waker))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Gives an answer. What is still under way is forgotten: it is of a request that is gone.
    pub(crate) fn start(&self, file: &Arc<OwnedFd>, answer: Answer) {
        let mut state = self.shared.lock();
        state.last_id += 1;
        state.done = None;
        state.job = Some(Job { id: state.last_id, file: Arc::clone(file), answer });
        self.shared.changed.notify_one();
    }

    /// The end of the answer started last, once it is there; with the data taken.
    pub(crate) fn take(&self) -> Option<Result<Vec<u8>, Errno>> {
        let mut state = self.shared.lock();
        let last = state.last_id;
        state.done.take_if(|(id, _)| *id == last).map(|(_, result)| result)
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
        self.shared.changed.notify_one();
    }
}

fn serve(shared: &Shared, waker: &Waker) {
    // A signal would end the wait in the kernel, and with it the request.
    signals::block_all();
    let mut state = shared.lock();
    while !state.end {
        let Some(Job { id, file, answer }) = state.job.take() else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        let result = give(&file, &answer);
        drop(file);
        state = shared.lock();
        state.done = Some((id, result));
        waker.wake();
    }
}

fn give(file: &Arc<OwnedFd>, answer: &Answer) -> Result<Vec<u8>, Errno> {
    for _ in 0..TRIES {
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
