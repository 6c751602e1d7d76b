//! The device, and what is expected of it.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use inband_usb::microsoft::{COMPATIBLE_ID, INTERFACE_GUID, VENDOR_CODE};
use nusb::{
    Device, MaybeFuture as _,
    transfer::{ControlIn, ControlType, Recipient, TransferError},
};

use crate::{first, second};

pub(crate) type Outcome<T = ()> = Result<T, String>;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long the device may take to be there.
const ENUMERATION: Duration = Duration::from_secs(20);
/// Class and subclass of a DFU interface.
const DFU: (u8, u8) = (0xfe, 1);
/// GET_DESCRIPTOR.
const GET_DESCRIPTOR: u8 = 6;

/// What Windows learns of one interface.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Learnt {
    pub(crate) compatible_id: [u8; 8],
    pub(crate) guid: Option<String>,
}

/// What it learns of all.
pub(crate) type Interfaces = BTreeMap<u8, Learnt>;

/// An opened device.
pub(crate) struct Asked {
    device: Device,
    /// The interfaces there are, by number: class and subclass.
    pub(crate) interfaces: Vec<(u8, (u8, u8))>,
}

impl Asked {
    fn open() -> Outcome<Self> {
        let deadline = Instant::now() + ENUMERATION;
        loop {
            let all = nusb::list_devices().wait().map_err(|e| e.to_string())?;
            let info = all.into_iter().find(|info| {
                info.interfaces().any(|interface| (interface.class(), interface.subclass()) == DFU)
            });
            if let Some(info) = info {
                let interfaces = info
                    .interfaces()
                    .map(|interface| {
                        (interface.interface_number(), (interface.class(), interface.subclass()))
                    })
                    .collect();
                let device = info.open().wait().map_err(|e| e.to_string())?;
                return Ok(Self { device, interfaces });
            }
            if Instant::now() > deadline {
                return Err("there is no DFU device".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn request(&self, control: ControlIn) -> Result<Vec<u8>, TransferError> {
        self.device.control_in(control, LIMIT).wait()
    }

    /// A descriptor; `None` if it is stalled.
    pub(crate) fn descriptor(&self, kind: u8, number: u8, length: u16) -> Outcome<Option<Vec<u8>>> {
        let control = ControlIn {
            control_type: ControlType::Standard,
            recipient: Recipient::Device,
            request: GET_DESCRIPTOR,
            value: u16::from_be_bytes([kind, number]),
            index: 0,
            length,
        };
        stalled_or(self.request(control)).map_err(|e| format!("descriptor {kind:#04x}: {e}"))
    }

    /// A request with Microsoft's code.
    pub(crate) fn microsoft(
        &self,
        recipient: Recipient,
        value: u16,
        index: u16,
        length: u16,
    ) -> Outcome<Option<Vec<u8>>> {
        let control_type = ControlType::Vendor;
        let control = ControlIn { control_type, recipient, request: VENDOR_CODE, value, index, length };
        stalled_or(self.request(control)).map_err(|e| format!("{recipient:?}, {value:#x}, {index:#x}: {e}"))
    }

    /// Our own vendor request: its first page.
    fn status(&self) -> Outcome<Vec<u8>> {
        let control = ControlIn {
            control_type: ControlType::Vendor,
            recipient: Recipient::Interface,
            request: 0x49,
            value: 0,
            index: 0,
            length: 64,
        };
        self.request(control).map_err(|e| format!("the status page: {e}"))
    }
}

fn stalled_or(result: Result<Vec<u8>, TransferError>) -> Outcome<Option<Vec<u8>>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(TransferError::Stall) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Fails with a reason.
pub(crate) fn ensure(good: bool, why: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(why()) }
}

/// Bytes of a descriptor, which may be shorter than it should be.
pub(crate) fn at<const N: usize>(bytes: &[u8], offset: usize) -> Outcome<[u8; N]> {
    let found = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    found.copied().ok_or_else(|| format!("{} bytes are too few: {bytes:02x?}", bytes.len()))
}

/// A word of a descriptor.
pub(crate) fn word(bytes: &[u8], offset: usize) -> Outcome<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

/// UTF-16 up to the first NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// Asks, and compares.
pub(crate) fn run(wanted: &str) -> Outcome {
    let asked = Asked::open()?;
    let device = asked.descriptor(1, 0, 18)?.ok_or("no device descriptor")?;
    let bos = if word(&device, 2)? > 0x0200 { second::bos(&asked)? } else { None };
    // Windows 8.1 and later prefer 2.0, and then do not ask for 1.0.
    let (found, learnt) = match bos {
        Some(capability) => ("2.0", second::learn(&asked, &capability)?),
        None => match first::code(&asked)? {
            Some(code) => {
                ensure(code == VENDOR_CODE, || format!("the request is {code:#04x}"))?;
                ("1.0", first::learn(&asked)?)
            }
            None => ("none", Interfaces::new()),
        },
    };
    ensure(found == wanted, || format!("the descriptors are of version {found}"))?;
    if found != "none" {
        let expected: Interfaces = asked
            .interfaces
            .iter()
            .map(|(number, _)| {
                (*number, Learnt { compatible_id: COMPATIBLE_ID, guid: Some(INTERFACE_GUID.to_owned()) })
            })
            .collect();
        ensure(learnt == expected, || format!("Windows learns {learnt:?} of {:?}", asked.interfaces))?;
    }
    // It is another request, and is still the function's.
    let status = asked.status()?;
    ensure(status.first() == Some(&1), || format!("the status page is {status:02x?}"))
}
