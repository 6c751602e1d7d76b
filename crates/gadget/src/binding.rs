//! Who has the controller.

use crate::{Controller, GadgetError, configfs::ConfigFs};

/// An error of the kernel's own that some of its calls pass on (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// Asked before binding, because the kernel logs a warning when it refuses.
///
/// # Errors
/// Somebody has it.
pub(crate) fn ensure_free(configfs: &ConfigFs, controller: &Controller) -> Result<(), GadgetError> {
    match user_of(configfs, controller) {
        Some(by) => Err(GadgetError::Busy { udc: controller.name.clone(), by }),
        None => Ok(()),
    }
}

/// Binds a gadget: it appears on the bus.
///
/// # Errors
/// Says who has the controller, if somebody has.
pub(crate) fn bind(configfs: &ConfigFs, name: &str, controller: &Controller) -> Result<(), GadgetError> {
    let udc = &controller.name;
    configfs.bind(name, udc).map_err(|error| match error.raw_os_error() {
        // Since 5.19 whatever went wrong in binding; before, the error of the function, which finds no endpoints.
        Some(libc::EBUSY | ENOTSUPP) => match ensure_free(configfs, controller) {
            Err(busy) => busy,
            Ok(()) => GadgetError::Refused { udc: udc.clone(), gadget: name.to_owned() },
        },
        _ => GadgetError::system(format!("bind the gadget {name} to {udc}"))(error),
    })
}

/// A gadget of configfs, or a driver that needs none.
fn user_of(configfs: &ConfigFs, controller: &Controller) -> Option<String> {
    match configfs.bound_to(&controller.name) {
        Some(name) => Some(format!("the gadget {}", configfs.root().join(name).display())),
        None => controller.now().function,
    }
}
