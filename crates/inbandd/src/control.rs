//! The control socket: commands to a running daemon from root, or whoever the daemon runs as.
//!
//! A thread takes one connection after the other, reads one short line from it with a limit of time, hands the command to the loop
//! and writes the answer. Whatever is at the other end, the loop waits for none of it.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{net::sockopt::socket_peercred, process::getuid};

use crate::command::{Answer, Ask};

/// Bytes of the longest line, its break included.
const LINE: usize = 64;
/// The time in which a line must have come, and an answer must have been taken.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time in which the daemon answers.
const ANSWER: Duration = Duration::from_secs(10);
/// From an accept that failed to the next one.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of the longest answer.
const ANSWER_LENGTH: u64 = 64 * 1024;

/// A command that waits for its answer.
#[derive(Debug)]
pub struct Request {
    /// The command.
    pub ask: Ask,
    answer: SyncSender<Answer>,
}

impl Request {
    /// Answers it.
    pub fn answer(self, answer: Answer) {
        log::info!("event=command command=\"{}\" answer={}", self.ask.line(), answer.name());
        // Whoever asked may be tired of waiting.
        let _ = self.answer.try_send(answer);
    }
}

/// The socket. Dropping it takes it away.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    requests: Receiver<Request>,
    over: Arc<AtomicBool>,
}

impl Control {
    /// Listens at this path. `wake` is called when there is a command. A socket that is there already is replaced: the caller owns
    /// the store, so that no other daemon can be at it.
    ///
    /// # Errors
    /// The socket cannot be made, or something else has its name.
    pub fn start(path: &Path, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        // Whoever is faster than this is told apart by who they are.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let (requests, received) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        thread::Builder::new().name("control".into()).spawn(move || {
            while !ended.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        if let Err(error) = serve(stream, &requests, &wake) {
                            log::debug!("control socket: {error}");
                        }
                    }
                    Err(error) => {
                        log::warn!("control socket: {error}");
                        thread::sleep(AGAIN);
                    }
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), requests: received, over })
    }

    /// The next command.
    pub fn poll(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Ends the thread's wait; one that is at a connection ends in seconds, and nobody waits for it.
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
    }
}

/// One connection: a command, its answer.
fn serve(mut stream: UnixStream, requests: &Sender<Request>, wake: &impl Fn()) -> io::Result<()> {
    let peer = socket_peercred(&stream)?.uid;
    if !peer.is_root() && peer != getuid() {
        return Err(io::Error::other(format!("user {} may not ask", peer.as_raw())));
    }
    stream.set_write_timeout(Some(PATIENCE))?;
    let line = read_line(&mut stream)?;
    let answer = match Ask::parse(&line) {
        None => Answer::Unknown,
        Some(ask) => {
            let (answer, answered) = sync_channel(1);
            requests.send(Request { ask, answer }).map_err(io::Error::other)?;
            wake();
            match answered.recv_timeout(ANSWER) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Answer::Busy,
            }
        }
    };
    stream.write_all(answer.text().as_bytes())
}

/// A line, without its break. However the bytes come, they come in time.
fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut line = [0; LINE];
    let mut length = 0;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut line[length..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if let Some(end) = line[..length].iter().position(|&byte| byte == b'\n') {
            return Ok(line[..end].to_vec());
        }
        if length == LINE {
            return Err(io::Error::other("a line that is too long"));
        }
    }
}

/// Asks a running daemon. Returns the exit code, the line of JSON and the text for people.
///
/// # Errors
/// No daemon answers there, or what answers is none.
pub fn ask(path: &Path, ask: Ask) -> io::Result<(u8, String, String)> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER + PATIENCE))?;
    stream.write_all(format!("{}\n", ask.line()).as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_LENGTH).read_to_string(&mut answer)?;
    let parts = answer.split_once('\n').and_then(|(json, text)| {
        let exit = json.strip_prefix("{\"exit\":")?.split(',').next()?.parse().ok()?;
        Some((exit, json.to_owned(), text.to_owned()))
    });
    parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it gave no answer"))
}

#[cfg(test)]
mod tests {
    use std::thread::JoinHandle;

    use super::*;

    /// A socket, and a daemon that answers `done` to all.
    fn control(folder: &Path) -> (PathBuf, Arc<AtomicBool>, JoinHandle<()>) {
        let path = folder.join("control");
        let (wake, woken) = channel();
        let control = Control::start(&path, move || _ = wake.send(())).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let daemon = thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                if woken.recv_timeout(Duration::from_millis(20)).is_ok() {
                    while let Some(request) = control.poll() {
                        request.answer(Answer::Done);
                    }
                }
            }
        });
        (path, over, daemon)
    }

    fn raw(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        // A connection that is closed with bytes unread is reset.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn a_command_is_answered_and_nothing_else_harms() {
        let folder = tempfile::tempdir().unwrap();
        // What an earlier daemon left when it was killed.
        drop(UnixListener::bind(folder.path().join("control")).unwrap());
        let (path, over, daemon) = control(folder.path());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(raw(&path, b"frobnicate\n").lines().next().unwrap().get(..10), Some("{\"exit\":2,"));
        // Too long; in pieces and never ended; nothing at all.
        assert_eq!(raw(&path, &[b'a'; 1000]), "");
        assert_eq!(raw(&path, b"stat"), "");
        drop(UnixStream::connect(&path).unwrap());
        assert_eq!(raw(&path, b"status\nmore"), Answer::Done.text());
        assert_eq!(ask(&path, Ask::Abort).unwrap().0, 0);
        over.store(true, Ordering::Release);
        daemon.join().unwrap();
        assert!(!path.exists(), "it is taken away");
        assert!(ask(&path, Ask::Status).is_err());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        fs::write(&path, "mine").unwrap();
        assert!(Control::start(&path, || {}).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
