use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    programs: Programs,
    woken: Receiver<()>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let (wake, woken) = channel();
        let programs = Programs::new(move || _ = wake.send(()));
        Self { programs, woken, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a script as the health command; its first argument is the folder.
    fn start(&mut self, task: Task, script: &str) {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        self.programs.start(task, &["/bin/sh".into(), "-c".into(), script.into(), "sh".into(), folder]);
    }

    fn wait(&mut self) -> (Task, Exit) {
        loop {
            if let Some(end) = self.programs.poll() {
                return end;
            }
            self.woken.recv_timeout(PATIENCE).expect("an end");
        }
    }

    /// Waits until a script has written a whole line to this file.
    fn said(&self, name: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            if text.ends_with('\n') {
                return text.trim_end().to_owned();
            }
            assert!(Instant::now() < until, "{name} does not come");
            thread::yield_now();
        }
    }
}

/// Waits until a process is no more, or only its entry is.
fn assert_dies(pid: &str) {
    let until = Instant::now() + PATIENCE;
    let status = Path::new("/proc").join(pid).join("stat");
    while fs::read_to_string(&status).is_ok_and(|text| !text.contains(") Z ")) {
        assert!(Instant::now() < until, "process {pid} lives");
        thread::yield_now();
    }
}

#[test]
fn the_exit_code_is_told() {
    let mut bench = Bench::new();
    for (script, exit) in
        [("exit 0", Exit::Code(0)), ("exit 7", Exit::Code(7)), ("kill -9 $$", Exit::Signal(9))]
    {
        bench.start(Task::Health, script);
        assert_eq!(bench.wait(), (Task::Health, exit), "{script}");
    }
    assert_eq!(bench.programs.poll(), None);
}

#[test]
fn there_is_no_shell_between_and_no_input() {
    let mut bench = Bench::new();
    let command = ["/bin/sh", "-c", "test \"$1\" = '$HOME; *' && ! read line", "sh", "$HOME; *"];
    bench.programs.start(Task::Health, &command.map(String::from));
    assert_eq!(bench.wait().1, Exit::Code(0));
}

#[test]
fn a_program_that_is_missing_or_not_executable_is_told_of() {
    let mut bench = Bench::new();
    let file = bench.path("health");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for program in [bench.path("missing"), file] {
        let program = program.to_str().unwrap().to_owned();
        bench.programs.start(Task::Health, std::slice::from_ref(&program));
        match bench.wait() {
            (Task::Health, Exit::NotStarted(reason)) => assert!(reason.starts_with(&program), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    bench.programs.start(Task::Health, &[]);
    assert!(matches!(bench.wait().1, Exit::NotStarted(_)));
}

#[test]
fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let mut bench = Bench::new();
    bench.start(Task::Health, "sleep 1000 & echo $! > \"$1/pid\"; wait");
    let pid = bench.said("pid");
    bench.programs.kill(Task::Health);
    assert_dies(&pid);
    // What was killed has nothing to say, and does not stand for the next one.
    bench.start(Task::Health, "exit 3");
    assert_eq!(bench.wait(), (Task::Health, Exit::Code(3)));
}

#[test]
fn a_program_that_is_killed_before_it_runs_does_not_run_on() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        bench.start(Task::Health, "echo $$ > \"$1/pid\"; exec sleep 1000");
        bench.programs.kill(Task::Health);
    }
    bench.start(Task::Restart, "exit 0");
    assert_eq!(bench.wait(), (Task::Restart, Exit::Code(0)));
    // It may have been killed with the file made and nothing in it.
    let pid = fs::read_to_string(bench.path("pid")).unwrap_or_default();
    if let Some(pid) = pid.strip_suffix('\n') {
        assert_dies(pid);
    }
}

#[test]
fn what_a_program_leaves_behind_is_killed_and_not_waited_for() {
    let mut bench = Bench::new();
    bench.start(Task::Health, "sleep 1000 & echo $! > \"$1/pid\"; exit 0");
    assert_eq!(bench.wait().1, Exit::Code(0));
    assert_dies(&bench.said("pid"));
    // One that leaves the group and keeps the output open is not: it holds nobody up.
    bench.start(Task::Health, "setsid sh -c 'echo $$ > \"$1/other\"; exec sleep 1000' sh \"$1\" & while ! test -s \"$1/other\"; do :; done");
    assert_eq!(bench.wait().1, Exit::Code(0));
    let pid = bench.said("other").parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_flood_of_output_does_not_hold_the_program_up() {
    let mut bench = Bench::new();
    bench.start(Task::Health, "head -c 3000000 /dev/zero; echo; yes | head -c 3000000; exit 4");
    assert_eq!(bench.wait().1, Exit::Code(4));
}

#[test]
fn a_restart_may_leave_something_behind_and_outlives_the_daemon() {
    let mut bench = Bench::new();
    bench.start(Task::Restart, "sleep 1000 & echo $! > \"$1/pid\"");
    assert_eq!(bench.wait(), (Task::Restart, Exit::Code(0)));
    let pid = bench.said("pid");
    drop(bench.programs);
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).expect("it lives");
}

#[test]
fn the_health_command_ends_with_the_daemon() {
    let mut bench = Bench::new();
    bench.start(Task::Health, "echo $$ > \"$1/pid\"; exec sleep 1000");
    let pid = bench.said("pid");
    drop(bench.programs);
    assert_dies(&pid);
}
