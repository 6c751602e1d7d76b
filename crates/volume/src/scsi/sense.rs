//! Sense data (SPC 4.5).

/// Why a command failed: sense key, additional sense code and qualifier, and which byte of the command or its parameters is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// SENSE KEY.
    pub key: u8,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
    /// FIELD POINTER, with SKSV.
    pub field: Option<Field>,
}

/// Where the fault is (SPC 4.5.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// This byte of the CDB.
    Command(u16),
    /// This byte of the parameter list.
    Parameter(u16),
}

/// Bytes of sense data in fixed format.
pub const FIXED_LENGTH: usize = 18;

impl Sense {
    /// Nothing is wrong.
    pub const NONE: Self = Self::new(0, 0, 0);
    /// MEDIUM NOT PRESENT.
    pub const NO_MEDIUM: Self = Self::new(0x02, 0x3a, 0);
    /// WRITE ERROR.
    pub const WRITE_ERROR: Self = Self::new(0x03, 0x0c, 0);
    /// UNRECOVERED READ ERROR.
    pub const READ_ERROR: Self = Self::new(0x03, 0x11, 0);
    /// PARAMETER LIST LENGTH ERROR.
    pub const PARAMETER_LENGTH: Self = Self::new(0x05, 0x1a, 0);
    /// INVALID COMMAND OPERATION CODE.
    pub const NO_SUCH_COMMAND: Self = Self::new(0x05, 0x20, 0);
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE.
    pub const OUT_OF_RANGE: Self = Self::new(0x05, 0x21, 0);
    /// SAVING PARAMETERS NOT SUPPORTED.
    pub const NOT_SAVED: Self = Self::new(0x05, 0x39, 0);
    /// MEDIUM REMOVAL PREVENTED.
    pub const PREVENTED: Self = Self::new(0x05, 0x53, 0x02);
    /// NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED.
    pub const CHANGED: Self = Self::new(0x06, 0x28, 0);
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
    pub const RESET: Self = Self::new(0x06, 0x29, 0);
    /// WRITE PROTECTED.
    pub const WRITE_PROTECTED: Self = Self::new(0x07, 0x27, 0);
    /// LOGICAL UNIT SOFTWARE WRITE PROTECTED, by the Control mode page.
    pub const SOFTWARE_PROTECTED: Self = Self::new(0x07, 0x27, 0x02);
    /// SPACE ALLOCATION FAILED WRITE PROTECT.
    pub const NO_SPACE: Self = Self::new(0x07, 0x27, 0x07);
    /// DATA PHASE ERROR: the host ended its data too early.
    pub const DATA_PHASE: Self = Self::new(0x0b, 0x4b, 0);
    /// MISCOMPARE DURING VERIFY OPERATION.
    pub const MISCOMPARE: Self = Self::new(0x0e, 0x1d, 0);

    const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, field: None }
    }

    /// INVALID FIELD IN CDB: this byte.
    #[must_use]
    pub const fn invalid_field(byte: u16) -> Self {
        Self { field: Some(Field::Command(byte)), ..Self::new(0x05, 0x24, 0) }
    }

    /// INVALID FIELD IN PARAMETER LIST: this byte.
    #[must_use]
    pub const fn invalid_parameter(byte: u16) -> Self {
        Self { field: Some(Field::Parameter(byte)), ..Self::new(0x05, 0x26, 0) }
    }

    /// Fixed format, current error (SPC 4.5.3).
    #[must_use]
    pub fn fixed(&self) -> [u8; FIXED_LENGTH] {
        let mut bytes = [0; FIXED_LENGTH];
        bytes[0] = 0x70;
        bytes[2] = self.key;
        bytes[7] = (FIXED_LENGTH - 8) as u8;
        (bytes[12], bytes[13]) = (self.asc, self.ascq);
        if let Some(field) = self.field {
            bytes[15..].copy_from_slice(&field.to_bytes());
        }
        bytes
    }

    /// Descriptor format, current error (SPC 4.5.2): the first so many of these bytes.
    #[must_use]
    pub fn descriptor(&self) -> ([u8; 16], usize) {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[0x72, self.key, self.asc, self.ascq]);
        let Some(field) = self.field else { return (bytes, 8) };
        bytes[7] = 8;
        (bytes[8], bytes[9]) = (0x02, 0x06);
        bytes[12..15].copy_from_slice(&field.to_bytes());
        (bytes, 16)
    }
}

impl Field {
    /// SKSV, C/D, no bit pointer, FIELD POINTER.
    const fn to_bytes(self) -> [u8; 3] {
        let (first, byte) = match self {
            Self::Command(byte) => (0xc0, byte),
            Self::Parameter(byte) => (0x80, byte),
        };
        let byte = byte.to_be_bytes();
        [first, byte[0], byte[1]]
    }
}
