//! Control requests with any bmRequestType, and any numbers: nusb knows no reserved ones.
#![allow(unsafe_code, reason = "ioctl(2) is what Linux has for it, and its requests have pointers in them")]

use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::Path,
    ptr,
    time::Duration,
};

use inband_usb::Setup;

/// struct usbdevfs_urb (linux/usbdevice_fs.h), without packets of isochronous transfers.
#[repr(C)]
struct Urb {
    kind: u8,
    endpoint: u8,
    status: i32,
    flags: u32,
    buffer: *mut c_void,
    buffer_length: i32,
    actual_length: i32,
    start_frame: i32,
    stream: u32,
    error_count: i32,
    signal: u32,
    context: *mut c_void,
}

/// USBDEVFS_URB_TYPE_CONTROL.
const CONTROL: u8 = 2;
/// Requests of usbfs, by number.
const SUBMIT: libc::Ioctl = libc::_IOR::<Urb>(b'U' as u32, 10);
const DISCARD: libc::Ioctl = libc::_IO(b'U' as u32, 11);
const REAP: libc::Ioctl = libc::_IOW::<*mut c_void>(b'U' as u32, 12);
const CLAIM: libc::Ioctl = libc::_IOR::<u32>(b'U' as u32, 15);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Bytes(usize),
    Stall,
    /// This kernel does not let it out: there is no such endpoint, or no such interface.
    NotSent,
}

/// A device, opened with its first interface claimed.
pub(crate) struct Raw {
    file: File,
}

impl Raw {
    pub(crate) fn open(node: &Path) -> io::Result<Self> {
        let raw = Self { file: OpenOptions::new().read(true).write(true).open(node)? };
        let mut interface: u32 = 0;
        raw.request(CLAIM, ptr::from_mut(&mut interface).cast())?;
        Ok(raw)
    }

    /// Makes a request, with rubbish where there is data to send. One that takes longer than `limit` is an error.
    pub(crate) fn ask(&self, setup: Setup, limit: Duration) -> io::Result<Reply> {
        let mut buffer = vec![0x5a; 8 + usize::from(setup.length)];
        buffer[..8].copy_from_slice(&setup.to_bytes());
        let mut urb = Box::new(Urb {
            kind: CONTROL,
            endpoint: 0,
            status: 0,
            flags: 0,
            buffer: buffer.as_mut_ptr().cast(),
            buffer_length: buffer.len() as i32,
            actual_length: 0,
            start_frame: 0,
            stream: 0,
            error_count: 0,
            signal: 0,
            context: ptr::null_mut(),
        });
        let pointer = ptr::from_mut(urb.as_mut()).cast();
        match self.request(SUBMIT, pointer) {
            Ok(()) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
                return Ok(Reply::NotSent);
            }
            Err(error) => return Err(error),
        }
        let late = !self.wait(limit)?;
        if late {
            // It may have ended meanwhile.
            let _ = self.request(DISCARD, pointer);
        }
        let mut reaped: *mut c_void = ptr::null_mut();
        self.request(REAP, ptr::from_mut(&mut reaped).cast())?;
        // The kernel has filled it in, and has done with the buffer.
        match (late, urb.status) {
            (true, _) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            (false, 0) => Ok(Reply::Bytes(urb.actual_length.max(0) as usize)),
            (false, status) if status == -libc::EPIPE => Ok(Reply::Stall),
            (false, status) => Err(io::Error::from_raw_os_error(-status)),
        }
    }

    /// Whether a transfer has ended within that time.
    fn wait(&self, limit: Duration) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: `poll` is one entry, as is said, and lives until the call returns.
        match unsafe { libc::poll(&raw mut poll, 1, limit.as_millis() as i32) } {
            -1 => Err(io::Error::last_os_error()),
            ended => Ok(ended > 0),
        }
    }

    fn request(&self, number: libc::Ioctl, argument: *mut c_void) -> io::Result<()> {
        // SAFETY: the descriptor is open; each request above is given what it takes: SUBMIT and DISCARD an URB whose buffer is as long as it says
        // and which is reaped before either is dropped (DISCARD only looks it up), REAP room for a pointer, CLAIM a number.
        match unsafe { libc::ioctl(self.file.as_raw_fd(), number, argument) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
