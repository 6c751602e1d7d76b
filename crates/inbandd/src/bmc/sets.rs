//! Which descriptor set is on the bus.

use std::time::Duration;

use inband_dfu::wire::State;
use inband_session::{By, Door, DoorPolicy, DoorState};
use inband_usb::DeviceBackend;

use super::{Bmc, Fault, STALE, bulk::dfu_mode, volume::runtime};
use crate::{config::WhileShut, worker::Worker};

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    pub(super) fn show_runtime(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        self.leave_bus()?;
        self.appear(now)
    }

    /// At run time: with the disk or without, or not at all.
    pub(super) fn appear(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let identity = (self.options.identity)(self.session.store());
        self.dfu.enter_runtime(now);
        self.hidden = false;
        if let Some(product) = self.open_volume(now) {
            match self.backend.attach(&runtime(&identity, Some(product))) {
                Ok(()) => {
                    self.volume_is_there();
                    return Ok(());
                }
                Err(error) if self.volume_is_lent() => return Err(Fault::Backend(error)),
                Err(error) => self.do_without_volume(&error),
            }
        }
        if self.is_to_hide() {
            self.hidden = true;
            // An earlier daemon may have left it there.
            return self.leave_bus();
        }
        self.backend.attach(&runtime(&identity, None)).map_err(Fault::Backend)
    }

    /// Whether no host is to see the device at run time: nobody could come in.
    fn is_to_hide(&self) -> bool {
        // `bulk` is reached by way of `dfu`.
        let is_shut = |door| {
            self.session.door(door) == DoorState::Shut && self.session.policy(door) != DoorPolicy::Always
        };
        self.options.while_shut == WhileShut::Nothing && is_shut(Door::Dfu) && is_shut(Door::Volume)
    }

    /// Comes onto the bus for a door that was armed, and leaves it behind the last one that was shut. Returns whether it did.
    pub(super) fn handle_hiding(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        let at_run_time = self.dfu.state() == State::AppIdle && !self.goes_down();
        let changes = at_run_time && self.hidden != self.is_to_hide();
        if changes {
            self.show_runtime(now)?;
        }
        Ok(changes)
    }

    pub(super) fn show_dfu_mode(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let identity = (self.options.identity)(self.session.store());
        self.leave_bus()?;
        self.session.leave(Door::Volume);
        self.dfu.enter_dfu_mode(now);
        if self.open_bulk(now) {
            match self.backend.attach(&dfu_mode(&identity, true)) {
                Ok(()) => {
                    self.bulk_is_there();
                    return Ok(());
                }
                Err(error) => self.do_without_bulk(&error),
            }
        }
        self.backend.attach(&dfu_mode(&identity, false)).map_err(Fault::Backend)
    }

    /// Nobody is to come in by this door any more, and nobody is at work there.
    pub(super) fn shut_door(&mut self, now: Duration, door: Door, by: By) -> Result<(), Fault<B::Error>> {
        match door {
            Door::Volume => self.hide_volume(now, by),
            // Its interface stays as long as DFU mode does, and takes nothing.
            Door::Bulk => {
                self.session.shut(door, by);
                Ok(())
            }
            Door::Dfu | Door::Ipmi => {
                self.session.shut(door, by);
                // A DETACH may have been answered that has opened nothing yet.
                if self.dfu.state() == State::AppIdle { Ok(()) } else { self.leave(now) }
            }
        }
    }

    /// Leaves the bus and forgets what came from it: an event of the old set, its Disable at the latest, must not be taken for one
    /// of the next set.
    pub(super) fn leave_bus(&mut self) -> Result<(), Fault<B::Error>> {
        for buffer in [self.receiving.take(), self.block.take()].into_iter().flatten() {
            self.recycle(buffer);
        }
        self.backend.detach().map_err(Fault::Backend)?;
        self.bulk.close();
        self.drop_written()?;
        self.close_volume();
        for _ in 0..STALE {
            if self.backend.poll_event().map_err(Fault::Backend)?.is_none() {
                break;
            }
        }
        Ok(())
    }
}
