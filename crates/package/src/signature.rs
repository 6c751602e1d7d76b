//! Kinds of signatures, the bytes they sign, and who checks them.

use alloc::vec::Vec;
use core::fmt;

use crate::head::{Head, SignedHead};
use crate::refusal::Refusal;

/// Longest signature of any kind, in bytes.
pub const MAX_LENGTH: u16 = 8192;

/// What stands before the head in the signed bytes, so that no signature made for another purpose fits here.
pub const DOMAIN: [u8; 16] = *b"inband/head/v1\0\0";

/// Length of the signed bytes: [`DOMAIN`] and the head.
pub const SIGNED_LENGTH: usize = DOMAIN.len() + crate::head::LENGTH;

/// A kind of signature. The numbers are part of the format: never reorder, never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Ed25519 (RFC 8032, pure) under the strict rule: canonical S and R, no keys of small order.
    Ed25519 = 1,
    /// ECDSA (FIPS 186-5) on P-384 with SHA-384: r and s, 48 bytes each, most significant first, s at most half
    /// the order of the curve.
    P384 = 2,
    /// RSA (RFC 8017) of 3,072 or 4,096 bits with the exponent 65,537. Its [`Scheme`] says the rest.
    Rsa = 3,
    /// ML-DSA (FIPS 204). Reserved: this version refuses it.
    MlDsa = 4,
}

impl Kind {
    /// Every kind the format knows, by number.
    pub const ALL: [Self; 4] = [Self::Ed25519, Self::P384, Self::Rsa, Self::MlDsa];

    /// The kind with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name, as it stands in configuration files and in the signature member's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P384 => "p384",
            Self::Rsa => "rsa",
            Self::MlDsa => "ml-dsa",
        }
    }

    /// The kind with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Name of the tar member that holds a signature of this kind.
    #[must_use]
    pub const fn member_name(self) -> &'static str {
        match self {
            Self::Ed25519 => "inband.head.ed25519.sig",
            Self::P384 => "inband.head.p384.sig",
            Self::Rsa => "inband.head.rsa.sig",
            Self::MlDsa => "inband.head.ml-dsa.sig",
        }
    }

    /// Whether a signature of this kind may have `length` bytes.
    #[must_use]
    pub const fn allows_length(self, length: u16) -> bool {
        match self {
            Self::Ed25519 => length == 64,
            Self::P384 => length == 96,
            Self::Rsa => length == 384 || length == 512,
            Self::MlDsa => 1 <= length && length <= MAX_LENGTH,
        }
    }

    /// Whether this version can verify the kind.
    #[must_use]
    pub const fn is_implemented(self) -> bool {
        match self {
            Self::Ed25519 | Self::P384 | Self::Rsa => true,
            Self::MlDsa => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a signature is made, to the last choice: a kind, and the scheme byte of the signature table where the
/// kind leaves one. The head holds the byte, so it is signed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// The only one of [`Kind::Ed25519`].
    Ed25519,
    /// The only one of [`Kind::P384`].
    P384,
    /// [`Kind::Rsa`] with this padding.
    Rsa(RsaPadding, Hash),
    /// The only one of [`Kind::MlDsa`].
    MlDsa,
}

/// The paddings of RSA signatures (RFC 8017).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RsaPadding {
    /// RSASSA-PSS (8.1): MGF1 with the same hash, a salt as long as the hash.
    Pss,
    /// RSASSA-PKCS1-v1_5 (8.2), as OpenBMC signs.
    Pkcs1,
}

/// The hashes that RSA signatures use (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Scheme {
    /// Every scheme the format knows, by kind and number.
    pub const ALL: [Self; 9] = [
        Self::Ed25519,
        Self::P384,
        Self::Rsa(RsaPadding::Pss, Hash::Sha256),
        Self::Rsa(RsaPadding::Pss, Hash::Sha384),
        Self::Rsa(RsaPadding::Pss, Hash::Sha512),
        Self::Rsa(RsaPadding::Pkcs1, Hash::Sha256),
        Self::Rsa(RsaPadding::Pkcs1, Hash::Sha384),
        Self::Rsa(RsaPadding::Pkcs1, Hash::Sha512),
        Self::MlDsa,
    ];

    /// The scheme of this kind with this number on the wire.
    #[must_use]
    pub fn from_number(kind: Kind, number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.kind() == kind && scheme.number() == number)
    }

    /// The scheme with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// The kind of signature that it makes.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Ed25519 => Kind::Ed25519,
            Self::P384 => Kind::P384,
            Self::Rsa(..) => Kind::Rsa,
            Self::MlDsa => Kind::MlDsa,
        }
    }

    /// The number on the wire, among those of its kind. Part of the format: never reorder, never reuse one.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ed25519 | Self::P384 | Self::MlDsa | Self::Rsa(RsaPadding::Pss, Hash::Sha256) => 0,
            Self::Rsa(RsaPadding::Pss, Hash::Sha384) => 1,
            Self::Rsa(RsaPadding::Pss, Hash::Sha512) => 2,
            Self::Rsa(RsaPadding::Pkcs1, Hash::Sha256) => 3,
            Self::Rsa(RsaPadding::Pkcs1, Hash::Sha384) => 4,
            Self::Rsa(RsaPadding::Pkcs1, Hash::Sha512) => 5,
        }
    }

    /// The name, for people and command lines. A kind without a choice is a scheme of the same name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 | Self::P384 | Self::MlDsa => self.kind().name(),
            Self::Rsa(RsaPadding::Pss, Hash::Sha256) => "rsa-pss-sha256",
            Self::Rsa(RsaPadding::Pss, Hash::Sha384) => "rsa-pss-sha384",
            Self::Rsa(RsaPadding::Pss, Hash::Sha512) => "rsa-pss-sha512",
            Self::Rsa(RsaPadding::Pkcs1, Hash::Sha256) => "rsa-pkcs1-sha256",
            Self::Rsa(RsaPadding::Pkcs1, Hash::Sha384) => "rsa-pkcs1-sha384",
            Self::Rsa(RsaPadding::Pkcs1, Hash::Sha512) => "rsa-pkcs1-sha512",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes that every signature of a package signs (docs/spec/package.md, 4).
#[must_use]
pub fn signed_bytes(head: &SignedHead) -> [u8; SIGNED_LENGTH] {
    let mut bytes = [0; SIGNED_LENGTH];
    bytes[..DOMAIN.len()].copy_from_slice(&DOMAIN);
    bytes[DOMAIN.len()..].copy_from_slice(head);
    bytes
}

/// Decides whether a head is authentic. [`KeyRing`](crate::KeyRing) is the one for use; tests and fuzz
/// targets bring others to get past the signature.
///
/// The reader calls [`accepts`](Self::accepts) once with a head that follows the format and suits this
/// machine, and, if that is `Ok`, [`verify`](Self::verify) once with the same head when all its signatures
/// are there.
pub trait Verifier {
    /// Compares the signature table with the policy, before any signature is there.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] if a kind or key is not accepted or a required kind is missing.
    fn accepts(&self, head: &Head) -> Result<(), Refusal>;

    /// Verifies all of `signatures`: one for each entry of the head's table, in its order, each with the
    /// length that the table says. `bytes` is what `head` was parsed from.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`] if one does not verify, and those of [`accepts`](Self::accepts).
    fn verify(&self, head: &Head, bytes: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal>;
}

impl<V: Verifier + ?Sized> Verifier for &V {
    fn accepts(&self, head: &Head) -> Result<(), Refusal> {
        (**self).accepts(head)
    }

    fn verify(&self, head: &Head, bytes: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        (**self).verify(head, bytes, signatures)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn numbers_names_and_member_names_agree() {
        for (number, kind) in (1..).zip(Kind::ALL) {
            assert_eq!(kind.number(), number);
            assert_eq!(Kind::from_number(number), Some(kind));
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(kind.member_name(), format!("inband.head.{kind}.sig"));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(5), None);
        assert_eq!(Kind::from_name("ED25519"), None);
    }

    #[test]
    fn schemes_have_numbers_within_their_kind() {
        for kind in Kind::ALL {
            let of_kind = Scheme::ALL.into_iter().filter(|scheme| scheme.kind() == kind);
            for (number, scheme) in (0..).zip(of_kind) {
                assert_eq!(scheme.number(), number);
                assert_eq!(Scheme::from_number(kind, number), Some(scheme));
                assert_eq!(Scheme::from_name(scheme.name()), Some(scheme));
                assert!(scheme.name().starts_with(kind.name()));
            }
            let count = if kind == Kind::Rsa { 6 } else { 1 };
            for number in count..=u8::MAX {
                assert_eq!(Scheme::from_number(kind, number), None, "{kind} {number}");
            }
        }
    }
}
