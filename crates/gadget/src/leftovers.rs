//! What a process of ours has left that died.

use rustix::io::Errno;

use crate::{GadgetError, configfs::ConfigFs, instance};

/// Removes our gadgets but those in use here.
///
/// # Errors
/// One of them is in use by another process.
pub(crate) fn remove(configfs: &ConfigFs, in_use: &[&str]) -> Result<(), GadgetError> {
    for name in configfs.ours() {
        if in_use.contains(&name.as_str()) {
            continue;
        }
        // Who has FunctionFS's files open is known by that, who shows the kernel's disk by the lock. What cannot be found out is taken for held.
        let is_held = match configfs.is_disk(&name) {
            true => !matches!(configfs.lock(&name), Ok(Some(_)) | Err(Errno::NOENT)),
            // Only for one that may have an instance: without any, the kernel looks for the file system's module, and logs that it is no use.
            false => instance::is_held(&name),
        };
        if is_held {
            return Err(GadgetError::Held(name));
        }
        configfs.take_away(&name)?;
        log::info!("removed the gadget {name}, which a process that died has left");
    }
    Ok(())
}
