//! RSA signatures (RFC 8017), verification only.
//!
//! Nothing here is secret, so nothing need be constant in time. The padding of a PKCS #1 v1.5 signature is not
//! parsed: the one that must be there is made and compared, so no lenience can creep in.

use alloc::vec::Vec;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use ed25519_dalek::pkcs8::spki::der::asn1::UintRef;
use ed25519_dalek::pkcs8::spki::der::{self, Decode, Reader, SliceReader};

use super::{KeyError, KeyHalf};
use crate::hashed::Hashed;
use crate::signature::{Hash, RsaPadding};

/// The only exponent, 2^16 + 1: the one that OpenBMC, HSMs and openssl(1) use.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// A modulus of 3,072 or 4,096 bits; the exponent is 65,537.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    parameters: BoxedMontyParams,
    /// Length of the modulus, and so of a signature, in bytes.
    length: u16,
}

impl Key {
    /// Reads an RSAPublicKey (RFC 8017, A.1.1).
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = parse(der).map_err(|_| KeyError::Pem(KeyHalf::Public))?;
        let length = match modulus.len() {
            384 => 384,
            512 => 512,
            _ => return Err(KeyError::Rsa),
        };
        // A first bit of 0 makes the modulus shorter, whatever its bytes.
        if modulus[0] & 0x80 == 0 || exponent != EXPONENT {
            return Err(KeyError::Rsa);
        }
        let modulus = BoxedUint::from_be_slice(modulus, u32::from(length) * 8).map_err(|_| KeyError::Rsa)?;
        let modulus = Odd::new(modulus).into_option().ok_or(KeyError::Rsa)?;
        Ok(Self { parameters: BoxedMontyParams::new_vartime(modulus), length })
    }

    pub(super) const fn length(&self) -> u16 {
        self.length
    }

    /// Whether this is a signature of the message with this hash.
    pub(super) fn verifies(&self, padding: RsaPadding, message: &Hashed, signature: &[u8]) -> bool {
        let Some(encoded) = self.raise(signature) else { return false };
        let (hash, digest) = (message.hash(), message.digest());
        match padding {
            RsaPadding::Pkcs1 => encoded == pkcs1_encoding(hash, digest, encoded.len()),
            RsaPadding::Pss => is_pss_encoding(hash, digest, &encoded),
        }
    }

    /// RSAVP1 (5.2.2) between octet strings: the encoded message of a signature, as long as the modulus.
    /// `None` for a signature of another length, or one that is not below the modulus.
    fn raise(&self, signature: &[u8]) -> Option<Vec<u8>> {
        if signature.len() != usize::from(self.length) {
            return None;
        }
        let signature = BoxedUint::from_be_slice(signature, self.parameters.bits_precision()).ok()?;
        if signature >= **self.parameters.modulus() {
            return None;
        }
        let base = BoxedMontyForm::new(signature, &self.parameters);
        let mut power = base.clone();
        for _ in 0..16 {
            power = power.square();
        }
        Some(power.mul(&base).retrieve().to_be_bytes().into_vec())
    }
}

/// Modulus and exponent, without leading zeros.
fn parse(bytes: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(bytes)?;
    let numbers = reader.sequence(|fields| {
        Ok::<_, der::Error>((UintRef::decode(fields)?.as_bytes(), UintRef::decode(fields)?.as_bytes()))
    })?;
    reader.finish()?;
    Ok(numbers)
}

/// EMSA-PKCS1-v1_5 (9.2), `length` bytes long.
fn pkcs1_encoding(hash: Hash, digest: &[u8], length: usize) -> Vec<u8> {
    // DigestInfo up to the digest (9.2, note 1).
    let prefix = |total: u8, last: u8, digest: u8| {
        let oid = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last];
        [&[0x30, total, 0x30, 0x0D][..], &oid, &[0x05, 0x00, 0x04, digest]].concat()
    };
    let prefix = match hash {
        Hash::Sha256 => prefix(0x31, 1, 0x20),
        Hash::Sha384 => prefix(0x41, 2, 0x30),
        Hash::Sha512 => prefix(0x51, 3, 0x40),
    };
    let mut encoded = Vec::with_capacity(length);
    encoded.extend_from_slice(&[0x00, 0x01]);
    encoded.resize(length.saturating_sub(1 + prefix.len() + digest.len()), 0xFF);
    encoded.push(0x00);
    encoded.extend_from_slice(&prefix);
    encoded.extend_from_slice(digest);
    encoded
}

/// EMSA-PSS-VERIFY (9.1.2) with a salt as long as the hash. `encoded` has one bit more than the standard's
/// emBits, since the modulus has a multiple of eight: that bit must be 0 as well.
fn is_pss_encoding(hash: Hash, digest: &[u8], encoded: &[u8]) -> bool {
    let [masked @ .., 0xBC] = encoded else { return false };
    let Some((masked, seal)) = split_tail(masked, digest.len()) else { return false };
    let mask = mgf1(hash, seal, masked.len());
    let mut block: Vec<u8> = masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    if masked.first().is_none_or(|byte| byte & 0x80 != 0) {
        return false;
    }
    block[0] &= 0x7F;
    let Some((padding, salt)) = split_tail(&block, digest.len()) else { return false };
    let [zeros @ .., 1] = padding else { return false };
    zeros.iter().all(|byte| *byte == 0) && Hashed::of(hash, &[&[0; 8], digest, salt]).digest() == seal
}

/// All but the last `length` bytes, and those.
fn split_tail(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(length)?)
}

/// MGF1 (B.2.1): `length` bytes.
fn mgf1(hash: Hash, seed: &[u8], length: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(length + seed.len());
    for counter in 0_u32.. {
        if mask.len() >= length {
            break;
        }
        mask.extend_from_slice(Hashed::of(hash, &[seed, &counter.to_be_bytes()]).digest());
    }
    mask.truncate(length);
    mask
}
