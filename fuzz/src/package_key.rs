//! A public key and a signature by it.
//!
//! Input: length of the key (2 bytes, little-endian), its scheme (1 byte), the key as DER SubjectPublicKeyInfo, then
//! the signature.

use inband_package::digest::sha256;
use inband_package::head::SignatureEntry;
use inband_package::{Head, KeyRing, PublicKey, Refusal, Scheme, Verifier};

pub(crate) fn run(input: &[u8]) {
    let Some((&[low, high, scheme], rest)) = input.split_first_chunk() else { return };
    let Some((der, signature)) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high]))) else {
        return;
    };
    let key = match PublicKey::from_der(der) {
        Ok(key) => key,
        Err(fault) => return assert!(!fault.to_string().is_empty()),
    };
    assert_eq!(*key.id(), sha256(der));
    let pem = key.to_pem().expect("a key that was read is written");
    assert_eq!(PublicKey::from_pem(&pem).as_ref(), Ok(&key));

    let kind = key.kind();
    let scheme = Scheme::from_number(kind, scheme).unwrap_or(key.scheme());
    let head = Head {
        index_length: 1,
        total_length: 512,
        mtime: 0,
        index_digest: [0; 32],
        signatures: vec![SignatureEntry { scheme, ..key.signature_entry() }],
        machine: "m".into(),
    };
    let bytes = head.encode().expect("a head by the rules");
    let ring = KeyRing::new(vec![kind], vec![key]).expect("a ring with the key it requires");
    assert_eq!(ring.accepts(&head), Ok(()));
    match ring.verify(&head, &bytes, &[signature.to_vec()]) {
        // Who wrote the key can sign.
        Ok(()) => {}
        Err(refusal) => assert_eq!(refusal, Refusal::BadSignature { kind }),
    }
}
