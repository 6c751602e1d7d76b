//! The program with firmware on trial: a real health command, real restarts, the control socket, a service manager.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use inband_dfu::host::End;
use inband_session::{
    ResultCode, SessionState,
    status::{FIRST_LOG_PAGE, LogPage, StatusPage},
};
use inband_store::{Slot, SlotState};
use inband_usb::HostDevice as _;

use crate::{
    home::{Home, Running, SLOT, good_config},
    host::{TIMEOUT, detach, download, page_setup, status},
    package::Package,
    remote::open,
};

const RUN_TIME: u16 = 1;
const DFU: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// A BMC whose health command is this shell script, with a control socket. `$1` is its directory.
fn home(script: &str, deadline_s: u32) -> Home {
    let home = Home::with_store();
    let health = home.path("health");
    fs::write(&health, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&health, fs::Permissions::from_mode(0o755)).unwrap();
    home.configure(&format!(
        "control = \"control\"\n{}\n[trial]\nhealth = [\"{}\", \"{}\"]\ndeadline_s = {deadline_s}\nretry_s = 1\n",
        good_config(),
        health.display(),
        home.path("").display(),
    ));
    home
}

fn package() -> Package {
    Package { security_version: 5, ..Package::new(0x0200, 100_000) }
}

/// The package is staged, and the program stopped.
fn stage(home: &Home) {
    let running = home.start();
    detach(&mut open(running.address, RUN_TIME)).unwrap();
    assert_eq!(download(&mut open(running.address, DFU), &package().bytes(), |_, _| {}), Ok(End::Idle));
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}

fn page(running: &Running) -> StatusPage {
    status(&mut open(running.address, RUN_TIME)).unwrap()
}

/// Waits until the session is in this state.
fn wait_for(running: &Running, state: SessionState) -> StatusPage {
    let until = Instant::now() + PATIENCE;
    loop {
        // The virtual BMC may be restarting.
        if let Ok(page) = status(&mut open(running.address, RUN_TIME))
            && page.state == state
        {
            return page;
        }
        assert!(Instant::now() < until, "{state} does not come");
        thread::yield_now();
    }
}

/// The log, oldest first: state, result, boot.
fn story(running: &Running) -> Vec<(SessionState, ResultCode, u8)> {
    let mut client = open(running.address, RUN_TIME);
    let records = status(&mut client).unwrap().log_records;
    let mut log: Vec<_> = (0..records)
        .map(|age| {
            let page = client.control_in(page_setup(FIRST_LOG_PAGE + age), TIMEOUT).unwrap();
            let page = LogPage::decode(&page).unwrap();
            (page.state, page.result().unwrap(), page.boot)
        })
        .collect();
    log.reverse();
    log
}

/// The process of the health command that wrote its number last.
fn health(home: &Home) -> String {
    fs::read_to_string(home.path("pid")).unwrap_or_default().trim().to_owned()
}

/// Whether there is such a process, and more of it than an entry.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    !pid.is_empty() && stat.is_ok_and(|text| !text.contains(") Z "))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}: it does not come");
        thread::yield_now();
    }
}

/// `inbandd` with these arguments, to its end.
fn ask(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = home.inbandd(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[track_caller]
fn assert_rolled_back(home: &Home, running: &Running, result: ResultCode) {
    let page = page(running);
    assert_eq!((page.state, page.result()), (SessionState::RolledBack, Some(result)));
    assert_eq!((page.running, page.slots, page.floor), (Slot::A, [SlotState::Good, SlotState::Invalid], 0));
    let (code, text, _) = ask(home, &["status"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("slot a runs factory") && text.contains(result.name()), "{text}");
}

#[test]
fn a_healthy_update_is_confirmed_and_raises_the_floor() {
    // The first try is too early.
    let home = home("echo trying; test -e \"$1/tried\" && exit 0; touch \"$1/tried\"; exit 3", 60);
    stage(&home);
    let running = home.start();
    let page = wait_for(&running, SessionState::Done);
    assert_eq!((page.running, page.floor, page.boots_given), (Slot::B, 5, 0));
    assert!(fs::read(home.path("store/slot-b.img")).unwrap() == package().slot(SLOT));
    let expected = [
        (SessionState::Staged, ResultCode::Ok, 0),
        (SessionState::PendingConfirm, ResultCode::Ok, 1),
        (SessionState::Done, ResultCode::Ok, 1),
    ];
    assert_eq!(story(&running), expected);
    running.signal("TERM");
    let (code, lines) = running.wait();
    assert_eq!(code, Some(0));
    let at = |word: &str| {
        lines.iter().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {lines:#?}"))
    };
    assert!(at("health command: trying") < at("event=health-failed session=1: exit code 3"));
    assert!(at("event=health-failed") < at("event=health-passed"));
    assert!(at("event=health-passed") < at("state=done"));
    assert!(at("event=on-trial session=1 boot=1 boots-left=2") < at("event=health-failed"));
}

#[test]
fn an_unhealthy_update_is_rolled_back_and_told_of_over_restarts() {
    let home = home("echo no; sleep 1000", 1);
    stage(&home);
    // Deadline, restart, three times over.
    let running = home.start();
    wait_for(&running, SessionState::RolledBack);
    let expected = [
        (SessionState::Staged, ResultCode::Ok, 0),
        (SessionState::PendingConfirm, ResultCode::Ok, 1),
        (SessionState::PendingConfirm, ResultCode::Unhealthy, 3),
        (SessionState::RolledBack, ResultCode::Unhealthy, 3),
    ];
    let mut running = running;
    for _ in 0..4 {
        assert_rolled_back(&home, &running, ResultCode::Unhealthy);
        assert_eq!(story(&running), expected);
        running.signal("TERM");
        let (code, lines) = running.wait();
        assert_eq!(code, Some(0), "{lines:#?}");
        running = home.start();
    }
    // Until the next session.
    detach(&mut open(running.address, RUN_TIME)).unwrap();
    let good = Package::new(0x0300, 100_000).bytes();
    assert_eq!(download(&mut open(running.address, DFU), &good, |_, _| {}), Ok(End::Idle));
    assert_eq!(page(&running).state, SessionState::Staged);
}

#[test]
fn a_staged_update_that_never_comes_up_is_rolled_back() {
    let home = home("sleep 1000", 1000);
    stage(&home);
    // The power goes in the middle of each boot.
    for left in [2, 1, 0] {
        let mut running = home.start();
        let page = page(&running);
        assert_eq!((page.running, page.on_trial), (Slot::B, true));
        assert_eq!((page.boots_left, page.boots_given), (left, 3));
        let (code, json, _) = ask(&home, &["status", "--json"]);
        assert_eq!(code, Some(0));
        assert!(json.contains(&format!("\"boots_left\":{left},\"boots_given\":3")), "{json}");
        running.child.kill().unwrap();
    }
    for _ in 0..3 {
        let running = home.start();
        assert_rolled_back(&home, &running, ResultCode::RolledBack);
        assert_eq!(story(&running).last(), Some(&(SessionState::RolledBack, ResultCode::RolledBack, 3)));
    }
}

#[test]
fn the_host_s_restarts_use_up_no_boots() {
    let home = home("echo $$ > \"$1/new\"; mv \"$1/new\" \"$1/pid\"; sleep 1000", 1000);
    stage(&home);
    let running = home.start();
    for given_back in 0..5 {
        let page = wait_for(&running, SessionState::PendingConfirm);
        assert_eq!((page.running, page.boots_left, page.boots_given), (Slot::B, 2, 3));
        let (_, json, _) = ask(&home, &["status", "--json"]);
        assert!(json.contains(&format!("\"boots_given_back\":{given_back}")), "{json}");
        assert_eq!(ask(&home, &["restart", "--asked-by", "host"]).0, Some(0));
    }
    // What was on its way to a verdict is gone, and somebody on the BMC may give one.
    wait_for(&running, SessionState::PendingConfirm);
    wait_until("the health command runs", || lives(&health(&home)));
    let confirmed = ask(&home, &["confirm", "--json"]);
    assert_eq!(confirmed, (Some(0), "{\"exit\":0,\"answer\":\"done\"}\n".into(), String::new()));
    assert_eq!(page(&running).state, SessionState::Done);
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
    wait_until("it is gone", || !lives(&health(&home)));
}

#[test]
fn commands_have_exit_codes_of_their_own() {
    let home = home("exit 0", 60);
    let (code, _, errors) = ask(&home, &["status"]);
    assert_eq!(code, Some(7));
    assert!(errors.contains("no inbandd answers") && errors.contains("control"), "{errors}");
    let running = home.start();
    for (arguments, code) in [
        (&["arm", "dfu"][..], 0),
        (&["arm", "dfu", "--for", "60"], 0),
        (&["disarm", "dfu"], 0),
        (&["host-powered-on"], 10),
        (&["arm", "volume"], 8),
        (&["activate"], 10),
        (&["confirm"], 10),
        (&["abort"], 10),
        (&["arm", "window"], 2),
        (&["arm"], 2),
        (&["arm", "dfu", "--for", "ever"], 2),
        (&["disarm", "dfu", "--for", "60"], 2),
        (&["restart", "--asked-by", "me"], 2),
        (&["confirm", "--asked-by", "host"], 2),
        (&["check", "--json"], 2),
    ] {
        let (ended, out, errors) = ask(&home, arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {out}{errors}");
        assert_eq!(out.is_empty() && !errors.is_empty(), code != 0, "{arguments:?}: {out}{errors}");
    }
    running.signal("TERM");
    let (_, lines) = running.wait();
    assert_eq!(ask(&home, &["check"]).0, Some(0));
    let told = "event=command command=\"arm volume\" answer=door-off";
    assert!(lines.iter().any(|line| line.contains(told)), "{lines:#?}");
    // Without a socket in the configuration there is nobody to ask.
    home.configure(&good_config());
    assert_eq!(ask(&home, &["status"]).0, Some(7));
}

#[test]
fn a_start_that_fails_uses_up_no_boot() {
    let home = home("sleep 1000", 1000);
    stage(&home);
    fs::write(home.path("control"), "mine").unwrap();
    let (code, _, errors) = ask(&home, &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("cannot listen for commands") && errors.contains("control"), "{errors}");
    fs::remove_file(home.path("control")).unwrap();
    let mut nobody = home.inbandd(&[]);
    nobody.env("NOTIFY_SOCKET", home.path("nobody"));
    assert_eq!(nobody.output().unwrap().status.code(), Some(1));
    let running = home.start();
    assert_eq!((page(&running).on_trial, page(&running).boots_left), (true, 2));
}

#[test]
fn check_looks_for_the_commands() {
    let home = home("exit 0", 60);
    fs::set_permissions(home.path("health"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, errors) = ask(&home, &["check"]);
    assert_eq!(code, Some(3));
    assert!(errors.contains("trial.health") && errors.contains("not executable"), "{errors}");
    fs::remove_file(home.path("health")).unwrap();
    assert_eq!(ask(&home, &["check"]).0, Some(3));
}

#[test]
fn a_service_manager_is_told() {
    let home = home("env > \"$1/env.part\"; mv \"$1/env.part\" \"$1/env\"", 60);
    stage(&home);
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = home.inbandd(&[]);
    command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "200000");
    let running = Running::start(&mut command);
    let mut heard = Vec::new();
    let mut hear = |until: &str, times: usize| {
        while heard.iter().filter(|words: &&String| words.starts_with(until)).count() < times {
            let mut buffer = [0; 500];
            let length = manager.recv(&mut buffer).unwrap();
            heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        heard.clone()
    };
    assert_eq!(hear("READY=1", 1), ["READY=1"]);
    hear("STATUS=slot b runs v200; done, ok", 1);
    hear("WATCHDOG=1", 4);
    let trial = "STATUS=slot b runs v200, on trial, 2 of 3 boots left; pending-confirm, ok";
    running.signal("TERM");
    let all = hear("STOPPING=1", 1);
    assert!(all.iter().any(|words| words == trial), "{all:?}");
    assert_eq!(running.wait().0, Some(0));
    let environment = fs::read_to_string(home.path("env")).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"), "{environment}");
}
