//! Headers of OpenBMC's tars, as `tar -h -c` of GNU tar writes them (docs/spec/openbmc.md, 3).
//!
//! The few fields that may differ are taken out, the header they belong in is built, and all 512 bytes are compared: a
//! field in another form, or anything in a place where nothing belongs, is no header.

use core::ops::Range;

use super::member::Member;
use crate::tar::{self, BLOCK, Block, MTIME, NAME};

const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const TYPE: usize = 156;
/// Magic and version.
const MAGIC: Range<usize> = 257..265;
const UNAME: Range<usize> = 265..297;
const GNAME: Range<usize> = 297..329;
const DEVMAJOR: Range<usize> = 329..337;
const DEVMINOR: Range<usize> = 337..345;

/// What GNU tar writes unless told otherwise.
const GNU: &[u8; 8] = b"ustar  \0";
/// POSIX.1-1988, GNU tar's `--format=ustar`.
const POSIX: &[u8; 8] = b"ustar\x0000";
/// The only type: a regular file.
const REGULAR: u8 = b'0';

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) member: Member,
    /// Bytes of the member.
    pub(super) length: u64,
}

/// Why a block is no header of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not to the byte what GNU tar writes for a regular file.
    #[error("a tar header in another form than GNU tar's for a regular file")]
    Form,
    /// A member that is not in the closed list.
    #[error("the tar header of a member that no OpenBMC firmware tar for this BMC has")]
    Name,
    /// The member has been there.
    #[error("the second tar header of one member")]
    Twice,
}

impl Header {
    pub(super) fn parse(block: &Block) -> Result<Self, HeaderError> {
        let (name, length) = regular_file(block).ok_or(HeaderError::Form)?;
        Ok(Self { member: Member::from_name(name).ok_or(HeaderError::Name)?, length })
    }
}

/// Whether this is the first block of an OpenBMC firmware tar: the header of a member of the closed list.
pub(crate) fn is_header(block: &Block) -> bool {
    Header::parse(block).is_ok()
}

/// Name and length, if this is to the byte a header that GNU tar writes for a regular file.
fn regular_file(block: &Block) -> Option<(&[u8], u64)> {
    let mut expected = [0; BLOCK];
    let name = text(&block[NAME])?;
    expected[NAME][..name.len()].copy_from_slice(name);
    for field in [MODE, UID, GID, SIZE, MTIME] {
        put_number(&mut expected[field.clone()], number(&block[field])?)?;
    }
    expected[TYPE] = REGULAR;
    let magic = &block[MAGIC];
    if magic == POSIX {
        put_number(&mut expected[DEVMAJOR], 0)?;
        put_number(&mut expected[DEVMINOR], 0)?;
    } else if magic != GNU {
        return None;
    }
    expected[MAGIC].copy_from_slice(magic);
    for field in [UNAME, GNAME] {
        let text = text(&block[field.clone()])?;
        expected[field][..text.len()].copy_from_slice(text);
    }
    tar::put_checksum(&mut expected)?;
    (expected == *block).then_some((name, number(&block[SIZE])?))
}

/// What stands before the first NUL, all of it printable ASCII. There must be a NUL.
fn text(field: &[u8]) -> Option<&[u8]> {
    let length = field.iter().position(|byte| *byte == 0)?;
    let text = &field[..length];
    text.iter().all(|byte| (0x20..0x7F).contains(byte)).then_some(text)
}

/// Octal digits that fill the field but for a NUL.
fn number(field: &[u8]) -> Option<u64> {
    let [digits @ .., 0] = field else { return None };
    // Eleven digits at most: 33 bits.
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'7' => Some(value << 3 | u64::from(digit - b'0')),
        _ => None,
    })
}

fn put_number(field: &mut [u8], value: u64) -> Option<()> {
    let (_, digits) = field.split_last_mut()?;
    tar::put_octal(digits, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of GNU tar's default format.
    fn gnu(name: &str) -> Block {
        let Some(mut block) = tar::header(name, 5, 1_700_000_000) else { panic!("a header") };
        block[MAGIC].copy_from_slice(GNU);
        block[UNAME][..7].copy_from_slice(b"builder");
        block[GNAME][..5].copy_from_slice(b"users");
        block[329..345].fill(0);
        block[UID].copy_from_slice(b"0001750\0");
        mend(&mut block);
        block
    }

    fn mend(block: &mut Block) {
        tar::put_checksum(block).unwrap();
    }

    #[test]
    fn both_forms_of_gnu_tar_are_read() {
        let header = Ok(Header { member: Member::from_name(b"image-kernel").unwrap(), length: 5 });
        assert_eq!(Header::parse(&gnu("image-kernel")), header);
        assert_eq!(Header::parse(&tar::header("image-kernel", 5, 0).unwrap()), header);
        assert_eq!(Header::parse(&gnu("image-kernal")), Err(HeaderError::Name));
        assert_eq!(Header::parse(&gnu("./image-kernel")), Err(HeaderError::Name));
        assert_eq!(Header::parse(&[0; BLOCK]), Err(HeaderError::Form));
    }

    #[test]
    fn no_other_form_is_read_though_its_checksum_be_right() {
        let good = gnu("image-kernel");
        let changed = |at: usize, bytes: &[u8]| {
            let mut block = good;
            block[at..at + bytes.len()].copy_from_slice(bytes);
            mend(&mut block);
            Header::parse(&block)
        };
        for (at, bytes, why) in [
            (50, &b"x"[..], "a byte behind the name"),
            (3, b"\n", "a control byte in the name"),
            (100, b" 000644", "a number with a blank"),
            (100, b"000644 ", "a number that ends early"),
            (107, b" ", "a number that ends in a blank"),
            (124, b"0000000000\0", "a shorter length"),
            (124, b"\x80\0\0\0\0\0\0\0\0\0\0\x05", "a length in base 256"),
            (156, b"\0", "the old type"),
            (156, b"1", "a link"),
            (156, b"5", "a directory"),
            (156, b"x", "a pax header"),
            (156, b"L", "a long name"),
            (157, b"x", "a link's name"),
            (257, b"ustar\x0001", "an unknown version"),
            (257, b"\0\0\0\0\0\0\0\0", "no magic"),
            (270, b"\x80", "an owner's name that is not ASCII"),
            (280, b"x", "bytes behind the owner's name"),
            (329, b"0000000\0", "a device number, as POSIX has it"),
            (345, b"x", "a prefix"),
            (500, b"x", "a byte in the padding"),
        ] {
            assert_eq!(changed(at, bytes), Err(HeaderError::Form), "{why}");
        }
        assert!(changed(136, b"00000000000").is_ok(), "any time will do");
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        for good in [gnu("image-kernel"), tar::header("MANIFEST", 5, 0).unwrap()] {
            for at in 0..BLOCK {
                for bit in 0..8 {
                    let mut block = good;
                    block[at] ^= 1 << bit;
                    assert!(Header::parse(&block).is_err(), "byte {at}, bit {bit}");
                }
            }
        }
    }
}
