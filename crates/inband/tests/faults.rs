//! What goes wrong while `inband update` sends by bulk, over USB/IP: the daemon dies, another program comes, the file changes.

// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    Bench, Run,
    bmc::{ANY_PORT, Bmc, Kind},
    run, spawn,
};

/// Bytes of an image of which the rest is still to come when the first events of its update are seen.
const LONG: usize = 24_000_000;
/// Bytes of a package from one mark in the journal to the next (docs/spec/store.md, 8).
const MARK: usize = 4 << 20;

/// Where a process that serves a BMC finds its bench and its address.
const SERVE: [&str; 2] = ["INBAND_TEST_BENCH", "INBAND_TEST_ADDRESS"];

/// A BMC in a process of its own, to be killed: this very program, called again.
struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Daemon {
    /// Starts one for a test that begins with [`serve_if_asked`].
    fn start(test: &str, bench: &Bench, address: SocketAddr) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]);
        command.env(SERVE[0], bench.folder()).env(SERVE[1], address.to_string());
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let said = BufReader::new(child.stdout.take().unwrap());
        let address = said.lines().map_while(Result::ok).find_map(|line| {
            let address = line.split("serves ").nth(1)?;
            Some(address.parse().unwrap())
        });
        Self { child, address: address.expect("the BMC's process serves") }
    }

    fn kill(mut self) -> SocketAddr {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only for one that was killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves a BMC until its input ends, where this process was started for that. Returns whether it was.
fn serve_if_asked() -> bool {
    let [Some(folder), Some(address)] = SERVE.map(env::var_os) else { return false };
    let address = address.to_str().unwrap().parse().unwrap();
    let bmc = Bmc::serve_at(Path::new(&folder), Kind::default(), address);
    let mut out = io::stdout();
    writeln!(out, "serves {}", bmc.address).unwrap();
    out.flush().unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    true
}

/// An update under way, whose output is read to its end when it has ended.
fn update_of(bench: &Bench, address: SocketAddr) -> Child {
    let (address, package) = (address.to_string(), bench.arg("fw.tar"));
    let arguments = ["--usbip", &address, "update", &package, "--door", "bulk", "--json"];
    spawn(support::command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Kills the daemon under an update when the slot holds so many bytes of the image, starts it again at its address, and lets the update end.
fn killed_under_update(test: &str, bench: &Bench, image: &[u8], bytes: usize) -> Run {
    Bmc::init(bench, Kind::default());
    let daemon = Daemon::start(test, bench, ANY_PORT);
    let mut update = update_of(bench, daemon.address);
    let record = |number| fs::read(bench.path(&format!("store/record.{number}"))).ok();
    let new = [record(0), record(1)];
    // The session has begun once it is in a record.
    while [record(0), record(1)] == new || bench.slot("b", bytes) != image[..bytes] {
        assert!(update.try_wait().unwrap().is_none(), "it ended before: {:?}", update.wait_with_output());
        std::thread::yield_now();
    }
    let address = daemon.kill();
    let daemon = Daemon::start(test, bench, address);
    let ended: Run = update.wait_with_output().unwrap().into();
    let status = run(["--usbip", &address.to_string(), "status", "--json"]).expect(0).event("status");
    // Staged by the daemon that came, or by the one that died: then it runs by now.
    let slot_b = &status["slots"][1];
    assert_eq!((&status["result"], &slot_b["version"]), (&"ok".into(), &"2.0.0".into()), "{status}");
    assert!(["staged", "pending-confirm", "done"].contains(&status["state"].as_str().unwrap()), "{status}");
    assert!(bench.slot("b", image.len()) == image);
    daemon.kill();
    fs::remove_dir_all(bench.path("store")).unwrap();
    ended
}

#[test]
fn an_update_goes_on_when_the_daemon_dies_at_any_chunk() {
    const LENGTH: usize = 500_000;
    if serve_if_asked() {
        return;
    }
    let bench = Bench::new();
    bench.package("fw.tar", LENGTH);
    let image = fs::read(bench.path("image.bin")).unwrap();
    let inspected = run(["inspect", "--json", &bench.arg("fw.tar")]).expect(0).event("inspected");
    let chunks = usize::try_from(inspected["members"][0]["chunks"].as_u64().unwrap()).unwrap();
    assert!((8..=20).contains(&chunks), "{chunks}");
    let test = "an_update_goes_on_when_the_daemon_dies_at_any_chunk";
    let mut returns = 0;
    for count in 0..=chunks {
        let run = killed_under_update(test, &bench, &image, LENGTH * count / chunks).expect(0);
        assert_eq!(run.event("staged")["version"], "2.0.0", "{count}");
        returns += run.json().iter().filter(|event| event["event"] == "back").count();
    }
    assert!(returns >= chunks / 2, "{returns} updates saw the daemon die");
}

#[test]
fn behind_a_mark_of_a_daemon_that_died_nothing_is_sent_again() {
    if serve_if_asked() {
        return;
    }
    let bench = Bench::new();
    bench.package("fw.tar", LONG);
    let image = fs::read(bench.path("image.bin")).unwrap();
    let test = "behind_a_mark_of_a_daemon_that_died_nothing_is_sent_again";
    let run = killed_under_update(test, &bench, &image, 2 * MARK + 600_000).expect(0);
    assert_eq!(run.json().iter().filter(|event| event["event"] == "back").count(), 1);
    let needs: Vec<_> = run.json().into_iter().filter(|event| event["event"] == "need").collect();
    assert_eq!(needs.len(), 2);
    let bytes = |need: &serde_json::Value| usize::try_from(need["needed"].as_u64().unwrap()).unwrap();
    assert!(bytes(&needs[0]) >= LONG && bytes(&needs[1]) <= LONG - 2 * MARK, "{needs:?}");
}

#[test]
fn while_one_program_updates_another_is_told_that_the_device_is_held() {
    let bench = Bench::new();
    bench.package("fw.tar", LONG);
    let bmc = Bmc::start(&bench, Kind::default());
    for door in ["bulk", "dfu"] {
        let (mut first, lines, wire) = bmc.update_under_way(&bench, &["--door", door], 100_000);
        let process = Pid::from_child(&first);
        kill_process(process, Signal::STOP).unwrap();
        for second in ["bulk", "dfu"] {
            let refused = bmc.run(&["update", &bench.arg("fw.tar"), "--door", second, "--json"]).expect(12);
            assert_eq!(refused.event("error")["error"], "device", "{second} beside {door}");
        }
        kill_process(process, Signal::CONT).unwrap();
        let last = lines.map(Result::unwrap).last().unwrap();
        assert_eq!(first.wait().unwrap().code(), Some(0), "{door}: {last}");
        wire.wait_for_end();
        assert_eq!(bmc.status()["state"], "staged");
        // The next one has all to send again.
        bench.image("image.bin", LONG, 8);
        bench.pack("fw.tar", "image.bin", &["--security-version", "3", "--version", "2.0.1"]).expect(0);
    }
}

#[test]
fn the_index_of_one_package_and_the_data_of_another_are_refused_wherever_they_meet() {
    let bench = Bench::new();
    bench.package("fw.tar", LONG);
    let old = fs::read(bench.path("fw.tar")).unwrap();
    let mut image = fs::read(bench.path("image.bin")).unwrap();
    // A byte of the last chunk, which moves no boundary.
    let at = old.windows(64).rposition(|bytes| bytes == &image[LONG - 64..]).unwrap() + 63;
    image[LONG - 1] ^= 1;
    fs::write(bench.path("image.bin"), &image).unwrap();
    bench.pack("new.tar", "image.bin", &["--security-version", "3", "--version", "2.0.1"]).expect(0);
    let new = fs::read(bench.path("new.tar")).unwrap();
    let bmc = Bmc::start(&bench, Kind::default());
    let before = bmc.status();
    for (index, data) in [(&old, &new), (&new, &old)] {
        assert_eq!(index.len(), data.len());
        assert!(index[..at - LONG] != data[..at - LONG] && index[at] != data[at]);
        // In the file as it is: nothing is sent.
        let mut mixed = index.clone();
        mixed[at] = data[at];
        fs::write(bench.path("mixed.tar"), &mixed).unwrap();
        let refused = bmc.run(&["update", &bench.arg("mixed.tar"), "--json"]).expect(6);
        assert_eq!(refused.event("error")["result"], "bad-chunk");
        assert!(!refused.out.contains("\"detach\""), "{}", refused.out);
    }
    assert_eq!(bmc.status(), before);
    drop(bmc);
    // In a file that changes when it has been checked: the BMC refuses it.
    for (index, data) in [(&old, &new), (&new, &old)] {
        fs::remove_dir_all(bench.path("store")).unwrap();
        let bmc = Bmc::start(&bench, Kind::default());
        fs::write(bench.path("fw.tar"), index).unwrap();
        let (mut update, lines, wire) = bmc.update_under_way(&bench, &["--door", "bulk"], 100_000);
        let file = OpenOptions::new().write(true).open(bench.path("fw.tar")).unwrap();
        file.write_all_at(&data[at..=at], at as u64).unwrap();
        let last = lines.map(Result::unwrap).last().unwrap();
        assert_eq!(update.wait().unwrap().code(), Some(6), "{last}");
        wire.wait_for_end();
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last["result"], "bad-chunk");
        let status = bmc.status();
        assert_eq!((&status["state"], &status["boots_next"]), (&"failed".into(), &"a".into()));
        fs::write(bench.path("fw.tar"), index).unwrap();
        // Of the rest nothing is missing but what was refused.
        let run = bmc.run(&["update", &bench.arg("fw.tar"), "--json"]).expect(0);
        let need = run.event("need");
        assert_eq!((&need["needed_chunks"], &bmc.status()["state"]), (&1.into(), &"staged".into()));
    }
}
