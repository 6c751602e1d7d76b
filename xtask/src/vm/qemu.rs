//! One boot of the guest.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::beside::{self, Beside};
use super::report::Report;
use super::suite::Suite;
use super::{System, logged, uefi};
use crate::{Outcome, program};

/// The kernel's command line. Mitigations only cost time in emulation, and a panic is to end the boot at once. A
/// processor that a busy host lets wait is not to be taken for a broken clock, a timer that is not wired, or a lock-up.
const KERNEL_ARGS: &str = "console=ttyS0 quiet panic=-1 mitigations=off tsc=nowatchdog no_timer_check nosoftlockup \
    rcupdate.rcu_cpu_stall_suppress=1";

/// The file that keeps everything a suite's guest printed: kernel, programs, daemons.
pub(super) fn console(folder: &Path, suite: &Suite) -> PathBuf {
    folder.join(format!("{}.console.log", suite.name))
}

/// Boots and runs the suite. Once in many boots an emulated kernel panics or hangs before a suite begins: that is
/// tried once more, and said. A panic later is tried again as well; a suite that fails by itself never is.
pub(super) fn run(
    folder: &Path,
    system: &System,
    suite: &Suite,
    say: &mut dyn FnMut(&str),
) -> Outcome<Report> {
    let report = boot(folder, system, suite, say)?;
    let panicked = || {
        let text = fs::read(console(folder, suite)).unwrap_or_default();
        String::from_utf8_lossy(&text).contains("Kernel panic")
    };
    if report.is_complete() || (report.is_ready() && !panicked()) {
        return Ok(report);
    }
    say("  the guest's kernel failed, not the suite: once more");
    boot(folder, system, suite, say)
}

/// How often a suite may order its guest to be cut off. One that does not find what it left behind would begin and do so for ever.
const CUTS: u32 = 1;

fn boot(folder: &Path, system: &System, suite: &Suite, say: &mut dyn FnMut(&str)) -> Outcome<Report> {
    let start = Instant::now();
    let console = console(folder, suite);
    fs::write(&console, "").map_err(|e| format!("cannot write {}: {e}", console.display()))?;
    let mut beside = Beside::start(folder, suite)?;
    let mut report = Report::default();
    let mut cuts = 0;
    let status = loop {
        let (status, cut) = boot_once(folder, system, suite, beside.as_mut(), (&mut report, start), say)?;
        if !cut || cuts == CUTS {
            break status;
        }
        cuts += 1;
        say("  cut off, and again");
    };
    for line in beside::measured(folder, suite) {
        say(&format!("  {line}"));
        report.take(&line);
    }
    let seconds = start.elapsed().as_secs_f64();
    if status.success() {
        say(&format!("  ended after {seconds:.1} s"));
    } else {
        say(&format!("  stopped after {seconds:.1} s (limit {} s): {status}", suite.timeout.as_secs()));
    }
    Ok(report)
}

/// The guest's exit status, and whether it was cut off by its own order.
fn boot_once(
    folder: &Path,
    system: &System,
    suite: &Suite,
    mut beside: Option<&mut Beside>,
    (report, start): (&mut Report, Instant),
    say: &mut dyn FnMut(&str),
) -> Outcome<(ExitStatus, bool)> {
    let mut guest = machine(folder, system, suite)?;
    guest
        .arg("-chardev")
        .arg(format!("file,id=console,append=on,path={}", console(folder, suite).display()))
        .args(["-serial", "chardev:console", "-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(beside) = &beside {
        beside.plug(suite, &mut guest);
    }
    let mut guest = guest.spawn().map_err(|e| format!("cannot start the guest: {e}"))?;
    let output = guest.stdout.take().ok_or("the guest has no output")?;
    let mut cut = false;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|e| format!("cannot read from the guest: {e}"))?;
        let line = String::from_utf8_lossy(&line);
        let shell = suite.uefi.is_some() && !report.is_ready();
        let line = if shell { uefi::told(&line).unwrap_or_default() } else { line.trim().to_string() };
        match (&mut beside, line.strip_prefix("HOST ")) {
            // timeout(1) passes that on, and does not outlive the guest.
            (Some(_), Some("cut")) => {
                cut = true;
                let id = guest.id().to_string();
                program::output(Command::new("sh").args(["-c", "kill \"$1\"", "kill", &id]))?;
                continue;
            }
            (Some(beside), Some(order)) => {
                // An order that cannot be carried out is as strange as one that nobody knows, and the suite fails.
                for line in beside.order(order).unwrap_or_else(|why| why).lines() {
                    report.take(line);
                    say(&format!("  {line}"));
                }
                continue;
            }
            _ => {}
        }
        let came_up = !report.is_ready();
        report.take(&line);
        if came_up && report.is_ready() {
            say(&format!("  up after {:.1} s", start.elapsed().as_secs_f64()));
        } else if line.starts_with("TEST ") || line.starts_with('{') {
            say(&format!("  {line}"));
        }
    }
    let status = guest.wait().map_err(|e| format!("cannot wait for the guest: {e}"))?;
    Ok((status, cut))
}

/// The machine, but for its serial lines and what is beside it.
pub(super) fn machine(folder: &Path, system: &System, suite: &Suite) -> Outcome<Command> {
    // timeout(1) ends the guest in time even if we are no longer there to do it.
    let mut guest = Command::new("timeout");
    guest
        .args(["--foreground", "--kill-after=5"])
        .arg(suite.timeout.as_secs().to_string())
        .arg("qemu-system-x86_64")
        // `rep movsb` is emulated byte by byte: a kernel that is told that it is fast copies an eighth as fast as one that is not.
        .args(["-accel", "tcg", "-cpu", "max,-erms,-fsrm", "-machine", "q35", "-smp"])
        // A clock that counts instructions would count those of two processors one after the other.
        .arg(if suite.measure.counted { 1 } else { suite.processors }.to_string())
        .arg("-m")
        .arg(suite.memory.to_string())
        .args(["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]);
    let arguments =
        format!("{KERNEL_ARGS} inband.script={} inband.rounds={}", suite.script, suite.measure.rounds);
    match &suite.uefi {
        Some(script) => uefi::boot(folder, (suite, script), system, &arguments, &mut guest)?,
        None => {
            guest.arg("-kernel").arg(&system.kernel.image).arg("-initrd").arg(&system.initrd);
            guest.arg("-append").arg(arguments);
        }
    }
    logged::plug(folder, suite, &mut guest)?;
    if suite.measure.counted {
        guest.args(["-icount", "shift=0,sleep=off"]);
    }
    if let Some(disk) = &system.disk {
        let disk = disk.display();
        guest.arg("-drive").arg(format!("file={disk},format=raw,if=virtio,readonly=on"));
    }
    Ok(guest)
}
