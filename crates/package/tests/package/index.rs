//! The index's rules, one by one.

use inband_package::index::{Chunk, Encoding, Index, IndexError, MAX_CHUNK_LENGTH, Member, MemberKind};
use proptest::prelude::*;

fn chunk(length: u32, byte: u8) -> Chunk {
    Chunk { encoding: Encoding::Plain, length, digest: [byte; 32] }
}

fn index() -> Index {
    let member = |name: &str, kind, chunks: Vec<Chunk>| {
        let length = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        Member { name: name.into(), kind, target: 0, length, chunks }
    };
    Index {
        machine: "evb-ast2600".into(),
        compatible: vec!["com.example.one".into(), "com.example.two".into()],
        version: "2.14.0".into(),
        security_version: 7,
        bcd_device: 0x0214,
        targets: vec!["bmc".into(), "bios".into()],
        members: vec![
            member("image-kernel", MemberKind::Image, vec![chunk(1, 1), chunk(MAX_CHUNK_LENGTH, 2)]),
            member("MANIFEST", MemberKind::Metadata, vec![chunk(12, 3)]),
        ],
    }
}

/// Where fields of the index above stand.
mod at {
    pub(super) const FLAGS: usize = 10;
    pub(super) const COMPATIBLE: usize = 12 + 12;
    pub(super) const VERSION: usize = COMPATIBLE + 1 + 2 * 16;
    pub(super) const BCD: usize = VERSION + 7 + 4;
    pub(super) const TARGETS: usize = BCD + 2;
    pub(super) const COUNT: usize = TARGETS + 1 + 4 + 5;
    pub(super) const MEMBER: usize = COUNT + 2;
    pub(super) const KIND: usize = MEMBER + 13;
    pub(super) const LENGTH: usize = KIND + 2;
    pub(super) const CHUNKS: usize = LENGTH + 8;
    pub(super) const CHUNK: usize = CHUNKS + 4;
}

/// What becomes of the index with these bytes at this offset.
fn with(at: usize, bytes: &[u8]) -> Result<(), IndexError> {
    let mut index = index().encode().unwrap();
    index[at..at + bytes.len()].copy_from_slice(bytes);
    Index::parse(&index).map(drop)
}

/// What becomes of the index after this change.
fn changed(change: impl FnOnce(&mut Index)) -> Result<(), IndexError> {
    let mut index = index();
    change(&mut index);
    let written = index.encode()?;
    assert_eq!(Index::parse(&written), Ok(index));
    Ok(())
}

#[test]
fn what_is_written_reads_back() {
    assert_eq!(changed(|_| ()), Ok(()));
}

#[test]
fn offsets_add_up() {
    let index = index();
    let offsets: Vec<_> =
        index.members[0].chunks_with_offsets().map(|(offset, chunk)| (offset, chunk.length)).collect();
    assert_eq!(offsets, [(0, 1), (1, MAX_CHUNK_LENGTH)]);
}

#[test]
fn cut_at_any_length_is_refused() {
    let written = index().encode().unwrap();
    for length in 0..written.len() {
        assert!(Index::parse(&written[..length]).is_err(), "cut at {length}");
    }
    assert_eq!(Index::parse(&[&written[..], &[0, 0]].concat()), Err(IndexError::Trailing(2)));
}

#[test]
fn the_first_fields() {
    assert_eq!(with(0, b"INBANDFW"), Err(IndexError::Magic));
    assert_eq!(with(8, &[2, 0]), Err(IndexError::Version(2)));
    assert_eq!(with(at::FLAGS, &[1, 0]), Err(IndexError::Reserved));
    assert_eq!(with(at::FLAGS, &[0, 1]), Err(IndexError::Reserved));
}

#[test]
fn bounds_of_names() {
    let message = |result: Result<(), IndexError>| result.unwrap_err().to_string();
    let length = |field| format!("{field} has a length that is not allowed");
    assert_eq!(message(changed(|index| index.machine.clear())), length("the machine"));
    assert_eq!(message(changed(|index| index.machine = "m".repeat(49))), length("the machine"));
    assert_eq!(message(changed(|index| index.version.clear())), length("the version"));
    assert_eq!(message(changed(|index| index.version = "1".repeat(49))), length("the version"));
    assert_eq!(message(changed(|index| index.version = "1".repeat(256))), length("the version"));
    assert_eq!(
        message(changed(|index| index.version = "1 2".into())),
        "the version has a character other than A-Z a-z 0-9 . _ - + : ~ @ /"
    );
    assert_eq!(message(changed(|index| index.targets[1] = "t".repeat(17))), length("the list of targets"));
    assert_eq!(
        message(changed(|index| index.compatible[1] = "c".repeat(49))),
        length("the list of compatible machines")
    );
    assert_eq!(message(changed(|index| index.members[1].name = "m".repeat(100))), length("member 1"));
    assert_eq!(changed(|index| index.members[1].name = "m".repeat(99)), Ok(()));
    assert_eq!(changed(|index| index.version = "1".repeat(48)), Ok(()));
    assert_eq!(changed(|index| index.targets[1] = "t".repeat(16)), Ok(()));
}

#[test]
fn bounds_of_counts() {
    assert_eq!(changed(|index| index.compatible.clear()), Ok(()));
    assert_eq!(changed(|index| index.compatible = vec!["c".into(); 16]), Ok(()));
    assert!(changed(|index| index.compatible = vec!["c".into(); 17]).is_err());
    assert!(changed(|index| index.compatible = vec!["c".into(); 256]).is_err());
    assert!(changed(|index| index.targets.clear()).is_err());
    let targets = |count: usize| (0..count).map(|number| format!("t{number}")).collect();
    assert_eq!(changed(|index| index.targets = targets(4)), Ok(()));
    assert!(changed(|index| index.targets = targets(5)).is_err());
    let members = |count: usize| {
        let member = |number| Member {
            name: format!("m{number}"),
            length: 0,
            chunks: vec![],
            ..index().members.remove(0)
        };
        (0..count).map(member).collect()
    };
    assert!(changed(|index| index.members = members(0)).is_err());
    assert_eq!(changed(|index| index.members = members(64)), Ok(()));
    assert!(changed(|index| index.members = members(65)).is_err());
    assert!(changed(|index| index.members = members(65_536)).is_err());
}

#[test]
fn names_stand_once() {
    assert_eq!(changed(|index| index.targets[1] = "bmc".into()), Err(IndexError::TargetTwice(1)));
    assert_eq!(
        changed(|index| index.members[1].name = "image-kernel".into()),
        Err(IndexError::MemberTwice(1))
    );
}

#[test]
fn names_of_members() {
    for name in
        ["inband.head", "inband.", "/etc", "a//b", "a/", "/", ".", "..", "./a", "a/../b", "a/.", "../a"]
    {
        let result = changed(|index| index.members[1].name = name.into());
        assert_eq!(result, Err(IndexError::MemberName(1)), "{name}");
    }
    for name in ["inband", "Inband.head", "a/b", "...", "a..b", ".a", "a/inband.x"] {
        assert_eq!(changed(|index| index.members[1].name = name.into()), Ok(()), "{name}");
    }
}

#[test]
fn bcd_device_is_decimal() {
    assert_eq!(changed(|index| index.bcd_device = 0x9999), Ok(()));
    for value in [0x000A, 0x00A0, 0x0A00, 0xA000, 0xFFFF] {
        assert_eq!(changed(|index| index.bcd_device = value), Err(IndexError::BcdDevice(value)));
    }
    assert_eq!(with(at::BCD, &[0x1F, 0]), Err(IndexError::BcdDevice(0x001F)));
}

#[test]
fn fields_of_members() {
    assert_eq!(with(at::KIND, &[2]), Err(IndexError::MemberKind { member: 0, kind: 2 }));
    assert_eq!(with(at::KIND + 1, &[1]), Ok(()));
    assert_eq!(with(at::KIND + 1, &[2]), Err(IndexError::MemberTarget(0)));
    assert_eq!(changed(|index| index.members[1].length += 1), Err(IndexError::MemberLength(1)));
    assert_eq!(changed(|index| index.members[1].length = u64::MAX), Err(IndexError::MemberLength(1)));
    assert_eq!(with(at::LENGTH, &[0; 8]), Err(IndexError::MemberLength(0)));
    for count in [100, u32::MAX] {
        let message = with(at::CHUNKS, &count.to_le_bytes()).unwrap_err().to_string();
        assert_eq!(message, "member 0 ends too early", "{count} chunks");
    }
}

#[test]
fn fields_of_chunks() {
    for encoding in 2..=u8::MAX {
        assert_eq!(with(at::CHUNK, &[encoding]), Err(IndexError::Encoding { member: 0, chunk: 0, encoding }));
    }
    let refused = |length| Err(IndexError::ChunkLength { member: 0, chunk: 1, length });
    for length in [0, MAX_CHUNK_LENGTH + 1, u32::MAX] {
        assert_eq!(with(at::CHUNK + 37 + 1, &length.to_le_bytes()), refused(length));
    }
}

#[test]
fn an_index_has_an_upper_bound() {
    let chunks = |count: usize| vec![chunk(1, 9); count];
    let with_chunks = |count: usize| {
        changed(|index| {
            index.members[1].chunks = chunks(count);
            index.members[1].length = count as u64;
        })
    };
    assert_eq!(with_chunks(14_000), Ok(()));
    assert!(matches!(with_chunks(14_200), Err(IndexError::TooLong(_))));
}

#[test]
fn archive_lengths_add_up() {
    let index = index();
    // One header each for head, signature, index and members; blocks: 1, 1, 2, 257, 1; end 2.
    let of = |index: &Index| index.archive_length([64].into_iter(), 600);
    assert_eq!(of(&index), Some(512 * (5 + 1 + 1 + 2 + 257 + 1 + 2)));
}

proptest! {
    #[test]
    fn an_index_that_reads_is_written_the_same(at: prop::sample::Index, bytes: [u8; 3]) {
        let mut written = index().encode().unwrap();
        let at = at.index(written.len() - 3);
        written[at..at + 3].copy_from_slice(&bytes);
        if let Ok(index) = Index::parse(&written) {
            prop_assert_eq!(index.encode(), Ok(written));
        }
    }
}
