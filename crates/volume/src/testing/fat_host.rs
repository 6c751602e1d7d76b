//! A host that writes a filesystem by hand, right or wrong.

use alloc::{vec, vec::Vec};

use crate::{
    fat::{Contents, Geometry, Image, Marker, Refused, Texts, open},
    scsi::BLOCK,
    sparse::Sparse,
};

/// A volume, and what its host does to the blocks of it, one at a time.
#[derive(Debug)]
pub struct FatHost {
    /// What it has written.
    pub store: Sparse<Image>,
    geometry: Geometry,
}

impl FatHost {
    /// A volume for packages of at most so many bytes, at most [`MAX_PACKAGE`](crate::fat::MAX_PACKAGE), with room for all that is written to it.
    #[must_use]
    pub fn new(max_size: u32) -> Option<Self> {
        let geometry = Geometry::new(max_size)?;
        let text = |text: &str| Vec::from(text.as_bytes());
        let texts = Texts {
            readme: text("Copy a package to FIRMWARE.BIN.\r\n"),
            status: text("SPEC=1\r\nSTATE=READY\r\n"),
            marker: Marker::Ready,
            verdict: text("SPEC=1\r\n"),
        };
        let image = Image::new(geometry, 1, texts);
        let store = Sparse::new(image, geometry.blocks().into(), usize::MAX).ok()?;
        Some(Self { store, geometry })
    }

    /// Where everything is.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Changes bytes of a block, and writes it.
    pub fn change(&mut self, lba: u32, at: usize, bytes: &[u8]) {
        let mut block = [0; BLOCK];
        let read = self.store.read(lba.into(), &mut block);
        block[at..at + bytes.len()].copy_from_slice(bytes);
        let written = self.store.write(lba.into(), &block);
        assert_eq!(read.and(written), Ok(()), "a block that is not there");
    }

    /// An entry of the root directory: the block with it.
    pub fn entry(&mut self, number: u32, name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> u32 {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[26..28].copy_from_slice(&cluster.to_le_bytes());
        entry[28..].copy_from_slice(&size.to_le_bytes());
        let lba = self.geometry.root() + number / 16;
        self.change(lba, number as usize % 16 * 32, &entry);
        lba
    }

    /// An entry of one of the FATs.
    pub fn link_in(&mut self, copy: u32, cluster: u16, next: u16) {
        let at = usize::from(cluster) * 2;
        let lba = self.geometry.reserved() + copy * self.geometry.fat_blocks() + (at / BLOCK) as u32;
        self.change(lba, at % BLOCK, &next.to_le_bytes());
    }

    /// An entry of both.
    pub fn link(&mut self, cluster: u16, next: u16) {
        self.link_in(0, cluster, next);
        self.link_in(1, cluster, next);
    }

    /// A chain of these clusters, with an end.
    pub fn chain(&mut self, clusters: &[u16]) {
        let next = clusters.iter().skip(1).chain(&[0xffff]);
        clusters.iter().zip(next).for_each(|(cluster, next)| self.link(*cluster, *next));
    }

    /// Writes a file to these clusters, in whole blocks, and none behind its end.
    pub fn fill(&mut self, clusters: &[u16], bytes: &[u8]) {
        let cluster_bytes = self.geometry.cluster_blocks() as usize * BLOCK;
        for (cluster, bytes) in clusters.iter().zip(bytes.chunks(cluster_bytes)) {
            let lba = self.geometry.data() + (u32::from(*cluster) - 2) * self.geometry.cluster_blocks();
            let mut blocks = vec![0; bytes.len().next_multiple_of(BLOCK)];
            blocks[..bytes.len()].copy_from_slice(bytes);
            assert_eq!(self.store.write(lba.into(), &blocks), Ok(()), "a cluster that is not there");
        }
    }

    /// A file with its entry, chain and bytes.
    pub fn file(&mut self, number: u32, name: &[u8; 11], clusters: &[u16], bytes: &[u8]) {
        self.fill(clusters, bytes);
        self.chain(clusters);
        self.entry(number, name, 0x20, clusters.first().copied().unwrap_or_default(), bytes.len() as u32);
    }

    /// The end of all writing, and the walk.
    ///
    /// # Errors
    /// What the walk refuses.
    pub fn open(self) -> Result<Contents, Refused> {
        open(self.store.seal()).map_err(|unopened| unopened.refused)
    }
}
