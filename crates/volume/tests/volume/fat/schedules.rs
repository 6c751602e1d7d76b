//! What hosts write, in the order in which they might.

use std::{collections::BTreeSet, sync::LazyLock};

use inband_volume::{
    fat::{Refused, open},
    scsi::BLOCK,
    testing::trace::package,
};
use proptest::prelude::*;

use super::support::{Drive, MIB, Write1, scatter, sorted, store, write};

/// The writes of mtools that make a package, in rounds: of a block that is written in several, the last one is what counts.
struct Story {
    name: &'static str,
    writes: Vec<Write1>,
    bytes: Vec<u8>,
    /// No block of the package is written twice: then no cut has other bytes than these.
    once: bool,
}

impl Story {
    fn new(
        name: &'static str,
        bytes: Vec<u8>,
        tell: impl FnOnce(&[u8], &mut dyn FnMut(&dyn Fn(&Drive))),
    ) -> Self {
        let mut drive = Drive::new(MIB);
        let mut writes: Vec<Write1> = Vec::new();
        tell(&bytes, &mut |step| {
            step(&drive);
            writes.extend(drive.writes());
        });
        drive.check();
        // Its last block is shared with bytes that are not its own.
        let own: BTreeSet<&[u8]> = bytes.chunks_exact(BLOCK).collect();
        let of_file = writes.iter().filter(|(_, block)| own.contains(&block[..])).map(|(lba, _)| *lba);
        let of_file: BTreeSet<u64> = of_file.collect();
        let once = writes.iter().filter(|(lba, _)| of_file.contains(lba)).count() == of_file.len();
        Self { name, writes, bytes, once }
    }

    /// What is found behind these of the writes.
    fn found(&self, order: &[usize]) -> Result<Vec<u8>, Refused> {
        let mut store = store(MIB);
        order.iter().for_each(|index| write(&mut store, &self.writes[*index..=*index]));
        open(store.seal())
            .map(|contents| contents.into_iter().collect::<Vec<_>>().concat())
            .map_err(|unopened| unopened.refused)
    }

    /// All of them, sorted by a key; those of one block stay in their order.
    fn sorted<K: Ord>(&self, key: impl FnMut(&usize) -> K) -> Vec<usize> {
        let blocks: Vec<u64> = self.writes.iter().map(|(lba, _)| *lba).collect();
        sorted(&blocks, key)
    }

    /// Behind these of the writes the package is there as a whole or not at all. Where its blocks are written more than once that is for the hashes
    /// of the package to tell.
    fn check_cut(&self, order: &[usize]) {
        if self.once
            && let Ok(bytes) = self.found(order)
        {
            assert!(bytes == self.bytes, "{}: wrong bytes", self.name);
        }
    }

    fn check_whole(&self, order: &[usize]) {
        assert!(self.found(order).unwrap() == self.bytes, "{}: not what was copied", self.name);
    }
}

static STORIES: LazyLock<Vec<Story>> = LazyLock::new(|| {
    vec![
        Story::new("copy", package(1, 150_001), |bytes, step| {
            step(&|drive| drive.copy("FIRMWARE.BIN", bytes));
        }),
        Story::new("other files, long names", package(2, 90_000), |bytes, step| {
            step(&|drive| drive.tool("mmd", &["::System Volume Information", "::.fseventsd"]));
            step(&|drive| drive.copy("System Volume Information/IndexerVolumeGuid", &package(3, 76)));
            step(&|drive| drive.copy("._firmware.bin", &package(4, 4096)));
            step(&|drive| drive.copy("firmware.bin", bytes));
            step(&|drive| drive.copy("a rather long name that is not of interest.tar", &package(5, 9000)));
            step(&|drive| drive.copy("firmware.bin.sig", &package(6, 900)));
            step(&|drive| drive.copy("APPLY.CMD", b"x\r\n"));
        }),
        Story::new("temporary name", package(7, 120_000), |bytes, step| {
            step(&|drive| drive.copy("FIRMWARE.TMP", bytes));
            step(&|drive| drive.tool("mren", &["::FIRMWARE.TMP", "::FIRMWARE.BIN"]));
        }),
        Story::new("in pieces between others", package(8, 100_000), |bytes, step| {
            let names: Vec<String> = (0..16).map(|n| format!("FILE{n}.TXT")).collect();
            names.iter().for_each(|name| step(&|drive| drive.copy(name, &package(9, 4000))));
            let even = names.iter().step_by(2);
            even.for_each(|name| step(&|drive| drive.tool("mdel", &[&format!("::{name}")])));
            step(&|drive| drive.copy("FIRMWARE.BIN", bytes));
        }),
        Story::new("deleted, and copied again", package(10, 80_000), |bytes, step| {
            step(&|drive| drive.copy("FIRMWARE.BIN", &package(11, 130_000)));
            step(&|drive| drive.tool("mdel", &["::FIRMWARE.BIN"]));
            step(&|drive| drive.copy("FIRMWARE.BIN", bytes));
        }),
        Story::new("overwritten by a longer one", package(12, 110_000), |bytes, step| {
            step(&|drive| drive.copy("FIRMWARE.BIN", &package(13, 60_000)));
            step(&|drive| drive.copy("FIRMWARE.BIN", bytes));
        }),
        Story::new("shrunk", package(14, 5_000), |bytes, step| {
            step(&|drive| drive.copy("FIRMWARE.BIN", &package(15, 200_000)));
            step(&|drive| drive.copy("FIRMWARE.BIN", bytes));
        }),
    ]
});

#[test]
fn each_story_is_found_as_it_was_told() {
    for story in STORIES.iter() {
        story.check_whole(&story.sorted(|index| *index));
    }
    let once: Vec<bool> = STORIES.iter().map(|story| story.once).collect();
    assert_eq!(once, [true, true, true, false, false, false, false]);
}

/// The orders that were measured, or told of: cut behind each write.
#[test]
fn every_cut_of_what_hosts_do() {
    let geometry = *store(MIB).base().geometry();
    let (root, data) = (u64::from(geometry.root()), u64::from(geometry.data()));
    for (number, story) in STORIES.iter().enumerate() {
        // Of all but the first only some.
        let step = if number == 0 { 1 } else { 7 };
        let lba = |index: &usize| story.writes[*index].0;
        let stripe = |index: &usize| lba(index) / 128 % 2;
        let orders = [
            // The data, then what says where it is; and the other way round, as Linux.
            story.sorted(|index| (lba(index) < data, lba(index))),
            story.sorted(|index| (lba(index) >= data, lba(index))),
            // The directory first, the FATs last.
            story.sorted(|index| (lba(index) < root, lba(index))),
            // EDK2: every second 64 KiB, FATs and directory, the other half.
            story.sorted(|index| (if lba(index) < data { 1 } else { stripe(index) * 2 }, lba(index))),
            // macOS: pieces by several writers.
            story.sorted(|index| (lba(index) % 97, lba(index))),
            // Backwards.
            story.sorted(|index| u64::MAX - lba(index)),
        ];
        for order in orders {
            story.check_whole(&order);
            if story.once {
                (0..order.len()).step_by(step).for_each(|cut| story.check_cut(&order[..cut]));
            }
        }
    }
}

/// Data that is late: whatever else is there, a copy that lacks one block is none.
#[test]
fn a_copy_without_one_of_its_blocks_is_no_copy() {
    let story = &STORIES[0];
    let data = u64::from(store(MIB).base().geometry().data());
    for (left_out, _) in story.writes.iter().filter(|(lba, _)| *lba >= data) {
        let order: Vec<usize> =
            (0..story.writes.len()).filter(|index| story.writes[*index].0 != *left_out).collect();
        assert!(matches!(story.found(&order), Err(Refused::Incomplete(_))), "{left_out}");
    }
    assert!(story.bytes.len() / BLOCK > 290);
}

proptest! {
    /// `PROPTEST_CASES` sets how many.
    #[test]
    fn any_order_that_keeps_the_order_of_each_block(
        story in 0..7_usize,
        keys in proptest::collection::vec(any::<u32>(), 1..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let story = &STORIES[story];
        let order = story.sorted(|index| scatter(&keys, *index));
        story.check_whole(&order);
        story.check_cut(&order[..cut.index(order.len())]);
    }
}
