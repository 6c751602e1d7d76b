//! A whole package, changed in any byte, cut at any length, with parts exchanged, or pushed in any portions.

use std::sync::OnceLock;

use inband_package::reader::{Error, Phase};
use inband_package::{Progress, Reader, Refusal};
use proptest::prelude::*;

use crate::common::{
    Call, Notes, Told, cases, header_offsets, image, keys, noise, options, package_of, policy, read,
    read_with, refusal, small_package, stride,
};

/// A package with many chunks.
fn large_package() -> &'static [u8] {
    static PACKAGE: OnceLock<Vec<u8>> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        package_of(
            &options(),
            &[image("image-rofs", noise(700_000, 3)), image("image-kernel", noise(90_001, 4))],
        )
    })
}

/// A DFU suffix for `package`, made byte by byte with a bitwise CRC.
fn suffix(package: &[u8]) -> [u8; 16] {
    let mut suffix = *b"\x14\x02\x39\x30\x09\x12\x00\x01UFD\x10\0\0\0\0";
    let mut crc = u32::MAX;
    for byte in package.iter().chain(&suffix[..12]) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    suffix[12..].copy_from_slice(&crc.to_le_bytes());
    suffix
}

#[test]
fn a_good_package_comes_through() {
    let (notes, result) = read(&small_package());
    assert_eq!(result, Ok(()));
    let [Call::Begin(begun), chunks @ .., Call::End] = notes.calls.as_slice() else {
        panic!("{:?}", notes.calls)
    };
    let package = small_package();
    assert_eq!(begun.head.total_length, package.len() as u64);
    assert_eq!(begun.head_digest, inband_package::digest::sha256(&package[512..1024]));
    assert_eq!(begun.head.index_digest, inband_package::digest::sha256(&begun.index_bytes));
    assert_eq!(begun.index.version, "2.14.0-rc1");
    let chunk = |member, data: &[u8]| Call::Chunk(member, 0, data.to_vec());
    assert_eq!(
        chunks,
        [
            chunk(0, &noise(700, 1)),
            chunk(1, &noise(700, 2)),
            // The empty member has no chunk.
            chunk(3, b"purpose=bmc\n"),
        ]
    );
}

#[test]
fn chunks_come_whole_and_without_gaps() {
    let (notes, result) = read(large_package());
    assert_eq!(result, Ok(()));
    let mut members = [Vec::new(), Vec::new()];
    let mut chunks = 0;
    for call in &notes.calls {
        if let Call::Chunk(member, offset, data) = call {
            assert_eq!(*offset, members[*member].len() as u64);
            members[*member].extend_from_slice(data);
            chunks += 1;
        }
    }
    assert_eq!(members, [noise(700_000, 3), noise(90_001, 4)]);
    assert!(chunks > 10, "{chunks} chunks");
}

#[test]
fn any_single_byte_changed_is_refused() {
    let package = small_package();
    for at in (0..package.len()).step_by(stride()) {
        for change in [0x01, 0x80, 0xFF] {
            let mut changed = package.clone();
            changed[at] ^= change;
            let (notes, result) = read(&changed);
            assert!(result.is_err(), "byte {at} changed by {change:#04x}");
            assert!(!notes.ended(), "byte {at} changed by {change:#04x}");
        }
    }
}

#[test]
fn cut_at_any_length_is_refused() {
    let package = small_package();
    for length in (0..package.len()).step_by(stride()) {
        let (notes, result) = read(&package[..length]);
        // The verified head is known once its signatures are behind.
        let total = (length >= 2048).then_some(package.len() as u64);
        assert_eq!(result, Err(Refusal::Truncated { received: length as u64, total }), "cut at {length}");
        assert!(!notes.ended(), "cut at {length}");
    }
}

#[test]
fn any_two_blocks_exchanged_are_refused() {
    let package = small_package();
    let blocks = package.len() / 512;
    let block = |at: usize| at * 512..(at + 1) * 512;
    let mut exchanged = 0;
    for one in 0..blocks {
        for other in 0..one {
            if package[block(one)] != package[block(other)] {
                let mut changed = package.clone();
                changed[block(one)].copy_from_slice(&package[block(other)]);
                changed[block(other)].copy_from_slice(&package[block(one)]);
                assert!(read(&changed).1.is_err(), "blocks {one} and {other} exchanged");
                exchanged += 1;
            }
        }
    }
    assert!(exchanged > 50);
}

#[test]
fn any_block_left_out_or_repeated_is_refused() {
    let package = small_package();
    for at in (0..package.len()).step_by(512) {
        let without = [&package[..at], &package[at + 512..]].concat();
        assert!(read(&without).1.is_err(), "without the block at {at}");
        let twice = [&package[..at + 512], &package[at..]].concat();
        assert!(read(&twice).1.is_err(), "with the block at {at} twice");
    }
}

#[test]
fn members_exchanged_are_refused() {
    let package = small_package();
    let starts = header_offsets(&package);
    let member = |number: usize| &package[starts[number]..starts[number + 1]];
    let members = starts.len() - 1;
    for one in 0..members {
        for other in 0..one {
            let mut order: Vec<_> = (0..members).collect();
            order.swap(one, other);
            let mut changed: Vec<u8> = order.into_iter().flat_map(member).copied().collect();
            changed.extend_from_slice(&[0; 1024]);
            assert_eq!(changed.len(), package.len());
            assert!(read(&changed).1.is_err(), "members {one} and {other} exchanged");
        }
    }
    // Two images of one length, each under the other's name.
    let mut changed = package.clone();
    let (one, other) = (starts[3] + 512, starts[4] + 512);
    changed[one..one + 1024].copy_from_slice(&package[other..other + 1024]);
    changed[other..other + 1024].copy_from_slice(&package[one..one + 1024]);
    assert_eq!(refusal(&changed), Refusal::BadChunk { member: "image-kernel".into(), offset: 0 });
}

#[test]
fn a_dfu_suffix_may_follow() {
    let package = small_package();
    let with_suffix = [&package[..], &suffix(&package)].concat();
    for cut in package.len() - 1..=with_suffix.len() {
        let (one, other) = with_suffix.split_at(cut);
        let (notes, result) = read_with(keys(), policy(), [one, other]);
        assert_eq!(result, Ok(()), "cut at {cut}");
        assert!(notes.ended());
    }
    for at in package.len()..with_suffix.len() {
        let mut changed = with_suffix.clone();
        changed[at] ^= 1;
        let offset = package.len() as u64;
        assert_eq!(refusal(&changed), Refusal::TrailingBytes { offset }, "byte {at}");
    }
}

#[test]
fn anything_else_behind_the_end_is_refused() {
    let package = small_package();
    let whole = suffix(&package);
    let trailing = Err(Refusal::TrailingBytes { offset: package.len() as u64 });
    for length in 1..16 {
        assert_eq!(
            read(&[&package[..], &whole[..length]].concat()).1,
            trailing,
            "{length} bytes of a suffix"
        );
    }
    for more in [&[0][..], &[0; 512], &[0; 8704], b"\n", &package] {
        assert_eq!(read(&[&package[..], more].concat()).1, trailing);
    }
    assert_eq!(read(&[&package[..], &whole, &[0]].concat()).1, trailing);
    assert_eq!(read(&[&package[..], &whole, &whole].concat()).1, trailing);
}

#[test]
fn the_verdict_falls_with_the_last_byte() {
    let package = small_package();
    let (last, before) = package.split_last().unwrap();
    let mut reader = Reader::new(keys(), policy());
    let mut notes = Notes::default();
    assert_eq!(reader.push(before, &mut notes), Ok(Progress::More));
    assert!(!notes.ended());
    assert_eq!(reader.push(&[*last], &mut notes), Ok(Progress::Complete));
    assert!(notes.ended());
    assert_eq!(reader.phase(), Phase::Complete);
    assert_eq!(reader.received(), package.len() as u64);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn getters_tell_no_more_than_is_known() {
    let package = small_package();
    let total = Some(package.len() as u64);
    let mut reader = Reader::new(keys(), policy());
    let mut notes = Notes::default();
    let starts = header_offsets(&package);
    for (at, byte) in package.iter().enumerate() {
        let phase = match at {
            0..1024 => Phase::Head,
            1024..2048 => Phase::Signatures,
            _ if at < starts[3] => Phase::Index,
            _ => Phase::Members,
        };
        assert_eq!(reader.phase(), phase, "at byte {at}");
        assert_eq!(reader.received(), at as u64);
        assert_eq!(reader.announced_total(), if at < 1024 { None } else { total });
        assert_eq!(reader.total(), if at < 2048 { None } else { total });
        assert_eq!(reader.head().is_some(), at >= 2048);
        assert_eq!(reader.index().is_some(), phase == Phase::Members);
        reader.push(&[*byte], &mut notes).unwrap();
    }
    assert_eq!(reader.total(), total);
}

#[test]
fn a_failed_reader_stays_failed() {
    let mut package = small_package();
    package[3000] ^= 1;
    let mut reader = Reader::new(keys(), policy());
    let mut notes = Notes::default();
    let Err(Error::Refused(refusal)) = reader.push(&package, &mut notes) else { panic!("accepted") };
    assert_eq!(reader.phase(), Phase::Failed);
    let received = reader.received();
    assert_eq!(reader.push(&small_package(), &mut notes), Err(Error::Failed));
    assert_eq!(reader.received(), received);
    assert_eq!(reader.finish(), Err(refusal));
    assert_eq!(notes.calls, []);
}

#[test]
fn the_sink_stops_the_reading_at_any_call() {
    let package = small_package();
    let calls = read(&package).0.calls;
    for fail_at in 1..=calls.len() {
        let mut reader = Reader::new(keys(), policy());
        let mut notes = Notes { fail_at: Some(fail_at), ..Notes::default() };
        assert_eq!(reader.push(&package, &mut notes), Err(Error::Sink(Told)));
        assert_eq!(notes.calls, calls[..fail_at]);
        assert_eq!(reader.push(&package, &mut notes), Err(Error::Failed));
        assert!(matches!(reader.finish(), Err(Refusal::Truncated { .. })));
        assert_eq!(notes.calls.len(), fail_at);
    }
}

/// `bytes` cut at these places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces.push(&bytes[from..]);
    pieces
}

/// What a reader makes of these pieces: the calls and the verdict.
fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Call>, Result<(), Refusal>) {
    let (notes, result) = read_with(keys(), policy(), pieces);
    (notes.calls, result)
}

#[test]
fn one_byte_at_a_time_is_the_same_as_all_at_once() {
    let package = small_package();
    assert_eq!(outcome(package.chunks(1)), outcome([&package[..]]));
    assert_eq!(outcome(large_package().chunks(4096)), outcome([large_package()]));
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_portions_are_the_same_as_all_at_once(cuts: Vec<prop::sample::Index>) {
        prop_assert_eq!(outcome(pieces(large_package(), &cuts)), outcome([large_package()]));
    }

    #[test]
    fn a_fault_is_found_at_the_same_place_in_any_portions(
        cuts: Vec<prop::sample::Index>,
        at: prop::sample::Index,
        change in 1..=u8::MAX,
        trailing in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut package = [&small_package()[..], &trailing].concat();
        let at = at.index(package.len());
        package[at] ^= change;
        let outcome_at_once = outcome([&package[..]]);
        prop_assert!(outcome_at_once.1.is_err());
        prop_assert_eq!(outcome(pieces(&package, &cuts)), outcome_at_once);
    }

    #[test]
    fn any_byte_of_a_larger_package_changed_is_refused(at: prop::sample::Index, change in 1..=u8::MAX) {
        let mut package = large_package().to_vec();
        let at = at.index(package.len());
        package[at] ^= change;
        let (calls, result) = outcome([&package[..]]);
        prop_assert!(result.is_err());
        // Nothing that was handed on differs from the good package.
        let good = outcome([large_package()]).0;
        prop_assert!(good.starts_with(&calls));
        prop_assert!(calls.len() < good.len());
    }

    #[test]
    fn a_larger_package_cut_anywhere_is_refused(at: prop::sample::Index) {
        let length = at.index(large_package().len());
        let result = outcome([&large_package()[..length]]).1;
        let truncated = matches!(result, Err(Refusal::Truncated { .. }));
        prop_assert!(truncated);
    }

    #[test]
    fn any_range_of_a_larger_package_overwritten_by_another_is_refused(
        from: prop::sample::Index,
        to: prop::sample::Index,
        length in 1..4096_usize,
    ) {
        let mut package = large_package().to_vec();
        let from = from.index(package.len() - length);
        let to = to.index(package.len() - length);
        package.copy_within(from..from + length, to);
        let result = outcome([&package[..]]).1;
        prop_assert_eq!(result.is_ok(), package == large_package());
    }
}
