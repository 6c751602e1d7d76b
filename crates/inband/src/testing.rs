//! A bus of devices that tests put together.

pub(crate) mod bench;
pub(crate) mod bmc;
pub(crate) mod ipmi;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    time::Duration,
};

use inband_dfu::wire::{FunctionalDescriptor, PROTOCOL_DFU_MODE, PROTOCOL_RUN_TIME};
use inband_usb::{
    EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, TransferId,
    descriptor::{ParsedConfiguration, ParsedDevice, ParsedInterface},
};

use crate::{
    error::DeviceError,
    usb::{Bus, InterfaceClass, Opened, Place, Sighting, Strings},
};

/// A device on a [`FakeBus`].
#[derive(Clone)]
pub(crate) struct Plugged {
    port: u8,
    class: u8,
    protocol: u8,
    serial: String,
    /// The class-specific descriptors of its interface.
    extra: Vec<u8>,
    /// What it answers as its machine; `None` stalls.
    machine: Option<String>,
    /// Opening it fails.
    failure: Option<HostError>,
}

impl Plugged {
    pub(crate) fn bmc(port: u8, serial: &str) -> Self {
        Self {
            port,
            class: 0xfe,
            protocol: PROTOCOL_RUN_TIME,
            serial: serial.into(),
            extra: FunctionalDescriptor::OURS.to_bytes().to_vec(),
            machine: Some("board".into()),
            failure: None,
        }
    }

    pub(crate) fn foreign(port: u8) -> Self {
        Self { machine: None, ..Self::bmc(port, "FOREIGN") }
    }

    pub(crate) fn keyboard(port: u8) -> Self {
        Self { class: 3, ..Self::foreign(port) }
    }

    pub(crate) fn failing(port: u8, failure: HostError) -> Self {
        Self { failure: Some(failure), ..Self::bmc(port, "SN") }
    }

    pub(crate) fn in_dfu_mode(self) -> Self {
        Self { protocol: PROTOCOL_DFU_MODE, ..self }
    }

    pub(crate) fn without_functional_descriptor(self) -> Self {
        Self { extra: Vec::new(), ..self }
    }

    pub(crate) fn of_board(self, machine: &str) -> Self {
        Self { machine: Some(machine.into()), ..self }
    }

    fn place(&self) -> Place {
        Place::Port { bus: "1".into(), ports: vec![self.port] }
    }
}

/// Devices at the ports of bus 1.
pub(crate) struct FakeBus {
    devices: RefCell<Vec<Plugged>>,
    /// Looks until a device appears, and the device.
    late: RefCell<Option<(u32, Plugged)>>,
    looks: Cell<u32>,
    /// Listing fails.
    pub(crate) broken: Option<HostError>,
    /// What was opened, in order.
    pub(crate) opened: RefCell<Vec<Place>>,
}

impl FakeBus {
    pub(crate) fn with(devices: impl IntoIterator<Item = Plugged>) -> Self {
        Self {
            devices: RefCell::new(devices.into_iter().collect()),
            late: RefCell::new(None),
            looks: Cell::new(0),
            broken: None,
            opened: RefCell::new(Vec::new()),
        }
    }

    pub(crate) fn appears_after(&self, looks: u32, device: Plugged) {
        self.late.replace(Some((looks, device)));
    }
}

impl Bus for FakeBus {
    fn list(&self) -> Result<Vec<Sighting>, HostError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.looks.set(self.looks.get() + 1);
        if let Some((_, device)) = self.late.borrow_mut().take_if(|(looks, _)| self.looks.get() > *looks) {
            self.devices.borrow_mut().push(device);
        }
        let sighting = |device: &Plugged| Sighting {
            place: device.place(),
            vendor_id: 0x1d6b,
            product_id: 0x0104,
            device_version: 0x0100,
            interfaces: vec![InterfaceClass {
                number: 0,
                class: device.class,
                subclass: 1,
                protocol: device.protocol,
            }],
            strings: Strings { serial: Some(device.serial.clone()), ..Strings::default() },
        };
        Ok(self.devices.borrow().iter().map(sighting).collect())
    }

    fn open(&self, place: &Place) -> Result<Opened, DeviceError> {
        self.opened.borrow_mut().push(place.clone());
        let devices = self.devices.borrow();
        let device = devices.iter().find(|device| device.place() == *place).ok_or(HostError::Gone)?;
        if let Some(failure) = &device.failure {
            return Err(failure.clone().into());
        }
        Ok(Opened {
            device: Box::new(FakeDevice { machine: device.machine.clone(), ended: VecDeque::new() }),
            descriptor: ParsedDevice {
                usb_version: 0x0200,
                class: 0,
                subclass: 0,
                protocol: 0,
                max_packet_size_0: 64,
                vendor_id: 0x1d6b,
                product_id: 0x0104,
                device_version: 0x0100,
                manufacturer: 0,
                product: 0,
                serial: 0,
                configurations: 1,
            },
            configuration: ParsedConfiguration {
                value: 1,
                name: 0,
                attributes: 0xc0,
                max_power: 1,
                interfaces: vec![ParsedInterface {
                    number: 0,
                    alternate: 0,
                    class: device.class,
                    subclass: 1,
                    protocol: device.protocol,
                    name: 0,
                    extra: device.extra.clone(),
                    endpoints: Vec::new(),
                }],
            },
            strings: Strings { serial: Some(device.serial.clone()), ..Strings::default() },
        })
    }

    fn advice(&self, _: &Place, _: &HostError) -> Option<String> {
        Some("advice of the bus".into())
    }
}

/// Answers the machine page and stalls everything else.
struct FakeDevice {
    machine: Option<String>,
    ended: VecDeque<HostCompletion>,
}

impl HostDevice for FakeDevice {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let id = TransferId(1);
        let (data, result) = match (&self.machine, transfer) {
            (Some(machine), HostTransfer::ControlIn { setup }) if setup.value == 3 => {
                let length = 2 + machine.len() as u8;
                ([&[1, length], machine.as_bytes()].concat(), Ok(()))
            }
            _ => (Vec::new(), Err(HostError::Stall)),
        };
        self.ended.push_back(HostCompletion { id, length: data.len(), data, result });
        Ok(id)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        self.ended.pop_front()
    }

    fn cancel(&mut self, _: TransferId) {}

    fn claim(&mut self, _: u8) -> Result<(), HostError> {
        Ok(())
    }

    fn clear_halt(&mut self, _: EndpointAddress) -> Result<(), HostError> {
        Ok(())
    }

    fn reset(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn wait(&mut self, _: Duration) {}

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}
