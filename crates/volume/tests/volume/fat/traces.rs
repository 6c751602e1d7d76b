//! What hosts wrote, recorded, in their order.
//!
//! A trace in `traces/` is a text. `file N SEED LENGTH` is a package of [`package`]; `write LBA` a WRITE, and the lines behind it what was written:
//! so many blocks of a file from one on, blocks of zeros, blocks as the image has them, or one block's bytes without the zeros at its end. The volume
//! is that of [`FatHost`], for 1 MiB.

use std::{sync::LazyLock, time::Duration};

use inband_volume::{
    fat::{QUIET, Refused, Trigger, Watch},
    scsi::BLOCK,
    sparse::{Base, PAGE},
    testing::FatHost,
};
use proptest::prelude::*;

use super::support::{MIB, package, scatter, sorted};

struct Trace {
    name: &'static str,
    files: Vec<Vec<u8>>,
    writes: Vec<(u64, Vec<u8>)>,
    /// Which file is there in the end.
    last: usize,
    trigger: Option<Trigger>,
}

static TRACES: LazyLock<Vec<Trace>> = LazyLock::new(|| {
    let trace = |name, text: &str, last, trigger| {
        let image = FatHost::new(MIB).unwrap();
        let image = image.store.base();
        let mut trace = Trace { name, files: vec![Vec::new(); 2], writes: Vec::new(), last, trigger };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| words[at].parse::<usize>().unwrap();
            if let (false, "file") = (line.starts_with(' '), words[0]) {
                trace.files[number(1)] = package(number(2) as u64, number(3));
                continue;
            }
            if words[0] == "write" {
                trace.writes.push((number(1) as u64, Vec::new()));
                continue;
            }
            let (lba, data) = trace.writes.last_mut().unwrap();
            let begin = data.len();
            match words[0] {
                "file" => {
                    let file = &trace.files[number(1)][number(2) * BLOCK..];
                    data.extend(&file[..file.len().min(number(3) * BLOCK)]);
                    data.resize(begin + number(3) * BLOCK, 0);
                }
                "zero" => data.resize(begin + number(1) * BLOCK, 0),
                "image" => {
                    data.resize(begin + number(1) * BLOCK, 0);
                    let first = *lba + (begin / BLOCK) as u64;
                    let blocks = data[begin..].chunks_exact_mut(BLOCK);
                    (first..).zip(blocks).for_each(|(lba, block)| image.block(lba, block));
                }
                "hex" => {
                    let digits = words[1].as_bytes().chunks_exact(2);
                    let text = digits.map(|digits| std::str::from_utf8(digits).unwrap());
                    data.extend(text.map(|digits| u8::from_str_radix(digits, 16).unwrap()));
                    data.resize(begin + BLOCK, 0);
                }
                other => panic!("{name}: {other}"),
            }
        }
        trace
    };
    let apply = Some(Trigger::Apply);
    vec![
        trace("linux", include_str!("traces/linux"), 0, None),
        trace("linux-flush", include_str!("traces/linux-flush"), 0, None),
        trace("linux-rename", include_str!("traces/linux-rename"), 0, None),
        trace("linux-again", include_str!("traces/linux-again"), 1, None),
        trace("linux-apply", include_str!("traces/linux-apply"), 1, apply),
        trace("edk2", include_str!("traces/edk2"), 0, apply),
        trace("edk2-again", include_str!("traces/edk2-again"), 1, None),
    ]
});

impl Trace {
    /// The WRITEs, in pieces of so many bytes.
    fn pieces(&self, length: usize) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        for (lba, data) in &self.writes {
            pieces.extend((*lba..).step_by(length / BLOCK).zip(data.chunks(length)));
        }
        pieces
    }

    fn last(&self) -> Result<Vec<u8>, Refused> {
        Ok(self.files[self.last].clone())
    }
}

type Piece<'a> = (u64, &'a [u8]);

fn found<'a>(writes: impl IntoIterator<Item = Piece<'a>>) -> Result<Vec<u8>, Refused> {
    let mut host = FatHost::new(MIB).unwrap();
    writes.into_iter().for_each(|(lba, data)| host.store.write(lba, data).unwrap());
    host.open().map(|contents| contents.into_iter().flatten().collect())
}

/// Cut behind each page of each WRITE.
#[test]
fn a_cut_finds_a_package_that_was_copied_or_none() {
    for trace in TRACES.iter() {
        let pages = trace.pieces(PAGE);
        for cut in 0..pages.len() {
            if let Ok(bytes) = found(pages[..cut].iter().copied()) {
                assert!(trace.files.contains(&bytes), "{}, {cut}: wrong bytes", trace.name);
            }
        }
        assert!(found(pages) == trace.last(), "{}", trace.name);
    }
}

#[test]
fn trigger_files_are_seen() {
    for trace in TRACES.iter() {
        let mut host = FatHost::new(MIB).unwrap();
        let mut watch = Watch::new(host.geometry());
        let mut now = Duration::ZERO;
        for (lba, data) in &trace.writes {
            host.store.write(*lba, data).unwrap();
            watch.handle_write(&host.store, *lba, (data.len() / BLOCK) as u64, now);
            now += Duration::from_millis(100);
            assert_eq!(watch.poll(now), None, "{}", trace.name);
        }
        assert!(watch.has_firmware());
        assert_eq!(watch.poll(now + QUIET), trace.trigger, "{}", trace.name);
    }
}

/// EDK2 writes 64 KiB around whatever it changes: blocks that the host wrote before they were its file's count as written, and what lies in them is
/// for the hashes of the package. (No order that was recorded comes to that.)
#[test]
fn a_block_that_was_written_for_another_reason_was_written() {
    let mut host = FatHost::new(MIB).unwrap();
    host.fill(&[20], &[0; 4096]);
    host.chain(&[20]);
    host.entry(20, b"FIRMWAREBIN", 0x20, 20, 4096);
    let contents = host.open().unwrap();
    assert_eq!(contents.into_iter().flatten().collect::<Vec<_>>(), [0; 4096]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_that_keeps_the_order_of_each_block(
        trace in 0..7_usize,
        keys in proptest::collection::vec(any::<u32>(), 1..200),
    ) {
        let trace = &TRACES[trace];
        let blocks = trace.pieces(BLOCK);
        let lbas: Vec<u64> = blocks.iter().map(|(lba, _)| *lba).collect();
        let order = sorted(&lbas, |index| scatter(&keys, *index));
        prop_assert!(found(order.iter().map(|index| blocks[*index])) == trace.last(), "{}", trace.name);
    }
}
