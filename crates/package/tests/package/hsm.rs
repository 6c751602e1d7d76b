//! Keys that never leave a token: SoftHSM, through OpenSC's pkcs11-tool(1), as another signer.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use inband_package::maker::{attach, signed_bytes_of, verify};
use inband_package::signature::{Hash, RsaPadding};
use inband_package::{KeyRing, Kind, PublicKey, Scheme};

use crate::common::policy;
use crate::programs::{run, run_for_text};
use crate::signers::unsigned;

/// Where distributions keep SoftHSM's library.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// A new token in a folder of its own.
struct Token {
    folder: tempfile::TempDir,
    module: &'static str,
}

impl Token {
    fn new() -> Self {
        let Some(module) = MODULES.into_iter().find(|path| Path::new(path).exists()) else {
            panic!(
                "SoftHSM's library is not there (Debian package softhsm2): `cargo xtask packages` installs it"
            )
        };
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let configuration =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        fs::write(folder.path().join("softhsm2.conf"), configuration).unwrap();
        let initialise =
            ["--init-token", "--free", "--label", "release", "--pin", "2468", "--so-pin", "1357"];
        run(folder.path(), "softhsm2-util", &initialise);
        Self { folder, module }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self, arguments: &[&str]) -> String {
        let login = ["--module", self.module, "--login", "--pin", "2468"];
        run_for_text(self.folder.path(), "pkcs11-tool", &[&login, arguments].concat())
    }

    fn make_key(&self, key_type: &str) {
        self.tool(&["--keypairgen", "--key-type", key_type, "--id", "01"]);
    }

    /// Signs a file with the key, by the commands of docs/spec/package.md.
    fn sign(&self, scheme: Scheme) -> Vec<u8> {
        let (mechanism, input) = match scheme {
            Scheme::P384 => {
                // Few tokens hash for ECDSA themselves.
                let digest = ["dgst", "-sha384", "-binary", "-out", "digest", "message"];
                run(self.folder.path(), "openssl", &digest);
                ("ECDSA", "digest")
            }
            Scheme::Rsa(RsaPadding::Pss, Hash::Sha256) => ("SHA256-RSA-PKCS-PSS", "message"),
            Scheme::Rsa(RsaPadding::Pss, Hash::Sha384) => ("SHA384-RSA-PKCS-PSS", "message"),
            Scheme::Rsa(RsaPadding::Pss, Hash::Sha512) => ("SHA512-RSA-PKCS-PSS", "message"),
            Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha256) => ("SHA256-RSA-PKCS", "message"),
            Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha384) => ("SHA384-RSA-PKCS", "message"),
            Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha512) => ("SHA512-RSA-PKCS", "message"),
            Scheme::Ed25519 => ("EDDSA", "message"),
            Scheme::MlDsa => unreachable!("SoftHSM does not have it"),
        };
        let sign = ["--sign", "--mechanism", mechanism, "--id", "01"];
        self.tool(&[&sign[..], &["--input-file", input, "--output-file", "signature"]].concat());
        fs::read(self.path("signature")).unwrap()
    }

    /// Packs for the key, signs in the token, attaches, and lets a BMC read it.
    fn releases(&self, key: &PublicKey) {
        let mut file = unsigned(&[key]);
        fs::write(self.path("message"), signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap()).unwrap();
        attach(&mut file, key, &self.sign(key.scheme())).unwrap();
        let ring = KeyRing::new(vec![key.kind()], vec![key.clone()]).unwrap();
        verify(&mut file.into_inner().as_slice(), &ring, policy()).unwrap();
    }
}

/// The bytes that stand in hexadecimal digits behind `name` in what pkcs11-tool lists.
fn listed(text: &str, name: &str) -> Vec<u8> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
    let digits = line.trim();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn a_token_s_rsa_key_signs_in_every_scheme() {
    let token = Token::new();
    token.make_key("rsa:3072");
    token.tool(&["--read-object", "--type", "pubkey", "--id", "01", "--output-file", "public.der"]);
    let key = PublicKey::from_der(&fs::read(token.path("public.der")).unwrap()).unwrap();
    for scheme in Scheme::ALL.into_iter().filter(|scheme| scheme.kind() == Kind::Rsa) {
        token.releases(&key.clone().only_for(scheme).unwrap());
    }
}

#[test]
fn a_token_s_p384_key_signs() {
    let token = Token::new();
    token.make_key("EC:secp384r1");
    // pkcs11-tool of OpenSC 0.23 cannot write this key: it only lists the point, in a DER OCTET STRING.
    let point = listed(&token.tool(&["--list-objects", "--type", "pubkey", "--id", "01"]), "EC_POINT:");
    let point = point.strip_prefix(&[0x04, 0x61]).unwrap();
    let prefix = [
        0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x05, 0x2B, 0x81,
        0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
    ];
    let key = PublicKey::from_der(&[&prefix, point].concat()).unwrap();
    assert_eq!(key.kind(), Kind::P384);
    // Signatures are drawn: with s in either half of its range.
    for _ in 0..8 {
        token.releases(&key);
    }
}
