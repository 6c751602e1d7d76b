//! The bytes of usbredir 0.7: little-endian, without padding, without framing but the header (docs/spec/usbredir.md).
//!
//! [`FromGuest`] is what QEMU sends, [`ToGuest`] what a device sends. Each message is a variant that holds what the message holds and
//! nothing else, so that sizes and lengths are the codec's: QEMU aborts, guest and all, on a malformed message with more behind it.

mod from_guest;
#[cfg(test)]
mod tests;
mod to_guest;

pub use from_guest::{FromGuest, bulk_head};
pub use to_guest::{EpInfo, InterfaceInfo, ToGuest};

/// Bytes of a header whose id has 32 bits: that of every hello.
pub const SHORT_HEADER: usize = 12;
/// Bytes of a header whose id has 64 bits.
pub const LONG_HEADER: usize = 16;
/// Bytes of the type header of [`kind::BULK_PACKET`] where lengths have 32 bits, the longest of those that data follows.
pub const BULK_HEAD: usize = 10;
/// Most bytes of data in a message that QEMU's parser takes, 128 MiB.
pub const PARSER_LIMIT: usize = 128 << 20;
/// Most capability words of a hello: there is one today.
const MAX_WORDS: usize = 16;
/// Interfaces, and endpoints of both directions, in the messages that describe them.
const ENTRIES: usize = 32;

/// The types of messages.
pub mod kind {
    /// Both ways.
    pub const HELLO: u32 = 0;
    /// To the guest.
    pub const DEVICE_CONNECT: u32 = 1;
    /// To the guest.
    pub const DEVICE_DISCONNECT: u32 = 2;
    /// From the guest.
    pub const RESET: u32 = 3;
    /// To the guest.
    pub const INTERFACE_INFO: u32 = 4;
    /// To the guest.
    pub const EP_INFO: u32 = 5;
    /// From the guest.
    pub const SET_CONFIGURATION: u32 = 6;
    /// From the guest.
    pub const GET_CONFIGURATION: u32 = 7;
    /// To the guest.
    pub const CONFIGURATION_STATUS: u32 = 8;
    /// From the guest.
    pub const SET_ALT_SETTING: u32 = 9;
    /// From the guest.
    pub const GET_ALT_SETTING: u32 = 10;
    /// To the guest.
    pub const ALT_SETTING_STATUS: u32 = 11;
    /// From the guest.
    pub const START_ISO_STREAM: u32 = 12;
    /// From the guest.
    pub const STOP_ISO_STREAM: u32 = 13;
    /// To the guest.
    pub const ISO_STREAM_STATUS: u32 = 14;
    /// From the guest.
    pub const START_INTERRUPT_RECEIVING: u32 = 15;
    /// From the guest.
    pub const STOP_INTERRUPT_RECEIVING: u32 = 16;
    /// To the guest.
    pub const INTERRUPT_RECEIVING_STATUS: u32 = 17;
    /// From the guest.
    pub const CANCEL_DATA_PACKET: u32 = 21;
    /// From the guest.
    pub const FILTER_REJECT: u32 = 22;
    /// Both ways; not sent here.
    pub const FILTER_FILTER: u32 = 23;
    /// From the guest.
    pub const DEVICE_DISCONNECT_ACK: u32 = 24;
    /// Both ways.
    pub const CONTROL_PACKET: u32 = 100;
    /// Both ways.
    pub const BULK_PACKET: u32 = 101;
    /// Both ways; not sent here.
    pub const ISO_PACKET: u32 = 102;
    /// Both ways.
    pub const INTERRUPT_PACKET: u32 = 103;
}

/// What a side can do: bits of the first capability word. One counts where both sides offer it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// device_connect carries bcdDevice.
    pub const CONNECT_DEVICE_VERSION: Self = Self(1 << 1);
    /// Messages about filters.
    pub const FILTER: Self = Self(1 << 2);
    /// A disconnect is acknowledged.
    pub const DEVICE_DISCONNECT_ACK: Self = Self(1 << 3);
    /// ep_info carries wMaxPacketSize.
    pub const EP_INFO_MAX_PACKET_SIZE: Self = Self(1 << 4);
    /// Ids have 64 bits.
    pub const IDS_64_BITS: Self = Self(1 << 5);
    /// Bulk packets are longer than 65,535 bytes.
    pub const BULK_LENGTH_32_BITS: Self = Self(1 << 6);

    /// What is offered here: bits 1 to 6. Without 4, 5 and 6 QEMU takes no device on an xHCI controller; bit 0 would bring streams.
    pub const OFFERED: Self = Self(0x7e);

    /// Whether all of these are there.
    #[must_use]
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// What both sides offer.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// How a request or transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Success = 0,
    /// The guest gave it up, or the device was reset or taken away.
    Cancelled = 1,
    /// It makes no sense here.
    Inval = 2,
    /// It failed.
    IoError = 3,
    /// STALL.
    Stall = 4,
    /// It took too long.
    Timeout = 5,
    /// More came than was asked for.
    Babble = 6,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Success,
        Self::Cancelled,
        Self::Inval,
        Self::IoError,
        Self::Stall,
        Self::Timeout,
        Self::Babble,
    ];

    fn from_byte(byte: u8) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|status| *status as u8 == byte).ok_or(WireError::Status(byte))
    }
}

/// Why bytes of the peer were refused; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A type that does not exist, that goes the other way, or that needs a capability which was not offered.
    #[error("an unexpected message, type {0}")]
    Kind(u32),
    /// A message that is shorter or longer than its type says.
    #[error("a message of type {kind} with {length} bytes")]
    Length {
        /// Its type.
        kind: u32,
        /// The length in its header.
        length: u32,
    },
    /// An endpoint that cannot be meant: with reserved bits, or of the other direction.
    #[error("a message for endpoint {0:#04x}")]
    Endpoint(u8),
    /// A stream, though none was offered.
    #[error("a message for stream {0}")]
    Stream(u32),
    /// A status that does not exist.
    #[error("a status of {0}")]
    Status(u8),
    /// A count that does not fit its message.
    #[error("a message that counts {0} entries")]
    Count(u32),
    /// A second hello, or anything before the first.
    #[error("a message of type {0} out of order")]
    Order(u32),
}

/// What every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type of message, as in [`kind`].
    pub kind: u32,
    /// Bytes that follow the header.
    pub length: u32,
    /// Names a request; its answer has the same. 0 for what answers nothing.
    pub id: u64,
}

impl Header {
    /// Bytes of a header once both sides have said hello.
    #[must_use]
    pub const fn size(capabilities: Capabilities) -> usize {
        if capabilities.has(Capabilities::IDS_64_BITS) { LONG_HEADER } else { SHORT_HEADER }
    }

    /// Reads a header, of which there are so many bytes; `None` if there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8], size: usize) -> Option<Self> {
        let bytes = bytes.get(..size)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let high = if size == LONG_HEADER { word(12) } else { 0 };
        Some(Self { kind: word(0), length: word(4), id: u64::from(high) << 32 | u64::from(word(8)) })
    }
}

/// Writes a message: its header, its type header, its data. `size` is that of the header.
fn put(out: &mut impl Extend<u8>, size: usize, kind: u32, id: u64, head: &[u8], data: &[u8]) {
    // Nothing here is as long as 4 GiB.
    let length = (head.len() + data.len()) as u32;
    out.extend(kind.to_le_bytes());
    out.extend(length.to_le_bytes());
    if size == LONG_HEADER {
        out.extend(id.to_le_bytes());
    } else {
        out.extend((id as u32).to_le_bytes());
    }
    out.extend(head.iter().copied());
    out.extend(data.iter().copied());
}

/// A hello, which is the same both ways: who it is, in ASCII, and what it can do.
fn put_hello(out: &mut impl Extend<u8>, version: &str, capabilities: Capabilities) {
    let mut head = [0; 68];
    // One byte stays zero, to end the text.
    for (to, from) in head[..63].iter_mut().zip(version.bytes()) {
        *to = from;
    }
    head[64..].copy_from_slice(&capabilities.0.to_le_bytes());
    put(out, SHORT_HEADER, kind::HELLO, 0, &head, &[]);
}

/// The capabilities in a hello; the text is not looked at.
fn parse_hello(body: &[u8]) -> Result<Capabilities, WireError> {
    let wrong = WireError::Length { kind: kind::HELLO, length: body.len() as u32 };
    let words = body.get(64..).ok_or(wrong)?;
    if words.is_empty() || words.len() > 4 * MAX_WORDS || !words.len().is_multiple_of(4) {
        return Err(wrong);
    }
    Ok(Capabilities(u32::from_le_bytes([words[0], words[1], words[2], words[3]])))
}

/// A body that has exactly so many bytes.
fn exact<const N: usize>(kind: u32, body: &[u8]) -> Result<[u8; N], WireError> {
    body.try_into().map_err(|_| WireError::Length { kind, length: body.len() as u32 })
}

/// A body's type header, and the data behind it.
fn split<const N: usize>(kind: u32, body: &[u8]) -> Result<([u8; N], &[u8]), WireError> {
    let wrong = WireError::Length { kind, length: body.len() as u32 };
    let (head, data) = body.split_first_chunk().ok_or(wrong)?;
    Ok((*head, data))
}

/// Whether a bit outside direction and number is set, or the number is 0.
fn data_endpoint(byte: u8) -> Result<inband_usb::EndpointAddress, WireError> {
    let endpoint = inband_usb::EndpointAddress(byte);
    if byte & 0x70 != 0 || endpoint.number() == 0 {
        return Err(WireError::Endpoint(byte));
    }
    Ok(endpoint)
}

/// Endpoint, status, length and stream of a bulk packet, and the data behind its type header.
type Bulk<'a> = (inband_usb::EndpointAddress, u8, u32, &'a [u8]);

fn parse_bulk(body: &[u8], capabilities: Capabilities) -> Result<Bulk<'_>, WireError> {
    let (head, high, data) = if capabilities.has(Capabilities::BULK_LENGTH_32_BITS) {
        let (head, data) = split::<BULK_HEAD>(kind::BULK_PACKET, body)?;
        ([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]], [head[8], head[9]], data)
    } else {
        let (head, data) = split::<8>(kind::BULK_PACKET, body)?;
        (head, [0, 0], data)
    };
    let [endpoint, status, low, low_high, s0, s1, s2, s3] = head;
    let stream = u32::from_le_bytes([s0, s1, s2, s3]);
    if stream != 0 {
        return Err(WireError::Stream(stream));
    }
    Ok((data_endpoint(endpoint)?, status, u32::from_le_bytes([low, low_high, high[0], high[1]]), data))
}

/// Writes a bulk packet. Without 32-bit lengths what is longer than 65,535 bytes is cut, data and length alike.
fn put_bulk(
    out: &mut impl Extend<u8>,
    capabilities: Capabilities,
    id: u64,
    endpoint: u8,
    status: u8,
    length: usize,
    data: &[u8],
) {
    let wide = capabilities.has(Capabilities::BULK_LENGTH_32_BITS);
    let most = if wide { PARSER_LIMIT } else { usize::from(u16::MAX) };
    let [a, b, c, d] = (length.min(most) as u32).to_le_bytes();
    let head = [endpoint, status, a, b, 0, 0, 0, 0, c, d];
    let head = if wide { &head[..] } else { &head[..8] };
    put(out, Header::size(capabilities), kind::BULK_PACKET, id, head, &data[..data.len().min(most)]);
}

/// The type header of a control packet. bRequest stands before bmRequestType.
fn control_head(setup: &inband_usb::Setup, status: u8, length: u16) -> [u8; 10] {
    let value = setup.value.to_le_bytes();
    let index = setup.index.to_le_bytes();
    let length = length.to_le_bytes();
    [
        setup.request_type & 0x80,
        setup.request,
        setup.request_type,
        status,
        value[0],
        value[1],
        index[0],
        index[1],
        length[0],
        length[1],
    ]
}

/// The setup packet in a control packet, its status, and the data behind.
fn parse_control(body: &[u8]) -> Result<(inband_usb::Setup, u8, &[u8]), WireError> {
    let (head, data) = split::<10>(kind::CONTROL_PACKET, body)?;
    let [endpoint, request, request_type, status, v0, v1, i0, i1, l0, l1] = head;
    if endpoint != request_type & 0x80 {
        return Err(WireError::Endpoint(endpoint));
    }
    let setup = inband_usb::Setup {
        request_type,
        request,
        value: u16::from_le_bytes([v0, v1]),
        index: u16::from_le_bytes([i0, i1]),
        length: u16::from_le_bytes([l0, l1]),
    };
    Ok((setup, status, data))
}

/// Refuses data whose length is not the one said.
fn same_length(kind: u32, body: &[u8], data: &[u8], length: usize) -> Result<(), WireError> {
    if data.len() == length {
        return Ok(());
    }
    Err(WireError::Length { kind, length: body.len() as u32 })
}
