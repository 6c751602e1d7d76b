//! The transport's own rules: CBWs that are none, class requests, resets, time.

use std::time::Duration;

use inband_usb::{Direction, Setup, TransferError};
use inband_volume::{
    bot::{Action, Control, Device, HALT_AGAIN, Halts, Limits, Phase, wire::Cbw},
    testing::{Read, cbw},
};

use crate::support::{Rig, cdb10};

fn good() -> [u8; 31] {
    cbw(7, Direction::In, 512, &cdb10(0x28, 0, 1)).to_bytes()
}

/// All CBWs that are not valid or not meaningful (spec, 3).
fn bad() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for length in (0..=31).filter(|length| *length != 31).chain([32, 64, 511, 512]) {
        let mut bytes = good().to_vec();
        bytes.resize(length, 0);
        all.push((format!("{length} bytes"), bytes));
    }
    let mut flip = |name: &str, at: usize, value: u8| {
        let mut bytes = good().to_vec();
        bytes[at] = value;
        all.push((format!("{name} {value:02x} at {at}"), bytes));
    };
    for at in 0..4 {
        flip("signature", at, 0);
        flip("signature", at, good()[at] ^ 0x80);
    }
    flip("CSW's signature", 3, b'S');
    for bit in 0..7 {
        flip("flags", 12, 0x80 | 1 << bit);
        flip("flags", 12, 1 << bit);
    }
    for lun in 1..=255 {
        flip("LUN", 13, lun);
    }
    for length in (0..=255).filter(|length| !(1..=16).contains(length)) {
        flip("CDB length", 14, length);
    }
    all
}

/// BOT 6.6.1: STALL on IN, OUT discarded, until Reset Recovery, whatever the host does before it.
#[test]
fn cbws_that_are_none() {
    for (name, bytes) in bad() {
        let mut rig = Rig::new(Halts::Use);
        let before = rig.bytes();
        rig.wire.send(&bytes);
        assert_eq!((rig.wire.device.phase(), rig.wire.halted), (Phase::Wedged, true), "{name}");
        assert_eq!(rig.wire.read(512), Read::Stall(Vec::new()), "{name}");
        // The host clears the halt and hopes; a good command now is discarded, and halts again.
        rig.wire.clear_halt();
        assert_eq!(rig.wire.read(512), Read::Nothing(Vec::new()));
        assert_eq!(rig.wire.send(&good()), 31);
        assert_eq!(rig.wire.read(512), Read::Stall(Vec::new()), "{name}");
        // It reads and waits.
        rig.wire.clear_halt();
        rig.wire.advance(HALT_AGAIN - Duration::from_millis(1));
        assert!(!rig.wire.halted);
        rig.wire.advance(Duration::from_millis(1));
        assert_eq!(rig.wire.read(512), Read::Stall(Vec::new()), "{name}");
        // Data in its place is discarded, as much as there is.
        assert_eq!(rig.wire.send(&[0; 10_000]), 10_000);
        assert!(rig.wire.halted && rig.wire.device.timeout().is_some());
        // Reset Recovery, in the order of 5.3.4; it is not halted again in between.
        rig.wire.reset(false);
        assert!(rig.wire.halted, "the reset alone clears no halt (3.1)");
        rig.wire.clear_halt();
        rig.wire.advance(Duration::from_secs(1));
        assert_eq!((rig.wire.halted, rig.wire.device.timeout()), (false, None), "{name}");
        assert_eq!((rig.none(&[0; 6]).status, rig.sense()), (1, (6, 0x29, 0)), "{name}");
        assert_eq!(rig.input(512, &cdb10(0x28, 0, 1)).status, 0, "{name}");
        assert_eq!(rig.bytes(), before);
    }
}

#[test]
fn without_halts_the_device_says_no_more() {
    let mut rig = Rig::new(Halts::Avoid);
    rig.wire.send(&[0; 31]);
    assert_eq!(rig.wire.device.timeout(), None);
    rig.wire.send(&good());
    rig.wire.advance(Duration::from_secs(60));
    assert_eq!(rig.wire.read(512), Read::Nothing(Vec::new()));
    rig.wire.reset(false);
    assert_eq!((rig.none(&[0; 6]).status, rig.none(&[0; 6]).status), (1, 0));
}

/// TD 1.19: what stands behind bCBWCBLength does not count; and commands may be given with more than they have (Windows).
#[test]
fn lengths_of_the_cdb() {
    let mut rig = Rig::new(Halts::Use);
    let mut answers = Vec::new();
    for filling in [0x00, 0xff, 0x55, 0xaa] {
        let mut request = cbw(1, Direction::In, 36, &[0x12, 0, 0, 0, 36, 0]).to_bytes();
        request[21..].fill(filling);
        rig.wire.send(&request);
        answers.push((rig.wire.read(512), rig.wire.read(512)));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(matches!(&answers[0].0, Read::Bytes(bytes) if bytes.len() == 36));
    // REQUEST SENSE of 12 bytes.
    let got = rig.input(18, &[0x03, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((got.status, got.data.len()), (0, 18));
    // Bytes that the host has not sent are no command.
    let got = rig.input(512, &cdb10(0x28, 0, 1)[..9]);
    assert_eq!((got.status, got.residue, rig.sense()), (1, 512, (5, 0x24, 0)));
}

fn setup(request_type: u8, request: u8, value: u16, index: u16, length: u16) -> Setup {
    Setup { request_type, request, value, index, length }
}

/// All fields of the class requests count (TD 1.3).
#[test]
fn class_requests() {
    let mut rig = Rig::new(Halts::Use);
    let mut ask = |setup: Setup| rig.wire.device.handle_setup(&setup);
    assert_eq!(ask(setup(0xa1, 0xfe, 0, 0, 1)), Control::Reply(0));
    assert_eq!(ask(setup(0x21, 0xff, 0, 0, 0)), Control::Reset);
    for wrong in [
        setup(0xa1, 0xfe, 1, 0, 1),
        setup(0xa1, 0xfe, 0, 0x100, 1),
        setup(0xa1, 0xfe, 0, 0, 0),
        setup(0xa1, 0xfe, 0, 0, 2),
        setup(0x21, 0xfe, 0, 0, 1),
        setup(0x21, 0xff, 1, 0, 0),
        setup(0x21, 0xff, 0, 0x8000, 0),
        setup(0x21, 0xff, 0, 0, 1),
        setup(0xa1, 0xff, 0, 0, 0),
        setup(0x21, 0x00, 0, 0, 0),
        setup(0xa1, 0xfd, 0, 0, 1),
    ] {
        assert_eq!(ask(wrong), Control::Stall, "{wrong:?}");
    }
    for other in [
        setup(0xa1, 0xfe, 0, 1, 1),
        setup(0x21, 0xff, 0, 1, 0),
        setup(0xa0, 0xfe, 0, 0, 1),
        setup(0xa2, 0xfe, 0, 0, 1),
        setup(0xc1, 0xfe, 0, 0, 1),
        setup(0x41, 0xff, 0, 0, 0),
    ] {
        assert_eq!(ask(other), Control::NotOurs, "{other:?}");
    }
}

/// The host resets, or leaves and comes back, at every point of every kind of command: nothing of what was is left, however late what was taken
/// back comes home.
#[test]
fn resets_anywhere() {
    type Step = fn(&mut Rig, &Cbw);
    let steps: [(&str, Step); 4] = [
        ("nothing", |_, _| {}),
        ("CBW", |rig, cbw| assert_eq!(rig.wire.send(&cbw.to_bytes()), 31)),
        ("some data", |rig, cbw| {
            rig.wire.send(&cbw.to_bytes());
            match cbw.direction {
                Direction::In => drop(rig.wire.read(1024)),
                Direction::Out => assert!(rig.wire.send(&[0xa5; 1024]) <= 1024),
            }
        }),
        ("all data", |rig, cbw| {
            rig.wire.send(&cbw.to_bytes());
            match cbw.direction {
                Direction::In => drop(rig.wire.read(cbw.length as usize)),
                Direction::Out => {
                    assert!(rig.wire.send(&vec![0xa5; cbw.length as usize]) <= cbw.length as usize);
                }
            }
        }),
    ];
    let commands = [
        cbw(1, Direction::Out, 0, &[0; 6]),
        cbw(2, Direction::In, 16 * 512, &cdb10(0x28, 0, 16)),
        cbw(3, Direction::In, 16 * 512, &cdb10(0x28, 0, 8)),
        cbw(4, Direction::In, 16 * 512, &[0xff]),
        cbw(5, Direction::Out, 16 * 512, &cdb10(0x2a, 0, 16)),
        cbw(6, Direction::Out, 16 * 512, &cdb10(0x28, 0, 16)),
        cbw(7, Direction::Out, 16 * 512, &[0xff]),
    ];
    for halts in [Halts::Use, Halts::Avoid] {
        for command in &commands {
            for (name, step) in steps {
                for (how, late) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
                    let mut rig = Rig::new(halts);
                    rig.wire.late = late;
                    assert_eq!(rig.none(&[0x1e, 0, 0, 0, 1, 0]).status, 0);
                    step(&mut rig, command);
                    match how {
                        0 => rig.wire.reset(true),
                        1 => rig.wire.reconnect(),
                        _ => {
                            rig.wire.reconnect();
                            rig.wire.reset(true);
                        }
                    }
                    assert!(!rig.wire.device.target().is_prevented(), "{name}");
                    assert_eq!((rig.none(&[0; 6]).status, rig.sense()), (1, (6, 0x29, 0)), "{name}");
                    let got = rig.output(&cdb10(0x2a, 5, 8), &[0x77; 8 * 512]);
                    assert_eq!((got.status, got.residue), (0, 0), "{name} of {command:?}");
                    assert_eq!(rig.input(8 * 512, &cdb10(0x28, 5, 8)).data, [0x77; 8 * 512]);
                    assert!(rig.wire.deepest <= 4);
                }
            }
        }
    }
}

/// A second CBW before the CSW is read waits, a third is not even taken; the CSW comes first.
#[test]
fn a_host_that_does_not_read_its_csw() {
    let mut rig = Rig::new(Halts::Use);
    assert_eq!(rig.wire.send(&cbw(1, Direction::Out, 0, &[0; 6]).to_bytes()), 31);
    rig.wire.advance(Duration::from_secs(3600));
    assert_eq!(rig.wire.send(&cbw(2, Direction::Out, 0, &[0xff]).to_bytes()), 31);
    assert_eq!(rig.wire.device.phase(), Phase::Status);
    assert_eq!(rig.wire.send(&cbw(3, Direction::Out, 0, &[0; 6]).to_bytes()), 0);
    for (tag, status) in [(1, 0), (2, 1)] {
        let Read::Bytes(csw) = rig.wire.read(512) else { panic!("no CSW") };
        assert_eq!((csw[4], csw[12]), (tag, status));
    }
    assert_eq!(rig.wire.read(512), Read::Nothing(Vec::new()));
    assert_eq!(rig.none(&[0; 6]).status, 0);
}

/// What was taken back may be long on its way home: the endpoint is halted when it is there, not before, and the CSW stays behind the halt.
#[test]
fn a_halt_waits_for_what_was_taken_back() {
    let mut rig = Rig::new(Halts::Use);
    rig.wire.late = true;
    let read = cbw(1, Direction::In, 16 * 512, &cdb10(0x28, 0, 16));
    for round in 0..3 {
        assert_eq!(rig.wire.send(&read.to_bytes()), 31);
        // Three buffers to the host are in flight, of which it reads nothing.
        rig.wire.reset(true);
        if round == 2 {
            // Nor may what comes next be halted at once if it is no CBW.
            rig.wire.send(&[0; 31]);
            assert_eq!(rig.wire.read(512), Read::Stall(Vec::new()));
            rig.wire.reset(true);
        }
        let short = rig.input(255, &[0x12, 0, 0, 0, 255, 0]);
        assert_eq!((short.status, short.data.len(), short.halted), (0, 74, true));
        assert_eq!(rig.sense(), (6, 0x29, 0));
        assert!(rig.wire.deepest <= 4);
    }
}

/// Data that ends too early ends the command; what follows is a CBW again.
#[test]
fn data_that_ends_too_early() {
    for (came, taken) in [(10, 0), (512 + 10, 512), (4096 + 1, 4096), (7 * 512 + 1, 7 * 512)] {
        let mut rig = Rig::new(Halts::Use);
        let before = rig.bytes();
        let write = cbw(9, Direction::Out, 16 * 512, &cdb10(0x2a, 0, 16));
        rig.wire.send(&write.to_bytes());
        assert_eq!(rig.wire.send(&vec![0xa5; came]), came);
        let Read::Bytes(csw) = rig.wire.read(512) else { panic!("no CSW") };
        let residue = u32::from_le_bytes([csw[8], csw[9], csw[10], csw[11]]);
        assert_eq!((csw[12], residue as usize), (1, 16 * 512 - came));
        assert_eq!(rig.sense(), (0x0b, 0x4b, 0));
        let after = rig.bytes();
        assert!(after[..taken].iter().all(|byte| *byte == 0xa5));
        assert_eq!(after[taken..], before[taken..]);
        assert_eq!(rig.none(&[0; 6]).status, 0);
    }
    // Everything the command wanted was there.
    let mut rig = Rig::new(Halts::Use);
    rig.wire.send(&cbw(9, Direction::Out, 4096, &cdb10(0x2a, 0, 1)).to_bytes());
    rig.wire.send(&[0xa5; 600]);
    let Read::Bytes(csw) = rig.wire.read(512) else { panic!("no CSW") };
    assert_eq!(csw[8..], [0, 0x0e, 0, 0, 0]);
}

/// A reset is told in two events, and what a device asked for before it heard of them is in flight after them: all of it is taken back, but for a
/// read of a CBW, and nothing else is lost when nobody acts in between.
#[test]
fn events_that_come_late() {
    let disk = crate::support::disk();
    let mut device = Device::new(0, Halts::Use, Limits { buffers: 2, piece: 512 }, disk);
    let actions =
        |device: &mut Device<_>| -> Vec<Action> { std::iter::from_fn(|| device.poll_action()).collect() };
    let packet = |bytes: &[u8]| {
        let mut buffer = vec![0; 512];
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer
    };
    let now = Duration::ZERO;
    device.handle_enable();
    assert_eq!(actions(&mut device), [Action::Read(vec![0; 512])]);
    // Once more: the read stays.
    device.handle_disable();
    device.handle_enable();
    assert_eq!(actions(&mut device), []);
    let inquiry = cbw(1, Direction::In, 74, &[0x12, 0, 0, 0, 74, 0]).to_bytes();
    device.handle_read(now, packet(&inquiry), 31, Ok(()));
    let given = actions(&mut device);
    assert!(
        matches!(&given[..], [Action::Send(data), Action::Send(csw), Action::Read(_)] if data.len() == 74 && csw.len() == 13)
    );
    device.handle_disable();
    device.handle_enable();
    assert_eq!(actions(&mut device), [Action::TakeBack(Direction::In)]);
    // It all comes home, be it cancelled or sent; and then the device takes a command.
    device.handle_sent(now, vec![0; 74], Ok(()));
    device.handle_sent(now, vec![0; 13], Err(TransferError::Cancelled));
    let write = cbw(2, Direction::Out, 1024, &cdb10(0x2a, 0, 2)).to_bytes();
    for event in 0..2 {
        // 06/29/00 first: its data is discarded.
        device.handle_read(now, packet(&write), 31, Ok(()));
        assert_eq!(device.phase(), Phase::DataOut);
        assert_eq!(actions(&mut device).len(), 2);
        if event == 0 {
            for _ in 0..2 {
                device.handle_read(now, vec![0; 512], 512, Ok(()));
            }
            assert_eq!(actions(&mut device).len(), 2);
            device.handle_sent(now, vec![0; 13], Ok(()));
        }
    }
    device.handle_disable();
    device.handle_enable();
    let again = actions(&mut device);
    assert!(matches!(&again[..], [Action::TakeBack(Direction::Out), Action::Read(_)]), "{again:?}");
}

/// A backend that takes nothing any more: an event will say why.
#[test]
fn transfers_that_are_refused() {
    let mut device = Device::new(0, Halts::Use, Limits::default(), crate::support::disk());
    device.handle_enable();
    let Some(Action::Read(buffer)) = device.poll_action() else { panic!("no read") };
    device.handle_refused(Direction::Out, buffer);
    assert_eq!((device.phase(), device.poll_action()), (Phase::Off, None));
    device.handle_disable();
    device.handle_enable();
    assert!(matches!(device.poll_action(), Some(Action::Read(_))));
    // More than a packet in place of a CBW.
    device.handle_read(Duration::ZERO, vec![0; 512], 512, Err(TransferError::Overflow));
    assert_eq!((device.phase(), device.poll_action()), (Phase::Wedged, Some(Action::Halt)));
}

/// A controller that fails leaves the host a device that says so and that Reset Recovery helps, not one that is silent.
#[test]
fn a_controller_that_fails() {
    let mut device = Device::new(0, Halts::Use, Limits::default(), crate::support::disk());
    device.handle_enable();
    assert!(matches!(device.poll_action(), Some(Action::Read(_))));
    device.handle_read(Duration::ZERO, vec![0; 512], 0, Err(TransferError::Failed));
    assert_eq!((device.phase(), device.poll_action()), (Phase::Wedged, Some(Action::Halt)));
}

/// A host that sends more than its CBW says: what is in the last packet is discarded, what goes on behind it is no CBW.
#[test]
fn more_data_than_announced() {
    for (announced, status) in [(512, 0), (100, 2)] {
        let mut rig = Rig::new(Halts::Use);
        let before = rig.bytes();
        let write = cbw(9, Direction::Out, announced, &cdb10(0x2a, 0, 1));
        rig.wire.send(&write.to_bytes());
        assert_eq!(rig.wire.send(&[0xa5; 512]), 512);
        let Read::Bytes(csw) = rig.wire.read(512) else { panic!("no CSW") };
        assert_eq!(csw[8..], [0, 0, 0, 0, status]);
        let written = if status == 0 { 512 } else { 0 };
        assert!(rig.bytes()[..written].iter().all(|byte| *byte == 0xa5));
        assert_eq!(rig.bytes()[written..], before[written..]);
        assert_eq!(rig.wire.send(&[0xa5; 512]), 512);
        assert_eq!(rig.wire.device.phase(), Phase::Wedged);
    }
}
