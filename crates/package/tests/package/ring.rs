//! Which keys and kinds a ring accepts: all of several kinds, keys that change, revoked keys, schemes.

use std::io::Cursor;

use inband_package::head::SignatureEntry;
use inband_package::key::KeyError;
use inband_package::maker::{PackOptions, PrivateKey, pack, sign};
use inband_package::refusal::KeyFault;
use inband_package::signature::{Hash, RsaPadding, signed_bytes};
use inband_package::{Head, KeyRing, Kind, PublicKey, Refusal, Scheme, Verifier};

use crate::common::{Call, image, key, options, policy, read_with, small_package};

fn p384(number: u8) -> PrivateKey {
    PrivateKey::p384_from_number(&[number; 48]).unwrap()
}

fn ed25519(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn public(keys: &[&PrivateKey]) -> Vec<PublicKey> {
    keys.iter().map(|key| key.public().unwrap()).collect()
}

fn ring(required: &[Kind], keys: &[&PrivateKey]) -> KeyRing {
    KeyRing::new(required.to_vec(), public(keys)).unwrap()
}

/// A package signed by these keys.
fn signed_by(keys: &[&PrivateKey]) -> Vec<u8> {
    let signers = public(keys).iter().map(PublicKey::signature_entry).collect();
    let mut file = Cursor::new(Vec::new());
    pack(&PackOptions { signers, ..options() }, &[image("image-bmc", vec![1])], &mut file).unwrap();
    for key in keys {
        sign(&mut file, key).unwrap();
    }
    file.into_inner()
}

fn verdict(ring: &KeyRing, package: &[u8]) -> Result<(), Refusal> {
    read_with(ring, policy(), [package]).1
}

fn fault(fault: KeyFault) -> Result<(), Refusal> {
    Err(Refusal::UnknownKey(fault))
}

#[test]
fn all_required_kinds_must_be_there_and_verify() {
    let (edwards, weierstrass) = (ed25519(1), p384(2));
    let both = ring(&[Kind::P384, Kind::Ed25519], &[&edwards, &weierstrass]);
    for order in [[&edwards, &weierstrass], [&weierstrass, &edwards]] {
        let package = signed_by(&order);
        assert_eq!(verdict(&both, &package), Ok(()));
        // Each of the two counts.
        for (number, start) in [1536, 2560].into_iter().enumerate() {
            let mut changed = package.clone();
            changed[start] ^= 1;
            let kind = order[number].public().unwrap().kind();
            assert_eq!(verdict(&both, &changed), Err(Refusal::BadSignature { kind }));
        }
    }
    assert_eq!(verdict(&both, &signed_by(&[&edwards])), fault(KeyFault::Missing(Kind::P384)));
    assert_eq!(verdict(&both, &signed_by(&[&weierstrass])), fault(KeyFault::Missing(Kind::Ed25519)));
    let one = ring(&[Kind::Ed25519], &[&edwards, &weierstrass]);
    assert_eq!(verdict(&one, &signed_by(&[&edwards])), Ok(()));
    // More than is required is refused as well: what is not asked for is not understood either.
    let more = signed_by(&[&edwards, &weierstrass]);
    assert_eq!(verdict(&one, &more), fault(KeyFault::NotRequired(Kind::P384)));
}

#[test]
fn the_table_is_judged_in_order_and_missing_kinds_last() {
    let (edwards, weierstrass, stranger) = (ed25519(1), p384(2), p384(3));
    let id = *stranger.public().unwrap().id();
    let all = ring(&[Kind::Ed25519, Kind::P384], &[&edwards, &weierstrass]);
    let not_known = fault(KeyFault::NotKnown { kind: Kind::P384, id });
    assert_eq!(verdict(&all, &signed_by(&[&stranger])), not_known);
    let only_edwards = ring(&[Kind::Ed25519], &[&edwards, &weierstrass]);
    assert_eq!(verdict(&only_edwards, &signed_by(&[&stranger])), fault(KeyFault::NotRequired(Kind::P384)));
    // The head alone decides: nothing behind its 1,024 bytes is looked at.
    let head = &signed_by(&[&edwards])[..1024];
    assert_eq!(verdict(&all, head), fault(KeyFault::Missing(Kind::P384)));
}

#[test]
fn a_signature_by_a_key_of_another_kind_is_unknown() {
    // The right key id under the wrong kind.
    let (edwards, weierstrass) = (ed25519(1), p384(2));
    let all = ring(&[Kind::Ed25519, Kind::P384], &[&edwards, &weierstrass]);
    let id = *edwards.public().unwrap().id();
    let head = Head {
        signatures: vec![SignatureEntry { scheme: Scheme::P384, length: 96, key_id: id }],
        ..Head::parse(signed_by(&[&edwards])[512..1024].try_into().unwrap()).unwrap()
    };
    assert_eq!(all.accepts(&head), fault(KeyFault::NotKnown { kind: Kind::P384, id }));
}

#[test]
fn signatures_that_are_not_there_do_not_verify() {
    let (edwards, weierstrass) = (ed25519(1), p384(2));
    let all = ring(&[Kind::Ed25519, Kind::P384], &[&edwards, &weierstrass]);
    let package = signed_by(&[&edwards, &weierstrass]);
    let bytes = package[512..1024].try_into().unwrap();
    let head = Head::parse(bytes).unwrap();
    let (first, second) = (package[1536..1600].to_vec(), package[2560..2656].to_vec());
    assert_eq!(all.verify(&head, bytes, &[first.clone(), second.clone()]), Ok(()));
    let refused = |kind| Err(Refusal::BadSignature { kind });
    assert_eq!(all.verify(&head, bytes, &[]), refused(Kind::Ed25519));
    assert_eq!(all.verify(&head, bytes, std::slice::from_ref(&first)), refused(Kind::P384));
    assert_eq!(all.verify(&head, bytes, &[second, first]), refused(Kind::Ed25519));
}

#[test]
fn keys_can_be_rotated() {
    for (old, new) in [(ed25519(7), ed25519(9)), (p384(7), p384(9))] {
        let kind = old.public().unwrap().kind();
        let both = ring(&[kind], &[&new, &old]);
        for signer in [&old, &new] {
            let (notes, result) = read_with(&both, policy(), [&signed_by(&[signer])[..]]);
            assert_eq!(result, Ok(()));
            assert!(matches!(notes.calls[0], Call::Begin(..)));
        }
        let id = *old.public().unwrap().id();
        let only_new = ring(&[kind], &[&new]);
        assert_eq!(verdict(&only_new, &signed_by(&[&old])), fault(KeyFault::NotKnown { kind, id }));
        // A package that names one key and is signed by the other is refused.
        let mut package = signed_by(&[&old]);
        let bytes = signed_bytes(package[512..1024].try_into().unwrap());
        let signature = new.sign(&bytes);
        package[1536..1536 + signature.len()].copy_from_slice(&signature);
        assert_eq!(verdict(&both, &package), Err(Refusal::BadSignature { kind }));
    }
}

#[test]
fn revoked_keys_are_refused_whether_they_are_still_there_or_not() {
    let (old, new) = (ed25519(7), ed25519(9));
    let id = *old.public().unwrap().id();
    let revoked = fault(KeyFault::Revoked { kind: Kind::Ed25519, id });
    for keys in [public(&[&old, &new]), public(&[&new])] {
        let ring = KeyRing::with_revoked(vec![Kind::Ed25519], keys, vec![[0; 32], id]).unwrap();
        assert_eq!(ring.revoked(), [[0; 32], id]);
        assert_eq!(verdict(&ring, &signed_by(&[&old])), revoked);
        assert_eq!(verdict(&ring, &signed_by(&[&new])), Ok(()));
        // The head alone decides it.
        assert_eq!(verdict(&ring, &signed_by(&[&old])[..1024]), revoked);
    }
    let text = revoked.unwrap_err().to_string();
    assert!(text.starts_with("the ed25519 key ") && text.ends_with(" is revoked here"), "{text}");
}

#[test]
fn a_required_kind_whose_keys_are_all_revoked_makes_no_ring() {
    let keys = public(&[&ed25519(1), &ed25519(2), &p384(3)]);
    let ids: Vec<_> = keys.iter().map(|key| *key.id()).collect();
    let made = |revoked: &[_]| {
        let required = vec![Kind::Ed25519, Kind::P384];
        KeyRing::with_revoked(required, keys.clone(), revoked.to_vec()).err()
    };
    assert_eq!(made(&[]), None);
    assert_eq!(made(&ids[..1]), None);
    assert_eq!(made(&ids[..2]), Some(KeyError::NoKey(Kind::Ed25519)));
    assert_eq!(made(&ids[2..]), Some(KeyError::NoKey(Kind::P384)));
}

#[test]
fn a_key_for_one_scheme_refuses_the_others() {
    let rsa = PublicKey::from_pem(include_str!("frozen-v1/rsa-3072.pem")).unwrap();
    let schemes = || Scheme::ALL.into_iter().filter(|scheme| scheme.kind() == Kind::Rsa);
    let head = Head::parse(small_package()[512..1024].try_into().unwrap()).unwrap();
    let accepts = |keys: Vec<PublicKey>, scheme| {
        let signatures = vec![SignatureEntry { scheme, ..rsa.signature_entry() }];
        KeyRing::new(vec![Kind::Rsa], keys).unwrap().accepts(&Head { signatures, ..head.clone() })
    };
    for wanted in schemes() {
        let only = rsa.clone().only_for(wanted).unwrap();
        assert_eq!(only.signature_entry().scheme, wanted);
        for scheme in schemes() {
            assert_eq!(accepts(vec![rsa.clone()], scheme), Ok(()));
            let expected =
                if scheme == wanted { Ok(()) } else { fault(KeyFault::Scheme { scheme, id: *rsa.id() }) };
            assert_eq!(accepts(vec![only.clone()], scheme), expected);
        }
    }
    // The same key for two schemes.
    let both: Vec<_> = [Hash::Sha256, Hash::Sha512]
        .map(|hash| rsa.clone().only_for(Scheme::Rsa(RsaPadding::Pkcs1, hash)).unwrap())
        .into();
    for scheme in schemes() {
        let accepted = both.iter().any(|key| key.scheme() == scheme);
        assert_eq!(accepts(both.clone(), scheme).is_ok(), accepted, "{scheme}");
    }
}

#[test]
fn a_signature_as_long_as_another_key_s_does_not_verify() {
    // The head announces 512 bytes for a key of 3,072 bits.
    let rsa = PublicKey::from_pem(include_str!("frozen-v1/rsa-3072.pem")).unwrap();
    let ring = KeyRing::new(vec![Kind::Rsa], vec![rsa.clone()]).unwrap();
    let mut head = Head::parse(small_package()[512..1024].try_into().unwrap()).unwrap();
    head.signatures = vec![SignatureEntry { length: 512, ..rsa.signature_entry() }];
    let bytes = head.encode().unwrap();
    assert_eq!(ring.verify(&head, &bytes, &[vec![0; 512]]), Err(Refusal::BadSignature { kind: Kind::Rsa }));
}

#[test]
fn a_ring_tells_what_it_has() {
    let ring = ring(&[Kind::Ed25519], &[&key(), &p384(1)]);
    assert_eq!(ring.required(), [Kind::Ed25519]);
    assert_eq!(ring.keys().len(), 2);
    assert_eq!(ring.revoked(), [[0; 32]; 0]);
}
