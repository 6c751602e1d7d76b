//! The head's rules, one by one.

use inband_package::head::{Head, HeadError, SignatureEntry, SignedHead};
use inband_package::signature::{Hash, RsaPadding};
use inband_package::{Kind, Scheme, tar};
use proptest::prelude::*;

fn head() -> Head {
    let entry = |scheme, length, byte| SignatureEntry { scheme, length, key_id: [byte; 32] };
    Head {
        index_length: 1000,
        total_length: 16384,
        mtime: 0,
        index_digest: [0xA5; 32],
        signatures: vec![entry(Scheme::Ed25519, 64, 1), entry(Scheme::P384, 96, 2)],
        machine: "evb-ast2600".into(),
    }
}

/// What becomes of the head with these bytes at this offset.
fn with(at: usize, bytes: &[u8]) -> Result<Head, HeadError> {
    let mut head = head().encode().unwrap();
    head[at..at + bytes.len()].copy_from_slice(bytes);
    Head::parse(&head)
}

#[test]
fn what_is_written_reads_back() {
    assert_eq!(Head::parse(&head().encode().unwrap()), Ok(head()));
}

#[test]
fn bounds_of_numbers() {
    let parsed = |at, bytes: &[u8]| with(at, bytes).map(drop);
    assert_eq!(parsed(0, b"inbandfw"), Err(HeadError::NotAPackage));
    assert_eq!(parsed(8, &[0, 0]), Err(HeadError::Version(0)));
    assert_eq!(parsed(8, &[1, 1]), Err(HeadError::Version(257)));
    assert_eq!(parsed(12, &0_u32.to_le_bytes()), Err(HeadError::IndexLength(0)));
    assert_eq!(parsed(12, &1_u32.to_le_bytes()), Ok(()));
    assert_eq!(parsed(12, &524_288_u32.to_le_bytes()), Ok(()));
    assert_eq!(parsed(12, &524_289_u32.to_le_bytes()), Err(HeadError::IndexLength(524_289)));
    assert_eq!(parsed(16, &(1_u64 << 30).to_le_bytes()), Ok(()));
    let above = (1 << 30) + 512;
    assert_eq!(parsed(16, &u64::to_le_bytes(above)), Err(HeadError::TotalLength(above)));
    assert_eq!(parsed(16, &1025_u64.to_le_bytes()), Err(HeadError::TotalLength(1025)));
    assert_eq!(parsed(24, &tar::MAX_NUMBER.to_le_bytes()), Ok(()));
    let above = tar::MAX_NUMBER + 1;
    assert_eq!(parsed(24, &above.to_le_bytes()), Err(HeadError::Mtime(above)));
}

#[test]
fn reserved_bytes_are_zero() {
    let used_entry_reserved = [76, 77, 78, 79, 116, 117, 118, 119];
    let reserved = [10, 11].into_iter().chain(65..72).chain(used_entry_reserved).chain(152..232);
    for at in reserved.chain(232 + 12..512) {
        assert_eq!(with(at, &[1]), Err(HeadError::Reserved), "byte {at}");
    }
}

#[test]
fn the_signature_table_s_rules() {
    assert_eq!(with(64, &[0]), Err(HeadError::SignatureCount(0)));
    assert_eq!(with(64, &[5]), Err(HeadError::SignatureCount(5)));
    // A count below what is there leaves an entry where zeros belong; one above it counts an entry of kind 0.
    assert_eq!(with(64, &[1]), Err(HeadError::Reserved));
    assert_eq!(with(64, &[3]), Err(HeadError::SignatureKind(0)));
    assert_eq!(with(72, &[5]), Err(HeadError::SignatureKind(5)));
    assert_eq!(with(112, &[1, 0, 64, 0]), Err(HeadError::SignatureTwice(Kind::Ed25519)));
    for length in [0, 63, 65, 8192] {
        let refused = HeadError::SignatureLength { kind: Kind::Ed25519, length };
        assert_eq!(with(74, &length.to_le_bytes()), Err(refused));
    }
}

#[test]
fn every_kind_has_its_lengths_and_schemes() {
    let with_entry = |kind: Kind, scheme: u8, length: u16| {
        let entry = [&[kind.number(), scheme][..], &length.to_le_bytes()].concat();
        with(112, &entry).map(|head| head.signatures[1].scheme)
    };
    for (kind, lengths) in
        [(Kind::P384, &[96][..]), (Kind::Rsa, &[384, 512]), (Kind::MlDsa, &[1, 4627, 8192])]
    {
        for length in (0..=600).chain([4627, 8191, 8192, 8193, u16::MAX]) {
            let allowed = lengths.contains(&length) || (kind == Kind::MlDsa && (1..=8192).contains(&length));
            let expected = if allowed { Ok(()) } else { Err(HeadError::SignatureLength { kind, length }) };
            assert_eq!(with_entry(kind, 0, length).map(drop), expected, "{kind} {length}");
        }
        for number in 0..=u8::MAX {
            let expected = match (kind, number) {
                (Kind::Rsa, 0) => Ok(Scheme::Rsa(RsaPadding::Pss, Hash::Sha256)),
                (Kind::Rsa, 1) => Ok(Scheme::Rsa(RsaPadding::Pss, Hash::Sha384)),
                (Kind::Rsa, 2) => Ok(Scheme::Rsa(RsaPadding::Pss, Hash::Sha512)),
                (Kind::Rsa, 3) => Ok(Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha256)),
                (Kind::Rsa, 4) => Ok(Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha384)),
                (Kind::Rsa, 5) => Ok(Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha512)),
                (Kind::P384, 0) => Ok(Scheme::P384),
                (Kind::MlDsa, 0) => Ok(Scheme::MlDsa),
                _ => Err(HeadError::SignatureScheme { kind, number }),
            };
            assert_eq!(with_entry(kind, number, lengths[0]), expected);
        }
    }
    for number in 1..=u8::MAX {
        let refused = HeadError::SignatureScheme { kind: Kind::Ed25519, number };
        assert_eq!(with(73, &[number]), Err(refused));
    }
}

#[test]
fn the_machine_s_rules() {
    let message = |at, bytes| with(at, bytes).unwrap_err().to_string();
    assert_eq!(message(232, &[0]), "the machine's name has a length that is not allowed");
    assert_eq!(message(232, &[49]), "the machine's name has a length that is not allowed");
    assert_eq!(
        message(232, &[12]),
        "the machine's name has a character other than A-Z a-z 0-9 . _ - + : ~ @ /"
    );
    assert_eq!(
        message(235, b" "),
        "the machine's name has a character other than A-Z a-z 0-9 . _ - + : ~ @ /"
    );
    let mut longest = head();
    longest.machine = "m".repeat(48);
    assert_eq!(Head::parse(&longest.encode().unwrap()), Ok(longest));
}

#[test]
fn a_head_that_breaks_the_rules_is_not_written() {
    let refused = |change: fn(&mut Head)| {
        let mut head = head();
        change(&mut head);
        head.encode().unwrap_err().to_string()
    };
    assert_eq!(refused(|head| head.index_length = 0), "an index of 0 bytes; 1 to 524288 are allowed");
    assert_eq!(refused(|head| head.signatures.clear()), "0 signatures; 1 to 4 are allowed");
    assert_eq!(
        refused(|head| head.signatures = vec![head.signatures[0]; 5]),
        "5 signatures; 1 to 4 are allowed"
    );
    assert_eq!(
        refused(|head| head.signatures[1].scheme = Scheme::Ed25519),
        "a ed25519 signature of 96 bytes"
    );
    assert_eq!(refused(|head| head.machine.clear()), "the machine's name has a length that is not allowed");
    for length in [49, 255, 256, 70_000] {
        let mut head = head();
        head.machine = "m".repeat(length);
        assert!(head.encode().is_err(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn a_head_that_reads_is_written_the_same(at in 0..512_usize, bytes: [u8; 4]) {
        let mut head: SignedHead = head().encode().unwrap();
        let end = (at + 4).min(512);
        head[at..end].copy_from_slice(&bytes[..end - at]);
        if let Ok(parsed) = Head::parse(&head) {
            prop_assert_eq!(parsed.encode(), Ok(head));
        }
    }
}
