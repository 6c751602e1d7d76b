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
    /// ECDSA on P-384. Reserved: this version refuses it.
    P384 = 2,
    /// RSA. Reserved: this version refuses it.
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
            Self::P384 | Self::Rsa | Self::MlDsa => 1 <= length && length <= MAX_LENGTH,
        }
    }

    /// Whether this version can verify the kind.
    #[must_use]
    pub const fn is_implemented(self) -> bool {
        match self {
            Self::Ed25519 => true,
            Self::P384 | Self::Rsa | Self::MlDsa => false,
        }
    }
}

impl fmt::Display for Kind {
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
}
