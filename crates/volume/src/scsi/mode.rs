//! Mode pages (SPC 7.4; SBC 6.4): MODE SENSE and MODE SELECT, in their short and long forms.

use alloc::{vec, vec::Vec};

use super::{command::be, sense::Sense};

/// DEVICE-SPECIFIC PARAMETER: WP.
const WRITE_PROTECTED: u8 = 0x80;
/// DEVICE-SPECIFIC PARAMETER: DPOFUA. DPO and FUA are taken in every command that has them.
const DPO_FUA: u8 = 0x10;
/// Caching: WCE. So that a host which asks flushes: SYNCHRONIZE CACHE is how we hear that it has written all.
const WRITE_CACHE: u8 = 0x04;
/// Control: SWP, byte 4. The only bit that a host may change.
const SOFTWARE_PROTECT: u8 = 0x08;
/// Informational Exceptions Control: DEXCPT.
const NO_EXCEPTIONS: u8 = 0x08;

/// Offset of SWP in the Control page.
const SWP_AT: usize = 4;
const CONTROL: u8 = 0x0a;
/// All pages.
const ALL: u8 = 0x3f;
/// All subpages.
const ALL_SUBPAGES: u8 = 0xff;

/// Bytes of the parameter list header of MODE SELECT(10), the longer one.
const LONG_HEADER: usize = 8;
const SHORT_HEADER: usize = 4;
/// The longest parameter list that is taken: more than all pages there are.
pub(super) const LONGEST_LIST: usize = 256;

/// All pages as they are, SWP as given.
fn pages(swp: bool) -> [Vec<u8>; 3] {
    let mut caching = vec![0; 20];
    caching[..3].copy_from_slice(&[0x08, 0x12, WRITE_CACHE]);
    let mut control = vec![0; 12];
    control[..2].copy_from_slice(&[CONTROL, 0x0a]);
    control[SWP_AT] = if swp { SOFTWARE_PROTECT } else { 0 };
    // BUSY TIMEOUT PERIOD: no limit; there is nothing to be busy with.
    control[8..10].copy_from_slice(&[0xff, 0xff]);
    let mut exceptions = vec![0; 12];
    exceptions[..3].copy_from_slice(&[0x1c, 0x0a, NO_EXCEPTIONS]);
    [caching, control, exceptions]
}

/// Which bits of a page may be changed.
fn changeable(page: &[u8]) -> Vec<u8> {
    let mut mask = vec![0; page.len()];
    mask[..2].copy_from_slice(&page[..2]);
    if page[0] == CONTROL {
        mask[SWP_AT] = SOFTWARE_PROTECT;
    }
    mask
}

/// What MODE SENSE answers, before it is cut to the allocation length. There are no block descriptors.
pub(super) fn sense(cdb: &[u8; 16], write_protected: bool, swp: bool) -> Result<Vec<u8>, Sense> {
    let (control, code, subpage) = (cdb[2] >> 6, cdb[2] & 0x3f, cdb[3]);
    if !(subpage == 0 || subpage == ALL_SUBPAGES) {
        return Err(Sense::invalid_field(3));
    }
    let mut body = Vec::new();
    // SPC 6.9.1: current, changeable, default values; saved ones there are not.
    for page in pages(swp && control != 2).iter().filter(|page| code == ALL || page[0] == code) {
        match control {
            0 | 2 => body.extend_from_slice(page),
            1 => body.extend(changeable(page)),
            _ => return Err(Sense::NOT_SAVED),
        }
    }
    if body.is_empty() {
        return Err(Sense::invalid_field(2));
    }
    let parameter = DPO_FUA | if write_protected { WRITE_PROTECTED } else { 0 };
    let mut bytes = if cdb[0] == 0x1a {
        vec![(SHORT_HEADER - 1 + body.len()) as u8, 0, parameter, 0]
    } else {
        let length = ((LONG_HEADER - 2 + body.len()) as u16).to_be_bytes();
        vec![length[0], length[1], 0, parameter, 0, 0, 0, 0]
    };
    bytes.extend(body);
    Ok(bytes)
}

/// What a parameter list of MODE SELECT makes of SWP: header, no block descriptor, pages as MODE SENSE shows them but for SWP (SPC 6.7).
pub(super) fn select(long: bool, list: &[u8], swp: bool) -> Result<bool, Sense> {
    let header = if long { LONG_HEADER } else { SHORT_HEADER };
    if list.is_empty() {
        return Ok(swp);
    }
    if list.len() < header {
        return Err(Sense::PARAMETER_LENGTH);
    }
    let (descriptors, at) = if long { (be(&list[6..8]), 6) } else { (u64::from(list[3]), 3) };
    if descriptors != 0 {
        return Err(Sense::invalid_parameter(at));
    }
    let mut wanted = swp;
    let known = pages(swp);
    let mut at = header;
    while let Some(code) = list.get(at) {
        let Some(page) = known.iter().find(|page| page[0] == *code) else {
            return Err(Sense::invalid_parameter(at as u16));
        };
        let Some(given) = list.get(at..at + page.len()) else { return Err(Sense::PARAMETER_LENGTH) };
        let mask = changeable(page);
        // The code and the length stand in the mask as they are: neither can be changed.
        let wrong =
            (0..page.len()).find(|n| (given[*n] ^ page[*n]) & if *n < 2 { 0xff } else { !mask[*n] } != 0);
        if let Some(n) = wrong {
            return Err(Sense::invalid_parameter((at + n) as u16));
        }
        if page[0] == CONTROL {
            wanted = given[SWP_AT] & SOFTWARE_PROTECT != 0;
        }
        at += page.len();
    }
    Ok(wanted)
}
