//! What the kernel and its controllers can do.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use inband_usb::DescriptorSet;

use crate::{
    GadgetError, Options,
    codec::{ClassDescriptors, Form, MicrosoftDescriptors},
    configfs::{ConfigFs, list},
    sys::aio,
};

/// Where the controllers are.
pub(crate) const UDC_CLASS: &str = "/sys/class/udc";

/// A USB device controller, as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its name, which a gadget is bound by.
    pub name: String,
    /// The highest speed it can do, such as `high-speed`.
    pub max_speed: String,
    /// Its state on the bus, such as `not attached` or `configured`.
    pub state: String,
    /// The driver of the gadget that has it.
    pub function: Option<String>,
}

/// What was found when a gadget was opened. Its `Display` is one line for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The kernel's release, as in `uname -r`.
    pub kernel: String,
    /// The folder of the gadgets.
    pub configfs: PathBuf,
    /// Whether FunctionFS is there already; the kernel loads it when the first gadget is prepared, if it can.
    pub functionfs: bool,
    /// Whether the kernel has asynchronous I/O. Without it there are no bulk endpoints.
    pub aio: bool,
    /// Whether the kernel takes the DFU functional descriptor, as it does since 6.12: known once a set that has one was
    /// prepared.
    pub dfu_descriptor: Option<bool>,
    /// Whether the kernel tells Windows to take WinUSB: known once a set for which that is of use was prepared.
    pub winusb: Option<bool>,
    /// Whether requests are refused by STALL: unless the controller's driver is known not to be able to, or the options say otherwise. Where
    /// it cannot, a request that is refused gets no answer, and the host gives it up after its time.
    pub stalls: bool,
    /// The controller in use.
    pub controller: Controller,
}

impl Probe {
    /// Looks around, and chooses the controller; changes nothing. What can only be tried is not known then.
    ///
    /// # Errors
    /// There are no gadgets in configfs, or there is no controller, or more than one to choose from.
    pub fn look(options: &Options) -> Result<Self, GadgetError> {
        let configfs = ConfigFs::of_system(&options.name)?;
        Self::new(configfs.root(), options)
    }

    /// Looks around, and chooses the controller.
    pub(crate) fn new(configfs: &Path, options: &Options) -> Result<Self, GadgetError> {
        let class = Path::new(UDC_CLASS);
        let controller = Controller::choose(class, options.udc.as_deref())?;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        Ok(Self {
            kernel: release,
            configfs: configfs.to_owned(),
            functionfs: filesystems.lines().any(|line| line.split_whitespace().last() == Some("functionfs")),
            aio: aio::is_there(),
            dfu_descriptor: None,
            winusb: None,
            stalls: options.stalls.unwrap_or_else(|| controller.can_stall(class)),
            controller,
        })
    }

    /// Remembers in which form the kernel took a set.
    pub(crate) fn tried(&mut self, set: &DescriptorSet, form: Form) {
        if set.interfaces.iter().any(|interface| !interface.extra.is_empty()) {
            self.dfu_descriptor = Some(form.class == ClassDescriptors::Written);
        }
        if set.wants_winusb() {
            self.winusb = Some(form.microsoft != MicrosoftDescriptors::LeftOut);
        }
        self.functionfs = true;
    }
}

impl Controller {
    /// The one with the name, or the only one there is.
    pub(crate) fn choose(class: &Path, wanted: Option<&str>) -> Result<Self, GadgetError> {
        let mut there = list(class);
        match wanted {
            Some(name) if there.iter().any(|it| it == name) => Ok(Self::read(class, name)),
            Some(name) => Err(GadgetError::NoSuchController { name: name.to_owned(), there }),
            None => match (there.pop(), there.is_empty()) {
                (None, _) => Err(GadgetError::NoController),
                (Some(name), true) => Ok(Self::read(class, &name)),
                (Some(last), false) => {
                    there.push(last);
                    Err(GadgetError::WhichController(there))
                }
            },
        }
    }

    fn read(class: &Path, name: &str) -> Self {
        let attribute = |file: &str| {
            let text = fs::read_to_string(class.join(name).join(file)).unwrap_or_default();
            text.trim().to_owned()
        };
        Self {
            name: name.to_owned(),
            max_speed: attribute("maximum_speed"),
            state: attribute("state"),
            function: Some(attribute("function")).filter(|function| !function.is_empty()),
        }
    }

    /// Whether its driver can halt ep0, as far as is known. The one of ASPEED's virtual hub cannot, and the kernel does not look whether there
    /// is a function to call.
    fn can_stall(&self, class: &Path) -> bool {
        if self.name.contains("usb-vhub:p") {
            return false;
        }
        // A port of the hub has no driver, the hub above it has.
        let Ok(device) = class.join(&self.name).join("device").canonicalize() else { return true };
        !device.ancestors().take(2).any(|device| {
            let driver = fs::read_link(device.join("driver")).unwrap_or_default();
            driver.file_name().is_some_and(|name| name == "aspeed_vhub" || name == "aspeed-vhub")
        })
    }

    /// What sysfs says now.
    pub(crate) fn now(&self) -> Self {
        Self::read(Path::new(UDC_CLASS), &self.name)
    }

    /// Whether the host has configured the device. A state of its own hides that while the bus is idle; a host lets a device sleep that it
    /// has configured.
    pub(crate) fn is_configured(&self) -> bool {
        matches!(self.state.as_str(), "configured" | "suspended")
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.max_speed, self.state)?;
        match &self.function {
            Some(function) => write!(f, ", in use by {function}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = if self.functionfs { "there" } else { "not loaded yet" };
        let aio = if self.aio { "there" } else { "missing (CONFIG_AIO): no bulk endpoints" };
        let dfu = match self.dfu_descriptor {
            None => "not tried",
            Some(true) => "taken",
            Some(false) => "refused, left out",
        };
        let winusb = match self.winusb {
            None => "not tried",
            Some(true) => "announced",
            Some(false) => "not announced",
        };
        let refusals = if self.stalls { "STALL" } else { "none, the host waits its time (ep0 cannot stall)" };
        write!(
            f,
            "Linux {}, controller {}, FunctionFS {loaded}, AIO {aio}, DFU functional descriptor {dfu}, WinUSB {winusb}, answer to refused \
             requests {refusals}, gadgets in {}",
            self.kernel,
            self.controller,
            self.configfs.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn class(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let udc = folder.path().join(name);
            fs::create_dir(&udc).unwrap();
            fs::write(udc.join("maximum_speed"), "high-speed\n").unwrap();
            fs::write(udc.join("state"), "not attached\n").unwrap();
            fs::write(udc.join("function"), "\n").unwrap();
        }
        folder
    }

    #[test]
    fn the_only_controller_is_taken_and_several_are_listed() {
        let one = class(&["a.usb"]);
        let chosen = Controller::choose(one.path(), None).unwrap();
        assert_eq!(chosen.to_string(), "a.usb (high-speed, not attached)");
        let error = Controller::choose(class(&[]).path(), None).unwrap_err();
        assert!(error.to_string().contains("no USB device controller"), "{error}");
        let error = Controller::choose(class(&["b.usb", "a.usb"]).path(), None).unwrap_err();
        assert!(error.to_string().ends_with("name one of them: a.usb, b.usb"), "{error}");
    }

    #[test]
    fn a_port_of_aspeeds_hub_cannot_stall_and_others_can() {
        let folder = class(&["1e6a0000.usb-vhub:p1", "a.usb", "port", "alone"]);
        let devices = folder.path().join("devices");
        for (udc, device, driven, driver) in
            [("a.usb", "soc/a.usb", "soc/a.usb", "dwc2"), ("port", "soc/hub/port", "soc/hub", "aspeed_vhub")]
        {
            fs::create_dir_all(devices.join(device)).unwrap();
            symlink(devices.join(device), folder.path().join(udc).join("device")).unwrap();
            symlink(format!("../../bus/platform/drivers/{driver}"), devices.join(driven).join("driver"))
                .unwrap();
        }
        let stalling = ["1e6a0000.usb-vhub:p1", "a.usb", "port", "alone"]
            .map(|name| Controller::read(folder.path(), name).can_stall(folder.path()));
        assert_eq!(stalling, [false, true, false, true]);
    }

    #[test]
    fn a_controller_is_taken_by_name_and_one_that_is_not_there_says_what_is() {
        let two = class(&["a.usb", "b.usb"]);
        assert_eq!(Controller::choose(two.path(), Some("b.usb")).unwrap().name, "b.usb");
        let error = Controller::choose(two.path(), Some("c.usb")).unwrap_err();
        assert_eq!(error.to_string(), "there is no USB device controller c.usb, but a.usb, b.usb");
        let error = Controller::choose(class(&[]).path(), Some("c.usb")).unwrap_err();
        assert_eq!(error.to_string(), "there is no USB device controller c.usb, but none at all");
    }
}
