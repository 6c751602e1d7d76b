//! The device list, without the socket.

use crate::usbip::wire::{self, Status, WireError};

use super::ClientError;

/// Most devices a list may have.
const MAX_DEVICES: u32 = 1024;

/// A device in a server's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteDevice {
    /// The device.
    pub device: wire::Device,
    /// bInterfaceClass, bInterfaceSubClass and bInterfaceProtocol of its interfaces.
    pub interfaces: Vec<[u8; 3]>,
}

/// Reads an OP_REP_DEVLIST as it comes in.
#[derive(Debug, Default)]
pub struct ListReader {
    input: Vec<u8>,
    /// Devices still to come; `None` before the header.
    remaining: Option<u32>,
    devices: Vec<RemoteDevice>,
}

impl ListReader {
    /// Bytes of the server's have come; the list once it is whole.
    pub fn received(&mut self, bytes: &[u8]) -> Result<Option<Vec<RemoteDevice>>, ClientError> {
        self.input.extend(bytes);
        let mut remaining = match self.remaining {
            Some(remaining) => remaining,
            None => match self.header()? {
                Some(count) => count,
                None => return Ok(None),
            },
        };
        let mut used = 0;
        while remaining > 0 {
            let Some((device, rest)) = self.input[used..].split_first_chunk() else { break };
            let device = wire::Device::from_bytes(device)?;
            let size = usize::from(device.interfaces) * wire::INTERFACE_SIZE;
            let Some(interfaces) = rest.get(..size) else { break };
            let interfaces =
                interfaces.chunks_exact(wire::INTERFACE_SIZE).map(|it| [it[0], it[1], it[2]]).collect();
            self.devices.push(RemoteDevice { device, interfaces });
            used += wire::DEVICE_SIZE + size;
            remaining -= 1;
        }
        self.input.drain(..used);
        self.remaining = Some(remaining);
        Ok((remaining == 0).then(|| std::mem::take(&mut self.devices)))
    }

    fn header(&mut self) -> Result<Option<u32>, ClientError> {
        let Some((header, rest)) = self.input.split_first_chunk() else { return Ok(None) };
        match wire::parse_device_list_header(header)? {
            Status::Ok => {}
            refused => return Err(ClientError::Refused(refused)),
        }
        let Some(count) = rest.first_chunk().copied().map(u32::from_be_bytes) else { return Ok(None) };
        if count > MAX_DEVICES {
            return Err(WireError::ListTooLong.into());
        }
        self.input.drain(..wire::OP_HEADER_SIZE + 4);
        Ok(Some(count))
    }
}
