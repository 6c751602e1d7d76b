//! Public keys: the same ones are usable, and have the same ids. A key with two forms would have two ids, and
//! revoking one would leave the other.

use inband_package::PublicKey;
use inband_package::digest::Hex;

use crate::{keys, peer};

/// DER of a key that is right, and of its likes with one thing wrong.
fn candidates() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for key in keys::all() {
        let der = der(&key.to_pem().unwrap());
        // The numbers of an RSA key may have nearly any bits: a few are enough.
        let middle = 60..der.len().saturating_sub(16);
        for at in (0..der.len()).filter(|at| der.len() < 200 || !middle.contains(at) || at % 16 == 0) {
            for bit in 0..8 {
                let mut der = der.clone();
                der[at] ^= 1 << bit;
                all.push(der);
            }
            all.push([&der[..at], &der[at + 1..]].concat());
            all.push([&der[..at], &[0], &der[at..]].concat());
        }
        all.push(der);
    }
    for last in [0x7F, 0xFF] {
        // Encodings of y + p: the points of y from 0 to 18 that a lax reader takes for others.
        for first in 0xED..=0xFF {
            let mut key = [0xFF; 32];
            (key[0], key[31]) = (first, last);
            all.push([&ED25519[..], &key].concat());
        }
        // Those points in their own encoding.
        for y in 0..19 {
            let mut key = [0; 32];
            (key[0], key[31]) = (y, last & 0x80);
            all.push([&ED25519[..], &key].concat());
        }
    }
    all
}

/// SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410, 4).
const ED25519: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

#[test]
fn the_same_public_keys_are_usable() {
    let candidates = candidates();
    let texts: Vec<_> = candidates.iter().map(|der| pem(der)).collect();
    let answers = peer::judge_keys(&texts);
    let mut usable = 0;
    for ((der, text), theirs) in candidates.iter().zip(&texts).zip(answers) {
        let ours = PublicKey::from_pem(text).ok();
        let ours = ours.map(|key| (key.kind().name().to_string(), Hex(key.id()).to_string()));
        assert_eq!(ours, theirs, "ours and the peer's, of {}", Hex(der));
        usable += usize::from(ours.is_some());
    }
    assert!((500..candidates.len() / 2).contains(&usable), "{usable} of {} were usable", candidates.len());
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// PEM (RFC 7468, 13).
fn pem(der: &[u8]) -> String {
    let mut base64 = String::new();
    for piece in der.chunks(3) {
        let group = [0, 1, 2].map(|at| u32::from(piece.get(at).copied().unwrap_or(0)));
        let group = group[0] << 16 | group[1] << 8 | group[2];
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            base64.push(if place <= piece.len() { char::from(digit) } else { '=' });
        }
    }
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// What [`pem`] was made of.
fn der(pem: &str) -> Vec<u8> {
    let digits = pem.lines().filter(|line| !line.starts_with('-')).flat_map(str::bytes);
    let values: Vec<_> =
        digits.filter_map(|digit| ALPHABET.iter().position(|known| *known == digit)).collect();
    let bits =
        |group: &[usize]| group.iter().fold(0, |bits, value| bits << 6 | value) << (6 * (4 - group.len()));
    let bytes = |group: &[usize]| (bits(group) as u32).to_be_bytes()[1..group.len()].to_vec();
    values.chunks(4).flat_map(bytes).collect()
}
