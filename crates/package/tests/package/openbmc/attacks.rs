//! What has been done to other updaters, and what else a host could try: each by its name. The same against packages with
//! a head, where it makes sense.

use inband_package::index::IndexError;
use inband_package::key::KeyError;
use inband_package::openbmc::manifest::ManifestError;
use inband_package::openbmc::{Encoding, Error, File, Format, HeaderError, Intake, Member, stage::Buffer};
use inband_package::refusal::{ArchivePart, KeyFault, Unindexed};
use inband_package::{Index, KeyRing, Kind, Refusal, tar};

use super::kit::{Key, Members, Release, ring};
use super::{FOUR, MACHINE, REGION, four, images, profile_of, raw, read, read_with, refusal};
use crate::common::{self, header_offsets, image, noise, options, package_of};

fn unsigned(member: Member) -> Refusal {
    Refusal::UnknownKey(KeyFault::Unsigned(member))
}

fn does_not_verify(signature: Member) -> Refusal {
    Refusal::BadMemberSignature { signature }
}

/// The refusal by a BMC that knows packages with heads only.
fn by_reader(file: &[u8]) -> Refusal {
    common::refusal(file)
}

// Packages with a head: what names the places is signed first, and nothing else does.

#[test]
fn relocated_tables() {
    // Two releases, each signed as it should be; the table of one is put before the bytes of the other.
    let package = |seed| {
        package_of(
            &options(),
            &[image("image-kernel", noise(700, seed)), image("image-rofs", noise(700, seed + 1))],
        )
    };
    let (old, new) = (package(1), package(3));
    let places = header_offsets(&new);
    assert_eq!((old.len(), header_offsets(&old)), (new.len(), places.clone()));
    let mut index_of_old = new.clone();
    index_of_old[places[2]..places[3]].copy_from_slice(&old[places[2]..places[3]]);
    assert_eq!(by_reader(&index_of_old), Refusal::BadIndex(IndexError::Digest));
    // The members change places, their table with them or not.
    let mut swapped = new.clone();
    swapped[places[3]..places[4]].copy_from_slice(&new[places[4]..places[5]]);
    swapped[places[4]..places[5]].copy_from_slice(&new[places[3]..places[4]]);
    assert!(matches!(by_reader(&swapped), Refusal::BadArchive { .. }));
    let range = places[2] + 512..places[3];
    let mut index = Index::parse(&new[range.clone()][..new_index_length(&new)]).unwrap();
    index.members.swap(0, 1);
    let encoded = index.encode().unwrap();
    swapped[range][..encoded.len()].copy_from_slice(&encoded);
    assert_eq!(by_reader(&swapped), Refusal::BadIndex(IndexError::Digest));
    // In a tar without a head nothing names a place: members may stand in any order, and nothing comes of it.
    let good = Members::of(&four("1.0", 1).tar());
    let expected = read(raw(&FOUR), &good.bytes()).unwrap();
    let mut turned = good.clone();
    turned.0.reverse();
    assert_eq!(read(raw(&FOUR), &turned.bytes()), Ok(expected));
}

fn new_index_length(package: &[u8]) -> usize {
    u32::from_le_bytes(package[512 + 12..512 + 16].try_into().unwrap()) as usize
}

#[test]
fn mixed_releases() {
    let (old, new) = (Members::of(&four("1.0", 1).tar()), Members::of(&four("2.0", 2).tar()));
    // Every file with its own good signature, from either release, under the MANIFEST of either.
    for part in ["image-u-boot", "image-kernel", "image-rofs", "image-rwfs", "MANIFEST"] {
        let signature = format!("{part}.sig");
        let mixed = new.clone().with(part, old.content(part)).with(&signature, old.content(&signature));
        assert_eq!(refusal(&mixed.bytes()), does_not_verify(Member::FullSignature), "{part}");
        let full = mixed.with("image-full.sig", old.content("image-full.sig"));
        assert_eq!(refusal(&full.bytes()), does_not_verify(Member::FullSignature), "{part}");
    }
    let without_signature = new.with("image-rofs", old.content("image-rofs"));
    assert_eq!(refusal(&without_signature.bytes()), does_not_verify(Member::Signature(File::Rofs)));

    // With a head.
    let package = |seed| package_of(&options(), &[image("image-bmc", noise(700, seed))]);
    let (old, new) = (package(1), package(2));
    let image_at = header_offsets(&new)[3];
    let mixed = [&new[..image_at], &old[image_at..]].concat();
    assert_eq!(by_reader(&mixed), Refusal::BadChunk { member: "image-bmc".into(), offset: 0 });
    let head = [&old[..1024], &new[1024..]].concat();
    assert_eq!(by_reader(&head), Refusal::BadSignature { kind: Kind::Ed25519 });
}

#[test]
fn stripped_head() {
    // A package that other update paths take as well; without its own members it is what they expect.
    let bare = Members::of(&four("1.0", 1).tar());
    let inputs: Vec<_> = bare.0.iter().map(|(name, bytes)| image(name, bytes.clone())).collect();
    let mut package = Members::of(&package_of(&options(), &inputs));
    assert_eq!(package.0[0].0, "inband.head");
    package.0.retain(|(name, _)| !name.starts_with("inband."));
    let stripped = package.bytes();
    // It is refused, by its name, where such tars are not taken; where they are, it has to be good as one.
    assert_eq!(by_reader(&stripped), Refusal::Unindexed(Unindexed::Never));
    assert_eq!(Format::of(stripped[..512].try_into().unwrap()), Format::Unindexed);
    assert_eq!(read(raw(&FOUR), &stripped), read(raw(&FOUR), &bare.bytes()));

    // Without OpenBMC's signatures, the head is not to be had back.
    let mut unsigned_images = package.clone();
    unsigned_images.0.retain(|(name, _)| !name.ends_with(".sig"));
    assert_eq!(refusal(&unsigned_images.bytes()), unsigned(Member::Signature(File::Kernel)));
    // Only the head is gone, or its signature, or the index.
    let whole = package_of(&options(), &inputs);
    let places = header_offsets(&whole);
    assert_eq!(by_reader(&whole[places[1]..]), by_reader(&[0x5a; 512]));
    for gone in [1, 2] {
        let without = [&whole[..places[gone]], &whole[places[gone + 1]..]].concat();
        assert!(matches!(by_reader(&without), Refusal::BadArchive { .. }), "{gone}");
    }
    // A head somewhere inside is no head.
    for name in ["inband.head", "inband.index", "inband.chunks/image-rofs"] {
        let mut inside = bare.clone();
        inside.0.insert(1, (name.into(), vec![0; 512]));
        let refused = refusal(&inside.bytes());
        let part = ArchivePart::OpenBmcHeader(HeaderError::Name);
        assert!(matches!(refused, Refusal::BadArchive { part: found, .. } if found == part), "{name}");
    }
}

#[test]
fn stripped_signature() {
    let good = Members::of(&four("1.0", 1).tar());
    for file in File::ALL.into_iter().filter(|file| ![File::Bmc, File::Hostfw].contains(file)) {
        let signature = Member::Signature(file);
        let stripped = good.clone().without(&signature.to_string());
        assert_eq!(refusal(&stripped.bytes()), unsigned(signature));
        for wrong in [&[][..], &[0; 512], &[0xFF; 512], &good.content(&signature.to_string())[1..]] {
            let emptied = good.clone().with(&signature.to_string(), wrong);
            assert_eq!(refusal(&emptied.bytes()), does_not_verify(signature));
        }
    }
    let stripped = good.without("image-full.sig");
    assert_eq!(refusal(&stripped.bytes()), unsigned(Member::FullSignature));

    // The second signature that newer releases have, announced and not there; and there, which this version cannot verify.
    let mut release = four("1.0", 1);
    release.manifest.push_str("MLDSA_Hash_Type=SHA3-512,MLDSA\n");
    let announced = Members::of(&release.tar());
    assert_eq!(refusal(&announced.bytes()), Refusal::BadManifest(ManifestError::SecondSignature(7)));
    let mut there = announced;
    there.0.push(("MLDSA/publickey".into(), vec![1]));
    assert!(matches!(refusal(&there.bytes()), Refusal::BadArchive { .. }));

    // With a head: every signature of the table must be there.
    let package = common::small_package();
    let places = header_offsets(&package);
    let stripped = [&package[..places[1]], &package[places[2]..]].concat();
    assert!(matches!(by_reader(&stripped), Refusal::BadArchive { .. }));
}

#[test]
fn other_board() {
    let with = |from: &str, to: &str| {
        let mut release = four("1.0", 1);
        release.manifest = release.manifest.replace(from, to);
        refusal(&release.tar())
    };
    let expected = Refusal::WrongMachine { expected: MACHINE.into(), found: "evb-ast2500".into() };
    assert_eq!(with("evb-ast2600", "evb-ast2500"), expected);
    assert_eq!(
        with("MachineName=evb-ast2600\n", ""),
        Refusal::BadManifest(ManifestError::Missing("MachineName"))
    );
    let twice = with("KeyType", "MachineName=evb-ast2500\nKeyType");
    assert_eq!(twice, Refusal::BadManifest(ManifestError::Twice("MachineName")));
    // A compatible name does not make up for it.
    let compatible =
        with("MachineName=evb-ast2600\n", "MachineName=evb-ast2500\nCompatibleName=evb-ast2600\n");
    assert_eq!(compatible, expected);
    // Put there without its signature.
    let good = Members::of(&four("1.0", 1).tar());
    let manifest = [good.content("MANIFEST"), b"\n"].concat();
    assert_eq!(
        refusal(&good.with("MANIFEST", &manifest).bytes()),
        does_not_verify(Member::Signature(File::Manifest))
    );

    let package = package_of(&common::options(), &[image("image-bmc", vec![1])]);
    let (_, refused) = common::read_with(
        common::keys(),
        inband_package::Policy { machine: "other".into(), ..common::policy() },
        [&package[..]],
    );
    assert!(matches!(refused, Err(Refusal::WrongMachine { .. })));
}

#[test]
fn other_purpose() {
    for purpose in ["System", "Host", "PSU", "Unknown", "Other", "BMC2", "bmc"] {
        let mut release = four("1.0", 1);
        release.manifest =
            release.manifest.replace("VersionPurpose.BMC", &format!("VersionPurpose.{purpose}"));
        let found = format!("xyz.openbmc_project.Software.Version.VersionPurpose.{purpose}");
        assert_eq!(refusal(&release.tar()), Refusal::WrongPurpose { found });
    }
}

#[test]
fn names_are_not_signed_so_the_set_of_them_is_fixed() {
    // No signature covers a name. Renamed so that their order stays, the images of one set pass for those of
    // another of as many, with every signature good.
    let four = four("1.0", 1).tar();
    let names = ["image-hostfw", "image-kernel", "image-rofs", "image-u-boot"];
    let release = Release::new(MACHINE, "1.0", &images(&names, 900, 3)).tar();
    let renamed =
        [("image-rofs", "image-rwfs"), ("image-kernel", "image-rofs"), ("image-hostfw", "image-kernel")];
    let shifted = renamed.iter().fold(Members::of(&release), |tar, (from, to)| {
        tar.renamed(from, to).renamed(&format!("{from}.sig"), &format!("{to}.sig"))
    });
    assert!(read(raw(&FOUR), &shifted.bytes()).is_ok(), "OpenBMC's signatures allow it");
    // So such a set is nobody's layout, and no two layouts have as many images.
    let regions = names.map(|name| (name, REGION, Encoding::Raw));
    let profile = inband_package::openbmc::Profile::new("m".into(), "bmc".into(), regions, 4096);
    assert_eq!(profile, Err(inband_package::openbmc::ProfileError::Set));
    // Within the set, any other way changes the order.
    let images = ["image-kernel", "image-rofs", "image-rwfs", "image-u-boot"];
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let (one, other) = (images[one], images[other]);
        let mut swapped = Members::of(&four);
        for suffix in ["", ".sig"] {
            let (one, other) = (format!("{one}{suffix}"), format!("{other}{suffix}"));
            swapped = swapped.renamed(&one, "x").renamed(&other, &one).renamed("x", &other);
        }
        assert_eq!(refusal(&swapped.bytes()), does_not_verify(Member::FullSignature), "{one} {other}");
    }
}

#[test]
fn missing_and_foreign_members() {
    let good = Members::of(&four("1.0", 1).tar());
    for name in ["image-kernel", "image-rofs", "image-rwfs", "image-u-boot", "MANIFEST", "publickey"] {
        let missing = Refusal::MissingMember { member: name.into() };
        assert_eq!(refusal(&good.clone().without(name).bytes()), missing);
        let both = good.clone().without(name).without(&format!("{name}.sig"));
        assert_eq!(refusal(&both.bytes()), missing);
    }
    for name in ["image-bmc", "image-hostfw", "image-bmc.sig"] {
        let mut more = good.clone();
        more.0.push((name.into(), vec![0; 384]));
        assert_eq!(refusal(&more.bytes()), Refusal::UnmappedMember { member: name.into() });
    }
    for name in ["image-runtime", "../image-kernel", "/image-kernel", "./image-kernel", "image-kernel ", "x"]
    {
        let mut more = good.clone();
        more.0.insert(0, (name.into(), vec![1]));
        let part = ArchivePart::OpenBmcHeader(HeaderError::Name);
        assert_eq!(refusal(&more.bytes()), Refusal::BadArchive { part, offset: 0 }, "{name}");
    }
}

#[test]
fn members_that_are_there_twice() {
    let good = Members::of(&four("1.0", 1).tar());
    for (name, content) in &good.0 {
        let mut twice = good.clone();
        twice.0.push((name.clone(), content.clone()));
        let offset = good.0.iter().map(|(_, content)| 512 + content.len().next_multiple_of(512) as u64).sum();
        let part = ArchivePart::OpenBmcHeader(HeaderError::Twice);
        assert_eq!(refusal(&twice.bytes()), Refusal::BadArchive { part, offset }, "{name}");
    }
}

#[test]
fn members_that_are_too_long_are_refused_at_their_headers() {
    let taken = |name: &str, length: u64| {
        let mut intake = Intake::new(raw(&FOUR), Box::new(Buffer::new(0)));
        intake.push(&tar::header(name, length, 0).unwrap())
    };
    for (name, limit) in [
        ("image-kernel", REGION),
        ("MANIFEST", 16 * 1024),
        ("publickey", 4096),
        ("image-kernel.sig", 512),
        ("image-full.sig", 512),
    ] {
        assert_eq!(taken(name, limit), Ok(false), "{name}");
        let refused = Refusal::TooLarge { member: Some(name.into()), length: limit + 1, limit };
        assert_eq!(taken(name, limit + 1), Err(refused.into()), "{name}");
    }
    // Each fits its region, and all together are more than a tar may have.
    let regions = FOUR.map(|name| (name, 1 << 33, Encoding::Raw));
    let profile = inband_package::openbmc::Profile::new("m".into(), "bmc".into(), regions, 4096).unwrap();
    let mut intake = Intake::new(profile, Box::new(Buffer::new(4096)));
    assert_eq!(intake.push(&tar::header("image-kernel", 2560, 0).unwrap()), Ok(false));
    intake.push(&[1; 2560]).unwrap();
    let refused = Refusal::TooLarge { member: None, length: 3072 + 512 + 1024, limit: 4096 };
    assert_eq!(intake.push(&tar::header("MANIFEST", 0, 0).unwrap()), Err(refused.clone().into()));
    assert_eq!(intake.push(&[0]), Err(refused.into()), "the same again");
    let ended = intake.verify(ring(), &super::policy());
    assert!(matches!(ended, Err(Error::Refused(Refusal::TooLarge { .. }))));
}

// Keys.

#[test]
fn development_key() {
    let mut release = four("1.0", 1);
    let pem = include_str!("../../openbmc/development.pem");
    release.public_key = Some(pem.into());
    let key = inband_package::PublicKey::from_pem(pem).unwrap();
    let refused = KeyError::Development(*key.id());
    assert_eq!(refusal(&release.tar()), Refusal::UnknownKey(KeyFault::Unusable(refused)));
    assert_eq!(KeyRing::new(vec![Kind::Rsa], vec![key]).unwrap_err(), refused);
}

#[test]
fn keys_that_nobody_vouches_for() {
    let (manifest, public_key) = (Member::Signature(File::Manifest), Member::Signature(File::PublicKey));
    let mut strange = four("1.0", 1);
    strange.system = Key::Stranger;
    assert_eq!(refusal(&strange.tar()), does_not_verify(manifest));
    (strange.system, strange.key) = (Key::Stranger, Key::Stranger);
    assert_eq!(refusal(&strange.tar()), does_not_verify(manifest));

    // publickey is another's than the one that signed; both are known.
    let mut other = four("1.0", 1);
    other.public_key = Some(Key::System.public_pem());
    assert_eq!(refusal(&other.tar()), does_not_verify(Member::Signature(File::Kernel)));

    // MANIFEST and publickey, each vouched for by another system key.
    let (one, mut other) = (four("1.0", 1), four("1.0", 1));
    other.system = Key::OtherSystem;
    let (one, other) = (Members::of(&one.tar()), Members::of(&other.tar()));
    assert_eq!(one.content("publickey"), other.content("publickey"));
    let mixed = one.with("publickey.sig", other.content("publickey.sig"));
    assert_eq!(refusal(&mixed.bytes()), does_not_verify(public_key));

    // A key that signs, but is not RSA; and no key at all.
    let mut weak = four("1.0", 1);
    weak.public_key = Some(common::key().public().unwrap().to_pem().unwrap());
    assert_eq!(refusal(&weak.tar()), Refusal::UnknownKey(KeyFault::NotRequired(Kind::Ed25519)));
    weak.public_key = Some("no key".into());
    assert!(matches!(refusal(&weak.tar()), Refusal::UnknownKey(KeyFault::Unusable(KeyError::Pem(_)))));
}

#[test]
fn revoked_keys() {
    let tar = four("1.0", 1).tar();
    for key in [Key::System, Key::Release] {
        let id = *key.public().id();
        let keys = vec![Key::System.public(), Key::OtherSystem.public()];
        let ring = KeyRing::with_revoked(vec![Kind::Rsa], keys, vec![id]).unwrap();
        let refused = Refusal::UnknownKey(KeyFault::Revoked { kind: Kind::Rsa, id });
        assert_eq!(read_with(&ring, raw(&FOUR), [&tar[..]]), Err(refused.into()));
    }
}

#[test]
fn a_bmc_that_wants_more_than_rsa_takes_no_tar() {
    let tar = four("1.0", 1).tar();
    let keys = vec![Key::System.public(), common::key().public().unwrap()];
    let ring = KeyRing::new(vec![Kind::Rsa, Kind::Ed25519], keys).unwrap();
    let refused = Refusal::UnknownKey(KeyFault::Missing(Kind::Ed25519));
    assert_eq!(read_with(&ring, raw(&FOUR), [&tar[..]]), Err(refused.into()));
}

#[test]
fn hash_types_that_are_not_those_of_the_signatures() {
    let mut release = four("1.0", 1);
    release.manifest = release.manifest.replace("RSA-SHA256", "RSA-SHA512");
    assert_eq!(refusal(&release.tar()), does_not_verify(Member::Signature(File::Kernel)));
    release.manifest = release.manifest.replace("RSA-SHA512", "RSA-SHA1");
    assert_eq!(refusal(&release.tar()), Refusal::BadManifest(ManifestError::Value("HashType")));
}

#[test]
fn an_encoding_that_is_not_the_region_s() {
    // What comes out is what is signed or nothing: a compressed image is not written as it is where it is not expected.
    let names = ["image-u-boot", "image-kernel", "image-rofs"];
    let release = Release::new(MACHINE, "1", &images(&names, 900, 3));
    let regions = names.map(|name| (name, Encoding::Zstd));
    let refused = read(profile_of(&regions), &release.tar());
    assert!(matches!(refused, Err(Error::Refused(Refusal::BadEncoding { .. }))));
}
