//! Signatures of a package, as all commands show them, and how they are made elsewhere.

use inband_package::{
    Hex, Scheme,
    head::SignatureEntry,
    signature::{Hash, RsaPadding},
};
use serde::Serialize;

use crate::text::hex;

/// A signature that a package has, or has a place for.
#[derive(Serialize)]
pub(super) struct Signature {
    pub(super) kind: &'static str,
    pub(super) scheme: &'static str,
    pub(super) key_id: String,
}

impl From<&SignatureEntry> for Signature {
    fn from(entry: &SignatureEntry) -> Self {
        Self { kind: entry.kind().name(), scheme: entry.scheme.name(), key_id: hex(&entry.key_id) }
    }
}

/// All of them, for JSON.
pub(super) fn all(entries: &[SignatureEntry]) -> Vec<Signature> {
    entries.iter().map(Signature::from).collect()
}

/// All of them, for people: `ed25519 by key 01.., p384 by key 23..`.
pub(super) fn listed(entries: &[SignatureEntry]) -> String {
    let one = |entry: &SignatureEntry| format!("{} by key {}", entry.scheme, Hex(&entry.key_id));
    entries.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The command of openssl(1) that makes such a signature of the file `bytes` (docs/spec/package.md, 9).
pub(super) fn openssl(scheme: Scheme, bytes: &str) -> Option<String> {
    let digest = |hash, more: &str| {
        let hash = match hash {
            Hash::Sha256 => "sha256",
            Hash::Sha384 => "sha384",
            Hash::Sha512 => "sha512",
        };
        format!("openssl dgst -{hash} -sign KEY{more} -out SIGNATURE {bytes}")
    };
    match scheme {
        Scheme::Ed25519 => {
            Some(format!("openssl pkeyutl -sign -inkey KEY -rawin -in {bytes} -out SIGNATURE"))
        }
        Scheme::P384 => Some(digest(Hash::Sha384, "")),
        Scheme::Rsa(RsaPadding::Pkcs1, hash) => Some(digest(hash, "")),
        Scheme::Rsa(RsaPadding::Pss, hash) => {
            Some(digest(hash, " -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest"))
        }
        Scheme::MlDsa => None,
    }
}
