//! Linux's asynchronous I/O (io_setup(2) and its kin) with buffers that belong to the queue while the kernel has them.
//!
//! FunctionFS serves endpoint files through it without a thread for each, and can take a transfer back. io_uring
//! cannot: its cancellation does not reach FunctionFS, which ends such a read only with the connection.
#![allow(unsafe_code, reason = "no crate offers io_submit; libc has the numbers only")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use inband_usb::Direction;
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};

/// IOCB_CMD_PREAD and IOCB_CMD_PWRITE of linux/aio_abi.h.
const PREAD: u16 = 0;
const PWRITE: u16 = 1;
/// IOCB_FLAG_RESFD: `resfd` is told of the completion.
const FLAG_RESFD: u32 = 1;
/// Completions fetched with one call.
const BATCH: usize = 16;

/// `struct iocb` of linux/aio_abi.h: 64 bytes wherever Linux runs, pointers and lengths being 64 bits wide also on a processor
/// of 32 bits.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    /// `aio_key` and `aio_rw_flags`, in the order of the byte order; both are 0 from us, and the kernel writes the key.
    key_and_flags: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct IoEvent {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<IoEvent>() == 32);

/// A transfer the kernel has.
struct InFlight<T> {
    /// What io_cancel names it by: the address it was submitted from.
    iocb: Box<Iocb>,
    /// The kernel reads or writes it until the completion is fetched.
    buffer: Vec<u8>,
    tag: T,
}

/// A transfer that has ended.
pub(crate) struct Ended<T> {
    pub(crate) tag: T,
    pub(crate) buffer: Vec<u8>,
    /// Bytes moved.
    pub(crate) result: Result<usize, Errno>,
}

/// An AIO context and what is in flight in it, each transfer with a tag of the caller's.
pub(crate) struct Queue<T> {
    context: libc::c_ulong,
    event: OwnedFd,
    /// The position is `data` of the iocb.
    in_flight: Vec<Option<InFlight<T>>>,
}

impl<T> Queue<T> {
    /// A queue for so many transfers. `ENOSYS` where the kernel is built without CONFIG_AIO.
    pub(crate) fn new(depth: usize) -> Result<Self, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut context: libc::c_ulong = 0;
        let wanted = depth as libc::c_ulong;
        // SAFETY: io_setup writes the context it is pointed to, and keeps no pointer.
        check(unsafe { libc::syscall(libc::SYS_io_setup, wanted, &raw mut context) })?;
        Ok(Self { context, event, in_flight: (0..depth).map(|_| None).collect() })
    }

    /// Is counted up with each completion, and never read: to be waited for by its edges.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Hands a buffer to the kernel: to be filled from an OUT endpoint's file, or to be sent to an IN endpoint's. It comes back
    /// by [`reap`](Self::reap), or at once with why it was not taken: `EAGAIN` if as many are in flight as fit.
    pub(crate) fn submit(
        &mut self,
        file: BorrowedFd<'_>,
        direction: Direction,
        mut buffer: Vec<u8>,
        tag: T,
    ) -> Result<(), (Vec<u8>, Errno)> {
        let Some(place) = self.in_flight.iter().position(Option::is_none) else {
            return Err((buffer, Errno::AGAIN));
        };
        let mut iocb = Box::new(Iocb {
            data: place as u64,
            opcode: match direction {
                Direction::Out => PREAD,
                Direction::In => PWRITE,
            },
            fd: file.as_raw_fd() as u32,
            buffer: buffer.as_mut_ptr() as usize as u64,
            length: buffer.len() as u64,
            flags: FLAG_RESFD,
            resfd: self.event.as_raw_fd() as u32,
            ..Iocb::default()
        });
        let mut list = [ptr::from_mut(&mut *iocb)];
        // SAFETY: the list holds one pointer to a whole iocb; the kernel copies it and writes its key during the call. The
        // buffer it names holds `length` bytes, all initialised, and is neither moved, read nor freed before the
        // completion was fetched: it stays in `in_flight`, which only `reap` takes it from, and `drop` waits for the kernel.
        let submitted = check(unsafe {
            libc::syscall(libc::SYS_io_submit, self.context, 1 as libc::c_long, list.as_mut_ptr())
        });
        match submitted {
            Ok(_) => {
                self.in_flight[place] = Some(InFlight { iocb, buffer, tag });
                Ok(())
            }
            Err(error) => Err((buffer, error)),
        }
    }

    /// Asks for the end of all transfers whose tag fits. They end soon, with `ECONNRESET`, as they would have, or with what else their controller's driver calls it.
    pub(crate) fn cancel(&mut self, fits: impl Fn(&T) -> bool) {
        for transfer in self.in_flight.iter_mut().flatten().filter(|transfer| fits(&transfer.tag)) {
            let mut unused = IoEvent::default();
            // SAFETY: the kernel reads the key of the iocb, which is alive and where it was at io_submit, and uses its address
            // as a name. It may write the event, as kernels before 4.0 did. It keeps no pointer.
            let asked = check(unsafe {
                libc::syscall(
                    libc::SYS_io_cancel,
                    self.context,
                    ptr::from_mut(&mut *transfer.iocb),
                    &raw mut unused,
                )
            });
            // EINPROGRESS is success; EINVAL says that it has ended already.
            if let Err(error) = asked
                && error != Errno::INPROGRESS
                && error != Errno::INVAL
            {
                log::debug!("io_cancel: {error}");
            }
        }
    }

    /// The tags of what is in flight.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &T> {
        self.in_flight.iter().flatten().map(|transfer| &transfer.tag)
    }

    /// As [`tags`](Self::tags), to be changed.
    pub(crate) fn tags_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.in_flight.iter_mut().flatten().map(|transfer| &mut transfer.tag)
    }

    /// Fetches what has ended, in the order it did.
    pub(crate) fn reap(&mut self, mut each: impl FnMut(Ended<T>)) {
        // Every completion is counted when it is there to be fetched, so what ends behind this is told of.
        loop {
            let mut events = [IoEvent::default(); BATCH];
            // SAFETY: the kernel writes at most BATCH events to the array; with a minimum of 0 it does not wait, so that
            // no timeout is needed. It keeps no pointer.
            let fetched = check(unsafe {
                libc::syscall(
                    libc::SYS_io_getevents,
                    self.context,
                    0 as libc::c_long,
                    BATCH as libc::c_long,
                    events.as_mut_ptr(),
                    ptr::null_mut::<libc::timespec>(),
                )
            });
            let count = match fetched {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    log::warn!("io_getevents: {error}");
                    return;
                }
            };
            for event in &events[..count] {
                let place = usize::try_from(event.data).ok();
                let Some(ended) = place.and_then(|place| self.in_flight.get_mut(place)?.take()) else {
                    continue;
                };
                let InFlight { buffer, tag, .. } = ended;
                let result = match usize::try_from(event.result) {
                    Ok(length) => Ok(length.min(buffer.len())),
                    Err(_) => Err(errno(event.result)),
                };
                each(Ended { tag, buffer, result });
            }
            if count < BATCH {
                return;
            }
        }
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        // SAFETY: the context is ours and used for the last time. The call cancels what is in flight and returns when the
        // kernel has let go of all buffers, which are freed only then.
        let _ = unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

/// Whether the kernel has AIO at all.
pub(crate) fn is_there() -> bool {
    Queue::<()>::new(1).is_ok()
}

/// A system call's result.
fn check(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let error = io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

/// The error of a negative result.
fn errno(result: i64) -> Errno {
    let number = i32::try_from(result.saturating_neg()).unwrap_or(libc::EIO);
    Errno::from_io_error(&io::Error::from_raw_os_error(number)).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, os::fd::AsFd as _};

    use super::*;

    /// All that has ended, once something has.
    fn wait(queue: &mut Queue<u8>) -> Vec<Ended<u8>> {
        let mut ended = Vec::new();
        while ended.is_empty() {
            let mut descriptor = [rustix::event::PollFd::new(&queue.event, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut descriptor, None).unwrap();
            queue.reap(|one| ended.push(one));
        }
        ended
    }

    #[test]
    fn buffers_travel_through_the_kernel_and_come_home() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let Ok(mut queue) = Queue::new(2) else {
            // A kernel without CONFIG_AIO, or one that refuses it in here.
            assert!(!is_there());
            return;
        };
        queue.submit(file.as_fd(), Direction::Out, vec![0; 16], 7).unwrap();
        let [ended] = <[_; 1]>::try_from(wait(&mut queue)).ok().unwrap();
        assert_eq!((ended.tag, ended.result), (7, Ok(10)));
        assert_eq!(&ended.buffer[..10], b"0123456789");

        queue.submit(file.as_fd(), Direction::In, b"abc".to_vec(), 8).unwrap();
        let [ended] = <[_; 1]>::try_from(wait(&mut queue)).ok().unwrap();
        assert_eq!((ended.tag, ended.result), (8, Ok(3)));
        assert_eq!(std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap(), b"abc3456789");
    }

    #[test]
    fn a_file_that_cannot_be_used_gives_the_buffer_back() {
        let Ok(mut queue) = Queue::new(1) else { return };
        // Neither a file that is not open for writing nor a folder takes data.
        let folder = File::open("/").unwrap();
        let refused = queue.submit(folder.as_fd(), Direction::In, vec![1, 2, 3], 0);
        assert_eq!(refused.err().map(|(buffer, _)| buffer), Some(vec![1, 2, 3]));
        assert_eq!(queue.tags().count(), 0);
    }
}
