//! Firmware tars of OpenBMC's build without a head (docs/spec/openbmc.md), made with tar(1), openssl(1) and zstd(1).

mod attacks;
#[path = "../../openbmc/kit.rs"]
mod kit;
mod layouts;
mod properties;

use inband_package::openbmc::stage::Buffer;
use inband_package::openbmc::{Encoding, Error, Firmware, Intake, Profile, Trust};
use inband_package::{Policy, Refusal};

use crate::common::noise;
use kit::{Release, ring};

/// Where [`kit`] finds its script, from this crate's folder.
pub(crate) const MAKE_TAR: &str = "tests/openbmc/make-tar.sh";

const MACHINE: &str = "evb-ast2600";
/// Bytes of every region.
const REGION: u64 = 1 << 20;

/// The images of the layouts `static` and `ubi`, in the order in which they stand in the tar.
const FOUR: [&str; 4] = ["image-u-boot", "image-kernel", "image-rofs", "image-rwfs"];

fn profile_of(regions: &[(&str, Encoding)]) -> Profile {
    let regions = regions.iter().map(|(name, encoding)| (*name, REGION, *encoding));
    Profile::new(MACHINE.into(), "bmc".into(), regions, 16 << 20).unwrap()
}

fn raw(names: &[&'static str]) -> Profile {
    profile_of(&names.iter().map(|name| (*name, Encoding::Raw)).collect::<Vec<_>>())
}

fn images(names: &[&'static str], length: usize, seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    names.iter().zip(seed * 16..).map(|(name, seed)| (*name, noise(length + seed as usize, seed))).collect()
}

/// A release of the layout `static`.
fn four(version: &str, seed: u64) -> Release {
    Release::new(MACHINE, version, &images(&FOUR, 3000, seed))
}

fn policy() -> Policy {
    Policy::for_machine(MACHINE.into())
}

/// What came of a tar: what it is, and the bytes of its images in the order of the index.
type Outcome = (Firmware, Vec<Vec<u8>>);

fn read_with<'a>(
    trust: &impl Trust,
    profile: Profile,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Outcome, Error> {
    let stage = Buffer::new(profile.max_staged());
    let mut intake = Intake::new(profile, Box::new(stage));
    for piece in pieces {
        intake.push(piece)?;
    }
    let firmware = intake.verify(trust, &policy())?;
    let mut images = vec![Vec::new(); firmware.index.members.len()];
    intake.chunks(|member, offset, bytes| {
        assert_eq!(images[member].len() as u64, offset);
        images[member].extend_from_slice(bytes);
        Ok::<_, Error>(())
    })?;
    Ok((firmware, images))
}

fn read(profile: Profile, tar: &[u8]) -> Result<Outcome, Error> {
    read_with(ring(), profile, [tar])
}

/// Why a tar of the layout `static` is refused.
#[track_caller]
fn refusal(tar: &[u8]) -> Refusal {
    match read(raw(&FOUR), tar) {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
