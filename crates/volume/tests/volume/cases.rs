//! The thirteen cases (BOT 6.7): every pair of what the host expects and what the command means to move, for several lengths of both.

use inband_usb::Direction;
use inband_volume::{
    bot::{Halts, Limits},
    conformance::thirteen::{Expects, Means, ends},
};

use crate::support::{BLOCKS, Rig, cdb10};

const LENGTHS: [u32; 15] =
    [1, 13, 31, 511, 512, 513, 1023, 1024, 1025, 4096, 4097, 8192, 12_800, 12_801, 20_480];
const BLOCK_COUNTS: [u16; 7] = [1, 2, 3, 8, 9, 24, 25];
const LBA: u32 = 17;

#[test]
fn every_cell() {
    let hosts =
        core::iter::once(Expects::Nothing).chain(LENGTHS.map(Expects::In)).chain(LENGTHS.map(Expects::Out));
    let moved = BLOCK_COUNTS.map(|blocks| u32::from(blocks) * 512);
    let devices: Vec<_> = [Means::Nothing, Means::Refused]
        .into_iter()
        .chain(moved.map(Means::In))
        .chain(moved.map(Means::Out))
        .collect();
    let mut seen = [0; 14];
    for host in hosts {
        for device in &devices {
            for halts in [Halts::Use, Halts::Avoid] {
                cell(host, *device, halts);
            }
            seen[usize::from(ends(host, *device).case)] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "a case that did not come up: {seen:?}");
}

fn cell(host: Expects, device: Means, halts: Halts) {
    let name = format!("{host:?}, {device:?}, {halts:?}");
    let mut rig = Rig::with(halts, Limits { buffers: 3, piece: 4096 });
    let before = rig.bytes();
    let (cdb, moves): (Vec<u8>, usize) = match device {
        Means::Nothing => (vec![0; 6], 0),
        Means::Refused => (cdb10(0x2a, BLOCKS as u32, 1).to_vec(), 0),
        Means::In(bytes) => (cdb10(0x28, LBA, (bytes / 512) as u16).to_vec(), bytes as usize),
        Means::Out(bytes) => (cdb10(0x2a, LBA, (bytes / 512) as u16).to_vec(), bytes as usize),
    };
    let (direction, length) = match host {
        Expects::Nothing => (Direction::Out, 0),
        Expects::In(length) => (Direction::In, length),
        Expects::Out(length) => (Direction::Out, length),
    };
    let sent = vec![0xa5; length as usize];
    let got = rig.command(direction, length, &cdb, &sent);
    let length = length as usize;

    let expected = ends(host, device);
    let at = LBA as usize * 512;
    let data = &before[at..at + moves][..expected.sent as usize];
    let written = expected.taken as usize;
    // Data that is filled up has all moved (spec, 4.4).
    let filled = expected.case == 8 && halts == Halts::Avoid;
    let (status, residue) = (expected.status, if filled { 0 } else { expected.residue as usize });
    assert_eq!((got.status, got.residue as usize), (status, residue), "{name}");
    match (direction, halts) {
        (Direction::In, Halts::Avoid) => {
            assert_eq!(got.data.len(), length, "{name}");
            assert_eq!(&got.data[..data.len()], data, "{name}");
            assert!(got.data[data.len()..].iter().all(|byte| *byte == 0), "{name}");
        }
        _ => assert_eq!(got.data, data, "{name}"),
    }
    let mut after = before;
    after[at..at + written].copy_from_slice(&sent[..written]);
    assert_eq!(rig.bytes(), after, "{name}");
    // A command that failed says why; one that was carried out, or was not begun, has nothing to say.
    let sense = if device == Means::Refused { (5, 0x21, 0) } else { (0, 0, 0) };
    assert_eq!(rig.sense(), sense, "{name}");
    // And the next one works.
    assert_eq!(rig.input(512, &cdb10(0x28, 0, 1)).status, 0, "{name}");
}

/// A command that goes wrong in the middle of its data: what was there is sent, or taken, and then the rest is not.
#[test]
fn failures_in_the_middle() {
    for halts in [Halts::Use, Halts::Avoid] {
        for at in [0, 7, 8, 20] {
            let mut rig = Rig::new(halts);
            let before = rig.bytes();
            let fault = inband_volume::scsi::Fault::Unreadable;
            rig.disk().medium_mut().fault = Some((at, fault));
            // Pieces of eight blocks.
            let moved = (at as u32 / 8) * 4096;
            let got = rig.input(24 * 512, &cdb10(0x28, 0, 24));
            assert_eq!((got.status, got.residue), (1, 24 * 512 - moved));
            assert_eq!(got.halted, halts == Halts::Use);
            assert_eq!(got.data[..moved as usize], before[..moved as usize]);
            assert_eq!(rig.sense(), (3, 0x11, 0));
            let got = rig.output(&cdb10(0x2a, 0, 24), &[0xa5; 24 * 512]);
            assert_eq!((got.status, got.residue), (1, 24 * 512 - moved));
            assert_eq!(rig.sense(), (3, 0x11, 0));
            assert_eq!(rig.bytes()[moved as usize..], before[moved as usize..]);
        }
    }
}

/// The most that a CBW can announce, of commands that move nothing or little: memory stays bounded, and nothing overflows.
#[test]
fn four_gigabytes() {
    let mut rig = Rig::new(Halts::Use);
    for cdb in [&[0_u8; 6][..], &[0x12, 0, 0, 0, 36, 0], &cdb10(0x28, BLOCKS as u32, 1), &[0xff; 6]] {
        let got = rig.input(u32::MAX, cdb);
        assert_eq!(got.residue, u32::MAX - got.data.len() as u32);
        assert!(got.halted);
    }
    assert!(rig.wire.deepest <= 4);
}

/// READ(16) and WRITE(16) of 2^32 - 1 blocks, which no CBW can carry, where they are on the medium: a phase error, and no more than the CBW's.
#[test]
fn commands_larger_than_a_cbw_can_be() {
    let mut disk = crate::support::ready();
    let mut cdb = crate::support::cdb16(0x88, 0, u32::MAX);
    let refused = crate::support::run(&mut disk, &cdb, &[]);
    assert_eq!(refused, Err(inband_volume::scsi::Sense::OUT_OF_RANGE));
    cdb[2..10].copy_from_slice(&u64::MAX.to_be_bytes());
    let refused = crate::support::run(&mut disk, &cdb, &[]);
    assert_eq!(refused, Err(inband_volume::scsi::Sense::OUT_OF_RANGE));
}
