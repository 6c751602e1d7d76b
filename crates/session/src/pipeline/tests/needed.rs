//! Packages of which only what is missing comes.

use core::convert::Infallible;

use inband_package::{Checked, Digest, Head, Index, Reader, Sink};

use super::*;

/// Collects a package's chunks.
struct Chunks(Vec<Vec<u8>>);

impl Sink for Chunks {
    type Error = Infallible;

    fn begin(&mut self, _: &Head, _: &Digest, _: &Arc<Index>, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn chunk(&mut self, chunk: &Checked<'_>) -> Result<(), Infallible> {
        self.0.push(chunk.bytes().to_vec());
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The chunks of a package, none of which is compressed, by their numbers.
pub(super) fn chunks(package: &Package) -> Vec<Vec<u8>> {
    let ring = KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap();
    let mut chunks = Chunks(Vec::new());
    Reader::new(ring, policy()).push(&package.bytes, &mut chunks).unwrap();
    chunks.0
}

/// What stands before a package's first member.
pub(super) fn beginning(package: &Package) -> &[u8] {
    let mut at = 0;
    // Head, one signature, index.
    for _ in 0..3 {
        let digits = core::str::from_utf8(&package.bytes[at + 124..at + 135]).unwrap();
        at += 512 + usize::from_str_radix(digits, 8).unwrap().next_multiple_of(512);
    }
    &package.bytes[..at]
}

/// Begins a session and offers a package.
pub(super) fn offer(line: &mut Line, id: u32, package: &Package) -> Result<Offered, ResultCode> {
    line.begin_offer(id, Door::Bulk, NOW, Expected::ANYTHING)?;
    send(line, beginning(package))?;
    line.offered()
}

/// Sends chunks, each when what stands before it has been looked at.
pub(super) fn give(line: &mut Line, chunks: &[Vec<u8>], numbers: &[u32]) -> Result<(), ResultCode> {
    for number in numbers {
        while !line.look()? {}
        for portion in chunks[*number as usize].chunks(5000) {
            line.chunk(*number, portion)?;
        }
    }
    Ok(())
}

pub(super) fn settle(line: &mut Line) -> Result<Settled, ResultCode> {
    loop {
        match line.settle()? {
            Settled::NotYet => {}
            settled => return Ok(settled),
        }
    }
}

/// A whole session; the numbers of the chunks that were sent, in order.
pub(super) fn offer_whole(line: &mut Line, id: u32, package: &Package) -> Result<Vec<u32>, ResultCode> {
    let all = chunks(package);
    let mut missing = offer(line, id, package)?.missing;
    let mut sent = Vec::new();
    loop {
        give(line, &all, &missing)?;
        sent.append(&mut missing);
        match settle(line)? {
            Settled::Missing(more) => missing = more,
            Settled::Complete(progress) => {
                assert!(progress.complete && progress.whole && progress.accepted.is_some());
                assert_eq!(progress.announced, Some(package.bytes.len() as u64));
                line.finish()?;
                assert_eq!(last(line), (id, SessionState::Staged, ResultCode::Ok));
                assert_eq!(line.store().record().session.door, Door::Bulk.number());
                let target = line.store().running().other();
                assert!(package.is_in(line.store().medium().slot(target)));
                return Ok(sent);
            }
            Settled::NotYet => unreachable!(),
        }
    }
}

/// All that goes to the slot: chunk 0 is MANIFEST, which does not.
pub(super) fn all(package: &Package) -> Vec<u32> {
    (1..chunks(package).len() as u32).collect()
}

#[test]
fn to_a_slot_that_holds_nothing_everything_is_sent() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    let offered = offer(&mut line, 1, &package).unwrap();
    let lengths: Vec<u32> = chunks(&package).iter().map(|chunk| chunk.len() as u32).collect();
    assert!(lengths.len() > 4);
    assert_eq!(offered, Offered { lengths, missing: all(&package) });
    assert_eq!(slot_state(&line, Slot::B), SlotState::Invalid);
    line.abort(ResultCode::Aborted);
    assert_eq!(offer_whole(&mut line, 2, &package), Ok(all(&package)));
    assert_eq!(line.boot(), Ok(Slot::B));
}

#[test]
fn what_the_slot_holds_is_not_sent() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    offer_whole(&mut line, 1, &package).unwrap();
    line = with_medium(line, MemoryMedium::forget_operations);
    assert_eq!(offer_whole(&mut line, 2, &package), Ok(vec![]));
    let written = |operation: &Operation| matches!(operation, Operation::Write { .. });
    assert!(!line.store().medium().operations().iter().any(written), "bytes that were there were written");

    // Another kernel with the same rofs.
    let Package { rofs, .. } = Package::new("2.0", 2);
    let changed = Package::of("board", "2.1", 2, "kernel", noise(77, 70_000), rofs);
    let sent = offer_whole(&mut line, 3, &changed).unwrap();
    let lengths = chunks(&changed);
    let of_kernel: usize = sent.iter().map(|number| lengths[*number as usize].len()).sum();
    assert_eq!(of_kernel, 70_000);
}

#[test]
fn a_hint_that_is_wrong_is_asked_for() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    offer_whole(&mut line, 1, &package).unwrap();
    line = with_medium(line, |medium| {
        let mut slot = medium.slot(Slot::B).to_vec();
        slot[KERNEL.0 as usize + 10] ^= 1;
        medium.fill(Slot::B, &slot);
    });
    let sent = offer_whole(&mut line, 2, &package).unwrap();
    assert_eq!(sent, [1], "the first chunk of the kernel");
}

#[test]
fn what_an_aborted_session_brought_is_not_sent_again() {
    let package = Package::new("2.0", 2);
    let everything = all(&package);
    for count in 0..=everything.len() {
        let mut line = line();
        let offered = offer(&mut line, 1, &package).unwrap();
        give(&mut line, &chunks(&package), &offered.missing[..count]).unwrap();
        line.abort(ResultCode::Disconnected);
        assert_eq!(last(&line), (1, SessionState::Failed, ResultCode::Disconnected));
        let sent = offer_whole(&mut line, 2, &package).unwrap();
        assert_eq!(sent, everything[count..], "what had not come after {count}");
    }
}

/// A daemon that is killed: what stands before its last mark is believed, and nothing behind.
#[test]
fn what_a_killed_daemon_had_marked_is_not_sent_again() {
    let package = Package::new("2.0", 2);
    let everything = all(&package);
    let mut spared = Vec::new();
    for count in 0..=everything.len() {
        let mut line = line();
        let offered = offer(&mut line, 1, &package).unwrap();
        give(&mut line, &chunks(&package), &offered.missing[..count]).unwrap();
        line = with_medium(line, |_| {});
        assert_eq!(last(&line), (1, SessionState::Interrupted, ResultCode::Interrupted));
        let sent = offer_whole(&mut line, 2, &package).unwrap();
        // All from some chunk on.
        assert_eq!(sent, everything[everything.len() - sent.len()..]);
        assert!(sent.len() + count >= everything.len(), "what had not come after {count}");
        spared.push(everything.len() - sent.len());
    }
    assert!(spared.is_sorted() && spared[0] == 0 && spared.last() > Some(&2), "{spared:?}");
}

#[test]
fn what_is_no_offer_ends_the_session() {
    let package = Package::new("2.0", 2);
    let beginning = beginning(&package);
    let cases: [(&[u8], ResultCode); 4] = [
        (&[], ResultCode::Truncated),
        (&beginning[..beginning.len() - 1], ResultCode::Truncated),
        (&package.bytes[..beginning.len() + 1], ResultCode::Protocol),
        (&package.bytes, ResultCode::Protocol),
    ];
    let garbage = [beginning, &[0x55; 512]].concat();
    for (bytes, result) in cases.into_iter().chain([(&garbage[..], ResultCode::Protocol)]) {
        for portion in [1, 700, usize::MAX] {
            let mut line = line();
            line.begin_offer(1, Door::Bulk, NOW, Expected::ANYTHING).unwrap();
            let pushed = bytes.chunks(portion).try_for_each(|bytes| line.push(bytes).map(drop));
            assert_eq!(pushed.and_then(|()| line.offered().map(drop)), Err(result));
            assert_eq!(last(&line), (1, SessionState::Failed, result));
            assert_eq!(slot_state(&line, Slot::B), SlotState::Empty, "the slot is as it was");
            offer_whole(&mut line, 2, &package).unwrap();
        }
    }
    // Nor does a good one touch the slot before it is complete.
    let mut line = line();
    line.begin_offer(1, Door::Bulk, NOW, Expected::ANYTHING).unwrap();
    send(&mut line, beginning).unwrap();
    assert_eq!(slot_state(&line, Slot::B), SlotState::Empty);
    line.offered().unwrap();
    assert_eq!(slot_state(&line, Slot::B), SlotState::Invalid);
    line.abort(ResultCode::Aborted);

    let mut line = self::line();
    let mut forged = Package::new("2.0", 2);
    forged.bytes[1536] ^= 1;
    assert_eq!(offer(&mut line, 1, &forged), Err(ResultCode::BadSignature));
    assert_eq!(slot_state(&line, Slot::B), SlotState::Empty);
}

#[test]
fn other_bytes_than_offered_end_the_session() {
    let package = Package::new("2.0", 2);
    for number in all(&package) {
        let mut line = line();
        let offered = offer(&mut line, 1, &package).unwrap();
        let mut other = chunks(&package);
        let chunk = &mut other[number as usize];
        let at = chunk.len() - 1;
        chunk[at] ^= 1;
        assert_eq!(give(&mut line, &other, &offered.missing), Err(ResultCode::BadChunk));
        assert_eq!(last(&line), (1, SessionState::Failed, ResultCode::BadChunk));
        assert_eq!(slot_state(&line, Slot::B), SlotState::Invalid);
    }
}

#[test]
fn a_package_in_part_is_not_staged() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    let offered = offer(&mut line, 1, &package).unwrap();
    let (last_one, before) = offered.missing.split_last().unwrap();
    give(&mut line, &chunks(&package), before).unwrap();
    assert_eq!(settle(&mut line), Ok(Settled::Missing(vec![*last_one])));
    assert_eq!(line.finish(), Err(ResultCode::Truncated));
    assert_eq!(last(&line), (1, SessionState::Failed, ResultCode::Truncated));
}

#[test]
fn what_no_caller_asks_for() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    for result in [line.offered().err(), line.look().err(), line.chunk(0, &[1]).err(), line.settle().err()] {
        assert_eq!(result, Some(ResultCode::Internal), "without a session");
    }
    line.begin_offer(1, Door::Bulk, NOW, Expected::ANYTHING).unwrap();
    assert_eq!(line.chunk(0, &[1]), Err(ResultCode::Internal), "before the offer is complete");
    assert_eq!(last(&line), (1, SessionState::Failed, ResultCode::Internal));
    line.begin(10, Door::Bulk, NOW, Expected::ANYTHING).unwrap();
    send(&mut line, beginning(&package)).unwrap();
    assert_eq!(line.offered().err(), Some(ResultCode::Internal), "of a file that is to come whole");
    for (id, number) in [(2, None), (3, Some(0)), (4, Some(u32::MAX))] {
        let first = offer(&mut line, id, &package).unwrap().missing[0];
        give(&mut line, &chunks(&package), &[first]).unwrap();
        assert_eq!(line.chunk(number.unwrap_or(first), &[1]), Err(ResultCode::Internal), "not missing");
    }
    offer(&mut line, 5, &package).unwrap();
    assert_eq!(line.push(&[0]), Err(ResultCode::Internal), "bytes of the file");
    offer_whole(&mut line, 6, &package).unwrap();
}
