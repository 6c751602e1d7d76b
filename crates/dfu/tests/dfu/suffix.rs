//! The file suffix, with vectors made by dfu-suffix 0.11.

use inband_dfu::suffix::{ANY, Crc32, LEN, Suffix, SuffixError};
use proptest::prelude::*;

/// `dfu-suffix -v 1d6b -p 0202 -d 0100` on the nine bytes "123456789".
const NINE: [u8; 16] = [
    0x00, 0x01, // bcdDevice
    0x02, 0x02, // idProduct
    0x6b, 0x1d, // idVendor
    0x00, 0x01, // bcdDFU
    b'U', b'F', b'D', 0x10, // signature, bLength
    0xc8, 0x58, 0x37, 0x5f, // dwCRC 5F3758C8
];
/// The same tool on an empty file, all identifiers "any".
const EMPTY: [u8; 16] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01, b'U', b'F', b'D', 0x10, 0xe1, 0xf1, 0x7b,
    0x88, // dwCRC 887BF1E1
];

const OURS: Suffix = Suffix { vendor: 0x1d6b, product: 0x0202, device: 0x0100 };
const ANYONES: Suffix = Suffix { vendor: ANY, product: ANY, device: ANY };

fn crc(bytes: &[u8]) -> Crc32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc
}

fn with(payload: &[u8], suffix: Suffix) -> Vec<u8> {
    let mut file = payload.to_vec();
    suffix.append(&mut file);
    file
}

#[test]
fn checksum_is_not_inverted() {
    assert_eq!(crc(b"123456789").value(), 0x340b_c6d9);
    assert_eq!(crc(b"").value(), 0xffff_ffff);
}

/// Bit by bit, as appendix B has it, whatever portions the bytes come in.
#[test]
fn checksum_is_that_of_the_polynomial() {
    let bytes: Vec<u8> = (0_u32..300).map(|at| ((at * at) >> 3) as u8).collect();
    let mut expected = 0xffff_ffff_u32;
    for byte in &bytes {
        expected ^= u32::from(*byte);
        for _ in 0..8 {
            expected = (expected >> 1) ^ if expected & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    for portion in 1..=bytes.len() {
        let mut crc = Crc32::new();
        bytes.chunks(portion).for_each(|bytes| crc.update(bytes));
        assert_eq!(crc.value(), expected, "{portion} bytes at a time");
    }
}

#[test]
fn vectors() {
    for (payload, suffix, bytes) in [(&b"123456789"[..], OURS, NINE), (b"", ANYONES, EMPTY)] {
        assert_eq!(suffix.to_bytes(crc(payload)), bytes);
        let file = with(payload, suffix);
        assert_eq!(file, [payload, &bytes].concat());
        assert_eq!(Suffix::parse(&file), Ok((suffix, payload.len())));
        assert_eq!(Suffix::verify(crc(payload), &bytes), Ok(suffix));
    }
}

/// Appendix B: FFFFh in idVendor is any device, in idProduct any product of the vendor; bcdDevice only informs.
#[test]
fn matching() {
    assert!(OURS.matches(0x1d6b, 0x0202));
    assert!(!OURS.matches(0x1d6b, 0x0203));
    assert!(!OURS.matches(0x1d6c, 0x0202));
    assert!(Suffix { product: ANY, ..OURS }.matches(0x1d6b, 0x0203));
    assert!(!Suffix { product: ANY, ..OURS }.matches(0x1d6c, 0x0203));
    assert!(Suffix { vendor: ANY, ..OURS }.matches(0x1d6c, 0x0203));
}

#[test]
fn ordinary_files_have_none() {
    for file in [&b""[..], b"short", &[0; 16], &[0x55; 4096], &NINE[1..]] {
        assert_eq!(Suffix::parse(file), Err(SuffixError::Absent));
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let file = with(b"123456789", OURS);
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            Suffix::parse(&changed).expect_err("a changed file");
        }
    }
}

/// The bLength of a file is not believed.
#[test]
fn lengths() {
    let with_length = |payload: &[u8], length: u8| {
        let mut file = with(payload, OURS);
        let at = file.len() - 5;
        file[at] = length;
        let covered = file.len() - 4;
        let crc = crc(&file[..covered]).value().to_le_bytes();
        file[covered..].copy_from_slice(&crc);
        file
    };
    for length in 0..16 {
        assert_eq!(Suffix::parse(&with_length(b"123456789", length)), Err(SuffixError::Length(length)));
    }
    // New fields go in front; the last 16 bytes keep their places.
    for length in 16..=25 {
        let file = with_length(b"123456789", length);
        assert_eq!(Suffix::parse(&file), Ok((OURS, 25 - usize::from(length))));
    }
    for length in 26..=255 {
        assert_eq!(Suffix::parse(&with_length(b"123456789", length)), Err(SuffixError::Length(length)));
    }
    // A stream reader cannot know where a longer one began.
    let file = with_length(b"123456789", 20);
    let (payload, tail) = file.split_last_chunk::<LEN>().unwrap();
    assert_eq!(Suffix::verify(crc(payload), tail), Err(SuffixError::Length(20)));
}

proptest! {
    #[test]
    fn whatever_was_appended_is_found(
        payload: Vec<u8>, vendor: u16, product: u16, device: u16, cut in 0_usize..4096,
    ) {
        let suffix = Suffix { vendor, product, device };
        let file = with(&payload, suffix);
        prop_assert_eq!(Suffix::parse(&file), Ok((suffix, payload.len())));
        let mut pieces = Crc32::new();
        let (first, second) = payload.split_at(cut.min(payload.len()));
        pieces.update(first);
        pieces.update(second);
        let tail = file.last_chunk::<LEN>().unwrap();
        prop_assert_eq!(Suffix::verify(pieces, tail), Ok(suffix));
    }

    #[test]
    fn no_file_panics(file: Vec<u8>, tail: [u8; 4], length: u8) {
        let _ = Suffix::parse(&file);
        let marked = [&file[..], &[0; 8], b"UFD", &[length], &tail].concat();
        let _ = Suffix::parse(&marked);
    }
}
