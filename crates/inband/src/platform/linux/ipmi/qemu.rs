//! The socket of a virtual BMC, which takes us for QEMU (docs/spec/ipmi.md, 6). One connection for each question: it serves one host at a time.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use inband_ipmi::{
    vm::qemu::{self, Decoder},
    wire::Request,
};

use crate::ipmi::{Answer, Link, LinkError};

/// What QEMU says when it has connected: version 1 of the framing, and what its machine can do, which is nothing here.
const GREETING: [&[u8]; 2] = [&[0xff, 1], &[0x08, 0]];
/// How long the BMC may leave what we send where it is.
const WRITE: Duration = Duration::from_secs(2);

/// A socket at which a BMC listens.
pub(super) struct Socket {
    path: PathBuf,
    stream: Option<(UnixStream, Decoder)>,
    start: Instant,
}

impl Socket {
    /// Nothing is connected yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, stream: None, start: Instant::now() }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_write_timeout(Some(WRITE))?;
        for word in GREETING {
            stream.write_all(&qemu::control(word))?;
        }
        Ok(stream)
    }

    fn read(&mut self, wait: Duration) -> io::Result<Option<Answer>> {
        let Some((stream, decoder)) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let mut bytes = [0; 512];
        let length = match stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let answer = bytes[..length].iter().find_map(|byte| decoder.push(*byte));
        Ok(answer.map(|answer| Answer {
            number: answer.sequence,
            netfn: answer.netfn,
            command: answer.command,
            reply: answer.reply,
        }))
    }
}

impl Link for Socket {
    fn send(&mut self, number: u8, request: &Request<'_>) -> Result<(), LinkError> {
        let bytes = qemu::request(number, request.netfn, request.command, request.data);
        let mut stream = self.connect().map_err(LinkError::Lost)?;
        stream.write_all(&bytes).map_err(LinkError::Lost)?;
        self.stream = Some((stream, Decoder::default()));
        Ok(())
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<Answer>, LinkError> {
        let answer = self.read(wait);
        if !matches!(answer, Ok(None)) {
            self.stream = None;
        }
        answer.map_err(LinkError::Lost)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}
