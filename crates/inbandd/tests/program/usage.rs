//! The command line.

use crate::home::{Home, errors, program};

fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = program().args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), errors(&output))
}

#[test]
fn help_names_every_command_and_option() {
    for flag in ["--help", "-h"] {
        let (code, help, errors) = said(&[flag]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        for word in [
            "inbandd check",
            "inbandd init",
            "inbandd prepare",
            "-c, --config FILE",
            "/etc/inband/inbandd.toml",
            "--pcap FILE",
            "--firmware-version TEXT",
            "--bcd-device NUMBER",
            "--security-version NUMBER",
            "inbandd status",
            "inbandd arm DOOR",
            "inbandd disarm DOOR",
            "inbandd host-powered-on",
            "--for SECONDS",
            "inbandd activate",
            "inbandd confirm",
            "inbandd abort",
            "inbandd restart",
            "--asked-by host|bmc",
            "--json",
            "-v, --verbose",
            "-q, --quiet",
            "-h, --help",
            "-V, --version",
            "Exit codes",
        ] {
            assert!(help.contains(word), "{word}");
        }
        assert!(help.lines().all(|line| line.len() <= 100), "fits a terminal");
    }
}

#[test]
fn the_version_is_told() {
    let expected = format!("inbandd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(said(&["--version"]), (Some(0), expected, String::new()));
}

#[test]
fn a_wrong_command_line_is_answered_with_what_is_wrong() {
    for (arguments, wrong) in [
        (&["serve"][..], "serve"),
        (&["check", "again"], "again"),
        (&["--frobnicate"], "--frobnicate"),
        (&["-x"], "-x"),
        (&["--config"], "--config"),
        (&["init", "--bcd-device", "65536"], "65536"),
        (&["init", "--bcd-device", "0x10000"], "65536"),
        (&["init", "--bcd-device", "one"], "one"),
        (&["init", "--bcd-device", "0x01ab"], "0x01ab"),
        (&["init", "--bcd-device", "10"], "0x000a"),
        (&["init", "--security-version", "-1"], "-1"),
        (&["init", "--security-version", "4294967296"], "4294967296"),
        (&["init", "--firmware-version", "a b"], "a b"),
        (&["init", "--pcap", "bus.pcap"], "--pcap"),
        (&["prepare", "--pcap", "bus.pcap"], "--pcap"),
        (&["prepare", "--json"], "--json"),
        (&["check", "--pcap", "bus.pcap"], "--pcap"),
        (&["check", "--security-version", "1"], "--security-version"),
        (&["--bcd-device", "1"], "--bcd-device"),
        (&["--firmware-version", "1"], "--firmware-version"),
        (&["init", "--firmware-version", &"x".repeat(49)], "xxx"),
    ] {
        let (code, output, errors) = said(arguments);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(wrong), "{arguments:?}: {errors}");
        assert!(errors.contains("inbandd --help"), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    }
}

#[test]
fn init_makes_a_store_once() {
    let home = Home::new();
    let options =
        ["init", "--firmware-version", "1.2.3", "--bcd-device", "0x0123", "--security-version", "7"];
    let output = home.inbandd(&options).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("1.2.3"));

    let again = home.inbandd(&options).output().unwrap();
    assert_eq!(again.status.code(), Some(5));
    let errors = errors(&again);
    assert!(errors.contains("there is a store already") && errors.contains("remove it"), "{errors}");

    let check = home.inbandd(&["check"]).output().unwrap();
    let report = String::from_utf8(check.stdout).unwrap();
    for word in ["test-board", "usbip:127.0.0.1:0", "armed by", "ed25519", "slot a", "1.2.3", "floor 7"] {
        assert!(report.contains(word), "{word}: {report}");
    }
    assert!(!report.contains("ipmi:"), "{report}");

    let config = std::fs::read_to_string(home.path("inbandd.toml")).unwrap();
    home.configure(&format!("{config}\n[ipmi]\nchannel = \"kcs:/dev/nowhere\"\n"));
    let check = home.inbandd(&["check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(0));
    let report = String::from_utf8(check.stdout).unwrap();
    assert!(report.contains("ipmi: kcs:/dev/nowhere, which is not there"), "{report}");
}
