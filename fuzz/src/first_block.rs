//! A disk that says anything, against the reader of its first block.

use inband_session::first_block::{BLOCK, FirstBlock, SPEC, State};

/// The input is the text behind the first line, or the whole block. What is read of it is fit for a terminal, and says the same twice.
pub(crate) fn run(input: &[u8]) {
    let mut whole = [0; BLOCK];
    let length = input.len().min(BLOCK);
    whole[..length].copy_from_slice(&input[..length]);
    read(&whole);

    let mut behind = [b' '; BLOCK];
    let first = format!("SPEC={SPEC}\r\n");
    let length = input.len().min(BLOCK - first.len());
    behind[..first.len()].copy_from_slice(first.as_bytes());
    behind[first.len()..][..length].copy_from_slice(&input[..length]);
    read(&behind);
}

fn read(block: &[u8; BLOCK]) {
    match FirstBlock::parse(block) {
        Ok(text) => {
            assert_eq!(FirstBlock::parse(block).as_ref(), Ok(&text));
            for value in [&text.machine, &text.running, &text.version] {
                assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            match text.state {
                State::Ready => assert!(text.max_size.is_some()),
                // Nothing that failed looks like what did not.
                State::Refused(told) | State::Fail(_, told) => {
                    assert!(told.result().is_none_or(|result| !result.is_ok()));
                }
                State::Pass(_) => {}
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
