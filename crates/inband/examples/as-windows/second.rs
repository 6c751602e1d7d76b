//! Version 2.0: a capability in the BOS, then one request.

use nusb::transfer::Recipient;

use crate::ask::{Asked, Interfaces, Learnt, Outcome, at, ensure, text, word};

/// D8DD60DF-4589-4CC7-9CD2-659D9E648A9F.
const UUID: u128 = 0x9f8a_649e_9d65_d29c_4cc7_4589_d8dd_60df;

/// The capability, from its UUID on; `None` if the device has none.
pub(crate) fn bos(asked: &Asked) -> Outcome<Option<Vec<u8>>> {
    let Some(head) = asked.descriptor(15, 0, 5)? else { return Ok(None) };
    let length = word(&head, 2)?;
    let bytes = asked.descriptor(15, 0, length)?.ok_or("only the head of the BOS is there")?;
    ensure(bytes.len() == length.into() && bytes.starts_with(&head), || format!("the BOS is {bytes:02x?}"))?;
    let mut rest = &bytes[5..];
    for _ in 0..head[4] {
        let [length, kind, capability] = at(rest, 0)?;
        let (one, behind) = rest.split_at_checked(length.into()).ok_or("a capability is cut")?;
        rest = behind;
        if (kind, capability) == (16, 5) && u128::from_le_bytes(at(one, 4)?) == UUID {
            return Ok(Some(one[4..].to_vec()));
        }
    }
    ensure(rest.is_empty(), || format!("behind the capabilities: {rest:02x?}"))?;
    Ok(None)
}

/// Asks for the descriptor set, and reads it.
pub(crate) fn learn(asked: &Asked, capability: &[u8]) -> Outcome<Interfaces> {
    ensure(u32::from_le_bytes(at(capability, 16)?) == 0x0603_0000, || format!("{capability:02x?}"))?;
    let length = word(capability, 20)?;
    let [code, alternate] = at(capability, 22)?;
    ensure((code, alternate) == (0x4d, 0), || format!("code {code:#04x}, alternate {alternate}"))?;
    let set = asked.microsoft(Recipient::Device, 0, 7, length)?.ok_or("no descriptor set")?;
    ensure(set.len() == length.into() && word(&set, 8)? == length, || format!("{length} bytes: {set:02x?}"))?;

    let mut learnt = Interfaces::new();
    // Without subsets it is said of the device, which has one interface.
    let mut function = (asked.interfaces.len() == 1).then_some(0);
    let mut compatible_id = [0; 8];
    let mut offset = 0;
    while offset < set.len() {
        let (size, kind) = (usize::from(word(&set, offset)?), word(&set, offset + 2)?);
        let one = set.get(offset..offset + size).ok_or("a descriptor is cut")?;
        ensure(size >= 4, || format!("a descriptor of {size} bytes"))?;
        offset += size;
        match kind {
            0 => ensure(offset == size && size == 10, || "a second head".into())?,
            1 => ensure(one[4] == 0 && word(one, 6)? == length - 10, || format!("configuration {one:02x?}"))?,
            2 => {
                ensure(usize::from(word(one, 6)?) <= set.len() - (offset - size), || {
                    format!("function {one:02x?}")
                })?;
                function = Some(one[4]);
            }
            3 => compatible_id = at(one, 4)?,
            4 => {
                let number = function.ok_or("a property of nothing")?;
                learnt.insert(number, Learnt { compatible_id, guid: Some(guid(one)?) });
            }
            other => return Err(format!("a descriptor of type {other}")),
        }
    }
    Ok(learnt)
}

/// The interface's class: the only string of a REG_MULTI_SZ.
fn guid(property: &[u8]) -> Outcome<String> {
    let name = usize::from(word(property, 6)?);
    let data = usize::from(word(property, 8 + name)?);
    ensure(word(property, 4)? == 7 && property.len() == 10 + name + data, || format!("{property:02x?}"))?;
    let (name, data) = (&property[8..8 + name], &property[10 + name..]);
    ensure(text(name) == "DeviceInterfaceGUIDs" && name.ends_with(&[0, 0]), || text(name))?;
    let guid = text(data);
    ensure(data.len() == 2 * (guid.len() + 2) && data.ends_with(&[0; 4]), || format!("{data:02x?}"))?;
    Ok(guid)
}
