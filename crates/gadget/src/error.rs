//! What can go wrong.

use std::io;

use inband_usb::descriptor::DescriptorError;

/// Why there is no gadget, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum GadgetError {
    /// The kernel has no USB gadgets in configfs.
    #[error(
        "no usb_gadget folder in configfs: the kernel needs CONFIG_USB_CONFIGFS (modprobe libcomposite), and configfs has to \
         be mounted (mount -t configfs none /sys/kernel/config)"
    )]
    NoConfigfs,
    /// The kernel has no FunctionFS.
    #[error("the kernel has no FunctionFS: CONFIG_USB_CONFIGFS_F_FS (modprobe usb_f_fs)")]
    NoFunctionFs,
    /// The kernel has no asynchronous I/O, which bulk endpoints are served with.
    #[error("the kernel has no asynchronous I/O for bulk endpoints: CONFIG_AIO")]
    NoAio,
    /// No USB device controller.
    #[error("there is no USB device controller in /sys/class/udc: its driver is missing or not loaded")]
    NoController,
    /// Several controllers, and the options name none.
    #[error("there are several USB device controllers, name one of them: {}", .0.join(", "))]
    WhichController(Vec<String>),
    /// The options name a controller that is not there.
    #[error("there is no USB device controller {name}, but {}", listed(.there))]
    NoSuchController {
        /// The name in the options.
        name: String,
        /// Those there are.
        there: Vec<String>,
    },
    /// Another gadget has the controller.
    #[error("the USB device controller {udc} is in use by {by}")]
    Busy {
        /// The controller.
        udc: String,
        /// The gadget that has it, as far as the kernel says.
        by: String,
    },
    /// The kernel did not bind a gadget to a controller that nobody has. Of the reason it tells its log alone.
    #[error(
        "the kernel does not bind the gadget {gadget} to the USB device controller {udc}: its endpoints do not suffice, or somebody took it this moment"
    )]
    Refused {
        /// The controller.
        udc: String,
        /// The gadget.
        gadget: String,
    },
    /// A gadget with a name of ours is in use by another process.
    #[error("another program has the gadget {0} open: is inbandd running already?")]
    Held(String),
    /// The prefix is no name for a folder.
    #[error("{0:?} is no name for gadgets: 1 to 32 letters, digits and hyphens")]
    Name(String),
    /// FunctionFS strings end at NUL.
    #[error("a string of the device has a NUL character")]
    Nul,
    /// The set cannot be shown to any host.
    #[error("the descriptors cannot be used: {0}")]
    Descriptors(#[from] DescriptorError),
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl GadgetError {
    /// For `map_err`: the system refused `what`.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::System { what: what.into(), source: source.into() }
    }
}

/// A list of controllers that may be empty.
fn listed(names: &[String]) -> String {
    if names.is_empty() { "none at all".into() } else { names.join(", ") }
}
