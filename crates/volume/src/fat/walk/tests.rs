//! How many steps the worst volumes cost.

use alloc::{vec, vec::Vec};
use core::cell::Cell;

use super::*;
use crate::fat::MAX_PACKAGE;

/// A volume that is wholly its host's: any FAT, and one entry in the root directory.
struct Hostile {
    geometry: Geometry,
    fat: Vec<u16>,
    /// Of this cluster the second FAT has another entry.
    differs: Option<u16>,
    root: [u8; BLOCK],
    /// Of as many blocks as are asked for this many are said to be written at a time.
    at_once: u64,
    steps: Cell<u64>,
}

impl Hostile {
    fn new(max_size: u32, first: u16, size: u32) -> Self {
        let geometry = Geometry::new(max_size).unwrap();
        let mut root = [0; BLOCK];
        root[..11].copy_from_slice(b"FIRMWAREBIN");
        root[26..28].copy_from_slice(&first.to_le_bytes());
        root[28..32].copy_from_slice(&size.to_le_bytes());
        let fat = vec![0; geometry.clusters() as usize + 2];
        Self { geometry, fat, differs: None, root, at_once: 1, steps: Cell::new(0) }
    }

    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    /// A file of these clusters.
    fn with_chain(max_size: u32, chain: &[u16]) -> Self {
        let mut volume = Self::new(max_size, chain[0], max_size);
        let next = chain.iter().skip(1).chain(&[0xffff]);
        chain.iter().zip(next).for_each(|(cluster, next)| volume.fat[usize::from(*cluster)] = *next);
        volume
    }

    /// What is found, in no more steps than the size asks for.
    fn walk(&self) -> Result<(Extents, u32), Refused> {
        let walked = walk(&self.geometry, self);
        let size = u32::from_le_bytes([self.root[28], self.root[29], self.root[30], self.root[31]]);
        let size = Some(size).filter(|size| *size <= self.geometry.max_size()).unwrap_or_default();
        let clusters = u64::from(size.div_ceil(self.geometry.cluster_bytes()));
        let most = 1 + u64::from(ROOT_BLOCKS) + clusters * (2 + u64::from(self.geometry.cluster_blocks()));
        assert!(self.steps.get() <= most, "{} steps, of {most}", self.steps.get());
        walked
    }
}

impl Look for Hostile {
    fn block(&self, lba: u64) -> [u8; BLOCK] {
        self.step();
        if lba == u64::from(self.geometry.root()) { self.root } else { [0; BLOCK] }
    }

    fn is_reformatted(&self) -> bool {
        self.step();
        false
    }

    fn fat_entry(&self, copy: u32, cluster: u16) -> u16 {
        self.step();
        let differs = copy == 1 && self.differs == Some(cluster);
        self.fat[usize::from(cluster)] ^ u16::from(differs)
    }

    fn written(&self, lba: u64, blocks: u64) -> u64 {
        self.step();
        assert!(lba >= self.geometry.data().into() && lba + blocks <= self.geometry.blocks().into());
        blocks.min(self.at_once)
    }
}

const MAX: u32 = 64 << 20;

/// Clusters of the largest package, in the shapes that cost most.
fn shapes(geometry: &Geometry) -> [(&'static str, Vec<u16>); 4] {
    let (count, last) = (geometry.most_clusters() as u16, geometry.clusters() as u16 + 1);
    // Each in another page of the store than the one before.
    let apart = (0..count).map(|n| 2 + n / 2 + n % 2 * (last / 2)).collect();
    let mut scattered: Vec<u16> = (2..2 + count).collect();
    scattered.sort_by_key(|cluster| cluster.wrapping_mul(40_503));
    [
        ("in order", (2..2 + count).collect()),
        ("backwards, from the last one of the volume", (last - count + 1..=last).rev().collect()),
        ("alternating pages", apart),
        ("scattered", scattered),
    ]
}

const SIZES: [u32; 4] = [1 << 20, MAX, 512 << 20, MAX_PACKAGE];

#[test]
fn the_largest_file_in_any_shape_takes_the_memory_that_was_made_before() {
    for max_size in SIZES {
        let geometry = Geometry::new(max_size).unwrap();
        let room = Extents::with_room(geometry.most_clusters()).unwrap().memory();
        for (shape, chain) in shapes(&geometry) {
            for at_once in [1, 3, u64::MAX] {
                let volume = Hostile { at_once, ..Hostile::with_chain(max_size, &chain) };
                let (extents, size) = volume.walk().unwrap();
                assert_eq!((size, extents.memory()), (max_size, room), "{shape}");
                let found = (0..).map_while(|index| extents.find(index)).map(|(cluster, _)| cluster);
                assert!(found.eq(chain.iter().copied()), "{shape}");
                let follow = if shape == "in order" { chain.len() as u32 } else { 1 };
                assert_eq!(extents.find(0), Some((chain[0], follow)), "{shape}");
            }
        }
    }
}

#[test]
fn no_volume_makes_a_larger_table() {
    for max_size in (1..=MAX_PACKAGE).step_by(1_000_003).chain(SIZES) {
        let geometry = Geometry::new(max_size).unwrap();
        let memory = Extents::with_room(geometry.most_clusters()).unwrap().memory();
        assert!(memory <= 4 * geometry.most_clusters() as usize && memory <= 128 << 10, "{max_size}");
    }
}

#[test]
fn fats_that_differ_at_the_last_cluster_are_found_there() {
    for max_size in SIZES {
        for (shape, chain) in shapes(&Geometry::new(max_size).unwrap()) {
            let mut volume = Hostile::with_chain(max_size, &chain);
            let last = chain[chain.len() - 1];
            volume.differs = Some(last);
            let refused = Refused::Incomplete(Missing::Copy { cluster: last });
            assert_eq!(volume.walk().unwrap_err(), refused, "{shape}");
        }
    }
}

/// The file of which the chain is goes on, in its middle, on the chain of another one, and with it.
#[test]
fn chains_that_cross_end_where_the_other_one_ends() {
    for max_size in SIZES {
        let geometry = Geometry::new(max_size).unwrap();
        let count = geometry.most_clusters() as u16;
        for (less, more) in [(0, 0), (1, 0), (0, 1)] {
            let mut chain: Vec<u16> = (2..2 + count).collect();
            let half = usize::from(count) / 2;
            let other = 2 + count + 5;
            // It ends one cluster early, or late, or as it should.
            let rest = chain.len() - half - less + more;
            chain.splice(half.., (other..).take(rest));
            let mut volume = Hostile::with_chain(max_size, &chain);
            // The begin of the other one.
            volume.fat[usize::from(other) - 1] = other;
            match volume.walk() {
                Ok((extents, _)) => {
                    assert_eq!((less, more), (0, 0));
                    assert_eq!(extents.find(half as u32), Some((other, rest as u32)));
                }
                Err(Refused::Incomplete(Missing::Chain { index })) => {
                    assert_eq!((less, index), (1, u32::from(count) - 1));
                }
                Err(refused) => assert_eq!((more, refused), (1, Refused::Corrupt(Corrupt::Endless))),
            }
        }
    }
}

/// To the first cluster, to one in the middle, to the last.
#[test]
fn circles_end_with_the_size() {
    for (max_size, length, size) in [
        (MAX, 1, MAX),
        (MAX, 2, MAX),
        (MAX, 777, MAX),
        (MAX, 1000, 1),
        (MAX, 5, 5 * 4096),
        (MAX_PACKAGE, 1, MAX_PACKAGE),
        (MAX_PACKAGE, 32_671, MAX_PACKAGE),
        (MAX_PACKAGE, 32_672, MAX_PACKAGE),
        (MAX_PACKAGE, 65_472, MAX_PACKAGE),
    ] {
        for back in [2, length / 2 + 2, length + 1] {
            let mut volume = Hostile::new(max_size, 2, size);
            (2..2 + length).for_each(|cluster: u16| volume.fat[usize::from(cluster)] = cluster + 1);
            volume.fat[usize::from(length) + 1] = back;
            assert_eq!(volume.walk().unwrap_err(), Refused::Corrupt(Corrupt::Endless));
        }
    }
}

#[test]
fn nothing_but_clusters_that_there_are_is_looked_at() {
    let volume = Hostile::new(MAX, 2, MAX);
    let behind = volume.geometry.clusters() as u16 + 2;
    for cluster in [1, behind, behind + 1, 0xfff0, 0xfff7] {
        let refused = Err(Refused::Corrupt(Corrupt::Range { cluster }));
        assert_eq!(Hostile::new(MAX, cluster, MAX).walk().map(|_| ()), refused);
        let mut volume = Hostile::new(MAX, 2, MAX);
        volume.fat[2] = cluster;
        assert_eq!(volume.walk().map(|_| ()), refused);
    }
    for end in [0, 0xfff8, 0xffff] {
        let refused = |index| Err(Refused::Incomplete(Missing::Chain { index }));
        assert_eq!(Hostile::new(MAX, end, MAX).walk().map(|_| ()), refused(0));
        let mut volume = Hostile::new(MAX, 2, MAX);
        volume.fat[2] = end;
        assert_eq!(volume.walk().map(|_| ()), refused(1));
    }
}

#[test]
fn a_size_beyond_the_largest_costs_nothing() {
    for size in [MAX + 1, u32::MAX] {
        let volume = Hostile::new(MAX, 2, size);
        assert_eq!(volume.walk().unwrap_err(), Refused::TooLarge { size, max: MAX });
        assert!(volume.steps.get() <= 1 + u64::from(ROOT_BLOCKS));
    }
}
