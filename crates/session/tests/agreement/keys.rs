//! The keys of the test's BMC, and who signs.

use std::sync::LazyLock;

use inband_package::head::SignatureEntry;
use inband_package::key::KeyId;
use inband_package::maker::PrivateKey;
use inband_package::signature::{Hash, RsaPadding, signed_bytes};
use inband_package::{PublicKey, Scheme};

/// Who signs a draft.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    /// One of the [`KEYS`].
    Key(usize),
    /// A key, of RSA one whose private half is gone: of the one head that it signed, the signature.
    Frozen(&'static Frozen),
    /// Nobody: an entry of the table, and zeros.
    Nobody(SignatureEntry),
    /// The first of the [`KEYS`] in the name of another.
    Forger(SignatureEntry),
}

/// A signature of the head of [`frozen_draft`](crate::bases::frozen_draft): by openssl(1), or worked out from the numbers.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) key: &'static LazyLock<PublicKey>,
    pub(crate) scheme: Scheme,
    pub(crate) signature: &'static [u8],
}

/// Two Ed25519 keys, then two for P-384.
pub(crate) static KEYS: LazyLock<[PrivateKey; 4]> = LazyLock::new(|| {
    let p384 = |number| PrivateKey::p384_from_number(&[number; 48]).unwrap();
    [PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]), p384(3), p384(4)]
});
static PUBLIC_KEYS: LazyLock<Vec<PublicKey>> =
    LazyLock::new(|| KEYS.iter().map(|key| key.public().unwrap()).collect());
static ED25519: LazyLock<PublicKey> = LazyLock::new(|| KEYS[0].public().unwrap());
static RSA_3072: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::from_pem(include_str!("frozen/rsa-3072.pem")).unwrap());
static RSA_4096: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::from_pem(include_str!("frozen/rsa-4096.pem")).unwrap());

/// Every public key of the BMC.
pub(crate) fn all() -> Vec<PublicKey> {
    PUBLIC_KEYS.iter().cloned().chain([RSA_3072.clone(), RSA_4096.clone()]).collect()
}

macro_rules! frozen {
    ($key:ident, $padding:ident, $hash:ident, $file:literal) => {
        frozen!($key, Scheme::Rsa(RsaPadding::$padding, Hash::$hash), $file)
    };
    ($key:ident, $scheme:expr, $file:literal) => {
        Frozen { key: &$key, scheme: $scheme, signature: include_bytes!(concat!("frozen/", $file)) }
    };
}

/// How many of the [`FROZEN`] are good: the first ones.
pub(crate) const GOOD: usize = 6;
/// How many of them, those among them, are by RSA keys.
pub(crate) const RSA: usize = 10;

/// One of each RSA scheme that is good, and then some in forms that a lax reader takes.
pub(crate) static FROZEN: [Frozen; 13] = [
    frozen!(RSA_3072, Pss, Sha256, "pss-sha256.sig"),
    frozen!(RSA_4096, Pss, Sha384, "pss-sha384.sig"),
    frozen!(RSA_3072, Pss, Sha512, "pss-sha512.sig"),
    frozen!(RSA_4096, Pkcs1, Sha256, "pkcs1-sha256.sig"),
    frozen!(RSA_3072, Pkcs1, Sha384, "pkcs1-sha384.sig"),
    frozen!(RSA_4096, Pkcs1, Sha512, "pkcs1-sha512.sig"),
    frozen!(RSA_3072, Pss, Sha256, "pss-no-salt.sig"),
    frozen!(RSA_4096, Pss, Sha384, "pss-longest-salt.sig"),
    frozen!(RSA_4096, Pkcs1, Sha256, "pkcs1-without-null.sig"),
    frozen!(RSA_4096, Pkcs1, Sha512, "pkcs1-plus-modulus.sig"),
    // The equation holds, but R is of small order, in its own encoding and in another.
    frozen!(ED25519, Scheme::Ed25519, "ed25519-small-r.sig"),
    frozen!(ED25519, Scheme::Ed25519, "ed25519-small-r-plus-p.sig"),
    // Only eight times the equation holds.
    frozen!(ED25519, Scheme::Ed25519, "ed25519-cofactor.sig"),
];

impl Signer {
    pub(crate) fn entry(&self) -> SignatureEntry {
        match self {
            Self::Key(number) => PUBLIC_KEYS[*number].signature_entry(),
            Self::Frozen(frozen) => SignatureEntry { scheme: frozen.scheme, ..frozen.key.signature_entry() },
            Self::Nobody(entry) | Self::Forger(entry) => *entry,
        }
    }

    pub(crate) fn sign(&self, head: &[u8; 512]) -> Vec<u8> {
        match self {
            Self::Key(number) => KEYS[*number].sign(&signed_bytes(head)),
            Self::Frozen(frozen) => frozen.signature.to_vec(),
            Self::Nobody(entry) => vec![0; entry.length.into()],
            Self::Forger(entry) => {
                let mut signature = KEYS[0].sign(&signed_bytes(head));
                signature.resize(entry.length.into(), 0);
                signature
            }
        }
    }
}

/// The id of the public key with this number.
pub(crate) fn id(number: usize) -> KeyId {
    *PUBLIC_KEYS[number].id()
}
