//! The channels that bring a host's IPMI commands (docs/spec/ipmi.md, 6): a thread reads requests, the loop answers them.
//!
//! The thread hands over one request at a time and waits for its answer, so that a host has never more than one with us.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use inband_ipmi::{
    Origin,
    vm::{Decoder, Frame, Message, greeting},
    wire::{Reply, Request},
};
use inband_virtual::socket;

use crate::{config::IpmiChannel, side::Waker};

/// How long the thread waits for anything before it looks whether the daemon ends.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a request may be with the loop: hosts give up behind 4 s.
const ANSWER: Duration = Duration::from_secs(3);

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    message: Message,
    reply: SyncSender<Reply>,
}

impl Asked {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        self.message.request()
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin::System
    }

    /// Answers it.
    pub fn answer(self, reply: Reply) {
        // Whoever asked may be gone.
        let _ = self.reply.try_send(reply);
    }
}

/// A channel. Dropping it ends its thread, and takes its socket away.
#[derive(Debug)]
pub struct Channel {
    asked: Receiver<Asked>,
    over: Arc<AtomicBool>,
    listens_at: Option<PathBuf>,
}

impl Channel {
    /// Serves the channel of the configuration. `wake` is called when there is a request.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(channel_at: &IpmiChannel, wake: Waker) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (asked, received) = channel();
        let server = Server { over: Arc::clone(&over), asked, wake };
        let thread = thread::Builder::new().name("ipmi".into());
        let listens_at = match channel_at {
            IpmiChannel::Qemu(path) => {
                let path = path.clone();
                thread.spawn(move || server.connect(&path))?;
                None
            }
            IpmiChannel::QemuListen(path) => {
                let listener = socket::listen(path)?;
                listener.set_nonblocking(false)?;
                thread.spawn(move || server.accept(&listener))?;
                Some(path.clone())
            }
        };
        Ok(Self { asked: received, over, listens_at })
    }

    /// The next request.
    pub fn poll(&self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(path) = &self.listens_at {
            // Ends the thread's wait.
            let _ = UnixStream::connect(path);
            let _ = fs::remove_file(path);
        }
    }
}

/// The thread.
struct Server {
    over: Arc<AtomicBool>,
    asked: Sender<Asked>,
    wake: Waker,
}

impl Server {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn connect(self, path: &Path) {
        while !self.is_over() {
            match UnixStream::connect(path) {
                Ok(stream) => self.serve(stream),
                // A guest that is not there yet, or no more.
                Err(error) => log::debug!("ipmi: {}: {error}", path.display()),
            }
            if !self.is_over() {
                thread::sleep(PATIENCE);
            }
        }
    }

    fn accept(self, listener: &UnixListener) {
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, _)) if !self.is_over() => self.serve(stream),
                Ok(_) => {}
                Err(error) => {
                    log::warn!("ipmi: {error}");
                    thread::sleep(PATIENCE);
                }
            }
        }
    }

    /// One guest, until it is gone.
    fn serve(&self, stream: UnixStream) {
        log::info!("event=ipmi-connected");
        if let Err(error) = self.converse(stream) {
            log::debug!("ipmi: {error}");
        }
        log::info!("event=ipmi-gone");
    }

    fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.write_all(&greeting())?;
        let mut decoder = Decoder::default();
        let mut bytes = [0; 512];
        while !self.is_over() {
            let length = match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            for frame in bytes[..length].iter().filter_map(|byte| decoder.push(*byte)) {
                match frame {
                    Frame::Request(message) => {
                        if let Some(answer) = self.ask(message) {
                            stream.write_all(&answer)?;
                        }
                    }
                    Frame::Reset => log::info!("event=host-reset"),
                    Frame::Version(_) | Frame::Capabilities(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The bytes of the answer; none if there is none in time, so that the host asks again.
    fn ask(&self, message: Message) -> Option<Vec<u8>> {
        let (reply, answered) = sync_channel(1);
        self.asked.send(Asked { message: message.clone(), reply }).ok()?;
        (self.wake)();
        let reply = answered.recv_timeout(ANSWER).ok()?;
        Some(message.reply(&reply))
    }
}
