//! Runs a program, and tells as one line of JSON how long it took, when it first printed certain texts, and what it cost the
//! processes that served it meanwhile.
//!
//! ```text
//! stopwatch [--mark NAME TEXT]... [--watch PID] [--note NAME VALUE]... -- PROGRAM [ARGUMENT]...
//! ```
//!
//! Times are milliseconds from the start of the program; a text that never came has none. `--watch` adds the processor
//! time (`cpu_ms`) that the process and its children have used in that time, and the most memory (`peak_kib`, VmHWM)
//! that it ever had. The program's own processor time is `host_cpu_ms`. What it prints goes on to standard error.

use std::{
    env,
    error::Error,
    fs,
    io::{Read as _, Write as _},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

/// Units of utime and stime in /proc/PID/stat a second: the kernel's USER_HZ.
const TICKS: u64 = 100;

#[derive(Default)]
struct Arguments {
    /// Names, and the texts that they stand for.
    marks: Vec<(String, String)>,
    notes: Vec<(String, String)>,
    watched: Option<String>,
    command: Vec<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse(env::args().skip(1))?;
    let (program, rest) = arguments.command.split_first().ok_or("which program?")?;
    let before = arguments.watched.as_deref().map(cpu_ms).transpose()?;
    let start = Instant::now();
    let milliseconds = || start.elapsed().as_secs_f64() * 1e3;
    let mut child = Command::new(program).args(rest).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or("no standard output")?;
    let mut seen: Vec<Option<f64>> = vec![None; arguments.marks.len()];
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = output.read(&mut buffer)?;
        let now = milliseconds();
        if length == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..length]);
        for ((_, wanted), seen) in arguments.marks.iter().zip(&mut seen) {
            if seen.is_none() && contains(&text, wanted.as_bytes()) {
                *seen = Some(now);
            }
        }
        // Only a text that came in two pieces is looked for again.
        let keep = arguments.marks.iter().map(|(_, wanted)| wanted.len()).max().unwrap_or(0);
        text.drain(..text.len().saturating_sub(keep));
        std::io::stderr().write_all(&buffer[..length])?;
    }
    let status = child.wait()?;
    let total = milliseconds();

    let mut fields: Vec<String> =
        arguments.notes.iter().map(|(name, value)| format!("\"{name}\":{}", json(value))).collect();
    fields.push(format!("\"exit\":{}", status.code().unwrap_or(-1)));
    fields.push(format!("\"total_ms\":{total:.1}"));
    fields.push(format!("\"host_cpu_ms\":{}", cpu_ms("self")?));
    for ((name, _), seen) in arguments.marks.iter().zip(seen) {
        if let Some(at) = seen {
            fields.push(format!("\"{name}_ms\":{at:.1}"));
        }
    }
    if let (Some(pid), Some(before)) = (&arguments.watched, before) {
        fields.push(format!("\"cpu_ms\":{}", cpu_ms(pid)?.saturating_sub(before)));
        fields.push(format!("\"peak_kib\":{}", peak_kib(pid)?));
    }
    println!("{{{}}}", fields.join(","));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn parse(mut from: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(option) = from.next() {
            let mut value = || from.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--mark" => arguments.marks.push((value()?, value()?)),
                "--note" => arguments.notes.push((value()?, value()?)),
                "--watch" => arguments.watched = Some(value()?),
                "--" => {
                    arguments.command = from.collect();
                    return Ok(arguments);
                }
                _ => return Err(format!("no such option: {option}")),
            }
        }
        Ok(arguments)
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

/// A number as it is, anything else as a string; names and values here need no escapes.
fn json(value: &str) -> String {
    if value.parse::<u64>().is_ok() { value.into() } else { format!("\"{value}\"") }
}

/// Processor time of a process and the children it has waited for, user and system (proc_pid_stat(5), fields 14 to 17).
fn cpu_ms(pid: &str) -> Result<u64, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, field 2, is in brackets and may hold anything.
    let (_, behind) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let fields = behind.split_whitespace().skip(11).take(4);
    let ticks = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks * 1000 / TICKS)
}

fn peak_kib(pid: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
