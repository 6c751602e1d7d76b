//! What a BMC's policy makes of a package's index: compatible names, the floor, what runs (docs/spec/package.md, 6).

use inband_package::index::MAX_VERSION;
use inband_package::refusal::Surprise;
use inband_package::{Expected, Policy, Refusal, Rule, Running, sha256};

use crate::common::{
    header_offsets, image, keys, options, package_of, policy, read_with, small_package, with_head,
};

/// What runs, by security version and bcdDevice; the tests' packages have 3 and 0214h.
fn running(version: &str, security_version: u32, bcd_device: u16) -> Running {
    Running { version: version.into(), security_version, bcd_device }
}

fn verdict(package: &[u8], policy: Policy) -> Result<(), Refusal> {
    read_with(keys(), policy, [package]).1
}

/// Refuses the version that runs.
fn once(running: Running) -> Policy {
    Policy { running: Some(running), same_version: Rule::Refuse, ..policy() }
}

/// Refuses what is older than what runs.
fn forward(running: Running) -> Policy {
    Policy { running: Some(running), downgrade: Rule::Refuse, ..policy() }
}

#[test]
fn one_compatible_name_of_those_asked_for_is_enough() {
    let package = small_package();
    let asking = |names: &[&str]| {
        let compatible = names.iter().map(|name| (*name).into()).collect();
        verdict(&package, Policy { compatible, ..policy() })
    };
    assert_eq!(asking(&[]), Ok(()));
    assert_eq!(asking(&["com.example.evb"]), Ok(()));
    assert_eq!(asking(&["com.example.other", "com.example.evb"]), Ok(()));
    for names in [&["com.example.ev"][..], &["com.example.evb2"], &["COM.EXAMPLE.EVB", "evb-ast2600"]] {
        let expected = names.iter().map(|name| (*name).into()).collect();
        assert_eq!(asking(names), Err(Refusal::Incompatible { expected }));
    }
    // A package that says nothing of compatible machines is for none of them.
    let silent = inband_package::maker::PackOptions { compatible: vec![], ..options() };
    let silent = package_of(&silent, &[image("image", vec![1])]);
    assert_eq!(verdict(&silent, policy()), Ok(()));
    let asking = Policy { compatible: vec!["com.example.evb".into()], ..policy() };
    assert!(matches!(verdict(&silent, asking), Err(Refusal::Incompatible { .. })));
}

#[test]
fn the_same_version_is_the_same_text_whatever_else_differs() {
    let package = small_package();
    for (security_version, bcd_device) in [(3, 0x0214), (0, 0x0001), (9, 0x9999)] {
        let same = running("2.14.0-rc1", security_version, bcd_device);
        let refusal = Refusal::SameVersion { version: "2.14.0-rc1".into() };
        assert_eq!(verdict(&package, once(same.clone())), Err(refusal));
        assert_eq!(verdict(&package, Policy { same_version: Rule::Accept, ..once(same) }), Ok(()));
    }
    for other in ["", "2.14.0-rc", "2.14.0-rc10", "2.14.0-RC1"] {
        assert_eq!(verdict(&package, once(running(other, 3, 0x0214))), Ok(()), "{other}");
    }
}

#[test]
fn versions_that_differ_in_the_last_byte_that_there_can_be_are_not_the_same() {
    let version = |last: &str| "v".repeat(MAX_VERSION - 1) + last;
    let long = inband_package::maker::PackOptions { version: version("1"), ..options() };
    let package = package_of(&long, &[image("image", vec![1])]);
    assert!(verdict(&package, once(running(&version("1"), 3, 0))).is_err());
    assert_eq!(verdict(&package, once(running(&version("2"), 3, 0))), Ok(()));
    assert_eq!(verdict(&package, once(running(&version(""), 3, 0))), Ok(()));
}

#[test]
fn older_is_a_lower_security_version_or_at_the_same_one_a_lower_bcd_device() {
    let package = small_package();
    for (security_version, bcd_device, is_older) in [
        (3, 0x0214, false),
        (3, 0x0213, false),
        (3, 0x0215, true),
        (3, 0x0220, true),
        (3, 0x1000, true),
        (3, 0x9999, true),
        (3, 0, false),
        (2, 0x9999, false),
        (4, 0, true),
        (u32::MAX, 0x0214, true),
    ] {
        let runs = running("7.0", security_version, bcd_device);
        let found = (3, 0x0214);
        let refusal = Refusal::Downgrade { running: (security_version, bcd_device), found };
        let expected = if is_older { Err(refusal) } else { Ok(()) };
        assert_eq!(verdict(&package, forward(runs.clone())), expected, "{runs:?}");
        assert_eq!(verdict(&package, Policy { downgrade: Rule::Accept, ..forward(runs) }), Ok(()));
    }
}

#[test]
fn what_is_expected_not_to_be_older_is_not() {
    let package = small_package();
    let expected = Expected { not_older: true, ..Expected::ANYTHING };
    let expecting = |running| Policy { running: Some(running), expected, ..policy() };
    assert_eq!(verdict(&package, expecting(running("2.14.0-rc1", 3, 0x0214))), Ok(()));
    for newer in [running("1", 3, 0x0215), running("1", 4, 0)] {
        assert!(matches!(verdict(&package, expecting(newer)), Err(Refusal::Downgrade { .. })));
    }
    assert_eq!(verdict(&package, Policy { expected, ..policy() }), Ok(()), "nothing runs");
}

#[test]
fn the_head_is_the_one_that_was_announced() {
    let package = small_package();
    let expecting = |head, length| {
        let expected = Expected { head, length, ..Expected::ANYTHING };
        read_with(keys(), Policy { expected, ..policy() }, [&package[..1024]]).1
    };
    let (head, length) = (sha256(&package[512..1024]), package.len() as u64);
    assert!(matches!(expecting(Some(head), Some(length)), Err(Refusal::Truncated { .. })));
    let mut other = head;
    other[31] ^= 1;
    let surprise = Surprise::Head { expected: other, found: head };
    assert_eq!(expecting(Some(other), Some(1)), Err(Refusal::Unexpected(surprise)));
    for expected in [length - 1, length + 1, 0, u64::MAX] {
        let surprise = Surprise::Length { expected, found: length };
        assert_eq!(expecting(Some(head), Some(expected)), Err(Refusal::Unexpected(surprise)));
    }
}

#[test]
fn nothing_in_a_head_is_read_before_it_is_the_one_that_was_announced() {
    let package = with_head(&small_package(), |head| head[8] = 9);
    let expecting = |head| {
        let expected = Expected { head: Some(head), ..Expected::ANYTHING };
        verdict(&package, Policy { expected, ..policy() })
    };
    assert!(matches!(expecting([0; 32]), Err(Refusal::Unexpected(Surprise::Head { .. }))));
    assert!(matches!(expecting(sha256(&package[512..1024])), Err(Refusal::BadHead(_))));
}

#[test]
fn without_anything_that_runs_there_is_nothing_to_compare_with() {
    let rules = Policy { same_version: Rule::Refuse, downgrade: Rule::Refuse, ..policy() };
    assert_eq!(verdict(&small_package(), rules), Ok(()));
}

#[test]
fn compatible_names_then_the_floor_then_the_same_version_then_downgrade() {
    let all = Policy {
        compatible: vec!["other".into()],
        security_floor: 4,
        running: Some(running("2.14.0-rc1", 4, 0)),
        same_version: Rule::Refuse,
        downgrade: Rule::Refuse,
        ..policy()
    };
    let package = small_package();
    assert!(matches!(verdict(&package, all.clone()), Err(Refusal::Incompatible { .. })));
    let compatible = Policy { compatible: vec![], ..all };
    assert!(matches!(verdict(&package, compatible.clone()), Err(Refusal::OldSecurityVersion { .. })));
    let high_enough = Policy { security_floor: 3, ..compatible };
    assert!(matches!(verdict(&package, high_enough.clone()), Err(Refusal::SameVersion { .. })));
    let again = Policy { same_version: Rule::Accept, ..high_enough };
    assert!(matches!(verdict(&package, again), Err(Refusal::Downgrade { .. })));
}

#[test]
fn the_verdict_falls_with_the_last_byte_of_the_index() {
    let package = small_package();
    let starts = header_offsets(&package);
    let index_length = u32::from_le_bytes(package[524..528].try_into().unwrap()) as usize;
    let end = starts[2] + 512 + index_length;
    assert!(end < starts[3], "there is padding behind the index");
    let refusing = || once(running("2.14.0-rc1", 3, 0));
    let (notes, result) = read_with(keys(), refusing(), [&package[..end]]);
    assert!(matches!(result, Err(Refusal::SameVersion { .. })));
    assert_eq!(notes.calls, []);
    let (_, result) = read_with(keys(), refusing(), [&package[..end - 1]]);
    assert!(matches!(result, Err(Refusal::Truncated { .. })));
}

#[test]
fn refusals_say_what_was_compared() {
    let package = small_package();
    let text = |policy| verdict(&package, policy).unwrap_err().to_string();
    assert_eq!(text(once(running("2.14.0-rc1", 3, 0))), "version 2.14.0-rc1 runs already");
    assert_eq!(
        text(forward(running("7", 3, 0x1000))),
        "security version 3 with bcdDevice 2.14 is older than what runs, security version 3 with bcdDevice 10.00"
    );
    let asking = Policy { compatible: vec!["a.b".into(), "c".into()], ..policy() };
    let expecting = |expected| text(Policy { expected, ..policy() });
    let length = Expected { length: Some(512), ..Expected::ANYTHING };
    assert_eq!(
        expecting(length),
        format!("not the package that was announced: it has {} bytes, and 512 were to come", package.len())
    );
    assert_eq!(text(asking), "it has none of the compatible names that this BMC asks for: a.b, c");
}
