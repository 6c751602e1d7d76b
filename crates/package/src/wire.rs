//! The field types that head and index share: little-endian numbers and the *str* of docs/spec/package.md.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Why a field could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The bytes end inside the field.
    #[error("ends too early")]
    Short,
    /// A *str* shorter or longer than this field allows.
    #[error("has a length that is not allowed")]
    Length,
    /// A *str* with a byte that is none of `A-Z a-z 0-9 . _ - + : ~ @ /`.
    #[error("has a character other than A-Z a-z 0-9 . _ - + : ~ @ /")]
    Character,
}

/// Whether a byte may stand in a *str* (docs/spec/package.md): one of `A-Z a-z 0-9 . _ - + : ~ @ /`. A text of
/// such bytes can be shown anywhere without being escaped.
#[must_use]
pub const fn is_str_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b':' | b'~' | b'@' | b'/')
}

/// Reads fields from the front of a byte slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], FieldError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FieldError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FieldError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FieldError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FieldError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FieldError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FieldError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A *str* whose length lies in `lengths`.
    pub(crate) fn str(&mut self, lengths: RangeInclusive<usize>) -> Result<String, FieldError> {
        let length = usize::from(self.u8()?);
        if !lengths.contains(&length) {
            return Err(FieldError::Length);
        }
        let bytes = self.bytes(length)?;
        if !bytes.iter().copied().all(is_str_byte) {
            return Err(FieldError::Character);
        }
        Ok(bytes.iter().copied().map(char::from).collect())
    }
}

/// Appends a *str*. `None` if it is longer than a length byte can say; all other rules are the reader's to
/// check.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.push(u8::try_from(text.len()).ok()?);
    out.extend_from_slice(text.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_str_takes_the_listed_characters_only() {
        for byte in 0..=u8::MAX {
            let listed = matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9')
                || matches!(byte, b'.' | b'_' | b'-' | b'+' | b':' | b'~' | b'@' | b'/');
            assert_eq!(Fields(&[1, byte]).str(1..=1).is_ok(), listed, "{byte:#04x}");
        }
    }

    #[test]
    fn a_str_keeps_its_bounds() {
        assert_eq!(Fields(&[]).str(1..=4), Err(FieldError::Short));
        assert_eq!(Fields(&[0]).str(1..=4), Err(FieldError::Length));
        assert_eq!(Fields(b"\x05abcde").str(1..=4), Err(FieldError::Length));
        assert_eq!(Fields(b"\x04abc").str(1..=4), Err(FieldError::Short));
        assert_eq!(Fields(b"\x04abcd").str(1..=4).as_deref(), Ok("abcd"));
    }
}
