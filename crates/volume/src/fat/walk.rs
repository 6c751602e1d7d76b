//! The one look at the filesystem (spec, 5).

use alloc::boxed::Box;

use thiserror::Error;

use super::{
    contents::{Contents, Extents},
    entry::{Name, Named},
    geometry::{Geometry, ROOT_BLOCKS},
    image::Image,
};
use crate::{scsi::BLOCK, sparse::Sealed};

/// From this entry on the chain has ended (FAT 4).
const END: u16 = 0xfff8;

/// What of the boot sector says how large everything is, and that it is one.
const GEOMETRY: [core::ops::Range<usize>; 2] = [11..36, 510..512];

/// Why there is no package to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The host has made a filesystem of its own.
    #[error("the volume was formatted anew, or partitioned")]
    Reformatted,
    /// There is no `FIRMWARE.BIN` in the root directory, or it is a folder.
    #[error("there is no file FIRMWARE.BIN")]
    NoFile,
    /// There are two.
    #[error("there is more than one FIRMWARE.BIN")]
    Duplicate,
    /// More than the volume was made for.
    #[error("FIRMWARE.BIN has {size} bytes, of at most {max}")]
    TooLarge {
        /// Bytes that the directory says it has.
        size: u32,
        /// Bytes of the largest package.
        max: u32,
    },
    /// The host has not written all of it.
    #[error("FIRMWARE.BIN is not there as a whole: {0}")]
    Incomplete(Missing),
    /// What no host writes that has the file in order.
    #[error("the clusters of FIRMWARE.BIN are in disorder: {0}")]
    Corrupt(Corrupt),
    /// The BMC has no memory for the table of extents.
    #[error("no memory")]
    NoMemory,
}

/// A volume without a package that can be looked at. What is written on it is the caller's, who may have no time to drop it.
#[derive(Debug)]
pub struct Unopened {
    /// Why.
    pub refused: Refused,
    /// What was written.
    pub store: Sealed<Image>,
}

/// What the host has not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Missing {
    /// Any byte.
    #[error("it is empty")]
    Bytes,
    /// A block with bytes of the file.
    #[error("block {lba} was not written")]
    Block {
        /// Which one, counted from the begin of the volume.
        lba: u64,
    },
    /// The rest of the chain of clusters, from this one of the file on.
    #[error("its chain has ended before cluster {index} of the file")]
    Chain {
        /// 0 is the first.
        index: u32,
    },
    /// A FAT: the entry of this cluster is another one in the second.
    #[error("the FATs differ at cluster {cluster}")]
    Copy {
        /// As the volume counts them.
        cluster: u16,
    },
}

/// What is wrong with the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Corrupt {
    /// It leaves the volume.
    #[error("there is no cluster {cluster}")]
    Range {
        /// What it should go on with.
        cluster: u16,
    },
    /// It goes on behind the end of the file, or in a circle.
    #[error("its chain does not end")]
    Endless,
}

impl Refused {
    /// The word for it in `DETAIL` (spec, 8).
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Reformatted => Some("reformatted"),
            Self::Duplicate => Some("duplicate"),
            Self::Corrupt(_) => Some("corrupt"),
            Self::Incomplete(Missing::Bytes) => Some("empty"),
            Self::Incomplete(Missing::Block { .. }) => Some("blocks"),
            Self::Incomplete(Missing::Chain { .. }) => Some("chain"),
            Self::Incomplete(Missing::Copy { .. }) => Some("copies"),
            Self::NoFile | Self::TooLarge { .. } | Self::NoMemory => None,
        }
    }
}

/// Finds the package on a volume that its host can write to no more.
///
/// # Errors
/// See [`Refused`].
pub fn open(store: Sealed<Image>) -> Result<Contents, Box<Unopened>> {
    let geometry = *store.base().geometry();
    match walk(&geometry, &store) {
        Ok((extents, size)) => Ok(Contents::new(store, geometry, extents, size)),
        Err(refused) => Err(Box::new(Unopened { refused, store })),
    }
}

/// What the walk looks at. Each method is one step: tests count them.
pub(super) trait Look {
    /// A block with its bytes, whoever wrote them.
    fn block(&self, lba: u64) -> [u8; BLOCK];

    /// Whether the host has written a boot sector of another volume.
    fn is_reformatted(&self) -> bool;

    /// An entry of a copy of the FAT, for a cluster that there is.
    fn fat_entry(&self, copy: u32, cluster: u16) -> u16;

    /// How many of the blocks from this one on were written by the host: so many at most, and maybe not all of those that were; 0 only if
    /// this one was not.
    fn written(&self, lba: u64, blocks: u64) -> u64;
}

impl Look for Sealed<Image> {
    fn block(&self, lba: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        // Fails beyond the volume only, where the geometry has no block.
        let _ = self.read(lba, &mut block);
        block
    }

    fn is_reformatted(&self) -> bool {
        let (ours, written) = (self.base().boot_sector(), self.written(0, 1));
        !written.is_empty() && GEOMETRY.into_iter().any(|range| ours[range.clone()] != written[range])
    }

    fn fat_entry(&self, copy: u32, cluster: u16) -> u16 {
        let geometry = self.base().geometry();
        let (block, at) = (u32::from(cluster) * 2 / BLOCK as u32, usize::from(cluster) * 2 % BLOCK);
        let lba = geometry.reserved() + copy * geometry.fat_blocks() + block;
        match self.written(lba.into(), 1) {
            [] => self.base().fat_entry(cluster.into()),
            written => u16::from_le_bytes([written[at], written[at + 1]]),
        }
    }

    fn written(&self, lba: u64, blocks: u64) -> u64 {
        (self.written(lba, blocks).len() / BLOCK) as u64
    }
}

pub(super) fn walk(geometry: &Geometry, look: &impl Look) -> Result<(Extents, u32), Refused> {
    if look.is_reformatted() {
        return Err(Refused::Reformatted);
    }
    let file = find(geometry, look)?;
    if file.size == 0 {
        return Err(Refused::Incomplete(Missing::Bytes));
    }
    if file.size > geometry.max_size() {
        return Err(Refused::TooLarge { size: file.size, max: geometry.max_size() });
    }
    Ok((chain(geometry, look, &file)?, file.size))
}

/// The one entry of the root directory.
fn find(geometry: &Geometry, look: &impl Look) -> Result<Named, Refused> {
    let mut only = None;
    for number in 0..ROOT_BLOCKS {
        let block = look.block((geometry.root() + number).into());
        for found in Named::all(&block).filter(|found| found.name == Name::Firmware) {
            if only.replace(found).is_some() {
                return Err(Refused::Duplicate);
            }
        }
    }
    only.filter(|found| !found.is_folder).ok_or(Refused::NoFile)
}

/// Follows the chain for as many clusters as the size asks for.
///
/// No cluster can be in it twice: the end is where it has to be, and what comes to a cluster again never comes to an end.
fn chain(geometry: &Geometry, look: &impl Look, file: &Named) -> Result<Extents, Refused> {
    let mut extents = Extents::with_room(geometry.most_clusters()).ok_or(Refused::NoMemory)?;
    let clusters = file.size.div_ceil(geometry.cluster_bytes());
    let mut blocks_left = file.size.div_ceil(BLOCK as u32);
    let mut cluster = file.cluster;
    for index in 0..clusters {
        match cluster {
            // None, or free; or the end.
            0 | END.. => return Err(Refused::Incomplete(Missing::Chain { index })),
            _ if !geometry.has(cluster) => return Err(Refused::Corrupt(Corrupt::Range { cluster })),
            _ => {}
        }
        let blocks = blocks_left.min(geometry.cluster_blocks());
        all_written(look, geometry.block_of(cluster), blocks.into())?;
        blocks_left -= blocks;
        let next = look.fat_entry(0, cluster);
        if look.fat_entry(1, cluster) != next {
            return Err(Refused::Incomplete(Missing::Copy { cluster }));
        }
        extents.push(cluster);
        cluster = next;
    }
    match cluster {
        END.. => Ok(extents),
        0 => Err(Refused::Incomplete(Missing::Chain { index: clusters })),
        _ => Err(Refused::Corrupt(Corrupt::Endless)),
    }
}

fn all_written(look: &impl Look, mut lba: u64, mut blocks: u64) -> Result<(), Refused> {
    while blocks > 0 {
        match look.written(lba, blocks) {
            0 => return Err(Refused::Incomplete(Missing::Block { lba })),
            there => (lba, blocks) = (lba + there, blocks - there),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
