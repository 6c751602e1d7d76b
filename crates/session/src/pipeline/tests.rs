//! Whole updates over the medium in memory, with faults. Those in which the power goes are in `cut`, on the file store.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use inband_package::Expected;
use inband_package::index::MemberKind;
use inband_package::key::KeyRing;
use inband_package::maker::{Input, PackOptions, PrivateKey, Source, pack};
use inband_package::signature::{Kind, signed_bytes};
use inband_store::medium::MediumErrorKind;
use inband_store::memory::{Loss, MemoryMedium, Operation};
use inband_store::record::Place;
use inband_store::text::Text;
use inband_store::{Firmware, Layout, Options, Region, SlotState};

use super::*;

mod cut;
mod have;
mod needed;
mod policy;

const SLOT: usize = 256 * 1024;
const KERNEL: (u64, u64) = (0, 100 * 1024);
const ROFS: (u64, u64) = (100 * 1024, 150 * 1024);
const NOW: Duration = Duration::from_secs(1000);
const RATES: Rates = Rates { sessions: 200, rewrites: 24 };
/// Bytes from one mark in the journal to the next, so that there is more than one.
const MARK: u64 = 60_000;
/// Bytes in one push, as a DFU block brings them.
const BLOCK: usize = 4096;

type Line = Pipeline<MemoryMedium, KeyRing>;

/// A firmware and its signed package.
struct Package {
    bytes: Vec<u8>,
    version: &'static str,
    kernel: Vec<u8>,
    rofs: Vec<u8>,
}

impl Package {
    fn new(version: &'static str, security_version: u32) -> Self {
        // Different in each version, and lengths that fill neither region.
        let seed = version.bytes().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let kernel = noise(seed, 70_000);
        let rofs = noise(seed ^ 1, 90_001);
        Self::of("board", version, security_version, "kernel", kernel, rofs)
    }

    fn of(
        machine: &str,
        version: &'static str,
        security_version: u32,
        kernel_name: &str,
        kernel: Vec<u8>,
        rofs: Vec<u8>,
    ) -> Self {
        let options = PackOptions { machine: machine.to_string(), ..options(version, security_version) };
        let inputs = [
            input("MANIFEST", MemberKind::Metadata, b"purpose=bmc\n"),
            input(kernel_name, MemberKind::Image, &kernel),
            input("rofs", MemberKind::Image, &rofs),
        ];
        Self { bytes: signed(&options, &inputs), version, kernel, rofs }
    }

    /// Whether the regions of a slot hold this firmware, to the last byte.
    fn is_in(&self, slot: &[u8]) -> bool {
        let holds = |(offset, length): (u64, u64), image: &[u8]| {
            let region = &slot[offset as usize..(offset + length) as usize];
            let (there, rest) = region.split_at(image.len());
            there == image && rest.iter().all(|&byte| byte == 0xff)
        };
        holds(KERNEL, &self.kernel) && holds(ROFS, &self.rofs)
    }
}

fn options(version: &str, security_version: u32) -> PackOptions {
    PackOptions {
        machine: "board".to_string(),
        compatible: vec![],
        version: version.to_string(),
        security_version,
        bcd_device: 0x0200,
        targets: vec!["bmc".to_string()],
        mtime: 0,
        compression: None,
        signers: vec![key().public().unwrap().signature_entry()],
    }
}

fn input(name: &str, kind: MemberKind, bytes: &[u8]) -> Input {
    Input { name: name.to_string(), kind, target: 0, source: Source::Bytes(bytes.to_vec()) }
}

/// Packs and signs.
fn signed(options: &PackOptions, inputs: &[Input]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packed = pack(options, inputs, &mut bytes).unwrap();
    // Header and head, then the signature's header.
    bytes[1536..1600].copy_from_slice(&key().sign(&signed_bytes(&packed.head_bytes)));
    bytes
}

fn noise(mut state: u32, length: usize) -> Vec<u8> {
    let mut next = || {
        // xorshift32 (Marsaglia 2003): any bytes do, as long as they differ.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[5; 32])
}

/// A store that runs version 1.0 from slot a.
fn medium() -> MemoryMedium {
    let first = Package::new("1.0", 1);
    let mut medium = MemoryMedium::new(SLOT);
    let mut slot = vec![0xff; SLOT];
    slot[KERNEL.0 as usize..][..first.kernel.len()].copy_from_slice(&first.kernel);
    slot[ROFS.0 as usize..][..first.rofs.len()].copy_from_slice(&first.rofs);
    medium.fill(Slot::A, &slot);
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 1 };
    Store::create(&mut medium, &firmware).unwrap();
    medium.forget_operations();
    medium
}

fn layout() -> Layout {
    let region = |member: &str, (offset, length)| Region::new("bmc", member, offset, length);
    Layout::new(SLOT as u64, vec![region("kernel", KERNEL), region("rofs", ROFS)]).unwrap()
}

fn policy() -> Policy {
    Policy { max_total_length: 1 << 20, ..Policy::for_machine("board".to_string()) }
}

/// The daemon starts on this medium; the machine has not.
fn start_daemon(medium: MemoryMedium) -> Result<Line, StoreError> {
    start_with(medium, layout(), policy())
}

/// The same with another configuration.
fn start_with(medium: MemoryMedium, layout: Layout, policy: Policy) -> Result<Line, StoreError> {
    let mut store = Store::open(medium, layout, Options { mark_every: MARK, ..Options::default() })?;
    start::recover(&mut store)?;
    Ok(pipeline(store, policy))
}

fn pipeline<M: Medium>(store: Store<M>, policy: Policy) -> Pipeline<M, KeyRing> {
    let ring = KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap();
    Pipeline::new(store, ring, policy, RATES)
}

fn line() -> Line {
    start_daemon(medium()).unwrap()
}

/// Stops the daemon, lets the test at its medium, starts it again.
fn with_medium(line: Line, change: impl FnOnce(&mut MemoryMedium)) -> Line {
    let mut medium = line.into_store().into_medium();
    change(&mut medium);
    start_daemon(medium).unwrap()
}

fn send<M: Medium>(line: &mut Pipeline<M, KeyRing>, bytes: &[u8]) -> Result<bool, ResultCode> {
    let mut complete = false;
    for block in bytes.chunks(BLOCK) {
        complete = line.push(block)?.complete;
    }
    Ok(complete)
}

fn update<M: Medium>(line: &mut Pipeline<M, KeyRing>, id: u32, package: &Package) -> Result<(), ResultCode> {
    line.begin(id, Door::Dfu, NOW, Expected::ANYTHING)?;
    send(line, &package.bytes)?;
    line.finish()
}

/// Id, state and result of the last session.
fn last<M: Medium>(line: &Pipeline<M, KeyRing>) -> (u32, SessionState, ResultCode) {
    let session = &line.store().record().session;
    let state = SessionState::from_number(session.state).unwrap();
    (session.id, state, ResultCode::from_code(session.result).unwrap())
}

fn slot_state(line: &Line, slot: Slot) -> SlotState {
    line.store().record().slot(slot).state
}

#[test]
fn a_whole_update_to_its_confirmation_and_back_again() {
    let mut line = line();
    let second = Package::new("2.0", 2);
    line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    let mut seen = Vec::new();
    for block in second.bytes.chunks(BLOCK) {
        let progress = line.push(block).unwrap();
        seen.push((progress.received, progress.announced, progress.accepted.is_some(), progress.complete));
    }
    let total = second.bytes.len() as u64;
    assert_eq!(seen[0], (BLOCK as u64, Some(total), true, false), "a small index fits into the first block");
    assert_eq!(seen.last(), Some(&(total, Some(total), true, true)));
    assert_eq!(seen.iter().filter(|(.., complete)| *complete).count(), 1);
    assert_eq!(slot_state(&line, Slot::B), SlotState::Invalid, "complete is not staged");
    line.finish().unwrap();
    assert_eq!(last(&line), (1, SessionState::Staged, ResultCode::Ok));
    assert!(second.is_in(line.store().medium().slot(Slot::B)));

    assert_eq!(line.boot(), Ok(Slot::B));
    assert_eq!(last(&line), (1, SessionState::PendingConfirm, ResultCode::Ok));
    line.confirm().unwrap();
    assert_eq!(last(&line), (1, SessionState::Done, ResultCode::Ok));

    let third = Package::new("3.0", 2);
    update(&mut line, 2, &third).unwrap();
    assert_eq!(line.boot(), Ok(Slot::A));
    line.confirm().unwrap();
    assert!(third.is_in(line.store().medium().slot(Slot::A)));
    assert!(second.is_in(line.store().medium().slot(Slot::B)));
    let log: Vec<_> = line.store().record().log.iter().map(|entry| (entry.id, entry.state)).collect();
    assert_eq!(log, [(1, 5), (1, 7), (1, 8), (2, 5), (2, 7), (2, 8)]);
}

#[test]
fn reading_back_tells_each_percent_once_and_in_order() {
    let mut line = line();
    line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    line.push(&Package::new("2.0", 2).bytes).unwrap();
    let mut told = Vec::new();
    line.finish_telling(&mut |percent| told.push(percent)).unwrap();
    assert!(told.len() > 2 && told.is_sorted_by(|one, next| one < next), "{told:?}");
    assert_eq!(told.last(), Some(&100));
}

#[test]
fn how_the_bytes_are_cut_makes_no_difference() {
    let package = Package::new("2.0", 2);
    for size in [1, 511, 513, 65_536, package.bytes.len()] {
        let mut line = line();
        line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        for block in package.bytes.chunks(size) {
            line.push(block).unwrap();
        }
        line.finish().unwrap();
        assert!(package.is_in(line.store().medium().slot(Slot::B)), "pushes of {size} bytes");
    }
}

#[test]
fn what_the_package_reader_refuses_ends_the_session_with_its_result() {
    let good = Package::new("2.0", 2);
    let changed = |at: usize| {
        let mut bytes = good.bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let unsigned = {
        let mut bytes = good.bytes.clone();
        bytes[1536..1600].fill(0);
        bytes
    };
    let image = || vec![1; 10];
    let elsewhere = Package::of("another", "2.0", 2, "kernel", image(), image()).bytes;
    let unmapped = Package::of("board", "2.0", 2, "u-boot", image(), image()).bytes;
    let large = Package::of("board", "2.0", 2, "kernel", vec![0; KERNEL.1 as usize + 1], image()).bytes;
    let mut trailing = good.bytes.clone();
    trailing.extend_from_slice(&[0; 16]);
    let cases = [
        (changed(0), ResultCode::BadHead, false),
        (changed(512), ResultCode::BadHead, false),
        (unsigned, ResultCode::BadSignature, false),
        (elsewhere, ResultCode::WrongMachine, false),
        (Package::new("0.9", 0).bytes, ResultCode::OldSecurityVersion, false),
        (unmapped, ResultCode::UnmappedMember, false),
        (large, ResultCode::TooLarge, false),
        (changed(good.bytes.len() - 2000), ResultCode::BadChunk, true),
        (changed(good.bytes.len() - 1), ResultCode::BadArchive, true),
        (trailing, ResultCode::TrailingBytes, true),
    ];
    for (bytes, expected, written) in cases {
        let mut line = line();
        line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        assert_eq!(send(&mut line, &bytes), Err(expected));
        assert!(line.last_error().is_some_and(|text| !text.is_empty()));
        assert_eq!(last(&line), (1, SessionState::Failed, expected));
        let is_write = |operation: &Operation| matches!(operation, Operation::Write { .. });
        let touched = line.store().medium().operations().iter().any(is_write);
        assert_eq!(touched, written, "{expected}: whether the slot was written");
        assert_eq!(line.push(&[0]), Err(ResultCode::Internal), "the session is over");
        assert_eq!(line.finish(), Err(ResultCode::Internal));
        assert_ne!(slot_state(&line, Slot::B), SlotState::Staged);
        assert_eq!(line.store().record().choice, Slot::A);
        // And then the good one.
        update(&mut line, 2, &good).unwrap();
        assert_eq!(last(&line), (2, SessionState::Staged, ResultCode::Ok));
    }
}

#[test]
fn a_package_that_ends_early_is_truncated() {
    let package = Package::new("2.0", 2);
    for length in [0, 1, 512, 1600, 3000, 50_000, package.bytes.len() - 1] {
        let mut line = line();
        line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        send(&mut line, &package.bytes[..length]).unwrap();
        assert_eq!(line.finish(), Err(ResultCode::Truncated), "{length} bytes");
        assert_eq!(last(&line), (1, SessionState::Failed, ResultCode::Truncated));
        assert_eq!(line.boot(), Ok(Slot::A));
    }
}

#[test]
fn an_aborted_session_leaves_the_slot_invalid_and_the_log_says_which_package() {
    let mut line = line();
    let package = Package::new("2.0", 2);
    for (id, result, state) in [
        (1, ResultCode::Aborted, SessionState::Aborted),
        (2, ResultCode::Disconnected, SessionState::Failed),
        (3, ResultCode::Timeout, SessionState::Failed),
    ] {
        line.begin(id, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        send(&mut line, &package.bytes[..100_000]).unwrap();
        line.abort(result);
        assert_eq!(last(&line), (id, state, result));
        assert_eq!(slot_state(&line, Slot::B), SlotState::Invalid);
        assert_eq!(line.store().record().session.version.as_str(), "2.0");
        assert_ne!(line.store().record().session.head, [0; 16]);
        // Nothing is left of it to be ended.
        line.abort(ResultCode::Timeout);
        assert_eq!(last(&line), (id, state, result));
    }
}

#[test]
fn a_suffix_behind_the_package_is_taken_before_and_after_staging() {
    let package = Package::new("2.0", 2);
    let suffix = suffix_of(&package.bytes);
    for split in 0..=suffix.len() {
        let mut line = line();
        line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        send(&mut line, &package.bytes).unwrap();
        line.push(&suffix[..split]).unwrap();
        line.finish().unwrap();
        line.push(&suffix[split..]).unwrap();
        // Anything more is refused, and what is staged stays.
        assert_eq!(line.push(b"x"), Err(ResultCode::TrailingBytes));
        assert_eq!(last(&line), (1, SessionState::Staged, ResultCode::Ok));
        assert_eq!(line.boot(), Ok(Slot::B));
    }
}

/// The DFU suffix of a file (DFU 1.1, appendix B).
fn suffix_of(file: &[u8]) -> Vec<u8> {
    let mut suffix = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01, b'U', b'F', b'D', 16];
    let mut crc = u32::MAX;
    for byte in file.iter().chain(&suffix) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    suffix.extend_from_slice(&crc.to_le_bytes());
    suffix
}

#[test]
fn on_trial_no_session_begins() {
    let mut line = line();
    update(&mut line, 1, &Package::new("2.0", 2)).unwrap();
    line.boot().unwrap();
    assert_eq!(line.begin(2, Door::Dfu, NOW, Expected::ANYTHING), Err(ResultCode::OnTrial));
    assert_eq!(line.push(b"x"), Err(ResultCode::Internal));
    assert_eq!(last(&line), (1, SessionState::PendingConfirm, ResultCode::Ok));
    line.confirm().unwrap();
    assert_eq!(line.begin(2, Door::Dfu, NOW, Expected::ANYTHING), Ok(()));
}

#[test]
fn the_floor_rises_with_the_confirmation_and_then_refuses_what_is_below() {
    let mut line = line();
    update(&mut line, 1, &Package::new("2.0", 7)).unwrap();
    // Staged, and even booted: the old one can still be put in its place.
    update(&mut line, 2, &Package::new("1.5", 1)).unwrap();
    update(&mut line, 3, &Package::new("2.0", 7)).unwrap();
    line.boot().unwrap();
    assert_eq!(line.store().record().floor, 1);
    line.confirm().unwrap();
    assert_eq!(line.store().record().floor, 7);
    assert_eq!(update(&mut line, 4, &Package::new("1.5", 6)), Err(ResultCode::OldSecurityVersion));
    assert!(line.last_error().is_some_and(|text| text.contains("below 7")), "{:?}", line.last_error());
    assert_eq!(update(&mut line, 5, &Package::new("2.1", 7)), Ok(()));
}

#[test]
fn a_forged_package_leaves_a_staged_one_alone() {
    let mut line = line();
    let good = Package::new("2.0", 2);
    update(&mut line, 1, &good).unwrap();
    let mut forged = Package::new("6.6.6", 9).bytes;
    forged[1536..1600].fill(1);
    line.begin(2, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    assert_eq!(send(&mut line, &forged), Err(ResultCode::BadSignature));
    assert_eq!(last(&line), (2, SessionState::Failed, ResultCode::BadSignature));
    assert_eq!(slot_state(&line, Slot::B), SlotState::Staged);
    assert!(line.view().record.choice == Slot::B);
    // The start brings the session back that staged the slot, so that it can be confirmed.
    assert_eq!(line.boot(), Ok(Slot::B));
    assert_eq!(last(&line), (1, SessionState::PendingConfirm, ResultCode::Ok));
    assert_eq!(line.store().record().session.version.as_str(), "2.0");
    line.confirm().unwrap();
    assert_eq!(last(&line), (1, SessionState::Done, ResultCode::Ok));
    let log: Vec<_> = line.store().record().log.iter().map(|entry| (entry.id, entry.state)).collect();
    assert_eq!(log, [(1, 5), (2, 9), (1, 7), (1, 8)]);
}

#[test]
fn a_firmware_that_never_became_healthy_is_told_of_once() {
    for forge in [false, true] {
        let mut line = line();
        update(&mut line, 1, &Package::new("2.0", 2)).unwrap();
        if forge {
            line.begin(2, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
            assert_eq!(send(&mut line, &[0; 512]), Err(ResultCode::BadHead));
        }
        // The loader starts it, and the daemon on it never runs.
        let mut store = line.into_store();
        for _ in 0..3 {
            assert_eq!(store.boot(), Ok(Slot::B));
        }
        assert_eq!(store.boot(), Ok(Slot::A));
        let mut line = start_daemon(store.into_medium()).unwrap();
        assert_eq!(last(&line), (1, SessionState::RolledBack, ResultCode::RolledBack));
        assert_eq!(line.store().record().floor, 1);
        let records = line.store().record().sequence;
        // A later failure is not covered by the old story, in no later start.
        line.begin(3, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        line.abort(ResultCode::Aborted);
        let line = with_medium(line, |_| {});
        assert_eq!(last(&line), (3, SessionState::Aborted, ResultCode::Aborted));
        assert_eq!(line.store().record().sequence, records + 2);
    }
}

#[test]
fn a_trial_that_the_daemon_saw_can_still_be_rolled_back() {
    let mut line = line();
    update(&mut line, 1, &Package::new("2.0", 2)).unwrap();
    for _ in 0..3 {
        assert_eq!(line.boot(), Ok(Slot::B));
        assert_eq!(last(&line), (1, SessionState::PendingConfirm, ResultCode::Ok));
    }
    assert_eq!(line.boot(), Ok(Slot::A));
    assert_eq!(last(&line), (1, SessionState::RolledBack, ResultCode::RolledBack));
    assert_eq!(update(&mut line, 2, &Package::new("2.1", 2)), Ok(()));
}

#[test]
fn a_firmware_that_came_up_unhealthy_is_told_from_one_that_never_came_up() {
    let mut line = line();
    update(&mut line, 1, &Package::new("2.0", 2)).unwrap();
    // Its second boot came up and was unhealthy; the others never got that far.
    assert_eq!(line.boot(), Ok(Slot::B));
    assert_eq!(line.boot(), Ok(Slot::B));
    line.unhealthy().unwrap();
    assert_eq!(last(&line), (1, SessionState::PendingConfirm, ResultCode::Unhealthy));
    assert_eq!(line.boot(), Ok(Slot::B));
    assert_eq!(last(&line), (1, SessionState::PendingConfirm, ResultCode::Unhealthy));
    assert_eq!(line.boot(), Ok(Slot::A));
    // It is told until the next session, over any number of restarts.
    for _ in 0..10 {
        assert_eq!(last(&line), (1, SessionState::RolledBack, ResultCode::Unhealthy));
        let log: Vec<_> =
            line.store().record().log.iter().map(|entry| (entry.state, entry.result, entry.boot)).collect();
        assert_eq!(log, [(5, 1, 0), (7, 1, 1), (7, 81, 2), (11, 81, 3)]);
        assert_eq!(line.boot(), Ok(Slot::A));
        line = with_medium(line, |_| {});
    }
    assert_eq!(line.store().record().floor, 1);
    assert_eq!(update(&mut line, 2, &Package::new("2.1", 2)), Ok(()));
    assert_eq!(last(&line), (2, SessionState::Staged, ResultCode::Ok));
}

#[test]
fn a_daemon_killed_in_the_middle_finds_an_interrupted_session_once() {
    let mut line = line();
    line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    send(&mut line, &Package::new("2.0", 2).bytes[..80_000]).unwrap();
    let line = with_medium(line, |_| {});
    assert_eq!(last(&line), (1, SessionState::Interrupted, ResultCode::Interrupted));
    let mut line = with_medium(line, |_| {});
    assert_eq!(line.store().record().log.len(), 1);
    assert_eq!(update(&mut line, 2, &Package::new("2.0", 2)), Ok(()));
    // A staged one stays staged over a restart of the daemon.
    let line = with_medium(line, |_| {});
    assert_eq!(last(&line), (2, SessionState::Staged, ResultCode::Ok));
    assert_eq!(line.store().running(), Slot::A);
}

#[test]
fn a_slot_that_does_not_hold_what_was_written_is_not_staged() {
    let mut line = with_medium(line(), |medium| medium.break_cell(Slot::B, 12_345));
    assert_eq!(update(&mut line, 1, &Package::new("2.0", 2)), Err(ResultCode::ReadbackMismatch));
    assert_eq!(last(&line), (1, SessionState::Failed, ResultCode::ReadbackMismatch));
    assert!(line.last_error().is_some_and(|text| text.contains("slot b")), "{:?}", line.last_error());
    assert_eq!(slot_state(&line, Slot::B), SlotState::Invalid);
    assert_eq!(line.boot(), Ok(Slot::A));
}

#[test]
fn a_full_disk_at_any_point_is_no_space_and_no_harm() {
    let package = Package::new("2.0", 2);
    let needed = {
        let mut line = line();
        update(&mut line, 1, &package).unwrap();
        let bytes = |operation: &Operation| match operation {
            Operation::Write { length, .. } => *length,
            Operation::Sync(_) | Operation::Record(_) | Operation::Index(_) | Operation::Journal(_) => 2048,
        };
        line.store().medium().operations().iter().map(bytes).sum::<usize>()
    };
    let mut refused = 0;
    for room in (0..needed as u64).step_by(1000) {
        let mut line = with_medium(line(), |medium| medium.limit_room(room));
        let result = update(&mut line, 1, &package);
        // Room is made, and the daemon starts again.
        let mut medium = line.into_store().into_medium();
        medium.power_cycle(Loss::None);
        let mut line = start_daemon(medium).unwrap();
        match result {
            Ok(()) => assert_eq!(line.boot(), Ok(Slot::B)),
            Err(result) => {
                assert_eq!(result, ResultCode::NoSpace, "room for {room}");
                assert_ne!(last(&line).1, SessionState::Staged);
                assert_eq!(update(&mut line, 2, &package), Ok(()), "room for {room}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} of the sizes were too small");
}

#[test]
fn any_operation_that_fails_ends_the_session_with_its_result_and_no_harm() {
    let package = Package::new("2.0", 2);
    let operations = {
        let mut line = line();
        update(&mut line, 1, &package).unwrap();
        line.store().medium().operations().to_vec()
    };
    for (number, operation) in operations.iter().enumerate() {
        let mut line = with_medium(line(), |medium| medium.fail_at(number, MediumErrorKind::Io));
        let expected = match operation {
            Operation::Record(_) | Operation::Journal(_) => ResultCode::StoreFailed,
            Operation::Write { .. } | Operation::Sync(_) | Operation::Index(_) => ResultCode::WriteFailed,
        };
        assert_eq!(update(&mut line, 1, &package), Err(expected), "{operation:?}");
        assert!(
            line.last_error().is_some_and(|text| text.contains("as asked for")),
            "{:?}",
            line.last_error()
        );
        assert_ne!(slot_state(&line, Slot::B), SlotState::Staged);
        // Behind the journal's entry and the record at the beginning.
        if number > 1 {
            assert_eq!(last(&line), (1, SessionState::Failed, expected), "{operation:?}");
        }
        // The fault is over: the very next session succeeds.
        assert_eq!(update(&mut line, 2, &package), Ok(()), "{operation:?}");
        assert_eq!(line.boot(), Ok(Slot::B));
    }
}

#[test]
fn an_end_that_cannot_be_recorded_is_for_the_log() {
    // Behind the journal's entry and the record at the beginning.
    let mut line = with_medium(line(), |medium| medium.fail_at(2, MediumErrorKind::Io));
    line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    assert_eq!(send(&mut line, &[0; 512]), Err(ResultCode::BadHead));
    let text: String = line.last_error().unwrap().to_string();
    assert!(text.contains("; and the end could not be recorded: "), "{text}");
    // What the record then says is true as well.
    let line = with_medium(line, |_| {});
    assert_eq!(last(&line), (1, SessionState::Interrupted, ResultCode::Interrupted));
}

#[test]
fn what_was_not_asked_for_in_order_is_our_own_fault() {
    let mut line = line();
    assert_eq!(line.push(b"x"), Err(ResultCode::Internal));
    assert_eq!(line.finish(), Err(ResultCode::Internal));
    assert_eq!(line.confirm(), Err(ResultCode::Internal));
    line.abort(ResultCode::Aborted);
    assert_eq!(last(&line), (0, SessionState::Idle, ResultCode::None));
    line.begin(1, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    assert_eq!(line.begin(2, Door::Dfu, NOW, Expected::ANYTHING), Err(ResultCode::Internal));
    // Which does not disturb the session that is open.
    send(&mut line, &Package::new("2.0", 2).bytes).unwrap();
    line.finish().unwrap();
    line.finish().unwrap();
    assert_eq!(last(&line), (1, SessionState::Staged, ResultCode::Ok));
}

/// A session that comes to nothing, at this time.
fn forged(line: &mut Line, id: u32, now: Duration) -> Result<(), ResultCode> {
    line.begin(id, Door::Dfu, now, Expected::ANYTHING)?;
    assert_eq!(send(line, &[0; 512]), Err(ResultCode::BadHead));
    Ok(())
}

const HOUR: Duration = Duration::from_secs(3600);

/// Rewrites slot b until there is no budget left; returns how often.
fn wear_out(line: &mut Line, package: &Package, now: Duration) -> u32 {
    for times in 0.. {
        let id = line.store().record().last_id + 1;
        match line.begin(id, Door::Dfu, now, Expected::ANYTHING) {
            Ok(()) => {
                send(line, &package.bytes[..20_000]).unwrap();
                line.abort(ResultCode::Aborted);
            }
            Err(result) => {
                assert_eq!(result, ResultCode::Worn);
                return times;
            }
        }
    }
    0
}

#[test]
fn a_day_has_24_rewrites_and_no_restart_makes_them_more() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    assert_eq!(wear_out(&mut line, &package, Duration::ZERO), 24);
    assert!(
        line.last_error().is_some_and(|text| text.ends_with("; again in 3600 s")),
        "{:?}",
        line.last_error()
    );
    // Refused, and nothing is written: not the journal, not the record.
    let before = line.store().medium().operations().len();
    assert_eq!(line.begin(99, Door::Dfu, Duration::ZERO, Expected::ANYTHING), Err(ResultCode::Worn));
    assert_eq!(line.store().medium().operations().len(), before);
    for loss in Loss::ALL {
        line = with_medium(line, |medium| medium.power_cycle(loss));
        assert_eq!(wear_out(&mut line, &package, HOUR - Duration::from_millis(1)), 0, "{loss:?}");
    }
    assert_eq!(wear_out(&mut line, &package, HOUR), 1);
    // A start of the machine is no more than one of the daemon.
    line.boot().unwrap();
    assert_eq!(wear_out(&mut line, &package, HOUR), 0);
    assert_eq!(wear_out(&mut line, &package, 4 * HOUR), 3);
}

#[test]
fn a_package_that_is_refused_costs_a_session_and_no_rewrite() {
    let mut line = line();
    for id in 1..=200 {
        forged(&mut line, id, Duration::ZERO).unwrap();
    }
    assert_eq!(forged(&mut line, 201, Duration::ZERO), Err(ResultCode::Worn));
    // Nor does a restart make them more.
    let mut line = with_medium(line, |_| {});
    assert_eq!(forged(&mut line, 201, Duration::ZERO), Err(ResultCode::Worn));
    let wait = HOUR * 24 / 200;
    assert_eq!(forged(&mut line, 201, wait), Ok(()));
    assert_eq!(wear_out(&mut line, &Package::new("2.0", 2), HOUR * 24), 24);
}

#[test]
fn a_session_that_is_cut_off_has_been_paid_for() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    for _ in 0..24 {
        let id = line.store().record().last_id + 1;
        line.begin(id, Door::Dfu, Duration::ZERO, Expected::ANYTHING).unwrap();
        send(&mut line, &package.bytes[..20_000]).unwrap();
        line = with_medium(line, |medium| medium.power_cycle(Loss::All));
    }
    assert_eq!(line.begin(99, Door::Dfu, Duration::ZERO, Expected::ANYTHING), Err(ResultCode::Worn));
}

#[test]
fn uptime_that_was_written_down_survives_a_restart() {
    let package = Package::new("2.0", 2);
    let mut line = line();
    wear_out(&mut line, &package, Duration::ZERO);
    line.keep_budget(HOUR / 2).unwrap();
    let mut line = with_medium(line, |_| {});
    assert_eq!(wear_out(&mut line, &package, HOUR / 2 - Duration::from_millis(1)), 0);
    assert_eq!(wear_out(&mut line, &package, HOUR / 2), 1);
}

#[test]
fn a_journal_that_cannot_be_written_lets_no_session_begin() {
    let mut line = with_medium(line(), |medium| medium.fail_at(0, MediumErrorKind::Io));
    assert_eq!(line.begin(1, Door::Dfu, NOW, Expected::ANYTHING), Err(ResultCode::StoreFailed));
    assert_eq!(last(&line), (0, SessionState::Idle, ResultCode::None));
    assert_eq!(update(&mut line, 1, &Package::new("2.0", 2)), Ok(()));
}

#[test]
fn a_store_that_fails_costs_a_session_and_a_trial_none() {
    let mut line = with_medium(line(), |medium| medium.fail_at(1, MediumErrorKind::Io));
    let full = line.view().budget.levels().sessions;
    assert_eq!(line.begin(1, Door::Dfu, NOW, Expected::ANYTHING), Err(ResultCode::StoreFailed));
    let left = line.view().budget.levels().sessions;
    assert!(left < full);
    assert_eq!(update(&mut line, 2, &Package::new("2.0", 2)), Ok(()));
    line.boot().unwrap();
    let left = line.view().budget.levels();
    assert_eq!(line.begin(3, Door::Dfu, NOW, Expected::ANYTHING), Err(ResultCode::OnTrial));
    assert_eq!(line.view().budget.levels(), left);
}

#[test]
fn without_its_journal_the_bmc_takes_an_update_and_then_makes_the_host_wait() {
    let package = Package::new("2.0", 2);
    for bytes in [&[][..], &[0xff; 5000]] {
        let mut line = with_medium(line(), |medium| {
            for area in Place::ALL {
                medium.set_journal(area, bytes.to_vec());
            }
        });
        assert_eq!(update(&mut line, 1, &package), Ok(()));
        assert_eq!(line.begin(2, Door::Dfu, NOW, Expected::ANYTHING), Err(ResultCode::Worn));
    }
}
