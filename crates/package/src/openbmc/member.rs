//! The closed list of what may stand in an OpenBMC firmware tar (docs/spec/openbmc.md, 2).

use core::fmt;

/// A file that is signed. The order is the one in which `image-full.sig` signs their signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// `image-bmc`: all of the flash.
    Bmc,
    /// `image-hostfw`: firmware of the host, kept by the BMC.
    Hostfw,
    /// `image-kernel`.
    Kernel,
    /// `image-rofs`: the file system that is only read.
    Rofs,
    /// `image-rwfs`: the file system that is written.
    Rwfs,
    /// `image-u-boot`.
    UBoot,
    /// `MANIFEST`: what the tar is for.
    Manifest,
    /// `publickey`: the key that signs the images.
    PublicKey,
}

impl File {
    /// Every file, in the order above.
    pub const ALL: [Self; 8] = [
        Self::Bmc,
        Self::Hostfw,
        Self::Kernel,
        Self::Rofs,
        Self::Rwfs,
        Self::UBoot,
        Self::Manifest,
        Self::PublicKey,
    ];

    /// Its name in the tar.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bmc => "image-bmc",
            Self::Hostfw => "image-hostfw",
            Self::Kernel => "image-kernel",
            Self::Rofs => "image-rofs",
            Self::Rwfs => "image-rwfs",
            Self::UBoot => "image-u-boot",
            Self::Manifest => "MANIFEST",
            Self::PublicKey => "publickey",
        }
    }

    /// The file of that name, if it is an image.
    #[must_use]
    pub fn image(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.is_image() && file.name() == name)
    }

    /// Whether it goes to flash.
    #[must_use]
    pub const fn is_image(self) -> bool {
        match self {
            Self::Bmc | Self::Hostfw | Self::Kernel | Self::Rofs | Self::Rwfs | Self::UBoot => true,
            Self::Manifest | Self::PublicKey => false,
        }
    }

    const fn number(self) -> usize {
        self as usize
    }
}

/// What may stand in the tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// A file.
    File(File),
    /// The signature of this file: its name and `.sig`.
    Signature(File),
    /// `image-full.sig`: of all signatures, one behind the other.
    FullSignature,
}

/// How many members there can be.
pub(super) const COUNT: usize = 2 * File::ALL.len() + 1;

/// What a signature's name ends with.
const SUFFIX: &[u8] = b".sig";
/// Name of [`Member::FullSignature`] without [`SUFFIX`].
const FULL: &[u8] = b"image-full";

impl Member {
    /// The member of this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let file = |name| File::ALL.into_iter().find(|file| file.name().as_bytes() == name);
        match name.strip_suffix(SUFFIX) {
            Some(FULL) => Some(Self::FullSignature),
            Some(signed) => file(signed).map(Self::Signature),
            None => file(name).map(Self::File),
        }
    }

    /// A number below [`COUNT`] that no other member has.
    pub(super) const fn number(self) -> usize {
        match self {
            Self::File(file) => file.number(),
            Self::Signature(file) => File::ALL.len() + file.number(),
            Self::FullSignature => COUNT - 1,
        }
    }
}

/// The name in the tar.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(file.name()),
            Self::Signature(file) => write!(f, "{}.sig", file.name()),
            Self::FullSignature => f.write_str("image-full.sig"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn names_lead_to_their_members_and_each_has_its_number() {
        let files = File::ALL.into_iter();
        let mut members: Vec<_> = files.clone().map(Member::File).collect();
        members.extend(files.map(Member::Signature));
        members.push(Member::FullSignature);
        assert_eq!(members.len(), COUNT);
        for (number, member) in members.into_iter().enumerate() {
            assert_eq!(member.number(), number);
            assert_eq!(Member::from_name(member.to_string().as_bytes()), Some(member));
        }
        let others = ["", ".sig", "image", "image-full", "./MANIFEST", "manifest", "MLDSA/publickey"];
        for other in others.into_iter().chain(["image-kernel.sig.sig", "image-full.sig.sig", "image-runtime"])
        {
            assert_eq!(Member::from_name(other.as_bytes()), None, "{other}");
        }
        assert_eq!(File::image("image-rofs"), Some(File::Rofs));
        assert_eq!(File::image("MANIFEST"), None);
    }
}
