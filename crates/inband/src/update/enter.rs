//! Into DFU mode and out of it.

use std::time::{Duration, Instant};

use inband_dfu::{
    host::{Error as DfuError, InterfaceMode},
    wire::Request,
};
use inband_session::{Door, DoorState, ResultCode, SessionState, status::StatusPage};

use crate::{
    bmc::Bmc,
    cancel::Cancel,
    dfu::{self, Stop},
    error::{DeviceError, Error},
    follow::{Expected, follow},
    usb::Bus,
};

/// How long a BMC may take to be back on the bus.
pub const BACK_LIMIT: Duration = Duration::from_secs(10);

/// Sends DETACH and follows the BMC into DFU mode; also how long that took.
///
/// # Errors
/// [`Error::Refused`] if the door is shut or busy; those of following; [`Error::Device`]; [`Error::Cancelled`].
pub fn dfu_mode(bus: &dyn Bus, mut bmc: Bmc, cancel: &Cancel) -> Result<(Bmc, Duration), Error> {
    let start = Instant::now();
    let interface = *bmc.interface();
    match dfu::detach(bmc.device(), &interface, cancel) {
        Ok(()) => {}
        Err(Stop::Cancelled { .. }) => return Err(Error::Cancelled),
        Err(Stop::Dfu(error @ DfuError::Refused { request: Request::Detach, .. })) => {
            return Err(refused(&mut bmc, error));
        }
        Err(Stop::Dfu(error)) => return Err(bmc.failure("enter DFU mode", error.into())),
        Err(Stop::Read(source)) => return Err(Error::System { action: "enter DFU mode", source }),
    }
    let expected = Expected::from(&bmc, InterfaceMode::Dfu);
    // An open handle may keep the operating system from letting the old device go.
    drop(bmc);
    let bmc = follow(bus, &expected, BACK_LIMIT, cancel)?;
    Ok((bmc, start.elapsed()))
}

/// Why DETACH was refused: the BMC's doors and session tell.
fn refused(bmc: &mut Bmc, error: DfuError) -> Error {
    match bmc.status().ok().and_then(|status| not_now(&status)) {
        Some(code) => Error::Refused { place: bmc.place.clone(), code },
        None => bmc.failure("enter DFU mode", DeviceError::Dfu(error)),
    }
}

/// Why a BMC that stands so begins no session.
#[must_use]
pub fn not_now(status: &StatusPage) -> Option<ResultCode> {
    if status.door_state(Door::Dfu) == DoorState::Shut {
        Some(ResultCode::DoorShut)
    } else if status.state.is_at_work() || status.state == SessionState::Activating {
        Some(ResultCode::Busy)
    } else if status.on_trial {
        Some(ResultCode::OnTrial)
    } else {
        None
    }
}

/// Lets a BMC in DFU mode go back to run-time at once; it would do so by itself after a while. Whatever it answers changes
/// nothing any more, so there is no error.
pub fn leave(bmc: &mut Bmc) {
    let interface = *bmc.interface();
    dfu::leave(bmc.device(), &interface);
}
