//! What is there already is not sent: shifted content, copies, wrong hints, cuts while it is copied.

use alloc::collections::BTreeSet;

use inband_package::digest::sha256;

use super::needed::{all, chunks, give, offer, offer_whole, settle};
use super::*;

fn of(version: &'static str, kernel: Vec<u8>, rofs: Vec<u8>) -> Package {
    Package::of("board", version, 2, "kernel", kernel, rofs)
}

/// A board that runs this package from slot b, and whose slot a holds version 1.0, of which there is no index.
fn running(package: &Package) -> Line {
    let mut line = line();
    update(&mut line, 1, package).unwrap();
    assert_eq!(line.boot(), Ok(Slot::B));
    line.confirm().unwrap();
    with_medium(line, MemoryMedium::forget_operations)
}

fn write_count(line: &Line) -> usize {
    let is_write = |operation: &&Operation| matches!(operation, Operation::Write { .. });
    line.store().medium().operations().iter().filter(is_write).count()
}

/// Numbers of the chunks whose content no other package has, and no chunk before them.
fn new_ones(package: &Package, known: &[&Package]) -> Vec<u32> {
    let digests = known.iter().flat_map(|package| chunks(package));
    let mut seen: BTreeSet<_> = digests.map(|chunk| sha256(&chunk)).collect();
    let chunks = (0..).zip(chunks(package)).skip(1);
    chunks.filter(|(_, chunk)| seen.insert(sha256(chunk))).map(|(number, _)| number).collect()
}

#[test]
fn what_runs_is_copied_to_the_other_slot() {
    let package = Package::new("2.0", 2);
    let mut line = running(&package);
    assert_eq!(offer_whole(&mut line, 2, &package), Ok(vec![]));
    assert!(write_count(&line) > 0);
    // Now it is in both.
    line = with_medium(line, MemoryMedium::forget_operations);
    assert_eq!(offer_whole(&mut line, 3, &package), Ok(vec![]));
    assert_eq!(write_count(&line), 0);
}

/// As when one program in a file system changed, and all behind it is shifted.
#[test]
fn of_shifted_content_only_what_is_new_is_sent() {
    let old = Package::new("2.0", 2);
    let mut rofs = old.rofs.clone();
    rofs.splice(20_000..20_100, noise(99, 333));
    let new = of("2.1", old.kernel.clone(), rofs);
    let mut line = running(&old);
    let expected = new_ones(&new, &[&old]);
    assert!(!expected.is_empty() && expected.len() < all(&new).len() / 2, "{expected:?}");
    assert_eq!(offer_whole(&mut line, 2, &new), Ok(expected));
}

#[test]
fn of_two_regions_that_change_places_nothing_is_sent() {
    let old = of("2.0", noise(1, 70_000), noise(2, 80_000));
    let new = of("2.1", noise(2, 80_000), noise(1, 70_000));
    let mut line = running(&old);
    assert_eq!(offer_whole(&mut line, 2, &new), Ok(vec![]));
}

#[test]
fn content_that_repeats_is_sent_once() {
    let package = of("2.0", noise(1, 70_000), noise(1, 70_000));
    let mut line = line();
    let expected = new_ones(&package, &[]);
    assert!(expected.len() <= all(&package).len() / 2);
    assert_eq!(offer_whole(&mut line, 1, &package), Ok(expected));
}

/// The copy in rofs is said to stand in its place, and does not: it comes in the second round, and the kernel's is copied from there.
#[test]
fn a_copy_of_what_has_to_come_again_is_put_off() {
    let old = of("2.0", noise(3, 70_000), noise(1, 70_000));
    let new = of("2.1", noise(1, 70_000), noise(1, 70_000));
    let mut line = line();
    update(&mut line, 1, &old).unwrap();
    let count = all(&new).len() as u32 / 2;
    for damaged in 0..2 {
        line = with_medium(line, |medium| {
            let mut slot = medium.slot(Slot::B).to_vec();
            slot[ROFS.0 as usize] ^= 1;
            if damaged == 1 {
                slot[ROFS.0 as usize + 69_999] ^= 1;
            }
            medium.fill(Slot::B, &slot);
        });
        let everything = chunks(&new);
        assert_eq!(offer(&mut line, 2 + damaged, &new).unwrap().missing, []);
        assert_eq!(line.look(), Ok(false));
        let Settled::Missing(missing) = settle(&mut line).unwrap() else { panic!("a hint was wrong") };
        assert_eq!(missing, if damaged == 1 { vec![count + 1, 2 * count] } else { vec![count + 1] });
        give(&mut line, &everything, &missing).unwrap();
        let copied = settle(&mut line).unwrap();
        assert!(matches!(copied, Settled::Complete(_)), "{copied:?}");
        line.finish().unwrap();
        assert!(new.is_in(line.store().medium().slot(Slot::B)));
        // Back to the package that the next round begins with.
        update(&mut line, 10 + damaged, &old).unwrap();
    }
}

/// Each call works on one chunk at most: what comes between them is seen.
#[test]
fn an_abort_is_seen_between_any_two_chunks() {
    let package = Package::new("2.0", 2);
    let count = all(&package).len();
    for looks in 0..=count {
        let mut line = running(&package);
        offer(&mut line, 2, &package).unwrap();
        let reads = line.store().medium().reads().len();
        for look in 0..looks {
            assert_eq!(line.look(), Ok(false));
            let read =
                line.store().medium().reads()[reads..].iter().filter(|(slot, ..)| *slot == Slot::B).count();
            assert_eq!(read, look + 1);
        }
        assert_eq!(line.look(), Ok(looks == count));
        line.abort(ResultCode::Aborted);
        assert_eq!(last(&line), (2, SessionState::Aborted, ResultCode::Aborted));
        // What was copied is known.
        line = with_medium(line, MemoryMedium::forget_operations);
        assert_eq!(offer_whole(&mut line, 3, &package), Ok(vec![]));
        let chunk_writes = write_count(&line);
        assert!(chunk_writes <= 4 * (count - looks) + 4, "{chunk_writes} writes behind {looks} chunks");
    }
}

/// The power goes at each operation of a session of which some is copied and some is sent.
#[test]
fn a_cut_while_chunks_are_copied_is_resumed() {
    let old = Package::new("2.0", 2);
    let mut rofs = old.rofs.clone();
    rofs[70_000] ^= 1;
    let mut kernel = old.kernel.clone();
    kernel[0] ^= 1;
    let new = of("2.1", kernel, rofs);
    let sent = new_ones(&new, &[&old]);
    assert!(sent.len() >= 2 && sent.len() < all(&new).len());
    let ready = running(&old).into_store().into_medium();
    let mut whole = start_daemon(ready.clone()).unwrap();
    whole = with_medium(whole, MemoryMedium::forget_operations);
    assert_eq!(offer_whole(&mut whole, 2, &new), Ok(sent.clone()));
    let operations = whole.store().medium().operations().len();
    let everything = chunks(&new);
    let mut spared = 0;
    for at in 0..operations {
        for loss in Loss::ALL {
            let mut line = start_daemon(ready.clone()).unwrap();
            line = with_medium(line, |medium| {
                medium.forget_operations();
                medium.cut_power_at(at);
            });
            let cut = offer(&mut line, 2, &new)
                .and_then(|offered| give(&mut line, &everything, &offered.missing))
                .and_then(|()| settle(&mut line))
                .and_then(|_| line.finish());
            assert!(cut.is_err() && !line.store().medium().is_powered(), "operation {at}: {cut:?}");
            let mut medium = line.into_store().into_medium();
            medium.power_cycle(loss);
            medium.forget_operations();
            line = start_daemon(medium).unwrap();
            line.boot().unwrap();
            if line.store().is_on_trial() {
                assert!(new.is_in(line.store().medium().slot(Slot::A)));
                continue;
            }
            assert_eq!(line.store().running(), Slot::B);
            let id = line.store().record().last_id + 1;
            let again = offer_whole(&mut line, id, &new).unwrap();
            assert_eq!(again, sent[sent.len() - again.len()..], "operation {at}, {loss:?}");
            spared = spared.max(sent.len() - again.len());
        }
    }
    assert!(spared > 0, "what was marked was sent again");
}
