//! An entry of a directory (FAT 6).

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

/// Attribute bits: a label, or a part of a long name; a folder.
const VOLUME_ID: u8 = 0x08;
const FOLDER: u8 = 0x10;

/// The names that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Firmware,
    Apply,
    Cancel,
}

/// An entry with one of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: Name,
    pub(super) is_folder: bool,
    /// The first cluster; 0 is none.
    pub(super) cluster: u16,
    /// Bytes.
    pub(super) size: u32,
}

impl Named {
    /// An entry of [`ENTRY`] bytes, if it is in use, and has one of these names.
    fn parse(entry: &[u8]) -> Option<Self> {
        let (name, rest) = entry.split_first_chunk::<11>()?;
        let rest: &[u8; 21] = rest.try_into().ok()?;
        if rest[0] & VOLUME_ID != 0 {
            return None;
        }
        // An entry that is free begins with 00h or E5h, so it has none of these.
        let mut name = *name;
        name.make_ascii_uppercase();
        let name = match &name {
            b"FIRMWAREBIN" => Name::Firmware,
            b"APPLY   CMD" => Name::Apply,
            b"CANCEL  CMD" => Name::Cancel,
            _ => return None,
        };
        Some(Self {
            name,
            is_folder: rest[0] & FOLDER != 0,
            cluster: u16::from_le_bytes([rest[15], rest[16]]),
            size: u32::from_le_bytes([rest[17], rest[18], rest[19], rest[20]]),
        })
    }

    /// Those in a block of a directory.
    pub(super) fn all(block: &[u8]) -> impl Iterator<Item = Self> {
        block.chunks_exact(ENTRY).filter_map(Self::parse)
    }
}
