//! The end of a DFU file.

use inband_dfu::suffix::{Crc32, LEN, Suffix};

/// The input is a file. Reading it whole and as a stream agree, and a suffix that is found is the one that would be written.
pub(crate) fn run(input: &[u8]) {
    let whole = Suffix::parse(input);
    let Some((payload, tail)) = input.split_last_chunk::<LEN>() else {
        assert!(whole.is_err());
        return;
    };
    let mut crc = Crc32::new();
    crc.update(payload);
    let streamed = Suffix::verify(crc, tail);
    match (whole, streamed) {
        (Ok((suffix, length)), Ok(same)) => {
            assert_eq!((suffix, length), (same, payload.len()));
            let written = suffix.to_bytes(crc);
            // bcdDFU is written as 0100h and read as anything.
            if tail[6..8] == written[6..8] {
                assert_eq!(&written, tail);
            }
        }
        // Longer than 16 bytes, which a stream reader refuses.
        (Ok((_, length)), Err(_)) => assert!(length < payload.len()),
        (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => panic!("{error}"),
    }

    let suffix = Suffix { vendor: 0x1d6b, product: 0x0104, device: 0x0100 };
    let mut file = input.to_vec();
    suffix.append(&mut file);
    assert_eq!(Suffix::parse(&file), Ok((suffix, input.len())));
}
