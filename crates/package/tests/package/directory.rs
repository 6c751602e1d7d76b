//! Directories of system keys.

use std::fs;
use std::path::Path;

use inband_package::digest::Hex;
use inband_package::key::{DirectoryError, KeyError, SystemKeys};
use inband_package::maker::PrivateKey;
use inband_package::{Kind, PublicKey, Scheme};

const RSA: &str = include_str!("frozen-v1/rsa-4096.pem");

fn public(seed: u8) -> PublicKey {
    PrivateKey::from_seed(&[seed; 32]).public().unwrap()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn ours_has_keys_in_pem_files_and_a_list_of_revoked_ones() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert_eq!(SystemKeys::read(folder).unwrap(), SystemKeys::default());
    write(folder, "b.pem", &public(1).to_pem().unwrap());
    write(folder, "a.pem", RSA);
    write(folder, "README", "not looked at");
    let rsa = PublicKey::from_pem(RSA).unwrap();
    let read = SystemKeys::read(folder).unwrap();
    assert_eq!(read, SystemKeys { keys: vec![rsa.clone(), public(1)], revoked: vec![] });

    write(folder, "revoked", &format!("# lost\n{}\n", Hex(rsa.id())));
    let read = SystemKeys::read(folder).unwrap();
    assert_eq!(read.revoked, [*rsa.id()]);
    assert_eq!(read.clone().ring(vec![Kind::Rsa]).unwrap_err(), KeyError::NoKey(Kind::Rsa));
    assert_eq!(read.ring(vec![Kind::Ed25519]).unwrap().revoked(), [*rsa.id()]);
}

#[test]
fn openbmc_s_has_a_folder_for_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "vendor/publickey", RSA);
    write(folder, "vendor/hashfunc", "HashType=RSA-SHA512\n");
    write(folder, "other/publickey", include_str!("frozen-v1/rsa-3072.pem"));
    write(folder, "other/hashfunc", "HashType=RSA-SHA256\n");
    write(folder, "note", "not a folder");
    let read = SystemKeys::read_openbmc(folder).unwrap();
    let schemes: Vec<_> = read.keys.iter().map(PublicKey::scheme).collect();
    assert_eq!(
        schemes,
        ["rsa-pkcs1-sha256", "rsa-pkcs1-sha512"].map(|name| Scheme::from_name(name).unwrap())
    );
    assert_eq!(read.keys[1].id(), PublicKey::from_pem(RSA).unwrap().id());
    assert_eq!(read.revoked, [[0; 32]; 0]);

    let id = *read.keys[0].id();
    write(folder, "revoked", &Hex(&id).to_string());
    assert_eq!(SystemKeys::read_openbmc(folder).unwrap().revoked, [id]);
}

#[test]
fn one_bad_file_is_enough() {
    let good = public(1).to_pem().unwrap();
    let message = |files: &[(&str, &str)], openbmc: bool| {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(folder.path(), name, text);
        }
        let read = if openbmc { SystemKeys::read_openbmc } else { SystemKeys::read };
        let error = read(folder.path()).unwrap_err();
        let text = error.to_string();
        (error, text.strip_prefix(&format!("{}/", folder.path().display())).unwrap_or(&text).to_owned())
    };
    let (error, text) = message(&[("a.pem", &good), ("b.pem", "junk")], false);
    assert!(matches!(error, DirectoryError::Key { .. }));
    assert_eq!(text, "b.pem: this is not the PEM file of an Ed25519, P-384 or RSA public key");
    let (error, text) = message(&[("a.pem", &good), ("revoked", "# x\n12\n")], false);
    assert!(matches!(error, DirectoryError::Text { .. }));
    assert_eq!(text, "revoked: line 2 is not a key id of 64 hexadecimal digits");
    let long = "#".repeat(64 * 1024 + 1);
    assert!(matches!(message(&[("a.pem", &long)], false).0, DirectoryError::Long { .. }));
    assert!(matches!(message(&[("revoked", &long)], false).0, DirectoryError::Long { .. }));
    assert!(matches!(message(&[("a.pem/file", "")], false).0, DirectoryError::Io { .. }));

    let (error, text) = message(&[("x/publickey", RSA), ("x/hashfunc", "HashType=RSA-SHA1")], true);
    assert!(matches!(error, DirectoryError::Text { .. }));
    assert!(text.starts_with("x/hashfunc: it must say HashType=RSA-SHA256"), "{text}");
    assert!(matches!(message(&[("x/publickey", RSA)], true).0, DirectoryError::Io { .. }));
    assert!(matches!(message(&[("x/hashfunc", "HashType=RSA-SHA256")], true).0, DirectoryError::Io { .. }));
    // OpenBMC's hash types are for RSA.
    let (error, text) = message(&[("x/publickey", &good), ("x/hashfunc", "HashType=RSA-SHA256")], true);
    assert!(matches!(error, DirectoryError::Key { .. }));
    assert_eq!(
        text,
        "x/publickey: rsa-pkcs1-sha256 signatures need another kind of key than this ed25519 key"
    );
}

#[test]
fn a_directory_has_bounds() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..65 {
        write(folder.path(), &format!("{number}.pem"), &public(number).to_pem().unwrap());
    }
    assert!(matches!(SystemKeys::read(folder.path()), Err(DirectoryError::Many { .. })));
    fs::remove_file(folder.path().join("0.pem")).unwrap();
    assert_eq!(SystemKeys::read(folder.path()).unwrap().keys.len(), 64);
    assert!(matches!(SystemKeys::read(Path::new("/nowhere")), Err(DirectoryError::Io { .. })));
}

#[cfg(unix)]
#[test]
fn a_list_that_is_a_link_to_nowhere_is_not_an_empty_list() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.path().join("revoked")).unwrap();
    assert!(matches!(SystemKeys::read(folder.path()), Err(DirectoryError::Io { .. })));
}
