//! All layouts of OpenBMC's build, and every form of them that its tools write.

use std::fs;

use inband_package::digest::sha256;
use inband_package::index::Encoding as ChunkEncoding;
use inband_package::key::SystemKeys;
use inband_package::openbmc::{Encoding, Error, Intake, MAX_WINDOW, stage::Buffer};
use inband_package::{Index, Refusal};

use super::kit::{Key, Members, RECORD, Release, ring, zstd};
use super::{FOUR, MACHINE, REGION, four, images, policy, profile_of, raw, read, read_with};
use crate::common::noise;

/// Asserts that a tar is taken, and that what comes out are these images, in the index's order.
#[track_caller]
fn assert_taken(
    regions: &[(&'static str, Encoding)],
    release: &Release,
    expected: &[(&str, Vec<u8>)],
) -> Vec<u8> {
    let tar = release.tar();
    let (firmware, images) = read(profile_of(regions), &tar).unwrap();
    let names: Vec<_> = firmware.index.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for ((member, image), (name, bytes)) in firmware.index.members.iter().zip(&images).zip(expected) {
        assert!(image == bytes, "{name}");
        assert_eq!(member.length, bytes.len() as u64);
        for ((offset, chunk), piece) in member.chunks_with_offsets().zip(bytes.chunks(128 * 1024)) {
            let expected = (ChunkEncoding::Plain, piece.len() as u32, sha256(piece));
            assert_eq!((chunk.encoding, chunk.length, chunk.digest), expected, "{name} at {offset}");
        }
    }
    assert_eq!(Index::parse(&firmware.index_bytes).as_ref(), Ok(&firmware.index));
    assert_eq!(firmware.identity, sha256(Members::of(&tar).content("image-full.sig")));
    tar
}

fn sorted(mut images: Vec<(&'static str, Vec<u8>)>) -> Vec<(&'static str, Vec<u8>)> {
    images.sort_by_key(|(name, _)| *name);
    images
}

#[test]
fn static_and_ubi() {
    let images = images(&FOUR, 300_000, 1);
    let mut release = Release::new(MACHINE, "2.14.0-dev-7-gabcdef0", &images);
    release.manifest.push_str("CompatibleName=com.example.evb\nCompatibleName=com.example.board\n");
    let regions = FOUR.map(|name| (name, Encoding::Raw));
    let tar = assert_taken(&regions, &release, &sorted(images));
    assert_eq!(tar.len() % RECORD, 0);
    let (firmware, _) = read(raw(&FOUR), &tar).unwrap();
    let index = firmware.index;
    assert_eq!((index.machine.as_str(), index.version.as_str()), (MACHINE, "2.14.0-dev-7-gabcdef0"));
    assert_eq!((index.bcd_device, index.security_version), (0x0214, 0));
    assert_eq!(index.compatible, ["com.example.evb", "com.example.board"]);
    assert_eq!(index.targets, ["bmc"]);
}

#[test]
fn static_as_one_image() {
    let images = images(&["image-bmc"], 1_000_000, 2);
    assert_taken(&[("image-bmc", Encoding::Raw)], &Release::new(MACHINE, "1", &images), &images);
}

/// Bytes with patterns, as file systems have them.
fn patterned(length: usize, seed: u64) -> Vec<u8> {
    let words: Vec<_> = (0..64).map(|word| noise(40, seed + word)).collect();
    noise(length / 40, seed).into_iter().flat_map(|byte| words[usize::from(byte % 64)].clone()).collect()
}

#[test]
fn mmc_with_compressed_file_systems() {
    let boot = [patterned(400_000, 3), vec![0; 600_000]].concat();
    let rofs = patterned(900_000, 4);
    let plain = images(&["image-u-boot", "image-rwfs", "image-hostfw"], 50_000, 5);
    for (level, hostfw) in [("-3", false), ("-19", true), ("-1", false)] {
        let packed = vec![
            plain[0].clone(),
            ("image-kernel", zstd(&boot, &[level])),
            ("image-rofs", zstd(&rofs, &[level])),
            plain[1].clone(),
        ];
        assert!(packed[2].1.len() < rofs.len() / 2);
        let mut release = Release::new(MACHINE, "2.9", &packed);
        let mut regions = vec![
            ("image-u-boot", Encoding::Raw),
            ("image-kernel", Encoding::Zstd),
            ("image-rofs", Encoding::Zstd),
            ("image-rwfs", Encoding::Raw),
        ];
        let mut expected = vec![
            plain[0].clone(),
            ("image-kernel", boot.clone()),
            ("image-rofs", rofs.clone()),
            plain[1].clone(),
        ];
        if hostfw {
            release.images.push(plain[2].clone());
            regions.push(("image-hostfw", Encoding::Raw));
            expected.push(plain[2].clone());
        }
        assert_taken(&regions, &release, &sorted(expected));
    }
}

#[test]
fn one_key_for_all_as_openbmc_has_it_and_other_hashes() {
    for (hash, name) in [("sha256", "RSA-SHA256"), ("sha384", "RSA-SHA384"), ("sha512", "RSA-SHA512")] {
        let mut release = four("1.0", 6);
        (release.key, release.hash) = (Key::System, hash);
        release.manifest = release.manifest.replace("RSA-SHA256", name);
        let tar = release.tar();
        assert!(read(raw(&FOUR), &tar).is_ok(), "{name}");

        // The same with the system's own directory, whose hashfunc is for one hash.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("OpenBMC")).unwrap();
        fs::write(folder.path().join("OpenBMC/publickey"), Key::System.public_pem()).unwrap();
        for known in ["RSA-SHA256", "RSA-SHA384", "RSA-SHA512"] {
            fs::write(folder.path().join("OpenBMC/hashfunc"), format!("HashType={known}\n")).unwrap();
            let keys = SystemKeys::read_openbmc(folder.path()).unwrap();
            let ring = keys.ring(vec![inband_package::Kind::Rsa]).unwrap();
            assert_eq!(read_with(&ring, raw(&FOUR), [&tar[..]]).is_ok(), known == name, "{name} {known}");
        }
    }
}

#[test]
fn forms_of_tar() {
    for options in
        ["--format=ustar", "--format=gnu", "-b 1", "--owner=builder:1234 --mtime=@1700000000 --mode=0600"]
    {
        let mut release = four("1.0", 7);
        release.tar_options = options;
        assert!(read(raw(&FOUR), &release.tar()).is_ok(), "{options}");
    }
    for options in ["--format=pax --pax-option=comment=x", "--format=v7", "--owner=builder:3000000"] {
        let mut release = four("1.0", 7);
        release.tar_options = options;
        let refused = read(raw(&FOUR), &release.tar());
        assert!(matches!(refused, Err(Error::Refused(Refusal::BadArchive { .. }))), "{options}: {refused:?}");
    }
}

#[test]
fn the_tar_is_complete_with_the_second_block_of_zeros_however_it_is_cut() {
    let tar = four("1.0", 8).tar();
    let whole = read(raw(&FOUR), &tar).unwrap();
    let content = tar.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = content.next_multiple_of(512) + 1024;
    for size in [1, 511, 512, 4096, tar.len()] {
        let mut intake = Intake::new(raw(&FOUR), Box::new(Buffer::new(1 << 20)));
        let mut taken = 0;
        for piece in tar.chunks(size) {
            let complete = intake.push(piece).unwrap();
            taken += piece.len();
            assert_eq!(complete, taken >= end, "{taken} of {end}");
            assert_eq!(intake.received(), taken as u64);
            assert_eq!(intake.is_whole(), taken == end || taken == tar.len());
        }
        assert_eq!(intake.verify(ring(), &policy()), Ok(whole.0.clone()));
    }
}

#[test]
fn frames_that_a_region_does_not_expect_are_refused() {
    let names = ["image-u-boot", "image-kernel", "image-rofs"];
    let regions =
        [("image-u-boot", Encoding::Raw), ("image-kernel", Encoding::Raw), ("image-rofs", Encoding::Zstd)];
    let with = |rofs: Vec<u8>| {
        let mut images = images(&names, 500, 9);
        images[2].1 = rofs;
        match read(profile_of(&regions), &Release::new(MACHINE, "1", &images).tar()) {
            Ok(_) => None,
            Err(Error::Refused(refusal)) => Some(refusal),
            Err(error) => panic!("{error}"),
        }
    };
    let frame = |bytes: &[u8]| zstd(bytes, &[]);
    let bad = |offset| Some(Refusal::BadEncoding { member: "image-rofs".into(), offset });
    let too_large =
        |length| Some(Refusal::TooLarge { member: Some("image-rofs".into()), length, limit: REGION });
    let image = patterned(300_000, 10);
    assert_eq!(with(frame(&image)), None);
    assert_eq!(with(zstd(&image, &["--no-check"])), None);
    assert_eq!(with(frame(&vec![7; REGION as usize])), None, "as long as the region");
    assert_eq!(with(image.clone()), bad(0), "not compressed");
    assert_eq!(with(Vec::new()), bad(0), "empty");
    assert_eq!(with([frame(&image), frame(&image)].concat()), bad(262_144), "two frames");
    assert_eq!(with([frame(&image), vec![0]].concat()), bad(262_144), "a byte behind the frame");
    let cut = frame(&image);
    assert!(matches!(with(cut[..cut.len() - 1].to_vec()), Some(Refusal::BadEncoding { .. })), "cut");
    assert_eq!(
        with([&[0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0][..], &frame(&image)].concat()),
        bad(0),
        "skippable"
    );
    assert_eq!(with(frame(&vec![7; REGION as usize + 1])), too_large(REGION + 1), "longer than the region");
    let bomb = with(frame(&vec![0; 64 << 20]));
    assert!(matches!(bomb, Some(Refusal::TooLarge { .. })), "{bomb:?}");
    // A window of 128 MiB, which zstd(1) itself wants to be asked twice for.
    let wide = zstd(&vec![7; MAX_WINDOW as usize + (1 << 20)], &["--ultra", "-22", "--long=27"]);
    assert_eq!(with(wide), bad(0), "a large window");
    let mut lies = frame(&vec![7; 300]);
    // Frame_Content_Size in two bytes, 256 less.
    assert_eq!(&lies[4..7], [0x64, 44, 0]);
    lies[5] = 45;
    assert_eq!(with(lies), bad(0), "another length announced");
}
