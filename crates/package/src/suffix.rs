//! The DFU suffix that a stock tool may leave behind a package (DFU 1.1, appendix B), as bytes arrive.

use inband_dfu::suffix::Crc32;
pub use inband_dfu::suffix::LEN;

/// The suffix's fixed bytes from bcdDFU to bLength: bcdDFU 0100h, the signature "DFU" backwards, 16.
const FIXED: [u8; 6] = [0x00, 0x01, b'U', b'F', b'D', 16];
/// Offset of [`FIXED`] in the suffix, behind bcdDevice, idProduct and idVendor, which may hold anything.
const FIXED_OFFSET: usize = 6;
/// Offset of dwCRC, the one field that dwCRC does not cover.
const CRC_OFFSET: usize = 12;

/// Checks what follows an archive: nothing, or exactly one valid suffix.
#[derive(Clone, Debug)]
pub struct Suffix {
    crc: Crc32,
    /// Bytes of the suffix that have come.
    filled: usize,
}

/// What follows the archive cannot be, or become, a valid suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASuffix;

/// Whether the last bytes of a file could be a suffix, as far as can be told without its checksum.
#[must_use]
pub fn could_be(end: &[u8; LEN]) -> bool {
    end[FIXED_OFFSET..CRC_OFFSET] == FIXED
}

impl Suffix {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { crc: Crc32::new(), filled: 0 }
    }

    /// Takes the next bytes of the archive, which dwCRC covers. All of it before the first
    /// [`push`](Self::push).
    pub fn archive(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
    }

    /// Takes the next bytes behind the archive.
    ///
    /// # Errors
    /// With the byte that makes a valid suffix impossible.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NotASuffix> {
        for byte in bytes {
            let right = match self.filled {
                ..FIXED_OFFSET => true,
                at @ FIXED_OFFSET..CRC_OFFSET => FIXED[at - FIXED_OFFSET] == *byte,
                at @ CRC_OFFSET..LEN => self.crc.value().to_le_bytes()[at - CRC_OFFSET] == *byte,
                LEN.. => false,
            };
            if !right {
                return Err(NotASuffix);
            }
            self.filled += 1;
            if self.filled <= CRC_OFFSET {
                self.crc.update(&[*byte]);
            }
        }
        Ok(())
    }

    /// The stream has ended here.
    ///
    /// # Errors
    /// If it ended within the suffix.
    pub const fn finish(&self) -> Result<(), NotASuffix> {
        match self.filled {
            0 | LEN => Ok(()),
            _ => Err(NotASuffix),
        }
    }
}

impl Default for Suffix {
    fn default() -> Self {
        Self::new()
    }
}
