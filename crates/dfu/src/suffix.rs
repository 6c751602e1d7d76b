//! The DFU file suffix (DFU 1.1, appendix B): 16 bytes after the payload that tell host tools which device a file is for.
//! They are never sent to the device, and prove nothing: a hint for honest mistakes.

use alloc::vec::Vec;

/// Bytes of the suffix this version of the specification defines.
pub const LEN: usize = 16;
/// "Any" in the identifier fields.
pub const ANY: u16 = 0xffff;

/// bcdDFU in the suffix; DFU 1.1 prints 0100h too.
const DFU_VERSION: u16 = 0x0100;
/// ucDfuSignature, "DFU" backwards.
const SIGNATURE: [u8; 3] = *b"UFD";
/// Bytes of the suffix the checksum does not cover: itself.
const CRC_LEN: usize = 4;

/// The CRC-32 of appendix B as bytes pass by: polynomial EDB88320h (reflected), begun with FFFFFFFFh and, unlike the common
/// CRC-32, **not** inverted at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32(u32);

/// `TABLES[k][b]` is what a byte `b` adds that `k` zero bytes follow. Eight of them let eight bytes be looked up at once, which
/// keeps this checksum cheap beside the hashing of a package.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
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
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

impl Crc32 {
    /// Before the first byte.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xffff_ffff)
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks();
        for &[e0, e1, e2, e3, e4, e5, e6, e7] in eights {
            let [s0, s1, s2, s3] = self.0.to_le_bytes();
            let eight = [e0 ^ s0, e1 ^ s1, e2 ^ s2, e3 ^ s3, e4, e5, e6, e7];
            // Seven bytes follow the first of them, none the last.
            self.0 =
                TABLES.iter().rev().zip(eight).fold(0, |sum, (table, byte)| sum ^ table[usize::from(byte)]);
        }
        for &byte in rest {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = TABLES[0][usize::from(low ^ byte)] ^ (self.0 >> 8);
        }
    }

    /// The value over the bytes so far.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// The identifiers of a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suffix {
    /// idVendor, or [`ANY`]: then the product does not count either.
    pub vendor: u16,
    /// idProduct of the device in **run-time** mode (appendix B says so, and dfu-util finds no device with the other), or
    /// [`ANY`].
    pub product: u16,
    /// bcdDevice of the firmware, for information only.
    pub device: u16,
}

/// Why the end of a file is no suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuffixError {
    /// Too short, or without the signature: an ordinary file.
    #[error("the file has no DFU suffix")]
    Absent,
    /// bLength below 16 or beyond the file.
    #[error("the DFU suffix gives its length as {0} bytes")]
    Length(u8),
    /// The file was changed or cut.
    #[error("the DFU suffix has checksum {stored:08x}, the file {computed:08x}")]
    Checksum {
        /// dwCRC.
        stored: u32,
        /// What the file's bytes give.
        computed: u32,
    },
}

impl Suffix {
    /// Does the suffix allow this device? `vendor` and `product` are the device's run-time identifiers.
    #[must_use]
    pub const fn matches(&self, vendor: u16, product: u16) -> bool {
        self.vendor == ANY || (self.vendor == vendor && (self.product == ANY || self.product == product))
    }

    /// The 16 bytes to put after a payload, given the checksum over all of it.
    #[must_use]
    pub fn to_bytes(&self, payload: Crc32) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..2].copy_from_slice(&self.device.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.product.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.vendor.to_le_bytes());
        bytes[6..8].copy_from_slice(&DFU_VERSION.to_le_bytes());
        bytes[8..11].copy_from_slice(&SIGNATURE);
        bytes[11] = LEN as u8;
        let mut crc = payload;
        crc.update(&bytes[..LEN - CRC_LEN]);
        bytes[12..16].copy_from_slice(&crc.value().to_le_bytes());
        bytes
    }

    /// Puts the suffix after a payload held in memory.
    pub fn append(&self, file: &mut Vec<u8>) {
        let mut crc = Crc32::new();
        crc.update(file);
        file.extend_from_slice(&self.to_bytes(crc));
    }

    /// Checks 16 bytes that follow a payload, given the checksum over all of it, as a stream reader does. A suffix longer than 16
    /// bytes cannot be told from payload here and is refused.
    ///
    /// # Errors
    /// See [`SuffixError`].
    pub fn verify(payload: Crc32, bytes: &[u8; LEN]) -> Result<Self, SuffixError> {
        let (suffix, length) = Self::fields(bytes)?;
        if usize::from(length) != LEN {
            return Err(SuffixError::Length(length));
        }
        suffix.checked(payload, bytes)
    }

    /// Checks the end of a whole file: the suffix, and how many bytes before it are payload.
    ///
    /// # Errors
    /// See [`SuffixError`]; for [`SuffixError::Absent`] the whole file is payload.
    pub fn parse(file: &[u8]) -> Result<(Self, usize), SuffixError> {
        let Some((before, tail)) = file.split_last_chunk::<LEN>() else {
            return Err(SuffixError::Absent);
        };
        let (suffix, length) = Self::fields(tail)?;
        let payload = match file.len().checked_sub(usize::from(length)) {
            // New fields go in front of the old, so a longer suffix still ends in these 16 bytes (appendix B).
            Some(payload) if usize::from(length) >= LEN => payload,
            Some(_) | None => return Err(SuffixError::Length(length)),
        };
        let mut crc = Crc32::new();
        crc.update(before);
        Ok((suffix.checked(crc, tail)?, payload))
    }

    /// The fields, and bLength, of 16 bytes that carry the signature.
    fn fields(bytes: &[u8; LEN]) -> Result<(Self, u8), SuffixError> {
        if bytes[8..11] != SIGNATURE {
            return Err(SuffixError::Absent);
        }
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Ok((Self { device: word(0), product: word(2), vendor: word(4) }, bytes[11]))
    }

    fn checked(self, before: Crc32, bytes: &[u8; LEN]) -> Result<Self, SuffixError> {
        let mut crc = before;
        crc.update(&bytes[..LEN - CRC_LEN]);
        let stored = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if stored == crc.value() {
            Ok(self)
        } else {
            Err(SuffixError::Checksum { stored, computed: crc.value() })
        }
    }
}
