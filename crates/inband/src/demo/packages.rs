//! The packages of the demo: the good one, and what an attacker would send.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use inband_package::{
    head, index,
    index::MemberKind,
    maker::{self, Input, PackOptions, PrivateKey, Source, Verified},
    tar,
};

use super::scratch::Scratch;
use crate::{
    cancel::Cancel,
    cli::values::NewKey,
    error::Error,
    package::{
        check::{Demands, check, make_error},
        keygen::random_key,
        keys::{PublicKeys, public_half, read_private},
    },
};

/// The board of the demo's own packages.
const MACHINE: &str = "demo-board";
/// Bytes of the image in the small forged packages.
const SMALL: u64 = 256 * 1024;
/// Bytes of a package that a BMC must be able to take to see what is wrong with those.
pub(super) const LEAST: u64 = 2 * SMALL;
/// Bytes written at once.
const PORTION: usize = 64 * 1024;

/// A package and the key that signs for its BMC.
pub(super) struct Good {
    /// The file.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) contents: Verified,
    /// The key.
    pub(super) key: Rc<PrivateKey>,
}

impl Good {
    /// Makes a key and a package with an image of this many bytes.
    ///
    /// # Errors
    /// [`Error::File`] and the like.
    pub(super) fn make(scratch: &Scratch, length: u64, cancel: &Cancel) -> Result<Self, Error> {
        let options = Options {
            machine: MACHINE,
            version: "2.0.0",
            security_version: 2,
            bcd_device: 0x0200,
            member: "image-bmc",
        };
        let image = Image { length, seed: 0, patched: false };
        Self::pack(scratch, "good.tar", &options, image, Rc::new(random_key(NewKey::Ed25519)?), cancel)
    }

    /// Makes the package of another release, by the same key: of this one with 64 KiB changed, or with nothing in common.
    ///
    /// # Errors
    /// [`Error::File`] and the like.
    pub(super) fn next(&self, scratch: &Scratch, release: Release, cancel: &Cancel) -> Result<Self, Error> {
        let length = self.largest_image().map_or(0, |(_, length)| length);
        let (version, bcd_device, image) = match release {
            Release::SmallChange => ("2.0.1", 0x0201, Image { length, seed: 0, patched: true }),
            Release::AllNew => ("2.1.0", 0x0210, Image { length, seed: 1, patched: false }),
        };
        let options = Options { version, bcd_device, ..Options::like(self) };
        Self::pack(scratch, &format!("{version}.tar"), &options, image, Rc::clone(&self.key), cancel)
    }

    fn pack(
        scratch: &Scratch,
        name: &str,
        options: &Options<'_>,
        image: Image,
        key: Rc<PrivateKey>,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let path = scratch.path(name);
        pack(scratch, &path, options, image, &key)?;
        Self::checked(path, key, cancel)
    }

    /// Takes a package and its key from files.
    ///
    /// # Errors
    /// [`Error::BadPackage`], also if the key is not the package's; [`Error::Key`], [`Error::File`].
    pub(super) fn open(path: &Path, key: &Path, cancel: &Cancel) -> Result<Self, Error> {
        Self::checked(path.to_owned(), Rc::new(read_private(key)?), cancel)
    }

    fn checked(path: PathBuf, key: Rc<PrivateKey>, cancel: &Cancel) -> Result<Self, Error> {
        let keys = PublicKeys::one(public_half(&key, &path)?, &path)?;
        let contents = check(&path, Demands { keys: Some(&keys), machine: None }, cancel)?;
        Ok(Self { path, contents, key })
    }

    /// Bytes of the package as it is sent.
    #[must_use]
    pub(super) const fn length(&self) -> u64 {
        self.contents.head.total_length
    }

    /// The image member with the most bytes: where it begins in the archive, and its length.
    fn largest_image(&self) -> Option<(u64, u64)> {
        let span = |length: u64| tar::span(length).unwrap_or(0);
        let signatures: u64 =
            self.contents.head.signatures.iter().map(|entry| span(entry.length.into())).sum();
        let mut offset =
            span(head::LENGTH as u64) + signatures + span(self.contents.head.index_length.into());
        let mut largest = None;
        for member in &self.contents.index.members {
            let sent = member.sent_length();
            let is_larger = largest.is_none_or(|(_, length)| sent > length);
            if member.kind == MemberKind::Image && sent > 0 && is_larger {
                largest = Some((offset + tar::BLOCK as u64, sent));
            }
            offset += span(sent);
        }
        largest
    }
}

/// What the next release is like.
#[derive(Clone, Copy)]
pub(super) enum Release {
    /// Nearly the same.
    SmallChange,
    /// Nothing of it was there before.
    AllNew,
}

/// Pseudo-random bytes.
#[derive(Clone, Copy)]
struct Image {
    length: u64,
    seed: u64,
    /// 64 KiB in the middle are others.
    patched: bool,
}

/// What an attacker sends: a file, how much of it, and one byte of it changed.
pub(super) struct Forgery {
    /// The file.
    pub(super) path: PathBuf,
    /// Bytes that are sent.
    pub(super) length: u64,
    /// Offset of the byte that is changed on the way.
    pub(super) flip: Option<u64>,
}

impl Forgery {
    /// The good package with one bit changed in the middle of its largest image.
    #[must_use]
    pub(super) fn tampered(good: &Good) -> Option<Self> {
        let (start, length) = good.largest_image()?;
        Some(Self { path: good.path.clone(), length: good.length(), flip: Some(start + length / 2) })
    }

    /// The first half of the good package.
    #[must_use]
    pub(super) fn truncated(good: &Good) -> Self {
        Self { path: good.path.clone(), length: (good.length() / 2).max(1), flip: None }
    }

    /// A package for another board, rightly signed.
    ///
    /// # Errors
    /// [`Error::File`] and the like.
    pub(super) fn wrong_machine(scratch: &Scratch, good: &Good) -> Result<Self, Error> {
        let options = Options { machine: "another-board", ..Options::like(good) };
        Self::small(scratch, "wrong-machine.tar", &options, &good.key)
    }

    /// A package that another key signed.
    ///
    /// # Errors
    /// [`Error::File`] and the like.
    pub(super) fn other_key(scratch: &Scratch, good: &Good) -> Result<Self, Error> {
        Self::small(scratch, "other-key.tar", &Options::like(good), &random_key(NewKey::Ed25519)?)
    }

    /// A package with a lower security version, rightly signed. `None` if there is no lower one.
    ///
    /// # Errors
    /// [`Error::File`] and the like.
    pub(super) fn downgrade(scratch: &Scratch, good: &Good) -> Result<Option<Self>, Error> {
        let Some(security_version) = good.contents.index.security_version.checked_sub(1) else {
            return Ok(None);
        };
        let options = Options { security_version, ..Options::like(good) };
        Self::small(scratch, "downgrade.tar", &options, &good.key).map(Some)
    }

    fn small(scratch: &Scratch, name: &str, options: &Options<'_>, key: &PrivateKey) -> Result<Self, Error> {
        let path = scratch.path(name);
        let image = Image { length: SMALL, seed: 2, patched: false };
        let length = pack(scratch, &path, options, image, key)?;
        Ok(Self { path, length, flip: None })
    }

    /// The bytes as they are sent.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn open(&self) -> Result<impl Read + use<>, Error> {
        let file = File::open(&self.path).map_err(|source| Error::File {
            path: self.path.clone(),
            action: "open",
            source,
        })?;
        Ok(Flipped { read: BufReader::with_capacity(PORTION, file), at: 0, flip: self.flip })
    }
}

/// A stream with one bit changed.
struct Flipped<R> {
    read: R,
    at: u64,
    flip: Option<u64>,
}

impl<R: Read> Read for Flipped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read.read(buffer)?;
        let offset =
            self.flip.and_then(|flip| flip.checked_sub(self.at)).and_then(|it| usize::try_from(it).ok());
        if let Some(byte) = offset.and_then(|offset| buffer[..count].get_mut(offset)) {
            *byte ^= 1;
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// What differs between the demo's packages.
#[derive(Clone, Copy)]
struct Options<'a> {
    machine: &'a str,
    version: &'a str,
    security_version: u32,
    bcd_device: u16,
    member: &'a str,
}

impl<'a> Options<'a> {
    /// What would make a good package for the same BMC.
    fn like(good: &'a Good) -> Self {
        let index = &good.contents.index;
        let image = index.members.iter().find(|member| member.kind == MemberKind::Image);
        Self {
            machine: &index.machine,
            version: "6.6.6",
            security_version: index.security_version,
            bcd_device: index.bcd_device,
            member: image.map_or("image-bmc", |member| member.name.as_str()),
        }
    }
}

/// Writes a signed package with an image of pseudo-random bytes; its length.
fn pack(
    scratch: &Scratch,
    path: &Path,
    options: &Options<'_>,
    contents: Image,
    key: &PrivateKey,
) -> Result<u64, Error> {
    let failed = |source| Error::File { path: path.to_owned(), action: "write", source };
    let image = scratch.path("image");
    write_image(&image, contents).map_err(failed)?;
    let inputs = [Input {
        name: options.member.to_owned(),
        kind: MemberKind::Image,
        target: 0,
        source: Source::File(image.clone()),
    }];
    let pack_options = PackOptions {
        machine: options.machine.to_owned(),
        compatible: Vec::new(),
        version: options.version.to_owned(),
        security_version: options.security_version,
        bcd_device: options.bcd_device,
        targets: vec!["bmc".to_owned()],
        mtime: 0,
        compression: None,
        signers: vec![public_half(key, path)?.signature_entry()],
    };
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
    let mut buffered = BufWriter::with_capacity(PORTION, file);
    let packed =
        maker::pack(&pack_options, &inputs, &mut buffered).map_err(|error| make_error(path, error))?;
    let mut file = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    maker::sign(&mut file, key).map_err(|error| make_error(path, error))?;
    // Nobody needs the image any more, and it is as large as the package.
    std::fs::remove_file(&image).map_err(failed)?;
    Ok(packed.head.total_length)
}

/// Writes pseudo-random bytes: firmware is compressed, so it looks like that, and no two chunks are the same.
fn write_image(path: &Path, Image { length, seed, patched }: Image) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(PORTION, File::create(path)?);
    // splitmix64 (Steele, Lea and Flood, 2014).
    let mut state = length ^ seed << 56;
    let patch = length / 2..length / 2 + PORTION as u64;
    let mut left = length;
    while left > 0 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^= value >> 31;
        if patched && patch.contains(&(length - left)) {
            value = !value;
        }
        let bytes = value.to_le_bytes();
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        file.write_all(&bytes[..count])?;
        left -= count as u64;
    }
    file.flush()
}

/// The images of a package and their lengths, in its order.
pub(super) fn images(contents: &Verified) -> impl Iterator<Item = &index::Member> {
    contents.index.members.iter().filter(|member| member.kind == MemberKind::Image)
}
