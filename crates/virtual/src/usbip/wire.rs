//! The messages of USB/IP version 1.1.1, as the kernel's `Documentation/usb/usbip_protocol.rst` lays them out.
//!
//! All numbers are big-endian; only the eight setup bytes are as on the bus. A connection begins with one request
//! ([`Request`]); after a successful import it carries [`Command`]s to the server and [`Return`]s to the client, each 48 bytes,
//! followed by the data stage of the direction that has one.
//!
//! Parsing takes arrays of the exact size, so that nothing is read, or reserved, before the bytes are there. What this crate
//! has no use for is refused here: other versions, isochronous transfers, transfers of more than [`MAX_TRANSFER`].

#[cfg(test)]
mod tests;

use core::fmt;

use inband_usb::{Direction, EndpointAddress};

/// Version 1.1.1, the only one.
pub const VERSION: u16 = 0x0111;
/// Size of the header that begins a request and its reply: version, code, status.
pub const OP_HEADER_SIZE: usize = 8;
/// Size of the busid in an import request, zero-padded.
pub const BUSID_SIZE: usize = 32;
/// Size of a device in a device list or an import reply, without its interfaces.
pub const DEVICE_SIZE: usize = 312;
/// Size of an interface in a device list.
pub const INTERFACE_SIZE: usize = 4;
/// Size of a command's or a return's header.
pub const HEADER_SIZE: usize = 48;
/// Most bytes of one transfer's data stage: far above what the kernel's class drivers ask for at once, small enough to be held
/// a few times over.
pub const MAX_TRANSFER: u32 = 1 << 20;
/// `enum usb_device_speed` of the kernel: high speed.
pub const SPEED_HIGH: u32 = 3;

const REQUEST: u16 = 0x8000;
const OP_IMPORT: u16 = 0x0003;
const OP_DEVICE_LIST: u16 = 0x0005;
const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
/// number_of_packets of a transfer that is not isochronous; Linux sends 0.
const NO_PACKETS: u32 = 0xffff_ffff;

/// Bit of transfer_flags, URB_SHORT_NOT_OK: an IN transfer that ends early is an error.
pub const SHORT_NOT_OK: u32 = 0x0001;
/// Bit of transfer_flags, URB_ZERO_PACKET: a bulk OUT transfer of whole packets ends with a packet of no bytes.
pub const ZERO_PACKET: u32 = 0x0040;

/// Why bytes of the peer were refused; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another protocol version.
    #[error("the peer speaks USB/IP version {0:#06x}, not 0x0111")]
    Version(u16),
    /// A request, reply, command or return code that does not belong here.
    #[error("unexpected message code {0:#x}")]
    Code(u32),
    /// A text that is not printable ASCII ended by a zero byte.
    #[error("a text of the peer's is not printable ASCII ended by a zero byte")]
    Text,
    /// A direction other than 0 and 1.
    #[error("direction {0} does not exist")]
    Direction(u32),
    /// An endpoint number above 15.
    #[error("endpoint {0} does not exist")]
    Endpoint(u32),
    /// A transfer of more than [`MAX_TRANSFER`] bytes.
    #[error("a transfer of {0} bytes is more than the {MAX_TRANSFER} that are taken")]
    TooLong(u32),
    /// An isochronous transfer.
    #[error("isochronous transfers are not taken")]
    Isochronous,
    /// A device list of more devices or bytes than any server has reason to send.
    #[error("the device list is longer than any server has reason to send")]
    ListTooLong,
}

/// Name of a device on its server, such as `1-1`: 1 to 31 printable ASCII characters, no blank among them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusId(String);

impl BusId {
    /// The name, if it is one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..BUSID_SIZE).contains(&name.len());
        (fits && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BUSID_SIZE] {
        padded(&self.0)
    }

    /// From the wire.
    pub fn from_bytes(bytes: &[u8; BUSID_SIZE]) -> Result<Self, WireError> {
        Self::new(text(bytes)?).ok_or(WireError::Text)
    }
}

impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client asks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// OP_REQ_DEVLIST.
    DeviceList,
    /// OP_REQ_IMPORT.
    Import(BusId),
}

impl Request {
    /// As on the wire: 8 or 40 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::DeviceList => op_header(REQUEST | OP_DEVICE_LIST, 0).to_vec(),
            Self::Import(busid) => {
                let mut bytes = op_header(REQUEST | OP_IMPORT, 0).to_vec();
                bytes.extend(busid.to_bytes());
                bytes
            }
        }
    }

    /// Reads a request from the beginning of a connection: the request and the bytes it took, or `None` while it is
    /// not complete. The status field has no meaning in a request and is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        let Some((header, rest)) = bytes.split_first_chunk::<OP_HEADER_SIZE>() else { return Ok(None) };
        match parse_op_header(header)?.0 {
            code if code == REQUEST | OP_DEVICE_LIST => Ok(Some((Self::DeviceList, OP_HEADER_SIZE))),
            code if code == REQUEST | OP_IMPORT => match rest.first_chunk() {
                None => Ok(None),
                Some(busid) => {
                    Ok(Some((Self::Import(BusId::from_bytes(busid)?), OP_HEADER_SIZE + BUSID_SIZE)))
                }
            },
            code => Err(WireError::Code(code.into())),
        }
    }
}

/// Status of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: done.
    Ok,
    /// 1: not available.
    NotAvailable,
    /// 2: another client has imported the device.
    Busy,
    /// 3: the device is in an error state.
    DeviceError,
    /// 4: there is no such device.
    NoDevice,
    /// Any other number: an error that is not told.
    Other(u32),
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::NotAvailable => 1,
            Self::Busy => 2,
            Self::DeviceError => 3,
            Self::NoDevice => 4,
            Self::Other(code) => code,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::NotAvailable,
            2 => Self::Busy,
            3 => Self::DeviceError,
            4 => Self::NoDevice,
            other => Self::Other(other),
        }
    }
}

/// The header of OP_REP_DEVLIST.
#[must_use]
pub fn device_list_header(status: Status) -> [u8; OP_HEADER_SIZE] {
    op_header(OP_DEVICE_LIST, status.code())
}

/// The header of OP_REP_IMPORT; a [`Device`] follows if the status is [`Status::Ok`].
#[must_use]
pub fn import_header(status: Status) -> [u8; OP_HEADER_SIZE] {
    op_header(OP_IMPORT, status.code())
}

/// The status in the header of OP_REP_DEVLIST.
pub fn parse_device_list_header(bytes: &[u8; OP_HEADER_SIZE]) -> Result<Status, WireError> {
    parse_reply_header(bytes, OP_DEVICE_LIST)
}

/// The status in the header of OP_REP_IMPORT.
pub fn parse_import_header(bytes: &[u8; OP_HEADER_SIZE]) -> Result<Status, WireError> {
    parse_reply_header(bytes, OP_IMPORT)
}

/// A device as a server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where the server has it, for people; at most 255 printable ASCII characters, more are left out.
    pub path: String,
    /// Its name for an import.
    pub busid: BusId,
    /// Number of its bus.
    pub bus: u32,
    /// Its number on the bus.
    pub number: u32,
    /// `enum usb_device_speed` of the kernel: 1 low, 2 full, 3 high, 5 super.
    pub speed: u32,
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// bDeviceClass, bDeviceSubClass, bDeviceProtocol.
    pub class: [u8; 3],
    /// bConfigurationValue of the configuration in use.
    pub configuration: u8,
    /// bNumConfigurations.
    pub configurations: u8,
    /// bNumInterfaces of the configuration in use.
    pub interfaces: u8,
}

impl Device {
    /// devid of its commands: bus number in the upper half, device number in the lower.
    #[must_use]
    pub const fn devid(&self) -> u32 {
        (self.bus << 16) | (self.number & 0xffff)
    }

    /// As on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; DEVICE_SIZE] {
        let mut bytes = [0; DEVICE_SIZE];
        bytes[..256].copy_from_slice(&padded::<256>(&self.path));
        bytes[256..288].copy_from_slice(&self.busid.to_bytes());
        bytes[288..292].copy_from_slice(&self.bus.to_be_bytes());
        bytes[292..296].copy_from_slice(&self.number.to_be_bytes());
        bytes[296..300].copy_from_slice(&self.speed.to_be_bytes());
        bytes[300..302].copy_from_slice(&self.vendor_id.to_be_bytes());
        bytes[302..304].copy_from_slice(&self.product_id.to_be_bytes());
        bytes[304..306].copy_from_slice(&self.device_version.to_be_bytes());
        bytes[306..309].copy_from_slice(&self.class);
        bytes[309..].copy_from_slice(&[self.configuration, self.configurations, self.interfaces]);
        bytes
    }

    /// From the wire.
    pub fn from_bytes(bytes: &[u8; DEVICE_SIZE]) -> Result<Self, WireError> {
        let mut busid = [0; BUSID_SIZE];
        busid.copy_from_slice(&bytes[256..288]);
        Ok(Self {
            path: text(&bytes[..256])?.to_owned(),
            busid: BusId::from_bytes(&busid)?,
            bus: be32(bytes, 288),
            number: be32(bytes, 292),
            speed: be32(bytes, 296),
            vendor_id: be16(bytes, 300),
            product_id: be16(bytes, 302),
            device_version: be16(bytes, 304),
            class: [bytes[306], bytes[307], bytes[308]],
            configuration: bytes[309],
            configurations: bytes[310],
            interfaces: bytes[311],
        })
    }
}

/// A command from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// CMD_SUBMIT; `length` bytes follow if the direction is OUT.
    Submit(Submit),
    /// CMD_UNLINK: give up a transfer.
    Unlink {
        /// Names this command.
        seqnum: u32,
        /// The device.
        devid: u32,
        /// The transfer's seqnum.
        target: u32,
    },
}

/// CMD_SUBMIT: make a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submit {
    /// Names the transfer on this connection.
    pub seqnum: u32,
    /// The device.
    pub devid: u32,
    /// Direction of the data.
    pub direction: Direction,
    /// Endpoint number, 0 to 15.
    pub endpoint: u8,
    /// [`SHORT_NOT_OK`], [`ZERO_PACKET`] and bits without meaning here.
    pub flags: u32,
    /// Bytes of the data stage, at most [`MAX_TRANSFER`].
    pub length: u32,
    /// The setup packet of a control transfer, else without meaning.
    pub setup: [u8; 8],
}

impl Submit {
    /// The endpoint's address, direction bit included.
    #[must_use]
    pub const fn address(&self) -> EndpointAddress {
        match self.direction {
            Direction::Out => EndpointAddress(self.endpoint),
            Direction::In => EndpointAddress(self.endpoint | 0x80),
        }
    }
}

impl Command {
    /// As on the wire, without data.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        match self {
            Self::Submit(submit) => {
                let direction = match submit.direction {
                    Direction::Out => 0,
                    Direction::In => 1,
                };
                let mut bytes =
                    header(CMD_SUBMIT, submit.seqnum, submit.devid, direction, submit.endpoint.into());
                bytes[20..24].copy_from_slice(&submit.flags.to_be_bytes());
                bytes[24..28].copy_from_slice(&submit.length.to_be_bytes());
                bytes[32..36].copy_from_slice(&NO_PACKETS.to_be_bytes());
                bytes[40..48].copy_from_slice(&submit.setup);
                bytes
            }
            Self::Unlink { seqnum, devid, target } => {
                let mut bytes = header(CMD_UNLINK, *seqnum, *devid, 0, 0);
                bytes[20..24].copy_from_slice(&target.to_be_bytes());
                bytes
            }
        }
    }

    /// From the wire.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Result<Self, WireError> {
        let (seqnum, devid) = (be32(bytes, 4), be32(bytes, 8));
        match be32(bytes, 0) {
            CMD_SUBMIT => {
                let direction = match be32(bytes, 12) {
                    0 => Direction::Out,
                    1 => Direction::In,
                    other => return Err(WireError::Direction(other)),
                };
                let endpoint = be32(bytes, 16);
                if endpoint > 15 {
                    return Err(WireError::Endpoint(endpoint));
                }
                let length = be32(bytes, 24);
                if length > MAX_TRANSFER {
                    return Err(WireError::TooLong(length));
                }
                check_packets(be32(bytes, 32))?;
                let mut setup = [0; 8];
                setup.copy_from_slice(&bytes[40..48]);
                let (endpoint, flags) = (endpoint as u8, be32(bytes, 20));
                Ok(Self::Submit(Submit { seqnum, devid, direction, endpoint, flags, length, setup }))
            }
            CMD_UNLINK => Ok(Self::Unlink { seqnum, devid, target: be32(bytes, 20) }),
            code => Err(WireError::Code(code)),
        }
    }
}

/// A return from server to client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// RET_SUBMIT; `length` bytes follow if the transfer's direction is IN.
    Submit {
        /// The transfer.
        seqnum: u32,
        /// 0 or a number of [`errno`](crate::errno).
        status: i32,
        /// Bytes of the data stage that moved.
        length: u32,
    },
    /// RET_UNLINK.
    Unlink {
        /// The CMD_UNLINK.
        seqnum: u32,
        /// [`ECONNRESET`](crate::errno::ECONNRESET) if the transfer was given up and will not be returned, 0 if it was returned before.
        status: i32,
    },
}

impl Return {
    /// As on the wire, without data. A server leaves devid, direction and endpoint 0.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        match self {
            Self::Submit { seqnum, status, length } => {
                let mut bytes = header(RET_SUBMIT, *seqnum, 0, 0, 0);
                bytes[20..24].copy_from_slice(&status.to_be_bytes());
                bytes[24..28].copy_from_slice(&length.to_be_bytes());
                bytes
            }
            Self::Unlink { seqnum, status } => {
                let mut bytes = header(RET_UNLINK, *seqnum, 0, 0, 0);
                bytes[20..24].copy_from_slice(&status.to_be_bytes());
                bytes
            }
        }
    }

    /// From the wire.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Result<Self, WireError> {
        let (seqnum, status) = (be32(bytes, 4), be32(bytes, 20) as i32);
        match be32(bytes, 0) {
            RET_SUBMIT => {
                let length = be32(bytes, 24);
                if length > MAX_TRANSFER {
                    return Err(WireError::TooLong(length));
                }
                check_packets(be32(bytes, 32))?;
                Ok(Self::Submit { seqnum, status, length })
            }
            RET_UNLINK => Ok(Self::Unlink { seqnum, status }),
            code => Err(WireError::Code(code)),
        }
    }
}

fn check_packets(packets: u32) -> Result<(), WireError> {
    if packets == 0 || packets == NO_PACKETS { Ok(()) } else { Err(WireError::Isochronous) }
}

fn op_header(code: u16, status: u32) -> [u8; OP_HEADER_SIZE] {
    let (version, code, status) = (VERSION.to_be_bytes(), code.to_be_bytes(), status.to_be_bytes());
    [version[0], version[1], code[0], code[1], status[0], status[1], status[2], status[3]]
}

fn parse_op_header(bytes: &[u8; OP_HEADER_SIZE]) -> Result<(u16, u32), WireError> {
    match be16(bytes, 0) {
        VERSION => Ok((be16(bytes, 2), be32(bytes, 4))),
        version => Err(WireError::Version(version)),
    }
}

fn parse_reply_header(bytes: &[u8; OP_HEADER_SIZE], expected: u16) -> Result<Status, WireError> {
    match parse_op_header(bytes)? {
        (code, status) if code == expected => Ok(Status::from_code(status)),
        (code, _) => Err(WireError::Code(code.into())),
    }
}

fn header(command: u32, seqnum: u32, devid: u32, direction: u32, endpoint: u32) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    for (field, value) in bytes.chunks_exact_mut(4).zip([command, seqnum, devid, direction, endpoint]) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    bytes
}

/// A text padded with zero bytes, at least one of them; what does not fit is left out.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().take(N - 1).zip(text.bytes()) {
        *to = from;
    }
    bytes
}

/// The text before the first zero byte.
fn text(bytes: &[u8]) -> Result<&str, WireError> {
    let end = bytes.iter().position(|&byte| byte == 0).ok_or(WireError::Text)?;
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if bytes[..end].iter().all(printable) => Ok(text),
        Ok(_) | Err(_) => Err(WireError::Text),
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
