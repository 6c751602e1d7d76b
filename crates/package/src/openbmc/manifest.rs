//! `MANIFEST`: what an OpenBMC tar is for (docs/spec/openbmc.md, 5). It is read once it is known to be authentic.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::head::MAX_MACHINE;
use crate::index::{MAX_COMPATIBLE, MAX_VERSION};
use crate::is_str_byte;
use crate::signature::Hash;

/// The only purpose that is taken: firmware for the BMC.
pub const PURPOSE: &str = "xyz.openbmc_project.Software.Version.VersionPurpose.BMC";

/// Most bytes of a MANIFEST.
pub const MAX_LENGTH: u64 = 16 * 1024;

/// Most bytes of a line's key, and of its value.
const KEY_LENGTHS: RangeInclusive<usize> = 1..=64;
const MAX_VALUE: usize = 512;
/// Most lines.
const MAX_LINES: usize = 128;
/// How the keys end that ask for a second signature, of an algorithm that is not known here.
const SECOND_SIGNATURE: &str = "_Hash_Type";

/// What a MANIFEST says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the tar is for; [`PURPOSE`] is the BMC's firmware.
    pub purpose: String,
    /// The firmware's version.
    pub version: String,
    /// The board.
    pub machine: String,
    /// The hash of the signatures by the tar's own key.
    pub hash: Hash,
    /// Names of compatible machines.
    pub compatible: Vec<String>,
}

/// How a MANIFEST breaks the format. Lines are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A line that is not `KEY=VALUE` in printable ASCII with a line feed behind it.
    #[error("line {0} is not KEY=VALUE")]
    Line(usize),
    /// Too many lines.
    #[error("there are more than {MAX_LINES} lines")]
    Lines,
    /// A key that stands there twice.
    #[error("{0} stands there twice")]
    Twice(&'static str),
    /// A key that is not there.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// A value that breaks the rules of its key.
    #[error("the value of {0} is not allowed")]
    Value(&'static str),
    /// More compatible names than an index can hold.
    #[error("there are more than {MAX_COMPATIBLE} CompatibleName lines")]
    Compatible,
    /// It asks for a signature of an algorithm that is not known here: without it, it would be half-signed.
    #[error("line {0} asks for a second signature, which this version cannot verify")]
    SecondSignature(usize),
}

impl Manifest {
    /// Reads a MANIFEST.
    ///
    /// # Errors
    /// The first rule that is broken: of lines from the first to the last, then of keys that are missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let (mut purpose, mut version, mut machine, mut hash) = (None, None, None, None);
        let mut compatible = Vec::new();
        let mut rest = bytes;
        for number in 1_usize.. {
            if rest.is_empty() {
                break;
            }
            if number > MAX_LINES {
                return Err(ManifestError::Lines);
            }
            let (key, value, behind) = line(rest).ok_or(ManifestError::Line(number))?;
            rest = behind;
            match key {
                "purpose" => set(&mut purpose, "purpose", text(value, 128))?,
                "version" => set(&mut version, "version", text(value, MAX_VERSION))?,
                "MachineName" => set(&mut machine, "MachineName", text(value, MAX_MACHINE))?,
                "HashType" => set(&mut hash, "HashType", hash_type(value))?,
                "CompatibleName" => {
                    let name = text(value, MAX_MACHINE).ok_or(ManifestError::Value("CompatibleName"))?;
                    if compatible.len() == MAX_COMPATIBLE {
                        return Err(ManifestError::Compatible);
                    }
                    compatible.push(name);
                }
                _ if key.ends_with(SECOND_SIGNATURE) => return Err(ManifestError::SecondSignature(number)),
                // ExtendedVersion, BuildId, KeyType and what vendors add: signed, and of no effect here.
                _ => {}
            }
        }
        Ok(Self {
            purpose: purpose.ok_or(ManifestError::Missing("purpose"))?,
            version: version.ok_or(ManifestError::Missing("version"))?,
            machine: machine.ok_or(ManifestError::Missing("MachineName"))?,
            hash: hash.ok_or(ManifestError::Missing("HashType"))?,
            compatible,
        })
    }
}

/// Key and value of the first line, and what follows it.
fn line(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, behind) = (&bytes[..end], &bytes[end + 1..]);
    let (key, value) = core::str::from_utf8(line).ok()?.split_once('=')?;
    let key_good = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let value_good = value.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    let good = key_good && value_good && KEY_LENGTHS.contains(&key.len()) && value.len() <= MAX_VALUE;
    good.then_some((key, value, behind))
}

/// Keeps a value that must be good, of a key that may stand there once.
fn set<T>(place: &mut Option<T>, key: &'static str, value: Option<T>) -> Result<(), ManifestError> {
    let value = value.ok_or(ManifestError::Value(key))?;
    if place.replace(value).is_some() { Err(ManifestError::Twice(key)) } else { Ok(()) }
}

/// A value as an index could hold it: 1 to `most` bytes of its characters.
fn text(value: &str, most: usize) -> Option<String> {
    ((1..=most).contains(&value.len()) && value.bytes().all(is_str_byte)).then(|| value.to_string())
}

fn hash_type(value: &str) -> Option<Hash> {
    match value {
        "RSA-SHA256" => Some(Hash::Sha256),
        "RSA-SHA384" => Some(Hash::Sha384),
        "RSA-SHA512" => Some(Hash::Sha512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    const GOOD: &str = "purpose=xyz.openbmc_project.Software.Version.VersionPurpose.BMC\nversion=2.14.0-dev\n\
        ExtendedVersion=\nBuildId=20240101000000\nCompatibleName=com.example.evb\nKeyType=OpenBMC\n\
        HashType=RSA-SHA256\nMachineName=evb-ast2600\nVendorNote=a b\"c\n";

    #[test]
    fn what_openbmc_writes_is_read() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.purpose, PURPOSE);
        assert_eq!((manifest.version.as_str(), manifest.machine.as_str()), ("2.14.0-dev", "evb-ast2600"));
        assert_eq!(
            (manifest.hash, manifest.compatible.as_slice()),
            (Hash::Sha256, &["com.example.evb".into()][..])
        );
        for (name, hash) in [("384", Hash::Sha384), ("512", Hash::Sha512)] {
            let other = GOOD.replace("SHA256", &format!("SHA{name}"));
            assert_eq!(Manifest::parse(other.as_bytes()).unwrap().hash, hash);
        }
    }

    #[test]
    fn broken_rules_are_named() {
        let of = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err();
        for key in ["purpose", "version", "MachineName", "HashType"] {
            let line = GOOD.lines().find(|line| line.starts_with(key)).unwrap();
            assert_eq!(of(&GOOD.replace(&format!("{line}\n"), "")), ManifestError::Missing(key));
            assert_eq!(of(&format!("{GOOD}{line}\n")), ManifestError::Twice(key));
            assert_eq!(of(&GOOD.replace(line, &format!("{key}="))), ManifestError::Value(key));
            assert_eq!(of(&GOOD.replace(line, &format!("{key}=a b"))), ManifestError::Value(key));
            assert_eq!(
                of(&GOOD.replace(line, &format!("{key}={}", "a".repeat(129)))),
                ManifestError::Value(key)
            );
        }
        for hash in ["RSA-SHA1", "SHA256", "RSA-SHA256 ", "MD5"] {
            assert_eq!(of(&GOOD.replace("RSA-SHA256", hash)), ManifestError::Value("HashType"), "{hash}");
        }
        assert_eq!(of(&GOOD.replace("com.example.evb", "")), ManifestError::Value("CompatibleName"));
        assert_eq!(of(&"CompatibleName=a\n".repeat(17)), ManifestError::Compatible);
        assert_eq!(of(&"a=\n".repeat(129)), ManifestError::Lines);
        assert_eq!(of("a=b\nMLDSA_Hash_Type=SHA3-512,MLDSA\n"), ManifestError::SecondSignature(2));
        for line in ["", "a", "=b", "a b=c", "a\tb=c", "a=\tc", "a=b\r", "a=\u{7f}", "é=c", "a=é"] {
            assert_eq!(of(&format!("x=y\n{line}\n")), ManifestError::Line(2), "{line:?}");
        }
        assert_eq!(of(GOOD.trim_end()), ManifestError::Line(9), "no line feed at the end");
        assert_eq!(of(&format!("{}=a\n", "k".repeat(65))), ManifestError::Line(1));
        assert_eq!(of(&format!("a={}\n", "v".repeat(513))), ManifestError::Line(1));
        assert_eq!(of(""), ManifestError::Missing("purpose"));
    }
}
