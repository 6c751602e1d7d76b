//! Making, signing, checking and inspecting.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::Path;

use inband_dfu::suffix::Suffix;
use inband_package::head::{HeadError, SignatureEntry};
use inband_package::index::{IndexError, MemberKind};
use inband_package::key::{KeyError, KeyHalf};
use inband_package::maker::{
    Input, MakeError, PackOptions, PrivateKey, Source, attach, inspect, missing, pack, sign, signed_bytes_of,
    verify,
};
use inband_package::signature::{Hash, RsaPadding};
use inband_package::{Kind, PublicKey, Refusal, Scheme};

use crate::common::{image, key, keys, noise, options, package_of, policy, read, small_package};

/// Packs without signing.
fn packed(options: &PackOptions, inputs: &[Input]) -> Result<Vec<u8>, MakeError> {
    let mut file = Vec::new();
    pack(options, inputs, &mut file).map(|_| file)
}

fn unsigned() -> Cursor<Vec<u8>> {
    Cursor::new(packed(&options(), &[image("image-bmc", noise(100_000, 6))]).unwrap())
}

#[test]
fn packing_the_same_gives_the_same() {
    assert_eq!(small_package(), small_package());
}

#[test]
fn files_and_memory_pack_the_same() {
    let bytes = noise(200_000, 7);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let from_memory = image("image-bmc", bytes);
    let from_file = Input { source: Source::File(file.path().into()), ..from_memory.clone() };
    assert_eq!(package_of(&options(), &[from_file]), package_of(&options(), &[from_memory]));
}

#[test]
fn a_missing_file_is_named() {
    let input = Input { source: Source::File("/nowhere/image".into()), ..image("image-bmc", vec![]) };
    let error = packed(&options(), &[input]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/image");
}

/// An output that changes a file as soon as the first byte arrives: packing has hashed it by then, and not
/// copied it.
struct Changes<'a> {
    file: &'a Path,
    content: &'a str,
}

impl Write for Changes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fs::write(self.file, self.content)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_is_noticed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (before, content) in [("one", "two"), ("one", "on"), ("one", "onee"), ("one", ""), ("", "x")] {
        fs::write(file.path(), before).unwrap();
        let input = Input { source: Source::File(file.path().into()), ..image("image-bmc", vec![]) };
        let mut output = Changes { file: file.path(), content };
        let error = pack(&options(), &[input], &mut output).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image-bmc changed while it was being packed",
            "{before} then {content}"
        );
    }
}

#[test]
fn options_that_break_the_format_are_refused() {
    let refused = |change: fn(&mut PackOptions)| {
        let mut options = options();
        change(&mut options);
        packed(&options, &[image("image-bmc", vec![1])]).unwrap_err()
    };
    assert!(matches!(
        refused(|options| options.bcd_device = 0x000A),
        MakeError::Index(IndexError::BcdDevice(10))
    ));
    assert!(matches!(refused(|options| options.version = "1 0".into()), MakeError::Index(_)));
    assert!(matches!(refused(|options| options.targets.clear()), MakeError::Index(_)));
    assert!(matches!(refused(|options| options.mtime = 1 << 33), MakeError::Head(HeadError::Mtime(_))));
    assert!(matches!(
        refused(|options| options.signers.clear()),
        MakeError::Head(HeadError::SignatureCount(0))
    ));
    let no_inputs = packed(&options(), &[]).unwrap_err();
    assert!(matches!(no_inputs, MakeError::Index(IndexError::Count(..))));
    let same_name = packed(&options(), &[image("a", vec![]), image("a", vec![])]).unwrap_err();
    assert!(matches!(same_name, MakeError::Index(IndexError::MemberTwice(1))));
}

#[test]
fn a_package_is_signed_in_place() {
    let mut file = unsigned();
    let before = file.get_ref().clone();
    sign(&mut file, &key()).unwrap();
    let after = file.into_inner();
    assert_eq!(after[..1536], before[..1536]);
    assert_eq!(after[1600..], before[1600..]);
    let verified = verify(&mut Cursor::new(&after), &keys(), policy()).unwrap();
    assert_eq!(verified.index.members[0].name, "image-bmc");
    assert_eq!(verified.head.total_length, after.len() as u64);
}

#[test]
fn only_the_signers_it_was_packed_for_can_sign() {
    let stranger = PrivateKey::from_seed(&[8; 32]);
    let error = sign(&mut unsigned(), &stranger).unwrap_err();
    let id = *stranger.public().unwrap().id();
    assert!(matches!(error, MakeError::NotASigner { kind: Kind::Ed25519, id: found } if found == id));
}

#[test]
fn signatures_made_elsewhere_are_checked_and_attached() {
    let mut file = unsigned();
    let bytes = signed_bytes_of(&mut file).unwrap();
    let public = key().public().unwrap();
    let good = key().sign(&bytes);
    let mut wrong = good.clone();
    wrong[0] ^= 1;
    for wrong in [&wrong[..], &good[..63], &[&good[..], &[0]].concat(), &[]] {
        let before = file.get_ref().clone();
        let error = attach(&mut file, &public, wrong).unwrap_err();
        assert!(matches!(error, MakeError::WrongSignature { .. }));
        assert_eq!(*file.get_ref(), before);
    }
    attach(&mut file, &public, &good).unwrap();
    let mut signed = unsigned();
    sign(&mut signed, &key()).unwrap();
    assert_eq!(file, {
        signed.set_position(file.position());
        signed
    });
}

#[test]
fn a_signature_behind_others_finds_its_place() {
    let mut options = options();
    options.signers.insert(
        0,
        SignatureEntry { scheme: Scheme::Rsa(RsaPadding::Pss, Hash::Sha256), length: 512, key_id: [1; 32] },
    );
    let package = package_of(&options, &[image("image-bmc", vec![1])]);
    let inspection = inspect(&mut package.as_slice()).unwrap();
    assert_eq!(inspection.fault, None);
    assert_eq!(
        (inspection.is_signed(0), inspection.is_signed(1), inspection.is_signed(2)),
        (false, true, false)
    );
    let bytes = signed_bytes_of(&mut package.as_slice()).unwrap();
    assert_eq!(inspection.signatures[1], key().sign(&bytes));
}

#[test]
fn what_is_no_package_cannot_be_signed_or_inspected() {
    let mut bad_header = small_package();
    bad_header[100] ^= 1;
    for file in [vec![], vec![0; 1023], vec![0; 4096], small_package()[..1023].to_vec(), bad_header] {
        let error = inspect(&mut file.as_slice()).unwrap_err();
        assert!(matches!(error, MakeError::Refused(Refusal::BadHead(_) | Refusal::BadArchive { .. })));
        assert!(matches!(sign(&mut Cursor::new(file), &key()), Err(MakeError::Refused(_))));
    }
}

#[test]
fn inspection_shows_what_is_there_and_what_is_wrong() {
    let package = small_package();
    let good = inspect(&mut package.as_slice()).unwrap();
    assert_eq!(good.fault, None);
    assert_eq!(good.head.machine, "evb-ast2600");
    assert_eq!(good.index.as_ref().unwrap().members[3].kind, MemberKind::Metadata);

    let mut other_signature = package.clone();
    other_signature[1536] ^= 1;
    assert_eq!(inspect(&mut other_signature.as_slice()).unwrap().fault, None);

    let cut = inspect(&mut &package[..1200]).unwrap();
    assert_eq!((cut.signatures.len(), cut.index), (0, None));
    assert!(matches!(cut.fault, Some(Refusal::Truncated { received: 1200, .. })));

    let mut changed = package.clone();
    let last = package.len() - 2048;
    changed[last] ^= 1;
    let changed = inspect(&mut changed.as_slice()).unwrap();
    assert!(changed.fault.is_some());
    assert_eq!(changed.index, good.index);
}

#[test]
fn verification_refuses_as_a_bmc_would() {
    let mut package = small_package();
    package[1536] ^= 1;
    let error = verify(&mut Cursor::new(&package), &keys(), policy()).unwrap_err();
    assert!(matches!(error, MakeError::Refused(Refusal::BadSignature { .. })));
    let error = verify(&mut Cursor::new(&small_package()[..3000]), &keys(), policy()).unwrap_err();
    assert!(matches!(error, MakeError::Refused(Refusal::Truncated { received: 3000, .. })));
    let error = verify(&mut Cursor::new([]), &keys(), policy()).unwrap_err();
    assert!(matches!(error, MakeError::Refused(Refusal::Truncated { received: 0, total: None })));
}

#[test]
fn keys_read_back() {
    let private = key();
    let public = private.public().unwrap();
    let read = PrivateKey::from_pem(&private.to_pem().unwrap()).unwrap();
    assert_eq!(read.public().unwrap(), public);
    assert_eq!(PublicKey::from_pem(&public.to_pem().unwrap()).unwrap(), public);
}

#[test]
fn one_half_of_a_key_is_not_the_other() {
    let public = key().public().unwrap().to_pem().unwrap();
    let private = key().to_pem().unwrap();
    assert_eq!(PublicKey::from_pem(&private), Err(KeyError::Pem(KeyHalf::Public)));
    assert_eq!(PrivateKey::from_pem(&public).unwrap_err(), KeyError::Pem(KeyHalf::Private));
    for junk in ["", "-----BEGIN PUBLIC KEY-----", &public[..60]] {
        assert_eq!(PublicKey::from_pem(junk), Err(KeyError::Pem(KeyHalf::Public)));
    }
}

#[test]
fn a_private_key_is_not_shown() {
    assert_eq!(format!("{:?}", key()), "PrivateKey");
}

#[test]
fn signatures_are_missing_until_they_are_made() {
    let p384 = PrivateKey::p384_from_number(&[5; 48]).unwrap();
    let entries = [key().public().unwrap().signature_entry(), p384.public().unwrap().signature_entry()];
    let options = PackOptions { signers: entries.to_vec(), ..options() };
    let mut file = Cursor::new(Vec::new());
    pack(&options, &[image("image-bmc", noise(1000, 1))], &mut file).unwrap();
    assert_eq!(missing(&mut file).unwrap(), entries);
    sign(&mut file, &p384).unwrap();
    assert_eq!(missing(&mut file).unwrap(), entries[..1]);
    // A file that ends before a signature has not got it.
    let cut = file.get_ref()[..1024].to_vec();
    assert_eq!(missing(&mut Cursor::new(cut)).unwrap(), entries);
    sign(&mut file, &key()).unwrap();
    assert_eq!(missing(&mut file).unwrap(), []);
    assert!(missing(&mut Cursor::new(b"no package".to_vec())).is_err());
}

#[test]
fn the_end_of_a_file_is_judged_as_that_of_a_stream() {
    // Which end decides whether a checksum over the whole file is computed.
    let package = small_package();
    let mut suffixed = package.clone();
    Suffix { vendor: 1, product: 2, device: 3 }.append(&mut suffixed);
    let suffix = &suffixed[package.len()..];
    let mut ends = vec![vec![0], vec![0; 16], suffix.repeat(2), [suffix, &[0]].concat(), b"UFD\x10".to_vec()];
    ends.extend((0..=suffix.len()).map(|length| suffix[..length].to_vec()));
    ends.extend((0..suffix.len()).map(|at| {
        let mut changed = suffix.to_vec();
        changed[at] ^= 1;
        changed
    }));
    let mut taken = 0;
    for end in ends {
        let file = [&package[..], &end].concat();
        let verdict = match verify(&mut Cursor::new(&file), &keys(), policy()) {
            Ok(_) => Ok(()),
            Err(MakeError::Refused(refusal)) => Err(refusal),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(verdict, read(&file).1, "{end:x?}");
        taken += usize::from(verdict.is_ok());
    }
    assert_eq!(taken, 2);
}
