//! Firmware tars without a head, sent as dfu-util sends any file.

use std::{fs, io::Cursor, process::Command, time::Duration};

use inband_dfu::{
    host::{End, Error},
    wire::{Request, State, Status, StatusReply},
};
use inband_ipmi::{
    command::{Command as IpmiCommand, Door as IpmiDoor, Wishes},
    wire::Code,
};
use inband_package::{
    Policy, Scheme,
    digest::sha256,
    index::MemberKind,
    maker::{Input, PackOptions, Source, attach, pack, signed_bytes_of},
    openbmc::{Encoding, Profile, stage::Buffers},
    signature::{Hash, RsaPadding},
};
use inband_session::{Pipeline, ResultCode, SessionState, Unindexed};
use inband_store::{
    Firmware, Options, Slot, SlotState, Store,
    memory::{Loss, MemoryMedium},
    text::Text,
};
use inband_usb::HostDevice;

use self::kit::{Key, Members, RECORD, Release, ring, run};
use crate::{
    bench::{Bench, Hold, MAX_PACKAGE, SLOT, Setting, block, dnload, get_status, layout},
    bulk::{BULK, ready},
    bulk_host::{Parts, exchange},
    host::TIMEOUT,
    package::{IMAGE, MACHINE, noise},
};

// The other tests of tars use more of it.
#[allow(dead_code)]
#[path = "../../../package/tests/openbmc/kit.rs"]
mod kit;

/// Where the kit finds its script, from this crate's folder.
const MAKE_TAR: &str = "../package/tests/openbmc/make-tar.sh";

/// As much memory as is asked for.
const PLENTY: u64 = 1 << 40;

/// A BMC that takes such tars, which `available` bytes of memory are for.
fn start(medium: MemoryMedium, available: u64) -> Bench {
    let mut store = Store::open(medium, layout(), Options::default()).unwrap();
    store.boot().unwrap();
    let setting = Setting { ipmi: true, ..BULK };
    Bench::serve(setting, store, |store| {
        let regions = [(IMAGE, SLOT as u64, Encoding::Raw)];
        let profile = Profile::new(MACHINE.into(), "bmc".into(), regions, MAX_PACKAGE).unwrap();
        let keys = ring().clone();
        let staging = Box::new(Buffers { available });
        let policy = Policy { max_total_length: MAX_PACKAGE, ..Policy::for_machine(MACHINE.into()) };
        let unindexed = Unindexed { profile, keys: keys.clone(), staging };
        Pipeline::new(store, keys, policy, setting.rates).with_unindexed(unindexed)
    })
}

fn store(security_version: u32) -> MemoryMedium {
    let mut medium = MemoryMedium::new(SLOT);
    let firmware = Firmware { version: Text::cut("factory"), bcd_device: 0x0100, security_version };
    Store::create(&mut medium, &firmware).unwrap();
    medium
}

fn bench() -> Bench {
    start(store(0), PLENTY)
}

fn image() -> Vec<u8> {
    noise(100_000, 77)
}

fn tar() -> Vec<u8> {
    Release::new(MACHINE, "2.14.0", &[(IMAGE, image())]).tar()
}

/// Where the second block of zeros ends.
fn end_of(tar: &[u8]) -> usize {
    let content = tar.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    content.next_multiple_of(512) + 1024
}

/// Slot b, all of it, if it holds the image.
fn slot() -> Vec<u8> {
    let mut slot = image();
    slot.resize(SLOT, 0xFF);
    slot
}

/// Asserts a refusal, and that neither slot was touched.
#[track_caller]
fn assert_refused(bench: &Bench, tar: &[u8], result: ResultCode, status: Status) {
    let before = bench.medium();
    match bench.update(tar) {
        Err(Error::Refused { status: found, .. }) => assert_eq!(found, Some(status)),
        other => panic!("not refused: {other:?}"),
    }
    bench.assert_session(SessionState::Failed, result);
    let after = bench.medium();
    assert!(Slot::ALL.into_iter().all(|slot| before.slot(slot) == after.slot(slot)), "a slot was written to");
    assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Empty]);
}

#[test]
fn a_start_that_announces_a_head_or_a_length_means_no_tar() {
    let bench = bench();
    let start = |wishes| {
        let start = IpmiCommand::Start { tag: 0, door: IpmiDoor::Dfu, wishes };
        assert_eq!(bench.ipmi_command(&start).code, Code::OK);
    };
    let digest = sha256(&tar()[512..1024]);
    for wishes in [
        Wishes { head: Some(digest), ..Wishes::default() },
        Wishes { length: Some(tar().len() as u32), ..Wishes::default() },
    ] {
        start(wishes);
        assert_refused(&bench, &tar(), ResultCode::UnexpectedPackage, Status::ErrFile);
        bench.wait_return(Duration::from_secs(70));
    }
    // Its numbers come from its version.
    let older = Release::new(MACHINE, "0.9.0", &[(IMAGE, image())]).tar();
    let wishes = Wishes { no_downgrade: true, ..Wishes::default() };
    start(wishes);
    assert_refused(&bench, &older, ResultCode::Downgrade, Status::ErrFile);
    bench.wait_return(Duration::from_secs(70));
    start(wishes);
    assert_eq!(bench.update(&tar()), Ok(End::Idle));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn a_tar_as_openbmc_builds_it_is_staged_booted_and_confirmed() {
    let bench = bench();
    assert_eq!(bench.update(&tar()), Ok(End::Idle));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    let head: [u8; 16] = sha256(Members::of(&tar()).content("image-full.sig"))[..16].try_into().unwrap();
    let status = bench.status();
    assert_eq!((status.slots, status.boots_next), ([SlotState::Good, SlotState::Staged], Slot::B));
    assert_eq!((status.head, status.bcd_device[1], status.announced), (head, 0x0214, 0));
    assert_eq!(bench.last_log().version.as_str(), "2.14.0");
    assert!(bench.medium().slot(Slot::B) == slot());
    let bench = bench.power_cycle(Loss::All);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!((bench.status().running, bench.status().floor), (Slot::B, 0));
}

#[test]
fn by_bulk_a_tar_goes_whole_and_the_verdict_falls_on_its_last_byte() {
    let whole = tar();
    let changed = |at: usize| {
        let mut tar = whole.clone();
        tar[at] ^= 1;
        tar
    };
    // What is in its middle is checked at its end as well: there is no index that could tell before.
    let cases = [
        (whole.clone(), ResultCode::Ok),
        (changed(whole.len() - 1), ResultCode::TrailingBytes),
        (whole[..end_of(&whole) - 1].to_vec(), ResultCode::Truncated),
        ([&whole[..], &[0]].concat(), ResultCode::TrailingBytes),
    ];
    for (file, result) in cases {
        let bench = bench();
        let parts = Parts::whole(&file);
        let went = exchange(&mut ready(&bench), 1, &parts, |_, _| {}).unwrap();
        assert_eq!((went.result(), went.sent.len()), (result, parts.chunks.len()));
        if result == ResultCode::Ok {
            bench.assert_session(SessionState::Staged, ResultCode::Ok);
            assert!(bench.medium().slot(Slot::B) == slot());
        } else {
            bench.assert_session(SessionState::Failed, result);
            assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Empty]);
        }
    }
    // An offer is a package's.
    let bench = bench();
    let parts = Parts { head: whole[..4096].to_vec(), chunks: vec![vec![0; 100]] };
    let went = exchange(&mut ready(&bench), 1, &parts, |_, _| {}).unwrap();
    assert_eq!(went.result(), ResultCode::Unindexed);
}

#[test]
fn the_verdict_falls_on_the_block_with_the_second_block_of_zeros() {
    let tar = tar();
    let end = end_of(&tar);
    let (last, rest) = ((end - 1) / 4096, tar.len().div_ceil(4096));
    assert!(rest > last + 1, "there is padding in blocks of its own");
    for bad in [false, true] {
        let bench = bench();
        let mut host = bench.enter_dfu();
        bench.hold(Hold::Finish);
        let mut tar = tar.clone();
        // The first image's first byte: seen when everything is there, not before.
        tar[512] ^= u8::from(bad);
        for (number, data) in tar.chunks(4096).enumerate().take(last) {
            assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
            assert_eq!(bench.status().announced, 0);
        }
        bench.assert_session(SessionState::Receiving, ResultCode::None);
        assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Empty], "nothing is written before");
        let number = last as u16;
        dnload(&mut host, number, &tar[last * 4096..][..4096]).unwrap();
        let reply = host.control_in(Request::GetStatus.setup(0, 0, 6), TIMEOUT).unwrap();
        let reply = StatusReply::parse(&reply).unwrap();
        assert_eq!((reply.state, reply.poll_timeout_ms), (State::DfuDnbusy, 50));
        bench.assert_session(SessionState::Verifying, ResultCode::None);
        bench.hold(Hold::Nothing);
        host.wait(Duration::from_millis(50));
        if bad {
            assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVerify)));
            bench.assert_session(SessionState::Failed, ResultCode::BadSignature);
            assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Empty]);
            continue;
        }
        assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        for (number, data) in tar.chunks(4096).enumerate().skip(last + 1) {
            assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        }
        assert_eq!(dnload(&mut host, rest as u16, &[]), Ok(()));
        assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
        assert!(bench.medium().slot(Slot::B) == slot());
    }
}

#[test]
fn old_signed_package() {
    // A floor above 0 means that there are releases with a security version: a tar without one is older.
    for floor in [1, 3] {
        let bench = start(store(floor), PLENTY);
        assert_refused(&bench, &tar(), ResultCode::Unindexed, Status::ErrFile);
    }
    // With a head it says its version itself, and is taken once; from its confirmation on no tar is.
    let mut bench = bench();
    assert_eq!(bench.update(&tar()), Ok(End::Idle));
    let package = package(1);
    assert_eq!(bench.update(&package), Ok(End::Idle));
    let medium = bench.kill();
    bench = start(medium, PLENTY);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!((bench.status().running, bench.status().floor), (Slot::B, 1));
    assert!(bench.update(&tar()).is_err());
    bench.assert_session(SessionState::Failed, ResultCode::Unindexed);
}

/// A package with a head, for the same keys.
fn package(security_version: u32) -> Vec<u8> {
    let scheme = Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha256);
    let key = Key::System.public().only_for(scheme).unwrap();
    let options = PackOptions {
        machine: MACHINE.into(),
        compatible: Vec::new(),
        version: "3.0".into(),
        security_version,
        bcd_device: 0x0300,
        targets: vec!["bmc".into()],
        mtime: 0,
        compression: None,
        signers: vec![key.signature_entry()],
    };
    let source = Source::Bytes(noise(50_000, 78));
    let input = Input { name: IMAGE.into(), kind: MemberKind::Image, target: 0, source };
    let mut file = Cursor::new(Vec::new());
    pack(&options, &[input], &mut file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bytes = folder.path().join("bytes");
    fs::write(&bytes, signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap()).unwrap();
    let mut openssl = Command::new("openssl");
    let signature = run(openssl.args(["dgst", "-sha256", "-sign"]).arg(Key::System.path()).arg(bytes));
    attach(&mut file, &key, &signature).unwrap();
    file.into_inner()
}

#[test]
fn no_tar_is_taken_unless_it_is_asked_for() {
    let bench = Bench::new();
    assert!(bench.update(&tar()).is_err());
    bench.assert_session(SessionState::Failed, ResultCode::Unindexed);
    bench.assert_factory_runs();
}

#[test]
fn refusals_reach_the_host_and_the_next_tar_is_taken() {
    let bench = bench();
    let good = Members::of(&tar());
    let other = |from: &str, to: &str| {
        let mut release = Release::new(MACHINE, "2", &[(IMAGE, image())]);
        release.manifest = release.manifest.replace(from, to);
        release.tar()
    };
    let mut twice = good.clone();
    twice.0.push(("MANIFEST".into(), vec![1]));
    let foreign = good.clone().renamed("publickey", "public-key");
    for (tar, result, status) in [
        (other(MACHINE, "other-board"), ResultCode::WrongMachine, Status::ErrTarget),
        (other("VersionPurpose.BMC", "VersionPurpose.Host"), ResultCode::WrongPurpose, Status::ErrTarget),
        (other("HashType", "Hash"), ResultCode::BadManifest, Status::ErrFile),
        (good.clone().without("image-full.sig").bytes(), ResultCode::UnknownKey, Status::ErrVerify),
        (good.clone().without(IMAGE).bytes(), ResultCode::MissingMember, Status::ErrFile),
        (good.clone().renamed(IMAGE, "image-kernel").bytes(), ResultCode::UnmappedMember, Status::ErrFile),
        (twice.bytes(), ResultCode::BadArchive, Status::ErrFile),
        (foreign.bytes(), ResultCode::BadArchive, Status::ErrFile),
    ] {
        assert_refused(&bench, &tar, result, status);
    }
    assert_eq!(bench.update(&good.bytes()), Ok(End::Idle));
    assert!(bench.medium().slot(Slot::B) == slot());
}

#[test]
fn without_memory_not_a_byte_is_taken() {
    // All that the members of a tar can come to, and 24 MiB.
    let needed = staged() + (24 << 20);
    let bench = start(store(0), needed - 1);
    assert_refused(&bench, &tar(), ResultCode::NoSpace, Status::ErrVendor);
    assert_eq!(bench.status().received, 4096);
    assert_eq!(start(store(0), needed).update(&tar()), Ok(End::Idle));
}

fn staged() -> u64 {
    let regions = [(IMAGE, SLOT as u64, Encoding::Raw)];
    Profile::new(MACHINE.into(), "bmc".into(), regions, MAX_PACKAGE).unwrap().max_staged()
}

#[test]
fn what_is_cut_or_longer_is_refused_at_its_end() {
    let tar = tar();
    let end = end_of(&tar);
    for length in [end - 1, end - 512, 60_000, 511] {
        let bench = bench();
        assert!(bench.update(&tar[..length]).is_err());
        bench.assert_session(SessionState::Failed, ResultCode::Truncated);
    }
    // Staged, and then told that the file is not what it should be: all that was signed is there.
    for behind in [vec![1; 16], vec![0; RECORD]] {
        let bench = bench();
        assert!(bench.update(&[&tar[..], &behind].concat()).is_err(), "{} behind", behind.len());
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }
    let bench = bench();
    assert!(bench.update(&tar[..end + 100]).is_err(), "a cut record");
    assert_eq!(start(store(0), PLENTY).update(&tar[..end]), Ok(End::Idle), "no record at all");
}

#[test]
fn a_bmc_that_takes_tars_takes_packages_as_before() {
    let bench = bench();
    assert_eq!(bench.update(&package(0)), Ok(End::Idle));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    let mut bad = package(0);
    bad[600] ^= 1;
    assert!(bench.update(&bad).is_err());
    let nothing = vec![0x5A; 9000];
    assert!(bench.update(&nothing).is_err());
    bench.assert_session(SessionState::Failed, ResultCode::BadHead);
}
