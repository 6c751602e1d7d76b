//! Values of options that have a form of their own.

use std::{fmt, path::PathBuf, str::FromStr};

use inband_package::{Kind, Scheme};

/// `NAME=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The member's name.
    pub name: String,
    /// The file its bytes come from.
    pub path: PathBuf,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("has to be NAME=FILE, such as image-bmc=obmc.static.mtd".to_owned()),
        }
    }
}

/// A 16-bit BCD number: `1.10`, or its four digits as `0110` or `0x0110`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bcd(pub u16);

impl FromStr for Bcd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "has to be a number in BCD, such as 1.10 or 0x0110 (at most 99.99)".to_owned();
        let (major, minor) = match text.split_once('.') {
            Some((major, minor)) => (major, minor),
            None => match text.strip_prefix("0x").unwrap_or(text) {
                digits if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
                _ => return Err(wrong()),
            },
        };
        let is_digits =
            |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(major) || minor.len() != 2 || !is_digits(minor) {
            return Err(wrong());
        }
        u16::from_str_radix(&format!("{major}{minor}"), 16).map(Self).map_err(|_| wrong())
    }
}

/// `VID:PID`, hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsbIds {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
}

impl FromStr for UsbIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |text: &str| match text.len() {
            1..=4 if text.bytes().all(|b| b.is_ascii_hexdigit()) => u16::from_str_radix(text, 16).ok(),
            _ => None,
        };
        text.split_once(':')
            .and_then(|(vendor, product)| Some(Self { vendor: id(vendor)?, product: id(product)? }))
            .ok_or_else(|| "has to be VID:PID in hexadecimal, such as 1d6b:0104".to_owned())
    }
}

/// `FILE` or `FILE:SCHEME`: a public key, and how it will sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key.
    pub path: PathBuf,
    /// How it signs, where there is a choice.
    pub scheme: Option<Scheme>,
}

impl FromStr for Signer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A drive or a folder may have a colon before it; no scheme has a dot or a slash in it.
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match text.rsplit_once(':') {
            Some((path, name)) if !path.is_empty() && is_name(name) => match Scheme::from_name(name) {
                Some(scheme) => Ok(Self { path: path.into(), scheme: Some(scheme) }),
                None => {
                    Err(format!("{name:?} is none of the schemes {}", names(Scheme::ALL.map(Scheme::name))))
                }
            },
            _ if text.is_empty() => Err("has to be FILE or FILE:SCHEME".to_owned()),
            _ => Ok(Self { path: text.into(), scheme: None }),
        }
    }
}

/// A kind of signature that this version verifies.
///
/// # Errors
/// What to write instead.
pub fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_name(text).filter(|kind| kind.is_implemented()).ok_or_else(|| {
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_implemented()).map(Kind::name);
        format!("has to be one of {}", names(kinds))
    })
}

/// What names a start: eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub u32);

impl FromStr for Nonce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let nonce = match digits.len() {
            1..=8 if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
            _ => None,
        };
        let nonce = nonce.filter(|nonce| *nonce != 0);
        nonce.map(Self).ok_or_else(|| "has to be as `inband start` prints it, such as 1f2e3d4c".to_owned())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A number of one byte: decimal, or hexadecimal behind `0x`.
///
/// # Errors
/// What to write instead.
pub fn byte(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "has to be a number from 0 to 255, such as 0x49".to_owned())
}

fn names(names: impl IntoIterator<Item = &'static str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// A kind of key that this program makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKey {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-384.
    P384,
}

impl FromStr for NewKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Kind::from_name(text) {
            Some(Kind::Ed25519) => Ok(Self::Ed25519),
            Some(Kind::P384) => Ok(Self::P384),
            Some(Kind::Rsa) => Err("RSA keys are made in an HSM, or by \
                `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out FILE`, and sign there"
                .to_owned()),
            Some(Kind::MlDsa) | None => Err("has to be ed25519 or p384".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use inband_package::signature::{Hash, RsaPadding};

    use super::*;

    #[test]
    fn bcd_takes_digits_only() {
        for (text, value) in [
            ("1.10", 0x0110),
            ("0110", 0x0110),
            ("0x0110", 0x0110),
            ("1.23", 0x0123),
            ("0x9999", 0x9999),
            ("99.99", 0x9999),
            ("0.00", 0),
        ] {
            assert_eq!(text.parse(), Ok(Bcd(value)), "{text}");
        }
        for text in [
            "", "1", "1.1", "1.1a", "100.00", "-1.00", "1.100", "0x01a0", "0xffff", "0x110", "0x00110", "0x",
            "0x1.10", "0X0110", "01a0", "1..0", "+1.00", "üü",
        ] {
            assert!(text.parse::<Bcd>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_hexadecimal() {
        assert_eq!("1d6b:0104".parse(), Ok(UsbIds { vendor: 0x1d6b, product: 0x0104 }));
        for text in ["", "1d6b", "1d6b:", "1d6b:01045", "+1:2", "1d6b:g"] {
            assert!(text.parse::<UsbIds>().is_err(), "{text}");
        }
    }

    #[test]
    fn nonces_and_bytes_are_numbers_and_nothing_else() {
        for (text, nonce) in [("1f2e3d4c", 0x1f2e_3d4c), ("0x1F2E3D4C", 0x1f2e_3d4c), ("1", 1)] {
            assert_eq!(text.parse(), Ok(Nonce(nonce)), "{text}");
        }
        assert_eq!(Nonce(0x2a).to_string(), "0000002a");
        for text in ["", "0", "0x", "+1", "123456789", "1f2e3d4g"] {
            assert!(text.parse::<Nonce>().is_err(), "{text}");
        }
        assert_eq!((byte("0x49"), byte("73"), byte("0xff")), (Ok(0x49), Ok(73), Ok(255)));
        for text in ["", "0x", "256", "0x100", "-1", "0x+1", "49h"] {
            assert!(byte(text).is_err(), "{text}");
        }
    }

    #[test]
    fn members_have_a_name_and_a_file() {
        let named = NamedFile { name: "image-bmc".into(), path: "a=b".into() };
        assert_eq!("image-bmc=a=b".parse(), Ok(named));
        for text in ["", "x", "=x", "x="] {
            assert!(text.parse::<NamedFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_signer_is_a_file_and_maybe_a_scheme() {
        let signer = |path: &str, scheme| Ok(Signer { path: path.into(), scheme });
        assert_eq!("hsm.pub".parse(), signer("hsm.pub", None));
        let scheme = Scheme::Rsa(RsaPadding::Pkcs1, Hash::Sha512);
        assert_eq!("keys/hsm.pub:rsa-pkcs1-sha512".parse(), signer("keys/hsm.pub", Some(scheme)));
        assert_eq!("C:\\hsm.pub".parse(), signer("C:\\hsm.pub", None));
        assert_eq!("C:\\hsm.pub:p384".parse(), signer("C:\\hsm.pub", Some(Scheme::P384)));
        assert_eq!("a:b/hsm.pub".parse(), signer("a:b/hsm.pub", None));
        for text in ["", "hsm.pub:", "hsm.pub:rsa", "hsm.pub:rsa-pss-sha1", "hsm.pub:P384"] {
            assert!(text.parse::<Signer>().is_err(), "{text}");
        }
    }

    #[test]
    fn kinds_are_those_that_can_be_had() {
        assert_eq!(kind("rsa"), Ok(Kind::Rsa));
        for text in ["", "ml-dsa", "RSA", "rsa-pss-sha256"] {
            assert!(kind(text).is_err(), "{text}");
        }
        assert_eq!("p384".parse(), Ok(NewKey::P384));
        assert!("rsa".parse::<NewKey>().is_err_and(|text| text.contains("openssl genpkey")));
        assert!("ml-dsa".parse::<NewKey>().is_err());
    }
}
