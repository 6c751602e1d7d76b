//! The volume before anybody writes (spec, 2).

use alloc::vec::Vec;

use super::geometry::{Geometry, ROOT_BLOCKS};
use crate::{scsi::BLOCK, sparse::Base};

/// Bytes of a text at most.
pub const TEXT: usize = 16 * 1024;

pub(super) const LABEL: &[u8; 11] = b"BMCUPDATE  ";

/// The last cluster of a file.
const END: u16 = 0xffff;

/// Attributes (FAT 6).
const READ_ONLY: u8 = 0x01;
const VOLUME_ID: u8 = 0x08;

/// 1980-01-01 (FAT 6).
const DATE: u16 = 1 << 5 | 1;

/// Which of the files it is whose presence tells a script where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// `READY.TXT`: the volume waits for a package.
    Ready,
    /// `BUSY.TXT`: no session may begin.
    Busy,
    /// `PASS.TXT`: the last one was taken.
    Pass,
    /// `FAIL.TXT`: it was not.
    Fail,
}

/// What the files of the BMC hold; each is cut at [`TEXT`] bytes.
#[derive(Clone, Debug)]
pub struct Texts {
    /// `README.TXT`.
    pub readme: Vec<u8>,
    /// `STATUS.TXT`.
    pub status: Vec<u8>,
    /// Which marker there is.
    pub marker: Marker,
    /// What it holds.
    pub verdict: Vec<u8>,
}

/// A FAT16 volume of which nothing is stored but its texts.
#[derive(Debug)]
pub struct Image {
    geometry: Geometry,
    generation: u32,
    files: [File; 3],
    /// The first cluster behind all files.
    free: u16,
}

#[derive(Debug)]
struct File {
    name: [u8; 11],
    text: Vec<u8>,
    /// Its clusters: the first, and the one behind the last. None for an empty file.
    clusters: Option<(u16, u16)>,
}

impl Image {
    /// The volume of that generation.
    #[must_use]
    pub fn new(geometry: Geometry, generation: u32, texts: Texts) -> Self {
        let marker = match texts.marker {
            Marker::Ready => b"READY   TXT",
            Marker::Busy => b"BUSY    TXT",
            Marker::Pass => b"PASS    TXT",
            Marker::Fail => b"FAIL    TXT",
        };
        let mut next = 2;
        let mut file = |name: &[u8; 11], mut text: Vec<u8>| {
            text.truncate(TEXT);
            let first = next;
            next += text.len().div_ceil(geometry.cluster_bytes() as usize) as u16;
            File { name: *name, text, clusters: (next > first).then_some((first, next)) }
        };
        let files = [
            file(b"README  TXT", texts.readme),
            file(b"STATUS  TXT", texts.status),
            file(marker, texts.verdict),
        ];
        Self { geometry, generation, files, free: next }
    }

    /// Where everything is.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What tells this volume from all others.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The boot sector.
    pub(super) fn boot_sector(&self) -> [u8; BLOCK] {
        self.geometry.boot_sector(self.generation)
    }

    /// An entry of the FAT; 0, free, for those that there are not.
    pub(super) fn fat_entry(&self, cluster: u32) -> u16 {
        match cluster {
            0 => 0xfff8,
            1 => END,
            _ => match self.at(cluster) {
                Some((_, (_, behind))) if cluster + 1 < u32::from(behind) => cluster as u16 + 1,
                Some(_) => END,
                None => 0,
            },
        }
    }

    /// The file with this cluster.
    fn at(&self, cluster: u32) -> Option<(&File, (u16, u16))> {
        self.files.iter().find_map(|file| {
            let (first, behind) = file.clusters?;
            (u32::from(first)..u32::from(behind)).contains(&cluster).then_some((file, (first, behind)))
        })
    }

    /// An entry of the root directory.
    fn root_entry(&self, number: usize) -> [u8; 32] {
        let mut entry = [0; 32];
        if number == 0 {
            entry[..11].copy_from_slice(LABEL);
            entry[11] = VOLUME_ID;
        } else if let Some(file) = self.files.get(number - 1) {
            entry[..11].copy_from_slice(&file.name);
            entry[11] = READ_ONLY;
            let first = file.clusters.map_or(0, |(first, _)| first);
            entry[26..28].copy_from_slice(&first.to_le_bytes());
            entry[28..].copy_from_slice(&(file.text.len() as u32).to_le_bytes());
        } else {
            return entry;
        }
        // Made, opened, written.
        for at in [16, 18, 24] {
            entry[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
        }
        entry
    }
}

impl Base for Image {
    fn block(&self, lba: u64, block: &mut [u8]) {
        block.fill(0);
        let geometry = &self.geometry;
        let Ok(lba) = u32::try_from(lba) else { return };
        if lba == 0 {
            block.copy_from_slice(&self.boot_sector());
        } else if lba < geometry.reserved() {
            // Nothing.
        } else if lba < geometry.root() {
            let first = (lba - geometry.reserved()) % geometry.fat_blocks() * (BLOCK as u32 / 2);
            for (cluster, entry) in (first..u32::from(self.free)).zip(block.chunks_exact_mut(2)) {
                entry.copy_from_slice(&self.fat_entry(cluster).to_le_bytes());
            }
        } else if lba < geometry.root() + ROOT_BLOCKS {
            let first = (lba - geometry.root()) as usize * (BLOCK / 32);
            for (number, entry) in (first..).zip(block.chunks_exact_mut(32)) {
                entry.copy_from_slice(&self.root_entry(number));
            }
        } else if let Some((file, (first, _))) =
            self.at((lba - geometry.data()) / geometry.cluster_blocks() + 2)
        {
            let begins = geometry.block_of(first) as u32;
            let at = (lba - begins) as usize * BLOCK;
            let rest = file.text.get(at..).unwrap_or_default();
            let length = rest.len().min(BLOCK);
            block[..length].copy_from_slice(&rest[..length]);
        }
    }
}
