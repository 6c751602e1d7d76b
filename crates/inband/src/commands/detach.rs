//! `inband detach`.

use inband_dfu::host::InterfaceMode;
use serde::Serialize;

use crate::{
    cancel::Cancel,
    error::Error,
    find::Scope,
    output::Output,
    text::seconds,
    update::{self, enter},
    usb::Selector,
};

#[derive(Serialize)]
struct Detached {
    path: String,
    serial: Option<String>,
    after_ms: u64,
}

/// Brings a BMC into DFU mode and leaves it there.
///
/// # Errors
/// Those of finding it; [`Error::Refused`] if the door is shut or busy; those of following it.
pub fn run(
    scope: &Scope<'_>,
    selector: Option<&Selector>,
    output: &mut Output,
    cancel: &Cancel,
) -> Result<(), Error> {
    let bmc = scope.one(selector)?;
    if bmc.mode() == InterfaceMode::Dfu {
        output.text(format_args!("{}: in DFU mode already", bmc.place));
        let body = Detached { path: bmc.place.to_string(), serial: bmc.strings.serial, after_ms: 0 };
        output.json("dfu-mode", &body);
        return Ok(());
    }
    let (bmc, after) = enter::dfu_mode(scope.bus, bmc, cancel)?;
    output.text(format_args!("{}: in DFU mode after {}", bmc.place, seconds(after)));
    let body = Detached {
        path: bmc.place.to_string(),
        serial: bmc.strings.serial.clone(),
        after_ms: update::event::milliseconds(after),
    };
    output.json("dfu-mode", &body);
    Ok(())
}
