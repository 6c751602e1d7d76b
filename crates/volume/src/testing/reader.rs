//! A reader that is simple and slow: what the walk has to find.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::{
    fat::{Image, ROOT_BLOCKS},
    scsi::BLOCK,
    sparse::Base,
};

/// A label, or a part of a long name; a folder.
const LABEL: u8 = 8;
const FOLDER: u8 = 16;

/// The package on a volume (docs/spec/volume.md, 5), of which `written` gives each block that its host has written: all of it, or none.
pub fn package_on(image: &Image, written: impl Fn(u64) -> Option<[u8; BLOCK]>) -> Option<Vec<u8>> {
    let geometry = *image.geometry();
    let block = |lba: u32| {
        written(lba.into()).unwrap_or_else(|| {
            let mut block = [0; BLOCK];
            image.block(lba.into(), &mut block);
            block
        })
    };
    let (boot, ours) = (block(0), geometry.boot_sector(image.generation()));
    if boot[11..36] != ours[11..36] || boot[510..] != ours[510..] {
        return None;
    }
    let root: Vec<u8> = (geometry.root()..geometry.root() + ROOT_BLOCKS).flat_map(block).collect();
    let is_it = |entry: &&[u8]| entry[..11].eq_ignore_ascii_case(b"FIRMWAREBIN") && entry[11] & LABEL == 0;
    let mut files = root.chunks_exact(32).filter(is_it);
    let (file, None) = (files.next()?, files.next()) else { return None };
    let size = u32::from_le_bytes([file[28], file[29], file[30], file[31]]);
    if file[11] & FOLDER != 0 || size == 0 || size > geometry.max_size() {
        return None;
    }
    let entry = |copy: u32, cluster: u16| {
        let at = usize::from(cluster) * 2;
        let block = block(geometry.reserved() + copy * geometry.fat_blocks() + (at / BLOCK) as u32);
        u16::from_le_bytes([block[at % BLOCK], block[at % BLOCK + 1]])
    };
    let mut bytes = Vec::new();
    let mut been = BTreeSet::new();
    let mut cluster = u16::from_le_bytes([file[26], file[27]]);
    while cluster < 0xfff8 {
        let is_one = cluster >= 2 && u32::from(cluster) < geometry.clusters() + 2;
        // A circle, or more than there should be.
        if !is_one || !been.insert(cluster) || bytes.len() >= size as usize {
            return None;
        }
        let first = geometry.data() + (u32::from(cluster) - 2) * geometry.cluster_blocks();
        for lba in first..first + geometry.cluster_blocks() {
            if bytes.len() < size as usize {
                bytes.extend(written(lba.into())?);
            }
        }
        let next = entry(0, cluster);
        if entry(1, cluster) != next {
            return None;
        }
        cluster = next;
    }
    bytes.get(..size as usize).map(<[u8]>::to_vec)
}
