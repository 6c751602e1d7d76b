//! Host and device, one against the other: what is sent, and that whatever happens to messages on their way ends, never with firmware
//! that is not whole, and never so that the next exchange fails.

use inband_bulk::{
    Host,
    host::{Error, Limits, Misbehaviour},
    wire::{OK, Outcome},
};

use crate::sides::{BAD_CHUNK, Bmc, Fault, Package, SESSION, Wire, offer};

const STAGED: Outcome = Outcome { result: OK, session: SESSION };
const LENGTHS: [usize; 7] = [492, 1, 2000, 700, 493, 1004, 40];

#[test]
fn full() {
    let package = Package::new(&LENGTHS);
    let mut wire = Wire::new(Bmc::empty(&package));
    let mut host = offer(&package, 1);
    assert_eq!(wire.run(&mut host, &package, usize::MAX), Some(Ok(STAGED)));
    assert!(wire.bmc.staged);
    assert_eq!(wire.bmc.came, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(host.asked().map(inband_bulk::ChunkSet::len), Some(7));
    // OFFER has eight units, the chunks one, one, four, two, two, two and one.
    assert_eq!(host.total(), (8 + 13) * 512);
    assert_eq!(host.sent(), host.total());
}

#[test]
fn only_what_is_missing() {
    let package = Package::new(&LENGTHS);
    let bmc = Bmc::new(&package, package.set([0, 1, 3, 4, 6]), &package.set([]));
    let mut wire = Wire::new(bmc);
    let mut host = offer(&package, 1);
    assert_eq!(wire.run(&mut host, &package, usize::MAX), Some(Ok(STAGED)));
    assert_eq!(wire.bmc.came, [2, 5]);
    assert_eq!(host.total(), (8 + 6) * 512);
}

#[test]
fn nothing_is_missing() {
    let package = Package::new(&LENGTHS);
    let mut wire = Wire::new(Bmc::new(&package, package.set(0..7), &package.set([])));
    let mut host = offer(&package, 1);
    assert_eq!(wire.run(&mut host, &package, usize::MAX), Some(Ok(STAGED)));
    assert!(wire.bmc.staged && wire.bmc.came.is_empty());
    assert_eq!(host.total(), 8 * 512);
}

/// A hint that was wrong is asked for again, also where nothing else was.
#[test]
fn asked_again() {
    let package = Package::new(&LENGTHS);
    for right in [vec![], vec![1, 2], vec![0, 1, 2, 3, 5]] {
        let wrong = package.set([4, 6]);
        let mut wire = Wire::new(Bmc::new(&package, package.set(right.clone()), &wrong));
        let mut host = offer(&package, 1);
        assert_eq!(wire.run(&mut host, &package, usize::MAX), Some(Ok(STAGED)));
        assert!(wire.bmc.staged);
        assert_eq!(wire.bmc.came[wire.bmc.came.len() - 2..], [4, 6]);
        assert_eq!(wire.bmc.came.len() + right.len(), 7);
    }
}

#[test]
fn no_chunks_at_all() {
    let package = Package::new(&[]);
    let mut wire = Wire::new(Bmc::empty(&package));
    let mut host = offer(&package, 1);
    assert_eq!(wire.run(&mut host, &package, usize::MAX), Some(Ok(STAGED)));
}

#[test]
fn file_without_an_index() {
    let package = Package::new(&[65_536, 65_536, 1000]);
    let mut wire = Wire::new(Bmc::empty(&package));
    let length = 2 * 65_536 + 1000;
    let mut host = Host::whole(std::time::Duration::ZERO, Limits::default(), 1, length).unwrap();
    assert_eq!(wire.run(&mut host, &package, usize::MAX), Some(Ok(STAGED)));
    assert_eq!(wire.bmc.came, [0, 1, 2]);
}

/// The cable is pulled behind each message. What came before is not sent again.
#[test]
fn resume_behind_every_message() {
    let package = Package::new(&LENGTHS);
    for most in 0..=LENGTHS.len() {
        let mut wire = Wire::new(Bmc::empty(&package));
        // What is in a read that was not full is lost.
        wire.most_read = 512;
        assert_eq!(wire.run(&mut offer(&package, 1), &package, most), None);
        wire.replug();
        let before = wire.bmc.has.clone();
        assert_eq!(before.len() as usize, most.saturating_sub(1));
        wire.bmc.hints = before.clone();
        wire.bmc.came.clear();
        assert_eq!(wire.run(&mut offer(&package, 2), &package, usize::MAX), Some(Ok(STAGED)));
        assert_eq!(wire.bmc.came.len() as u32 + before.len(), 7);
        assert!(wire.bmc.came.iter().all(|chunk| !before.contains(*chunk)));
    }
}

/// The host aborts behind each message, and goes on at once; units of before are still on their way, and it has not read all there was.
#[test]
fn abort_behind_every_message() {
    let package = Package::new(&LENGTHS);
    for most in 0..=LENGTHS.len() {
        for keep in [0, 1, 3] {
            let mut wire = Wire::new(Bmc::empty(&package));
            assert_eq!(wire.run(&mut offer(&package, 1), &package, most), None);
            wire.abort(keep);
            wire.bmc.has = package.set([]);
            wire.bmc.hints = package.set([]);
            assert_eq!(wire.run(&mut offer(&package, 2), &package, usize::MAX), Some(Ok(STAGED)), "{most}");
        }
    }
}

/// Old index, new data, and the other way round.
#[test]
fn other_data_than_offered() {
    let package = Package::new(&LENGTHS);
    let mut other = package.clone();
    other.chunks[3][699] ^= 1;
    let mut wire = Wire::new(Bmc::empty(&package));
    let ended = wire.run(&mut offer(&package, 1), &other, usize::MAX);
    assert_eq!(ended, Some(Ok(Outcome { result: BAD_CHUNK, session: SESSION })));
    assert_eq!((wire.bmc.staged, wire.bmc.came.as_slice()), (false, &[0, 1, 2, 3][..]));
}

/// One thing that happens to messages of one direction.
fn faults() -> Vec<(String, Box<dyn Fn() -> Fault>)> {
    let mut faults: Vec<(String, Box<dyn Fn() -> Fault>)> = Vec::new();
    let mut add = |name: String, fault: Box<dyn Fn() -> Fault>| faults.push((name, fault));
    for at in 0..9_usize {
        add(
            format!("{at} lost"),
            Box::new(move || Box::new(move |n, it| if n == at { vec![] } else { vec![it] })),
        );
        add(
            format!("{at} doubled"),
            Box::new(move || Box::new(move |n, it| if n == at { vec![it.clone(), it] } else { vec![it] })),
        );
        add(
            format!("{at} behind the next"),
            Box::new(move || {
                let mut held = Vec::new();
                Box::new(move |n, it| {
                    if n == at {
                        held = it;
                        vec![]
                    } else if n == at + 1 {
                        vec![it, std::mem::take(&mut held)]
                    } else {
                        vec![it]
                    }
                })
            }),
        );
        for (what, units) in [("a unit too long", 1), ("a unit too short", -1_isize)] {
            add(
                format!("{at} {what}"),
                Box::new(move || {
                    Box::new(move |n, mut it| {
                        if n == at {
                            it.resize(it.len().saturating_add_signed(units * 512), 0);
                        }
                        vec![it]
                    })
                }),
            );
        }
        // Every byte of a header, its lowest and its highest bit; some of body and filling.
        let places = (0..28).chain([100, 491, 511, 512, 531, 532, 1023]);
        for place in places {
            for bit in [0, 7] {
                add(
                    format!("{at} with bit {bit} of byte {place} flipped"),
                    Box::new(move || {
                        Box::new(move |n, mut it| {
                            if n == at
                                && let Some(byte) = it.get_mut(place)
                            {
                                *byte ^= 1 << bit;
                            }
                            vec![it]
                        })
                    }),
                );
            }
        }
        for length in [0, 1, 65_536, 131_073, 0x00ff_ffff, u32::MAX] {
            add(
                format!("{at} saying it has {length} bytes"),
                Box::new(move || {
                    Box::new(move |n, mut it| {
                        if n == at {
                            it[16..20].copy_from_slice(&length.to_le_bytes());
                        }
                        vec![it]
                    })
                }),
            );
        }
    }
    faults
}

/// Whatever becomes of one message, in either direction: both sides come to an end, nothing is staged that is not whole, the host is not
/// told that it is, and the next exchange works without a reset.
#[test]
fn every_fault_of_every_message() {
    let package = Package::new(&LENGTHS);
    let (mut staged, mut refused, mut failed) = (0, 0, 0);
    for to_device in [true, false] {
        for (name, fault) in faults() {
            let bmc = Bmc::new(&package, package.set([1]), &package.set([4, 6]));
            let mut wire = Wire::new(bmc);
            if to_device {
                wire.out_fault = fault();
            } else {
                wire.in_fault = fault();
            }
            let ended = wire.run(&mut offer(&package, 1), &package, usize::MAX).unwrap();
            if wire.bmc.staged {
                assert_eq!(wire.bmc.has.len(), 7, "{name}: half a firmware was staged");
            }
            match ended {
                Ok(outcome) if outcome.result == OK => {
                    assert!(wire.bmc.staged, "{name}: the host was told a lie");
                    staged += 1;
                }
                Ok(_) => refused += 1,
                Err(Error::Misbehaved(_) | Error::TooSlow) => failed += 1,
                Err(error @ Error::Misuse(_)) => panic!("{name}: {error}"),
            }
            wire.abort(2);
            let again = wire.run(&mut offer(&package, 2), &package, usize::MAX);
            assert_eq!(again, Some(Ok(STAGED)), "the exchange behind: {name}");
        }
    }
    // Each kind of end comes up; a message that no exchange has, or a bit where nothing is, changes nothing.
    assert!(
        staged > 50 && refused > 300 && failed > 50,
        "{staged} staged, {refused} refused, {failed} failed"
    );
}

/// A device that floods the host is left.
#[test]
fn foreign_units_without_end() {
    let package = Package::new(&LENGTHS);
    let mut wire = Wire::new(Bmc::empty(&package));
    wire.in_fault = Box::new(|_, _| vec![vec![0xaa; 512]; 100]);
    let ended = wire.run(&mut offer(&package, 1), &package, usize::MAX);
    assert_eq!(ended, Some(Err(Error::Misbehaved(Misbehaviour::Foreign))));
}
