//! What a BMC takes of OpenBMC's tars.

use alloc::string::String;
use alloc::vec::Vec;

use super::manifest;
use super::member::{File, Member};

/// Most bytes of `publickey`: a PEM file of 4,096 bits has some 800.
const MAX_KEY_LENGTH: u64 = 4096;
/// Most bytes of a signature: that of 4,096 bits.
const MAX_SIGNATURE_LENGTH: u64 = 512;

/// How a tar holds an image. A package with a head says it itself, chunk by chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As it lies in flash.
    #[default]
    Raw,
    /// As one Zstandard frame (RFC 8878), as zstd(1) writes it.
    Zstd,
}

/// An image and its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The image.
    pub file: File,
    /// Bytes of its region.
    pub length: u64,
    /// How a tar holds it.
    pub encoding: Encoding,
}

/// The board, its images and the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    machine: String,
    target: String,
    places: Vec<Place>,
    max_length: u64,
}

/// Why no tar could be for a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A region of something that is no image of OpenBMC's, or not an image's only one.
    #[error("a region for {0}, which no OpenBMC firmware tar has")]
    Image(String),
    /// The images are those of no kind of tar.
    #[error(
        "the regions are those of no OpenBMC firmware tar: image-bmc alone, or image-kernel, image-rofs, image-u-boot and perhaps image-rwfs, and with that perhaps image-hostfw"
    )]
    Set,
}

impl Profile {
    /// For `target` of the board `machine`, whose regions have these members' names, lengths in bytes and encodings, and
    /// for tars of at most `max_length` bytes, all padding included.
    ///
    /// # Errors
    /// Both [`ProfileError`]s.
    pub fn new<'a>(
        machine: String,
        target: String,
        regions: impl IntoIterator<Item = (&'a str, u64, Encoding)>,
        max_length: u64,
    ) -> Result<Self, ProfileError> {
        let mut places: Vec<Place> = Vec::new();
        for (member, length, encoding) in regions {
            let new = File::image(member).filter(|file| places.iter().all(|place| place.file != *file));
            let file = new.ok_or_else(|| ProfileError::Image(member.into()))?;
            places.push(Place { file, length, encoding });
        }
        // In the order of image-full.sig, so that the same tar gives the same index everywhere.
        places.sort_by_key(|place| place.file);
        let images: Vec<File> = places.iter().map(|place| place.file).collect();
        let optional = [File::Rwfs, File::Hostfw];
        let required: Vec<File> = images.iter().copied().filter(|file| !optional.contains(file)).collect();
        // With hostfw in place of rwfs there would be two sets of four. No name is signed: moved along the order of the
        // signatures, a release for one would be one for the other.
        let ambiguous = images.contains(&File::Hostfw) && !images.contains(&File::Rwfs);
        if images != [File::Bmc] && (required != [File::Kernel, File::Rofs, File::UBoot] || ambiguous) {
            return Err(ProfileError::Set);
        }
        Ok(Self { machine, target, places, max_length })
    }

    /// The board.
    #[must_use]
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// The target that the images belong to.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The images, all of which a tar must hold, in the order of `image-full.sig`.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Most bytes of a tar.
    #[must_use]
    pub const fn max_length(&self) -> u64 {
        self.max_length
    }

    /// Most bytes that the members of a tar can have together.
    #[must_use]
    pub fn max_staged(&self) -> u64 {
        let files = File::ALL.into_iter();
        let members = files.flat_map(|file| [Member::File(file), Member::Signature(file)]);
        let all = members.chain([Member::FullSignature]).filter_map(|member| self.limit(member));
        all.fold(0, u64::saturating_add).min(self.max_length)
    }

    /// Most bytes of a member; `None` for one that tars for this BMC do not have.
    pub(super) fn limit(&self, member: Member) -> Option<u64> {
        let place = |file: File| self.places.iter().find(|place| place.file == file);
        match member {
            Member::File(File::Manifest) => Some(manifest::MAX_LENGTH),
            Member::File(File::PublicKey) => Some(MAX_KEY_LENGTH),
            // Who compresses an image does not do so to have more of it.
            Member::File(file) => place(file).map(|place| place.length),
            Member::Signature(file) if file.is_image() => place(file).map(|_| MAX_SIGNATURE_LENGTH),
            Member::Signature(_) | Member::FullSignature => Some(MAX_SIGNATURE_LENGTH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(members: &[&str]) -> Result<Profile, ProfileError> {
        let regions = members.iter().map(|member| (*member, 1 << 20, Encoding::Raw));
        Profile::new("evb".into(), "bmc".into(), regions, 3 << 20)
    }

    #[test]
    fn layouts_of_openbmc_are_taken_and_no_others() {
        for good in [
            &["image-bmc"][..],
            &["image-u-boot", "image-kernel", "image-rofs", "image-rwfs"],
            &["image-rofs", "image-kernel", "image-u-boot"],
            &["image-hostfw", "image-u-boot", "image-kernel", "image-rofs", "image-rwfs"],
        ] {
            let profile = profile(good).unwrap();
            assert_eq!(profile.places().len(), good.len());
            assert!(profile.places().is_sorted_by_key(|place| place.file));
        }
        for wrong in [
            &[][..],
            &["image-bmc", "image-kernel"],
            &["image-kernel", "image-rofs"],
            &["image-kernel", "image-rofs", "image-rwfs"],
            &["image-bmc", "image-rwfs"],
            &["image-kernel", "image-hostfw", "image-rofs", "image-u-boot"],
            &["image-bmc", "image-u-boot", "image-kernel", "image-rofs", "image-rwfs"],
        ] {
            assert_eq!(profile(wrong), Err(ProfileError::Set), "{wrong:?}");
        }
        for wrong in [&["bios"][..], &["MANIFEST"], &["image-bmc", "image-bmc"]] {
            assert_eq!(profile(wrong), Err(ProfileError::Image(wrong[0].into())), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_staged_is_bounded_by_the_regions_and_by_the_largest_package() {
        let signatures = 512 * 4;
        let metadata = manifest::MAX_LENGTH + MAX_KEY_LENGTH;
        assert_eq!(profile(&["image-bmc"]).unwrap().max_staged(), (1 << 20) + metadata + signatures);
        let four = ["image-u-boot", "image-kernel", "image-rofs", "image-rwfs"];
        assert_eq!(profile(&four).unwrap().max_staged(), 3 << 20);
    }
}
