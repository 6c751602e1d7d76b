//! The vendor request (docs/spec/session.md, 5).

use std::time::Duration;

use inband_bulk::interface;
use inband_session::status;
use inband_usb::{DeviceBackend, Direction, Recipient, Setup};

use super::{Bmc, bulk};
use crate::worker::Worker;

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// The page that is asked for.
    pub(super) fn page(&self, now: Duration, setup: &Setup) -> Option<Vec<u8>> {
        let ours = setup.direction() == Direction::In
            && setup.recipient() == Recipient::Interface
            && setup.index == u16::from(inband_dfu::device::INTERFACE)
            && setup.request == status::REQUEST
            && setup.length > 0;
        if ours { self.numbered_page(now, setup.value) } else { None }
    }

    /// The same, whoever asks by whatever channel.
    pub(super) fn numbered_page(&self, now: Duration, number: u16) -> Option<Vec<u8>> {
        match number {
            interface::PAGE if self.options.bulk && !self.bulk.is_refused() => Some(bulk::page()),
            number => self.session.page(number, now),
        }
    }
}
