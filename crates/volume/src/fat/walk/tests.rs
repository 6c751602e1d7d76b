//! How many steps the worst volumes cost.

use alloc::{vec, vec::Vec};
use core::cell::Cell;

use super::*;

/// A volume that is wholly its host's: any FAT, and one entry in the root directory.
struct Hostile {
    geometry: Geometry,
    fat: Vec<u16>,
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
        Self { geometry, fat, root, at_once: 1, steps: Cell::new(0) }
    }

    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    fn walk(&self) -> Result<(Extents, u32), Refused> {
        let walked = walk(&self.geometry, self);
        let clusters = u64::from(self.geometry.most_clusters());
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

    fn fat_entry(&self, _copy: u32, cluster: u16) -> u16 {
        self.step();
        self.fat[usize::from(cluster)]
    }

    fn written(&self, lba: u64, blocks: u64) -> u64 {
        self.step();
        assert!(lba >= self.geometry.data().into() && lba + blocks <= self.geometry.blocks().into());
        blocks.min(self.at_once)
    }
}

const MAX: u32 = 64 << 20;

#[test]
fn the_largest_file_in_order_is_one_run() {
    let mut volume = Hostile::new(MAX, 2, MAX);
    let clusters = MAX / volume.geometry.cluster_bytes();
    (2..2 + clusters as u16).for_each(|cluster| volume.fat[usize::from(cluster)] = cluster + 1);
    volume.fat[clusters as usize + 1] = 0xffff;
    let (extents, size) = volume.walk().unwrap();
    assert_eq!(size, MAX);
    assert_eq!(extents.find(0), Some((2, clusters)));
    assert_eq!(extents.find(clusters - 1), Some((clusters as u16 + 1, 1)));
    assert_eq!(extents.find(clusters), None);
}

#[test]
fn a_file_without_two_clusters_in_order_takes_no_more_memory_than_was_made_before() {
    // Backwards, from the last cluster of the volume.
    let mut volume = Hostile::new(MAX, 0, MAX);
    let (clusters, last) = (MAX / volume.geometry.cluster_bytes(), volume.geometry.clusters() as u16 + 1);
    volume.root[26..28].copy_from_slice(&last.to_le_bytes());
    let end = last - clusters as u16 + 1;
    (end + 1..=last).for_each(|cluster| volume.fat[usize::from(cluster)] = cluster - 1);
    volume.fat[usize::from(end)] = 0xfff8;
    let (extents, _) = volume.walk().unwrap();
    assert_eq!(extents.find(clusters - 1), Some((end, 1)));
    let room = Extents::with_room(volume.geometry.most_clusters()).unwrap();
    assert_eq!(extents.memory(), room.memory());
    assert!(room.memory() <= 128 << 10);
}

#[test]
fn circles_end_with_the_size() {
    for (length, size) in [(1, MAX), (2, MAX), (777, MAX), (1000, 1), (5, 5 * 4096)] {
        let mut volume = Hostile::new(MAX, 2, size);
        (2..2 + length).for_each(|cluster: u16| volume.fat[usize::from(cluster)] = cluster + 1);
        volume.fat[usize::from(length) + 1] = 2;
        assert_eq!(volume.walk().unwrap_err(), Refused::Corrupt(Corrupt::Endless));
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
