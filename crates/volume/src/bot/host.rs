//! The host's side (BOT 5.3), as small as tests need it: one command at a time, over any [`HostDevice`].

use alloc::vec::Vec;
use core::time::Duration;

use inband_usb::{
    Direction, EndpointAddress, HostDevice, HostError, HostTransfer, Setup, descriptor::BULK_PACKET_SIZE,
};

use super::wire::{CBW_LENGTH, Cbw, Csw, GET_MAX_LUN, RESET};

/// wMaxPacketSize: what asks for data asks for whole packets.
const PACKET: usize = BULK_PACKET_SIZE as usize;
/// For a request or a wrapper, and for each second of data: EDK2 waits as long for a CBW and a CSW.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a command moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Nothing (Hn).
    None,
    /// So many bytes to the host (Hi).
    In(u32),
    /// These bytes to the device (Ho).
    Out(&'a [u8]),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub csw: Csw,
    /// What came.
    pub data: Vec<u8>,
    /// The device halted the IN endpoint.
    pub halted: bool,
}

/// Why there is no status. [`Host::recover`] is due.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A transfer failed.
    #[error(transparent)]
    Usb(#[from] HostError),
    /// What came is not a valid, meaningful CSW.
    #[error("no valid status came")]
    Status,
}

/// A host that has claimed the interface.
#[derive(Clone, Debug)]
pub struct Host {
    interface: u8,
    output: EndpointAddress,
    input: EndpointAddress,
    tag: u32,
}

impl Host {
    /// A host for the interface with these endpoints.
    #[must_use]
    pub const fn new(interface: u8, output: EndpointAddress, input: EndpointAddress) -> Self {
        Self { interface, output, input, tag: 0 }
    }

    /// Get Max LUN.
    ///
    /// # Errors
    /// Of the transfer.
    pub fn max_lun<D: HostDevice + ?Sized>(&self, usb: &mut D) -> Result<Vec<u8>, HostError> {
        let index = self.interface.into();
        usb.control_in(
            Setup { request_type: 0xa1, request: GET_MAX_LUN, value: 0, index, length: 1 },
            PATIENCE,
        )
    }

    /// A command, from CBW to CSW.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn command<D: HostDevice + ?Sized>(
        &mut self,
        usb: &mut D,
        cdb: &[u8],
        data: Data<'_>,
    ) -> Result<Answer, Error> {
        let cbw = self.cbw(cdb, data);
        self.send(usb, &cbw)?;
        let (bytes, halted) = self.data(usb, data)?;
        let (csw, halted_again) = self.status(usb, &cbw)?;
        Ok(Answer { csw, data: bytes, halted: halted || halted_again })
    }

    /// The next CBW.
    pub fn cbw(&mut self, command: &[u8], data: Data<'_>) -> Cbw {
        self.tag = self.tag.wrapping_add(1);
        let (direction, length) = match data {
            Data::None => (Direction::Out, 0),
            Data::In(length) => (Direction::In, length),
            Data::Out(bytes) => (Direction::Out, bytes.len() as u32),
        };
        let cdb_length = command.len().min(16);
        let mut cdb = [0; 16];
        cdb[..cdb_length].copy_from_slice(&command[..cdb_length]);
        Cbw { tag: self.tag, length, direction, lun: 0, cdb_length, cdb }
    }

    /// Sends a CBW.
    ///
    /// # Errors
    /// Of the transfer.
    pub fn send<D: HostDevice + ?Sized>(&self, usb: &mut D, cbw: &Cbw) -> Result<(), HostError> {
        let data: [u8; CBW_LENGTH] = cbw.to_bytes();
        usb.run(HostTransfer::BulkOut { endpoint: self.output, data: data.into() }, PATIENCE).map(|_| ())
    }

    /// The data of a command; whether it ended with a halt of an endpoint, which is cleared (BOT 6.7).
    ///
    /// # Errors
    /// Of the transfer.
    pub fn data<D: HostDevice + ?Sized>(
        &self,
        usb: &mut D,
        data: Data<'_>,
    ) -> Result<(Vec<u8>, bool), HostError> {
        let (endpoint, transfer) = match data {
            Data::None | Data::In(0) | Data::Out([]) => return Ok((Vec::new(), false)),
            Data::In(length) => {
                let length = (length as usize).next_multiple_of(PACKET);
                (self.input, HostTransfer::BulkIn { endpoint: self.input, length })
            }
            Data::Out(bytes) => {
                (self.output, HostTransfer::BulkOut { endpoint: self.output, data: bytes.into() })
            }
        };
        let id = usb.submit(transfer)?;
        let deadline = usb.now().saturating_add(PATIENCE.saturating_mul(10));
        loop {
            if let Some(completion) = usb.poll() {
                if completion.id != id {
                    continue;
                }
                let bytes = if endpoint == self.input { completion.data } else { Vec::new() };
                return match completion.result {
                    Ok(()) => Ok((bytes, false)),
                    Err(HostError::Stall) => {
                        usb.clear_halt(endpoint)?;
                        Ok((bytes, true))
                    }
                    Err(error) => Err(error),
                };
            }
            let now = usb.now();
            if now >= deadline {
                usb.cancel(id);
                return Err(HostError::Cancelled);
            }
            usb.wait(deadline - now);
        }
    }

    /// The CSW; a halt is cleared once (BOT 5.3.3.1, figure 2). Whether there was one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn status<D: HostDevice + ?Sized>(&self, usb: &mut D, cbw: &Cbw) -> Result<(Csw, bool), Error> {
        let read = || HostTransfer::BulkIn { endpoint: self.input, length: PACKET };
        let (completion, halted) = match usb.run(read(), PATIENCE) {
            Err(HostError::Stall) => {
                usb.clear_halt(self.input)?;
                (usb.run(read(), PATIENCE)?, true)
            }
            other => (other?, false),
        };
        Csw::parse(&completion.data, cbw).map(|csw| (csw, halted)).ok_or(Error::Status)
    }

    /// Reset Recovery (BOT 5.3.4).
    ///
    /// # Errors
    /// Of the requests.
    pub fn recover<D: HostDevice + ?Sized>(&self, usb: &mut D) -> Result<(), HostError> {
        let index = self.interface.into();
        let reset = Setup { request_type: 0x21, request: RESET, value: 0, index, length: 0 };
        usb.control_out(reset, Vec::new(), PATIENCE)?;
        usb.clear_halt(self.input)?;
        usb.clear_halt(self.output)
    }
}
