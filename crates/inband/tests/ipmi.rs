//! The commands of the door handle, against a BMC that answers at a socket.

// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use inband_session::DoorPolicy;
use inbandd::config::{When, WhileShut};
use support::{
    Bench, MACHINE, Run,
    bmc::{Bmc, Kind, MayHosts, ipmi_of},
    command, run, spawn,
};

fn armed() -> Kind {
    Kind { door: DoorPolicy::Armed, ipmi: Some(MayHosts::Open), ..Kind::default() }
}

/// Runs the program with nothing but the IPMI of a bench.
fn ipmi(bench: &Bench, arguments: &[&str]) -> Run {
    run([&["--ipmi", &ipmi_of(bench)], arguments].concat())
}

/// What events tell as the way to it.
fn ipmi_path(bench: &Bench) -> serde_json::Value {
    format!("ipmi:{}", ipmi_of(bench)).into()
}

fn error(run: Run, code: i32) -> String {
    let event = run.expect(code).event("error");
    assert_eq!(event["exit"], code, "{event}");
    event["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_start_is_told_and_stopped() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, armed());
    let status = bmc.with_ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!(status["told_by"], serde_json::json!(["usb", "ipmi"]));
    assert_eq!((&status["start"], &status["doors"]["dfu"]), (&serde_json::Value::Null, &"shut".into()));

    let started = ipmi(&bench, &["start", "--json"]).expect(0).event("started");
    assert_eq!((&started["door"], &started["profile"]), (&"bulk".into(), &serde_json::Value::Null));
    assert_eq!(started["holds_s"], 900);
    assert_eq!((&started["path"], &started["machine"]), (&ipmi_path(&bench), &MACHINE.into()));
    let nonce = started["nonce"].as_str().unwrap();
    let status = bmc.with_ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!(status["start"]["nonce"], nonce);
    assert!((1..=900).contains(&status["start"]["holds_s"].as_u64().unwrap()), "{status}");
    assert_eq!(status["doors"]["dfu"], "armed");
    let text = bmc.with_ipmi(&bench, &["status"]).expect(0).out;
    assert!(text.contains(nonce) && text.contains("usb and ipmi"), "{text}");

    // Another one is in the way of the next, and not to be stopped by a wrong name.
    let refused = ipmi(&bench, &["start", "dfu", "--json"]).expect(9).event("error");
    assert_eq!((&refused["error"], &refused["result"]), (&"refused".into(), &"busy".into()));
    // It ends by a word, and not by waiting.
    assert!(refused["advice"].as_str().unwrap().contains("inband stop"), "{refused}");
    let wrong = if nonce == "00000001" { "00000002" } else { "00000001" };
    assert_eq!(error(ipmi(&bench, &["stop", "--nonce", wrong, "--json"]), 17), "nothing");
    let stopped = ipmi(&bench, &["stop", "--nonce", nonce, "--json"]).expect(0).event("stopped");
    assert_eq!((&stopped["nonce"], &stopped["commit"]), (&nonce.into(), &false.into()));
    assert_eq!((&stopped["path"], &stopped["machine"]), (&ipmi_path(&bench), &MACHINE.into()));
    assert_eq!(bmc.status()["doors"]["dfu"], "shut");

    // Nobody is in yet, whatever is opened.
    let text = ipmi(&bench, &["start", "bulk"]).expect(0).out;
    assert!(text.starts_with("started: bulk, nonce ") && !text.contains("open"), "{text}");
    ipmi(&bench, &["stop"]).expect(0);

    // Without a name it is the one in force; without one in force there is none.
    let again = ipmi(&bench, &["start", "dfu", "--json"]).expect(0).event("started");
    assert_eq!(again["door"], "dfu");
    assert_ne!(again["nonce"], nonce);
    assert_eq!(ipmi(&bench, &["stop", "--json"]).expect(0).event("stopped")["nonce"], again["nonce"]);
    assert_eq!(error(ipmi(&bench, &["stop", "--json"]), 17), "nothing");
}

#[test]
fn a_start_for_a_command_ends_with_it_and_no_other_does() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    let bmc = Bmc::start(&bench, armed());
    let program = env!("CARGO_BIN_EXE_inband");
    let update = ["--usbip", &bmc.address, "--quiet", "update", &bench.arg("fw.tar")];

    // Somebody else's start is in the way; it holds, and the command is not run.
    let other = ipmi(&bench, &["start", "dfu", "--json"]).expect(0).event("started");
    ipmi(&bench, &["start", "--", "touch", &bench.arg("was-run")]).expect(9);
    assert!(!bench.path("was-run").exists());
    let status = ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!(status["start"]["nonce"], other["nonce"]);
    ipmi(&bench, &["stop"]).expect(0);

    // Whatever comes of the command, its exit code is told, and the door is shut.
    let failed = ipmi(&bench, &["start", "--", "sh", "-c", "echo of the command; exit 74"]).expect(74);
    assert_eq!(failed.out, "of the command\n");
    assert!(failed.err.contains("74"), "{}", failed.err);
    is_shut(&bench);
    assert_eq!(error(ipmi(&bench, &["start", "--json", "--", "sh", "-c", "kill -9 $$"]), 1), "command");
    is_shut(&bench);
    assert_eq!(error(ipmi(&bench, &["start", "--json", "--", &bench.arg("nothing")]), 7), "file");
    is_shut(&bench);

    // The session of the command ends the start already, which is as good.
    let staged = ipmi(&bench, &[&["start", "--", program][..], &update].concat()).expect(0);
    assert!(staged.out.starts_with("staged: version 2.0.0"), "{staged:?}");
    assert_eq!(is_shut(&bench)["state"], "staged");
    let told = ipmi(&bench, &["start", "--json", "--", "true"]).expect(0);
    assert_eq!(names(&told), ["started", "shut"]);
}

#[test]
fn a_commit_has_nothing_to_judge_by_dfu_and_shuts_the_door() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, armed());
    ipmi(&bench, &["start"]).expect(0);
    assert_eq!(error(ipmi(&bench, &["stop", "--commit", "--json"]), 17), "nothing");
    assert_eq!(bmc.status()["doors"]["dfu"], "shut");
}

#[test]
fn an_abort_ends_a_start_and_what_came_by_it() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, armed());
    assert_eq!(error(ipmi(&bench, &["abort", "--json"]), 17), "nothing");
    ipmi(&bench, &["start"]).expect(0);
    let aborted = ipmi(&bench, &["abort", "--json"]).expect(0).event("aborted");
    assert_eq!((&aborted["path"], &aborted["machine"]), (&ipmi_path(&bench), &MACHINE.into()));
    let status = ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!((&status["start"], &status["doors"]["dfu"]), (&serde_json::Value::Null, &"shut".into()));
    drop(bmc);
}

#[test]
fn doors_that_are_not_for_a_host_to_open_stay_shut() {
    let bench = Bench::new();
    for kind in [Kind { door: DoorPolicy::Off, ..armed() }, Kind { ipmi: Some(MayHosts::Nothing), ..armed() }]
    {
        let bmc = Bmc::start(&bench, kind);
        let refused = ipmi(&bench, &["start", "dfu", "--json"]).expect(8).event("error");
        assert_eq!((&refused["error"], &refused["result"]), (&"refused".into(), &"door-shut".into()));
        assert!(refused["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{refused}");
        // There is no disk.
        assert_eq!(error(ipmi(&bench, &["start", "volume", "--json"]), 8), "refused");
        drop(bmc);
        std::fs::remove_dir_all(bench.path("store")).unwrap();
    }
}

#[test]
fn ipmi_alone_tells_how_a_bmc_stands() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, Kind { door: DoorPolicy::Off, ..armed() });
    let by_usb = bmc.status();
    let alone = ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!(alone["told_by"], serde_json::json!(["ipmi"]));
    for field in ["serial", "mode", "vendor_id", "product_id", "bcd_device", "manufacturer", "product"] {
        assert_eq!(alone[field], serde_json::Value::Null, "{field}");
    }
    for field in
        ["machine", "state", "result", "doors", "session", "running", "boots_next", "slots", "security_floor"]
    {
        assert_eq!(alone[field], by_usb[field], "{field}");
    }
    let text = ipmi(&bench, &["status"]).expect(0).out;
    assert!(text.contains("1.0.0") && !text.contains("mode"), "{text}");
}

#[test]
fn a_host_activates_and_confirms_where_it_may() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    // What decides about new firmware does not for a minute, so that there is something to confirm.
    let kind = Kind { ipmi: Some(MayHosts::All), health: Some("/bin/false"), ..Kind::default() };
    let bmc = Bmc::start(&bench, kind);
    for command in ["activate", "confirm"] {
        assert_eq!(error(ipmi(&bench, &[command, "--json"]), 17), "nothing", "{command}");
    }
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    assert_eq!(ipmi(&bench, &["activate", "--json"]).expect(0).event("activating")["machine"], MACHINE);
    loop {
        let status = ipmi(&bench, &["status", "--json"]).expect(0).event("status");
        match status["state"].as_str().unwrap() {
            "staged" | "activating" => {}
            "pending-confirm" => {
                let confirmed = ipmi(&bench, &["confirm", "--json"]).expect(0).event("confirmed");
                assert_eq!(confirmed["machine"], MACHINE);
                break;
            }
            other => panic!("{other}"),
        }
    }

    drop(bmc);
    std::fs::remove_dir_all(bench.path("store")).unwrap();
    let _bmc = Bmc::start(&bench, Kind { ipmi: Some(MayHosts::Open), ..Kind::default() });
    for command in ["activate", "confirm"] {
        assert_eq!(error(ipmi(&bench, &[command, "--json"]), 18), "not-allowed", "{command}");
    }
}

fn names(run: &Run) -> Vec<String> {
    let mut names: Vec<_> =
        run.json().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    names.dedup();
    names
}

/// No start is in force, and no door open.
#[track_caller]
fn is_shut(bench: &Bench) -> serde_json::Value {
    let status = ipmi(bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!((&status["start"], &status["doors"]["dfu"]), (&serde_json::Value::Null, &"shut".into()));
    status
}

#[test]
fn a_start_may_be_for_one_package_alone() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    bench.pack("other.tar", "image.bin", &["--version", "2.0.1", "--security-version", "3"]).expect(0);
    let (package, other) = (bench.arg("fw.tar"), bench.arg("other.tar"));
    let bmc = Bmc::start(&bench, armed());
    let start = ["start", "--package", &package, "--no-downgrade", "--defer"];
    ipmi(&bench, &start).expect(0);
    // Whoever comes with another one finds the door open, and is refused.
    let refused = bmc.run(&["update", &other, "--json"]).expect(6).event("error");
    assert!(refused["result"].is_string(), "{refused}");
    let _ = ipmi(&bench, &["stop"]);
    ipmi(&bench, &start).expect(0);
    bmc.run(&["update", &package]).expect(0);
    assert_eq!(is_shut(&bench)["state"], "staged");
    ipmi(&bench, &["start", "--length", "1"]).expect(0);
    bmc.run(&["update", &package, "--allow-same"]).expect(6);
    ipmi(&bench, &["start", "--package", &bench.arg("release.pub")]).expect(6);
}

#[test]
fn an_update_opens_the_door_and_shuts_it() {
    let bench = Bench::new();
    bench.package("fw.tar", 1_000_000);
    let package = bench.arg("fw.tar");
    for (options, door) in
        [(&[][..], "bulk"), (&["--door", "bulk"], "bulk"), (&["--door", "dfu", "--no-downgrade"], "dfu")]
    {
        let bmc = Bmc::start(&bench, armed());
        // Nobody can open it.
        let refused = bmc.run(&[&["update", &package, "--json"], options].concat()).expect(8);
        assert_eq!(refused.event("error")["result"], "door-shut");
        assert!(
            refused.event("not-opened")["reason"].as_str().unwrap().contains("--ipmi"),
            "{}",
            refused.out
        );

        let update = bmc.with_ipmi(&bench, &[&["update", &package, "--json"], options].concat()).expect(0);
        assert_eq!(update.event("opened")["machine"], MACHINE);
        let events = names(&update);
        assert_eq!(events[..5], ["package", "device", "opened", "detach", "dfu-mode"], "{events:?}");
        assert_eq!(events[events.len() - 3..], ["sent", "staged", "shut"], "{events:?}");
        assert_eq!(
            (&update.event("opened")["door"], &update.event("door")["door"]),
            (&door.into(), &door.into())
        );
        let status = is_shut(&bench);
        assert_eq!((&status["state"], &status["door"]), (&"staged".into(), &door.into()));
        drop(bmc);
        std::fs::remove_dir_all(bench.path("store")).unwrap();
    }
}

#[test]
fn a_door_that_is_open_needs_no_start() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    let bmc = Bmc::start(&bench, Kind { door: DoorPolicy::Always, ..armed() });
    let update = bmc.with_ipmi(&bench, &["update", &bench.arg("fw.tar"), "--json"]).expect(0);
    assert!(!names(&update).iter().any(|name| name == "opened" || name == "shut"), "{}", update.out);
}

#[test]
fn a_dry_run_says_that_it_would_open_the_door_and_does_not() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    let bmc = Bmc::start(&bench, armed());
    let before = is_shut(&bench);
    let dry = bmc.with_ipmi(&bench, &["update", &bench.arg("fw.tar"), "--dry-run", "--json"]).expect(0);
    let plan = dry.event("dry-run");
    assert_eq!((&plan["opens"], &plan["door"]), (&"bulk".into(), &"bulk".into()));
    let steps: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
    assert!(steps[0].contains("open the door bulk") && steps.last().unwrap().contains("shut"), "{steps:?}");
    assert_eq!(is_shut(&bench), before);
}

#[test]
fn waiting_goes_on_behind_a_shut_door() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    let bmc = Bmc::start(&bench, Kind { activate: When::Immediate, ..armed() });
    let update = bmc.with_ipmi(&bench, &["update", &bench.arg("fw.tar"), "--wait", "--json"]).expect(0);
    let activated = update.event("activated");
    assert_eq!((&activated["slot"], &activated["version"]), (&"b".into(), &"2.0.0".into()));
    // It runs before it is confirmed.
    while bmc.status()["state"] == "pending-confirm" {}
    let again = bmc.with_ipmi(&bench, &["update", &bench.arg("fw.tar"), "--json"]).expect(0);
    assert_eq!(names(&again), ["package", "device", "up-to-date"]);
}

#[test]
fn a_bmc_that_is_not_on_the_bus_is_brought_there_and_goes() {
    let bench = Bench::new();
    bench.package("fw.tar", 1_000_000);
    let package = bench.arg("fw.tar");
    let kind = Kind {
        bulk: Some(DoorPolicy::Armed),
        while_shut: WhileShut::Nothing,
        activate: When::Immediate,
        ..armed()
    };
    let bmc = Bmc::start(&bench, kind);
    // By USB alone there is nothing.
    assert_eq!(error(bmc.run(&["status", "--json"]), 3), "no-device");
    assert_eq!(error(bmc.run(&["update", &package, "--json"]), 3), "no-device");
    let hidden = bmc.with_ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!(hidden["told_by"], serde_json::json!(["ipmi"]));
    let dry = bmc.with_ipmi(&bench, &["update", &package, "--dry-run", "--json"]).expect(0).event("dry-run");
    assert_eq!((&dry["opens"], &dry["slot"]), (&"bulk".into(), &"b".into()));

    let update = bmc.with_ipmi(&bench, &["update", &package, "--wait", "--json"]).expect(0);
    let events = names(&update);
    assert_eq!(events[..3], ["package", "opened", "device"], "{events:?}");
    let end = &events[events.len() - 4..];
    assert_eq!(end, ["staged", "shut", "wait-activation", "activated"], "{events:?}");
    assert_eq!(update.event("activated")["version"], "2.0.0");
    assert_eq!(is_shut(&bench)["running"], "b");
    // And it tells the story, newest first.
    assert_eq!(error(bmc.run(&["log", "--json"]), 3), "no-device");
    let log = bmc.with_ipmi(&bench, &["log", "--json"]).expect(0).json();
    assert_eq!((&log[0]["version"], &log[log.len() - 1]["state"]), (&"2.0.0".into(), &"staged".into()));
    // IPMI knows that there is nothing to do.
    let again = bmc.with_ipmi(&bench, &["update", &package, "--json"]).expect(0);
    assert_eq!(names(&again), ["package", "up-to-date"]);
    assert_eq!(error(bmc.run(&["status", "--json"]), 3), "no-device");
}

#[test]
fn the_door_is_shut_however_an_update_ends() {
    let bench = Bench::new();
    bench.package("fw.tar", 8_000_000);
    bench.keygen("other");
    bench
        .pack("forged.tar", "image.bin", &["--key", &bench.arg("other.key"), "--security-version", "3"])
        .expect(0);
    let bmc = Bmc::start(&bench, armed());
    let refused = bmc.with_ipmi(&bench, &["update", &bench.arg("forged.tar"), "--json"]).expect(6);
    assert_eq!(refused.event("error")["result"], "unknown-key");
    assert!(names(&refused).contains(&"shut".to_owned()), "{}", refused.out);
    is_shut(&bench);

    // Ctrl-C in the middle.
    let ipmi_of = ipmi_of(&bench);
    let options = ["--ipmi", &ipmi_of, "--door", "dfu"];
    let (mut child, lines, _wire) = bmc.update_under_way(&bench, &options, 100_000);
    spawn(std::process::Command::new("kill").args(["-INT", &child.id().to_string()])).wait().unwrap();
    let events: Vec<_> = lines.map(|line| line.unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(14), "{events:?}");
    assert!(events.iter().any(|line| line.contains(r#""event":"shut""#)), "{events:?}");
    is_shut(&bench);
}

#[test]
fn what_a_killed_update_left_is_cleared_by_an_abort() {
    let bench = Bench::new();
    bench.package("fw.tar", 8_000_000);
    let bmc = Bmc::start(&bench, armed());
    let channel = ipmi_of(&bench);
    let (mut child, _, _wire) = bmc.update_under_way(&bench, &["--ipmi", &channel, "--door", "dfu"], 100_000);
    child.kill().unwrap();
    child.wait().unwrap();
    // The start is in force until somebody ends it, or what was under way is found to be over.
    let aborted = ipmi(&bench, &["abort", "--json"]);
    assert!(matches!(aborted.code, Some(0 | 17)), "{aborted:?}");
    let status = ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    assert_eq!(status["start"], serde_json::Value::Null);
    assert!(["aborted", "failed"].contains(&status["state"].as_str().unwrap()), "{status}");
    // And the next one goes through.
    bmc.with_ipmi(&bench, &["update", &bench.arg("fw.tar")]).expect(0);
    is_shut(&bench);
}

/// Nobody is left to shut the door: its time does.
#[test]
fn a_start_whose_tool_was_killed_runs_out_and_the_next_update_goes_through() {
    let bench = Bench::new();
    bench.package("fw.tar", 8_000_000);
    let bmc = Bmc::start(&bench, Kind { start_holds_s: 5, ..armed() });
    let channel = ipmi_of(&bench);
    let status = || ipmi(&bench, &["status", "--json"]).expect(0).event("status");
    let until = |what: &str, is_so: &dyn Fn(&serde_json::Value) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !is_so(&status()) {
            assert!(Instant::now() < deadline, "not {what}: {}", status());
        }
    };
    let kill = |mut child: std::process::Child| {
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let over = || {
        // Behind a session, the minute in which its host could read what came of it.
        until("over", &|status| status["start"].is_null() && status["doors"]["dfu"] == "shut");
        let status = is_shut(&bench);
        bmc.with_ipmi(&bench, &["update", &bench.arg("fw.tar")]).expect(0);
        is_shut(&bench);
        status
    };

    let tool = spawn(command(["--ipmi", &channel, "start", "dfu"]).stdout(std::process::Stdio::null()));
    until("started", &|status| !status["start"].is_null());
    kill(tool);
    over();

    let (tool, _, wire) = bmc.update_under_way(&bench, &["--ipmi", &channel, "--door", "dfu"], 100_000);
    kill(tool);
    wire.wait_for_end();
    assert_eq!(over()["state"], "failed");
}

#[test]
fn a_way_that_leads_nowhere_is_told() {
    let bench = Bench::new();
    // Nobody listens.
    let nobody = ipmi(&bench, &["start", "--json"]);
    assert_eq!(error(nobody, 10), "no-answer");
    assert_eq!(error(run(["--ipmi", &bench.arg("none"), "abort", "--json"]), 3), "no-ipmi");
    assert_eq!(error(run(["--ipmi", "/dev/null", "abort", "--json"]), 1), "ipmi");
    for wrong in [
        &["--ipmi", "none", "start"][..],
        &["--usbip", "127.0.0.1", "start"],
        &["--ipmi", "lan", "start"],
        &["--ipmi-command", "0x149", "start"],
        &["start", "dfu", "--profile", "raw"],
        &["stop", "--nonce", "0"],
        &["start", "--length", "1", "--package", "x"],
    ] {
        run(wrong).expect(2);
    }
    // Somebody else's BMC does not know the command.
    let _bmc = Bmc::start(&bench, Kind { activate: When::Reboot, ..armed() });
    assert_eq!(error(ipmi(&bench, &["--ipmi-command", "0x4a", "start", "--json"]), 3), "no-device");
}
