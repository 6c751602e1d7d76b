//! QEMU's external BMC (docs/spec/ipmi.md, 6): inbandd is the only BMC of a guest.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
};

use inband_ipmi::{
    Origin,
    vm::{Decoder, Frame, greeting},
};
use rustix::event::PollFlags;

use super::{ANSWER, Line, Waited};

/// QEMU listens.
pub(super) fn connect(line: &mut Line, path: &Path) {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => serve(line, stream),
            // A guest that is not there yet, or no more.
            Err(error) => log::debug!("ipmi: {}: {error}", path.display()),
        }
        if !line.rest() {
            return;
        }
    }
}

/// QEMU connects.
pub(super) fn accept(line: &mut Line, listener: &UnixListener) {
    while line.wait(listener, PollFlags::IN, None) != Waited::Closed {
        match listener.accept() {
            Ok((stream, _)) => serve(line, stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("ipmi: {error}");
                if !line.rest() {
                    return;
                }
            }
        }
    }
}

/// One guest, until it is gone.
fn serve(line: &mut Line, stream: UnixStream) {
    log::info!("event=ipmi-connected");
    if let Err(error) = converse(line, stream) {
        log::debug!("ipmi: {error}");
    }
    log::info!("event=ipmi-gone");
}

fn converse(line: &mut Line, mut stream: UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(&greeting())?;
    let mut decoder = Decoder::default();
    let mut bytes = [0; 512];
    while line.wait(&stream, PollFlags::IN, None) != Waited::Closed {
        let length = match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for frame in bytes[..length].iter().filter_map(|byte| decoder.push(*byte)) {
            match frame {
                Frame::Request(request) => {
                    if let Some(reply) = line.ask(Origin::System, request.message.clone()) {
                        stream.write_all(&request.reply(&reply))?;
                    }
                }
                Frame::Reset => line.host_was_reset(),
                Frame::Version(_) | Frame::Capabilities(_) => {}
            }
        }
    }
    Ok(())
}
