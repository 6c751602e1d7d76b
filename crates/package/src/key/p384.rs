//! ECDSA on P-384 with SHA-384 (FIPS 186-5, 6).

#[cfg(feature = "maker")]
use alloc::vec::Vec;

use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};

/// Length of a signature in bytes: r and s.
pub(super) const SIGNATURE_LENGTH: u16 = 96;

/// A point of the curve.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(VerifyingKey);

impl Key {
    /// Reads an uncompressed point (SEC 1, 2.3.4): 04h, x, y.
    pub(super) fn from_sec1(bytes: &[u8]) -> Option<Self> {
        let uncompressed = bytes.first() == Some(&4);
        VerifyingKey::from_sec1_bytes(bytes).ok().filter(|_| uncompressed).map(Self)
    }

    /// Whether these are r and s for `message`, both within the order, s in its lower half.
    ///
    /// With every (r, s) the pair (r, -s) verifies too: without the last rule anybody could make a second
    /// signature from a first, and a package would have two forms.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| {
            signature.normalize_s() == signature && self.0.verify(message, &signature).is_ok()
        })
    }
}

/// The form that packages hold, from r and s as PKCS#11 gives them or from DER as openssl(1) writes it.
#[cfg(feature = "maker")]
pub(super) fn canonical(signature: &[u8]) -> Option<Vec<u8>> {
    let parsed = Signature::from_slice(signature).or_else(|_| Signature::from_der(signature));
    parsed.ok().map(|signature| signature.normalize_s().to_vec())
}
