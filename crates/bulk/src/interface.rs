//! The interface that carries the stream, and how a host finds it (spec, 1).

use alloc::{string::String, vec, vec::Vec};

use inband_usb::{
    Direction, EndpointAddress,
    descriptor::{EndpointKind, Interface, ParsedConfiguration},
};

use crate::wire::{VERSION, u32_at};

/// bInterfaceClass: of the vendor's own.
pub const INTERFACE_CLASS: u8 = 0xff;
/// bInterfaceSubClass.
pub const INTERFACE_SUBCLASS: u8 = 0x49;
/// bInterfaceProtocol. Not the version of the protocol: that is in the page.
pub const INTERFACE_PROTOCOL: u8 = 0x01;
/// bInterfaceNumber in our device's DFU-mode set.
pub const INTERFACE: u8 = 1;
/// The endpoint to the device.
pub const OUT: EndpointAddress = EndpointAddress(0x01);
/// The endpoint from the device.
pub const IN: EndpointAddress = EndpointAddress(0x81);
/// iInterface.
pub const NAME: &str = "bulk";

/// Number of the page of the vendor request that tells of the interface (docs/spec/session.md, 5).
pub const PAGE: u16 = 4;

const FORMAT: u8 = 1;
const PAGE_LENGTH: usize = 12;

/// The interface as it stands behind the DFU interface in the DFU-mode set.
#[must_use]
pub fn interface() -> Interface {
    Interface {
        class: INTERFACE_CLASS,
        subclass: INTERFACE_SUBCLASS,
        protocol: INTERFACE_PROTOCOL,
        name: String::from(NAME),
        extra: Vec::new(),
        endpoints: vec![OUT, IN],
    }
}

/// The interface as a host has found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkInterface {
    /// bInterfaceNumber.
    pub number: u8,
    /// The endpoint to the device.
    pub output: EndpointAddress,
    /// The endpoint from the device.
    pub input: EndpointAddress,
}

/// Finds the interface in a configuration: the first of its class, subclass and protocol with exactly one bulk endpoint each way, and
/// no other endpoint.
#[must_use]
pub fn find(configuration: &ParsedConfiguration) -> Option<BulkInterface> {
    let wanted = (INTERFACE_CLASS, INTERFACE_SUBCLASS, INTERFACE_PROTOCOL, 0);
    let mut candidates = configuration
        .interfaces
        .iter()
        .filter(|it| (it.class, it.subclass, it.protocol, it.alternate) == wanted);
    candidates.find_map(|interface| {
        let [first, second] = interface.endpoints.as_slice() else { return None };
        if (first.kind, second.kind) != (EndpointKind::Bulk, EndpointKind::Bulk) {
            return None;
        }
        let (output, input) = match (first.address.direction(), second.address.direction()) {
            (Direction::Out, Direction::In) => (first.address, second.address),
            (Direction::In, Direction::Out) => (second.address, first.address),
            (Direction::Out, Direction::Out) | (Direction::In, Direction::In) => return None,
        };
        Some(BulkInterface { number: interface.number, output, input })
    })
}

/// Page 4 of the vendor request: what the device speaks, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Oldest version of the protocol.
    pub oldest: u8,
    /// Newest version.
    pub newest: u8,
    /// bInterfaceNumber of the bulk interface in the DFU-mode set.
    pub interface: u8,
    /// Bytes that the device takes before it has worked on them, at most.
    pub pool: u32,
}

impl Page {
    /// The page of a device that keeps so many bytes.
    #[must_use]
    pub const fn new(pool: u32) -> Self {
        Self { oldest: VERSION, newest: VERSION, interface: INTERFACE, pool }
    }

    /// Whether host and device have a version in common, of which this crate speaks one.
    #[must_use]
    pub fn is_spoken(&self) -> bool {
        (self.oldest..=self.newest).contains(&VERSION)
    }

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = vec![FORMAT, PAGE_LENGTH as u8, self.oldest, self.newest, self.interface, 0, 0, 0];
        page.extend_from_slice(&self.pool.to_le_bytes());
        page
    }

    /// Reads the page as a device answered it. Bytes behind those known are for later versions.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn decode(answer: &[u8]) -> Result<Self, PageError> {
        match answer {
            [] => return Err(PageError::Length(0)),
            [FORMAT, ..] => {}
            [format, ..] => return Err(PageError::Format(*format)),
        }
        if answer.len() < PAGE_LENGTH || usize::from(answer[1]) != answer.len() {
            return Err(PageError::Length(answer.len()));
        }
        let page =
            Self { oldest: answer[2], newest: answer[3], interface: answer[4], pool: u32_at(answer, 8) };
        if page.oldest > page.newest {
            return Err(PageError::Versions(page.oldest, page.newest));
        }
        Ok(page)
    }
}

/// What is wrong with a page 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not as long as it says, or too short.
    #[error("page 4 has {0} bytes")]
    Length(usize),
    /// A format version that is not known.
    #[error("page 4 has format version {0}")]
    Format(u8),
    /// The oldest version is newer than the newest.
    #[error("page 4 tells of versions {0} to {1}")]
    Versions(u8, u8),
}
