//! Short texts of bounded length and a harmless alphabet, as the record and the status pages hold them.

use core::fmt;

use inband_package::is_str_byte;

/// A *str* of docs/spec/package.md: at most `MAX` bytes, each of them `A-Z a-z 0-9 . _ - + : ~ @ /`; may be empty.
/// It can be printed anywhere without being escaped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const MAX: usize> {
    length: u8,
    bytes: [u8; MAX],
}

impl<const MAX: usize> Text<MAX> {
    /// Bytes that the padded form in a record takes: one for the length, then `MAX`.
    pub const PADDED: usize = MAX + 1;

    /// No text at all.
    pub const EMPTY: Self = Self { length: 0, bytes: [0; MAX] };

    /// The text, or `None` if it is longer than `MAX` bytes or holds a byte outside the alphabet.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    /// As [`Text::new`], from bytes.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let length = u8::try_from(text.len()).ok()?;
        if text.len() > MAX || !text.iter().all(|&byte| is_str_byte(byte)) {
            return None;
        }
        let mut bytes = [0; MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { length, bytes })
    }

    /// The text cut to `MAX` bytes, with `_` for each byte outside the alphabet: for a text that was checked where
    /// it came in and only has to fit here.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        const { assert!(MAX <= u8::MAX as usize) };
        let mut cut = Self::EMPTY;
        for (to, &from) in cut.bytes.iter_mut().zip(text.as_bytes()) {
            *to = if is_str_byte(from) { from } else { b'_' };
            cut.length += 1;
        }
        cut
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII, so this is always valid.
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of the text, without padding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes the length byte and the zero padded bytes; `to` is [`Text::PADDED`] bytes long.
    pub(crate) fn encode(&self, to: &mut [u8]) {
        to[0] = self.length;
        to[1..].copy_from_slice(&self.bytes);
    }

    /// Reads what [`Text::encode`] writes; `None` if the length, a byte or the padding is wrong.
    pub(crate) fn parse(from: &[u8]) -> Option<Self> {
        let (&length, bytes) = from.split_first()?;
        if bytes.len() != MAX || usize::from(length) > MAX {
            return None;
        }
        let (text, padding) = bytes.split_at(usize::from(length));
        if padding.iter().any(|&byte| byte != 0) { None } else { Self::from_bytes(text) }
    }
}

impl<const MAX: usize> Default for Text<MAX> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_bound_and_its_alphabet() {
        assert_eq!(Text::<4>::new("1.2~").map(|text| text.as_str().len()), Some(4));
        assert_eq!(Text::<4>::new("12345"), None);
        assert_eq!(Text::<4>::new("a b"), None);
        assert_eq!(Text::<4>::new("\x1b[2J"), None);
        assert_eq!(Text::<4>::new(""), Some(Text::EMPTY));
        assert_eq!(Text::<4>::cut("a b\nc").as_str(), "a_b_");
    }

    #[test]
    fn padding_that_is_not_zero_is_refused() {
        let mut padded = [0; Text::<6>::PADDED];
        Text::<6>::cut("v1").encode(&mut padded);
        assert_eq!(&padded, b"\x02v1\0\0\0\0");
        assert_eq!(Text::<6>::parse(&padded), Text::new("v1"));
        padded[6] = b'x';
        assert_eq!(Text::<6>::parse(&padded), None);
        padded[0] = 7;
        assert_eq!(Text::<6>::parse(&padded), None);
        assert_eq!(Text::<6>::parse(&[]), None);
    }
}
