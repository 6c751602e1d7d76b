//! How fast status is answered by IPMI while 128 MiB come in by plain DFU and are verified: by the host's clock, and by inbandd's own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use inband_ipmi::command::{Command, Status};
use inband_ipmi::vm::qemu::{self, Decoder};
use inband_ipmi::wire::{COMMAND, NETFN, Reply};

use super::figures::{Figure, Values, Wanted, print};
use super::lab::{Lab, number_behind};
use super::{IMAGE_MIB, RUNS};
use crate::Outcome;

/// The door handle, and the socket that tells what inbandd measured.
const MORE: &str = "control = \"control\"\nipmi = { channel = \"qemu-listen:ipmi\" }\n";
/// The slowest answer, ms.
const ANSWER_MS: f64 = 50.0;
/// How long a host waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// States of a session (docs/spec/session.md, 3) in which it is looked at.
const STATES: [(u8, &str); 2] = [(1, "receiving"), (4, "verifying")];

/// One answer.
struct Answered {
    state: u8,
    ms: f64,
}

/// Answers in all rounds.
#[derive(Default)]
struct Answers(Vec<Answered>);

pub(super) fn run() -> Outcome {
    let lab = Lab::new()?;
    let package = lab.package(IMAGE_MIB)?;
    let (mut answers, mut slowest) = (Answers::default(), 0.0_f64);
    for _ in 0..RUNS {
        let bmc = lab.bmc_with_more(MORE)?;
        let mut host = Host::connect(&lab.path("ipmi"))?;
        thread::scope(|scope| {
            let update = scope.spawn(|| lab.update(&bmc, &package));
            while !update.is_finished() {
                answers.0.push(host.status()?);
            }
            update.join().map_err(|_| "the update has panicked")?.map(drop)
        })?;
        let report = lab.ask_bmc("status")?;
        let most = number_behind(&report, "\"slowest_ipmi_answer_us\":")
            .ok_or_else(|| format!("inbandd does not tell: {report}"))?;
        slowest = slowest.max(most as f64 / 1e3);
    }
    println!("\n{}", answers.table());
    print(&[Figure {
        what: "slowest answer to a request by IPMI, by inbandd's clock, ms",
        value: slowest,
        bar: Wanted::AtMost(ANSWER_MS),
    }])
}

impl Answers {
    /// Medians, fastest and slowest, as Markdown.
    fn table(&self) -> String {
        let mut text = String::from("| state | answers | by the host's clock, ms |\n|---|---|---|\n");
        for (state, name) in STATES {
            let of_state = self.0.iter().filter(|answered| answered.state == state);
            let times: Vec<_> = of_state.map(|answered| answered.ms).collect();
            text += &format!("| {name} | {} | {} |\n", times.len(), Values::new(times).spread());
        }
        text
    }
}

/// A host at the channel.
struct Host {
    stream: UnixStream,
    decoder: Decoder,
    sequence: u8,
}

impl Host {
    fn connect(socket: &Path) -> Outcome<Self> {
        let failed = |e| format!("cannot speak with inbandd at {}: {e}", socket.display());
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self { stream, decoder: Decoder::default(), sequence: 0 })
    }

    fn status(&mut self) -> Outcome<Answered> {
        let start = Instant::now();
        let reply = self.ask(&Command::Status).map_err(|e| format!("inbandd does not answer: {e}"))?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let status = Status::decode(&reply.data).map_err(|e| format!("{e}: {reply:?}"))?;
        Ok(Answered { state: status.state, ms })
    }

    fn ask(&mut self, command: &Command) -> std::io::Result<Reply> {
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&qemu::request(self.sequence, NETFN, COMMAND, &command.encode()))?;
        let mut bytes = [0; 256];
        loop {
            let length = self.stream.read(&mut bytes)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let answers = bytes[..length].iter().filter_map(|byte| self.decoder.push(*byte));
            if let Some(answer) = answers.last().filter(|answer| answer.sequence == self.sequence) {
                return Ok(answer.reply);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_state_by_state() {
        let times = [(1, 0.2), (4, 0.3), (1, 0.4), (1, 9.0), (5, 99.0)];
        let answers = Answers(times.map(|(state, ms)| Answered { state, ms }).into());
        let table = answers.table();
        assert!(table.contains("| receiving | 3 | 0.40 (0.20 to 9.00) |"), "{table}");
        assert!(table.ends_with("| verifying | 1 | 0.30 (0.30 to 0.30) |\n"), "{table}");
    }
}
