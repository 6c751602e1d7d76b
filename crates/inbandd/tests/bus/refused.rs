//! Bad packages: each with its result, and nothing taken from it.

use std::time::Duration;

use inband_dfu::{
    host::{End, Error},
    wire::{Request, State, Status},
};
use inband_package::maker::PrivateKey;
use inband_session::{Door, ResultCode, SessionState};
use inband_store::{Options, Slot, SlotState, medium::MediumErrorKind, memory::Loss};
use inband_usb::HostError;

use crate::{
    bench::{
        Bench, FACTORY, FLOOR, MAX_PACKAGE, SLOT, Setting, block, boot_and_die, command, dnload, get_status,
        new_store,
    },
    package::{Package, key},
};

/// A package that must be refused.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    pub(crate) file: Vec<u8>,
    pub(crate) result: ResultCode,
    pub(crate) status: Status,
    /// Whether it is refused before anything is written: the other slot is as it was.
    pub(crate) before_writing: bool,
}

fn good() -> Package {
    Package::new(0x0666, 60_000)
}

/// A good package with one byte changed.
fn changed(at: usize) -> Vec<u8> {
    let mut file = good().bytes();
    file[at] ^= 0x10;
    file
}

/// Offset of the first image's header: behind head, signature and index with their headers.
pub(crate) fn members_at(file: &[u8]) -> usize {
    let digits = std::str::from_utf8(&file[2048 + 124..2048 + 135]).unwrap();
    let index = usize::from_str_radix(digits, 8).unwrap();
    2048 + 512 + index.next_multiple_of(512)
}

pub(crate) fn bad_packages() -> Vec<Bad> {
    let members = members_at(&good().bytes());
    let last = good().bytes().len() - 1;
    let early = |name, file, result, status| Bad { name, file, result, status, before_writing: true };
    let late = |name, file, result, status| Bad { name, file, result, status, before_writing: false };
    let other = PrivateKey::from_seed(&[8; 32]);
    let mut trailing = good().bytes();
    // All in one block, whatever the length.
    trailing.extend([0; 100]);
    vec![
        early("no package", vec![0x5a; 9000], ResultCode::BadHead, Status::ErrFile),
        early("magic", changed(512), ResultCode::BadHead, Status::ErrFile),
        early("head", changed(512 + 33), ResultCode::BadSignature, Status::ErrVerify),
        early("signature", changed(1536 + 5), ResultCode::BadSignature, Status::ErrVerify),
        early("index", changed(2048 + 512 + 40), ResultCode::BadIndex, Status::ErrFile),
        early("unknown key", good().signed_by(&other), ResultCode::UnknownKey, Status::ErrVerify),
        early(
            "another machine",
            Package { machine: "other-board".into(), ..good() }.bytes(),
            ResultCode::WrongMachine,
            Status::ErrTarget,
        ),
        early(
            "old security version",
            Package { security_version: FLOOR - 1, ..good() }.bytes(),
            ResultCode::OldSecurityVersion,
            Status::ErrFile,
        ),
        early(
            "larger than any",
            Package::new(0x0666, MAX_PACKAGE as usize).bytes(),
            ResultCode::TooLarge,
            Status::ErrAddress,
        ),
        early(
            "larger than its region",
            Package::new(0x0666, SLOT + 1).bytes(),
            ResultCode::TooLarge,
            Status::ErrAddress,
        ),
        early(
            "no region",
            Package { member: "image-other".into(), ..good() }.bytes(),
            ResultCode::UnmappedMember,
            Status::ErrFile,
        ),
        early(
            "an unknown target",
            Package { targets: vec!["bmc".into(), "bios".into()], ..good() }.bytes(),
            ResultCode::UnmappedMember,
            Status::ErrFile,
        ),
        late("member header", changed(members + 100), ResultCode::BadArchive, Status::ErrFile),
        late("first chunk", changed(members + 512), ResultCode::BadChunk, Status::ErrVerify),
        late("last chunk", changed(members + 512 + 59_999), ResultCode::BadChunk, Status::ErrVerify),
        late("padding", changed(members + 512 + 60_000), ResultCode::BadArchive, Status::ErrFile),
        late("end", changed(last), ResultCode::BadArchive, Status::ErrFile),
        late("trailing bytes", trailing, ResultCode::TrailingBytes, Status::ErrFile),
        late("cut", good().bytes()[..members + 30_000].to_vec(), ResultCode::Truncated, Status::ErrNotDone),
        late("cut by a byte", good().bytes()[..last].to_vec(), ResultCode::Truncated, Status::ErrNotDone),
        early("cut in the head", good().bytes()[..700].to_vec(), ResultCode::Truncated, Status::ErrNotDone),
    ]
}

#[test]
fn bad_packages_are_refused_as_the_results_say() {
    for Bad { name, file, result, status, before_writing } in bad_packages() {
        let bench = Bench::new();
        match bench.update(&file) {
            Err(Error::Refused { status: Some(told), state: Some(State::DfuError), .. }) => {
                assert_eq!(told, status, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(status as u8, result.b_status(), "{name}");
        let page = bench.status();
        assert_eq!((page.state, page.result()), (SessionState::Failed, Some(result)), "{name}");
        assert_eq!((page.door, page.session), (Some(Door::Dfu), 1), "{name}");
        let target = if before_writing { SlotState::Empty } else { SlotState::Invalid };
        assert_eq!(page.slots, [SlotState::Good, target], "{name}");
        assert_eq!((page.boots_next, page.other_boots_next), (Slot::A, false), "{name}");
        let log = bench.last_log();
        assert_eq!((log.result(), log.session, page.log_records), (Some(result), 1, 1), "{name}");
        assert_eq!(page.head[..8], log.head, "{name}");
        bench.assert_factory_runs();

        // The same host goes on, without a pause.
        bench.assert_updatable();
        assert_eq!(bench.status().session, 2, "{name}");
    }
}

#[test]
fn a_refusal_survives_a_power_cut() {
    for Bad { name, file, result, .. } in bad_packages() {
        let bench = Bench::new();
        assert!(bench.update(&file).is_err(), "{name}");
        let bench = bench.power_cycle(Loss::All);
        bench.assert_session(SessionState::Failed, result);
        bench.assert_factory_runs();
    }
}

#[test]
fn what_is_refused_before_the_first_write_leaves_a_staged_slot_alone() {
    let staged = Package::new(0x0200, 30_000);
    for Bad { name, file, result, before_writing, .. } in bad_packages() {
        let bench = Bench::new();
        bench.update(&staged.bytes()).unwrap();
        assert!(bench.update(&file).is_err(), "{name}");
        bench.assert_session(SessionState::Failed, result);
        let status = bench.status();
        if before_writing {
            assert_eq!((status.boots_next, status.slots[1]), (Slot::B, SlotState::Staged), "{name}");
            assert!(bench.medium().slot(Slot::B) == staged.slot(SLOT), "{name}");
            let bench = bench.power_cycle(Loss::All);
            bench.assert_session(SessionState::Done, ResultCode::Ok);
            assert_eq!(
                bench.status().session,
                1,
                "{name}: the session that staged it is the current one again"
            );
        } else {
            assert_eq!((status.boots_next, status.slots[1]), (Slot::A, SlotState::Invalid), "{name}");
            bench.power_cycle(Loss::All).assert_factory_runs();
        }
    }
}

#[test]
fn a_refused_package_is_not_activated() {
    for Bad { name, file, result, .. } in bad_packages() {
        let bench = Bench::with(Setting { activate: true, ..Setting::default() });
        assert!(bench.update(&file).is_err(), "{name}");
        bench.leave_dfu();
        bench.assert_session(SessionState::Failed, result);
        bench.assert_factory_runs();
        assert_eq!(bench.bus.descriptors().unwrap().device_version, FACTORY);
    }
}

#[test]
fn bytes_behind_a_staged_package_are_refused_and_it_stays_staged() {
    let file = (0..8)
        .map(|more| Package::new(0x0200, 20_000 + 512 * more).bytes())
        .find(|file| file.len() % 4096 == 0)
        .unwrap();
    let next = (file.len() / 4096) as u16;
    for more in [1, 6, 7, 16, 17, 512, 4096] {
        let bench = Bench::new();
        let mut host = bench.enter_dfu();
        for (number, data) in file.chunks(4096).enumerate() {
            assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        }
        let behind = block(&mut host, next, &vec![0x44; more]);
        if more <= 6 {
            // It could be the beginning of a DFU suffix, until the host says that this is all.
            assert_eq!(behind, Ok((State::DfuDnloadIdle, Status::Ok)), "{more}");
            assert_eq!(dnload(&mut host, next + 1, &[]), Err(HostError::Stall));
            assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrNotDone)));
        } else {
            assert_eq!(behind, Ok((State::DfuError, Status::ErrFile)), "{more}");
            assert_eq!(dnload(&mut host, next + 1, &[]), Err(HostError::Stall));
        }
        drop(host);
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        bench.assert_updatable();
    }
}

#[test]
fn a_few_bytes_behind_the_end_in_its_block_are_not_accepted_either() {
    let mut file = good().bytes();
    assert_ne!(file.len() % 4096, 0);
    file.extend(b"more");
    let bench = Bench::new();
    match bench.update(&file) {
        Err(Error::Refused { status: Some(Status::ErrNotDone), .. }) => {}
        other => panic!("{other:?}"),
    }
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn an_error_is_reported_once_and_the_first_one_stays() {
    let bench = Bench::new();
    let mut host = bench.enter_dfu();
    assert_eq!(block(&mut host, 0, &changed(512)[..4096]), Ok((State::DfuError, Status::ErrFile)));
    for _ in 0..3 {
        assert_eq!(dnload(&mut host, 1, &[1; 64]), Err(HostError::Stall));
        assert_eq!(dnload(&mut host, 1, &[]), Err(HostError::Stall));
        assert_eq!(command(&mut host, Request::Abort), Err(HostError::Stall));
        assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrFile)));
    }
    assert_eq!(command(&mut host, Request::ClrStatus), Ok(()));
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    bench.assert_session(SessionState::Failed, ResultCode::BadHead);
}

/// What the BMC cannot store is told, and the next session, with the fault gone, works.
#[test]
fn faults_of_the_store_have_results_of_their_own() {
    let package = Package::new(0x0200, 20_000);
    // The operations of a session: journal, record, record, index, journal, writes, sync, record.
    let cases = [
        (0, MediumErrorKind::Io, ResultCode::StoreFailed),
        (0, MediumErrorKind::NoSpace, ResultCode::NoSpace),
        (1, MediumErrorKind::Io, ResultCode::StoreFailed),
        (2, MediumErrorKind::Io, ResultCode::StoreFailed),
        (3, MediumErrorKind::NoSpace, ResultCode::NoSpace),
        (4, MediumErrorKind::Io, ResultCode::StoreFailed),
        (5, MediumErrorKind::Io, ResultCode::WriteFailed),
        (5, MediumErrorKind::NoSpace, ResultCode::NoSpace),
    ];
    for (operation, kind, result) in cases {
        let mut medium = new_store();
        medium.forget_operations();
        medium.fail_at(operation, kind);
        let bench = Bench::boot(Setting::default(), medium);
        match bench.update(&package.bytes()) {
            Err(Error::Refused { status: Some(status), .. }) => {
                assert_eq!(status as u8, result.b_status(), "operation {operation}");
            }
            other => panic!("operation {operation}: {other:?}"),
        }
        bench.assert_session(SessionState::Failed, result);
        bench.assert_factory_runs();
        bench.assert_updatable();
    }
}

#[test]
fn a_worn_cell_is_found_before_the_slot_is_chosen() {
    let mut medium = new_store();
    medium.break_cell(Slot::B, 12_345);
    let bench = Bench::boot(Setting::default(), medium);
    match bench.update(&Package::new(0x0200, 20_000).bytes()) {
        Err(Error::Refused { status: Some(Status::ErrVerify), .. }) => {}
        other => panic!("{other:?}"),
    }
    bench.assert_session(SessionState::Failed, ResultCode::ReadbackMismatch);
    assert_eq!(bench.status().boots_next, Slot::A);
    bench.assert_factory_runs();
}

#[test]
fn the_security_floor_is_the_one_that_was_confirmed() {
    let bench = Bench::with(Setting { activate: true, ..Setting::default() });
    let newer = Package { security_version: FLOOR + 2, ..Package::new(0x0200, 20_000) };
    let older = Package { security_version: FLOOR + 1, ..Package::new(0x0300, 20_000) };
    // Staged only: the floor is where it was.
    bench.update(&newer.bytes()).unwrap();
    assert_eq!(bench.status().floor, FLOOR);
    bench.leave_dfu();
    assert_eq!(bench.status().floor, FLOOR + 2);
    assert!(bench.update(&older.bytes()).is_err());
    bench.assert_session(SessionState::Failed, ResultCode::OldSecurityVersion);
    assert_eq!(bench.update(&newer.bytes()), Ok(End::Idle));
}

/// A firmware that is given up has not raised the floor, and what is older than it is taken by the door.
#[test]
fn the_security_floor_is_not_that_of_firmware_that_was_given_up() {
    let bench = Bench::new();
    let newer = Package { security_version: FLOOR + 2, ..Package::new(0x0200, 20_000) };
    bench.update(&newer.bytes()).unwrap();
    let mut medium = bench.kill();
    for _ in 0..Options::default().boots {
        medium = boot_and_die(medium);
    }
    let bench = Bench::boot(Setting::default(), medium);
    bench.assert_session(SessionState::RolledBack, ResultCode::RolledBack);
    assert_eq!(bench.status().floor, FLOOR);
    bench.assert_updatable();
}

#[test]
fn a_package_of_the_right_key_twice_is_taken_twice() {
    assert_eq!(good().signed_by(&key()), good().bytes());
    let bench = Bench::with(Setting { activate: true, ..Setting::default() });
    for session in [1, 2] {
        assert_eq!(bench.update(&good().bytes()), Ok(End::Idle));
        bench.wait_return(Duration::from_secs(6));
        bench.assert_session(SessionState::Done, ResultCode::Ok);
        assert_eq!(bench.status().session, session);
    }
}
