//! Where results, notes and events go: text for people, one JSON object a line for programs.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// How much is said besides results and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Results and errors only.
    Quiet,
    /// What a user wants to know.
    #[default]
    Normal,
    /// What somebody who looks for a fault wants to know: what USB and the virtual BMC log.
    Verbose,
}

/// The two streams of a command.
///
/// Results go to the first, everything that is said on the way to the second; with JSON everything goes to the first, and
/// nothing to the second. Failures to write are kept until [`finish`](Self::finish), so that a command does not end in the
/// middle of an update because somebody closed a pipe.
pub struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    json: bool,
    verbosity: Verbosity,
    terminal: bool,
    failure: Option<io::Error>,
}

impl Output {
    /// Standard output and standard error.
    #[must_use]
    pub fn standard(json: bool, verbosity: Verbosity) -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            json,
            verbosity,
            terminal: io::stderr().is_terminal(),
            failure: None,
        }
    }

    /// Any two streams, for tests; they count as no terminal.
    #[must_use]
    pub fn to_streams(out: Box<dyn Write>, err: Box<dyn Write>, json: bool, verbosity: Verbosity) -> Self {
        Self { out, err, json, verbosity, terminal: false, failure: None }
    }

    /// Whether JSON was asked for.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar makes sense.
    #[must_use]
    pub const fn wants_bar(&self) -> bool {
        self.terminal && !self.json && matches!(self.verbosity, Verbosity::Normal | Verbosity::Verbose)
    }

    /// A result for people: a line (or lines) of text. Not with JSON.
    pub fn text(&mut self, text: impl Display) {
        if !self.json {
            let result = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
            self.keep(result);
        }
    }

    /// Bytes for a program, such as a completion script, with JSON too.
    pub fn raw(&mut self, bytes: &[u8]) {
        let result = self.out.write_all(bytes).and_then(|()| self.out.flush());
        self.keep(result);
    }

    /// Something worth knowing on the way. Not with JSON, not when quiet.
    pub fn note(&mut self, text: impl Display) {
        if !self.json && self.verbosity >= Verbosity::Normal {
            let result = writeln!(self.err, "{text}");
            self.keep(result);
        }
    }

    /// An error for people. Not with JSON.
    pub fn error(&mut self, text: impl Display) {
        if !self.json {
            let result = writeln!(self.err, "{text}");
            self.keep(result);
        }
    }

    /// A JSON object on a line of its own: `event`, then the fields of `body`, which is a structure. Only with JSON.
    pub fn json(&mut self, event: &str, body: &impl Serialize) {
        self.json_event(&Line { event, body });
    }

    /// A value that serialises with its own field `event`, as a JSON object on a line of its own. Only with JSON.
    pub fn json_event(&mut self, event: &impl Serialize) {
        if self.json {
            let result = json_line(event).and_then(|line| {
                self.out.write_all(line.as_bytes())?;
                self.out.flush()
            });
            self.keep(result);
        }
    }

    /// The first failure to write, unless it is that nobody reads any more.
    ///
    /// # Errors
    /// As said.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let (Err(error), None) = (result, &self.failure) {
            self.failure = Some(error);
        }
    }
}

#[derive(Serialize)]
struct Line<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

fn json_line(value: &impl Serialize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Ascii);
    value.serialize(&mut serializer)?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// JSON in printable ASCII: everything else is escaped, so that a line is safe on a terminal and a program still gets the
/// string as it was.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                CompactFormatter.write_string_fragment(writer, character.encode_utf8(&mut [0; 4]))?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
    }

    #[test]
    fn a_line_is_ascii_and_keeps_the_string() {
        let name = "a\"\\\u{1b}[2J\u{9b}\u{202e}ü\u{1f600}\u{7f}\n";
        let line = json_line(&Line { event: "device", body: &Body { name } }).unwrap();
        assert!(line.trim_end().bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], "device");
        assert_eq!(value["name"], name);
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        for (kind, fails) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
            let mut output =
                Output::to_streams(Box::new(Failing(kind)), Box::new(io::sink()), false, Verbosity::Normal);
            output.text("result");
            assert_eq!(output.finish().is_err(), fails);
        }
    }
}
