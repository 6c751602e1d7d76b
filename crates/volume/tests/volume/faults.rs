//! The cable is pulled, the bus is reset, or a transfer gets lost, in each step of each transfer of each kind of command: behind it the disk is
//! as it was or as it was to be, block by block, and a host that begins anew finds it in order.

use inband_virtual::memory::{self, Fault, FaultPlan, Step};
use inband_volume::bot::{
    Halts, Limits,
    host::{Data, Host},
    wire::Status,
};

use crate::{
    bus::{Rig, make_ready, try_ready},
    support::cdb10,
};

const WRITTEN: [u8; 12 * 512] = [0xa5; 12 * 512];

/// A command of each kind: to the host, from it, short, failing, without data.
fn session(usb: &mut inband_virtual::memory::MemoryHost, host: &mut Host) -> Result<(), String> {
    let read = cdb10(0x28, 3, 12);
    let write = cdb10(0x2a, 5, 12);
    let commands: [(&[u8], Data<'_>); 6] = [
        (&[0; 6], Data::None),
        (&read, Data::In(12 * 512)),
        (&[0x12, 0, 0, 0, 255, 0], Data::In(255)),
        (&write, Data::Out(&WRITTEN)),
        (&cdb10(0x28, 1 << 31, 1), Data::In(512)),
        (&cdb10(0x2a, 1 << 31, 12), Data::Out(&WRITTEN)),
    ];
    for (cdb, data) in commands {
        let answer = host.command(usb, cdb, data).map_err(|error| error.to_string())?;
        if answer.csw.status == Status::PhaseError {
            return Err("a phase error".into());
        }
    }
    Ok(())
}

#[test]
fn every_fault_of_every_transfer() {
    for (halts, hasty) in [(Halts::Use, false), (Halts::Use, true), (Halts::Avoid, true)] {
        let limits = Limits { buffers: 2, piece: 1024 };
        let rig = Rig::new(halts, limits);
        let (mut usb, mut host) = rig.open();
        rig.bus.set_faults(FaultPlan::default());
        session(&mut usb, &mut host).unwrap();
        let transfers = rig.bus.transfers();
        assert!(transfers >= 17, "{transfers}");
        let mut failures = 0;
        for action in [memory::Action::Unplug, memory::Action::Reset, memory::Action::Drop] {
            for transfer in 0..transfers {
                for step in
                    [Step::Setup, Step::Data(512), Step::Data(1024), Step::Data(5 * 512), Step::Status]
                {
                    let name = format!("{action:?} at {step:?} of {transfer}, {halts:?}, hasty {hasty}");
                    let rig = Rig::new(halts, limits);
                    if hasty {
                        rig.be_hasty();
                    }
                    let before = rig.bytes();
                    let (mut usb, mut host) = rig.open();
                    rig.bus.set_faults(FaultPlan::new([Fault { transfer, step, action: action.clone() }]));
                    let ended = session(&mut usb, &mut host);
                    failures += usize::from(ended.is_err());
                    // Each block is the old one or the new one, and none behind the first old one is new.
                    let after = rig.bytes();
                    let new =
                        after[5 * 512..17 * 512].chunks(512).take_while(|it| *it == [0xa5; 512]).count();
                    let end = (5 + new) * 512;
                    assert!(after[..5 * 512] == before[..5 * 512] && after[end..] == before[end..], "{name}");
                    // The host's kernel begins anew.
                    if action == memory::Action::Drop {
                        if ended.is_err() {
                            host.recover(&mut usb).unwrap();
                        }
                    } else {
                        drop(usb);
                        rig.bus.plug();
                        rig.wait();
                        (usb, host) = rig.open();
                    }
                    // What a hasty shell has asked for between two events may swallow the first CBW. It is never more than that.
                    if let Err(error) = try_ready(&mut usb, &mut host) {
                        assert!(hasty, "{error} behind {name}");
                        host.recover(&mut usb).unwrap();
                        make_ready(&mut usb, &mut host);
                    }
                    session(&mut usb, &mut host).unwrap_or_else(|error| panic!("{error} behind {name}"));
                    assert_eq!(rig.bytes()[5 * 512..17 * 512], WRITTEN, "{name}");
                }
            }
        }
        assert!(failures > 150, "{failures} sessions failed");
    }
}
