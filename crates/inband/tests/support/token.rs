//! Keys that never leave a token: SoftHSM, through OpenSC's pkcs11-tool(1).

use std::{fs, path::Path};

use super::Bench;

/// Where distributions keep SoftHSM's library.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// SubjectPublicKeyInfo before the point of a P-384 key (RFC 5480).
const P384: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x05, 0x2B, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// SubjectPublicKeyInfo before the point of an Ed25519 key (RFC 8410).
const ED25519: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Of the user.
pub(crate) const PIN: &str = "2468";

/// A new token, in a bench.
pub(crate) struct Token<'a> {
    bench: &'a Bench,
    pub(crate) module: &'static str,
}

impl<'a> Token<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        let Some(module) = MODULES.into_iter().find(|path| Path::new(path).exists()) else {
            panic!(
                "SoftHSM's library is not there (Debian package softhsm2): `cargo xtask packages` installs it"
            )
        };
        fs::create_dir(bench.path("tokens")).expect("the folder is writable");
        let configuration =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", bench.arg("tokens"));
        fs::write(bench.path("softhsm2.conf"), configuration).expect("the folder is writable");
        let initialise = ["--init-token", "--free", "--label", "release", "--pin", PIN, "--so-pin", "1357"];
        bench.run("softhsm2-util", &initialise);
        Self { bench, module }
    }

    /// Runs pkcs11-tool(1); what it prints.
    pub(crate) fn tool(&self, arguments: &[&str]) -> String {
        let login = ["--module", self.module, "--login", "--pin", PIN];
        let printed = self.bench.run("pkcs11-tool", &[&login, arguments].concat());
        String::from_utf8(printed).expect("pkcs11-tool prints text")
    }

    /// Makes a key pair, and writes its public half into the file `name`, PEM.
    pub(crate) fn make_key(&self, key_type: &str, id: &str, name: &str) {
        self.tool(&["--keypairgen", "--key-type", key_type, "--id", id]);
        match key_type {
            "EC:secp384r1" => self.write_point(id, "0461", &P384),
            "EC:edwards25519" => self.write_point(id, "0420", &ED25519),
            _ => {
                let read = ["--read-object", "--type", "pubkey", "--id", id, "--output-file", "public.der"];
                self.tool(&read);
            }
        }
        self.bench.run("openssl", &["pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", name]);
    }

    /// pkcs11-tool of OpenSC 0.23 cannot write keys on curves: it only lists the point, in a DER OCTET STRING that begins with `octets`.
    fn write_point(&self, id: &str, octets: &str, prefix: &[u8]) {
        let listed = self.tool(&["--list-objects", "--type", "pubkey", "--id", id]);
        // It lists the other keys as well, in any order, whatever the id; there is one key a curve.
        let mut points = listed.lines().filter_map(|line| line.trim().strip_prefix("EC_POINT:"));
        let point = points.find_map(|point| point.trim().strip_prefix(octets));
        let point = point.expect("pkcs11-tool lists the point");
        let byte = |at| u8::from_str_radix(&point[at..at + 2], 16).expect("hexadecimal digits");
        let bytes = (0..point.len()).step_by(2).map(byte);
        let der: Vec<u8> = prefix.iter().copied().chain(bytes).collect();
        fs::write(self.bench.path("public.der"), der).expect("the folder is writable");
    }

    /// Signs the file `message` into the file `signature`, by the commands of docs/spec/package.md.
    pub(crate) fn sign(&self, scheme: &str, id: &str) {
        let (mechanism, input) = match scheme {
            "p384" => {
                // Few tokens hash for ECDSA themselves.
                self.bench.run("openssl", &["dgst", "-sha384", "-binary", "-out", "digest", "message"]);
                ("ECDSA".to_owned(), "digest")
            }
            "ed25519" => ("EDDSA".to_owned(), "message"),
            _ => {
                let (rest, hash) = scheme.rsplit_once('-').expect("an RSA scheme");
                let pss = if rest == "rsa-pss" { "-PSS" } else { "" };
                (format!("{}-RSA-PKCS{pss}", hash.to_uppercase()), "message")
            }
        };
        let sign = ["--sign", "--mechanism", &mechanism, "--id", id];
        self.tool(&[&sign[..], &["--input-file", input, "--output-file", "signature"]].concat());
    }
}
