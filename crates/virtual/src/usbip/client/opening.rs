//! The way from a fresh connection to a configured device, without the socket.

use std::mem;

use inband_usb::{
    HostTransfer, Setup, TransferId,
    chapter9::request,
    descriptor::{
        CONFIGURATION, DEVICE, MAX_CONFIGURATION_LENGTH, ParsedConfiguration, ParsedDevice,
        parse_configuration, parse_device,
    },
};

use super::{ClientError, Core};
use crate::usbip::wire::{self, BusId, Request, Status};

/// Imports a device, reads its descriptors and sets its first configuration.
#[derive(Debug)]
pub struct OpeningCore {
    request: Vec<u8>,
    input: Vec<u8>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The import was asked for.
    Import(BusId),
    /// A request is on its way to the device.
    Device { core: Box<Core>, record: wire::Device, step: Step, id: TransferId },
    /// All is said.
    Ended,
}

#[derive(Debug)]
enum Step {
    Device,
    ConfigurationHead(ParsedDevice),
    Configuration(ParsedDevice),
    Configure(ParsedDevice, ParsedConfiguration),
}

/// A device that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its transfers.
    pub core: Core,
    /// What the server says of it.
    pub record: wire::Device,
    /// What it says of itself.
    pub descriptor: ParsedDevice,
}

impl OpeningCore {
    /// The beginning of a connection.
    #[must_use]
    pub fn new(busid: &BusId) -> Self {
        Self {
            request: Request::Import(busid.clone()).to_bytes(),
            input: Vec::new(),
            phase: Phase::Import(busid.clone()),
        }
    }

    /// What is to be sent; in one piece or more.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        match &self.phase {
            Phase::Import(_) => &self.request,
            Phase::Device { core, .. } => core.output(),
            Phase::Ended => &[],
        }
    }

    /// The first bytes of the output were sent.
    pub fn sent(&mut self, count: usize) {
        match &mut self.phase {
            Phase::Import(_) => {
                self.request.drain(..count.min(self.request.len()));
            }
            Phase::Device { core, .. } => core.sent(count),
            Phase::Ended => {}
        }
    }

    /// Bytes of the server's have come; the device once it is open. After an error there is nothing more to do.
    pub fn received(&mut self, bytes: &[u8]) -> Result<Option<Opened>, ClientError> {
        match mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Import(busid) => {
                self.input.extend(bytes);
                self.import(busid)
            }
            Phase::Device { core, record, step, id } => self.advance(core, bytes, record, step, id),
            Phase::Ended => Ok(None),
        }
    }

    fn import(&mut self, busid: BusId) -> Result<Option<Opened>, ClientError> {
        let Some((header, rest)) = self.input.split_first_chunk() else {
            self.phase = Phase::Import(busid);
            return Ok(None);
        };
        match wire::parse_import_header(header)? {
            Status::Ok => {}
            refused => return Err(ClientError::Refused(refused)),
        }
        let Some((device, rest)) = rest.split_first_chunk() else {
            self.phase = Phase::Import(busid);
            return Ok(None);
        };
        let record = wire::Device::from_bytes(device)?;
        if record.busid != busid {
            return Err(ClientError::Protocol("another device than was asked for"));
        }
        if !rest.is_empty() {
            return Err(ClientError::Protocol("more than was asked for"));
        }
        let mut core = Box::new(Core::new(record.devid()));
        let id = get_descriptor(&mut core, DEVICE, 18)?;
        self.phase = Phase::Device { core, record, step: Step::Device, id };
        Ok(None)
    }

    fn advance(
        &mut self,
        mut core: Box<Core>,
        bytes: &[u8],
        record: wire::Device,
        step: Step,
        id: TransferId,
    ) -> Result<Option<Opened>, ClientError> {
        core.received(bytes)?;
        let Some(completion) = core.poll() else {
            self.phase = Phase::Device { core, record, step, id };
            return Ok(None);
        };
        completion.result.map_err(ClientError::Device)?;
        let (step, id) = match step {
            Step::Device => {
                let device = parse_device(&completion.data)?;
                (Step::ConfigurationHead(device), get_descriptor(&mut core, CONFIGURATION, 9)?)
            }
            Step::ConfigurationHead(device) => {
                let length = match completion.data.get(2..4) {
                    Some(&[low, high]) => u16::from_le_bytes([low, high]),
                    Some(_) | None => {
                        return Err(ClientError::Protocol("a configuration descriptor cut short"));
                    }
                };
                if usize::from(length) > MAX_CONFIGURATION_LENGTH {
                    return Err(ClientError::Protocol("a configuration of more than 4096 bytes"));
                }
                (Step::Configuration(device), get_descriptor(&mut core, CONFIGURATION, length)?)
            }
            Step::Configuration(device) => {
                let configuration = parse_configuration(&completion.data)?;
                let setup = Setup {
                    request_type: 0x00,
                    request: request::SET_CONFIGURATION,
                    value: configuration.value.into(),
                    index: 0,
                    length: 0,
                };
                let transfer = HostTransfer::ControlOut { setup, data: Vec::new() };
                let id = core.submit(transfer).map_err(ClientError::Device)?;
                (Step::Configure(device, configuration), id)
            }
            Step::Configure(descriptor, configuration) => {
                core.configured(configuration);
                return Ok(Some(Opened { core: *core, record, descriptor }));
            }
        };
        self.phase = Phase::Device { core, record, step, id };
        Ok(None)
    }
}

fn get_descriptor(core: &mut Core, kind: u8, length: u16) -> Result<TransferId, ClientError> {
    let setup = Setup {
        request_type: 0x80,
        request: request::GET_DESCRIPTOR,
        value: u16::from_le_bytes([0, kind]),
        index: 0,
        length,
    };
    core.submit(HostTransfer::ControlIn { setup }).map_err(ClientError::Device)
}
