//! The kernel's disk, for a kernel that has no FunctionFS: f_mass_storage speaks Bulk-Only Transport and SCSI, and all there is to say is which
//! file is the medium. What that loses against a disk of our own is in docs/kernels.md.

mod medium;

use std::{
    fmt,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use inband_usb::DescriptorSet;

use crate::{
    Controller, GadgetError, Options, Probe, binding,
    configfs::{self, ConfigFs, Function},
    gadget::check,
    leftovers,
};
pub use medium::{Backing, Medium, Sealed};

/// How often the kernel is to be asked: it tells of nothing by itself.
const PERIOD: Duration = Duration::from_millis(500);

/// How the disk names itself in INQUIRY: ASCII, padded with spaces. A byte that is no printable character of ASCII becomes a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// T10 vendor identification.
    pub vendor: [u8; 8],
    /// Product identification.
    pub product: [u8; 16],
    /// Product revision level.
    pub revision: [u8; 4],
}

impl Inquiry {
    fn text(&self) -> String {
        let bytes = [&self.vendor[..], &self.product, &self.revision].concat();
        bytes.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { ' ' }).collect()
    }
}

/// What was found when the disk was opened. Its `Display` is one line for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelProbe {
    /// The kernel's release, as in `uname -r`.
    pub kernel: String,
    /// The folder of the gadgets.
    pub configfs: PathBuf,
    /// Whether the kernel has FunctionFS or can load it: then a [`Gadget`](crate::Gadget) with a disk of our own is the better choice.
    pub functionfs: bool,
    /// Whether the disk may halt its bulk endpoints.
    pub halts: bool,
    /// The controller in use.
    pub controller: Controller,
}

impl fmt::Display for KernelProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functionfs = if self.functionfs { "there" } else { "missing (CONFIG_USB_CONFIGFS_F_FS)" };
        let halts = if self.halts { "in use" } else { "not in use" };
        write!(
            f,
            "Linux {}, controller {}, FunctionFS {functionfs}, f_mass_storage there, halts of bulk endpoints {halts}, gadgets in {}",
            self.kernel,
            self.controller,
            self.configfs.display()
        )
    }
}

/// What the host makes of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// It has not configured it, or there is no host.
    Away,
    /// It has configured it.
    Configured,
    /// It has configured it and let it sleep. Not every controller's driver says so.
    Suspended,
}

impl Bus {
    /// By the `state` of a controller in sysfs.
    fn of(state: &str) -> Self {
        match state {
            "configured" => Self::Configured,
            "suspended" => Self::Suspended,
            _ => Self::Away,
        }
    }
}

/// Why there is no disk, or what it does not do.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// As with a [`Gadget`](crate::Gadget).
    #[error(transparent)]
    Gadget(#[from] GadgetError),
    /// The kernel has no disk to lend.
    #[error(
        "the kernel has no f_mass_storage: CONFIG_USB_CONFIGFS_MASS_STORAGE (modprobe usb_f_mass_storage)"
    )]
    NoMassStorage,
    /// Somebody took the gadget out of configfs.
    #[error("somebody took the gadget {0} out of configfs: the disk is off the bus")]
    Gone(String),
    /// There is a medium in it already.
    #[error("there is a medium in the disk already")]
    Occupied,
}

/// What has happened since the last [`poll`](KernelDisk::poll).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is no medium in the disk any more: the host ejected it. It is there to be [taken](KernelDisk::take).
    Ejected,
    /// The host has another relation to the device. What was between two polls is not told.
    Bus(Bus),
}

/// Where the medium is.
#[derive(Debug)]
enum Drive {
    Empty,
    In(Medium),
    /// The kernel has let go of it.
    Out(Medium),
}

/// A disk of the kernel's on a controller of this machine.
///
/// Nothing here waits, and there is no thread: whoever has it calls [`poll`](Self::poll) each [`poll_timeout`](Self::poll_timeout).
///
/// When it is dropped the device leaves the bus, and nothing of it stays in configfs. When the process dies the disk **stays on the bus** with its
/// medium, until the next process opens one under the same name: the kernel needs nobody for it.
pub struct KernelDisk {
    configfs: ConfigFs,
    probe: KernelProbe,
    /// Of the folder in configfs.
    name: String,
    drive: Drive,
    /// What was last told.
    bus: Bus,
    /// Is bound to the controller, unless the administrator unbound it.
    shown: bool,
    /// Tells others that this process lives. Closed when the folder is gone.
    _lock: OwnedFd,
}

impl KernelDisk {
    /// Makes the disk, without a medium and not yet on the bus, and removes what a process of ours that died has left. Logs what this disk cannot do.
    /// [`Options::stalls`] `false` keeps the disk from halting its bulk endpoints as well, which costs conformance: hosts are told of short data by a
    /// short packet alone.
    ///
    /// # Errors
    /// As with a [`Gadget`](crate::Gadget); and [`DiskError::NoMassStorage`].
    pub fn open(options: &Options, inquiry: &Inquiry) -> Result<Self, DiskError> {
        let configfs = ConfigFs::of_system(&options.name)?;
        leftovers::remove(&configfs, &[])?;
        let found = Probe::new(configfs.root(), options)?;
        // What drivers are known not to have is a halt of ep0, of which the kernel's disk makes no use.
        let halts = options.stalls != Some(false);
        let name = configfs.free_name();
        configfs.create(
            &name,
            &Function::MassStorage { halts, inquiry: inquiry.text() },
            DiskError::NoMassStorage,
        )?;
        let lock = match configfs.lock(&name) {
            Ok(Some(lock)) => lock,
            // Another program that starts has taken it for a leftover.
            Ok(None) => return Err(GadgetError::Held(name).into()),
            Err(error) => {
                let _ = configfs.take_away(&name);
                return Err(GadgetError::system(format!("lock the gadget {name}"))(error).into());
            }
        };
        let probe = KernelProbe {
            kernel: found.kernel,
            configfs: found.configfs,
            functionfs: configfs.tries_functionfs(&name),
            halts,
            controller: found.controller,
        };
        log::warn!(
            "the disk is the kernel's f_mass_storage, which is less than a disk of our own: an eject is found by asking, {} ms late; no write protection \
             while a medium is in; which blocks were written is known by pages; a WRITE beyond the end passes; the device stays on the bus when \
             this process dies; no DFU beside it; see docs/kernels.md",
            PERIOD.as_millis()
        );
        Ok(Self { configfs, probe, name, drive: Drive::Empty, bus: Bus::Away, shown: false, _lock: lock })
    }

    /// What was found.
    #[must_use]
    pub const fn probe(&self) -> &KernelProbe {
        &self.probe
    }

    /// Shows the disk to the host, with the numbers and strings of a set; the interface is the kernel's. If it is shown already it leaves
    /// the bus first.
    ///
    /// # Errors
    /// The set cannot be shown, somebody has the controller, or it has not the two endpoints.
    pub fn show(&mut self, set: &DescriptorSet) -> Result<(), DiskError> {
        check(set)?;
        self.hide()?;
        binding::ensure_free(&self.configfs, &self.probe.controller)?;
        configfs::run(&self.configfs.identity(&self.name, set))?;
        self.bind()
    }

    fn bind(&mut self) -> Result<(), DiskError> {
        binding::bind(&self.configfs, &self.name, &self.probe.controller)?;
        self.shown = true;
        Ok(())
    }

    /// Takes the disk off the bus. Its medium stays in it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hide(&mut self) -> Result<(), DiskError> {
        self.configfs
            .unbind(&self.name)
            .map_err(GadgetError::system(format!("unbind the gadget {}", self.name)))?;
        self.shown = false;
        Ok(())
    }

    /// Puts a medium in; the host hears of it (06/28/00). One that was ejected and not [taken](Self::take) is dropped.
    ///
    /// # Errors
    /// There is one in, or the kernel refuses; the medium is dropped then.
    pub fn insert(&mut self, medium: impl Into<Medium>) -> Result<(), DiskError> {
        if let Drive::In(_) = self.drive {
            return Err(DiskError::Occupied);
        }
        let medium = medium.into();
        // The kernel opens it anew, on behalf of this process.
        let path = format!("/proc/self/fd/{}", medium.file().as_raw_fd());
        configfs::run(&self.configfs.insert(&self.name, &path, medium.is_sealed()))?;
        self.drive = Drive::In(medium);
        Ok(())
    }

    /// Takes the medium out, whatever the host does and whether or not it prevents removal. For that the device leaves the bus, and comes back
    /// without a medium: the kernel has gentler ways, which wait without end for a host that is silent in the middle of a command. Without a
    /// medium nothing happens.
    ///
    /// # Errors
    /// The kernel refuses, at worst to show the device again; what is [taken](Self::take) then tells whether the medium is out.
    pub fn eject(&mut self) -> Result<(), DiskError> {
        if !matches!(self.drive, Drive::In(_)) {
            return Ok(());
        }
        let shown = self.shown;
        self.hide()?;
        self.configfs.eject(&self.name).run()?;
        self.drive.release();
        if shown { self.bind() } else { Ok(()) }
    }

    /// What was ejected, by the host or by [`eject`](Self::eject). Nobody writes to it any more, not even what the kernel may still have under way.
    ///
    /// # Errors
    /// The system does not seal it; it is dropped.
    pub fn take(&mut self) -> Result<Option<Sealed>, DiskError> {
        match std::mem::replace(&mut self.drive, Drive::Empty) {
            Drive::Out(medium) => Ok(Some(medium.seal()?)),
            other => {
                self.drive = other;
                Ok(None)
            }
        }
    }

    /// Bytes of memory that the medium in the disk takes now, whole pages; none without one. With what is written for the first time it grows, which is all
    /// there is to see of a host that writes, and up to its whole size, whatever the machine has.
    #[must_use]
    pub fn memory(&self) -> u64 {
        match &self.drive {
            Drive::In(medium) => medium.memory(),
            Drive::Empty | Drive::Out(_) => 0,
        }
    }

    /// Asks the kernel what has happened.
    ///
    /// # Errors
    /// Somebody took the gadget out of configfs. This disk is of no use any more.
    pub fn poll(&mut self) -> Result<Option<Event>, DiskError> {
        let has_medium =
            self.configfs.has_medium(&self.name).ok_or_else(|| DiskError::Gone(self.name.clone()))?;
        if !has_medium && self.drive.release() {
            return Ok(Some(Event::Ejected));
        }
        // Another gadget may have the controller by now.
        let bus = match self.shown && self.configfs.is_bound(&self.name, &self.probe.controller.name) {
            true => Bus::of(&self.probe.controller.now().state),
            false => Bus::Away,
        };
        if bus != self.bus {
            self.bus = bus;
            return Ok(Some(Event::Bus(bus)));
        }
        Ok(None)
    }

    /// When [`poll`](Self::poll) is due again; never while there is nothing a host could do.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Duration> {
        if self.shown { Some(PERIOD) } else { None }
    }
}

impl Drive {
    /// The medium is out, if it was in; whether it was.
    fn release(&mut self) -> bool {
        match std::mem::replace(self, Self::Empty) {
            Self::In(medium) => {
                *self = Self::Out(medium);
                true
            }
            other => {
                *self = other;
                false
            }
        }
    }
}

impl Drop for KernelDisk {
    fn drop(&mut self) {
        if let Err(error) = self.configfs.take_away(&self.name) {
            log::warn!("{error}");
        }
    }
}

impl fmt::Debug for KernelDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelDisk").field("probe", &self.probe).finish_non_exhaustive()
    }
}
