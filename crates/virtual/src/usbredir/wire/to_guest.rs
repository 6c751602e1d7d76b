//! What the device's side sends.

use inband_usb::{DescriptorSet, Direction, EndpointAddress, Setup, descriptor::BULK_PACKET_SIZE};

use super::{
    Capabilities, ENTRIES, Header, Status, WireError, control_head, data_endpoint, exact, kind, parse_bulk,
    parse_control, parse_hello, put, put_bulk, put_hello, same_length, split,
};

/// What a device calls itself in its hello.
const VERSION: &str = concat!("inband ", env!("CARGO_PKG_VERSION"));
/// High speed, in device_connect.
const SPEED_HIGH: u8 = 2;
/// Types of endpoints in ep_info.
const TYPE_CONTROL: u8 = 0;
const TYPE_BULK: u8 = 2;
const TYPE_NONE: u8 = 255;
/// Place of IN endpoint 0 in ep_info.
const FIRST_IN: usize = 16;

/// Number, class, subclass and protocol of each interface, 32 at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    count: usize,
    entries: [[u8; 4]; ENTRIES],
}

impl InterfaceInfo {
    /// Most interfaces of a device.
    pub const MAX: usize = ENTRIES;

    /// The interfaces of a device; `None` if there are more than 32.
    #[must_use]
    pub fn new(set: &DescriptorSet) -> Option<Self> {
        let count = set.interfaces.len();
        let mut entries = [[0; 4]; ENTRIES];
        for ((entry, interface), number) in entries.iter_mut().zip(&set.interfaces).zip(0..) {
            *entry = [number, interface.class, interface.subclass, interface.protocol];
        }
        (count <= ENTRIES).then_some(Self { count, entries })
    }

    fn to_bytes(&self) -> [u8; 4 + 4 * ENTRIES] {
        let mut bytes = [0; 4 + 4 * ENTRIES];
        bytes[..4].copy_from_slice(&(self.count as u32).to_le_bytes());
        for (at, entry) in self.entries.iter().enumerate() {
            for (field, value) in entry.iter().enumerate() {
                bytes[4 + field * ENTRIES + at] = *value;
            }
        }
        bytes
    }

    fn parse(body: &[u8]) -> Result<Self, WireError> {
        let bytes: [u8; 4 + 4 * ENTRIES] = exact(kind::INTERFACE_INFO, body)?;
        let count = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if count as usize > ENTRIES {
            return Err(WireError::Count(count));
        }
        let mut entries = [[0; 4]; ENTRIES];
        for (at, entry) in entries.iter_mut().enumerate() {
            *entry = core::array::from_fn(|field| bytes[4 + field * ENTRIES + at]);
        }
        Ok(Self { count: count as usize, entries })
    }
}

/// An endpoint in [`EpInfo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    kind: u8,
    interval: u8,
    interface: u8,
    max_packet: u16,
}

/// Type, interval, interface and wMaxPacketSize of each endpoint: the OUT ones by their number, then the IN ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpInfo {
    entries: [Entry; ENTRIES],
}

impl EpInfo {
    /// The endpoints of a device: endpoint 0, and bulk endpoints at high speed.
    #[must_use]
    pub fn new(set: &DescriptorSet) -> Self {
        // A type of zero would be a control endpoint.
        let unused = Entry { kind: TYPE_NONE, interval: 0, interface: 0, max_packet: 0 };
        let mut entries = [unused; ENTRIES];
        let control = Entry { kind: TYPE_CONTROL, interval: 0, interface: 0, max_packet: 64 };
        entries[0] = control;
        entries[FIRST_IN] = control;
        for endpoint in set.endpoints() {
            let at = match endpoint.direction() {
                Direction::Out => usize::from(endpoint.number()),
                Direction::In => FIRST_IN + usize::from(endpoint.number()),
            };
            let interface = set.interface_of(endpoint).unwrap_or_default();
            entries[at] = Entry { kind: TYPE_BULK, interval: 0, interface, max_packet: BULK_PACKET_SIZE };
        }
        Self { entries }
    }

    /// The bytes, of which only the first 96 are sent where wMaxPacketSize is not wanted.
    fn to_bytes(&self) -> [u8; 5 * ENTRIES] {
        let mut bytes = [0; 5 * ENTRIES];
        for (at, entry) in self.entries.iter().enumerate() {
            bytes[at] = entry.kind;
            bytes[ENTRIES + at] = entry.interval;
            bytes[2 * ENTRIES + at] = entry.interface;
            let place = 3 * ENTRIES + 2 * at;
            bytes[place..place + 2].copy_from_slice(&entry.max_packet.to_le_bytes());
        }
        bytes
    }

    fn parse(body: &[u8], capabilities: Capabilities) -> Result<Self, WireError> {
        let mut bytes = [0; 5 * ENTRIES];
        let size = ep_info_size(capabilities);
        if body.len() != size {
            return Err(WireError::Length { kind: kind::EP_INFO, length: body.len() as u32 });
        }
        bytes[..size].copy_from_slice(body);
        let entries = core::array::from_fn(|at| {
            let place = 3 * ENTRIES + 2 * at;
            Entry {
                kind: bytes[at],
                interval: bytes[ENTRIES + at],
                interface: bytes[2 * ENTRIES + at],
                max_packet: u16::from_le_bytes([bytes[place], bytes[place + 1]]),
            }
        });
        Ok(Self { entries })
    }
}

fn ep_info_size(capabilities: Capabilities) -> usize {
    let wide = capabilities.has(Capabilities::EP_INFO_MAX_PACKET_SIZE);
    if wide { 5 * ENTRIES } else { 3 * ENTRIES }
}

/// A message of the device's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGuest<'a> {
    /// The first message.
    Hello(Capabilities),
    /// A device is there, at high speed, of a class that its interfaces say.
    DeviceConnect {
        /// idVendor.
        vendor_id: u16,
        /// idProduct.
        product_id: u16,
        /// bcdDevice, where it is wanted.
        device_version: u16,
    },
    /// It is gone.
    DeviceDisconnect,
    /// The interfaces.
    InterfaceInfo(Box<InterfaceInfo>),
    /// The endpoints.
    EpInfo(Box<EpInfo>),
    /// Answers SET_CONFIGURATION and GET_CONFIGURATION.
    ConfigurationStatus {
        /// Whether it was done.
        status: Status,
        /// The configuration in use; 0 is none.
        value: u8,
    },
    /// Answers SET_INTERFACE and GET_INTERFACE.
    AltSettingStatus {
        /// Whether it was done.
        status: Status,
        /// bInterfaceNumber.
        interface: u8,
        /// The setting in use.
        alternate: u8,
    },
    /// Answers for an isochronous endpoint.
    IsoStreamStatus {
        /// Whether it was done.
        status: Status,
        /// The endpoint.
        endpoint: u8,
    },
    /// Answers for an interrupt endpoint.
    InterruptReceivingStatus {
        /// Whether it was done.
        status: Status,
        /// The endpoint.
        endpoint: u8,
    },
    /// Answers a control transfer with its data, at most wLength bytes.
    ControlIn {
        /// As it came.
        setup: Setup,
        /// How it ended.
        status: Status,
        /// The data.
        data: &'a [u8],
    },
    /// Answers a control transfer whose data has come.
    ControlOut {
        /// As it came.
        setup: Setup,
        /// How it ended.
        status: Status,
        /// Bytes taken.
        length: u16,
    },
    /// Answers with bulk data.
    BulkIn {
        /// The endpoint.
        endpoint: EndpointAddress,
        /// How it ended.
        status: Status,
        /// The data.
        data: &'a [u8],
    },
    /// Answers bulk data.
    BulkOut {
        /// The endpoint.
        endpoint: EndpointAddress,
        /// How it ended.
        status: Status,
        /// Bytes taken.
        length: u32,
    },
    /// Answers interrupt data, of which nothing was taken.
    InterruptOut {
        /// The endpoint.
        endpoint: EndpointAddress,
        /// How it ended.
        status: Status,
    },
}

impl<'a> ToGuest<'a> {
    /// Writes the message. A hello has a short header whatever the capabilities.
    pub fn encode(&self, id: u64, capabilities: Capabilities, out: &mut impl Extend<u8>) {
        let size = Header::size(capabilities);
        let mut bare = |kind, head: &[u8], data: &[u8]| put(out, size, kind, id, head, data);
        match *self {
            Self::Hello(offered) => put_hello(out, VERSION, offered),
            Self::DeviceConnect { vendor_id, product_id, device_version } => {
                let ([v0, v1], [p0, p1]) = (vendor_id.to_le_bytes(), product_id.to_le_bytes());
                let [d0, d1] = device_version.to_le_bytes();
                let head = [SPEED_HIGH, 0, 0, 0, v0, v1, p0, p1, d0, d1];
                let wide = capabilities.has(Capabilities::CONNECT_DEVICE_VERSION);
                bare(kind::DEVICE_CONNECT, if wide { &head } else { &head[..8] }, &[]);
            }
            Self::DeviceDisconnect => bare(kind::DEVICE_DISCONNECT, &[], &[]),
            Self::InterfaceInfo(ref info) => bare(kind::INTERFACE_INFO, &info.to_bytes(), &[]),
            Self::EpInfo(ref info) => {
                bare(kind::EP_INFO, &info.to_bytes()[..ep_info_size(capabilities)], &[]);
            }
            Self::ConfigurationStatus { status, value } => {
                bare(kind::CONFIGURATION_STATUS, &[status as u8, value], &[]);
            }
            Self::AltSettingStatus { status, interface, alternate } => {
                bare(kind::ALT_SETTING_STATUS, &[status as u8, interface, alternate], &[]);
            }
            Self::IsoStreamStatus { status, endpoint } => {
                bare(kind::ISO_STREAM_STATUS, &[status as u8, endpoint], &[]);
            }
            Self::InterruptReceivingStatus { status, endpoint } => {
                bare(kind::INTERRUPT_RECEIVING_STATUS, &[status as u8, endpoint], &[]);
            }
            Self::ControlIn { setup, status, data } => {
                let data = &data[..data.len().min(setup.length.into())];
                bare(kind::CONTROL_PACKET, &control_head(&setup, status as u8, data.len() as u16), data);
            }
            Self::ControlOut { setup, status, length } => {
                bare(kind::CONTROL_PACKET, &control_head(&setup, status as u8, length), &[]);
            }
            Self::BulkIn { endpoint, status, data } => {
                put_bulk(out, capabilities, id, endpoint.0, status as u8, data.len(), data);
            }
            Self::BulkOut { endpoint, status, length } => {
                put_bulk(out, capabilities, id, endpoint.0, status as u8, length as usize, &[]);
            }
            Self::InterruptOut { endpoint, status } => {
                bare(kind::INTERRUPT_PACKET, &[endpoint.0, status as u8, 0, 0], &[]);
            }
        }
    }

    /// Reads what follows a header, as a guest's side does.
    ///
    /// # Errors
    /// It is no message of a device's.
    pub fn parse(kind: u32, body: &'a [u8], capabilities: Capabilities) -> Result<Self, WireError> {
        match kind {
            kind::HELLO => parse_hello(body).map(Self::Hello),
            kind::DEVICE_CONNECT => {
                let mut head = [0; 10];
                let wide = capabilities.has(Capabilities::CONNECT_DEVICE_VERSION);
                let size = if wide { 10 } else { 8 };
                if body.len() != size || body[0] != SPEED_HIGH {
                    return Err(WireError::Length { kind, length: body.len() as u32 });
                }
                head[..size].copy_from_slice(body);
                let [_, _, _, _, v0, v1, p0, p1, d0, d1] = head;
                Ok(Self::DeviceConnect {
                    vendor_id: u16::from_le_bytes([v0, v1]),
                    product_id: u16::from_le_bytes([p0, p1]),
                    device_version: u16::from_le_bytes([d0, d1]),
                })
            }
            kind::DEVICE_DISCONNECT => exact::<0>(kind, body).map(|[]| Self::DeviceDisconnect),
            kind::INTERFACE_INFO => Ok(Self::InterfaceInfo(Box::new(InterfaceInfo::parse(body)?))),
            kind::EP_INFO => Ok(Self::EpInfo(Box::new(EpInfo::parse(body, capabilities)?))),
            kind::CONFIGURATION_STATUS => {
                let [status, value] = exact(kind, body)?;
                Ok(Self::ConfigurationStatus { status: Status::from_byte(status)?, value })
            }
            kind::ALT_SETTING_STATUS => {
                let [status, interface, alternate] = exact(kind, body)?;
                Ok(Self::AltSettingStatus { status: Status::from_byte(status)?, interface, alternate })
            }
            kind::ISO_STREAM_STATUS => {
                let [status, endpoint] = exact(kind, body)?;
                Ok(Self::IsoStreamStatus { status: Status::from_byte(status)?, endpoint })
            }
            kind::INTERRUPT_RECEIVING_STATUS => {
                let [status, endpoint] = exact(kind, body)?;
                Ok(Self::InterruptReceivingStatus { status: Status::from_byte(status)?, endpoint })
            }
            kind::CONTROL_PACKET => {
                let (setup, status, data) = parse_control(body)?;
                let status = Status::from_byte(status)?;
                match setup.direction() {
                    Direction::In => {
                        same_length(kind, body, data, setup.length.into())?;
                        Ok(Self::ControlIn { setup, status, data })
                    }
                    Direction::Out => {
                        same_length(kind, body, data, 0)?;
                        Ok(Self::ControlOut { setup, status, length: setup.length })
                    }
                }
            }
            kind::BULK_PACKET => {
                let (endpoint, status, length, data) = parse_bulk(body, capabilities)?;
                let status = Status::from_byte(status)?;
                match endpoint.direction() {
                    Direction::In => {
                        same_length(kind, body, data, length as usize)?;
                        Ok(Self::BulkIn { endpoint, status, data })
                    }
                    Direction::Out => {
                        same_length(kind, body, data, 0)?;
                        Ok(Self::BulkOut { endpoint, status, length })
                    }
                }
            }
            kind::INTERRUPT_PACKET => {
                let ([endpoint, status, low, high], data) = split(kind, body)?;
                same_length(kind, body, data, 0)?;
                if [low, high] != [0, 0] {
                    return Err(WireError::Length { kind, length: body.len() as u32 });
                }
                let endpoint = data_endpoint(endpoint)?;
                Ok(Self::InterruptOut { endpoint, status: Status::from_byte(status)? })
            }
            other => Err(WireError::Kind(other)),
        }
    }
}
