//! One prepared gadget: its folder in configfs, and the files of its FunctionFS instance.
//!
//! The instance is mounted nowhere: fsmount(2) gives a mount that lives as long as its files are open. So a process that dies leaves no mount
//! behind, whatever namespace it was in, and needs no folder for one. The kernel unbinds the gadget when the last of the
//! files is closed.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use inband_usb::{DescriptorSet, Direction};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{MemfdFlags, Mode, OFlags, SeekFrom, memfd_create, openat, seek},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    },
};

use crate::{
    GadgetError,
    codec::{self, ClassDescriptors, Form, MicrosoftDescriptors},
    configfs::{self, ConfigFs, Function},
    ep0::ControlFile,
};

/// How the control file and the endpoints' are opened. With O_NONBLOCK, reading events never waits: a thread that waits in there
/// holds a lock which unbinding the gadget waits for, in a state that no signal ends.
const FILE_FLAGS: OFlags = OFlags::RDWR.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Most bytes of a blueprint: two configurations of 4096 bytes, 108 for Windows for each of 64 interfaces, and as many strings of at most
/// 378.
const MAX_BLUEPRINT: usize = 64 << 10;

/// A prepared gadget.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Of the folder in configfs, and of the FunctionFS instance.
    pub(crate) name: String,
    /// What the set's interfaces are, as bytes to compare.
    pub(crate) blueprint: Vec<u8>,
    /// A copy of the blueprint, for whoever takes the files over.
    blueprint_file: OwnedFd,
    /// The control file.
    pub(crate) ep0: Arc<OwnedFd>,
    /// Counts the control file's events.
    pub(crate) events: OwnedFd,
    /// The endpoints' files, in the order of the set. A controller may give an endpoint another address, but the kernel names
    /// the files by this order.
    pub(crate) endpoints: Vec<OwnedFd>,
}

/// What two sets have in common when one prepared gadget serves for both: everything but the identity.
pub(crate) fn blueprint(set: &DescriptorSet) -> Vec<u8> {
    // The number of endpoints, by which it is known whether files are missing.
    let mut blueprint = (set.endpoints().count() as u32).to_le_bytes().to_vec();
    // Only the interfaces are in these.
    blueprint.extend(codec::descriptors(set, Form::WHOLE, 0));
    blueprint.extend(codec::strings(set));
    blueprint
}

impl Instance {
    /// Makes one on a kernel of this release. Also says what the kernel took.
    pub(crate) fn create(
        configfs: &ConfigFs,
        name: String,
        set: &DescriptorSet,
        kernel: &str,
    ) -> Result<(Self, Form), GadgetError> {
        configfs.create(&name, &Function::FunctionFs, GadgetError::NoFunctionFs)?;
        let (instance, mut form) = Self::open(name.clone(), set, kernel).inspect_err(|_| {
            let _ = configfs.take_away(&name);
        })?;
        if form.microsoft != MicrosoftDescriptors::LeftOut
            && let Err(error) = configfs::run(&configfs.announce_microsoft(&name))
        {
            log::warn!("{error}: Windows will not find a driver by itself");
            form.microsoft = MicrosoftDescriptors::LeftOut;
        }
        Ok((instance, form))
    }

    fn open(name: String, set: &DescriptorSet, kernel: &str) -> Result<(Self, Form), GadgetError> {
        let mount = mount(&name)?;
        let failed = |what: &str| GadgetError::system(format!("{what} of the gadget {name}"));
        let events =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed("make the eventfd"))?;
        let written = |form| -> Result<OwnedFd, GadgetError> {
            let ep0 =
                openat(&mount, "ep0", FILE_FLAGS, Mode::empty()).map_err(failed("open the control file"))?;
            let descriptors = codec::descriptors(set, form, events.as_raw_fd() as u32);
            write_whole(&ep0, &descriptors).map_err(failed("write the descriptors"))?;
            write_whole(&ep0, &codec::strings(set)).map_err(failed("write the strings"))?;
            Ok(ep0)
        };
        // EINVAL is all the kernel says to what it does not know. The control file is closed then, which makes it forget what it read.
        let refused = |result: &Result<OwnedFd, GadgetError>| matches!(result, Err(GadgetError::System { source, .. }) if source.raw_os_error() == Some(libc::EINVAL));
        let mut form = Form::WHOLE;
        let mut ep0 = Err(GadgetError::NoFunctionFs);
        for next in Form::to_try(set, kernel) {
            form = next;
            ep0 = written(form);
            if !refused(&ep0) {
                break;
            }
        }
        let ep0 = ep0?;
        if form.class == ClassDescriptors::LeftOut {
            // Kernels before 6.12 know no descriptor of type 21h in this place.
            log::warn!(
                "the kernel does not take a DFU functional descriptor (Linux 6.12 does): dfu-util has to be told the transfer \
                 size, see docs/kernels.md"
            );
        }
        let count = set.endpoints().count();
        let endpoints = (1..=count)
            .map(|number| openat(&mount, format!("ep{number}"), FILE_FLAGS, Mode::empty()))
            .collect::<Result<_, Errno>>()
            .map_err(failed("open an endpoint"))?;
        let blueprint = blueprint(set);
        let blueprint_file =
            memfd_create("inband-blueprint", MemfdFlags::CLOEXEC).map_err(failed("keep the description"))?;
        write_whole(&blueprint_file, &blueprint).map_err(failed("keep the description"))?;
        let instance = Self { name, blueprint, blueprint_file, ep0: Arc::new(ep0), events, endpoints };
        Ok((instance, form))
    }

    /// The open files, each with the name [`adopt`](Self::adopt) knows it by.
    pub(crate) fn files(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let name = |role: &str| format!("{}.{role}", self.name);
        let mut files = vec![
            (name("ep0"), self.ep0.as_fd()),
            (name("events"), self.events.as_fd()),
            (name("set"), self.blueprint_file.as_fd()),
        ];
        files.extend(
            (1..).zip(&self.endpoints).map(|(number, file)| (name(&format!("ep{number}")), file.as_fd())),
        );
        files
    }

    /// Puts together what [`files`](Self::files) of another process listed, the prefix of the names taken off; `None` if
    /// something is missing or is not what it should be.
    pub(crate) fn adopt(name: String, files: Vec<(String, OwnedFd)>) -> Option<Self> {
        let (mut ep0, mut events, mut set, mut endpoints) = (None, None, None, Vec::new());
        for (role, file) in files {
            match role.as_str() {
                "ep0" => ep0 = Some(file).filter(is_functionfs),
                "events" => events = Some(file),
                "set" => set = Some(file),
                role => endpoints.push((role.strip_prefix("ep")?.parse::<usize>().ok()?, file)),
            }
        }
        endpoints.sort_by_key(|(number, _)| *number);
        let blueprint_file = set?;
        let blueprint = read_whole(&blueprint_file).ok()?;
        let count = u32::from_le_bytes(*blueprint.first_chunk()?) as usize;
        let whole = endpoints.len() == count
            && endpoints
                .iter()
                .zip(1..)
                .all(|((number, file), wanted)| *number == wanted && is_functionfs(file));
        let endpoints = endpoints.into_iter().map(|(_, file)| file).collect();
        let instance =
            Self { name, blueprint, blueprint_file, ep0: Arc::new(ep0?), events: events?, endpoints };
        whole.then_some(instance)
    }

    /// Forgets what happened up to now. Only while the gadget is unbound: there is no request that could be read by mistake.
    pub(crate) fn drain(&self) {
        self.count();
        let mut buffer = [0; codec::EVENT_SIZE * codec::MAX_EVENTS];
        // Once for EIDRM of a request that was held, once for the events; and there may be a signal.
        for _ in 0..4 {
            let _ = self.read(&mut buffer);
        }
    }

    /// Halts an endpoint by reading or writing its file the wrong way. EBADMSG is what the kernel says when it did; EAGAIN while the controller
    /// still has a packet for the host: then false.
    pub(crate) fn halt(&self, index: usize, direction: Direction) -> bool {
        let Some(file) = self.endpoints.get(index) else { return true };
        let halted = match direction {
            Direction::Out => rustix::io::write(file, &[0]),
            Direction::In => rustix::io::read(file, &mut [0; 1]),
        };
        if !matches!(halted, Err(Errno::BADMSG | Errno::AGAIN)) {
            log::debug!("halting an endpoint: {halted:?}");
        }
        halted != Err(Errno::AGAIN)
    }
}

impl ControlFile for Instance {
    fn count(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.events, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&*self.ep0, buffer)
    }

    fn refuse(&self, direction: Direction) -> Result<(), Errno> {
        match direction {
            Direction::Out => rustix::io::write(&*self.ep0, &[0]).map(drop),
            Direction::In => rustix::io::read(&*self.ep0, &mut [0; 1]).map(drop),
        }
    }

    fn has_events_only(&self) -> bool {
        let mut files = [PollFd::new(&*self.ep0, PollFlags::IN | PollFlags::OUT)];
        // A request that waits or was cancelled can be written to, says FunctionFS.
        poll(&mut files, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
            && files[0].revents() == PollFlags::IN
    }
}

/// Mounts an instance, nowhere.
fn mount(name: &str) -> Result<OwnedFd, GadgetError> {
    let mounted = || -> Result<OwnedFd, Errno> {
        let context = fsopen("functionfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "source", name)?;
        fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mounted().map_err(|error| match error {
        Errno::NODEV => GadgetError::NoFunctionFs,
        // Only one mount of an instance can be.
        Errno::BUSY => GadgetError::Held(name.to_owned()),
        Errno::NOSYS => {
            GadgetError::system("mount FunctionFS by fsopen(2), which Linux has since 5.2")(error)
        }
        error => GadgetError::system(format!("mount FunctionFS for the gadget {name}"))(error),
    })
}

/// Whether somebody has the instance of a gadget open, or may have: only one that is not there, or can be mounted here, is nobody's.
pub(crate) fn is_held(name: &str) -> bool {
    mount(name).is_err_and(|error| says_held(&error))
}

fn says_held(error: &GadgetError) -> bool {
    match error {
        GadgetError::NoFunctionFs => false,
        GadgetError::System { source, .. } => source.kind() != io::ErrorKind::NotFound,
        _ => true,
    }
}

/// FUNCTIONFS_MAGIC: what statfs(2) says of a file of FunctionFS.
const FUNCTIONFS_MAGIC: u64 = 0x0a64_7361;

fn is_functionfs(file: &OwnedFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|info| info.f_type as u64 == FUNCTIONFS_MAGIC)
}

/// FunctionFS takes a blob whole or not at all.
fn write_whole(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::io::write(file, bytes)? {
        length if length == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

fn read_whole(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    seek(file, SeekFrom::Start(0))?;
    let mut bytes = vec![0; MAX_BLUEPRINT];
    let length = rustix::io::read(file, &mut *bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_instance_that_is_not_there_is_nobodys() {
        let failed = |error: Errno| GadgetError::system("mount FunctionFS")(error);
        assert!(!says_held(&failed(Errno::NOENT)));
        assert!(!says_held(&GadgetError::NoFunctionFs));
        assert!(says_held(&GadgetError::Held("inband-0".into())));
        for error in [Errno::PERM, Errno::MFILE, Errno::NOMEM, Errno::INVAL] {
            assert!(says_held(&failed(error)), "{error}");
        }
    }
}
