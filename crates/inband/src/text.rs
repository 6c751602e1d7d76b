//! Text for a terminal.
//!
//! Names, versions and serial numbers come from a device or a file, and so from somebody who may want to move the
//! cursor, hide a line or paint a false one. Whatever comes from there passes [`shown`] before it is printed.

use std::{fmt, path::Path, time::Duration};

/// Characters of one string that are shown, at most; what is longer ends in an ellipsis.
pub const MAX_SHOWN: usize = 80;

/// Makes a string from a device or a file fit for a terminal: printable ASCII and Latin letters stay, everything else
/// (control characters, escape sequences, direction marks, invisible and combining characters) becomes `\u{…}`, a
/// backslash is doubled, and what is longer than [`MAX_SHOWN`] characters is cut.
#[must_use]
pub fn shown(untrusted: &str) -> String {
    escape(untrusted, MAX_SHOWN, true)
}

/// Makes a path fit for a terminal. A backslash stays: it is a separator on Windows.
#[must_use]
pub fn shown_path(path: &Path) -> String {
    escape(&path.to_string_lossy(), 4096, false)
}

/// Makes a line of a log fit for a terminal.
#[must_use]
pub fn shown_line(line: &str) -> String {
    escape(line, 1000, false)
}

fn escape(untrusted: &str, limit: usize, double_backslash: bool) -> String {
    let mut out = String::new();
    for (count, character) in untrusted.chars().enumerate() {
        if count == limit {
            out.push_str("...");
            break;
        }
        match character {
            '\\' if double_backslash => out.push_str("\\\\"),
            ' '..='~' | '\u{c0}'..='\u{24f}' => out.push(character),
            other => out.extend(other.escape_unicode()),
        }
    }
    out
}

/// A number of bytes for people: `17 B`, `4.0 KiB`, `32.0 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (name, size) in UNITS {
        if count >= size {
            let tenths = u128::from(count) * 10 / u128::from(size);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

/// A number of things: `1 member`, `2 members`.
#[must_use]
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A digest, or `-` for the zeros that stand for none.
#[must_use]
pub fn digest_cell(hex: &str) -> &str {
    if hex.contains(|digit| digit != '0') { hex } else { "-" }
}

/// Bytes a second, averaged over `elapsed`; `None` while too little time has passed to say.
#[must_use]
pub fn per_second(count: u64, elapsed: Duration) -> Option<u64> {
    let milliseconds = elapsed.as_millis();
    if milliseconds < 10 {
        return None;
    }
    u64::try_from(u128::from(count) * 1000 / milliseconds).ok()
}

/// A slot with the words before it, if it is known.
#[must_use]
pub fn in_slot(words: &str, slot: Option<&str>) -> String {
    slot.map_or_else(String::new, |slot| format!("{words} {slot}"))
}

/// A time for people: `37 ms`, `3.70 s`, `12.4 s`, `3 min 5 s`.
#[must_use]
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 if time.as_millis() == 0 => "less than 1 ms".to_owned(),
        0 => format!("{} ms", time.as_millis()),
        1..=9 => format!("{:.2} s", time.as_secs_f64()),
        10..=119 => format!("{:.1} s", time.as_secs_f64()),
        long => format!("{} min {} s", long / 60, long % 60),
    }
}

/// bcdDevice as people write it: 0x0110 is `1.10`.
#[must_use]
pub fn bcd(value: u16) -> String {
    format!("{:x}.{:02x}", value >> 8, value & 0xff)
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Rows of cells under a head, columns as wide as their widest cell and two spaces apart. The cells are
/// expected to be fit for a terminal already.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with the names of its columns.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// A table of names and values, without a head.
    #[must_use]
    pub const fn pairs() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                let padding = width.saturating_sub(cell.chars().count()) + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_untouched() {
        assert_eq!(shown("Example BMC v1.2-rc3+git~4 (Zürich)"), "Example BMC v1.2-rc3+git~4 (Zürich)");
    }

    #[test]
    fn nothing_that_moves_the_cursor_or_the_text_gets_through() {
        for hostile in [
            "\u{1b}[2J",
            "\r",
            "\n",
            "\t",
            "\u{7f}",
            "\u{9b}31m",
            "\u{202e}cba",
            "\u{2066}",
            "\u{200f}",
            "\u{200b}",
            "\u{feff}",
            "e\u{301}",
            "\u{5d0}",
            "\u{ad}",
        ] {
            let text = shown(hostile);
            assert!(
                text.chars().all(|c| (' '..='~').contains(&c) || ('\u{c0}'..='\u{24f}').contains(&c)),
                "{text:?} of {hostile:?}"
            );
            assert_ne!(text, hostile);
        }
        assert_eq!(shown("\u{1b}[2J"), "\\u{1b}[2J");
    }

    #[test]
    fn an_escape_cannot_be_forged() {
        assert_eq!(shown("\\u{1b}"), "\\\\u{1b}");
        assert_ne!(shown("\\u{1b}"), shown("\u{1b}"));
    }

    #[test]
    fn long_strings_are_cut() {
        assert_eq!(shown(&"x".repeat(MAX_SHOWN)), "x".repeat(MAX_SHOWN));
        assert_eq!(shown(&"x".repeat(10_000)), format!("{}...", "x".repeat(MAX_SHOWN)));
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(counted(0, "member"), "0 members");
        assert_eq!(counted(1, "member"), "1 member");
        assert_eq!(digest_cell("0000"), "-");
        assert_eq!(digest_cell("0100"), "0100");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(32 << 20), "32.0 MiB");
        assert_eq!(bytes(u64::MAX), "17179869183.9 GiB");
        assert_eq!(per_second(4096, Duration::from_millis(500)), Some(8192));
        assert_eq!(per_second(4096, Duration::ZERO), None);
        assert_eq!(seconds(Duration::from_millis(370)), "370 ms");
        assert_eq!(seconds(Duration::from_millis(3700)), "3.70 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!(bcd(0x0110), "1.10");
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["wide cell".into(), "x".into()]);
        assert_eq!(table.to_string(), "A          LONG\nwide cell  x\n");
    }
}
