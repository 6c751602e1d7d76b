//! Linux's devices for the BMC's end of KCS, BT and SSIF (docs/spec/ipmi.md, 7): inbandd has one of its own.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::{fd::AsFd, unix::fs::FileTypeExt as _},
    path::Path,
    time::Duration,
};

use inband_ipmi::{
    Origin,
    device::{Framing, READ},
};
use rustix::{
    event::PollFlags,
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{Line, Waited};

#[cfg(test)]
mod tests;

/// What the log has of a device: a line when it is there and one when it is not, so that one that comes and goes does not fill it.
struct Story<'a> {
    path: &'a Path,
    told: Option<Told>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Serves,
    Gone,
}

impl Story<'_> {
    /// A host was heard: it does serve.
    fn heard(&mut self) {
        if self.told != Some(Told::Serves) {
            log::info!("event=ipmi-serves device={}", self.path.display());
            self.told = Some(Told::Serves);
        }
    }

    fn opened(&mut self) {
        // Behind a failure that is no news before a host was heard.
        if self.told.is_none() {
            self.heard();
        }
    }

    fn gone(&mut self, error: &io::Error) {
        let path = self.path.display();
        if self.told == Some(Told::Gone) {
            log::debug!("ipmi: {path}: {error}");
        } else {
            log::warn!("event=ipmi-gone device={path} reason: {error}; it is tried again each second");
            self.told = Some(Told::Gone);
        }
    }
}

/// Serves a device, now and whenever it is there again.
pub(super) fn serve(line: &mut Line, framing: Framing, path: &Path) {
    let mut story = Story { path, told: None };
    loop {
        let end = open(path).and_then(|mut device| {
            story.opened();
            converse(line, framing, &mut device, &mut story)
        });
        match end {
            Ok(()) => return,
            Err(error) => story.gone(&error),
        }
        if !line.rest() {
            return;
        }
    }
}

/// One opener at a time has it: EBUSY, if that is somebody else.
fn open(path: &Path) -> io::Result<File> {
    // A terminal, which stands in for a device in tests, is not to become ours.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let device = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if device.metadata()?.file_type().is_char_device() {
        Ok(device)
    } else {
        Err(io::Error::other("it is no character device"))
    }
}

/// Answers until the daemon ends.
///
/// # Errors
/// The device is gone.
fn converse<D: Read + Write + AsFd>(
    line: &mut Line,
    framing: Framing,
    device: &mut D,
    story: &mut Story<'_>,
) -> io::Result<()> {
    // One more than there can be: what is longer is not taken for something else.
    let mut bytes = [0; READ + 1];
    loop {
        let events = match line.wait(&*device, PollFlags::IN, None) {
            Waited::Ready(events) => events,
            Waited::InVain => continue,
            Waited::Closed => return Ok(()),
        };
        let is_there = !events.intersects(PollFlags::HUP | PollFlags::ERR);
        let length = match device.read(&mut bytes) {
            // What the driver of BT makes of a message without a byte. One that always does so must not keep us busy.
            Ok(0) if is_there => {
                if line.rest() {
                    continue;
                }
                return Ok(());
            }
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            // The host has thought better of it meanwhile.
            Err(error) if error.kind() == ErrorKind::WouldBlock && is_there => continue,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(request) = framing.decode(&bytes[..length]) else {
            log::debug!("ipmi: no request: {length} bytes");
            continue;
        };
        story.heard();
        let Some(reply) = line.ask(Origin::System, request.message.clone()) else { continue };
        if may_write(line, framing, device) {
            write(device, &request.reply(&reply))?;
        }
    }
}

/// Whether the host still wants the reply to the request that was read last, and takes it.
fn may_write(line: &Line, framing: Framing, device: &impl AsFd) -> bool {
    match framing {
        // Another request is there already: the host has given up on this one, and would take its reply for the other's.
        Framing::Kcs | Framing::Ssif => {
            line.wait(device, PollFlags::IN, Some(Duration::ZERO)) == Waited::InVain
        }
        // Replies have numbers. The last one may not have been fetched yet; to write would be to wait for that.
        Framing::Bt => matches!(line.wait(device, PollFlags::OUT, Some(line.patience)), Waited::Ready(_)),
    }
}

fn write(device: &mut impl Write, reply: &[u8]) -> io::Result<()> {
    let written = device.write(reply);
    match written.as_ref().err().and_then(Errno::from_io_error) {
        // The host is gone, was reset, or does something else meanwhile: what each of the drivers says of that.
        Some(Errno::INVAL | Errno::IO | Errno::AGAIN | Errno::INTR) => {
            log::debug!("ipmi: nobody takes the reply");
            Ok(())
        }
        _ => written.map(|_| ()),
    }
}
