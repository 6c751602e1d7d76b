//! OpenBMC firmware tars without a head, with signatures that are all taken for good, so that what comes behind them is
//! reached.
//!
//! Input: how to cut the stream (1 byte), how to read the rest (1), then the rest. Bit 0: the BMC has three images, one
//! of them compressed, instead of one. Bit 1: the rest is no tar but members to be put into one: a number (1 byte), a length (2
//! bytes, little-endian) and so many bytes each.

use std::sync::OnceLock;

use inband_package::digest::sha256;
use inband_package::openbmc::stage::Buffer;
use inband_package::openbmc::{Encoding, Error, File, Firmware, Intake, Member, Profile, Signed, Trust};
use inband_package::{Hashed, Index, KeyRing, Kind, Policy, PublicKey, Refusal, tar};

/// A public key whose private half is gone.
const KEY: &str = include_str!("../../crates/package/tests/package/frozen-v1/rsa-3072.pem");
const MACHINE: &str = "m";
const REGION: u64 = 1 << 20;

fn key() -> &'static PublicKey {
    static PARSED: OnceLock<PublicKey> = OnceLock::new();
    PARSED.get_or_init(|| PublicKey::from_pem(KEY).expect("a key"))
}

/// Any signature will do.
struct AcceptAll;

impl Trust for AcceptAll {
    fn system(&self, _: Signed<'_>, _: Signed<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn release_key(&self, _: &[u8]) -> Result<PublicKey, Refusal> {
        Ok(key().clone())
    }

    fn verifies(&self, _: &PublicKey, _: &Hashed, _: &[u8]) -> bool {
        true
    }
}

pub(crate) fn run(input: &[u8]) {
    let Some((&[cut, mode], rest)) = input.split_first_chunk() else { return };
    let regions: &[_] = if mode & 1 == 0 {
        &[("image-bmc", Encoding::Raw)]
    } else {
        &[("image-kernel", Encoding::Raw), ("image-rofs", Encoding::Zstd), ("image-u-boot", Encoding::Raw)]
    };
    let regions = regions.iter().map(|(name, encoding)| (*name, REGION, *encoding));
    let profile =
        Profile::new(MACHINE.into(), "bmc".into(), regions, 2 * REGION).expect("a layout of OpenBMC's");
    let stream = if mode & 2 == 0 { rest.to_vec() } else { built(rest) };
    let whole = read(&AcceptAll, &profile, &[&stream]);
    let size = usize::from(cut) * 7 + 1;
    assert_eq!(read(&AcceptAll, &profile, &stream.chunks(size).collect::<Vec<_>>()), whole);
    if whole.is_ok() {
        // Nobody can sign for this key.
        let ring = KeyRing::new(vec![Kind::Rsa], vec![key().clone()]).expect("a ring");
        assert!(read(&ring, &profile, &[&stream]).is_err());
    }
}

/// A tar of the members that the input describes.
fn built(mut rest: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&[number, low, high], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (content, behind) = behind.split_at(length);
        rest = behind;
        let file = File::ALL[usize::from(number & 7)];
        let member = match number >> 3 & 3 {
            0 | 3 => Member::File(file),
            1 => Member::Signature(file),
            _ => Member::FullSignature,
        };
        stream.extend_from_slice(&tar::header(&member.to_string(), length as u64, 0).expect("a short name"));
        stream.extend_from_slice(content);
        stream.resize(stream.len().next_multiple_of(512), 0);
    }
    stream.resize(stream.len() + 1024, 0);
    stream
}

/// Reads `pieces` and gives what came out of them.
fn read(trust: &impl Trust, profile: &Profile, pieces: &[&[u8]]) -> Result<(Firmware, Vec<Vec<u8>>), Error> {
    let mut intake = Intake::new(profile.clone(), Box::new(Buffer::new(profile.max_staged())));
    for piece in pieces {
        if let Err(error) = intake.push(piece) {
            assert!(!error.to_string().is_empty());
            assert_eq!(intake.push(piece).as_ref(), Err(&error));
            return Err(error);
        }
    }
    let policy = Policy::for_machine(MACHINE.into());
    let firmware = intake.verify(trust, &policy)?;
    assert_eq!(Index::parse(&firmware.index_bytes).as_ref(), Ok(&firmware.index));
    assert_eq!((firmware.index.machine.as_str(), firmware.index.security_version), (MACHINE, 0));
    let members = &firmware.index.members;
    let mut images = vec![Vec::new(); members.len()];
    intake.chunks(|member, offset, bytes| {
        assert_eq!(images[member].len() as u64, offset);
        let found = members[member].chunks_with_offsets().find(|(start, _)| *start == offset);
        let (_, chunk) = found.expect("a chunk of the index");
        assert_eq!((chunk.length as usize, chunk.digest), (bytes.len(), sha256(bytes)));
        images[member].extend_from_slice(bytes);
        Ok::<_, Error>(())
    })?;
    let lengths = members.iter().map(|member| member.length);
    assert!(lengths.eq(images.iter().map(|image| image.len() as u64)));
    assert!(images.iter().all(|image| image.len() as u64 <= REGION));
    Ok((firmware, images))
}
