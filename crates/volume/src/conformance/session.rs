//! One host at the disk.

use alloc::{format, string::String, string::ToString as _, vec::Vec};
use core::{fmt::Debug, time::Duration};

use inband_usb::{
    Direction, EndpointAddress, HostDevice, HostError, HostTransfer, Setup, descriptor::BULK_PACKET_SIZE,
};

use super::{Between, Opened, Outcome};
use crate::{
    bot::{
        host::{Answer, Data, Host},
        wire::{Cbw, Status},
    },
    scsi::BLOCK,
};

/// wMaxPacketSize.
pub(super) const PACKET: usize = BULK_PACKET_SIZE as usize;
/// For a transfer that is to come to its end.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a packet may take that nobody knows whether it is there.
const MOMENT: Duration = Duration::from_millis(20);
/// How many unit attentions there may be in a row.
const ATTENTIONS: usize = 3;

/// A host at a disk that was opened.
#[derive(Debug)]
pub struct Session<'a, U> {
    pub(super) usb: &'a mut U,
    pub(super) host: Host,
    pub(super) interface: u8,
    pub(super) output: EndpointAddress,
    pub(super) input: EndpointAddress,
    pub(super) between: Between,
}

/// What was expected of `what`, if it did not come.
pub(super) fn same<T: Debug + PartialEq>(what: &str, came: &T, expected: &T) -> Outcome {
    if came == expected { Ok(()) } else { Err(format!("{what}: {came:?}, not {expected:?}")) }
}

pub(super) fn ensure(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(String::from(what)) }
}

/// READ(10) or another of its form.
pub(super) fn cdb10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let (lba, blocks) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, 0, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0]
}

impl<'a, U: HostDevice> Session<'a, U> {
    /// A host at that disk.
    pub const fn new(disk: &'a mut Opened<U>, between: Between) -> Self {
        let Opened { usb, interface, output, input } = disk;
        let host = Host::new(*interface, *output, *input);
        Self { usb, host, interface: *interface, output: *output, input: *input, between }
    }

    /// A CBW with this length and direction, whatever the command.
    pub(super) fn cbw(&mut self, direction: Direction, length: u32, cdb: &[u8]) -> Cbw {
        Cbw { length, direction, ..self.host.cbw(cdb, Data::None) }
    }

    /// A command as a host that keeps to the standard makes it; what holds for each command is checked.
    pub(super) fn command(&mut self, cdb: &[u8], data: Data<'_>) -> Result<Answer, String> {
        let answer = self
            .host
            .command(self.usb, cdb, data)
            .map_err(|error| format!("{cdb:02x?}, {data:?}: {error}"))?;
        let (expected, input) = match data {
            Data::None => (0, false),
            Data::In(length) => (length as usize, true),
            Data::Out(bytes) => (bytes.len(), false),
        };
        let Answer { csw, data: came, halted } = &answer;
        let short = came.len() < expected;
        let residue = csw.residue as usize;
        let kept = if input {
            came.len() <= expected && *halted == short && residue == expected - came.len()
        } else {
            !halted && residue <= expected
        };
        ensure(&format!("{cdb:02x?}, {data:?}: {} bytes, halted: {halted}, {csw:?}", came.len()), kept)?;
        Ok(answer)
    }

    /// A command that is to pass, with all its data.
    pub(super) fn pass(&mut self, cdb: &[u8], data: Data<'_>) -> Result<Vec<u8>, String> {
        let answer = self.command(cdb, data)?;
        same(&format!("{cdb:02x?}: status"), &answer.csw.status, &Status::Passed)?;
        Ok(answer.data)
    }

    /// REQUEST SENSE: key, code, qualifier.
    pub(super) fn sense(&mut self) -> Result<(u8, u8, u8), String> {
        let sense = self.pass(&[0x03, 0, 0, 0, 18, 0], Data::In(18))?;
        same("bytes of sense data", &sense.len(), &18)?;
        Ok((sense[2], sense[12], sense[13]))
    }

    /// TEST UNIT READY, until what is to be told was told.
    ///
    /// # Errors
    /// The disk does not become ready.
    pub fn ready(&mut self) -> Outcome {
        let mut told = Vec::new();
        for _ in 0..=ATTENTIONS {
            if self.command(&[0; 6], Data::None)?.csw.status == Status::Passed {
                return Ok(());
            }
            told.push(self.sense()?);
        }
        Err(format!("not ready: {told:02x?}"))
    }

    /// A reset was told, as behind each, and the disk is ready.
    pub(super) fn ready_behind_a_reset(&mut self) -> Outcome {
        same("status behind a reset", &self.command(&[0; 6], Data::None)?.csw.status, &Status::Failed)?;
        same("sense behind a reset", &self.sense()?, &(6, 0x29, 0))?;
        self.ready()
    }

    /// Blocks are written and read.
    ///
    /// # Errors
    /// They are not.
    pub fn works(&mut self) -> Outcome {
        let data = crate::testing::pattern(self.host.cbw(&[], Data::None).tag as usize, 24 * BLOCK);
        self.write(40, &data)?;
        ensure("what was written is read", self.read(40, 24)? == data)
    }

    pub(super) fn read(&mut self, lba: u32, blocks: u16) -> Result<Vec<u8>, String> {
        let data = self.pass(&cdb10(0x28, lba, blocks), Data::In(u32::from(blocks) * BLOCK as u32))?;
        same("bytes read", &data.len(), &(usize::from(blocks) * BLOCK))?;
        Ok(data)
    }

    pub(super) fn write(&mut self, lba: u32, data: &[u8]) -> Outcome {
        self.pass(&cdb10(0x2a, lba, (data.len() / BLOCK) as u16), Data::Out(data)).map(drop)
    }

    /// Sends bytes to the OUT endpoint as one transfer.
    pub(super) fn send(&mut self, data: &[u8]) -> Result<(), HostError> {
        let transfer = HostTransfer::BulkOut { endpoint: self.output, data: data.into() };
        self.usb.run(transfer, PATIENCE).map(drop)
    }

    /// Reads from the IN endpoint.
    pub(super) fn receive(&mut self, length: usize) -> Result<Vec<u8>, HostError> {
        let transfer = HostTransfer::BulkIn { endpoint: self.input, length };
        self.usb.run(transfer, PATIENCE).map(|done| done.data)
    }

    pub(super) fn clear_in(&mut self) -> Outcome {
        self.usb.clear_halt(self.input).map_err(|error| format!("CLEAR_FEATURE: {error}"))
    }

    /// Bulk-Only Mass Storage Reset by itself.
    pub(super) fn class_reset(&mut self) -> Outcome {
        let result = self.request(0x21, crate::bot::wire::RESET, 0, self.interface.into(), 0);
        result.map(drop).map_err(|error| format!("Bulk-Only Mass Storage Reset: {error}"))
    }

    /// A class request; data to the device is zeros.
    pub(super) fn request(
        &mut self,
        request_type: u8,
        request: u8,
        value: u16,
        index: u16,
        length: u16,
    ) -> Result<Vec<u8>, HostError> {
        let setup = Setup { request_type, request, value, index, length };
        match setup.direction() {
            Direction::In => self.usb.control_in(setup, PATIENCE),
            Direction::Out => {
                let data = alloc::vec![0; length.into()];
                self.usb.control_out(setup, data, PATIENCE).map(|()| Vec::new())
            }
        }
    }

    /// Reset Recovery, and what a controller has kept is thrown away.
    pub(super) fn recover(&mut self) -> Outcome {
        self.host.recover(self.usb).map_err(|error| format!("Reset Recovery: {error}"))?;
        let read = || HostTransfer::BulkIn { endpoint: self.input, length: PACKET };
        while self.between.keeps_a_packet && self.usb.run(read(), MOMENT).is_ok() {}
        Ok(())
    }

    pub(super) fn status(&mut self, cbw: &Cbw) -> Result<(Status, u32), String> {
        let (csw, _) = self.host.status(self.usb, cbw).map_err(|error| error.to_string())?;
        Ok((csw.status, csw.residue))
    }
}
