//! What a host sends, and how it looks on the disk.

use std::sync::OnceLock;

use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{GEOMETRY, SLOT},
    disk_host::{Disk, Runs, Sense, padded, runs},
    fat::{FIRMWARE, FREE, with_file},
    package::Package,
};

/// A package, and all that the tests make of it.
pub(crate) struct Sent {
    pub(crate) file: Vec<u8>,
    /// The slot that it is installed in.
    pub(crate) slot: Vec<u8>,
    raw: Runs,
    fat: Runs,
}

impl Sent {
    fn new(version: u16, length: usize) -> Self {
        let package = Package::new(version, length);
        let file = package.bytes();
        Self::of(&package, file)
    }

    /// That file, which is of that package, or was.
    pub(crate) fn of(package: &Package, file: Vec<u8>) -> Self {
        let raw = (0..).step_by(64).zip(padded(&file).chunks(64 * 512).map(Vec::from)).collect();
        Self { slot: package.slot(SLOT), raw, fat: runs(&with_file(FIRMWARE, &file)), file }
    }

    /// Copies it to the disk, in that profile.
    pub(crate) fn write(&self, disk: &mut Disk<MemoryHost>, fat: bool) -> Result<(), Sense> {
        self.runs(fat).iter().try_for_each(|(lba, blocks)| disk.write(*lba, blocks))
    }

    /// The same, but for one block of it.
    pub(crate) fn write_part(&self, disk: &mut Disk<MemoryHost>, fat: bool) -> Result<(), Sense> {
        // With a filesystem it is in the file's first clusters.
        let hole = if fat { GEOMETRY.data() + 20 * GEOMETRY.cluster_blocks() } else { 20 };
        self.runs(fat).iter().try_for_each(|(first, blocks)| {
            let lacks = hole.checked_sub(*first).map(|before| before as usize * 512);
            match lacks.filter(|before| *before < blocks.len()) {
                Some(before) => {
                    disk.write(*first, &blocks[..before])?;
                    disk.write(hole + 1, &blocks[before + 512..])
                }
                None => disk.write(*first, blocks),
            }
        })
    }

    const fn runs(&self, fat: bool) -> &Runs {
        if fat { &self.fat } else { &self.raw }
    }
}

/// What is on the way in each state.
pub(crate) fn package() -> &'static Sent {
    static PACKAGE: OnceLock<Sent> = OnceLock::new();
    PACKAGE.get_or_init(|| Sent::new(0x0215, 60_000))
}

/// The update behind it.
pub(crate) fn next() -> &'static Sent {
    static NEXT: OnceLock<Sent> = OnceLock::new();
    NEXT.get_or_init(|| Sent::new(0x0216, 20_000))
}

/// Writes a file that is no package, under another name.
pub(crate) fn write_other(disk: &mut Disk<MemoryHost>) -> Result<(), Sense> {
    static OTHER: OnceLock<Runs> = OnceLock::new();
    let other = OTHER.get_or_init(|| runs(&with_file(b"OTHER   BIN", &[7; 5000])));
    other.iter().try_for_each(|(lba, blocks)| disk.write(*lba, blocks))
}

/// Writes a name into the root directory, as it is on the disk.
pub(crate) fn name(disk: &mut Disk<MemoryHost>, entry: u32, name: &[u8; 11]) -> Result<(), Sense> {
    let mut block = disk.read(GEOMETRY.root(), 1)?;
    let entry = &mut block[entry as usize * 32..][..32];
    entry[..11].copy_from_slice(name);
    entry[11] = 0x20;
    disk.write(GEOMETRY.root(), &block)
}

/// Makes the name of the package appear.
pub(crate) fn name_firmware(disk: &mut Disk<MemoryHost>) -> Result<(), Sense> {
    name(disk, FREE, FIRMWARE)
}
