//! The first block of a medium of the disk's raw profile (docs/spec/volume-raw.md, 2), as a host reads it.
//!
//! A BMC writes it as lines; a host takes it for hostile: it has one block, lines have a key and a value, values are printable and bounded, a key
//! stands there once, and what a state needs is there.

use alloc::string::String;

use thiserror::Error;

use crate::result::ResultCode;

/// Bytes of a block.
pub const BLOCK: usize = 512;
/// What the first line of the raw profile says.
pub const SPEC: &str = "INBAND-RAW-1";
/// Bytes of a value, at most (docs/spec/volume.md, 7).
const MAX_VALUE: usize = 200;

/// What a medium is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A package may be written.
    Ready,
    /// Nothing may be written, and why.
    Refused(Told),
    /// It tells of a session that ended well.
    Pass(Session),
    /// It tells of one that did not, and how that ended.
    Fail(Session, Told),
}

/// A result, by its number, which this version may not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told(pub u16);

impl Told {
    /// The result; `None` for one that this version does not know.
    #[must_use]
    pub fn result(self) -> Option<ResultCode> {
        ResultCode::from_code(self.0)
    }
}

/// The session that a medium tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: u32,
    /// First 16 bytes of the SHA-256 of its package's head; `None` where signatures have not verified.
    pub head: Option<[u8; 16]>,
}

/// The text of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstBlock {
    /// What the medium is there for.
    pub state: State,
    /// The board.
    pub machine: String,
    /// The version that runs; empty where it has none.
    pub running: String,
    /// The version of the package that was judged; empty where signatures have not verified, and where there was none.
    pub version: String,
    /// The number of the medium. Each one has the next; they begin anew with the daemon.
    pub generation: u32,
    /// Bytes of the largest package; where one may be written.
    pub max_size: Option<u64>,
}

/// Why a block is none that tells of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// It does not begin as one: a host has written there.
    #[error("it has no text of a BMC")]
    NoText,
    /// The text is of another kind.
    #[error("its text is of another version than this program knows")]
    Spec,
    /// A line is none of a key and a value.
    #[error("a line of its text is not KEY=VALUE")]
    Line,
    /// A key is there twice.
    #[error("{0} is there twice in its text")]
    Twice(&'static str),
    /// A key is not there.
    #[error("there is no {0} in its text")]
    Missing(&'static str),
    /// A value is none of its key.
    #[error("{0} in its text has a value that is none")]
    Value(&'static str),
}

/// The values, as they stand there.
#[derive(Default)]
struct Values<'a> {
    spec: Option<&'a str>,
    state: Option<&'a str>,
    code: Option<&'a str>,
    session: Option<&'a str>,
    machine: Option<&'a str>,
    running: Option<&'a str>,
    version: Option<&'a str>,
    head: Option<&'a str>,
    generation: Option<&'a str>,
    max_size: Option<&'a str>,
}

impl FirstBlock {
    /// Reads the block. Keys that are not known are passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self, TextError> {
        let values = Values::read(block)?;
        let state = Self::state(&values)?;
        let max_size = match values.max_size {
            Some(text) => Some(decimal(text).ok_or(TextError::Value("MAX_SIZE"))?),
            None if state == State::Ready => return Err(TextError::Missing("MAX_SIZE")),
            None => None,
        };
        let machine = needed("MACHINE", values.machine)?;
        if machine.is_empty() {
            return Err(TextError::Value("MACHINE"));
        }
        let generation = needed("GENERATION", values.generation)?;
        Ok(Self {
            state,
            machine: machine.into(),
            running: needed("RUNNING", values.running)?.into(),
            version: values.version.unwrap_or_default().into(),
            generation: hexadecimal(generation).ok_or(TextError::Value("GENERATION"))?,
            max_size,
        })
    }

    fn state(values: &Values<'_>) -> Result<State, TextError> {
        let number = || -> Result<u16, TextError> {
            let number = decimal(needed("CODE", values.code)?).and_then(|code| u16::try_from(code).ok());
            number.ok_or(TextError::Value("CODE"))
        };
        // What is no end of a session, and no reason to refuse one, would be taken for success.
        let told = || match number()? {
            code if code == ResultCode::None.code() || code == ResultCode::Ok.code() => {
                Err(TextError::Value("CODE"))
            }
            code => Ok(Told(code)),
        };
        let session = || {
            let id = decimal(needed("SESSION", values.session)?).and_then(|id| u32::try_from(id).ok());
            let head = match needed("HEAD", values.head)? {
                "" => None,
                digits => Some(digest(digits).ok_or(TextError::Value("HEAD"))?),
            };
            Ok(Session { id: id.ok_or(TextError::Value("SESSION"))?, head })
        };
        match needed("STATE", values.state)? {
            "READY" => Ok(State::Ready),
            "REFUSED" => Ok(State::Refused(told()?)),
            "PASS" if number()? == ResultCode::Ok.code() => Ok(State::Pass(session()?)),
            "PASS" => Err(TextError::Value("CODE")),
            "FAIL" => Ok(State::Fail(session()?, told()?)),
            _ => Err(TextError::Value("STATE")),
        }
    }
}

impl<'a> Values<'a> {
    fn read(block: &'a [u8; BLOCK]) -> Result<Self, TextError> {
        if !block.starts_with(b"SPEC=") {
            return Err(TextError::NoText);
        }
        let text = core::str::from_utf8(block).map_err(|_| TextError::Line)?;
        let mut values = Self::default();
        let mut lines = text.split("\r\n");
        for line in &mut lines {
            // The rest is there to fill the block.
            if line.bytes().all(|byte| byte == b' ') {
                break;
            }
            let (key, value) = line.split_once('=').ok_or(TextError::Line)?;
            let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let is_key = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            if key.is_empty() || !key.bytes().all(is_key) || !printable || value.len() > MAX_VALUE {
                return Err(TextError::Line);
            }
            let (key, place) = match key {
                "SPEC" => ("SPEC", &mut values.spec),
                "STATE" => ("STATE", &mut values.state),
                "CODE" => ("CODE", &mut values.code),
                "SESSION" => ("SESSION", &mut values.session),
                "MACHINE" => ("MACHINE", &mut values.machine),
                "RUNNING" => ("RUNNING", &mut values.running),
                "VERSION" => ("VERSION", &mut values.version),
                "HEAD" => ("HEAD", &mut values.head),
                "GENERATION" => ("GENERATION", &mut values.generation),
                "MAX_SIZE" => ("MAX_SIZE", &mut values.max_size),
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(TextError::Twice(key));
            }
        }
        match values.spec {
            Some(SPEC) => {}
            _ => return Err(TextError::Spec),
        }
        // What would not fit was cut, and so was what stood behind it.
        if lines.any(|line| line.bytes().any(|byte| byte != b' ')) {
            return Err(TextError::Line);
        }
        Ok(values)
    }
}

fn needed<'a>(key: &'static str, value: Option<&'a str>) -> Result<&'a str, TextError> {
    value.ok_or(TextError::Missing(key))
}

/// Digits and nothing else: `parse` would take a sign.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn hexadecimal(text: &str) -> Option<u32> {
    let is_number = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { u32::from_str_radix(text, 16).ok() } else { None }
}

fn digest(text: &str) -> Option<[u8; 16]> {
    let mut digest = [0; 16];
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;

    const READY: &str = "SPEC=INBAND-RAW-1|STATE=READY|MACHINE=board|RUNNING=1.0|GENERATION=0000001F|MAX_SIZE=16777216|NEXT=write";
    const FAIL: &str = "SPEC=INBAND-RAW-1|STATE=FAIL|RESULT=bad-chunk|CODE=23|SESSION=7|MACHINE=board|RUNNING=1.0|VERSION=2.0|\
                        HEAD=000102030405060708090a0b0c0d0e0f|GENERATION=00000020|NEXT=eject";

    fn block(lines: &str) -> [u8; BLOCK] {
        let mut block = [b' '; BLOCK];
        let text = lines.replace('|', "\r\n") + "\r\n";
        block[..text.len()].copy_from_slice(text.as_bytes());
        block[BLOCK - 2..].copy_from_slice(b"\r\n");
        block
    }

    fn parse(lines: &str) -> Result<FirstBlock, TextError> {
        FirstBlock::parse(&block(lines))
    }

    #[test]
    fn each_state_is_read_with_what_it_tells() {
        let ready = parse(READY).unwrap();
        assert_eq!((ready.state, ready.generation, ready.max_size), (State::Ready, 0x1f, Some(16 << 20)));
        assert_eq!((&*ready.machine, &*ready.running, &*ready.version), ("board", "1.0", ""));

        let fail = parse(FAIL).unwrap();
        let head = core::array::from_fn(|byte| byte as u8);
        let State::Fail(session, told) = fail.state else { panic!("{fail:?}") };
        assert_eq!(
            (session, told.result()),
            (Session { id: 7, head: Some(head) }, Some(ResultCode::BadChunk))
        );
        assert_eq!((&*fail.version, fail.max_size), ("2.0", None));

        let pass = FAIL
            .replace("FAIL", "PASS")
            .replace("CODE=23", "CODE=1")
            .replace("HEAD=000102030405060708090a0b0c0d0e0f", "HEAD=");
        assert_eq!(parse(&pass).unwrap().state, State::Pass(Session { id: 7, head: None }));
        let refused = READY
            .replace("STATE=READY", "STATE=REFUSED|RESULT=locked-out|CODE=35")
            .replace("MAX_SIZE", "LATER");
        assert_eq!(parse(&refused).unwrap().state, State::Refused(Told(35)));
        // A result of a later version is one all the same.
        assert_eq!(
            parse(&FAIL.replace("CODE=23", "CODE=999")).unwrap().state,
            State::Fail(session, Told(999))
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let changed = |old: &str, new: &str| parse(&FAIL.replace(old, new)).unwrap_err();
        assert_eq!(FirstBlock::parse(&[0; BLOCK]), Err(TextError::NoText));
        assert_eq!(changed("SPEC=", "spec="), TextError::NoText);
        assert_eq!(changed("RAW-1", "RAW-2"), TextError::Spec);
        assert_eq!(changed("RAW-1", "FAT-1"), TextError::Spec);
        assert_eq!(changed("VERSION=2.0", "VERSION"), TextError::Line);
        assert_eq!(changed("VERSION=2.0", "=2.0"), TextError::Line);
        assert_eq!(changed("VERSION=2.0", "VERSION=\u{1b}[2J"), TextError::Line);
        assert_eq!(changed("VERSION=2.0", "VERSION=ü"), TextError::Line);
        assert_eq!(changed("VERSION=2.0", &format!("VERSION={}", "2".repeat(201))), TextError::Line);
        assert_eq!(changed("VERSION=2.0", "CODE=23"), TextError::Twice("CODE"));
        // Behind the filling there is nothing to read.
        assert_eq!(changed("VERSION=2.0", " |VERSION=2.0"), TextError::Line);
        for key in ["STATE", "CODE", "SESSION", "MACHINE", "RUNNING", "HEAD", "GENERATION"] {
            assert_eq!(changed(&format!("|{key}="), "|OTHER="), TextError::Missing(key));
        }
        assert_eq!(parse(&READY.replace("MAX_SIZE", "OTHER")), Err(TextError::Missing("MAX_SIZE")));
        for (key, old, new) in [
            ("STATE", "STATE=FAIL", "STATE=fail"),
            ("CODE", "CODE=23", "CODE=+23"),
            ("CODE", "CODE=23", "CODE="),
            ("CODE", "CODE=23", "CODE=65536"),
            // One of them is a lie.
            ("CODE", "CODE=23", "CODE=1"),
            ("CODE", "CODE=23", "CODE=0"),
            ("CODE", "STATE=FAIL", "STATE=PASS"),
            ("CODE", "STATE=FAIL|RESULT=bad-chunk|CODE=23", "STATE=REFUSED|CODE=0"),
            ("SESSION", "SESSION=7", "SESSION=4294967296"),
            ("MACHINE", "MACHINE=board", "MACHINE="),
            ("HEAD", "0e0f", "0e0"),
            ("HEAD", "0e0f", "0e+f"),
            ("GENERATION", "00000020", "20"),
            ("GENERATION", "00000020", "+0000020"),
        ] {
            assert_eq!(changed(old, new), TextError::Value(key), "{new}");
        }
        assert_eq!(
            parse(&READY.replace("16777216", "18446744073709551616")),
            Err(TextError::Value("MAX_SIZE"))
        );
    }

    proptest! {
        /// Whatever a line is replaced by, what was read is fit for a terminal, and what was not is told.
        #[test]
        fn nothing_that_a_terminal_would_obey_is_read(
            at in 0..BLOCK, bytes in proptest::collection::vec(any::<u8>(), 0..64), ready: bool,
        ) {
            let mut block = block(if ready { READY } else { FAIL });
            for (place, byte) in block[at..].iter_mut().zip(&bytes) {
                *place = *byte;
            }
            match FirstBlock::parse(&block) {
                Ok(read) => for text in [&read.machine, &read.running, &read.version] {
                    prop_assert!(text.len() <= MAX_VALUE && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                },
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
