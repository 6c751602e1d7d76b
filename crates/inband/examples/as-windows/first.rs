//! Version 1.0: a string descriptor of index EEh, then two requests.

use nusb::transfer::Recipient;

use crate::ask::{Asked, Interfaces, Learnt, Outcome, at, ensure, text, word};

/// The string's index.
const STRING: u8 = 0xee;
/// wIndex of the extended compat IDs, and of the extended properties.
const COMPATIBLE_IDS: u16 = 4;
const PROPERTIES: u16 = 5;
/// Bytes before the IDs, and of each.
const IDS_HEADER: u16 = 16;
const ID: usize = 24;
/// Bytes before the properties.
const PROPERTIES_HEADER: u16 = 10;

/// bMS_VendorCode; `None` if the device has no such string.
pub(crate) fn code(asked: &Asked) -> Outcome<Option<u8>> {
    let Some(string) = asked.descriptor(3, STRING, 18)? else { return Ok(None) };
    ensure(string.len() == 18 && string[..2] == [18, 3], || format!("the string is {string:02x?}"))?;
    ensure(text(&string[2..16]) == "MSFT100", || format!("the signature is {string:02x?}"))?;
    Ok(Some(string[16]))
}

/// Asks for everything, first for each length.
pub(crate) fn learn(asked: &Asked) -> Outcome<Interfaces> {
    let mut learnt = Interfaces::new();
    let ids = whole(asked, Recipient::Device, 0, COMPATIBLE_IDS, IDS_HEADER)?.ok_or("no compatible IDs")?;
    ensure(ids.len() == usize::from(IDS_HEADER) + usize::from(ids[8]) * ID, || {
        format!("{} bytes for {} IDs", ids.len(), ids[8])
    })?;
    for section in ids[IDS_HEADER.into()..].chunks_exact(ID) {
        // The reserved byte of the specification.
        ensure(section[1] == 1 && section[10..].iter().all(|byte| *byte == 0), || format!("{section:02x?}"))?;
        learnt.insert(section[0], Learnt { compatible_id: at(section, 2)?, guid: None });
    }
    for (number, one) in &mut learnt {
        // The specification has the interface in the high byte, and the page in the low one. Windows sends them the other way round.
        let value = u16::from(*number);
        let properties = whole(asked, Recipient::Interface, value, PROPERTIES, PROPERTIES_HEADER)?;
        one.guid = properties.map(|properties| guid(&properties)).transpose()?;
    }
    // An interface that is not there, and descriptors that are not (CVE-2022-25258).
    for (recipient, value, index) in [
        (Recipient::Interface, 0x00ff, PROPERTIES),
        (Recipient::Interface, 0x000f, PROPERTIES),
        (Recipient::Interface, 0xff00, PROPERTIES),
        (Recipient::Device, 0, 7),
    ] {
        let other = asked.microsoft(recipient, value, index, 4096)?;
        ensure(other.is_none(), || {
            format!("{recipient:?}, {value:#x}, {index}: answered with {other:02x?}")
        })?;
    }
    Ok(learnt)
}

/// A descriptor, as Windows reads it: its head, and then as much as that says.
fn whole(asked: &Asked, recipient: Recipient, value: u16, index: u16, head: u16) -> Outcome<Option<Vec<u8>>> {
    let Some(begin) = asked.microsoft(recipient, value, index, head)? else { return Ok(None) };
    let length = u32::from_le_bytes(at(&begin, 0)?);
    ensure((word(&begin, 4)?, word(&begin, 6)?) == (0x0100, index), || format!("the head is {begin:02x?}"))?;
    let length = u16::try_from(length).map_err(|_| format!("it has {length} bytes"))?;
    let bytes = asked.microsoft(recipient, value, index, length)?.ok_or("only the head is there")?;
    ensure(bytes.len() == length.into() && bytes.starts_with(&begin), || {
        format!("{length} bytes that begin {begin:02x?} are {bytes:02x?}")
    })?;
    Ok(Some(bytes))
}

/// The only property: the interface's class.
fn guid(properties: &[u8]) -> Outcome<String> {
    ensure(word(properties, 8)? == 1, || format!("properties: {properties:02x?}"))?;
    let property = &properties[PROPERTIES_HEADER.into()..];
    let size = u32::from_le_bytes(at(property, 0)?) as usize;
    ensure(size == property.len() && property[4..8] == [1, 0, 0, 0], || format!("{property:02x?}"))?;
    let name = usize::from(word(property, 8)?);
    let data = u32::from_le_bytes(at(property, 10 + name)?) as usize;
    ensure(size == 14 + name + data, || format!("{property:02x?}"))?;
    let (name, data) = (&property[10..10 + name], &property[14 + name..]);
    ensure(text(name) == "DeviceInterfaceGUID", || text(name))?;
    ensure([name, data].iter().all(|text| text.ends_with(&[0, 0])), || format!("{property:02x?}"))?;
    Ok(text(data))
}
