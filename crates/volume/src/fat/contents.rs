//! The package on the volume, by its blocks (spec, 6).

use alloc::vec::Vec;
use core::iter::FusedIterator;

use super::{geometry::Geometry, image::Image};
use crate::{scsi::BLOCK, sparse::Sealed};

/// Which clusters the package lies in, in the order of the file. Only the walk makes them.
#[derive(Debug)]
pub(super) struct Extents {
    runs: Vec<Run>,
    /// Clusters in all.
    clusters: u32,
}

/// Clusters that follow each other, up to where the next run begins in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Where it begins in the file, in clusters.
    index: u16,
    /// Its first cluster.
    first: u16,
}

impl Extents {
    /// None yet, with memory for so many clusters that do not follow each other: fewer than 2^16.
    pub(super) fn with_room(clusters: u32) -> Option<Self> {
        let mut runs = Vec::new();
        runs.try_reserve_exact(clusters as usize).ok()?;
        Some(Self { runs, clusters: 0 })
    }

    pub(super) fn push(&mut self, cluster: u16) {
        let index = self.clusters as u16;
        // The one that `cluster` would follow.
        let follows = |run: &Run| u32::from(run.first) + u32::from(index - run.index) == u32::from(cluster);
        if !self.runs.last().is_some_and(follows) {
            self.runs.push(Run { index, first: cluster });
        }
        self.clusters += 1;
    }

    /// Bytes that it has taken.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    /// The cluster of the volume at a place in the file, and how many follow each other from there on, itself included.
    pub(super) fn find(&self, index: u32) -> Option<(u16, u32)> {
        let behind = self.runs.partition_point(|run| u32::from(run.index) <= index);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let end = self.runs.get(behind).map_or(self.clusters, |next| next.index.into());
        let follow = end.checked_sub(index).filter(|follow| *follow > 0)?;
        let cluster = u32::from(run.first) + index - u32::from(run.index);
        Some((cluster as u16, follow))
    }
}

/// The package: the store that nobody can write to, and where in it the file is. What [`open`](super::open) makes.
#[derive(Debug)]
pub struct Contents {
    store: Sealed<Image>,
    geometry: Geometry,
    extents: Extents,
    size: u32,
}

impl Contents {
    pub(super) const fn new(store: Sealed<Image>, geometry: Geometry, extents: Extents, size: u32) -> Self {
        Self { store, geometry, extents, size }
    }

    /// Bytes of the package; at least 1.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// The bytes from one on, where they lie: as many as one page of the store has in order, at most 16 KiB. Empty at the end, and only there.
    #[must_use]
    pub fn slice(&self, offset: u32) -> &[u8] {
        self.slice_there(offset).unwrap_or_default()
    }

    fn slice_there(&self, offset: u32) -> Option<&[u8]> {
        let (lba, blocks) = self.place(offset)?;
        let bytes = self.store.written(lba, blocks).get(offset as usize % BLOCK..)?;
        let left = self.size.checked_sub(offset)? as usize;
        Some(&bytes[..bytes.len().min(left)])
    }

    /// The block with a byte of the file, and how many follow each other from there on.
    fn place(&self, offset: u32) -> Option<(u64, u64)> {
        let block = offset / BLOCK as u32;
        let (cluster, follow) = self.extents.find(block / self.geometry.cluster_blocks())?;
        let within = block % self.geometry.cluster_blocks();
        let blocks = follow * self.geometry.cluster_blocks() - within;
        Some((self.geometry.block_of(cluster) + u64::from(within), blocks.into()))
    }

    /// All of it, in order, in slices that are not empty.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut offset = 0;
        core::iter::from_fn(move || {
            let slice = self.slice(offset);
            offset += slice.len() as u32;
            (!slice.is_empty()).then_some(slice)
        })
    }

    /// Copies the bytes from one on, as many as there is room and file for, and says how many.
    pub fn read_at(&self, offset: u32, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let slice = self.slice(offset.saturating_add(done as u32));
            let length = slice.len().min(buffer.len() - done);
            if length == 0 {
                break;
            }
            buffer[done..done + length].copy_from_slice(&slice[..length]);
            done += length;
        }
        done
    }
}

impl IntoIterator for Contents {
    type Item = Vec<u8>;
    type IntoIter = Pieces;

    /// All of it, in order.
    fn into_iter(self) -> Pieces {
        Pieces { contents: self, offset: 0 }
    }
}

/// The bytes of a package, at most a [`PAGE`](crate::sparse::PAGE) at a time, none of them empty: pages of the store with their memory, so that
/// it is free again as they are used up. What shares a page with something else is copied.
#[derive(Debug)]
pub struct Pieces {
    contents: Contents,
    /// Whole blocks, up to the end.
    offset: u32,
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let left = self.contents.size.checked_sub(self.offset).filter(|left| *left > 0)?;
        let (lba, blocks) = self.contents.place(self.offset)?;
        let mut piece = self.contents.store.take(lba, blocks);
        piece.truncate(left as usize);
        self.offset += piece.len() as u32;
        Some(piece).filter(|piece| !piece.is_empty())
    }
}

impl FusedIterator for Pieces {}
