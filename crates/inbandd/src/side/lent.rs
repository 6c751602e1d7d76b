//! The kernel's own disk, where it has no FunctionFS for a device of ours (docs/kernels.md).

use std::{
    collections::VecDeque,
    fmt, io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    task::Poll,
    time::Duration,
};

use inband_gadget::{
    GadgetError,
    mass_storage::{Backing, Bus, DiskError, Event, Inquiry, KernelDisk, Sealed},
};
use inband_usb::{ControlError, DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, SubmitError};
use inband_volume::{bot::wire, scsi::BLOCK, sparse::PAGE};

use super::{Side, Waker, udc};
use crate::{
    bmc::{Lender, Look, Pages, Profile, inquiry},
    config::{Config, Usb},
    error::Error,
};

/// What waits for the kernel's disk: nothing wakes it but the BMC itself.
pub struct Lent {
    backend: LentBackend,
    controller: String,
    woken: Receiver<()>,
    waker: SyncSender<()>,
}

impl Lent {
    /// Makes the disk. Its losses are in the log then.
    pub(crate) fn open(config: &Config) -> Result<(Self, LentBackend), Error> {
        let identity = inquiry(Profile::Raw, 0);
        let inquiry =
            Inquiry { vendor: identity.vendor, product: identity.product, revision: identity.revision };
        let disk = KernelDisk::open(&udc::options(config), &inquiry).map_err(|error| match error {
            DiskError::Gadget(error) => udc::unavailable(config, error),
            error => Error::Usb {
                what: config.usb.to_string(),
                message: format!("the kernel has no FunctionFS (CONFIG_USB_CONFIGFS_F_FS), and {error}"),
            },
        })?;
        log::info!(
            "event=kernel-disk-ready doors dfu and bulk are shut, and no page can be read by USB: {}",
            disk.probe()
        );
        let controller = disk.probe().controller.name.clone();
        let (waker, woken) = mpsc::sync_channel(1);
        let state = State { disk, first: [0; BLOCK], own: 0, events: VecDeque::new(), failed: None };
        let backend = LentBackend(Arc::new(Mutex::new(state)));
        Ok((Self { backend: backend.clone(), controller, woken, waker }, backend))
    }
}

impl Side for Lent {
    type Backend = LentBackend;

    // The kernel finds them for its disk, or does not show it.
    fn has_bulk_endpoints(&self) -> bool {
        true
    }

    fn can_halt(&self) -> bool {
        true
    }

    fn lender(&self) -> Option<Arc<dyn Lender>> {
        Some(Arc::new(self.backend.clone()))
    }

    fn wait(&mut self, limit: Duration) {
        // Woken or not, what there is to do is looked for.
        let _ = self.woken.recv_timeout(limit);
    }

    fn waker(&self) -> Waker {
        let waker = self.waker.clone();
        // Where there is no room it is awake already.
        Arc::new(move || _ = waker.try_send(()))
    }
}

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kernel-disk udc={}", Usb::Gadget, self.controller)
    }
}

/// The disk on the bus. Of requests and transfers it knows nothing: they are the kernel's.
#[derive(Clone)]
pub struct LentBackend(Arc<Mutex<State>>);

struct State {
    disk: KernelDisk,
    /// The first block of the medium, as it was inserted.
    first: [u8; BLOCK],
    /// Bytes of memory that the medium took then.
    own: u64,
    events: VecDeque<DeviceEvent>,
    /// Why it is of no use any more.
    failed: Option<DiskError>,
}

impl LentBackend {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, first: &[u8; BLOCK], bytes: u64, writable: bool) -> Result<(), DiskError> {
        let failed = |source| GadgetError::System { what: "make a medium".into(), source };
        let backing = Backing::new(bytes / BLOCK as u64)?;
        self.own = begin(&backing, first).map_err(failed)?;
        self.first = *first;
        if writable { self.disk.insert(backing) } else { self.disk.insert(backing.seal()?) }
    }

    fn remove(&mut self) -> Result<(), DiskError> {
        self.disk.eject()?;
        self.disk.take().map(drop)
    }

    fn look(&mut self) -> Result<Look, DiskError> {
        let written = self.disk.memory().saturating_sub(self.own);
        while let Some(event) = self.disk.poll()? {
            match event {
                Event::Bus(Bus::Configured | Bus::Suspended) => self.events.push_back(DeviceEvent::Enable),
                Event::Bus(Bus::Away) => self.events.push_back(DeviceEvent::Disable),
                // Told by what can be taken.
                Event::Ejected => {}
            }
        }
        match self.disk.take()? {
            Some(sealed) => examine(sealed, &self.first, self.own),
            None => Ok(Look { written, ejected: None }),
        }
    }
}

/// Writes the first block. Returns the bytes of memory that the medium takes then.
fn begin(backing: &Backing, first: &[u8; BLOCK]) -> io::Result<u64> {
    backing.file().write_all_at(first, 0)?;
    // stat(2) counts in units of 512 bytes.
    Ok(backing.file().metadata()?.blocks() * 512)
}

/// What a host has made of a medium that took so many bytes of memory with this first block: whether it has written there memory does not say.
fn examine(sealed: Sealed, first: &[u8; BLOCK], own: u64) -> Result<Look, DiskError> {
    let failed = |source| GadgetError::System { what: "read a medium".into(), source };
    let parts = sealed.written().map_err(failed)?;
    let there: u64 = parts.iter().map(|part| part.end - part.start).sum();
    let mut beginning = vec![0; usize::try_from(own).unwrap_or(PAGE).max(BLOCK)];
    sealed.file().read_exact_at(&mut beginning, 0).map_err(failed)?;
    let (block, rest) = beginning.split_at(BLOCK);
    let untouched = block == first && rest.iter().all(|byte| *byte == 0);
    let written = if untouched { there.saturating_sub(own) } else { there };
    let end = parts.first().filter(|part| part.start == 0).map_or(0, |part| part.end);
    Ok(Look { written, ejected: Some(pages(sealed, end)) })
}

/// The medium up to there.
fn pages(sealed: Sealed, end: u64) -> Pages {
    let mut at = 0;
    Box::new(std::iter::from_fn(move || {
        let length = usize::try_from(end - at).unwrap_or(PAGE).min(PAGE);
        let mut page = vec![0; length];
        if let Err(error) = sealed.file().read_exact_at(&mut page, at) {
            log::error!("event=medium-unreadable at={at}: {error}");
            return None;
        }
        at += length as u64;
        Some(page).filter(|page| !page.is_empty())
    }))
}

impl Lender for LentBackend {
    fn insert(&self, first: &[u8; BLOCK], bytes: u64, writable: bool) {
        let mut state = self.state();
        if let Err(error) = state.insert(first, bytes, writable) {
            state.failed.get_or_insert(error);
        }
    }

    fn remove(&self) {
        let mut state = self.state();
        if let Err(error) = state.remove() {
            state.failed.get_or_insert(error);
        }
    }

    fn take(&self) {
        let mut state = self.state();
        if let Err(error) = state.disk.eject() {
            state.failed.get_or_insert(error);
        }
    }

    fn look(&self) -> Look {
        let mut state = self.state();
        state.look().unwrap_or_else(|error| {
            state.failed.get_or_insert(error);
            Look::default()
        })
    }
}

impl DeviceBackend for LentBackend {
    type Error = DiskError;

    /// Shows the disk, if the set has one: nothing else of the set can be shown.
    fn attach(&mut self, set: &DescriptorSet) -> Result<(), DiskError> {
        let has_disk = set.interfaces.iter().any(|interface| interface.class == wire::INTERFACE_CLASS);
        let mut state = self.state();
        if has_disk { state.disk.show(set) } else { state.disk.hide() }
    }

    fn detach(&mut self) -> Result<(), DiskError> {
        self.state().disk.hide()
    }

    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, DiskError> {
        let mut state = self.state();
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(state.events.pop_front()),
        }
    }

    fn control_read(&mut self, _: &mut [u8]) -> Poll<Result<usize, ControlError>> {
        Poll::Ready(Err(ControlError::Misuse))
    }

    fn control_write(&mut self, _: &[u8]) -> Result<(), ControlError> {
        Err(ControlError::Misuse)
    }

    fn control_stall(&mut self) -> Result<(), ControlError> {
        Err(ControlError::Misuse)
    }

    fn submit(&mut self, _: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError> {
        Err(SubmitError::NoEndpoint(buffer))
    }

    fn cancel(&mut self, _: EndpointAddress) {}

    fn set_halt(&mut self, _: EndpointAddress) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: [u8; BLOCK] = [b'R'; BLOCK];

    /// What is found where a host has written this.
    fn found(writes: &[(u64, &[u8])]) -> (u64, u64, Vec<u8>) {
        let backing = Backing::new(1 << 20).unwrap();
        let own = begin(&backing, &FIRST).unwrap();
        for (at, bytes) in writes {
            backing.file().write_all_at(bytes, *at).unwrap();
        }
        let Look { written, ejected } = examine(backing.seal().unwrap(), &FIRST, own).unwrap();
        let pages: Vec<_> = ejected.unwrap().collect();
        assert!(pages.iter().all(|page| page.len() <= PAGE && page.len().is_multiple_of(BLOCK)));
        (written, own, pages.concat())
    }

    #[test]
    fn a_medium_as_it_was_inserted_was_not_written_to() {
        let (written, own, pages) = found(&[]);
        assert_eq!((written, pages.len() as u64), (0, own));
        // Nor by the same once more.
        assert_eq!(found(&[(0, &FIRST)]).0, 0);
    }

    #[test]
    fn what_was_written_in_the_place_of_the_text_counts() {
        let (written, own, pages) = found(&[(0, &[1; 512])]);
        assert_eq!((written, &pages[..512]), (own, &[1; 512][..]));
        assert_eq!(found(&[(512, &[1; 512])]).0, own);
    }

    #[test]
    fn what_was_written_is_taken_up_to_the_first_hole() {
        let file: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let (written, _, pages) = found(&[(0, &file), (100 << 20, &[1; 512])]);
        assert!(written > file.len() as u64);
        assert!(pages[..file.len()] == file && pages[file.len()..].iter().all(|byte| *byte == 0));
        // Large pages may be larger still.
        assert!(pages.len() < 8 << 20);
    }
}
