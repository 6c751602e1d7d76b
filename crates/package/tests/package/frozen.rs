//! The bytes of format version 1.
//!
//! DO NOT EDIT. Packages with these bytes are signed and shipped. If one of these tests fails, the format has
//! changed by mistake: revert your change. A new version of the format gets a file of its own.

use inband_package::digest::{Hex, sha256};
use inband_package::head::{Head, SignatureEntry};
use inband_package::index::{Chunk, Encoding, Index, Member, MemberKind, Sent};
use inband_package::maker::PrivateKey;
use inband_package::refusal::Refusal;
use inband_package::signature::{Hash, RsaPadding, signed_bytes};
use inband_package::{KeyRing, PublicKey, Scheme, Verifier};

use crate::common::{image, noise, options, package_of, small_package};

/// What is signed below: a head with one signature, by `key`.
fn head_for(key: &PublicKey) -> Head {
    Head {
        index_length: 0x0001_0203,
        total_length: 0x0405_0600,
        mtime: 0x0000_0001_0708_090A,
        index_digest: [0x11; 32],
        signatures: vec![key.signature_entry()],
        machine: "evb-ast2600".into(),
    }
}

/// What a BMC that has `key` says of this signature of that head.
pub(crate) fn verdict(key: &PublicKey, signature: &[u8]) -> Result<(), Refusal> {
    let head = head_for(key);
    let ring = KeyRing::new(vec![key.kind()], vec![key.clone()]).unwrap();
    ring.verify(&head, &head.encode().unwrap(), &[signature.to_vec()])
}

/// Joins the pieces of a byte string.
fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

#[test]
fn head() {
    let head = Head {
        index_length: 0x0001_0203,
        total_length: 0x0405_0600,
        mtime: 0x0000_0001_0708_090A,
        index_digest: [0x11; 32],
        signatures: vec![
            SignatureEntry {
                scheme: Scheme::Rsa(RsaPadding::Pss, Hash::Sha256),
                length: 512,
                key_id: [0x22; 32],
            },
            SignatureEntry { scheme: Scheme::Ed25519, length: 64, key_id: [0x33; 32] },
        ],
        machine: "evb-ast2600".into(),
    };
    let bytes = join(&[
        b"INBANDFW",                              // magic
        &[0x01, 0x00],                            // format version
        &[0x00, 0x00],                            // flags
        &[0x03, 0x02, 0x01, 0x00],                // index length
        &[0x00, 0x06, 0x05, 0x04, 0, 0, 0, 0],    // total length
        &[0x0A, 0x09, 0x08, 0x07, 0x01, 0, 0, 0], // mtime
        &[0x11; 32],                              // index digest
        &[0x02],                                  // signature count
        &[0; 7],                                  // reserved
        &[0x03, 0x00, 0x00, 0x02],                // entry 0: rsa, reserved, 512 bytes
        &[0; 4],                                  // reserved
        &[0x22; 32],                              // key id
        &[0x01, 0x00, 0x40, 0x00],                // entry 1: ed25519, reserved, 64 bytes
        &[0; 4],                                  // reserved
        &[0x33; 32],                              // key id
        &[0; 80],                                 // entries 2 and 3
        b"\x0Bevb-ast2600",                       // machine
        &[0; 37],                                 // its padding
        &[0; 231],                                // reserved
    ]);
    assert_eq!(head.encode().unwrap().as_slice(), bytes);
    assert_eq!(Head::parse(bytes.as_slice().try_into().unwrap()), Ok(head));
}

#[test]
fn signed() {
    let head = [0x5A; 512];
    assert_eq!(signed_bytes(&head).as_slice(), join(&[b"inband/head/v1\0\0", &head]));
}

#[test]
fn ed25519_and_p384_signatures() {
    let p384 = PrivateKey::p384_from_number(&[0x42; 48]).unwrap();
    let expected = [
        (
            PrivateKey::from_seed(&[0x42; 32]),
            "9a82517f9af19416d98fdbcf193726b3a95c0b6fec1d51884bf3e1b739ba2ef4",
            "95f18e32ef51100e5082635d020825ec44483a9614c55dfcb31e43703f9ff507\
             c425b93b6dd58e5d2d3bc7030280ecb4c73631d799126636e5db3e71d0a1a502",
        ),
        (
            p384,
            "31e0b3e416110bcfbffb5656f502ae013154a7d978167a242ca4641da0819e04",
            "c391dc1f79c6a723763129e0fe8612c635c8aceb61b39e3d2737db70e158042c\
             4094c66b8bfe10d93b120d924e286d510f141fc92f4ec4eb84fa518cb72a0041\
             9dd661603c8e256c049d9d642435dd0260e862977bf73c6abac21dd0be047d49",
        ),
    ];
    for (private, id, signature) in expected {
        let public = private.public().unwrap();
        assert_eq!(Hex(public.id()).to_string(), id);
        let made = private.sign(&signed_bytes(&head_for(&public).encode().unwrap()));
        assert_eq!(Hex(&made).to_string(), signature);
        assert_eq!(verdict(&public, &made), Ok(()));
    }
}

#[test]
fn rsa_signatures() {
    // Made with openssl(1); the private keys are gone.
    let short = include_str!("frozen-v1/rsa-3072.pem");
    let long = include_str!("frozen-v1/rsa-4096.pem");
    let signatures: [(_, _, &[u8]); 6] = [
        ("rsa-pss-sha256", short, include_bytes!("frozen-v1/rsa-pss-sha256.sig")),
        ("rsa-pss-sha384", short, include_bytes!("frozen-v1/rsa-pss-sha384.sig")),
        ("rsa-pss-sha512", short, include_bytes!("frozen-v1/rsa-pss-sha512.sig")),
        ("rsa-pkcs1-sha256", long, include_bytes!("frozen-v1/rsa-pkcs1-sha256.sig")),
        ("rsa-pkcs1-sha384", long, include_bytes!("frozen-v1/rsa-pkcs1-sha384.sig")),
        ("rsa-pkcs1-sha512", long, include_bytes!("frozen-v1/rsa-pkcs1-sha512.sig")),
    ];
    for (name, pem, signature) in signatures {
        let scheme = Scheme::from_name(name).unwrap();
        let key = PublicKey::from_pem(pem).unwrap().only_for(scheme).unwrap();
        assert_eq!(verdict(&key, signature), Ok(()), "{name}");
    }
}

#[test]
fn index() {
    let index = Index {
        machine: "evb-ast2600".into(),
        compatible: vec!["com.example.evb".into()],
        version: "2.14.0-rc1".into(),
        security_version: 0x0102_0304,
        bcd_device: 0x0214,
        targets: vec!["bmc".into(), "bios".into()],
        members: vec![
            Member {
                name: "image-kernel".into(),
                kind: MemberKind::Image,
                target: 1,
                length: 0x0002_0001,
                chunks: vec![
                    Chunk { encoding: Encoding::Plain, length: 0x0002_0000, digest: [0x44; 32] },
                    Chunk { encoding: Encoding::Plain, length: 1, digest: [0x55; 32] },
                ],
            },
            Member {
                name: "MANIFEST".into(),
                kind: MemberKind::Metadata,
                target: 0,
                length: 0,
                chunks: vec![],
            },
        ],
    };
    let bytes = join(&[
        b"INBANDIX",                        // magic
        &[0x01, 0x00],                      // format version
        &[0x00, 0x00],                      // flags
        b"\x0Bevb-ast2600",                 // machine
        b"\x01\x0Fcom.example.evb",         // compatible names
        b"\x0A2.14.0-rc1",                  // version
        &[0x04, 0x03, 0x02, 0x01],          // security version
        &[0x14, 0x02],                      // bcdDevice
        b"\x02\x03bmc\x04bios",             // targets
        &[0x02, 0x00],                      // member count
        b"\x0Cimage-kernel",                // member 0: name
        &[0x00, 0x01],                      // image, target 1
        &[0x01, 0x00, 0x02, 0, 0, 0, 0, 0], // length
        &[0x02, 0x00, 0x00, 0x00],          // chunk count
        &[0x00, 0x00, 0x00, 0x02, 0x00],    // chunk 0: plain, length
        &[0x44; 32],                        // digest
        &[0x00, 0x01, 0x00, 0x00, 0x00],    // chunk 1: plain, length
        &[0x55; 32],                        // digest
        b"\x08MANIFEST",                    // member 1: name
        &[0x01, 0x00],                      // metadata, target 0
        &[0; 8],                            // length
        &[0; 4],                            // chunk count
    ]);
    assert_eq!(index.encode(), Ok(bytes.clone()));
    assert_eq!(Index::parse(&bytes), Ok(index));
}

#[test]
fn compressed_chunk() {
    let sent = Sent { length: 0x0001_0203, digest: [0x66; 32] };
    let chunk = Chunk { encoding: Encoding::Zstd(sent), length: 0x0002_0000, digest: [0x44; 32] };
    let chunks = vec![chunk];
    let member = Member {
        name: "image-kernel".into(),
        kind: MemberKind::Image,
        target: 0,
        length: 0x0002_0000,
        chunks,
    };
    let index = Index {
        machine: "m".into(),
        compatible: vec![],
        version: "1".into(),
        security_version: 0,
        bcd_device: 0,
        targets: vec!["bmc".into()],
        members: vec![member],
    };
    let bytes = join(&[
        b"INBANDIX\x01\x00\x00\x00",     // magic, format version, flags
        b"\x01m\x00\x011",               // machine, compatible names, version
        &[0; 6],                         // security version, bcdDevice
        b"\x01\x03bmc\x01\x00",          // targets, member count
        b"\x0Cimage-kernel\x00\x00",     // name, image, target 0
        &[0, 0, 2, 0, 0, 0, 0, 0],       // length
        &[1, 0, 0, 0],                   // chunk count
        &[0x01, 0x00, 0x00, 0x02, 0x00], // zstd, length as stored
        &[0x44; 32],                     // digest of what is stored
        &[0x03, 0x02, 0x01, 0x00],       // length as sent
        &[0x66; 32],                     // digest of what is sent
    ]);
    assert_eq!(index.encode(), Ok(bytes.clone()));
    assert_eq!(Index::parse(&bytes), Ok(index));
}

#[test]
fn whole_package() {
    let package = small_package();
    assert_eq!(package.len(), 8704);
    assert_eq!(
        Hex(&sha256(&package)).to_string(),
        "f4ebaee2e52ae6b19871cacdc02edb7e3462899911c1de2e098fc3e5d856524e"
    );
}

#[test]
fn chunk_boundaries() {
    // Other boundaries make a valid package, but one that shares no chunks with those made before.
    let package =
        package_of(&options(), &[image("image-bmc", noise(600_000, 5)), image("zeros", vec![0; 300_000])]);
    let length = u32::from_le_bytes(package[524..528].try_into().unwrap()) as usize;
    let index = Index::parse(&package[2560..2560 + length]).unwrap();
    let lengths = |member: &Member| member.chunks.iter().map(|chunk| chunk.length).collect::<Vec<_>>();
    assert_eq!(
        lengths(&index.members[0]),
        [37_414, 62_305, 36_758, 27_932, 41_770, 83_899, 87_751, 40_744, 31_006, 55_333, 33_245, 61_843,]
    );
    assert_eq!(lengths(&index.members[1]), [131_072, 131_072, 37_856]);
}
