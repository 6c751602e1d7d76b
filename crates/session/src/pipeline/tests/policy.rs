//! What the BMC's configuration and its store make of rightly signed packages: regions, versions, the security floor.

use inband_package::Rule;
use inband_store::Region;

use super::*;

/// Sends a package; its verdict, and that a refused one has written nothing to the slot.
#[track_caller]
fn verdict(line: &mut Line, id: u32, bytes: &[u8]) -> Result<(), ResultCode> {
    let before = line.store().medium().slot(Slot::B).to_vec();
    let slots = line.store().record().slots;
    line.begin(id, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    let result = send(line, bytes).map(|complete| assert!(complete));
    let result = result.and_then(|()| line.finish());
    if result.is_err() {
        assert!(line.store().medium().slot(Slot::B) == before, "a refused package was written");
        assert_eq!(line.store().record().slots, slots);
    }
    result
}

fn start(policy: Policy) -> Line {
    start_with(medium(), layout(), policy).unwrap()
}

/// A package of both images with this version, security version and bcdDevice; 1.0, 1 and 0100h run.
fn versioned(version: &str, security_version: u32, bcd_device: u16) -> Vec<u8> {
    let options = PackOptions { bcd_device, ..options(version, security_version) };
    let images = ["kernel", "rofs"].map(|name| input(name, MemberKind::Image, version.as_bytes()));
    signed(&options, &images)
}

#[test]
fn what_runs_is_what_versions_are_compared_with() {
    let rules = Policy { same_version: Rule::Refuse, downgrade: Rule::Refuse, ..policy() };
    let mut line = start(rules);
    assert_eq!(verdict(&mut line, 1, &versioned("1.0", 1, 0x0100)), Err(ResultCode::SameVersion));
    assert_eq!(verdict(&mut line, 2, &versioned("0.9", 1, 0x0099)), Err(ResultCode::Downgrade));
    assert!(line.last_error().is_some_and(|text| text.contains("older than what runs")));
    // Below the floor is the harder refusal, and the other rules do not soften it.
    assert_eq!(verdict(&mut line, 3, &versioned("1.0", 0, 0x0100)), Err(ResultCode::OldSecurityVersion));
    assert_eq!(verdict(&mut line, 4, &versioned("2.0", 1, 0x0200)), Ok(()));
    // Staged is not running: the same package is taken again, and one between the two.
    assert_eq!(verdict(&mut line, 5, &versioned("2.0", 1, 0x0200)), Ok(()));
    assert_eq!(verdict(&mut line, 6, &versioned("1.5", 1, 0x0150)), Ok(()));
    assert_eq!(verdict(&mut line, 7, &versioned("2.0", 1, 0x0200)), Ok(()));
    assert_eq!(line.boot(), Ok(Slot::B));
    line.confirm().unwrap();
    for (id, (bytes, result)) in (8..).zip([
        (versioned("2.0", 2, 0x0300), ResultCode::SameVersion),
        (versioned("1.5", 1, 0x0150), ResultCode::Downgrade),
        (versioned("1.0", 1, 0x0199), ResultCode::Downgrade),
    ]) {
        line.begin(id, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
        assert_eq!(send(&mut line, &bytes), Err(result));
        assert_eq!(last(&line), (id, SessionState::Failed, result));
    }
    // A higher security version outweighs bcdDevice.
    assert_eq!(update_with(&mut line, 20, &versioned("3.0", 2, 0x0001)), Ok(()));
}

fn update_with(line: &mut Line, id: u32, bytes: &[u8]) -> Result<(), ResultCode> {
    line.begin(id, Door::Dfu, NOW, Expected::ANYTHING)?;
    send(line, bytes)?;
    line.finish()
}

#[test]
fn unless_told_otherwise_only_the_floor_refuses_old_firmware() {
    let mut line = line();
    assert_eq!(verdict(&mut line, 1, &versioned("1.0", 1, 0x0100)), Ok(()));
    assert_eq!(verdict(&mut line, 2, &versioned("0.1", 1, 0x0001)), Ok(()));
    assert_eq!(verdict(&mut line, 3, &versioned("0.1", 0, 0x9999)), Err(ResultCode::OldSecurityVersion));
}

#[test]
fn compatible_names_are_the_configuration_s() {
    let mut line = start(Policy { compatible: vec!["com.example.two".to_string()], ..policy() });
    let with_names = |names: &[&str]| {
        let compatible = names.iter().map(ToString::to_string).collect();
        let images = ["kernel", "rofs"].map(|name| input(name, MemberKind::Image, b"x"));
        signed(&PackOptions { compatible, ..options("2.0", 2) }, &images)
    };
    assert_eq!(verdict(&mut line, 1, &with_names(&[])), Err(ResultCode::Incompatible));
    assert_eq!(verdict(&mut line, 2, &with_names(&["com.example.one"])), Err(ResultCode::Incompatible));
    let both = with_names(&["com.example.one", "com.example.two"]);
    assert_eq!(verdict(&mut line, 3, &both), Ok(()));
}

#[test]
fn a_policy_cannot_lower_the_floor_or_say_what_runs() {
    let running = Some(Running { version: "2.0".to_string(), security_version: 9, bcd_device: 0x9999 });
    let given = Policy { security_floor: 0, running, same_version: Rule::Refuse, ..policy() };
    let mut line = start(given);
    assert_eq!(verdict(&mut line, 1, &versioned("2.0", 0, 0x0200)), Err(ResultCode::OldSecurityVersion));
    assert_eq!(verdict(&mut line, 2, &versioned("1.0", 1, 0x0200)), Err(ResultCode::SameVersion));
    assert_eq!(verdict(&mut line, 3, &versioned("2.0", 1, 0x0200)), Ok(()));
}

#[test]
fn regions_that_are_kept_or_shut() {
    let regions = vec![
        Region::new("bmc", "image-u-boot", 0, 4096),
        Region::new("bmc", "kernel", 4096, 100_000),
        Region::new("bmc", "image-rwfs", 104_096, 50_000),
    ];
    let layout = Layout::new(SLOT as u64, regions).unwrap();
    let mut medium = medium();
    let slot_b = noise(77, SLOT);
    medium.fill(Slot::B, &slot_b);
    let mut line = start_with(medium, layout, policy()).unwrap();
    let kernel = noise(1, 70_001);
    let image = |name, bytes: &[u8]| input(name, MemberKind::Image, bytes);
    let package = |images: &[Input]| signed(&options("2.0", 2), images);

    let with_loader = package(&[image("kernel", &kernel), image("image-u-boot", b"x")]);
    assert_eq!(verdict(&mut line, 1, &with_loader), Err(ResultCode::RefusedMember));
    assert_eq!(line.last_error(), Some("image-u-boot is not to be updated here"));
    let too_large = package(&[image("kernel", &kernel), image("image-rwfs", &[0; 50_001])]);
    assert_eq!(verdict(&mut line, 2, &too_large), Err(ResultCode::TooLarge));
    let without_kernel = package(&[image("image-rwfs", b"x")]);
    assert_eq!(verdict(&mut line, 3, &without_kernel), Err(ResultCode::MissingMember));
    let mut elsewhere = options("2.0", 2);
    elsewhere.targets.push("bios".to_string());
    let elsewhere = signed(&elsewhere, &[image("kernel", &kernel)]);
    assert_eq!(verdict(&mut line, 4, &elsewhere), Err(ResultCode::UnmappedMember));

    // The bytes of a preserved region are checked though they go nowhere.
    let settings = noise(2, 40_000);
    let whole = package(&[image("image-rwfs", &settings), image("kernel", &kernel)]);
    let mut tampered = whole.clone();
    let at = whole.windows(16).position(|bytes| bytes == &settings[39_000..39_016]).unwrap();
    tampered[at] ^= 1;
    line.begin(5, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    assert_eq!(send(&mut line, &tampered), Err(ResultCode::BadChunk));

    for (id, bytes) in [(6, whole), (7, package(&[image("kernel", &kernel)]))] {
        assert_eq!(update_with(&mut line, id, &bytes), Ok(()));
        let mut expected = slot_b.clone();
        expected[4096..104_096].fill(0xff);
        expected[4096..4096 + kernel.len()].copy_from_slice(&kernel);
        assert!(line.store().medium().slot(Slot::B) == expected);
    }
}

#[test]
fn the_floor_stays_where_firmware_never_proved_itself() {
    let mut line = line();
    // Staged, and replaced by an older one before it ran.
    update(&mut line, 1, &Package::new("9.0", 9)).unwrap();
    update(&mut line, 2, &Package::new("1.1", 1)).unwrap();
    assert_eq!(line.store().record().floor, 1);
    // Booted until it is given up.
    update(&mut line, 3, &Package::new("9.0", 9)).unwrap();
    for _ in 0..3 {
        assert_eq!(line.boot(), Ok(Slot::B));
    }
    assert_eq!(line.boot(), Ok(Slot::A));
    assert_eq!(last(&line), (3, SessionState::RolledBack, ResultCode::RolledBack));
    assert_eq!(line.store().record().floor, 1);
    assert_eq!(line.confirm(), Err(ResultCode::Internal), "there is nothing to confirm");
    assert_eq!(update(&mut line, 4, &Package::new("1.1", 1)), Ok(()));
}

#[test]
fn nothing_that_is_confirmed_lowers_the_floor() {
    let mut line = line();
    for (id, version, security_version, floor) in [(1, "2.0", 5, 5), (2, "3.0", 7, 7), (3, "3.1", 7, 7)] {
        update(&mut line, id, &Package::new(version, security_version)).unwrap();
        line.boot().unwrap();
        line.confirm().unwrap();
        assert_eq!(line.store().record().floor, floor);
    }
    for security_version in [0, 1, 6] {
        let older = Package::new("2.9", security_version);
        let id = 10 + security_version;
        assert_eq!(update(&mut line, id, &older), Err(ResultCode::OldSecurityVersion));
        assert_eq!(line.store().record().floor, 7);
    }
    // Nor a restart of the daemon, nor a power cut.
    let mut line = with_medium(line, |medium| medium.power_cycle(inband_store::memory::Loss::All));
    assert_eq!(line.store().record().floor, 7);
    assert_eq!(update(&mut line, 20, &Package::new("2.9", 6)), Err(ResultCode::OldSecurityVersion));
}
