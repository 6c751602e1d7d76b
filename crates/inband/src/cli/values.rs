//! Values of options that have a form of their own.

use std::{path::PathBuf, str::FromStr};

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

/// A 16-bit BCD number: `1.10`, or `0110` with its four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bcd(pub u16);

impl FromStr for Bcd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "has to be a number in BCD, such as 1.10 (at most 99.99)".to_owned();
        let (major, minor) = match text.split_once('.') {
            Some((major, minor)) => (major, minor),
            None if text.len() == 4 && text.is_ascii() => text.split_at(2),
            None => return Err(wrong()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bcd_takes_digits_only() {
        for (text, value) in [("1.10", 0x0110), ("0110", 0x0110), ("99.99", 0x9999), ("0.00", 0)] {
            assert_eq!(text.parse(), Ok(Bcd(value)), "{text}");
        }
        for text in ["", "1", "1.1", "1.1a", "100.00", "-1.00", "1.100", "0x0110", "1..0", "+1.00", "üü"] {
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
    fn members_have_a_name_and_a_file() {
        let named = NamedFile { name: "image-bmc".into(), path: "a=b".into() };
        assert_eq!("image-bmc=a=b".parse(), Ok(named));
        for text in ["", "x", "=x", "x="] {
            assert!(text.parse::<NamedFile>().is_err(), "{text}");
        }
    }
}
