//! How large everything is (spec, 2).

use crate::scsi::BLOCK;

/// Bytes of the largest package that a volume can be made for: 1021 MiB.
pub const MAX_PACKAGE: u32 = 1021 << 20;

/// Blocks of the root directory.
pub const ROOT_BLOCKS: u32 = 32;

/// Data begins at a multiple of so many blocks, and has a multiple of so many.
const ALIGNED: u32 = 128;

/// Blocks of the data area that are there besides two packages.
const SPARE: u32 = 4 << 11;

/// Blocks of the data area at least.
const AT_LEAST: u32 = 40 << 11;

/// Fewer clusters than that: drivers are wrong by up to 16 about where FAT32 begins.
const CLUSTERS: u32 = 65_493;

/// Two copies.
pub(super) const FATS: u32 = 2;

/// Where the parts of a volume are. It is made for the largest package that it is to hold, and by nothing that a host writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    max_size: u32,
    cluster_blocks: u32,
    clusters: u32,
    fat_blocks: u32,
    reserved: u32,
}

impl Geometry {
    /// For packages of at most so many bytes; none for 0, and for more than [`MAX_PACKAGE`].
    #[must_use]
    pub const fn new(max_size: u32) -> Option<Self> {
        if max_size == 0 || max_size > MAX_PACKAGE {
            return None;
        }
        let wanted = (max_size as u64 * 2).div_ceil(BLOCK as u64) as u32 + SPARE;
        let data = if wanted < AT_LEAST { AT_LEAST } else { wanted.next_multiple_of(ALIGNED) };
        let mut cluster_blocks = 8;
        while data / cluster_blocks >= CLUSTERS {
            cluster_blocks *= 2;
        }
        let clusters = data / cluster_blocks;
        let fat_blocks = ((clusters + 2) * 2).div_ceil(BLOCK as u32);
        let behind_reserved = FATS * fat_blocks + ROOT_BLOCKS;
        let reserved = (1 + behind_reserved).next_multiple_of(ALIGNED) - behind_reserved;
        Some(Self { max_size, cluster_blocks, clusters, fat_blocks, reserved })
    }

    /// Bytes of the largest package.
    #[must_use]
    pub const fn max_size(&self) -> u32 {
        self.max_size
    }

    /// Blocks of a cluster: 8, 16, 32 or 64.
    #[must_use]
    pub const fn cluster_blocks(&self) -> u32 {
        self.cluster_blocks
    }

    /// How many clusters there are; the first is number 2.
    #[must_use]
    pub const fn clusters(&self) -> u32 {
        self.clusters
    }

    /// Blocks of one copy of the FAT.
    #[must_use]
    pub const fn fat_blocks(&self) -> u32 {
        self.fat_blocks
    }

    /// Where the first FAT begins: blocks of the boot sector and behind it.
    #[must_use]
    pub const fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Where the root directory begins.
    #[must_use]
    pub const fn root(&self) -> u32 {
        self.reserved + FATS * self.fat_blocks
    }

    /// Where the first cluster begins.
    #[must_use]
    pub const fn data(&self) -> u32 {
        self.root() + ROOT_BLOCKS
    }

    /// All blocks.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.data() + self.clusters * self.cluster_blocks
    }

    /// Bytes of a cluster.
    pub(super) const fn cluster_bytes(&self) -> u32 {
        self.cluster_blocks * BLOCK as u32
    }

    /// Clusters of the largest package.
    pub(super) const fn most_clusters(&self) -> u32 {
        self.max_size.div_ceil(self.cluster_bytes())
    }

    /// Whether there is a cluster of that number.
    pub(super) const fn has(&self, cluster: u16) -> bool {
        cluster >= 2 && (cluster as u32) < self.clusters + 2
    }

    /// Where a cluster begins that there is.
    pub(super) const fn block_of(&self, cluster: u16) -> u64 {
        self.data() as u64 + (cluster as u64 - 2) * self.cluster_blocks as u64
    }

    /// The boot sector (spec, 2.1).
    #[must_use]
    pub fn boot_sector(&self, volume_id: u32) -> [u8; BLOCK] {
        let mut sector = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\xeb\x3c\x90MSWIN4.1");
        put(11, &(BLOCK as u16).to_le_bytes());
        put(13, &[self.cluster_blocks as u8]);
        put(14, &(self.reserved as u16).to_le_bytes());
        put(16, &[FATS as u8]);
        put(17, &(ROOT_BLOCKS as u16 * 16).to_le_bytes());
        put(21, &[0xf8]);
        put(22, &(self.fat_blocks as u16).to_le_bytes());
        put(24, &32_u16.to_le_bytes());
        put(26, &64_u16.to_le_bytes());
        put(32, &self.blocks().to_le_bytes());
        put(36, &[0x80, 0, 0x29]);
        put(39, &volume_id.to_le_bytes());
        put(43, super::image::LABEL);
        put(54, b"FAT16   ");
        // To the BIOS: try the next device. Then halt, for ever.
        put(62, &[0xcd, 0x18, 0xf4, 0xeb, 0xfd]);
        put(510, &[0x55, 0xaa]);
        sector
    }
}
