//! The one tar header this project knows (docs/spec/package.md, 2).
//!
//! It is built, never interpreted: a reader makes the header it expects and compares all 512 bytes.

/// Bytes in a tar block.
pub const BLOCK: usize = 512;

/// The same, for lengths of files.
pub(crate) const BLOCK_LENGTH: u64 = 512;

/// A tar block.
pub type Block = [u8; BLOCK];

/// Length of the zeros that end an archive, in bytes: two blocks.
pub const END_LENGTH: u64 = 2 * BLOCK_LENGTH;

/// Longest member name in bytes: the field is 100 and ends with a NUL.
pub const MAX_NAME: usize = 99;

/// Largest number that eleven octal digits hold: bound of a member's length in bytes and of mtime in seconds.
pub const MAX_NUMBER: u64 = (1 << 33) - 1;

/// Offset and bytes of the name.
pub(crate) const NAME: core::ops::Range<usize> = 0..100;
/// Offset and bytes of the modification time.
pub(crate) const MTIME: core::ops::Range<usize> = 136..148;
/// Offset and bytes of the checksum.
pub(crate) const CHECKSUM: core::ops::Range<usize> = 148..156;

/// Writes `value` as `digits.len()` octal digits; `None` if it needs more.
pub(crate) fn put_octal(digits: &mut [u8], mut value: u64) -> Option<()> {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    (value == 0).then_some(())
}

/// The header of a regular file named `name` with `length` bytes, changed `mtime` seconds after 1970.
///
/// `None` if the name is empty or longer than [`MAX_NAME`], or a number is larger than [`MAX_NUMBER`].
#[must_use]
pub fn header(name: &str, length: u64, mtime: u64) -> Option<Block> {
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644"); // mode
    block[108..115].copy_from_slice(b"0000000"); // uid
    block[116..123].copy_from_slice(b"0000000"); // gid
    put_octal(&mut block[124..135], length)?;
    put_octal(&mut block[136..147], mtime)?;
    block[156] = b'0'; // typeflag: regular file
    block[257..265].copy_from_slice(b"ustar\x0000"); // magic and version
    block[329..336].copy_from_slice(b"0000000"); // devmajor
    block[337..344].copy_from_slice(b"0000000"); // devminor
    put_checksum(&mut block)?;
    Some(block)
}

/// Writes the checksum: the sum of all bytes, those of the checksum itself read as spaces.
pub(crate) fn put_checksum(block: &mut Block) -> Option<()> {
    block[CHECKSUM].copy_from_slice(b"        ");
    let sum: u64 = block.iter().copied().map(u64::from).sum();
    put_octal(&mut block[148..154], sum)?;
    block[154] = 0;
    Some(())
}

/// Whether two headers are equal in every byte but mtime and the checksum, which depends on it.
#[must_use]
pub fn equal_but_mtime(one: &Block, other: &Block) -> bool {
    one[..MTIME.start] == other[..MTIME.start] && one[CHECKSUM.end..] == other[CHECKSUM.end..]
}

/// Zero bytes that follow `length` bytes of content to fill the last block: 0 to 511.
#[must_use]
pub const fn padding(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK_LENGTH
}

/// Bytes that a member of `length` bytes takes in the archive: header, content and padding. `None` if that is
/// more than a u64 holds.
#[must_use]
pub const fn span(length: u64) -> Option<u64> {
    match length.checked_add(padding(length)) {
        Some(padded) => padded.checked_add(BLOCK_LENGTH),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_keeps_its_bounds() {
        let name = "n".repeat(100);
        assert!(header(&name, 0, 0).is_none());
        assert!(header(&name[..99], MAX_NUMBER, MAX_NUMBER).is_some());
        assert!(header("", 0, 0).is_none());
        assert!(header("a", MAX_NUMBER + 1, 0).is_none());
        assert!(header("a", 0, MAX_NUMBER + 1).is_none());
    }

    #[test]
    fn only_mtime_and_checksum_may_differ() {
        let Some(one) = header("a", 5, 0) else { panic!("a header") };
        for at in 0..BLOCK {
            let mut other = one;
            other[at] ^= 1;
            assert_eq!(equal_but_mtime(&one, &other), (136..156).contains(&at), "byte {at}");
        }
    }

    #[test]
    fn spans() {
        assert_eq!(span(0), Some(512));
        assert_eq!(span(1), Some(1024));
        assert_eq!(span(512), Some(1024));
        assert_eq!(span(513), Some(1536));
        assert_eq!(span(u64::MAX - 511), None);
        assert_eq!(span(u64::MAX), None);
        assert_eq!(padding(u64::MAX), 1);
    }
}
