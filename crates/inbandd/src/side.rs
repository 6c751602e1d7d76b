//! The USB side of a daemon: what carries the device, and what waits for it.

use std::{fmt, sync::Arc, time::Duration};

use inband_usb::DeviceBackend;

use crate::bmc::Lender;

#[cfg(target_os = "linux")]
mod lent;
#[cfg(target_os = "linux")]
mod udc;
#[cfg(feature = "virtual")]
mod usbip;
#[cfg(all(target_os = "linux", feature = "virtual"))]
mod usbredir;

#[cfg(target_os = "linux")]
pub use lent::{Lent, LentBackend};
#[cfg(target_os = "linux")]
pub use udc::{Udc, prepare, probe};
#[cfg(feature = "virtual")]
pub use usbip::Usbip;
#[cfg(all(target_os = "linux", feature = "virtual"))]
pub use usbredir::Usbredir;

/// Ends a [`Side::wait`] from any thread, or the next one if none is under way.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What a daemon waits in. It is shown in the log as the configuration names it.
pub trait Side: fmt::Display {
    /// What carries the device.
    type Backend: DeviceBackend;

    /// Whether there can be bulk endpoints, for the doors `bulk` and `volume`.
    fn has_bulk_endpoints(&self) -> bool;

    /// Whether endpoints can be halted.
    fn can_halt(&self) -> bool;

    /// Who takes media for a disk that is not ours. Then there is nothing else on the bus.
    fn lender(&self) -> Option<Arc<dyn Lender>> {
        None
    }

    /// Waits until the backend may have an event, a waker woke, or the time is over.
    fn wait(&mut self, limit: Duration);

    /// What ends [`wait`](Self::wait).
    fn waker(&self) -> Waker;

    /// The daemon ends: the device leaves the bus, unless somebody keeps it there for the next daemon.
    ///
    /// # Errors
    /// Those of the backend.
    fn end(self, mut backend: Self::Backend) -> Result<(), <Self::Backend as DeviceBackend>::Error>
    where
        Self: Sized,
    {
        backend.detach()
    }
}
