//! Every refusal, and which one comes first when several are due (docs/spec/package.md, 6).

use inband_package::digest::sha256;
use inband_package::head::{HeadError, SignatureEntry};
use inband_package::index::IndexError;
use inband_package::key::{KeyError, KeyHalf};
use inband_package::maker::PrivateKey;
use inband_package::refusal::{ArchivePart, KeyFault, Unindexed};
use inband_package::signature::{Hash, RsaPadding, signed_bytes};
use inband_package::{Expected, KeyRing, Kind, Policy, PublicKey, Refusal, Scheme, tar};

use crate::common::{
    header_offsets, image, key, keys, options, package_of, policy, read, read_with, refusal, resign,
    small_package, with_head,
};

fn header_of(member: &str, offset: usize) -> Refusal {
    Refusal::BadArchive { part: ArchivePart::Header(member.into()), offset: offset as u64 }
}

fn padding_of(member: &str, offset: usize) -> Refusal {
    Refusal::BadArchive { part: ArchivePart::Padding(member.into()), offset: offset as u64 }
}

/// Changes the index of a package, and its digest and signature with it.
fn with_index(package: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut package = package.to_vec();
    let length = u32::from_le_bytes(package[524..528].try_into().unwrap()) as usize;
    change(&mut package[2560..2560 + length]);
    let digest = sha256(&package[2560..2560 + length]);
    package[544..576].copy_from_slice(&digest);
    resign(&mut package);
    package
}

/// Where a small package's index holds its security version: behind machine, one compatible name and version.
const SECURITY_VERSION: usize = 12 + (1 + 11) + 1 + (1 + 15) + (1 + 10);

/// Writes another mtime into the header at the beginning of `package`.
fn set_mtime(package: &mut [u8], mtime: u64) {
    package[..512].copy_from_slice(&tar::header("inband.head", 512, mtime).unwrap());
}

#[test]
fn other_files_are_not_packages() {
    for start in [&[0; 512][..], &[0xFF; 512], &tar::header("README", 512, 0).unwrap()] {
        assert_eq!(refusal(start), Refusal::BadHead(HeadError::NotAPackage));
    }
    // Where it is what OpenBMC's updater takes, that is told apart.
    let tar = tar::header("MANIFEST", 512, 0).unwrap();
    assert_eq!(refusal(&tar), Refusal::Unindexed(Unindexed::Never));
    let package = small_package();
    let other_magic = with_head(&package, |head| head[7] = b'X');
    assert_eq!(refusal(&other_magic), Refusal::BadHead(HeadError::NotAPackage));
}

#[test]
fn the_first_header_comes_before_the_head_but_for_its_mtime() {
    let mut package = with_head(&small_package(), |head| head[8] = 2);
    assert_eq!(refusal(&package), Refusal::BadHead(HeadError::Version(2)));
    set_mtime(&mut package, 1);
    assert_eq!(refusal(&package), Refusal::BadHead(HeadError::Version(2)));
    package[100..107].copy_from_slice(b"0000755");
    assert_eq!(refusal(&package), header_of("inband.head", 0));
}

#[test]
fn the_first_header_s_mtime_comes_before_policy() {
    let mut package = with_head(&small_package(), |head| head[233] = b'x');
    assert!(matches!(refusal(&package), Refusal::WrongMachine { .. }));
    set_mtime(&mut package, 1);
    assert_eq!(refusal(&package), header_of("inband.head", 0));
}

#[test]
fn machine_then_lengths_then_keys() {
    let stranger = PrivateKey::from_seed(&[8; 32]).public().unwrap();
    let strange = KeyRing::new(vec![Kind::Ed25519], vec![stranger]).unwrap();
    let package = small_package();
    let length = package.len() as u64;
    let too_long = Policy { max_total_length: length - 1, ..policy() };
    let expected = Expected { length: Some(length - 1), ..Expected::ANYTHING };
    let unexpected = Policy { expected, ..too_long.clone() };
    let elsewhere = Policy { machine: "evb-ast2500".into(), ..unexpected.clone() };
    let refused = |policy| read_with(&strange, policy, [&package[..1024]]).1.unwrap_err();
    assert_eq!(
        refused(elsewhere),
        Refusal::WrongMachine { expected: "evb-ast2500".into(), found: "evb-ast2600".into() }
    );
    assert!(matches!(refused(unexpected), Refusal::Unexpected(_)));
    assert_eq!(refused(too_long), Refusal::TooLarge { member: None, length, limit: length - 1 });
    let id = *key().public().unwrap().id();
    assert_eq!(refused(policy()), Refusal::UnknownKey(KeyFault::NotKnown { kind: Kind::Ed25519, id }));
    let just_fits = Policy { max_total_length: length, ..policy() };
    assert_eq!(read_with(keys(), just_fits, [&package[..]]).1, Ok(()));
}

#[test]
fn a_signature_of_another_kind_refuses_the_package_even_beside_a_good_one() {
    let rsa = Scheme::Rsa(RsaPadding::Pss, Hash::Sha256);
    for (scheme, length) in [(Scheme::P384, 96), (rsa, 384), (Scheme::MlDsa, 4627)] {
        let mut options = options();
        options.signers.push(SignatureEntry { scheme, length, key_id: [1; 32] });
        let package = package_of(&options, &[image("image-bmc", vec![1; 10])]);
        // The head alone decides it.
        let result = read_with(keys(), policy(), [&package[..1024]]).1;
        assert_eq!(result, Err(Refusal::UnknownKey(KeyFault::NotRequired(scheme.kind()))));
    }
}

#[test]
fn signature_headers_come_before_signatures_and_signatures_before_the_index() {
    let mut package = small_package();
    package[2560] ^= 1;
    assert_eq!(refusal(&package), Refusal::BadIndex(IndexError::Digest));
    package[2600] ^= 1;
    package[1536] ^= 1;
    assert_eq!(refusal(&package), Refusal::BadSignature { kind: Kind::Ed25519 });
    package[1024] ^= 1;
    assert_eq!(refusal(&package), header_of("inband.head.ed25519.sig", 1024));
}

#[test]
fn an_unsigned_package_is_refused() {
    let mut package = small_package();
    package[1536..1600].fill(0);
    assert_eq!(refusal(&package), Refusal::BadSignature { kind: Kind::Ed25519 });
}

#[test]
fn a_signature_of_the_head_alone_is_refused() {
    // Without the domain tag, as a signature made for another purpose would be.
    let mut package = small_package();
    let mut bytes = signed_bytes(package[512..1024].try_into().unwrap());
    bytes[..16].fill(0);
    package[1536..1600].copy_from_slice(&key().sign(&bytes));
    assert_eq!(refusal(&package), Refusal::BadSignature { kind: Kind::Ed25519 });
}

#[test]
fn a_signature_in_another_form_is_refused() {
    // S + L verifies where S is not required to be canonical (RFC 8032, 5.1.7).
    let order = [
        0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut package = small_package();
    let mut carry = 0;
    for (byte, add) in package[1568..1600].iter_mut().zip(order) {
        let sum = u16::from(*byte) + add + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(refusal(&package), Refusal::BadSignature { kind: Kind::Ed25519 });
}

#[test]
fn head_and_index_must_agree() {
    let package = small_package();
    let longer = with_head(&package, |head| head[17] += 2);
    assert_eq!(refusal(&longer), Refusal::BadIndex(IndexError::TotalLength));
    let elsewhere = with_index(&package, |index| index[13] = b'x');
    assert_eq!(refusal(&elsewhere), Refusal::BadIndex(IndexError::Machine));
    // An index that is shorter than the head says has another digest; a longer one another header.
    let longer_index = with_head(&package, |head| head[12] += 1);
    assert_eq!(refusal(&longer_index), header_of("inband.index", 2048));
}

#[test]
fn the_index_s_rules_come_before_the_floor() {
    let package = small_package();
    let old = with_index(&package, |index| index[SECURITY_VERSION] = 2);
    assert_eq!(refusal(&old), Refusal::OldSecurityVersion { floor: 3, found: 2 });
    let mut old_and_longer = with_head(&old, |head| head[17] += 2);
    assert_eq!(refusal(&old_and_longer), Refusal::BadIndex(IndexError::TotalLength));
    old_and_longer = with_index(&old_and_longer, |index| index[0] = b'X');
    assert_eq!(refusal(&old_and_longer), Refusal::BadIndex(IndexError::Magic));
    let newer = with_index(&package, |index| index[SECURITY_VERSION] = 4);
    assert_eq!(read(&newer).1, Ok(()));
}

#[test]
fn nothing_begins_before_the_index_s_padding() {
    let mut package = small_package();
    let end = header_offsets(&package)[3];
    package[end - 1] = 1;
    let (notes, result) = read(&package);
    assert_eq!(result, Err(padding_of("inband.index", end - 1)));
    assert_eq!(notes.calls, []);
}

#[test]
fn members_are_checked_part_by_part() {
    let package = small_package();
    let starts = header_offsets(&package);
    let changed = |at: usize| {
        let mut package = package.clone();
        package[at] ^= 1;
        let (notes, result) = read(&package);
        (notes.calls.len(), result.unwrap_err())
    };
    // Calls: begin, one chunk for each of the two images, one for the manifest, end.
    assert_eq!(changed(starts[3] + 511), (1, header_of("image-kernel", starts[3])));
    let bad_chunk = Refusal::BadChunk { member: "image-kernel".into(), offset: 0 };
    assert_eq!(changed(starts[3] + 512), (1, bad_chunk));
    assert_eq!(changed(starts[4] - 1), (2, padding_of("image-kernel", starts[4] - 1)));
    assert_eq!(changed(starts[4]), (2, header_of("image-rofs", starts[4])));
    assert_eq!(changed(starts[5]), (3, header_of("empty", starts[5])));
    assert_eq!(changed(starts[6]), (3, header_of("MANIFEST", starts[6])));
    let end = starts[7];
    for at in [end, end + 1023] {
        assert_eq!(changed(at), (4, Refusal::BadArchive { part: ArchivePart::End, offset: at as u64 }));
    }
    assert_eq!(end + 1024, package.len());
}

#[test]
fn rings_that_accept_nothing_or_too_much_cannot_be_made() {
    let key = key().public().unwrap();
    let made = |required: &[Kind], keys: &[PublicKey]| KeyRing::new(required.to_vec(), keys.to_vec()).err();
    assert_eq!(made(&[], std::slice::from_ref(&key)), Some(KeyError::NothingRequired));
    assert_eq!(made(&[Kind::Ed25519], &[]), Some(KeyError::NoKey(Kind::Ed25519)));
    for kind in [Kind::P384, Kind::Rsa] {
        let both = made(&[Kind::Ed25519, kind], std::slice::from_ref(&key));
        assert_eq!(both, Some(KeyError::NoKey(kind)));
    }
    let both = made(&[Kind::Ed25519, Kind::MlDsa], std::slice::from_ref(&key));
    assert_eq!(both, Some(KeyError::NotImplemented(Kind::MlDsa)));
}

#[test]
fn a_key_of_small_order_is_refused() {
    // The neutral element: any signature with R = S * B verifies under the lax rule.
    let pem = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
        -----END PUBLIC KEY-----\n";
    assert_eq!(PublicKey::from_pem(pem), Err(KeyError::Weak));
}

#[test]
fn a_key_in_a_second_form_is_refused() {
    // The point with y = 3, and the same as y + p.
    let own = "MCowBQYDK2VwAyEAAwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let other = "MCowBQYDK2VwAyEA8P///////////////////////////////////////38=";
    let key = |base64| {
        PublicKey::from_pem(&format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n"))
    };
    assert_eq!(key(own).map(|key| key.kind()), Ok(Kind::Ed25519));
    assert_eq!(key(other), Err(KeyError::Pem(KeyHalf::Public)));
}

#[test]
fn refusals_tell_people_what_was_wrong() {
    let package = small_package();
    let text = |policy: Policy| read_with(keys(), policy, [&package[..]]).1.unwrap_err().to_string();
    assert_eq!(text(Policy { machine: "x".into(), ..policy() }), "made for evb-ast2600, this is x");
    assert_eq!(
        text(Policy { max_total_length: 512, ..policy() }),
        format!("a package of {} bytes is too large: 512 is the most here", package.len())
    );
    assert_eq!(
        text(Policy { security_floor: 9, ..policy() }),
        "security version 3 is below 9, the lowest allowed here"
    );
    assert_eq!(refusal(&package[..100]).to_string(), "ended after 100 bytes, before its length was known");
    assert_eq!(refusal(&package[..5000]).to_string(), format!("ended after 5000 bytes of {}", package.len()));
}
