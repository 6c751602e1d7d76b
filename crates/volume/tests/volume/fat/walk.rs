//! Volumes that are wrong.

use inband_volume::{
    fat::{Corrupt, MAX_PACKAGE, Missing, Refused},
    scsi::BLOCK,
    testing::{FatHost, trace::package},
};

use super::support::MIB;

const NAME: &[u8; 11] = b"FIRMWAREBIN";
const CLUSTER: usize = 4096;

/// Backwards, forwards, and by leaps.
const CHAIN: [u16; 6] = [900, 899, 10, 11, 12, 10_000];

/// A volume with a file of five and a half clusters, all right.
fn host() -> (FatHost, Vec<u8>) {
    let mut host = FatHost::new(MIB).unwrap();
    let bytes = package(7, 5 * CLUSTER + 2100);
    host.file(20, NAME, &CHAIN, &bytes);
    (host, bytes)
}

fn refused(change: impl FnOnce(&mut FatHost)) -> Refused {
    let (mut host, _) = host();
    change(&mut host);
    host.open().unwrap_err()
}

fn taken(change: impl FnOnce(&mut FatHost)) {
    let (mut host, bytes) = host();
    change(&mut host);
    let contents = host.open().unwrap();
    assert_eq!(contents.slices().collect::<Vec<_>>().concat(), bytes);
    let mut read = vec![0; bytes.len() + 1];
    assert_eq!(contents.read_at(0, &mut read), bytes.len());
    assert_eq!(read[..bytes.len()], bytes);
    for offset in (0..bytes.len()).step_by(487) {
        assert_eq!(contents.slice(offset as u32)[0], bytes[offset]);
    }
    assert_eq!(contents.into_iter().collect::<Vec<_>>().concat(), bytes);
}

#[test]
fn what_is_right_and_what_does_not_matter() {
    taken(|_| {});
    // The dirty bit, another label and number, boot code.
    taken(|host| host.change(0, 36, &[0; 474]));
    // Other files in disorder: a chain without end, FATs that differ, a shared cluster, a folder of the name below another.
    taken(|host| {
        host.entry(21, b"OTHER   BIN", 0x20, 900, 5);
        host.entry(22, b"CIRCLE     ", 0x20, 300, 70_000);
        host.link(300, 300);
        host.link_in(1, 301, 7);
        host.entry(23, b"LOST    BIN", 0x20, 0xfff7, u32::MAX);
    });
    // Parts of long names and labels of the same bytes, entries that are free.
    taken(|host| {
        host.entry(21, NAME, 0x0f, 0, 0);
        host.entry(22, NAME, 0x08, 0, 0);
        host.entry(23, b"\xe5IRMWAREBIN", 0x20, 2, 9);
        host.entry(24, b"FIRMWA~1BIN", 0x20, 2, 9);
    });
    // Any end of a chain.
    taken(|host| host.link(10_000, 0xfff8));
    // In any case, anywhere.
    taken(|host| {
        host.entry(20, b"\xe5IRMWAREBIN", 0x20, 900, 0);
        host.entry(511, b"Firmwarebin", 0x21, 900, 5 * CLUSTER as u32 + 2100);
    });
}

#[test]
fn formatted_anew() {
    for at in (11..36).chain([510, 511]) {
        assert_eq!(refused(|host| host.change(0, at, &[0xa7])), Refused::Reformatted, "{at}");
    }
    assert_eq!(refused(|host| host.store.write(0, &[0; BLOCK]).unwrap()), Refused::Reformatted);
}

#[test]
fn not_one_file() {
    let none = |host: &mut FatHost| {
        host.entry(20, b"\xe5IRMWAREBIN", 0x20, 900, 1);
    };
    assert_eq!(refused(none), Refused::NoFile);
    assert_eq!(FatHost::new(MIB).unwrap().open().unwrap_err(), Refused::NoFile);
    let folder = |host: &mut FatHost| {
        host.entry(20, NAME, 0x10, 900, 0);
    };
    assert_eq!(refused(folder), Refused::NoFile);
    // Behind the end of the directory, as a folder, in another case.
    for (number, name, attributes) in [(21, NAME, 0x20), (511, NAME, 0x10), (300, b"firmwareBIN", 0x20)] {
        let twice = |host: &mut FatHost| {
            host.entry(number, name, attributes, 2, 1);
        };
        assert_eq!(refused(twice), Refused::Duplicate);
    }
}

#[test]
fn sizes_that_are_wrong() {
    let size = |size: u32| {
        move |host: &mut FatHost| {
            host.entry(20, NAME, 0x20, 900, size);
        }
    };
    assert_eq!(refused(size(0)), Refused::Incomplete(Missing::Bytes));
    assert_eq!(refused(size(MIB + 1)), Refused::TooLarge { size: MIB + 1, max: MIB });
    assert_eq!(refused(size(u32::MAX)), Refused::TooLarge { size: u32::MAX, max: MIB });
    assert_eq!(refused(size(MIB)), Refused::Incomplete(Missing::Block { lba: lba(10_000) + 5 }));
    assert_eq!(refused(size(5 * CLUSTER as u32)), Refused::Corrupt(Corrupt::Endless));
    assert_eq!(refused(size(1)), Refused::Corrupt(Corrupt::Endless));
    // One block more than was written; and one byte more, in a block that was.
    assert_eq!(
        refused(size(5 * 4096 + 5 * 512 + 1)),
        Refused::Incomplete(Missing::Block { lba: lba(10_000) + 5 })
    );
    let (mut longer, bytes) = host();
    size(bytes.len() as u32 + 1)(&mut longer);
    let contents = longer.open().unwrap();
    assert_eq!(contents.slices().collect::<Vec<_>>().concat(), [&bytes[..], &[0]].concat());
}

/// Where a cluster begins.
fn lba(cluster: u64) -> u64 {
    128 + (cluster - 2) * 8
}

#[test]
fn chains_that_are_wrong() {
    let link = |cluster, next| refused(|host| host.link(cluster, next));
    assert_eq!(link(899, 0), Refused::Incomplete(Missing::Chain { index: 2 }));
    assert_eq!(link(899, 0xffff), Refused::Incomplete(Missing::Chain { index: 2 }));
    assert_eq!(link(10_000, 0), Refused::Incomplete(Missing::Chain { index: 6 }));
    assert_eq!(link(10_000, 10_001), Refused::Corrupt(Corrupt::Endless));
    // To itself, to the first, to one before.
    for next in [10_000, 900, 11] {
        assert_eq!(link(10_000, next), Refused::Corrupt(Corrupt::Endless));
    }
    assert_eq!(link(900, 900), Refused::Corrupt(Corrupt::Endless));
    for cluster in [1, 10_242, 0xfff0, 0xfff7] {
        assert_eq!(link(899, cluster), Refused::Corrupt(Corrupt::Range { cluster }));
    }
    // The last cluster of the volume is one, and was not written.
    assert_eq!(link(899, 10_241), Refused::Incomplete(Missing::Block { lba: lba(10_241) }));
    for (first, wrong) in [
        (0, Refused::Incomplete(Missing::Chain { index: 0 })),
        (1, Refused::Corrupt(Corrupt::Range { cluster: 1 })),
        (0xffff, Refused::Incomplete(Missing::Chain { index: 0 })),
        // README.TXT: the BMC's own bytes.
        (2, Refused::Incomplete(Missing::Block { lba: lba(2) })),
    ] {
        let entry = |host: &mut FatHost| {
            host.entry(20, NAME, 0x20, first, 5 * CLUSTER as u32 + 2100);
        };
        assert_eq!(refused(entry), wrong);
    }
}

/// Made for 1021 MiB: a file at its end, backwards; and circles of which one or two clusters were written and the size is the largest.
#[test]
fn the_largest_volume() {
    const LARGE: usize = 32 << 10;
    let mut host = FatHost::new(MAX_PACKAGE).unwrap();
    let last = host.geometry().clusters() as u16 + 1;
    let chain: Vec<u16> = (last - 9..=last).rev().collect();
    let bytes = package(9, 9 * LARGE + 1);
    host.file(511, NAME, &chain, &bytes);
    let contents = host.open().unwrap();
    assert_eq!(contents.into_iter().collect::<Vec<_>>().concat(), bytes);
    for circle in [&[last][..], &[last, 2]] {
        let mut host = FatHost::new(MAX_PACKAGE).unwrap();
        host.file(20, NAME, circle, &bytes[..circle.len() * LARGE]);
        host.link(circle[circle.len() - 1], circle[0]);
        host.entry(20, NAME, 0x20, circle[0], MAX_PACKAGE);
        assert_eq!(host.open().unwrap_err(), Refused::Corrupt(Corrupt::Endless));
    }
}

#[test]
fn fats_that_differ() {
    for copy in 0..2 {
        for (cluster, next) in [(899, 0), (10, 900), (10_000, 0xfff8)] {
            let found = refused(|host| host.link_in(copy, cluster, next));
            assert_eq!(found, Refused::Incomplete(Missing::Copy { cluster }), "{copy}");
        }
    }
}

/// A block of the file that is left out, each in turn.
#[test]
fn blocks_that_are_missing() {
    let bytes = package(7, 5 * CLUSTER + 2100);
    for missing in 0..bytes.len().div_ceil(BLOCK) {
        let mut host = FatHost::new(MIB).unwrap();
        for (index, block) in bytes.chunks(BLOCK).enumerate().filter(|(index, _)| *index != missing) {
            let mut whole = [0; BLOCK];
            whole[..block.len()].copy_from_slice(block);
            host.store.write(lba(CHAIN[index / 8].into()) + index as u64 % 8, &whole).unwrap();
        }
        host.chain(&CHAIN);
        host.entry(0, NAME, 0x20, CHAIN[0], bytes.len() as u32);
        let lba = lba(CHAIN[missing / 8].into()) + missing as u64 % 8;
        assert_eq!(host.open().unwrap_err(), Refused::Incomplete(Missing::Block { lba }));
    }
}

/// It has every block: half of one package, half of another. Its hashes will tell.
#[test]
fn an_old_file_half_overwritten_is_what_was_written() {
    let (mut host, old) = host();
    let new = package(8, old.len());
    let half = 3 * CLUSTER;
    host.fill(&CHAIN[..3], &new[..half]);
    let contents = host.open().unwrap();
    assert_eq!(contents.slices().collect::<Vec<_>>().concat(), [&new[..half], &old[half..]].concat());
}

#[test]
fn words_for_what_is_refused() {
    let text = include_str!("../../../../../docs/spec/volume.md");
    let (_, results) = text.split_once("## 8. Results").unwrap();
    for refused in [
        Refused::Reformatted,
        Refused::Duplicate,
        Refused::Corrupt(Corrupt::Endless),
        Refused::Incomplete(Missing::Bytes),
        Refused::Incomplete(Missing::Block { lba: 0 }),
        Refused::Incomplete(Missing::Chain { index: 0 }),
        Refused::Incomplete(Missing::Copy { cluster: 2 }),
    ] {
        let word = refused.detail().unwrap();
        assert!(results.contains(&format!("`{word}`")), "{word}");
    }
    for refused in [Refused::NoFile, Refused::TooLarge { size: 2, max: 1 }, Refused::NoMemory] {
        assert_eq!(refused.detail(), None);
    }
}
