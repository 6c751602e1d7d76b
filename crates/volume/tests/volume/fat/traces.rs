//! What hosts wrote, recorded, in their order, in other orders, and cut (traces/README.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
    sync::LazyLock,
    time::Duration,
};

use inband_package::{
    KeyRing, Policy,
    index::MemberKind,
    maker::{Input, PackOptions, PrivateKey, Source, pack, sign, verify},
};
use inband_volume::{
    fat::{Corrupt, QUIET, Refused, Trigger, Watch},
    scsi::BLOCK,
    sparse::PAGE,
    testing::{
        FatHost, package_on,
        trace::{MAX_SIZE, Trace, package},
    },
};

use super::{
    generated,
    support::{scatter, sorted, times},
};

struct Case {
    name: &'static str,
    max_size: u32,
    trace: Trace,
    /// Which package is there in the end.
    last: usize,
    trigger: Option<Trigger>,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let recorded = |name, text: &str, last, trigger| {
        let trace = Trace::parse(text).unwrap_or_else(|why| panic!("{name}: {why}"));
        // What the recorder would make of it.
        let head: Vec<String> =
            text.lines().map_while(|line| line.strip_prefix("# ")).map(String::from).collect();
        assert!(Trace::from_log(&log_of(&trace)).unwrap().to_text(&head).unwrap() == text, "{name}");
        Case { name, max_size: MAX_SIZE, trace, last, trigger }
    };
    let made = |name, trace, last| Case { name, max_size: generated::MAX_SIZE, trace, last, trigger: None };
    let apply = Some(Trigger::Apply);
    vec![
        recorded("linux", include_str!("traces/linux"), 0, None),
        recorded("linux-flush", include_str!("traces/linux-flush"), 0, None),
        recorded("linux-rename", include_str!("traces/linux-rename"), 0, None),
        recorded("linux-again", include_str!("traces/linux-again"), 1, None),
        recorded("linux-apply", include_str!("traces/linux-apply"), 1, apply),
        recorded("linux-apply-data-first", include_str!("traces/linux-apply-data-first"), 1, apply),
        recorded("linux-nosync", include_str!("traces/linux-nosync"), 0, None),
        recorded("mtools", include_str!("traces/mtools"), 0, None),
        recorded("mtools-again", include_str!("traces/mtools-again"), 1, None),
        recorded("mtools-rename", include_str!("traces/mtools-rename"), 0, None),
        recorded("edk2", include_str!("traces/edk2"), 0, apply),
        recorded("edk2-again", include_str!("traces/edk2-again"), 1, None),
        recorded("edk2-over", include_str!("traces/edk2-over"), 1, None),
        made("macos", generated::macos(), 0),
        made("windows", generated::windows(vec![package(34, 2_400_001)]), 0),
        made("windows-again", generated::windows(vec![package(34, 2_400_001), package(35, 1_700_100)]), 1),
    ]
});

/// The log that QEMU would have written.
fn log_of(trace: &Trace) -> Vec<u8> {
    let sector = |numbers: &[u64]| {
        let mut sector: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        sector.resize(BLOCK, 0);
        sector
    };
    let mut log = sector(&[0x006a_7366_7773_6872, 1, trace.writes.len() as u64 + 2, BLOCK as u64]);
    // A flush, and blocks that are thrown away: neither has data.
    log.extend(sector(&[0, 0, 1, 0]));
    for (lba, data) in &trace.writes {
        log.extend(sector(&[*lba, (data.len() / BLOCK) as u64, 0, 0]));
        log.extend(data);
    }
    log.extend(sector(&[9, 100, 4, 0]));
    log
}

#[test]
fn what_is_no_log_or_no_trace_is_refused() {
    let log = log_of(&CASES[0].trace);
    for wrong in [&log[..100], &log[1..], &log[..log.len() - BLOCK], &log[..log.len() - 2 * BLOCK]] {
        assert!(Trace::from_log(wrong).is_err());
    }
    for wrong in [
        "what",
        "file 1 2 3",
        "write x",
        "  zero 1",
        "write 1\n  file 0 0 1",
        "write 1\n  hex 0",
        "write 1\n  zero",
    ] {
        assert!(Trace::parse(wrong).is_err(), "{wrong}");
    }
}

type Piece<'a> = (u64, &'a [u8]);

impl Case {
    /// The WRITEs, in pieces of so many bytes, and of which WRITE each is.
    fn pieces(&self, length: usize) -> Vec<(usize, Piece<'_>)> {
        let mut pieces = Vec::new();
        for (number, (lba, data)) in self.trace.writes.iter().enumerate() {
            let parts = (*lba..).step_by(length / BLOCK).zip(data.chunks(length));
            pieces.extend(parts.map(|part| (number, part)));
        }
        pieces
    }

    /// What is found behind these writes. The simple reader has to find the same in a volume that is a map of blocks.
    fn found<'a>(&self, writes: impl IntoIterator<Item = Piece<'a>>) -> Result<Vec<u8>, Refused> {
        let mut host = FatHost::new(self.max_size).unwrap();
        let mut blocks = BTreeMap::new();
        for (lba, data) in writes {
            host.store.write(lba, data).unwrap();
            blocks.extend((lba..).zip(data.chunks_exact(BLOCK)));
        }
        let wanted =
            package_on(host.store.base(), |lba| blocks.get(&lba).map(|block| (*block).try_into().unwrap()));
        let found = host.open().map(|contents| contents.into_iter().collect::<Vec<_>>().concat());
        assert!(found.as_ref().ok() == wanted.as_ref(), "{}: not what a simple reader finds", self.name);
        found
    }

    /// Whether these bytes are a package that was copied. If not they are none: blocks of several, or what the host wrote there before, which the
    /// hashes of the package refuse.
    fn is_whole(&self, bytes: &[u8]) -> bool {
        self.trace.files.iter().any(|file| file == bytes)
    }

    fn assert_last(&self, found: &Result<Vec<u8>, Refused>) {
        assert!(
            found.as_ref() == Ok(&self.trace.files[self.last]),
            "{}: not what was copied last",
            self.name
        );
    }

    /// No block that is ever a package's has two contents, one behind the other.
    fn is_written_once(&self) -> bool {
        let all: BTreeSet<&[u8]> = self.trace.files.iter().flat_map(|file| file.chunks(BLOCK)).collect();
        // The last block of a package has other bytes behind its end.
        let tails: Vec<&[u8]> = all.iter().copied().filter(|block| block.len() < BLOCK).collect();
        let is_own = |block: &[u8]| all.contains(block) || tails.iter().any(|tail| block.starts_with(tail));
        let mut contents: BTreeMap<u64, BTreeSet<&[u8]>> = BTreeMap::new();
        for (_, (lba, block)) in self.pieces(BLOCK) {
            contents.entry(lba).or_default().insert(block);
        }
        contents.values().all(|contents| contents.len() == 1 || !contents.iter().any(|block| is_own(block)))
    }
}

/// Cut behind each page of each WRITE.
///
/// Who copies over an older package may write it into the same clusters, FATs and directory first (mtools; EDK2, whose second half of the data is late;
/// Windows, as it is told of). Until all is there, what is found has blocks of both.
#[test]
fn a_cut_finds_a_package_that_was_copied_or_none() {
    let mut mixed = BTreeSet::new();
    for case in CASES.iter() {
        let pages = case.pieces(PAGE);
        let found = |cut: usize| case.found(pages[..cut].iter().map(|(_, piece)| *piece));
        for cut in 0..pages.len() {
            match found(cut) {
                Ok(bytes) if case.is_whole(&bytes) => {}
                Ok(_) => {
                    mixed.insert(case.name);
                }
                // A host that was cut short is told so; but one that copies a shorter package over a longer one, whose FATs are late.
                Err(Refused::NoFile | Refused::Incomplete(_)) => {}
                Err(refused) => {
                    assert_eq!((case.name, refused), ("windows-again", Refused::Corrupt(Corrupt::Endless)));
                }
            }
        }
        case.assert_last(&found(pages.len()));
    }
    assert_eq!(mixed, BTreeSet::from(["edk2-over", "mtools-again", "windows-again"]));
}

/// A package as a vendor makes it.
fn signed(version: u16, key: &PrivateKey) -> Vec<u8> {
    let options = PackOptions {
        machine: "test-board".into(),
        compatible: Vec::new(),
        version: version.to_string(),
        security_version: 1,
        bcd_device: version,
        targets: vec!["bmc".into()],
        mtime: 0,
        compression: None,
        signers: vec![key.public().unwrap().signature_entry()],
    };
    let image = Source::Bytes(package(version.into(), 1_500_000));
    let input = Input { name: "image-bmc".into(), kind: MemberKind::Image, target: 0, source: image };
    let mut file = Cursor::new(Vec::new());
    pack(&options, &[input], &mut file).unwrap();
    sign(&mut file, key).unwrap();
    file.into_inner()
}

/// Windows, as it is told of, comes to states with blocks of two packages: with real ones, whoever reads packages refuses all of them.
#[test]
fn hashes_refuse_what_is_blocks_of_two_packages() {
    let key = PrivateKey::from_seed(&[7; 32]);
    let public = key.public().unwrap();
    let ring = KeyRing::new(vec![public.kind()], vec![public]).unwrap();
    for (old, new) in [(1, 2), (1, 1)] {
        let trace = generated::windows(vec![signed(old, &key), signed(new, &key)]);
        let case = Case { name: "signed", max_size: generated::MAX_SIZE, trace, last: 1, trigger: None };
        let pages = case.pieces(PAGE);
        let (mut whole, mut refused) = (0, 0);
        for cut in 0..=pages.len() {
            let Ok(bytes) = case.found(pages[..cut].iter().map(|(_, piece)| *piece)) else { continue };
            let verdict = verify(&mut Cursor::new(&bytes), &ring, Policy::for_machine("test-board".into()));
            assert_eq!(verdict.is_ok(), case.is_whole(&bytes), "{cut}: {verdict:?}");
            if verdict.is_ok() { whole += 1 } else { refused += 1 }
        }
        // The same package again is never anything else.
        assert!(whole > 3 && (refused > 50) == (old != new), "{whole}, {refused}");
    }
}

#[test]
fn trigger_files_are_seen() {
    for case in CASES.iter() {
        let mut host = FatHost::new(case.max_size).unwrap();
        let mut watch = Watch::new(host.geometry());
        let mut now = Duration::ZERO;
        for (lba, data) in &case.trace.writes {
            host.store.write(*lba, data).unwrap();
            watch.handle_write(&host.store, *lba, (data.len() / BLOCK) as u64, now);
            now += Duration::from_millis(100);
            assert_eq!(watch.poll(now), None, "{}", case.name);
        }
        assert!(watch.has_firmware());
        assert_eq!(watch.poll(now + QUIET), case.trigger, "{}", case.name);
    }
}

/// EDK2 writes 64 KiB around whatever it changes: blocks that the host wrote before they were its file's count as written, and what lies in them is
/// for the hashes of the package.
#[test]
fn a_block_that_was_written_for_another_reason_was_written() {
    let mut host = FatHost::new(MAX_SIZE).unwrap();
    host.fill(&[20], &[0; 4096]);
    host.chain(&[20]);
    host.entry(20, b"FIRMWAREBIN", 0x20, 20, 4096);
    let contents = host.open().unwrap();
    assert_eq!(contents.into_iter().flatten().collect::<Vec<_>>(), [0; 4096]);
}

/// All orders that keep the order of writes to the same block: whole, they come to the same; cut anywhere, to a package that was copied or to none, but
/// where blocks of a package were written with other contents before. What the walk then finds is what a simple reader finds, so blocks that the host wrote
/// there on this medium. `INBAND_ORDERS` says how many of each trace (`cargo xtask soak schedules`: 300).
#[test]
fn any_order_that_keeps_the_order_of_each_block() {
    let orders = times("INBAND_ORDERS", 32);
    let (mut mixed, mut cuts, mut whole) = (BTreeSet::new(), 0, 0);
    for case in CASES.iter() {
        let blocks = case.pieces(BLOCK);
        let lbas: Vec<u64> = blocks.iter().map(|(_, (lba, _))| *lba).collect();
        let is_written_once = case.is_written_once();
        for seed in 0..orders {
            let keys: Vec<u32> = package(seed, 400)
                .chunks_exact(4)
                .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
                .collect();
            let order = match seed % 3 {
                // Whole WRITEs, pages, blocks.
                0 => sorted(&lbas, |index| (scatter(&keys, blocks[*index].0), *index)),
                1 => sorted(&lbas, |index| (scatter(&keys, lbas[*index] as usize / (PAGE / BLOCK)), *index)),
                _ => sorted(&lbas, |index| (scatter(&keys, *index), *index)),
            };
            let found = |cut: usize| case.found(order[..cut].iter().map(|index| blocks[*index].1));
            case.assert_last(&found(order.len()));
            // Late ones, where most is there, and any.
            for key in &keys[..4] {
                let late = order.len() - 1 - *key as usize % order.len().min(40);
                for cut in [late, *key as usize % order.len()] {
                    cuts += 1;
                    let Ok(bytes) = found(cut) else { continue };
                    whole += usize::from(case.is_whole(&bytes));
                    if !case.is_whole(&bytes) {
                        assert!(!is_written_once, "{}: wrong bytes, {seed}, {cut}", case.name);
                        mixed.insert(case.name);
                    }
                }
            }
        }
    }
    println!("{cuts} cuts: {whole} with a package, other bytes of {mixed:?}");
}
