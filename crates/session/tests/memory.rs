//! What a session holds of which only what is missing comes: bounded, whatever the package. With the longest index that there can be.
//!
//! One test in this file: the allocator counts for the whole process.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use std::sync::atomic::Ordering;
use std::time::Duration;

use inband_package::digest::sha256;
use inband_package::head::{Head, MAX_INDEX_LENGTH};
use inband_package::index::{Chunk, Encoding, Index, Member, MemberKind, Sent};
use inband_package::maker::PrivateKey;
use inband_package::signature::{Kind, signed_bytes};
use inband_package::{Expected, KeyRing, Policy, tar};
use inband_session::{Door, Pipeline, Rates, Settled};
use inband_store::file::FileMedium;
use inband_store::text::Text;
use inband_store::{FingerprintKey, Firmware, Layout, Options, Region, Slot, Store};

#[path = "../../package/tests/support/counting.rs"]
mod counting;

use counting::{HELD, PEAK};

const NOW: Duration = Duration::from_secs(1000);
const RATES: Rates = Rates { sessions: 200, rewrites: 24 };
/// Bytes of a slot: all the chunks, and the longest one there can be.
const SLOT: u64 = 2 << 20;

type Line = Pipeline<FileMedium, KeyRing>;

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[5; 32])
}

/// Each chunk its own content, or every other one.
fn content(number: usize) -> Vec<u8> {
    let length = if number == 0 { 128 * 1024 } else { 64 };
    let mut bytes = vec![0x5a; length];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

/// What is sent for the content of this number where it is compressed.
fn frame(number: usize) -> Vec<u8> {
    zstd::bulk::compress(&content(number), 19).unwrap()
}

/// As many chunks as an index has room for, of these contents; the first is compressed.
struct Package {
    /// Up to the first member.
    beginning: Vec<u8>,
    /// Numbers of the contents.
    contents: Vec<usize>,
}

impl Package {
    fn new(version: &str, contents: impl Iterator<Item = usize>) -> Self {
        let member = |chunks: Vec<Chunk>| Member {
            name: "image".into(),
            kind: MemberKind::Image,
            target: 0,
            length: chunks.iter().map(|chunk| u64::from(chunk.length)).sum(),
            chunks,
        };
        let mut index = Index {
            machine: "board".into(),
            compatible: vec![],
            version: version.into(),
            security_version: 2,
            bcd_device: 0x0200,
            targets: vec!["bmc".into()],
            members: vec![member(vec![])],
        };
        let empty = index.encode().unwrap().len();
        // Entries have 37 bytes, the compressed one 73.
        let count = (MAX_INDEX_LENGTH as usize - empty - 73) / 37 + 1;
        let contents: Vec<usize> = contents.take(count).collect();
        let chunk = |number: &usize| {
            let bytes = content(*number);
            let encoding = if *number == 0 {
                let frame = frame(0);
                Encoding::Zstd(Sent { length: frame.len() as u32, digest: sha256(&frame) })
            } else {
                Encoding::Plain
            };
            Chunk { encoding, length: bytes.len() as u32, digest: sha256(&bytes) }
        };
        index.members = vec![member(contents.iter().map(chunk).collect())];
        let bytes = index.encode().unwrap();
        assert!(bytes.len() + 37 > MAX_INDEX_LENGTH as usize, "one more would not fit");
        let signer = key().public().unwrap().signature_entry();
        let head = Head {
            index_length: bytes.len() as u32,
            total_length: index.archive_length([signer.length].into_iter(), bytes.len() as u32).unwrap(),
            mtime: 0,
            index_digest: sha256(&bytes),
            signatures: vec![signer],
            machine: "board".into(),
        };
        let head = head.encode().unwrap();
        let signature = key().sign(&signed_bytes(&head));
        let mut beginning = Vec::new();
        for (name, bytes) in [
            ("inband.head", &head[..]),
            (Kind::Ed25519.member_name(), &signature[..]),
            ("inband.index", &bytes),
        ] {
            beginning.extend(tar::header(name, bytes.len() as u64, 0).unwrap());
            beginning.extend(bytes);
            beginning.resize(beginning.len().next_multiple_of(512), 0);
        }
        Self { beginning, contents }
    }
}

fn open(directory: &std::path::Path) -> Line {
    let medium = FileMedium::open(directory, SLOT).unwrap();
    let layout = Layout::new(SLOT, vec![Region::new("bmc", "image", 0, SLOT)]).unwrap();
    let options = Options { fingerprints: Some(FingerprintKey::new(9)), ..Options::default() };
    let store = Store::open(medium, layout, options).unwrap();
    let ring = KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap();
    Pipeline::new(store, ring, Policy::for_machine("board".into()), RATES)
}

/// A session to the staged slot. Returns how many chunks were sent, and the most that was held.
fn update(line: &mut Line, id: u32, package: &Package) -> (usize, usize) {
    PEAK.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
    line.begin_offer(id, Door::Bulk, NOW, Expected::ANYTHING).unwrap();
    for portion in package.beginning.chunks(64 * 1024) {
        line.push(portion).unwrap();
    }
    let mut missing = line.offered().unwrap().missing;
    let mut sent = 0;
    loop {
        for number in &missing {
            while !line.look().unwrap() {}
            let content_number = package.contents[*number as usize];
            let bytes = if content_number == 0 { frame(0) } else { content(content_number) };
            // In portions, so that chunks are gathered.
            for portion in bytes.chunks(bytes.len().div_ceil(2)) {
                line.chunk(*number, portion).unwrap();
            }
        }
        sent += missing.len();
        match line.settle().unwrap() {
            Settled::NotYet => missing.clear(),
            Settled::Missing(more) => missing = more,
            Settled::Complete(_) => break,
        }
    }
    line.finish().unwrap();
    (sent, PEAK.load(Ordering::Relaxed))
}

#[test]
fn a_session_holds_three_mebibytes_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut medium = FileMedium::create(&path, SLOT).unwrap();
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 1 };
    Store::create(&mut medium, &firmware).unwrap();
    drop(medium);
    let mut line = open(&path);

    // The packages are the host's.
    let first = Package::new("2.0", 0..);
    let turned = Package::new("2.1", core::iter::once(0).chain((1..first.contents.len()).rev()));
    let other = Package::new("2.2", core::iter::once(0).chain(1_000_000..));
    let same = Package::new("2.3", core::iter::once(0).chain(core::iter::repeat(2_000_000)));
    let before = HELD.load(Ordering::Relaxed);

    let mut id = 0;
    let mut peaks = Vec::new();
    let mut next = |line: &mut Line, package: &Package| {
        id += 1;
        let (sent, peak) = update(line, id, package);
        peaks.push(peak - before);
        sent
    };
    // To an empty slot, and then to the other one, with as long an index beside each of them.
    assert_eq!(next(&mut line, &first), first.contents.len());
    assert_eq!(line.boot(), Ok(Slot::B));
    line.confirm().unwrap();
    // The same, the other way round.
    assert_eq!(next(&mut line, &turned), 0, "all of it runs");
    // Identical.
    assert_eq!(next(&mut line, &turned), 0);
    // Others.
    assert_eq!(next(&mut line, &other), other.contents.len() - 1);
    // One content in all of them.
    assert_eq!(next(&mut line, &same), 1);

    println!("held at most, in bytes: {peaks:?}");
    assert!(peaks.iter().all(|peak| *peak < 3 << 20), "{peaks:?}");
}
