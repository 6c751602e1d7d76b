//! Programs as processes, each watched by a thread of its own.

use std::{
    io::{self, PipeReader, Read as _, pipe},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};

use super::{Exit, Runner, Task, output::Output};

/// Bytes of output that are still read once the program has ended: as much as a pipe holds.
const LEFT_BEHIND: usize = 64 * 1024;
/// What the service manager tells the daemon and no program of its own.
const PRIVATE: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How a process stands, for whoever wants to kill it: a number that has been given back may be another's.
#[derive(Clone, Copy, Debug)]
enum Process {
    /// Not started yet.
    Coming,
    /// It can be killed.
    Here(Pid),
    /// It is to be killed as soon as it is here.
    Unwanted,
    /// It has ended.
    Gone,
}

type Shared = Arc<Mutex<Process>>;

/// A program that was started, and not forgotten since.
#[derive(Debug)]
struct Run {
    task: Task,
    number: u64,
    process: Shared,
}

/// Runs programs as processes.
pub struct Programs {
    wake: Arc<dyn Fn() + Send + Sync>,
    exits: Receiver<(u64, Exit)>,
    exit: Sender<(u64, Exit)>,
    runs: Vec<Run>,
    last: u64,
}

impl Programs {
    /// `wake` is called whenever [`Runner::poll`] has something to tell.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (exit, exits) = channel();
        Self { wake: Arc::new(wake), exits, exit, runs: Vec::new(), last: 0 }
    }
}

impl Runner for Programs {
    fn start(&mut self, task: Task, command: &[String]) {
        self.kill(task);
        self.last += 1;
        let (number, command) = (self.last, command.to_vec());
        let process = Arc::new(Mutex::new(Process::Coming));
        self.runs.push(Run { task, number, process: Arc::clone(&process) });
        let (exit, wake) = (self.exit.clone(), Arc::clone(&self.wake));
        let tell = move |end| {
            // Nobody listens only when the daemon ends.
            let _ = exit.send((number, end));
            wake();
        };
        let watch = {
            let tell = tell.clone();
            move || tell(run(task, &command, &process))
        };
        if let Err(error) = thread::Builder::new().name(task.name().into()).spawn(watch) {
            tell(Exit::NotStarted(error.to_string()));
        }
    }

    fn kill(&mut self, task: Task) {
        for run in self.runs.extract_if(.., |run| run.task == task) {
            let mut process = run.process.lock().unwrap_or_else(PoisonError::into_inner);
            match *process {
                Process::Coming => *process = Process::Unwanted,
                Process::Here(leader) => kill(task, leader),
                Process::Unwanted | Process::Gone => {}
            }
        }
    }

    fn poll(&mut self) -> Option<(Task, Exit)> {
        while let Ok((number, exit)) = self.exits.try_recv() {
            if let Some(at) = self.runs.iter().position(|run| run.number == number) {
                return Some((self.runs.swap_remove(at).task, exit));
            }
        }
        None
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // The restart is what ends the daemon, so it goes on.
        self.kill(Task::Health);
    }
}

fn kill(task: Task, leader: Pid) {
    let result = match task {
        Task::Health => kill_process_group(leader, Signal::KILL),
        // A restart may well leave something behind that does the rest.
        Task::Restart => kill_process(leader, Signal::KILL),
    };
    match result {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => log::warn!("cannot kill the {} command: {error}", task.name()),
    }
}

/// Runs a program to its end.
fn run(task: Task, command: &[String], process: &Shared) -> Exit {
    match spawn(command) {
        Ok((child, output)) => watch(task, child, output, process),
        Err(error) => {
            let program = command.first().map_or("", String::as_str);
            Exit::NotStarted(format!("{program}: {error}"))
        }
    }
}

fn spawn(command: &[String]) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (output, input) = pipe()?;
    let mut command = Command::new(program);
    for name in PRIVATE {
        command.env_remove(name);
    }
    let child = command
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .spawn()?;
    Ok((child, output))
}

fn watch(task: Task, mut child: Child, output: PipeReader, process: &Shared) -> Exit {
    let lock = || process.lock().unwrap_or_else(PoisonError::into_inner);
    let leader = Pid::from_child(&child);
    {
        let mut process = lock();
        match *process {
            Process::Unwanted => kill(task, leader),
            Process::Coming | Process::Here(_) | Process::Gone => *process = Process::Here(leader),
        }
    }
    let listener = pipe().and_then(|(over, ends)| {
        let listen = move || listen(task, output, &over);
        let thread = thread::Builder::new().name("output".into()).spawn(listen)?;
        Ok((thread, ends))
    });
    // Not reaped yet: the number of its group stays its own until those that it left behind are gone, too.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(leader), ended), Err(Errno::INTR)) {}
    {
        let mut process = lock();
        if task == Task::Health {
            kill(task, leader);
        }
        *process = Process::Gone;
    }
    let status = child.wait();
    if let Ok((thread, ends)) = listener {
        drop(ends);
        // A panic of the listener has been printed by its own thread.
        let _ = thread.join();
    }
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => Exit::Code(code),
        Ok((None, signal)) => Exit::Signal(signal.unwrap_or_default()),
        Err(error) => Exit::NotStarted(error.to_string()),
    }
}

/// Passes on what a program says, until it is `over`: whoever else holds its output open is not waited for.
fn listen(task: Task, mut output: PipeReader, over: &PipeReader) {
    let mut lines = Output::new(|line| log::info!("{} command: {line}", task.name()));
    let mut chunk = [0; 4096];
    let mut left = LEFT_BEHIND;
    loop {
        let mut watched = [PollFd::new(&output, PollFlags::IN), PollFd::new(over, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => break,
        }
        let [readable, ended] = watched.map(|watched| !watched.revents().is_empty());
        if ended && (!readable || left == 0) {
            break;
        }
        if readable {
            match output.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(length) => lines.take(&chunk[..length]),
            }
        }
        if ended {
            left = left.saturating_sub(chunk.len());
        }
    }
    lines.end();
}

#[cfg(test)]
mod tests;
