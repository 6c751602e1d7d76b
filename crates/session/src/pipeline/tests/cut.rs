//! The power goes during every single operation on the medium, and what was not durable is lost in every way: the BMC
//! boots a whole firmware, old or new, tells the truth, and takes the next update.

use alloc::format;

use inband_store::memory::Loss;

use super::*;

/// Versions that occur here, with their bytes.
fn versions() -> [Package; 4] {
    [Package::new("1.0", 1), Package::new("2.0", 2), Package::new("3.0", 3), Package::new("4.0", 4)]
}

/// What any start must find, whatever happened before it.
fn check(line: &Line, packages: &[Package], context: &str) {
    let record = line.store().record();
    let running = line.store().running();
    assert_eq!(record.booted, running, "{context}");
    // Every slot that could be booted holds exactly the version that the record names.
    for slot in Slot::ALL {
        let firmware = record.slot(slot);
        match firmware.state {
            SlotState::Empty | SlotState::Invalid => assert_ne!(slot, running, "{context}"),
            SlotState::Staged | SlotState::Trial | SlotState::Good => {
                let version = firmware.version.as_str();
                let package = packages.iter().find(|package| package.version == version);
                let whole = package.is_some_and(|package| package.is_in(line.store().medium().slot(slot)));
                assert!(whole, "{context}: slot {} does not hold {version}", slot.name());
            }
        }
    }
    // The last session says what is the case.
    let (_, state, result) = last(line);
    let session = &record.session;
    let target = record.slot(session.target);
    let on_trial = record.slot(running).state == SlotState::Trial;
    assert_eq!(on_trial, state == SessionState::PendingConfirm, "{context}: {state}");
    match state {
        SessionState::Idle => assert_eq!(session.id, 0, "{context}"),
        SessionState::Interrupted | SessionState::Failed | SessionState::Aborted => {
            assert!(!result.is_ok(), "{context}");
        }
        SessionState::Staged => {
            assert_eq!((target.state, session.target), (SlotState::Staged, record.choice), "{context}");
        }
        SessionState::PendingConfirm | SessionState::Done => {
            assert_eq!((session.target, result), (running, ResultCode::Ok), "{context}");
            assert_eq!(session.version.as_str(), target.version.as_str(), "{context}");
        }
        SessionState::RolledBack => {
            assert_eq!((target.state, result), (SlotState::Invalid, ResultCode::RolledBack), "{context}");
            assert_ne!(session.target, running, "{context}");
        }
        SessionState::Receiving
        | SessionState::Handover
        | SessionState::Verifying
        | SessionState::Activating => {
            panic!("{context}: {state} after a start");
        }
    }
    assert!(session.id <= record.last_id, "{context}");
}

/// Starts the machine: loader, then daemon. If the power goes during the operation of number `cut`, returns what is left.
fn start_machine(mut medium: MemoryMedium, cut: Option<usize>) -> Result<Line, Box<MemoryMedium>> {
    medium.forget_operations();
    if let Some(operation) = cut {
        medium.cut_power_at(operation);
    }
    let mut store = Store::open(medium, layout(), Options::default()).unwrap();
    if store.boot().is_err() || start::recover(&mut store).is_err() {
        return Err(Box::new(store.into_medium()));
    }
    Ok(start_daemon(store.into_medium()).unwrap())
}

/// Does `action` on `before` once for each operation in it and each kind of loss, with the power going during that operation;
/// then starts the machine, with the power going again during each operation of that. Returns how many starts it has checked.
fn cut_everywhere(before: &MemoryMedium, action: impl Fn(&mut Line)) -> usize {
    let packages = versions();
    let mut checked = 0;
    for operation in 0.. {
        let mut struck = false;
        for loss in Loss::ALL {
            let mut medium = before.clone();
            medium.forget_operations();
            medium.cut_power_at(operation);
            let mut line = start_daemon(medium).unwrap();
            action(&mut line);
            let mut medium = line.into_store().into_medium();
            struck = !medium.is_powered();
            if !struck {
                break;
            }
            medium.power_cycle(loss);
            for nested in 0.. {
                let context = format!("cut at {operation}, {loss:?}, again at {nested}");
                match start_machine(medium.clone(), Some(nested)) {
                    Err(cut) => {
                        for loss in Loss::ALL {
                            let mut medium = MemoryMedium::clone(&cut);
                            medium.power_cycle(loss);
                            let line = start_machine(medium, None).unwrap();
                            check(&line, &packages, &context);
                            checked += 1;
                        }
                    }
                    Ok(line) => {
                        check(&line, &packages, &context);
                        checked += 1;
                        // The second cut did not come; from here on none does.
                        let line = with_medium(line, |medium| medium.power_cycle(Loss::None));
                        goes_on(line, &packages[3], &context);
                        break;
                    }
                }
            }
            // A restart of the daemon alone finds the truth as well.
            let line = start_daemon(medium).unwrap();
            check(&line, &packages, &format!("cut at {operation}, {loss:?}, daemon only"));
            checked += 1;
        }
        if !struck {
            assert!(operation > 0, "the action has no operation");
            return checked;
        }
    }
    checked
}

/// The next update is taken, up to its confirmation.
fn goes_on(mut line: Line, next: &Package, context: &str) {
    if line.store().is_on_trial() {
        line.confirm().unwrap();
    }
    let id = line.store().record().last_id + 1;
    assert_eq!(update(&mut line, id, next), Ok(()), "{context}: {:?}", line.last_error());
    let target = line.store().running().other();
    assert_eq!(line.boot(), Ok(target), "{context}");
    line.confirm().unwrap();
    assert_eq!(last(&line), (id, SessionState::Done, ResultCode::Ok), "{context}");
}

#[test]
fn during_an_update() {
    let second = &versions()[1];
    let checked = cut_everywhere(&medium(), |line| {
        let _ = update(line, 1, second);
    });
    assert!(checked > 100, "{checked} starts");
}

#[test]
fn during_an_update_over_a_staged_one() {
    let [_, second, third, _] = versions();
    let mut line = line();
    update(&mut line, 1, &second).unwrap();
    let before = line.into_store().into_medium();
    let checked = cut_everywhere(&before, |line| {
        let _ = update(line, 2, &third);
    });
    assert!(checked > 100, "{checked} starts");
}

#[test]
fn during_a_forged_update_over_a_staged_one() {
    let [_, second, mut third, _] = versions();
    third.bytes[1536..1600].fill(3);
    let mut line = line();
    update(&mut line, 1, &second).unwrap();
    let before = line.into_store().into_medium();
    cut_everywhere(&before, |line| assert!(update(line, 2, &third).is_err()));
}

#[test]
fn during_an_abort() {
    let second = &versions()[1];
    cut_everywhere(&medium(), |line| {
        if line.begin(1, Door::Dfu).is_ok() && send(line, &second.bytes[..90_000]).is_ok() {
            line.abort(ResultCode::Aborted);
        }
    });
}

#[test]
fn during_start_and_confirmation_of_the_new_firmware() {
    let second = &versions()[1];
    let mut line = line();
    update(&mut line, 1, second).unwrap();
    let before = line.into_store().into_medium();
    cut_everywhere(&before, |line| {
        if line.boot().is_ok() {
            let _ = line.confirm();
        }
    });
}

#[test]
fn during_a_roll_back() {
    let second = &versions()[1];
    let mut line = line();
    update(&mut line, 1, second).unwrap();
    for _ in 0..3 {
        assert_eq!(line.boot(), Ok(Slot::B));
    }
    let before = line.into_store().into_medium();
    cut_everywhere(&before, |line| {
        let _ = line.boot();
    });
}
