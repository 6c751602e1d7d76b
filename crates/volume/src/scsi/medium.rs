//! What the disk reads from and writes to.

use super::sense::Sense;

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// What there is in the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No medium.
    Absent,
    /// A medium.
    Present {
        /// Blocks of 512 bytes; at least 1.
        blocks: u64,
        /// Nothing may be written.
        write_protected: bool,
        /// Another number for each medium that is inserted, and for the same one when it is inserted again. With another number of blocks it
        /// is another medium in any case.
        insertion: u32,
    },
}

/// Why blocks could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The medium has gone.
    Absent,
    /// Nothing may be written any more.
    WriteProtected,
    /// There is no room for what is written.
    NoSpace,
    /// It cannot be read.
    Unreadable,
    /// It cannot be written.
    Unwritable,
}

impl Fault {
    /// What the host is told.
    #[must_use]
    pub const fn sense(self) -> Sense {
        match self {
            Self::Absent => Sense::NO_MEDIUM,
            Self::WriteProtected => Sense::WRITE_PROTECTED,
            Self::NoSpace => Sense::NO_SPACE,
            Self::Unreadable => Sense::READ_ERROR,
            Self::Unwritable => Sense::WRITE_ERROR,
        }
    }
}

/// What the host has done, when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ejected the medium (START STOP UNIT, LoEj set, Start clear, no power condition). The disk shows no medium from here on, until there is
    /// another insertion.
    Ejected,
    /// It stopped the unit (Start and LoEj clear): hosts do so before they cut the power. Nothing changes.
    Stopped,
    /// It started the unit. Nothing changes.
    Started,
    /// It forbade the removal, which was allowed.
    Prevented,
    /// It allowed the removal, or a reset did, which was forbidden.
    Allowed,
    /// It wrote; a WRITE of many blocks makes several of these.
    Written {
        /// The first block.
        lba: u64,
        /// How many; at least 1.
        blocks: u64,
    },
    /// It asked for everything to be on the medium (SYNCHRONIZE CACHE).
    Synchronized,
}

/// The medium, or none.
///
/// Calls come from the data phase of a command and have to return at once, so what takes long belongs into a worker behind it. No call asks for a
/// block that is not there by the last [`state`](Self::state).
pub trait Medium {
    /// What there is now. May change between any two calls.
    fn state(&self) -> State;

    /// Reads whole blocks.
    ///
    /// # Errors
    /// The command ends with what the fault says.
    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault>;

    /// Writes whole blocks.
    ///
    /// # Errors
    /// The command ends with what the fault says. None of these blocks is written.
    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault>;

    /// Makes what was written last.
    ///
    /// # Errors
    /// The command ends with what the fault says.
    fn flush(&mut self) -> Result<(), Fault>;

    /// Hears of what the host has done.
    fn notice(&mut self, event: Event);
}
