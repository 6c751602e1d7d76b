//! A small session, with something happening at every transfer and every step of it.

use std::time::Duration;

use inband_dfu::host::End;
use inband_session::{ResultCode, SessionState};
use inband_store::{Slot, SlotState, memory::Loss};
use inband_virtual::memory::{Action, Fault, FaultPlan, Step};

use crate::{
    bench::{Bench, SLOT, Setting, factory},
    package::Package,
};

const STEPS: [Step; 5] = [Step::Setup, Step::Data(1), Step::Data(300), Step::Data(4095), Step::Status];

fn package() -> Package {
    Package::new(0x0200, 5000)
}

/// How many transfers the session has when nothing happens.
fn transfers() -> u64 {
    let bench = Bench::new();
    bench.bus.set_faults(FaultPlan::default());
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    bench.bus.transfers()
}

/// Asserts that whatever a page says is so.
fn assert_truth(bench: &Bench, context: &str) {
    let status = bench.status();
    let medium = bench.medium();
    assert_eq!((status.running, status.slots[0]), (Slot::A, SlotState::Good), "{context}");
    assert!(medium.slot(Slot::A) == factory(), "{context}: the running slot was written to");
    let result = status.result().unwrap();
    match (status.state, result) {
        (SessionState::Idle, ResultCode::None) => assert_eq!(status.slots[1], SlotState::Empty, "{context}"),
        (SessionState::Staged, ResultCode::Ok) => {
            assert_eq!((status.slots[1], status.boots_next), (SlotState::Staged, Slot::B), "{context}");
            assert!(medium.slot(Slot::B) == package().slot(SLOT), "{context}: staged, and not what was sent");
        }
        (SessionState::Failed, ResultCode::Disconnected | ResultCode::Timeout)
        | (SessionState::Aborted, ResultCode::Aborted) => {
            assert_ne!(status.slots[1], SlotState::Staged, "{context}");
            assert_eq!(status.boots_next, Slot::A, "{context}");
            assert_eq!(bench.last_log().result(), Some(result), "{context}");
        }
        other => panic!("{context}: {other:?}"),
    }
}

/// Asserts that the machine boots a whole firmware, whatever a power cut now leaves, and is updatable then.
fn assert_bootable(bench: Bench, loss: Loss, context: &str) {
    let staged = bench.status().state == SessionState::Staged;
    let bench = bench.power_cycle(loss);
    let running = bench.status().running;
    let expected = if staged { (Slot::B, package().slot(SLOT)) } else { (Slot::A, factory().to_vec()) };
    assert_eq!(running, expected.0, "{context}");
    assert!(bench.medium().slot(running) == expected.1, "{context}: what boots is not whole");
    bench.assert_updatable();
}

/// Runs the session with one fault, then again without.
fn with_fault(fault: Fault, setting: Setting) {
    let context = format!("{fault:?}");
    let bench = Bench::with(setting);
    bench.bus.set_faults(FaultPlan::new([fault.clone()]));
    let unplugs = fault.action == Action::Unplug;
    {
        // A host may fail at any point, and panic-free: whatever it sees is an error or the end.
        let mut host = bench.claim();
        let generation = bench.bus.generation();
        let entered = crate::host::detach(&mut host).is_ok()
            && bench.bus.run_until(Duration::from_secs(3), || bench.bus.generation() > generation);
        drop(host);
        if entered && bench.bus.attached() && bench.in_dfu_mode() {
            let mut host = bench.claim();
            let _ = crate::host::download(&mut host, &package().bytes(), |_, _| {});
        }
    }
    bench.bus.set_faults(FaultPlan::default());
    if unplugs {
        bench.bus.advance(Duration::from_secs(2));
        bench.bus.plug();
    }
    bench.wait_attached();
    // What a host left running on the bus when it gave up ends in its time.
    bench.bus.advance(Duration::from_secs(1));
    bench.wait_attached();
    if bench.status().state == SessionState::Receiving {
        bench.bus.advance(Duration::from_secs(61));
    }
    assert_truth(&bench, &context);
    // The next update works, on the same bus.
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle), "{context}");
    assert_truth(&bench, &context);
    assert_bootable(bench, Loss::All, &context);
}

#[test]
fn a_cable_pulled_at_every_step_of_every_transfer_does_no_harm() {
    for transfer in 0..=transfers() {
        for step in STEPS {
            with_fault(Fault { transfer, step, action: Action::Unplug }, Setting::default());
        }
    }
}

#[test]
fn a_bus_reset_at_every_step_of_every_transfer_does_no_harm() {
    for transfer in 0..=transfers() {
        for step in STEPS {
            with_fault(Fault { transfer, step, action: Action::Reset }, Setting::default());
        }
    }
}

#[test]
fn a_transfer_lost_at_every_step_does_no_harm() {
    for transfer in 0..=transfers() {
        for step in STEPS {
            with_fault(Fault { transfer, step, action: Action::Drop }, Setting::default());
        }
    }
}

#[test]
fn a_power_cut_behind_every_transfer_leaves_a_bootable_machine() {
    let transfers = transfers();
    for loss in Loss::ALL {
        for transfer in 0..=transfers {
            let bench = Bench::new();
            let fault = Fault { transfer, step: Step::Status, action: Action::Unplug };
            let context = format!("{loss:?}, {fault:?}");
            bench.bus.set_faults(FaultPlan::new([fault]));
            {
                let mut host = bench.claim();
                let generation = bench.bus.generation();
                if crate::host::detach(&mut host).is_ok()
                    && bench.bus.run_until(Duration::from_secs(3), || bench.bus.generation() > generation)
                {
                    drop(host);
                    let _ = crate::host::download(&mut bench.claim(), &package().bytes(), |_, _| {});
                }
            }
            // Before the BMC's side hears of the end of the cable.
            let record = bench.bmc().session().store().record.clone();
            let staged = record.slot(Slot::B).state == SlotState::Staged;
            let bench = bench.power_cycle(loss);
            let running = bench.status().running;
            let expected =
                if staged { (Slot::B, package().slot(SLOT)) } else { (Slot::A, factory().to_vec()) };
            assert_eq!(running, expected.0, "{context}");
            assert!(bench.medium().slot(running) == expected.1, "{context}");
            bench.assert_updatable();
        }
    }
}
