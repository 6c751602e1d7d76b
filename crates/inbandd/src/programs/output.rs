//! What a program says, cut to what a log should take.

/// Lines of one run that are told.
const LINES: usize = 20;
/// Bytes of a line that are told.
const LENGTH: usize = 200;

/// Cuts bytes into lines and tells the first ones.
pub(super) struct Output<T> {
    tell: T,
    line: Vec<u8>,
    lines: usize,
    dropped: u64,
}

impl<T: FnMut(&str)> Output<T> {
    pub(super) const fn new(tell: T) -> Self {
        Self { tell, line: Vec::new(), lines: 0, dropped: 0 }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.lines == LINES {
                self.dropped = self.dropped.saturating_add(1);
            } else if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < LENGTH {
                self.line.push(byte);
            } else {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }

    /// There is no more; tells how much was left out.
    pub(super) fn end(mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            (self.tell)(&format!("({dropped} more bytes are left out)"));
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        (self.tell)(&String::from_utf8_lossy(&line));
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut output = Output::new(|line: &str| lines.push(line.to_owned()));
        for piece in pieces {
            output.take(piece);
        }
        output.end();
        lines
    }

    #[test]
    fn lines_are_told_however_they_come() {
        assert_eq!(told(&[]), [""; 0]);
        assert_eq!(told(&[b"on", b"e\ntwo\n", b"", b"three"]), ["one", "two", "three"]);
        assert_eq!(told(&[b"\xff\n\n"]), ["\u{fffd}", ""]);
    }

    #[test]
    fn a_flood_is_cut() {
        let lines = told(&[&b"x\n".repeat(1000)]);
        assert_eq!((lines.len(), lines[20].as_str()), (21, "(1960 more bytes are left out)"));
        let lines = told(&[&[b'x'; 1000], &[b'y'; 1000]]);
        assert_eq!(lines, ["x".repeat(200), "(1800 more bytes are left out)".to_owned()]);
    }
}
