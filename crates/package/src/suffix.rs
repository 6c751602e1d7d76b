//! The DFU suffix that a stock tool may leave behind a package (DFU 1.1, appendix B), as bytes arrive.

/// Length of the suffix in bytes.
pub const LENGTH: usize = 16;

/// The suffix's fixed bytes from bcdDFU to bLength: bcdDFU 0100h, the signature "DFU" backwards, 16.
const FIXED: [u8; 6] = [0x00, 0x01, b'U', b'F', b'D', 16];
/// Offset of [`FIXED`] in the suffix, behind bcdDevice, idProduct and idVendor, which may hold anything.
const FIXED_OFFSET: usize = 6;
/// Offset of dwCRC, the one field that dwCRC does not cover.
const CRC_OFFSET: usize = 12;

/// CRC-32 of a file as dwCRC counts it: the polynomial of ISO 3309 reflected, all ones at the start, not
/// inverted at the end.
#[derive(Clone, Copy, Debug)]
struct Crc32(u32);

/// `TABLES[k][b]` is what a byte `b`, followed by `k` zero bytes, adds. Eight of them let eight bytes be
/// looked up at once, which keeps this checksum cheap beside the hashing.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

impl Crc32 {
    fn update(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let [a, b, c, d] =
                (self.0 ^ u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]])).to_le_bytes();
            let row = [a, b, c, d, eight[4], eight[5], eight[6], eight[7]];
            self.0 =
                TABLES.iter().rev().zip(row).fold(0, |sum, (table, byte)| sum ^ table[usize::from(byte)]);
        }
        for byte in rest {
            self.0 = (self.0 >> 8) ^ TABLES[0][((self.0 ^ u32::from(*byte)) & 0xFF) as usize];
        }
    }
}

/// Checks what follows an archive: nothing, or exactly one valid suffix.
#[derive(Clone, Debug)]
pub struct Suffix {
    crc: Crc32,
    bytes: [u8; LENGTH],
    filled: usize,
}

/// What follows the archive cannot be, or become, a valid suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASuffix;

impl Suffix {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { crc: Crc32(u32::MAX), bytes: [0; LENGTH], filled: 0 }
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
            let slot = self.bytes.get_mut(self.filled).ok_or(NotASuffix)?;
            *slot = *byte;
            let expected = match self.filled {
                at @ FIXED_OFFSET..CRC_OFFSET => Some(FIXED[at - FIXED_OFFSET]),
                at @ CRC_OFFSET.. => Some(self.crc.0.to_le_bytes()[at - CRC_OFFSET]),
                _ => None,
            };
            if expected.is_some_and(|expected| expected != *byte) {
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
            0 | LENGTH => Ok(()),
            _ => Err(NotASuffix),
        }
    }
}

impl Default for Suffix {
    fn default() -> Self {
        Self::new()
    }
}
