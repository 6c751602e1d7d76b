//! Gadgets in configfs: what to write where, in which order to take it away again, whose they are.
//!
//! A gadget of ours is a folder named by our prefix and a number with one function under the same name: FunctionFS, as in `inband-0` with
//! `functions/ffs.inband-0`, or the kernel's disk, `functions/mass_storage.inband-0`. No other folder is ever written to.

#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use inband_usb::{DescriptorSet, descriptor::LANGUAGE, microsoft};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};

use crate::GadgetError;

/// Longest prefix: FunctionFS keeps names of 40 bytes.
const MAX_PREFIX: usize = 32;
/// The gadget's only configuration.
const CONFIGURATION: &str = "configs/c.1";
/// What the gadget says to Windows.
const MICROSOFT: &str = "os_desc";
/// The kinds of functions.
const FUNCTION_FS: &str = "ffs";
const MASS_STORAGE: &str = "mass_storage";
/// The signature of Microsoft's string descriptor of index EEh.
const MICROSOFT_SIGNATURE: &str = "MSFT100";

/// The kernel's disk has one logical unit, which is there without being made.
const UNIT: &str = "lun.0";

/// A gadget's only function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// Ours, by way of FunctionFS.
    FunctionFs,
    /// The kernel's disk.
    MassStorage {
        /// Whether it may halt its bulk endpoints.
        halts: bool,
        /// Vendor, product and revision as INQUIRY tells them: 28 characters.
        inquiry: String,
    },
}

impl Function {
    /// By the beginnings of their names in configfs.
    const KINDS: [&str; 2] = [FUNCTION_FS, MASS_STORAGE];

    const fn kind(&self) -> &'static str {
        match self {
            Self::FunctionFs => FUNCTION_FS,
            Self::MassStorage { .. } => MASS_STORAGE,
        }
    }

    /// What is written between making its folder and putting it into a configuration, after which the kernel takes some of it no more.
    fn settings(&self, folder: &Path) -> Vec<Step> {
        match self {
            Self::FunctionFs => Vec::new(),
            Self::MassStorage { halts, inquiry } => {
                let unit = folder.join(UNIT);
                vec![
                    Step::Write(folder.join("stall"), number(*halts)),
                    Step::Write(unit.join("removable"), number(true)),
                    // What is in memory is not safer for having been flushed.
                    Step::Write(unit.join("nofua"), number(true)),
                    // Without the end of a line: it would be taken for a character.
                    Step::WriteIfThere(unit.join("inquiry_string"), inquiry.clone()),
                ]
            }
        }
    }
}

fn number(yes: bool) -> String {
    format!("{}\n", u8::from(yes))
}

/// One step, all paths absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes a folder, if it is not there; configfs fills it.
    Folder(PathBuf),
    /// Writes an attribute.
    Write(PathBuf, String),
    /// Writes an attribute that older kernels do not have.
    WriteIfThere(PathBuf, String),
    /// Puts a function into a configuration, or says of a configuration that its functions have something for Windows.
    Link {
        /// The function, or the configuration.
        to: PathBuf,
        /// The link's place.
        at: PathBuf,
    },
    /// Takes that back.
    Unlink(PathBuf),
    /// Removes a folder with the attributes in it.
    Remove(PathBuf),
}

impl Step {
    pub(crate) fn run(&self) -> Result<(), GadgetError> {
        match self {
            Self::Folder(path) => match fs::create_dir(path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed("make", path, error)),
                _ => Ok(()),
            },
            Self::WriteIfThere(path, _) if !path.exists() => Ok(()),
            Self::Write(path, text) | Self::WriteIfThere(path, text) => {
                fs::write(path, text).map_err(|error| failed("write", path, error))
            }
            Self::Link { to, at } => symlink(to, at).map_err(|error| failed("make", at, error)),
            Self::Unlink(path) => gone(fs::remove_file(path)).map_err(|error| failed("remove", path, error)),
            Self::Remove(path) => gone(fs::remove_dir(path)).map_err(|error| failed("remove", path, error)),
        }
    }
}

fn failed(what: &str, path: &Path, source: io::Error) -> GadgetError {
    GadgetError::System { what: format!("{what} {}", path.display()), source }
}

/// What is not there need not be removed.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Runs all steps up to the first that fails.
pub(crate) fn run(steps: &[Step]) -> Result<(), GadgetError> {
    steps.iter().try_for_each(Step::run)
}

/// The `usb_gadget` folder of configfs, and the prefix of our gadgets in it.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFs {
    root: PathBuf,
    prefix: String,
}

impl ConfigFs {
    /// The one of the running system.
    ///
    /// # Errors
    /// There is none, or the prefix is no name.
    pub(crate) fn of_system(prefix: &str) -> Result<Self, GadgetError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(good) {
            return Err(GadgetError::Name(prefix.to_owned()));
        }
        let mounts = fs::read_to_string("/proc/mounts").map_err(GadgetError::system("read /proc/mounts"))?;
        Self::find(&mounts, prefix).ok_or(GadgetError::NoConfigfs)
    }

    /// Finds it by the list of mounts, as `/proc/mounts` has it.
    pub(crate) fn find(mounts: &str, prefix: &str) -> Option<Self> {
        let mut configfs = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let path = words.next()?;
            (words.next()? == "configfs").then(|| Path::new(path).join("usb_gadget"))
        });
        configfs.find(|folder| folder.is_dir()).map(|root| Self::at(root, prefix))
    }

    /// Takes any folder for it.
    pub(crate) fn at(root: PathBuf, prefix: &str) -> Self {
        Self { root, prefix: prefix.to_owned() }
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn udc_file(&self, name: &str) -> PathBuf {
        self.folder(name).join("UDC")
    }

    /// The first of our names that nobody has.
    pub(crate) fn free_name(&self) -> String {
        let names = (0_u32..).map(|number| format!("{}-{number}", self.prefix));
        names.into_iter().find(|name| !self.folder(name).exists()).unwrap_or_default()
    }

    /// Whether a gadget of this name is ours: the name says so, and no other function than one of ours is in it. One without any
    /// function was being made or removed when we ended.
    pub(crate) fn is_ours(&self, name: &str) -> bool {
        let number = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
            && list(&self.folder(name).join("functions"))
                .iter()
                .all(|function| Function::KINDS.iter().any(|kind| *function == function_name(kind, name)))
    }

    /// The names of our gadgets.
    pub(crate) fn ours(&self) -> Vec<String> {
        let mut names = list(&self.root);
        names.retain(|name| self.is_ours(name));
        names
    }

    /// The gadget that is bound to a controller, ours or not.
    pub(crate) fn bound_to(&self, udc: &str) -> Option<String> {
        list(&self.root).into_iter().find(|name| self.is_bound(name, udc))
    }

    /// The controller a gadget is bound to.
    pub(crate) fn controller(&self, name: &str) -> Option<String> {
        read(&self.udc_file(name)).filter(|udc| !udc.is_empty())
    }

    /// Makes a gadget with its function, not yet bound and without an identity; or nothing.
    ///
    /// # Errors
    /// `missing` if the kernel has no such function.
    pub(crate) fn create<E: From<GadgetError>>(
        &self,
        name: &str,
        function: &Function,
        missing: E,
    ) -> Result<(), E> {
        run(&self.make(name, function)).map_err(|error| {
            let _ = run(&self.remove(name));
            match error {
                // What making the function's folder says then.
                GadgetError::System { what, source } if source.raw_os_error() == Some(libc::ENOENT) => {
                    log::debug!("cannot {what}: {source}");
                    missing
                }
                other => other.into(),
            }
        })
    }

    fn make(&self, name: &str, function: &Function) -> Vec<Step> {
        let gadget = self.folder(name);
        let configuration = gadget.join(CONFIGURATION);
        let function_name = function_name(function.kind(), name);
        let folder = gadget.join("functions").join(&function_name);
        let mut steps = vec![
            Step::Folder(gadget.clone()),
            // A set is one of high speed: wMaxPacketSize 512, no companion descriptors. Since 5.10.
            Step::WriteIfThere(gadget.join("max_speed"), "high-speed\n".into()),
            Step::Folder(gadget.join("strings").join(language())),
            Step::Folder(configuration.clone()),
            // As the bytes of a `DescriptorSet` have it: self-powered, and 2 mA, of which configfs makes units.
            Step::Write(configuration.join("bmAttributes"), "0xc0\n".into()),
            Step::Write(configuration.join("MaxPower"), "2\n".into()),
            Step::Write(gadget.join("bcdUSB"), "0x0200\n".into()),
            // The kernel loads the function's module at this.
            Step::Folder(folder.clone()),
        ];
        steps.extend(function.settings(&folder));
        steps.push(Step::Link { to: folder, at: configuration.join(function_name) });
        steps
    }

    /// Has the kernel answer Windows from what the function said of itself. After the function is there: a gadget that announces
    /// descriptors and has none would be asked for them in vain.
    pub(crate) fn announce_microsoft(&self, name: &str) -> Vec<Step> {
        let gadget = self.folder(name);
        let folder = gadget.join(MICROSOFT);
        let code = microsoft::VENDOR_CODE;
        vec![
            Step::Write(folder.join("b_vendor_code"), format!("{code:#04x}\n")),
            Step::Write(folder.join("qw_sign"), MICROSOFT_SIGNATURE.into()),
            Step::Link { to: gadget.join(CONFIGURATION), at: folder.join("c.1") },
            Step::Write(folder.join("use"), "1\n".into()),
        ]
    }

    /// Gives an unbound gadget the identity of a set: numbers and strings.
    pub(crate) fn identity(&self, name: &str, set: &DescriptorSet) -> Vec<Step> {
        let gadget = self.folder(name);
        attributes(set).into_iter().map(|(file, text)| Step::Write(gadget.join(file), text + "\n")).collect()
    }

    /// What is written to a gadget that is made: its identity, and the controller it is bound to.
    pub(crate) fn changing(&self, name: &str, set: &DescriptorSet) -> Vec<PathBuf> {
        let gadget = self.folder(name);
        let files = attributes(set).into_iter().map(|(file, _)| gadget.join(file));
        files.chain([self.udc_file(name)]).collect()
    }

    /// Whether a gadget has the identity of a set.
    pub(crate) fn has_identity(&self, name: &str, set: &DescriptorSet) -> bool {
        let gadget = self.folder(name);
        attributes(set).into_iter().all(|(file, text)| read(&gadget.join(file)).as_ref() == Some(&text))
    }

    /// Whether a gadget is bound to a controller.
    pub(crate) fn is_bound(&self, name: &str, udc: &str) -> bool {
        self.controller(name).as_deref() == Some(udc)
    }

    /// Binds a gadget to a controller: it appears on the bus.
    pub(crate) fn bind(&self, name: &str, udc: &str) -> io::Result<()> {
        fs::write(self.udc_file(name), format!("{udc}\n"))
    }

    /// Unbinds a gadget. One that is not bound, or not there, is not in the way either (ENODEV, ENOENT).
    pub(crate) fn unbind(&self, name: &str) -> io::Result<()> {
        match fs::write(self.udc_file(name), "\n") {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => gone(other),
        }
    }

    /// Whether a gadget of ours is the kernel's disk.
    pub(crate) fn is_disk(&self, name: &str) -> bool {
        self.disk(name).is_dir()
    }

    /// Whether the kernel has FunctionFS or can load it: found out by making an instance in a gadget of ours, and removing it.
    pub(crate) fn tries_functionfs(&self, name: &str) -> bool {
        let folder = self.folder(name).join("functions").join(function_name(FUNCTION_FS, name));
        let made = run(&[Step::Folder(folder.clone()), Step::Remove(folder)]);
        made.inspect_err(|error| log::debug!("{error}")).is_ok()
    }

    /// The file with the path of the medium in the kernel's disk; empty when there is none.
    fn medium_file(&self, name: &str) -> PathBuf {
        self.unit(name).join("file")
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.disk(name).join(UNIT)
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.folder(name).join("functions").join(function_name(MASS_STORAGE, name))
    }

    /// Puts a medium into the kernel's disk, which has none: the kernel opens the path, as this process would. In this order: with a medium in, it
    /// takes no other word about writing.
    pub(crate) fn insert(&self, name: &str, path: &str, read_only: bool) -> Vec<Step> {
        vec![
            Step::Write(self.unit(name).join("ro"), number(read_only)),
            Step::Write(self.medium_file(name), format!("{path}\n")),
        ]
    }

    /// Takes the medium out of the kernel's disk. Only while the gadget is unbound: the kernel refuses (EBUSY) while the host prevents removal, and waits,
    /// in a state that no signal ends, for a host that is in the middle of a READ or WRITE.
    pub(crate) fn eject(&self, name: &str) -> Step {
        Step::Write(self.medium_file(name), "\n".into())
    }

    /// Whether there is a medium in the kernel's disk; `None` if the disk is gone.
    pub(crate) fn has_medium(&self, name: &str) -> Option<bool> {
        read(&self.medium_file(name)).map(|path| !path.is_empty())
    }

    /// Unbinds a gadget and takes it away.
    pub(crate) fn take_away(&self, name: &str) -> Result<(), GadgetError> {
        self.unbind(name).map_err(GadgetError::system(format!("unbind the gadget {name}")))?;
        run(&self.remove(name))
    }

    /// Locks a gadget's folder until the file is closed, as it is when the process ends; `None` if somebody has it locked.
    pub(crate) fn lock(&self, name: &str) -> Result<Option<OwnedFd>, Errno> {
        let folder =
            open(self.folder(name), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(folder)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes an unbound gadget away: a function cannot go before its links, nor a folder before what was made in it.
    fn remove(&self, name: &str) -> Vec<Step> {
        let gadget = self.folder(name);
        let mut steps: Vec<_> = unlink_all_in(&gadget.join(MICROSOFT)).collect();
        let configurations = gadget.join("configs");
        for configuration in list(&configurations).into_iter().map(|name| configurations.join(name)) {
            steps.extend(unlink_all_in(&configuration));
            steps.extend(remove_all_in(&configuration.join("strings")));
            steps.push(Step::Remove(configuration));
        }
        steps.extend(remove_all_in(&gadget.join("functions")));
        steps.extend(remove_all_in(&gadget.join("strings")));
        steps.push(Step::Remove(gadget));
        steps
    }
}

fn function_name(kind: &str, gadget: &str) -> String {
    format!("{kind}.{gadget}")
}

fn language() -> String {
    format!("{LANGUAGE:#x}")
}

/// What a set says of the device as a whole, by the attribute's file, and in the form the kernel gives it back.
fn attributes(set: &DescriptorSet) -> Vec<(PathBuf, String)> {
    let strings = Path::new("strings").join(language());
    let number = |number: u16| format!("{number:#06x}");
    vec![
        ("idVendor".into(), number(set.vendor_id)),
        ("idProduct".into(), number(set.product_id)),
        ("bcdDevice".into(), number(set.device_version)),
        (strings.join("manufacturer"), set.manufacturer.clone()),
        (strings.join("product"), set.product.clone()),
        (strings.join("serialnumber"), set.serial.clone()),
    ]
}

/// An attribute's value without the end of its line.
fn read(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
}

/// The names in a folder, sorted; none if it cannot be read.
pub(crate) fn list(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn unlink_all_in(folder: &Path) -> impl Iterator<Item = Step> {
    list(folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_symlink()).map(Step::Unlink)
}

fn remove_all_in(folder: &Path) -> impl Iterator<Item = Step> {
    list(folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_dir()).map(Step::Remove)
}
