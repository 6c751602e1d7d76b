//! What a reader holds while a package streams through it: bounded, and not by the package's length.
//!
//! One test in this file: the allocator counts for the whole process.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inband_package::digest::Digest;
use inband_package::head::{Head, MAX_INDEX_LENGTH, MAX_TOTAL_LENGTH, SignatureEntry};
use inband_package::index::{Index, MAX_CHUNK_LENGTH, Member, MemberKind};
use inband_package::maker::{Input, PackOptions, PrivateKey, Source, pack, sign};
use inband_package::reader::Error;
use inband_package::signature::{Hash, Kind, MAX_LENGTH, RsaPadding, Scheme};
use inband_package::{Checked, KeyRing, Policy, Progress, Reader, Refusal, Sink, Verifier, tar};

#[path = "support/counting.rs"]
mod counting;

use counting::{HELD, PEAK};

/// The most that `work` holds at once beyond what was held before it.
fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (PEAK.load(Ordering::Relaxed).saturating_sub(before), result)
}

/// Lets everything go.
struct Nothing;

impl Sink for Nothing {
    type Error = Infallible;

    fn begin(&mut self, _: &Head, _: &Digest, _: &Arc<Index>, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn chunk(&mut self, _: &Checked<'_>) -> Result<(), Infallible> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Refuses every signature, but only after all of them have come.
struct RefuseLate;

impl Verifier for RefuseLate {
    fn accepts(&self, _: &Head) -> Result<(), Refusal> {
        Ok(())
    }

    fn verify(&self, _: &Head, _: &[u8; 512], _: &[Vec<u8>]) -> Result<(), Refusal> {
        Err(Refusal::BadSignature { kind: Kind::MlDsa })
    }
}

fn policy() -> Policy {
    Policy::for_machine("m".into())
}

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

/// Packs `length` bytes that do not repeat, and gives the file, what packing held at most, and the index's
/// length.
fn package(length: u64, compression: Option<i32>) -> (File, usize, usize) {
    let mut member = tempfile::NamedTempFile::new().unwrap();
    let mut writer = BufWriter::new(member.as_file_mut());
    let mut state: u64 = 1;
    for _ in 0..length / 8 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Half of it is noise.
        writer.write_all(&(state.rotate_left(23) & 0xFFFF_FFFF).to_le_bytes()).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let options = PackOptions {
        machine: "m".into(),
        compatible: vec![],
        version: "1".into(),
        security_version: 0,
        bcd_device: 0,
        targets: vec!["bmc".into()],
        mtime: 0,
        compression,
        signers: vec![key().public().unwrap().signature_entry()],
    };
    let source = Source::File(member.path().into());
    let input = Input { name: "image-bmc".into(), kind: MemberKind::Image, target: 0, source };
    let mut file = tempfile::tempfile().unwrap();
    let (peak, packed) = peak_of(|| pack(&options, &[input], &mut file).unwrap());
    sign(&mut file, &key()).unwrap();
    file.rewind().unwrap();
    (file, peak, packed.head.index_length as usize)
}

/// Reads a package in pieces of 4 KiB, as DFU brings it; gives what the reader held at most.
fn read(mut file: File) -> usize {
    let keys = KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap();
    let mut buffer = [0; 4096];
    let (peak, progress) = peak_of(|| {
        let mut reader = Reader::new(keys, policy());
        let mut progress = Progress::More;
        loop {
            let count = file.read(&mut buffer).unwrap();
            if count == 0 {
                return progress;
            }
            progress = reader.push(&buffer[..count], &mut Nothing).unwrap();
        }
    });
    assert_eq!(progress, Progress::Complete);
    peak
}

/// The start of a package whose head announces as much as the format allows, and as long a signature as it allows
/// with each scheme, up to the last signature's last byte; and where each signature begins.
fn announcement(signatures: &[SignatureEntry]) -> (Vec<u8>, Vec<usize>) {
    let head = Head {
        index_length: MAX_INDEX_LENGTH,
        total_length: MAX_TOTAL_LENGTH,
        mtime: 0,
        index_digest: [0; 32],
        signatures: signatures.to_vec(),
        machine: "m".into(),
    };
    let mut stream = tar::header("inband.head", 512, 0).unwrap().to_vec();
    stream.extend_from_slice(&head.encode().unwrap());
    let mut starts = Vec::new();
    for SignatureEntry { scheme, length, .. } in signatures {
        stream.resize(stream.len().next_multiple_of(512), 0);
        let name = scheme.kind().member_name();
        stream.extend_from_slice(&tar::header(name, (*length).into(), 0).unwrap());
        starts.push(stream.len());
        stream.resize(stream.len() + usize::from(*length), 1);
    }
    (stream, starts)
}

fn entry(scheme: Scheme, length: u16) -> SignatureEntry {
    SignatureEntry { scheme, length, key_id: [0; 32] }
}

/// Sends the most that can be sent without a valid signature, a byte at a time; gives what the reader held at
/// most.
fn read_unauthenticated() -> usize {
    let rsa = Scheme::Rsa(RsaPadding::Pss, Hash::Sha256);
    let (stream, _) = announcement(&[
        entry(Scheme::Ed25519, 64),
        entry(Scheme::P384, 96),
        entry(rsa, 512),
        entry(Scheme::MlDsa, MAX_LENGTH),
    ]);
    let (peak, last) = peak_of(|| {
        let mut reader = Reader::new(RefuseLate, policy());
        let mut last = Ok(Progress::More);
        for byte in &stream {
            assert_eq!(last, Ok(Progress::More));
            last = reader.push(&[*byte], &mut Nothing);
        }
        last
    });
    assert_eq!(last, Err(Error::Refused(Refusal::BadSignature { kind: Kind::MlDsa })));
    peak
}

/// Announces the longest signature, index and package, and sends `bytes` of the signature; gives what the reader held
/// at most.
fn read_announcement(bytes: usize) -> usize {
    let (stream, starts) = announcement(&[entry(Scheme::MlDsa, MAX_LENGTH)]);
    let (peak, progress) = peak_of(|| {
        let mut reader = Reader::new(RefuseLate, policy());
        reader.push(&stream[..starts[0] + bytes], &mut Nothing)
    });
    assert_eq!(progress, Ok(Progress::More));
    peak
}

/// Parses an index whose one member claims so many chunks and bytes, and has none; gives what that took at most.
fn parse_claim(chunks: u32, length: u64) -> usize {
    let member = Member { name: "m".into(), kind: MemberKind::Image, target: 0, length: 0, chunks: vec![] };
    let index = Index {
        machine: "m".into(),
        compatible: vec![],
        version: "1".into(),
        security_version: 0,
        bcd_device: 0,
        targets: vec!["bmc".into()],
        members: vec![member],
    };
    let mut bytes = index.encode().unwrap();
    let end = bytes.len();
    bytes[end - 12..end - 4].copy_from_slice(&length.to_le_bytes());
    bytes[end - 4..].copy_from_slice(&chunks.to_le_bytes());
    let (peak, parsed) = peak_of(|| Index::parse(&bytes).map(drop));
    assert!(parsed.is_err());
    peak
}

#[test]
fn nothing_grows_with_the_package() {
    // Blocks, names, and the heads of lists.
    let small = 8 * 1024;
    let chunk = MAX_CHUNK_LENGTH as usize;

    // The signatures as they come, and little else: an index of 512 KiB is announced, but not paid for.
    let unauthenticated = read_unauthenticated();
    assert!(unauthenticated < small + 2 * usize::from(MAX_LENGTH), "{unauthenticated} bytes");

    // Nor is a signature paid for before it comes: the head and two blocks on their way.
    let announced = read_announcement(0);
    assert!(announced < 4 * 1024, "{announced} bytes for an announcement");
    let begun = read_announcement(1);
    assert!(begun < announced + 512, "{begun} bytes for a byte of a signature");
    // Counts and lengths in an index take memory only for what is there.
    for (chunks, length) in [(u32::MAX, u64::MAX), (u32::MAX, 0), (1, 1), (0, u64::MAX)] {
        let claimed = parse_claim(chunks, length);
        assert!(claimed < 8 * 1024, "{claimed} bytes for a claim of {chunks} chunks and {length} bytes");
    }

    for length in [1 << 20, 48 << 20] {
        let (file, packing, index) = package(length, None);
        // A chunk with the cutter's buffer, and the index: parsed twice, since it checks itself, and written,
        // which may double.
        assert!(packing < 4 * chunk + 5 * index + small, "packing {length} bytes held {packing}");
        let reading = read(file);
        // One chunk, and the index, written and parsed.
        assert!(reading < chunk + 7 * index / 2 + small, "reading {length} bytes held {reading}");

        // As sent, as stored, and the decoder.
        let (file, _, index) = package(length, Some(1));
        let reading = read(file);
        assert!(reading < 2 * chunk + 7 * index / 2 + 512 * 1024, "decoding {length} bytes held {reading}");
    }
}
