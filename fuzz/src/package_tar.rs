//! Tar headers: whatever is written is what a tar reader finds, and no other block is taken for it.
//!
//! Input: length and mtime (8 bytes each), a byte's place (2) and its change (1), then the name.

use inband_package::reader::{Error, Phase};
use inband_package::tar::{self, BLOCK, Block};
use inband_package::{Policy, Reader};

use crate::package_stream::{AcceptAll, Checks};

pub(crate) fn run(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk() else { return };
    let Some((mtime, rest)) = rest.split_first_chunk() else { return };
    let Some((&[low, high, change], name)) = rest.split_first_chunk() else { return };
    let (length, mtime) = (u64::from_le_bytes(*length), u64::from_le_bytes(*mtime));
    if let Ok(name) = core::str::from_utf8(name) {
        let header = tar::header(name, length, mtime);
        let fits = (1..=tar::MAX_NAME).contains(&name.len()) && length.max(mtime) <= tar::MAX_NUMBER;
        assert_eq!(header.is_some(), fits);
        if let Some(header) = header {
            check(&header, name, length, mtime);
        }
    }
    // The first header of a package, with any mtime and one other change.
    let Some(mut header) = tar::header("inband.head", 512, mtime) else { return };
    let place = usize::from(u16::from_le_bytes([low, high])) % BLOCK;
    header[place] ^= change;
    let policy = Policy::for_machine("m".into());
    let mut reader = Reader::new(AcceptAll, policy);
    let result = reader.push(&header, &mut Checks::default());
    // mtime and checksum wait for the head.
    if change == 0 || (136..156).contains(&place) {
        assert_eq!(reader.phase(), Phase::Head);
    } else {
        assert!(matches!(result, Err(Error::Refused(_))));
    }
}

/// Reads a header as POSIX.1-1988 describes it.
fn check(header: &Block, name: &str, length: u64, mtime: u64) {
    let text = |from: usize, to: usize| {
        let field = header[from..to].split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(field).expect("a field is text")
    };
    let octal = |from, to| u64::from_str_radix(text(from, to), 8).expect("a number is octal");
    assert_eq!(text(0, 100), name.split('\0').next().unwrap_or_default());
    assert_eq!(octal(124, 136), length);
    assert_eq!(octal(136, 148), mtime);
    let sum = |bytes: &[u8]| bytes.iter().copied().map(u64::from).sum::<u64>();
    assert_eq!(octal(148, 155), sum(&header[..148]) + sum(&header[156..]) + 8 * 0x20);
}
