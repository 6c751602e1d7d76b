//! What the small text files of a key directory say (docs/spec/package.md, 8). No I/O here.

use alloc::vec::Vec;

use super::KeyId;
use crate::signature::{Hash, RsaPadding, Scheme};

/// Why a text file of a key directory cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A line of a list of revoked keys that is no key id.
    #[error("line {line} is not a key id of 64 hexadecimal digits")]
    KeyId {
        /// Number of the line, counted from 1.
        line: usize,
    },
    /// A `hashfunc` file that does not say one known hash.
    #[error("it must say HashType=RSA-SHA256, HashType=RSA-SHA384 or HashType=RSA-SHA512, and nothing else")]
    HashType,
}

/// Reads a list of revoked keys: one id a line, as 64 hexadecimal digits. What stands behind a `#` is a comment;
/// empty lines and blanks at both ends of a line mean nothing.
///
/// # Errors
/// [`TextError::KeyId`] for the first line that is anything else: a key that should be revoked and is not
/// would be worse than no start.
pub fn revoked(text: &str) -> Result<Vec<KeyId>, TextError> {
    let mut ids = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default().trim();
        if !content.is_empty() {
            ids.push(key_id(content).ok_or(TextError::KeyId { line })?);
        }
    }
    Ok(ids)
}

fn key_id(digits: &str) -> Option<KeyId> {
    let mut id = KeyId::default();
    let digits = digits.as_bytes();
    if digits.len() != 2 * id.len() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(id)
}

/// Reads what OpenBMC keeps beside a public key in the file `hashfunc`: the scheme of its signatures, which is
/// always RSASSA-PKCS1-v1_5. OpenBMC would take any hash that OpenSSL knows; here the list is closed.
///
/// # Errors
/// [`TextError::HashType`].
pub fn hashfunc(text: &str) -> Result<Scheme, TextError> {
    let hash = match text.trim() {
        "HashType=RSA-SHA256" => Hash::Sha256,
        "HashType=RSA-SHA384" => Hash::Sha384,
        "HashType=RSA-SHA512" => Hash::Sha512,
        _ => return Err(TextError::HashType),
    };
    Ok(Scheme::Rsa(RsaPadding::Pkcs1, hash))
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn revoked_keys_stand_one_a_line() {
        let id = "00112233445566778899aabbccddeeffFEDCBA98765432100123456789abcdef";
        let parsed: KeyId = [
            0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
            0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10, 0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF,
        ];
        assert_eq!(revoked(""), Ok(Vec::new()));
        assert_eq!(revoked("\n# nobody yet\n  \r\n"), Ok(Vec::new()));
        assert_eq!(revoked(id), Ok(alloc::vec![parsed]));
        let two = format!("# lost in May\r\n\t{id} # the old one\r\n\n{}#\n", "00".repeat(32));
        assert_eq!(revoked(&two), Ok(alloc::vec![parsed, [0; 32]]));
    }

    #[test]
    fn a_line_that_is_no_key_id_is_an_error() {
        let id = "0".repeat(64);
        for wrong in [
            "x",
            &id[1..],
            &format!("{id}0"),
            &format!("{id} {id}"),
            &format!("0x{}", &id[2..]),
            &format!("+{}", &id[1..]),
            &format!("{}g", &id[1..]),
            &format!("{}é", &id[2..]),
        ] {
            let text = format!("{id}\n#\n{wrong}\n");
            assert_eq!(revoked(&text), Err(TextError::KeyId { line: 3 }), "{wrong}");
        }
    }

    #[test]
    fn a_hashfunc_names_one_of_three_hashes() {
        for (name, hash) in [("256", Hash::Sha256), ("384", Hash::Sha384), ("512", Hash::Sha512)] {
            let scheme = Ok(Scheme::Rsa(RsaPadding::Pkcs1, hash));
            assert_eq!(hashfunc(&format!("HashType=RSA-SHA{name}\n")), scheme);
            assert_eq!(hashfunc(&format!("HashType=RSA-SHA{name}")), scheme);
        }
        for wrong in [
            "",
            "RSA-SHA256",
            "HashType=RSA-SHA1",
            "HashType=SHA256",
            "HashType=MD5",
            "HashType = RSA-SHA256",
            "hashtype=RSA-SHA256",
            "HashType=RSA-SHA256\nHashType=RSA-SHA512",
        ] {
            assert_eq!(hashfunc(wrong), Err(TextError::HashType), "{wrong}");
        }
    }
}
