//! Packages with compressed chunks.

use std::io::Cursor;
use std::sync::OnceLock;

use inband_package::digest::sha256;
use inband_package::index::{Chunk, Encoding, Index, IndexError, Member, MemberKind, Sent};
use inband_package::maker::{MakeError, PackOptions, pack, sign, verify};
use inband_package::refusal::ArchivePart;
use inband_package::{Head, Refusal, tar};
use proptest::prelude::*;

use crate::common::{
    Call, cases, header_offsets, image, key, keys, noise, options, policy, read, read_with, refusal, resign,
    stride,
};
use crate::programs::run_for_text;

/// Text that compresses well.
fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|line: u32| format!("{line}: {}\n", line * 7919).into_bytes()).take(length).collect()
}

/// Text, then noise.
fn half_and_half() -> Vec<u8> {
    [text(150_000), noise(150_000, 21)].concat()
}

fn package() -> &'static [u8] {
    static PACKAGE: OnceLock<Vec<u8>> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let mut manifest = image("MANIFEST", text(3000));
        manifest.kind = MemberKind::Metadata;
        let options = PackOptions { compression: Some(19), ..options() };
        let inputs = [
            manifest,
            image("image-rofs", half_and_half()),
            image("image-noise", noise(40_000, 22)),
            image("empty", vec![]),
        ];
        let mut file = Cursor::new(Vec::new());
        pack(&options, &inputs, &mut file).unwrap();
        sign(&mut file, &key()).unwrap();
        file.into_inner()
    })
}

fn index_of(package: &[u8]) -> Index {
    verify(&mut Cursor::new(package), &keys(), policy()).unwrap().index
}

fn zstd_chunks(member: &Member) -> usize {
    member.chunks.iter().filter(|chunk| chunk.encoding != Encoding::Plain).count()
}

#[test]
fn what_was_packed_comes_out() {
    let (notes, result) = read(package());
    assert_eq!(result, Ok(()));
    let mut members = vec![Vec::new(); 4];
    for call in &notes.calls {
        if let Call::Chunk(member, offset, data) = call {
            assert_eq!(*offset, members[*member].len() as u64);
            members[*member].extend_from_slice(data);
        }
    }
    assert_eq!(members, [text(3000), half_and_half(), noise(40_000, 22), vec![]]);
}

#[test]
fn only_what_saves_a_tenth_of_an_image_is_compressed() {
    let index = index_of(package());
    let [manifest, rofs, noise, empty] = index.members.as_slice() else { panic!("{index:?}") };
    for plain in [manifest, noise, empty] {
        assert_eq!(zstd_chunks(plain), 0);
        assert_eq!((plain.archive_name(), plain.sent_length()), (plain.name.clone(), plain.length));
    }
    let compressed = zstd_chunks(rofs);
    assert!(compressed > 0 && compressed < rofs.chunks.len(), "{compressed} of {}", rofs.chunks.len());
    for chunk in &rofs.chunks {
        let sent = chunk.sent();
        match chunk.encoding {
            Encoding::Plain => assert_eq!((sent.length, sent.digest), (chunk.length, chunk.digest)),
            Encoding::Zstd(_) => assert!(u64::from(sent.length) * 10 <= u64::from(chunk.length) * 9),
        }
    }
    assert_eq!(rofs.archive_name(), "inband.chunks/image-rofs");
    assert_eq!(rofs.length, 300_000);
    assert!(rofs.sent_length() < 220_000);
}

#[test]
fn an_image_of_noise_packs_as_without_compression() {
    let input = [image("image-bmc", noise(200_000, 23))];
    let packed = |compression| {
        let mut file = Vec::new();
        pack(&PackOptions { compression, ..options() }, &input, &mut file).unwrap();
        file
    };
    assert!(packed(Some(3)) == packed(None));
    let refused = pack(&PackOptions { compression: Some(1000), ..options() }, &input, &mut Vec::new());
    assert!(matches!(refused, Err(MakeError::Compression(_))));
}

#[test]
fn the_archive_is_a_tar_whose_frames_zstd_reads() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("package.tar"), package()).unwrap();
    let listed = run_for_text(folder.path(), "tar", &["-tf", "package.tar"]);
    let names: Vec<_> = listed.lines().skip(3).collect();
    assert_eq!(names, ["MANIFEST", "inband.chunks/image-rofs", "image-noise", "empty"]);
    // One frame behind the other; the library is not the one that decodes on the BMC.
    let member = &index_of(package()).members[1];
    let mut at = header_offsets(package())[4] + 512;
    let mut content = Vec::new();
    for chunk in &member.chunks {
        let sent = &package()[at..at + chunk.sent().length as usize];
        at += sent.len();
        match chunk.encoding {
            Encoding::Plain => content.extend_from_slice(sent),
            Encoding::Zstd(_) => content.extend(zstd::bulk::decompress(sent, chunk.length as usize).unwrap()),
        }
    }
    assert_eq!(content, half_and_half());
}

/// A signed package with one chunk that is sent as `sent` and stored as this many bytes with this hash.
fn with_frame(sent: &[u8], length: u32, digest: [u8; 32]) -> Vec<u8> {
    let encoding = Encoding::Zstd(Sent { length: sent.len() as u32, digest: sha256(sent) });
    let member = Member {
        name: "image".into(),
        kind: MemberKind::Image,
        target: 0,
        length: length.into(),
        chunks: vec![Chunk { encoding, length, digest }],
    };
    let entry = key().public().unwrap().signature_entry();
    let index = Index {
        machine: policy().machine,
        compatible: vec![],
        version: "1".into(),
        security_version: 3,
        bcd_device: 1,
        targets: vec!["bmc".into()],
        members: vec![member],
    };
    let index_bytes = index.encode().unwrap();
    let index_length = index_bytes.len() as u32;
    let head = Head {
        index_length,
        total_length: index.archive_length([entry.length].into_iter(), index_length).unwrap(),
        mtime: 0,
        index_digest: sha256(&index_bytes),
        signatures: vec![entry],
        machine: policy().machine,
    };
    let mut package = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| {
        package.extend_from_slice(&tar::header(name, bytes.len() as u64, 0).unwrap());
        package.extend_from_slice(bytes);
        package.resize(package.len().next_multiple_of(512), 0);
    };
    put("inband.head", &head.encode().unwrap());
    put("inband.head.ed25519.sig", &[0; 64]);
    put("inband.index", &index_bytes);
    put("inband.chunks/image", sent);
    package.resize(package.len() + 1024, 0);
    resign(&mut package);
    package
}

fn frame_of(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 19).unwrap()
}

#[test]
fn a_chunk_must_be_what_both_hashes_say() {
    let content = text(5000);
    let frame = frame_of(&content);
    let digest = sha256(&content);
    let bad = Err(Refusal::BadChunk { member: "image".into(), offset: 0 });
    let verdict = |package: &[u8]| read(package).1;
    assert_eq!(verdict(&with_frame(&frame, 5000, digest)), Ok(()));
    // Signed by the right key, and still not taken: nothing but these 5,000 bytes may come out.
    assert_eq!(verdict(&with_frame(&frame, 5000, sha256(b"other"))), bad);
    assert_eq!(verdict(&with_frame(&frame, 5001, digest)), bad);
    assert_eq!(verdict(&with_frame(&frame, 4999, digest)), bad);
    assert_eq!(verdict(&with_frame(&[&frame[..], &[0]].concat(), 5000, digest)), bad);
    assert_eq!(verdict(&with_frame(&frame[..frame.len() - 1], 5000, digest)), bad);
    assert_eq!(verdict(&with_frame(&frame_of(&text(5001)), 5000, digest)), bad);
    assert_eq!(verdict(&with_frame(b"junk", 5000, digest)), bad);
    // Two frames that decode to the content.
    let two = [frame_of(&content[..2000]), frame_of(&content[2000..])].concat();
    assert_eq!(verdict(&with_frame(&two, 5000, digest)), bad);
    // Nothing of a bad chunk is handed on.
    let calls = read(&with_frame(&frame, 5000, sha256(b"other"))).0.calls;
    assert!(matches!(calls.as_slice(), [Call::Begin(_)]));
}

#[test]
fn the_hash_of_what_is_sent_comes_first() {
    let content = text(5000);
    let frame = frame_of(&content);
    let mut package = with_frame(&frame, 5000, sha256(&content));
    let starts = header_offsets(&package);
    for at in starts[3] + 512..starts[3] + 512 + frame.len() {
        package[at] ^= 0x10;
        assert_eq!(refusal(&package), Refusal::BadChunk { member: "image".into(), offset: 0 });
        package[at] ^= 0x10;
    }
    package[starts[3]] ^= 1;
    let part = ArchivePart::Header("inband.chunks/image".into());
    assert_eq!(refusal(&package), Refusal::BadArchive { part, offset: starts[3] as u64 });
}

#[test]
fn a_compressed_member_goes_by_no_other_name() {
    // Under the plain name another program would take the frames for the image.
    let content = text(5000);
    let mut package = with_frame(&frame_of(&content), 5000, sha256(&content));
    let start = header_offsets(&package)[3];
    let sent = frame_of(&content).len() as u64;
    package[start..start + 512].copy_from_slice(&tar::header("image", sent, 0).unwrap());
    assert!(matches!(refusal(&package), Refusal::BadArchive { .. }));
}

#[test]
fn the_index_s_rules_for_compressed_chunks() {
    let index = |name: &str, sent: u32, length: u32| {
        let encoding = Encoding::Zstd(Sent { length: sent, digest: [2; 32] });
        let chunks = vec![Chunk { encoding, length, digest: [1; 32] }];
        let member =
            Member { name: name.into(), kind: MemberKind::Image, target: 0, length: length.into(), chunks };
        Index { members: vec![member], ..index_of(package()) }.encode().map(drop)
    };
    assert_eq!(index("a", 1, 2), Ok(()));
    assert_eq!(index("a", 131_071, 131_072), Ok(()));
    for (sent, length) in [(0, 1), (1, 1), (0, 2), (2, 2), (3, 2), (131_072, 131_072), (u32::MAX, 131_072)] {
        let refused = IndexError::SentLength { member: 0, chunk: 0, length: sent };
        assert_eq!(index("a", sent, length), Err(refused), "{sent} for {length}");
    }
    assert_eq!(index("a", 1, 131_073), Err(IndexError::ChunkLength { member: 0, chunk: 0, length: 131_073 }));
    // The name in the archive is longer.
    assert_eq!(index(&"n".repeat(85), 1, 2), Ok(()));
    assert_eq!(index(&"n".repeat(86), 1, 2), Err(IndexError::MemberName(0)));
}

#[test]
fn an_index_cut_in_a_compressed_chunk_is_refused() {
    let encoding = Encoding::Zstd(Sent { length: 1, digest: [2; 32] });
    let chunks = vec![Chunk { encoding, length: 2, digest: [1; 32] }; 3];
    let member = Member { name: "a".into(), kind: MemberKind::Image, target: 0, length: 6, chunks };
    let bytes = Index { members: vec![member], ..index_of(package()) }.encode().unwrap();
    for length in 0..bytes.len() {
        assert!(Index::parse(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(Index::parse(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn any_single_byte_changed_is_refused() {
    let content = text(700);
    let package = with_frame(&frame_of(&content), 700, sha256(&content));
    assert_eq!(read(&package).1, Ok(()));
    for at in (0..package.len()).step_by(stride()) {
        for change in [0x01, 0x80, 0xFF] {
            let mut changed = package.clone();
            changed[at] ^= change;
            let (notes, result) = read(&changed);
            assert!(result.is_err() && !notes.ended(), "byte {at} changed by {change:#04x}");
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_portions_are_the_same_as_all_at_once(size in 1..100_000_usize) {
        let pieces = |pieces: Vec<&[u8]>| { let (notes, result) = read_with(keys(), policy(), pieces); (notes.calls, result) };
        prop_assert_eq!(pieces(package().chunks(size).collect()), pieces(vec![package()]));
    }

    #[test]
    fn a_damaged_frame_gives_the_content_or_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..4),
        length in 300..8000_usize,
    ) {
        // As a signer with a broken compressor would make it: the hash of the frame is right.
        let content = text(length);
        let mut frame = frame_of(&content);
        for (at, change) in changes {
            let at = at.index(frame.len());
            frame[at] ^= change;
        }
        let (notes, result) = read(&with_frame(&frame, length as u32, sha256(&content)));
        let handed_on = notes.calls.iter().any(|call| matches!(call, Call::Chunk(_, _, data) if *data != content));
        prop_assert!(!handed_on);
        prop_assert_eq!(result.is_ok(), notes.ended());
    }
}
