//! Chunks by their numbers, behind the beginning of a package (docs/spec/bulk.md, 3.2).

use inband_package::reader::{Beginning, ChunkPlace, Error};
use inband_package::{Chunks, Progress, Reader, Refusal, spans};
use proptest::prelude::*;

use crate::common::{
    Call, Notes, Told, header_offsets, image, keys, noise, options, package_of, policy, small_package,
};

/// Three images of several chunks, one of them compressed where that is asked for, and an empty one between.
fn package(compression: Option<i32>) -> Vec<u8> {
    let text = (0..20_000_u32).flat_map(|line| line.to_le_bytes()).collect();
    let inputs = [
        image("image-kernel", noise(200_000, 1)),
        image("empty", Vec::new()),
        image("image-rofs", text),
        image("image-u-boot", noise(700, 2)),
    ];
    package_of(&inband_package::maker::PackOptions { compression, ..options() }, &inputs)
}

/// Where the first member's header stands: the beginning ends there.
fn beginning(package: &[u8]) -> usize {
    // Head, one signature, index.
    header_offsets(package)[3]
}

/// A reader that has got so much of a package.
fn reader(bytes: &[u8]) -> (Reader<inband_package::KeyRing>, Notes) {
    let (mut reader, mut notes) = (Reader::new(keys(), policy()), Notes::default());
    assert_eq!(reader.push(bytes, &mut notes), Ok(Progress::More));
    (reader, notes)
}

fn chunks(package: &[u8]) -> Chunks {
    let (mut reader, notes) = reader(&package[..beginning(package)]);
    assert!(matches!(notes.calls.as_slice(), [Call::Begin(_)]));
    let chunks = reader.chunks().unwrap();
    assert_eq!(reader.push(&[0], &mut Notes::default()), Err(Error::Failed));
    chunks
}

/// Chunks as they are sent, by their numbers: what the stream has of the members.
fn sent(package: &[u8]) -> Vec<Vec<u8>> {
    let index = chunks(package).index().clone();
    let headers = &header_offsets(package)[3..];
    let mut sent = Vec::new();
    for (member, header) in index.members.iter().zip(headers) {
        let mut at = header + 512;
        for chunk in &member.chunks {
            let length = chunk.sent().length as usize;
            sent.push(package[at..at + length].to_vec());
            at += length;
        }
    }
    sent
}

/// What the stream makes of a package's chunks.
fn streamed(package: &[u8]) -> Vec<Call> {
    let (notes, result) = crate::common::read(package);
    assert_eq!(result, Ok(()));
    notes.calls.into_iter().filter(|call| matches!(call, Call::Chunk(..))).collect()
}

#[test]
fn spans_are_where_the_bytes_stand() {
    for compression in [None, Some(3)] {
        let package = package(compression);
        let chunks = chunks(&package);
        assert_eq!(spans::beginning(chunks.head()), beginning(&package) as u64);
        let spans = spans::chunks(chunks.head(), chunks.index()).unwrap();
        let bytes = |span: &spans::Span| {
            let at = usize::try_from(span.offset).unwrap();
            package[at..at + span.length as usize].to_vec()
        };
        assert_eq!(spans.iter().map(bytes).collect::<Vec<_>>(), sent(&package));
    }
}

#[test]
fn places_are_those_of_the_index() {
    let package = package(None);
    let mut chunks = chunks(&package);
    let mut expected = Vec::new();
    for (member, entry) in chunks.index().members.iter().enumerate() {
        for (chunk, (offset, _)) in entry.chunks_with_offsets().enumerate() {
            expected.push(ChunkPlace { member, chunk, offset });
        }
    }
    assert!(expected.len() > 5);
    assert_eq!((0..).map_while(|number| chunks.place(number)).collect::<Vec<_>>(), expected);
    // In any order.
    let count = expected.len() as u32;
    for number in (0..count).chain((0..count).rev()).chain([3, 3, 0, count - 1, 1]) {
        assert_eq!(chunks.place(number), Some(expected[number as usize]));
    }
    assert_eq!(chunks.place(count), None);
    assert_eq!(chunks.place(u32::MAX), None);
    assert_eq!(chunks.place(2), Some(expected[2]), "behind one that there is not");
}

proptest! {
    #![proptest_config(crate::common::cases(32))]

    /// In any order, in any portions, any of them: each gives what the stream gives.
    #[test]
    fn chunks_in_any_order(
        compressed in any::<bool>(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        portion in 1_usize..70_000,
    ) {
        let package = package(compressed.then_some(3));
        let (sent, streamed) = (sent(&package), streamed(&package));
        let mut chunks = chunks(&package);
        for pick in order {
            let number = pick.index(sent.len());
            let mut notes = Notes::default();
            let mut portions = sent[number].chunks(portion).peekable();
            while let Some(bytes) = portions.next() {
                let complete = chunks.push(number as u32, bytes, &mut notes).unwrap();
                prop_assert_eq!(complete, portions.peek().is_none());
            }
            prop_assert_eq!(&notes.calls[..], &streamed[number..=number]);
        }
    }
}

#[test]
fn bytes_that_are_not_signed_go_nowhere() {
    for compression in [None, Some(3)] {
        let package = package(compression);
        let sent = sent(&package);
        for (number, good) in sent.iter().enumerate() {
            for at in [0, good.len() / 2, good.len() - 1] {
                let mut chunks = chunks(&package);
                let mut bad = good.clone();
                bad[at] ^= 1;
                let mut notes = Notes::default();
                let refused = chunks.push(number as u32, &bad, &mut notes);
                assert!(matches!(refused, Err(Error::Refused(Refusal::BadChunk { .. }))), "{refused:?}");
                assert_eq!(notes.calls, []);
            }
        }
        // The right bytes in another place.
        let refused = chunks(&package).push(0, &sent[1], &mut Notes::default());
        assert!(refused.is_err() || sent[0].len() > sent[1].len());
    }
}

#[test]
fn what_no_caller_gives() {
    let package = package(None);
    let sent = sent(&package);
    let mut chunks = chunks(&package);
    let mut notes = Notes::default();
    let count = sent.len() as u32;
    assert_eq!(chunks.push(count, &[1], &mut notes), Err(Error::Failed));
    let longer = [&sent[0][..], &[0]].concat();
    assert_eq!(chunks.push(0, &longer, &mut notes), Err(Error::Failed));
    assert_eq!(notes.calls, []);
    // A chunk that was begun is forgotten with the first byte of another.
    assert_eq!(chunks.push(0, &sent[0][..10], &mut notes), Ok(false));
    assert_eq!(chunks.push(1, &sent[1], &mut notes), Ok(true));
    assert_eq!(chunks.push(0, &sent[0][..10], &mut notes), Ok(false));
    assert_eq!(chunks.push(2, &sent[2][..20], &mut notes), Ok(false));
    assert_eq!(chunks.push(2, &sent[2][20..], &mut notes), Ok(true));
    assert_eq!(chunks.push(0, &sent[0], &mut notes), Ok(true));
    assert_eq!(notes.calls.len(), 3);
}

#[test]
fn a_sink_that_fails() {
    let package = package(None);
    let mut notes = Notes { fail_at: Some(1), ..Notes::default() };
    assert_eq!(chunks(&package).push(0, &sent(&package)[0], &mut notes), Err(Error::Sink(Told)));
}

#[test]
fn beginnings_that_are_none() {
    let package = small_package();
    let end = beginning(&package);
    for length in [0, 1, 512, 1024, 1536, 2047, end - 1] {
        let short = reader(&package[..length]).0.chunks().err();
        assert!(matches!(short, Some(Beginning::Short(Refusal::Truncated { .. }))), "{length}: {short:?}");
    }
    for length in [end + 1, end + 512, end + 513, package.len() - 1] {
        assert_eq!(reader(&package[..length]).0.chunks().err(), Some(Beginning::Long), "{length}");
    }
    let (mut whole, mut notes) = (Reader::new(keys(), policy()), Notes::default());
    assert_eq!(whole.push(&package, &mut notes), Ok(Progress::Complete));
    assert_eq!(whole.chunks().err(), Some(Beginning::Long));
    // Of one that was refused the refusal.
    let mut reader = Reader::new(keys(), policy());
    let mut bad = package[..end].to_vec();
    bad[1536] ^= 1;
    assert!(reader.push(&bad, &mut notes).is_err());
    let short = reader.chunks().err();
    assert_eq!(short, Some(Beginning::Short(Refusal::BadSignature { kind: inband_package::Kind::Ed25519 })));
}
