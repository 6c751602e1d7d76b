//! What goes wrong with an archive on its way.

use std::ops::Range;

use inband_dfu::suffix::Crc32;

use crate::draft::{Archive, Zone, mend_checksum};
use crate::random::Random;

/// Changes bytes, of any zone as likely as of another.
pub(crate) fn change(archive: &Archive, random: &mut Random) -> Vec<u8> {
    let mut bytes = archive.bytes.clone();
    let zone = *random.pick(&[Zone::Header, Zone::Content, Zone::Padding, Zone::End]);
    let range = pick(archive, zone, random);
    match random.below(13) {
        0..4 => random.flip(&mut bytes[range]),
        4 | 5 => {
            let header = pick(archive, Zone::Header, random);
            header_field(&mut bytes[header], random);
        }
        6 => bytes.truncate(random.below(archive.bytes.len())),
        7 => bytes.truncate(*random.pick(&[range.start, range.end, range.end.saturating_sub(1)])),
        8 | 9 => behind(&mut bytes, random),
        10 => suffixed(&mut bytes, random),
        11 => moved(archive, range, zone, &mut bytes, random),
        _ => {
            let length = random.within(1, 40).min(range.len());
            bytes[range.start..range.start + length].fill(random.next() as u8);
        }
    }
    bytes
}

fn pick(archive: &Archive, zone: Zone, random: &mut Random) -> Range<usize> {
    let zones: Vec<_> =
        archive.zones.iter().filter(|(kind, range)| *kind == zone && !range.is_empty()).collect();
    if zones.is_empty() { 0..archive.bytes.len() } else { random.pick(&zones).1.clone() }
}

/// Writes another field, or a field in another way, with the checksum in step: what tar(1) would take.
fn header_field(header: &mut [u8], random: &mut Random) {
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    match random.below(14) {
        0 => put(100, b"0000755\0"),
        1 => put(108, b"0001750\0"),
        2 => put(108, b"000000 \0"),
        3 => put(124, b"    "),
        // The size in base 256.
        4 => put(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]),
        5 => put(135, b" "),
        6 => put(136, b"00000000001\0"),
        7 => put(156, random.pick(&[b"\0", b"1", b"5", b"7", b"L", b"x", b"g"]).as_slice()),
        8 => put(157, b"target"),
        9 => put(257, b"ustar  \0"),
        10 => put(265, b"root"),
        11 => put(345, b"prefix"),
        12 => put(0, b"./"),
        _ => put(500, b"x"),
    }
    mend_checksum(header);
    match random.below(12) {
        // The same number, written as other programs do.
        0 => header[154..156].copy_from_slice(b" \0"),
        1 => header[148..156].rotate_right(1),
        _ => {}
    }
}

/// Something behind the end.
fn behind(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(5) {
        0 => bytes.push(0),
        1 => bytes.resize(bytes.len().next_multiple_of(10_240), 0),
        2 => {
            let length = random.within(1, 40);
            bytes.extend(random.bytes(length));
        }
        3 => bytes.extend([0; 16]),
        _ => bytes.extend(bytes.clone()),
    }
}

/// A DFU suffix: right, wrong, a part of one, or with more behind it.
fn suffixed(bytes: &mut Vec<u8>, random: &mut Random) {
    bytes.extend(random.bytes(6));
    bytes.extend(b"\x00\x01UFD\x10");
    let mut crc = Crc32::new();
    crc.update(bytes);
    bytes.extend(crc.value().to_le_bytes());
    let start = bytes.len() - 16;
    match random.below(6) {
        0 => random.flip(&mut bytes[start..]),
        1 => bytes.truncate(random.within(start + 1, start + 15)),
        2 => bytes.push(random.next() as u8),
        3 => random.flip(bytes),
        _ => {}
    }
}

/// Zones taken out, doubled, or in each other's place.
fn moved(archive: &Archive, range: Range<usize>, zone: Zone, bytes: &mut Vec<u8>, random: &mut Random) {
    let other = pick(archive, zone, random);
    match random.below(5) {
        0 => drop(bytes.drain(range)),
        1 => {
            let copy = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, copy);
        }
        2 => drop(bytes.splice(range.start..range.start, [0; 512])),
        _ => {
            let (first, second) =
                (archive.bytes[range.clone()].to_vec(), archive.bytes[other.clone()].to_vec());
            let length = first.len().min(second.len());
            bytes[range.start..range.start + length].copy_from_slice(&second[..length]);
            bytes[other.start..other.start + length].copy_from_slice(&first[..length]);
        }
    }
}
