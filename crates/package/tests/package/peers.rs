//! tar(1) and openssl(1) as another maker and signer, and as another reader.

use std::fs;
use std::path::Path;

use inband_package::maker::PrivateKey;
use inband_package::signature::signed_bytes;
use inband_package::{KeyRing, Kind, Policy, PublicKey};

use crate::common::{Call, key, noise, policy, read_with, small_package};
use crate::programs::run;

/// tar(1) as docs/spec/package.md says.
fn make_tar(folder: &Path, members: &[&str]) {
    let mut arguments = vec![
        "--create",
        "--format=ustar",
        "--blocking-factor=1",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=0644",
        "--mtime=@0",
        "--file",
        "package.tar",
    ];
    arguments.extend_from_slice(members);
    run(folder, "tar", &arguments);
}

fn sha256(folder: &Path, file: &str) -> Vec<u8> {
    run(folder, "openssl", &["dgst", "-sha256", "-binary", file])
}

/// Writes an index by the letter of docs/spec/package.md, each member cut into pieces of `piece` bytes.
fn write_index(folder: &Path, members: &[(&str, u8, Vec<u8>)], piece: usize) -> Vec<u8> {
    let mut index = Vec::new();
    index.extend(b"INBANDIX\x01\x00\x00\x00");
    index.extend(b"\x0Bevb-ast2600");
    index.extend(b"\x00");
    index.extend(b"\x07foreign");
    index.extend([200, 0, 0, 0]);
    index.extend([0x34, 0x12]);
    index.extend(b"\x01\x03bmc");
    index.extend([members.len() as u8, 0]);
    for (name, kind, bytes) in members {
        index.push(name.len() as u8);
        index.extend(name.as_bytes());
        index.extend([*kind, 0]);
        index.extend((bytes.len() as u64).to_le_bytes());
        index.extend((bytes.chunks(piece).count() as u32).to_le_bytes());
        for chunk in bytes.chunks(piece) {
            fs::write(folder.join("chunk"), chunk).unwrap();
            index.push(0);
            index.extend((chunk.len() as u32).to_le_bytes());
            index.extend(sha256(folder, "chunk"));
        }
    }
    index
}

/// Writes a head by the letter of docs/spec/package.md.
fn write_head(total: u64, index: &[u8], index_digest: &[u8], key_id: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(b"INBANDFW\x01\x00\x00\x00");
    head.extend((index.len() as u32).to_le_bytes());
    head.extend(total.to_le_bytes());
    head.extend([0; 8]);
    head.extend(index_digest);
    head.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    head.extend([1, 0, 64, 0, 0, 0, 0, 0]);
    head.extend(key_id);
    head.extend([0; 120]);
    head.extend(b"\x0Bevb-ast2600");
    head.extend([0; 37]);
    head.extend([0; 231]);
    assert_eq!(head.len(), 512);
    head
}

#[test]
fn a_package_by_tar_and_openssl_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    run(folder, "openssl", &["genpkey", "-algorithm", "ed25519", "-out", "key.pem"]);
    run(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
    run(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "public.der"]);

    let members = [
        ("image-kernel", 0, noise(30_000, 10)),
        ("image-rofs", 0, noise(131_072 * 2 + 512, 11)),
        ("empty", 0, Vec::new()),
        ("MANIFEST", 1, b"version=foreign\n".to_vec()),
    ];
    for (name, _, bytes) in &members {
        write(name, bytes);
    }
    let index = write_index(folder, &members, 131_072);
    write("inband.index", &index);
    let names = [
        "inband.head",
        "inband.head.ed25519.sig",
        "inband.index",
        "image-kernel",
        "image-rofs",
        "empty",
        "MANIFEST",
    ];
    // The first archive only tells how long the second one will be.
    write("inband.head", &[0; 512]);
    write("inband.head.ed25519.sig", &[0; 64]);
    make_tar(folder, &names);
    let total = fs::metadata(folder.join("package.tar")).unwrap().len();

    let head = write_head(total, &index, &sha256(folder, "inband.index"), &sha256(folder, "public.der"));
    write("inband.head", &head);
    write("message", &[&b"inband/head/v1\0\0"[..], &head].concat());
    let signature = "inband.head.ed25519.sig";
    run(
        folder,
        "openssl",
        &["pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "message", "-out", signature],
    );
    make_tar(folder, &names);

    let package = fs::read(folder.join("package.tar")).unwrap();
    let public = PublicKey::from_pem(&fs::read_to_string(folder.join("public.pem")).unwrap()).unwrap();
    let keys = KeyRing::new(vec![Kind::Ed25519], vec![public]).unwrap();
    let policy = Policy { security_floor: 200, ..policy() };
    let (notes, result) = read_with(keys, policy, package.chunks(4096));
    assert_eq!(result, Ok(()));

    let mut received = vec![Vec::new(); members.len()];
    for call in &notes.calls {
        match call {
            Call::Begin(begun) => {
                assert_eq!(begun.head.total_length, total);
                assert_eq!((begun.index.version.as_str(), begun.index.bcd_device), ("foreign", 0x1234));
            }
            Call::Chunk(member, _, data) => received[*member].extend_from_slice(data),
            Call::End => {}
        }
    }
    assert_eq!(received, members.map(|(_, _, bytes)| bytes));
}

#[test]
fn tar_and_openssl_accept_our_package() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("package.tar"), small_package()).unwrap();
    fs::write(folder.join("public.pem"), key().public().unwrap().to_pem().unwrap()).unwrap();

    let listed = String::from_utf8(run(folder, "tar", &["-tvf", "package.tar"])).unwrap();
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line[5]).collect();
    let expected = [
        "inband.head",
        "inband.head.ed25519.sig",
        "inband.index",
        "image-kernel",
        "image-rofs",
        "empty",
        "MANIFEST",
    ];
    assert_eq!(names, expected);
    for line in &lines {
        assert_eq!((line[0], line[1]), ("-rw-r--r--", "0/0"));
    }

    run(folder, "tar", &["-xf", "package.tar"]);
    let extracted = |name: &str| fs::read(folder.join(name)).unwrap();
    assert_eq!(extracted("image-kernel"), noise(700, 1));
    assert_eq!(extracted("image-rofs"), noise(700, 2));
    assert_eq!(extracted("empty"), []);
    assert_eq!(extracted("MANIFEST"), b"purpose=bmc\n");

    let head = extracted("inband.head");
    fs::write(folder.join("message"), [&b"inband/head/v1\0\0"[..], &head].concat()).unwrap();
    let signature = "inband.head.ed25519.sig";
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "public.pem",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        signature,
    ];
    run(folder, "openssl", &verify);

    // What tar(1) makes of the extracted files is our package again.
    make_tar(folder, &expected);
    assert_eq!(extracted("package.tar"), small_package());
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let private = PrivateKey::from_seed(&[0x42; 32]);
    fs::write(folder.join("key.pem"), private.to_pem().unwrap().as_bytes()).unwrap();
    let public = run(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout"]);
    assert_eq!(String::from_utf8(public).unwrap(), private.public().unwrap().to_pem().unwrap());

    run(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "public.der"]);
    assert_eq!(sha256(folder, "public.der"), private.public().unwrap().id());

    run(folder, "openssl", &["genpkey", "-algorithm", "ed25519", "-out", "theirs.pem"]);
    let theirs = PrivateKey::from_pem(&fs::read_to_string(folder.join("theirs.pem")).unwrap()).unwrap();
    let message = signed_bytes(&[0x77; 512]);
    fs::write(folder.join("message"), message).unwrap();
    let sign = ["pkeyutl", "-sign", "-inkey", "theirs.pem", "-rawin", "-in", "message", "-out", "signature"];
    run(folder, "openssl", &sign);
    assert_eq!(fs::read(folder.join("signature")).unwrap(), theirs.sign(&message));
}
