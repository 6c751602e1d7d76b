//! Standard requests (USB 2.0, 9.4), and the one of [`microsoft`], for backends that have no kernel to answer them.
//!
//! No I/O: [`Chapter9::handle`] takes a setup packet and says what the backend has to do with the request. Requests
//! which USB 2.0 leaves unspecified (a wrong wValue, wIndex, wLength or direction; most requests in the Default state) are
//! stalled, so that each request has one meaning only.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::{
    DescriptorSet, Direction, EndpointAddress, RequestType, Setup,
    descriptor::{
        BOS, CONFIGURATION, CONFIGURATION_VALUE, DEVICE, DEVICE_QUALIFIER, OTHER_SPEED_CONFIGURATION, STRING,
    },
    microsoft,
};

/// bRequest of the standard requests (USB 2.0, table 9-4).
pub mod request {
    /// GET_STATUS.
    pub const GET_STATUS: u8 = 0;
    /// CLEAR_FEATURE.
    pub const CLEAR_FEATURE: u8 = 1;
    /// SET_FEATURE.
    pub const SET_FEATURE: u8 = 3;
    /// SET_ADDRESS.
    pub const SET_ADDRESS: u8 = 5;
    /// GET_DESCRIPTOR.
    pub const GET_DESCRIPTOR: u8 = 6;
    /// GET_CONFIGURATION.
    pub const GET_CONFIGURATION: u8 = 8;
    /// SET_CONFIGURATION.
    pub const SET_CONFIGURATION: u8 = 9;
    /// GET_INTERFACE.
    pub const GET_INTERFACE: u8 = 10;
    /// SET_INTERFACE.
    pub const SET_INTERFACE: u8 = 11;
}

/// Feature selector ENDPOINT_HALT (USB 2.0, table 9-6), the only one there is here: no remote wake-up, and test modes need
/// a transceiver.
pub const ENDPOINT_HALT: u16 = 0;

/// GET_STATUS of the device: self-powered, remote wake-up off.
const STATUS_SELF_POWERED: u16 = 1;
/// GET_STATUS of a halted endpoint.
const STATUS_HALTED: u16 = 1;
/// Highest device address (USB 2.0, 9.4.6).
const MAX_ADDRESS: u16 = 127;

/// A device's visible states (USB 2.0, 9.1.1) that a request can arrive in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// After a bus reset: address 0.
    Default,
    /// With an address, not configured.
    Address,
    /// Configuration 1 is in use.
    Configured,
}

/// What the backend does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sends these bytes, never more than wLength, then lets the host do the status stage. Fewer than wLength end the data
    /// stage early; none at all for wLength 0, where there is a status stage only.
    Reply(Vec<u8>),
    /// Does the status stage of a request without data, and what the [`Effect`] says.
    Ack(Effect),
    /// Refuses.
    Stall,
    /// A class or vendor request to a configured device: hands it to the function as
    /// [`DeviceEvent::Setup`](crate::DeviceEvent::Setup).
    ToFunction,
}

/// What changes with an acknowledged request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The device listens to this address from the end of the status stage on; 0 is the Default state.
    Address(u8),
    /// All transfers of the function end as [`TransferError::Disabled`](crate::TransferError::Disabled), then it gets
    /// [`DeviceEvent::Enable`](crate::DeviceEvent::Enable).
    Enable,
    /// All transfers of the function end as [`TransferError::Disabled`](crate::TransferError::Disabled), then it gets
    /// [`DeviceEvent::Disable`](crate::DeviceEvent::Disable).
    Disable,
    /// The endpoint answers STALL from now on; its queue stays.
    Halt(EndpointAddress),
    /// The endpoint goes on with its queue. It may not have been halted.
    ClearHalt(EndpointAddress),
}

/// The state standard requests read and change. One for each attachment: a device that leaves and comes back starts anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter9 {
    state: State,
    address: u8,
    /// Halted endpoints: OUT numbers are bits 0 to 15, IN numbers bits 16 to 31.
    halts: u32,
}

impl Default for Chapter9 {
    fn default() -> Self {
        Self::new()
    }
}

impl Chapter9 {
    /// A device after a bus reset.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Default, address: 0, halts: 0 }
    }

    /// A device to which the transport has given an address by itself, as USB/IP does.
    #[must_use]
    pub const fn with_address(address: u8) -> Self {
        Self { state: State::Address, address, halts: 0 }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The device address; 0 in the Default state.
    #[must_use]
    pub const fn address(&self) -> u8 {
        self.address
    }

    /// A bus reset (USB 2.0, 9.1.1.3): Default state. The effect is [`Effect::Disable`] if the device was configured.
    pub fn reset(&mut self) -> Effect {
        let configured = self.state == State::Configured;
        *self = Self::new();
        if configured { Effect::Disable } else { Effect::None }
    }

    /// Whether an endpoint is halted.
    #[must_use]
    pub const fn is_halted(&self, endpoint: EndpointAddress) -> bool {
        self.halts & halt_bit(endpoint) != 0
    }

    /// Halts an endpoint for the function.
    pub fn set_halt(&mut self, endpoint: EndpointAddress) {
        self.halts |= halt_bit(endpoint);
    }

    /// Answers one request. Only requests with [`Outcome::Ack`] change anything.
    pub fn handle(&mut self, set: &DescriptorSet, setup: &Setup) -> Outcome {
        if let Some(bytes) = microsoft::answer(set, setup) {
            return reply(bytes, setup);
        }
        match setup.kind() {
            RequestType::Standard => {}
            RequestType::Class | RequestType::Vendor if self.state == State::Configured => {
                return Outcome::ToFunction;
            }
            RequestType::Class | RequestType::Vendor | RequestType::Reserved => return Outcome::Stall,
        }
        let answered = match setup.direction() {
            Direction::In => self.read(set, setup).map(|bytes| reply(bytes, setup)),
            Direction::Out if setup.length == 0 => self.write(set, setup).map(Outcome::Ack),
            // SET_DESCRIPTOR is the only one with data to the device, and it is optional (USB 2.0, 9.4.8).
            Direction::Out => None,
        };
        answered.unwrap_or(Outcome::Stall)
    }

    /// Requests with data from the device; `None` is a Request Error.
    fn read(&self, set: &DescriptorSet, setup: &Setup) -> Option<Vec<u8>> {
        let Setup { value, index, .. } = *setup;
        match (setup.request_type, setup.request) {
            // 9.4.3: valid in every state.
            (0x80, request::GET_DESCRIPTOR) => descriptor(set, value, index),
            // 9.4.2
            (0x80, request::GET_CONFIGURATION) if value == 0 && index == 0 => match self.state {
                State::Default => None,
                State::Address => Some([0].into()),
                State::Configured => Some([CONFIGURATION_VALUE].into()),
            },
            // 9.4.4
            (0x81, request::GET_INTERFACE) if value == 0 => {
                self.interface(set, index)?;
                Some([0].into())
            }
            // 9.4.5
            (0x80, request::GET_STATUS) if value == 0 && index == 0 && self.state != State::Default => {
                Some(STATUS_SELF_POWERED.to_le_bytes().into())
            }
            (0x81, request::GET_STATUS) if value == 0 => {
                self.interface(set, index)?;
                Some([0, 0].into())
            }
            (0x82, request::GET_STATUS) if value == 0 => {
                let endpoint = self.endpoint(set, index)?;
                let status = if self.is_halted(endpoint) { STATUS_HALTED } else { 0 };
                Some(status.to_le_bytes().into())
            }
            _ => None,
        }
    }

    /// Requests without data; `None` is a Request Error.
    fn write(&mut self, set: &DescriptorSet, setup: &Setup) -> Option<Effect> {
        let Setup { value, index, .. } = *setup;
        match (setup.request_type, setup.request) {
            // 9.4.6
            (0x00, request::SET_ADDRESS) if value <= MAX_ADDRESS && index == 0 => {
                if self.state == State::Configured {
                    return None;
                }
                self.address = value as u8;
                self.state = if value == 0 { State::Default } else { State::Address };
                Some(Effect::Address(self.address))
            }
            // 9.4.7
            (0x00, request::SET_CONFIGURATION) if index == 0 => {
                let configured = match (self.state, value) {
                    (State::Default, _) => return None,
                    (State::Address | State::Configured, 0) => false,
                    (State::Address | State::Configured, _) if value == u16::from(CONFIGURATION_VALUE) => {
                        true
                    }
                    (State::Address | State::Configured, _) => return None,
                };
                let effect = match (self.state, configured) {
                    (_, true) => Effect::Enable,
                    (State::Configured, false) => Effect::Disable,
                    (State::Default | State::Address, false) => Effect::None,
                };
                self.state = if configured { State::Configured } else { State::Address };
                self.halts = 0;
                Some(effect)
            }
            // 9.4.10: setting 0 is the only one. The function's other interfaces are enabled anew with this one.
            (0x01, request::SET_INTERFACE) if value == 0 => {
                self.interface(set, index)?;
                self.halts = 0;
                Some(Effect::Enable)
            }
            // 9.4.1
            (0x02, request::CLEAR_FEATURE) if value == ENDPOINT_HALT => {
                let endpoint = self.endpoint(set, index)?;
                if endpoint.number() == 0 {
                    // Endpoint 0 is never halted: a STALL there ends with the next SETUP (8.5.3.4).
                    return Some(Effect::None);
                }
                self.halts &= !halt_bit(endpoint);
                Some(Effect::ClearHalt(endpoint))
            }
            // 9.4.9
            (0x02, request::SET_FEATURE) if value == ENDPOINT_HALT => {
                let endpoint = self.endpoint(set, index)?;
                if endpoint.number() == 0 {
                    return None;
                }
                self.set_halt(endpoint);
                Some(Effect::Halt(endpoint))
            }
            _ => None,
        }
    }

    /// The interface a request names in wIndex, in the state where there are interfaces.
    fn interface(&self, set: &DescriptorSet, index: u16) -> Option<u8> {
        let number = u8::try_from(index).ok()?;
        (self.state == State::Configured && set.interface(number).is_some()).then_some(number)
    }

    /// The endpoint a request names in wIndex: endpoint 0 once there is an address, the others once configured.
    fn endpoint(&self, set: &DescriptorSet, index: u16) -> Option<EndpointAddress> {
        let endpoint = EndpointAddress(u8::try_from(index).ok()?);
        let exists = match (self.state, endpoint.0) {
            (State::Default, _) => false,
            (State::Address | State::Configured, 0x00 | 0x80) => true,
            (State::Address, _) => false,
            (State::Configured, _) => set.interface_of(endpoint).is_some(),
        };
        exists.then_some(endpoint)
    }
}

/// As much of an answer as was asked for.
fn reply(mut bytes: Vec<u8>, setup: &Setup) -> Outcome {
    bytes.truncate(usize::from(setup.length));
    Outcome::Reply(bytes)
}

/// GET_DESCRIPTOR (USB 2.0, 9.4.3).
fn descriptor(set: &DescriptorSet, value: u16, index: u16) -> Option<Vec<u8>> {
    let [number, kind] = value.to_le_bytes();
    match (kind, number, index) {
        (STRING, _, language) => set.string_bytes(number, language),
        (BOS, 0, 0) => set.bos_bytes(),
        (DEVICE, 0, 0) => Some(set.device_bytes().into()),
        (CONFIGURATION, 0, 0) => Some(set.configuration_bytes()),
        (DEVICE_QUALIFIER, 0, 0) => Some(set.device_qualifier_bytes().into()),
        (OTHER_SPEED_CONFIGURATION, 0, 0) => Some(set.other_speed_configuration_bytes()),
        _ => None,
    }
}

const fn halt_bit(endpoint: EndpointAddress) -> u32 {
    let bit = 1 << endpoint.number();
    match endpoint.direction() {
        Direction::Out => bit,
        Direction::In => bit << 16,
    }
}
