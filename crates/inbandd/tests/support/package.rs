//! Packages for the tests' machine, and their keys.

use std::io::Cursor;

use inband_package::{
    index::MemberKind,
    maker::{Input, PackOptions, PrivateKey, Source, pack, sign},
};

/// The board of the tests' BMCs.
pub(crate) const MACHINE: &str = "test-board";
/// The member that their layouts have a region for, at the beginning of the slot.
pub(crate) const IMAGE: &str = "image-bmc";

/// The key that the tests' BMCs accept.
pub(crate) fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

/// A package to be made.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) machine: String,
    pub(crate) version: String,
    pub(crate) security_version: u32,
    pub(crate) bcd_device: u16,
    pub(crate) member: String,
    pub(crate) image: Vec<u8>,
    pub(crate) compatible: Vec<String>,
    pub(crate) targets: Vec<String>,
    /// Images behind the first one, by name.
    pub(crate) more: Vec<(String, Vec<u8>)>,
}

impl Package {
    /// Of this version, with an image of so many bytes that no other version has.
    pub(crate) fn new(version: u16, length: usize) -> Self {
        Self {
            machine: MACHINE.into(),
            version: format!("v{version:x}"),
            security_version: 3,
            bcd_device: version,
            member: IMAGE.into(),
            image: noise(length, u64::from(version)),
            compatible: Vec::new(),
            targets: vec!["bmc".into()],
            more: Vec::new(),
        }
    }

    /// The bytes, signed by the tests' key.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.signed_by(&key())
    }

    pub(crate) fn signed_by(&self, key: &PrivateKey) -> Vec<u8> {
        let options = PackOptions {
            machine: self.machine.clone(),
            compatible: self.compatible.clone(),
            version: self.version.clone(),
            security_version: self.security_version,
            bcd_device: self.bcd_device,
            targets: self.targets.clone(),
            mtime: 0,
            compression: None,
            signers: vec![key.public().unwrap().signature_entry()],
        };
        let input = |name: &str, image: &[u8]| Input {
            name: name.into(),
            kind: MemberKind::Image,
            target: 0,
            source: Source::Bytes(image.to_vec()),
        };
        let mut inputs = vec![input(&self.member, &self.image)];
        inputs.extend(self.more.iter().map(|(name, image)| input(name, image)));
        let mut file = Cursor::new(Vec::new());
        pack(&options, &inputs, &mut file).unwrap();
        sign(&mut file, key).unwrap();
        file.into_inner()
    }

    /// What a slot of that length, which the image's region fills, holds once this is installed.
    pub(crate) fn slot(&self, length: usize) -> Vec<u8> {
        let mut slot = self.image.clone();
        slot.resize(length, 0xff);
        slot
    }
}

/// Bytes that look random and are always the same (SplitMix64).
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

/// SplitMix64: the same numbers from the same seed, everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
