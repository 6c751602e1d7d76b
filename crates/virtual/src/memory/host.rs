//! The host's side of the bus.

use std::{sync::MutexGuard, time::Duration};

use inband_usb::{
    Direction, EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, Setup, TransferId,
    chapter9::{ENDPOINT_HALT, request},
};

use super::{
    Bus,
    bulk::{HostBulk, PACKET},
    control::Control,
    state::{ProgramId, State},
};

/// The device as one program on the host has it open. Dropping it ends its transfers and releases its interfaces.
#[derive(Debug)]
pub struct MemoryHost {
    bus: Bus,
    program: ProgramId,
    /// The device it opened: no other that comes later.
    generation: u64,
}

impl MemoryHost {
    pub(super) fn open(bus: &Bus) -> Result<Self, HostError> {
        let mut state = bus.state();
        if !state.present {
            return Err(HostError::Gone);
        }
        let program = state.next_id();
        state.programs.insert(program, super::state::Program::default());
        let generation = state.generation;
        drop(state);
        Ok(Self { bus: bus.clone(), program, generation })
    }

    /// The bus, if the device is still there.
    fn state(&self) -> Result<MutexGuard<'_, State>, HostError> {
        let state = self.bus.state();
        if state.present && state.generation == self.generation { Ok(state) } else { Err(HostError::Gone) }
    }

    /// The interface of an endpoint this program may use.
    fn check_endpoint(&self, state: &State, endpoint: EndpointAddress) -> Result<(), HostError> {
        let interface = state.set.as_ref().and_then(|set| set.interface_of(endpoint));
        let interface = interface.ok_or(HostError::Misuse("there is no such endpoint"))?;
        if state.claims.get(&interface) == Some(&self.program) {
            Ok(())
        } else {
            Err(HostError::Misuse("the interface of the endpoint is not claimed"))
        }
    }

    fn check_direction(endpoint: EndpointAddress, direction: Direction) -> Result<(), HostError> {
        if endpoint.direction() == direction {
            Ok(())
        } else {
            Err(HostError::Misuse("the endpoint is of the other direction"))
        }
    }
}

impl Drop for MemoryHost {
    fn drop(&mut self) {
        self.bus.state().close(self.program);
    }
}

impl HostDevice for MemoryHost {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let mut state = self.state()?;
        match &transfer {
            HostTransfer::ControlOut { setup, data } => {
                if setup.direction() == Direction::In && setup.length > 0 {
                    return Err(HostError::Misuse("an IN request carries no data"));
                }
                if data.len() != usize::from(setup.length) {
                    return Err(HostError::Misuse("wLength is not the length of the data"));
                }
            }
            HostTransfer::ControlIn { setup } => {
                if setup.direction() == Direction::Out {
                    return Err(HostError::Misuse("an OUT request is answered with no data"));
                }
            }
            HostTransfer::BulkOut { endpoint, .. } => {
                self.check_endpoint(&state, *endpoint)?;
                Self::check_direction(*endpoint, Direction::Out)?;
            }
            HostTransfer::BulkIn { endpoint, length } => {
                self.check_endpoint(&state, *endpoint)?;
                Self::check_direction(*endpoint, Direction::In)?;
                if *length == 0 || length % PACKET != 0 {
                    return Err(HostError::Misuse("an IN length that is no multiple of wMaxPacketSize"));
                }
            }
        }
        let id = TransferId(state.next_id());
        let number = state.transfers;
        state.transfers += 1;
        let fault = state.faults.of(number);
        match transfer {
            HostTransfer::ControlOut { setup, data } => {
                state.control.push_back(Control::new(Some(self.program), id, setup, data, fault));
                state.run_control();
            }
            HostTransfer::ControlIn { setup } => {
                state.control.push_back(Control::new(Some(self.program), id, setup, Vec::new(), fault));
                state.run_control();
            }
            HostTransfer::BulkOut { endpoint, data } => {
                let length = data.len();
                state.host_submit(endpoint, HostBulk::new(self.program, id, data, length, fault));
            }
            HostTransfer::BulkIn { endpoint, length } => {
                state.host_submit(endpoint, HostBulk::new(self.program, id, Vec::new(), length, fault));
            }
        }
        Ok(id)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        self.bus.state().programs.get_mut(&self.program)?.completions.pop_front()
    }

    fn cancel(&mut self, id: TransferId) {
        self.bus.state().cancel(self.program, id);
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        let mut state = self.state()?;
        if state.set.as_ref().is_none_or(|set| set.interface(interface).is_none()) {
            return Err(HostError::Misuse("there is no such interface"));
        }
        match state.claims.get(&interface) {
            Some(program) if *program == self.program => return Ok(()),
            Some(_) => return Err(HostError::Busy),
            None => {}
        }
        state.claims.insert(interface, self.program);
        state.standard(&Setup {
            request_type: 0x01,
            request: request::SET_INTERFACE,
            value: 0,
            index: u16::from(interface),
            length: 0,
        });
        Ok(())
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        let mut state = self.state()?;
        self.check_endpoint(&state, endpoint)?;
        if state.host_busy(endpoint) {
            return Err(HostError::Misuse("transfers are in flight on the endpoint"));
        }
        state.standard(&Setup {
            request_type: 0x02,
            request: request::CLEAR_FEATURE,
            value: ENDPOINT_HALT,
            index: u16::from(endpoint.0),
            length: 0,
        });
        Ok(())
    }

    fn reset(&mut self) -> Result<(), HostError> {
        self.state()?.bus_reset();
        Ok(())
    }

    fn wait(&mut self, limit: Duration) {
        let there = self.state().is_ok();
        self.bus.run_until(limit, || {
            let news =
                self.bus.state().programs.get(&self.program).is_some_and(|it| !it.completions.is_empty());
            news || self.state().is_ok() != there
        });
    }

    fn now(&self) -> Duration {
        self.bus.now()
    }
}
