//! Runs a program, and tells as one line of JSON how long it took, when it first or last printed certain texts, and what it cost the
//! processes that served it meanwhile.
//!
//! ```text
//! stopwatch [--mark NAME TEXT]... [--last NAME TEXT]... [--watch PID] [--note NAME VALUE]... -- PROGRAM [ARGUMENT]...
//! ```
//!
//! Times are milliseconds from the start of the program; a text that never came has none. `--watch` adds the processor
//! time (`cpu_ms`) that the process and its children have used in that time, and the most memory that it ever had (VmHWM), before
//! (`before_kib`) and after it (`peak_kib`). If it has a thread `worker`, that one's processor time in user mode (`worker_user_ms`), where it hashes, and in the kernel
//! (`worker_system_ms`), where it reads and writes, and its calls that write (`writes`) and their bytes (`written`). The program's own
//! processor time is `host_cpu_ms`. What it prints goes on to standard error.

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
    marks: Vec<Mark>,
    notes: Vec<(String, String)>,
    watched: Option<String>,
    command: Vec<String>,
}

/// A text that is looked for.
struct Mark {
    name: String,
    text: String,
    last: bool,
    seen: Option<f64>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::parse(env::args().skip(1))?;
    let (program, rest) = arguments.command.split_first().ok_or("which program?")?;
    let before = arguments.watched.as_deref().map(Usage::of).transpose()?;
    let start = Instant::now();
    let milliseconds = || start.elapsed().as_secs_f64() * 1e3;
    let mut child = Command::new(program).args(rest).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or("no standard output")?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = output.read(&mut buffer)?;
        let now = milliseconds();
        if length == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..length]);
        // Of a line that is not whole yet the beginning is kept, as a text may come in two pieces.
        let lines = text.iter().rposition(|&byte| byte == b'\n' || byte == b'\r').map_or(0, |end| end + 1);
        for mark in &mut arguments.marks {
            let seen = match (mark.last, mark.seen) {
                // Not twice in a line that comes in two pieces.
                (true, _) => &text[..lines],
                (false, None) => &text[..],
                (false, Some(_)) => continue,
            };
            if contains(seen, mark.text.as_bytes()) {
                mark.seen = Some(now);
            }
        }
        text.drain(..lines);
        std::io::stderr().write_all(&buffer[..length])?;
    }
    let status = child.wait()?;
    let total = milliseconds();

    let mut fields: Vec<String> =
        arguments.notes.iter().map(|(name, value)| format!("\"{name}\":{}", json(value))).collect();
    fields.push(format!("\"exit\":{}", status.code().unwrap_or(-1)));
    fields.push(format!("\"total_ms\":{total:.1}"));
    let [user, system] = cpu_ms("self", Whose::AllOfIt)?;
    fields.push(format!("\"host_cpu_ms\":{}", user + system));
    for Mark { name, seen, .. } in &arguments.marks {
        if let Some(at) = seen {
            fields.push(format!("\"{name}_ms\":{at:.1}"));
        }
    }
    if let (Some(pid), Some(before)) = (&arguments.watched, before) {
        fields.extend(Usage::of(pid)?.since(&before));
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
                "--mark" | "--last" => {
                    let (name, text) = (value()?, value()?);
                    arguments.marks.push(Mark { name, text, last: option == "--last", seen: None });
                }
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

/// What a process has used so far.
struct Usage {
    cpu_ms: u64,
    peak_kib: u64,
    worker: Option<Worker>,
}

/// What its thread `worker` has.
struct Worker {
    cpu_ms: [u64; 2],
    writes: u64,
    written: u64,
}

impl Usage {
    fn of(pid: &str) -> Result<Self, Box<dyn Error>> {
        let mut worker = None;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            if fs::read_to_string(thread.join("comm"))?.trim_end() == "worker" {
                let io = fs::read_to_string(thread.join("io"))?;
                let cpu_ms = cpu_ms(thread.strip_prefix("/proc")?.to_str().ok_or("a path")?, Whose::Own)?;
                worker =
                    Some(Worker { cpu_ms, writes: number(&io, "syscw:")?, written: number(&io, "wchar:")? });
            }
        }
        let [user, system] = cpu_ms(pid, Whose::AllOfIt)?;
        let peak_kib = number(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:")?;
        Ok(Self { cpu_ms: user + system, peak_kib, worker })
    }

    /// As fields, what was used since.
    fn since(&self, before: &Self) -> Vec<String> {
        let mut fields = vec![("cpu_ms", self.cpu_ms, before.cpu_ms)];
        if let Some((now, before)) = self.worker.as_ref().zip(before.worker.as_ref()) {
            fields.push(("worker_user_ms", now.cpu_ms[0], before.cpu_ms[0]));
            fields.push(("worker_system_ms", now.cpu_ms[1], before.cpu_ms[1]));
            fields.push(("writes", now.writes, before.writes));
            fields.push(("written", now.written, before.written));
        }
        let used = fields.into_iter().map(|(name, now, before)| (name, now.saturating_sub(before)));
        let fields = used.chain([("before_kib", before.peak_kib), ("peak_kib", self.peak_kib)]);
        fields.map(|(name, value)| format!("\"{name}\":{value}")).collect()
    }
}

/// Whose processor time.
#[derive(PartialEq)]
enum Whose {
    Own,
    /// And of the children it has waited for.
    AllOfIt,
}

/// Processor time of a process or a thread, in user mode and in the kernel (proc_pid_stat(5), fields 14 to 17).
fn cpu_ms(of: &str, whose: Whose) -> Result<[u64; 2], Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{of}/stat"))?;
    // The name, field 2, is in brackets and may hold anything.
    let (_, behind) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let fields = behind.split_whitespace().skip(11).take(4);
    let ticks = fields.map(str::parse::<u64>).collect::<Result<Vec<_>, _>>()?;
    let &[user, system, children_user, children_system] = &ticks[..] else {
        return Err("a short stat".into());
    };
    let ticks = match whose {
        Whose::Own => [user, system],
        Whose::AllOfIt => [user + children_user, system + children_system],
    };
    Ok(ticks.map(|ticks| ticks * 1000 / TICKS))
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
