//! The bytes of format version 1.
//!
//! DO NOT EDIT. Packages with these bytes are signed and shipped. If one of these tests fails, the format has
//! changed by mistake: revert your change. A new version of the format gets a file of its own.

use inband_package::Kind;
use inband_package::digest::{Hex, sha256};
use inband_package::head::{Head, SignatureEntry};
use inband_package::index::{Chunk, Encoding, Index, Member, MemberKind};
use inband_package::signature::signed_bytes;

use crate::common::{image, noise, options, package_of, small_package};

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
            SignatureEntry { kind: Kind::Rsa, length: 512, key_id: [0x22; 32] },
            SignatureEntry { kind: Kind::Ed25519, length: 64, key_id: [0x33; 32] },
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
