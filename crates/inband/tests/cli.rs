//! The command line itself: help, completions, manual pages, usage errors.

mod support;

use std::{
    fs::{self, File},
    process::Stdio,
};

use clap::CommandFactory;
use inband::cli::args::Cli;
use support::{Bench, command, run};

#[test]
fn the_definition_has_no_contradictions() {
    Cli::command().debug_assert();
}

#[test]
fn help_teaches() {
    let help = run(["--help"]).expect(0).out;
    for taught in ["Examples:", "inband update bmc.tar", "--usbip", "--json", "Exit codes:", "demo"] {
        assert!(help.contains(taught), "{taught} is not in the help:\n{help}");
    }
    // Whatever a user can do has an example or needs none.
    for command in [
        "list", "update", "status", "start", "stop", "abort", "activate", "confirm", "detach", "keygen",
        "pack", "sign", "verify", "inspect", "demo", "attach",
    ] {
        let help = run([command, "--help"]).expect(0).out;
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn every_exit_code_in_the_help_is_the_documented_one() {
    let help = run(["--help"]).expect(0).out;
    let help: String =
        help.split("Exit codes:").nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let spec = include_str!("../../../docs/spec/results.md");
    let section = spec.split("## ").find(|section| section.starts_with("2.")).unwrap();
    let codes: Vec<u8> =
        section.lines().filter_map(|line| line.split('|').nth(1)?.trim().parse().ok()).collect();
    for code in codes.iter().filter(|&&code| code != 20) {
        let listed = help.split(", ").any(|entry| entry.starts_with(&format!("{code} ")));
        assert!(listed, "{code} is not in: {help}");
    }
    assert!(run(["demo", "--help"]).expect(0).out.contains("20"));
}

#[test]
fn a_wrong_command_line_is_2() {
    for arguments in [
        &["nonsense"][..],
        &[][..],
        &["update"][..],
        &["--usbip", "host:0", "list"][..],
        &["pack", "--machine", "m"][..],
        &["demo", "--package", "x"][..],
        &["sign", "x"][..],
        &["sign", "x", "--attach", "y"][..],
        &["sign", "x", "--key", "y", "--print-bytes"][..],
        &["sign", "x", "--key", "y", "--out", "z"][..],
        &["list", "-q", "-v"][..],
    ] {
        run(arguments).expect(2);
    }
    run(["attach"]).expect(2);
}

#[test]
fn completions_and_manual_pages_come_out() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(["completions", shell]).expect(0).out;
        assert!(script.contains("inband") && script.contains("update"), "{shell}");
        assert!(script.contains("print-bytes"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("man");
    run(["man", target.to_str().unwrap()]).expect(0);
    let page = fs::read_to_string(target.join("inband.1")).unwrap();
    assert!(page.contains(".TH"), "{page}");
    assert!(fs::read_to_string(target.join("inband-update.1")).unwrap().contains("DFU mode"));
    assert!(fs::read_to_string(target.join("inband-start.1")).unwrap().contains("nonce"));
    assert!(fs::read_to_string(target.join("inband-sign.1")).unwrap().contains("528 bytes"));
}

#[test]
fn without_a_bus_there_is_no_device() {
    // Nothing listens on a port that was just given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let run = run(["--usbip", &address, "list", "--json"]).expect(3);
    let error = run.event("error");
    assert_eq!(error["error"], "bus");
    assert_eq!(error["exit"], 3);
    assert!(error["advice"].as_str().unwrap().contains("inbandd"), "{error}");
}

#[test]
fn output_that_cannot_be_written_is_7_and_a_closed_pipe_is_no_error() {
    let bench = Bench::new();
    bench.package("fw.tar", 50_000);
    let arguments = ["inspect", &bench.arg("fw.tar")];
    let full = command(arguments).stdout(File::create("/dev/full").unwrap()).status().unwrap();
    assert_eq!(full.code(), Some(7));
    let mut closed = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    drop(closed.stdout.take());
    assert_eq!(closed.wait().unwrap().code(), Some(0));
}
