//! What goes wrong with packages, at each place where something can.

use inband_package::head::SignatureEntry;
use inband_package::signature::{Hash, RsaPadding};
use inband_package::{Kind, Rule, Scheme};
use inband_store::{Region, RegionPolicy};

use crate::bases::{Bmc, text};
use crate::draft::{Chunk, Draft, Member};
use crate::frames;
use crate::keys::{self, Signer};
use crate::ours;
use crate::random::Random;

/// Before there are bytes: what a signer with the right key could have signed.
pub(crate) fn draft(draft: &mut Draft, random: &mut Random) {
    if draft.signers.is_empty() || draft.members.is_empty() {
        return;
    }
    match random.below(17) {
        0 => {
            let machine = wrong_text(random, 48);
            draft.machine.clone_from(&machine);
            draft.index_machine = machine;
        }
        1 => draft.index_machine = wrong_text(random, 48),
        2 => draft.version = wrong_text(random, 48),
        3 => draft.security_version = random.below(4) as u32,
        4 => draft.bcd_device = random.next() as u16,
        5 => names(&mut draft.targets, 4, 16, random),
        6 => names(&mut draft.compatible, 16, 48, random),
        7 => draft.mtime = *random.pick(&[1 << 33, (1 << 33) + 1, u64::MAX, 1 << 40, 5]),
        8 => signers(draft, random),
        9 => signers(draft, random),
        10 => members(&mut draft.members, random),
        _ => {
            let number = random.below(draft.members.len());
            member(&mut draft.members[number], random);
        }
    }
}

/// A *str* of `most` bytes at most with its rules broken, or kept.
fn wrong_text(random: &mut Random, most: usize) -> Vec<u8> {
    match random.below(6) {
        0 => Vec::new(),
        1 => text(random, most + 1),
        2 => text(random, most),
        3 => {
            let mut text = text(random, 5);
            text[2] = *random.pick(b" \0\n\\*?\"'|<>(){}[]!#$%&,;=^`\x7f\x80\xc3\xff");
            text
        }
        _ => text(random, 9),
    }
}

fn names(names: &mut Vec<Vec<u8>>, most: usize, longest: usize, random: &mut Random) {
    match random.below(5) {
        0 => names.clear(),
        1 => (0..=most).for_each(|_| names.push(text(random, longest))),
        2 => {
            let name = text(random, 6);
            names.extend([name.clone(), name]);
        }
        3 => names.resize_with(most, || text(random, longest)),
        _ => names.push(wrong_text(random, longest)),
    }
}

fn signers(draft: &mut Draft, random: &mut Random) {
    let entry = |scheme, length, key_id| SignatureEntry { scheme, length, key_id };
    let pss = Scheme::Rsa(RsaPadding::Pss, Hash::Sha256);
    let openbmc = *b"\xa4\x8a\xe9\x77\xcf\x91\xad\x27\xf3\xa9\x0c\x25\x50\xa9\x90\xf9\xe2\x21\xc0\x83\xb0\x00\xd6\xe4\x73\x9a\x6b\xed\xd1\x40\xda\xa6";
    let rsa = random.within(4, 5);
    let rsa_id = *keys::all()[rsa].id();
    let signers = &mut draft.signers;
    let last = signers.len() - 1;
    match random.below(11) {
        0 => signers.clear(),
        1 => signers.resize(5, Signer::Key(0)),
        2 => signers.push(Signer::Key(1)),
        3 => signers.push(Signer::Nobody(entry(Scheme::MlDsa, random.within(1, 8192) as u16, [4; 32]))),
        4 => signers[last] = Signer::Forger(Signer::Key(random.below(4)).entry()),
        5 => signers.push(Signer::Nobody(entry(pss, *random.pick(&[384, 512]), rsa_id))),
        6 => signers[last] = Signer::Nobody(entry(pss, 384, openbmc)),
        7 => signers[last] = Signer::Forger(SignatureEntry { key_id: [9; 32], ..signers[last].entry() }),
        // A key's id in the entry of another kind.
        8 => {
            let key_id = keys::id(random.below(4));
            signers[last] = Signer::Forger(SignatureEntry { key_id, ..signers[last].entry() });
        }
        9 => signers.reverse(),
        // The other key of the same kind, which is as good.
        _ => {
            for signer in signers {
                if let Signer::Key(number) = signer {
                    *number ^= 1;
                }
            }
        }
    }
}

fn members(members: &mut Vec<Member>, random: &mut Random) {
    match random.below(7) {
        0 => members.clear(),
        1 => members.resize(65, Member::new("x", 1, Vec::new())),
        2 => {
            let count = random.within(62, 66);
            for number in members.len()..count {
                members.push(Member::new(&format!("n{number}"), 1, Vec::new()));
            }
        }
        3 => members.push(members[random.below(members.len())].clone()),
        4 => drop(members.remove(random.below(members.len()))),
        5 => members.push(Member::new("image-other", 0, vec![Chunk::plain(random.bytes(9))])),
        _ => members.reverse(),
    }
}

fn member(member: &mut Member, random: &mut Random) {
    match random.below(12) {
        0 => {
            let mut name = random
                .pick(&[
                    &b""[..],
                    b"inband.",
                    b"inband.head",
                    b"inband.chunks/x",
                    b"inband",
                    b"/a",
                    b"a/",
                    b"a//b",
                    b".",
                    b"..",
                    b"./a",
                    b"a/.",
                    b"a/../b",
                    b"a/..b",
                    b"...",
                    b"/",
                    b"a b",
                    b"\xc3\xa4",
                    b"IMAGE-BMC",
                ])
                .to_vec();
            if random.once_in(2) {
                let length = *random.pick(&[84, 85, 86, 98, 99, 100, 255]);
                name = text(random, 1).repeat(length);
            }
            member.name = name;
        }
        1 => member.kind = *random.pick(&[0, 1, 2, 255]),
        2 => member.target = *random.pick(&[0, 1, 2, 255]),
        3 => {
            let sum: u64 = member.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
            member.length = Some(*random.pick(&[sum + 1, sum.wrapping_sub(1), 0, u64::MAX, sum + (1 << 32)]));
        }
        4 => {
            let count = member.chunks.len() as u32;
            member.count = Some(*random.pick(&[count + 1, count.wrapping_sub(1), u32::MAX, 1 << 20]));
        }
        5 => {
            member.prefix =
                Some(*random.pick(&[&b""[..], b"inband.chunks/", b"x", b"./", b"inband.chunks."]));
        }
        // More than its region has room for, which may be no more than some.
        6 => member.chunks.push(Chunk::plain(random.bytes(1))),
        7 => member.chunks.push(Chunk::plain(random.bytes(600))),
        8 => member.chunks.push(frames::strange(random)),
        _ => chunks(member, random),
    }
}

fn chunks(member: &mut Member, random: &mut Random) {
    if member.chunks.is_empty() {
        member.chunks.push(frames::strange(random));
        return;
    }
    let (one, other) = (random.below(member.chunks.len()), random.below(member.chunks.len()));
    let chunk = &mut member.chunks[one];
    match random.below(13) {
        0 => chunk.encoding = *random.pick(&[0, 1, 2, 255]),
        1 => {
            chunk.length = *random.pick(&[
                0,
                131_073,
                u32::MAX,
                chunk.length.wrapping_add(1),
                chunk.length.wrapping_sub(1),
            ]);
        }
        2 => random.flip(&mut chunk.digest),
        3 => random.flip(&mut chunk.sent_digest),
        4 => {
            chunk.sent_length = *random.pick(&[
                0,
                chunk.length,
                chunk.length.wrapping_sub(1),
                chunk.sent_length.wrapping_add(1),
                u32::MAX,
            ]);
        }
        5 => random.flip(&mut chunk.sent),
        6 => chunk.sent.push(0),
        7 => drop(chunk.sent.pop()),
        8 => member.chunks.swap(one, other),
        9 => {
            let sent = chunk.sent.clone();
            let theirs = std::mem::replace(&mut member.chunks[other].sent, sent);
            member.chunks[one].sent = theirs;
        }
        10 => drop(member.chunks.remove(one)),
        // The longest chunk there can be, and one more.
        11 => *chunk = Chunk::plain(vec![0x5A; *random.pick(&[131_072, 131_073])]),
        _ => *chunk = frames::strange(random),
    }
}

/// The bytes of the index, before the head takes their hash.
pub(crate) fn index(index: &mut Vec<u8>, random: &mut Random) {
    if index.len() < 12 {
        return;
    }
    let at = random.below(index.len());
    match random.below(8) {
        0 => index.truncate(at),
        1 => index.push(0),
        2 => drop(index.remove(at)),
        3 => index.insert(at, random.next() as u8),
        4 => index[at] = random.next() as u8,
        // Magic, version and flags.
        5 => random.flip(&mut index[..12]),
        _ => random.flip(index),
    }
}

/// The bytes of the head, before it is signed.
pub(crate) fn head(head: &mut [u8; 512], random: &mut Random) {
    let entry = 72 + 40 * random.below(2);
    let total = u64::from_le_bytes(head[16..24].try_into().unwrap());
    let index_length = u32::from_le_bytes(head[12..16].try_into().unwrap());
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    match random.below(13) {
        0 => put(8, &(random.below(4) as u16).to_le_bytes()),
        1 => {
            let lengths = [
                0,
                524_288,
                524_289,
                index_length.wrapping_add(1),
                index_length.wrapping_sub(1),
                index_length ^ 512,
                u32::MAX,
            ];
            put(12, &random.pick(&lengths).to_le_bytes());
        }
        2 => {
            let gib = 1 << 30;
            let totals = [
                0,
                512,
                gib,
                gib + 512,
                total ^ 512,
                total.wrapping_add(512),
                total.wrapping_sub(512),
                total ^ 1,
                64 << 20,
                u64::MAX,
            ];
            put(16, &random.pick(&totals).to_le_bytes());
        }
        3 => put(24, &random.pick(&[1_u64, 1 << 33, u64::MAX]).to_le_bytes()),
        4 => put(64, &[random.below(6) as u8]),
        5 => put(entry, &[random.below(6) as u8]),
        6 => put(entry + 1, &[random.below(8) as u8]),
        7 => put(entry + 2, &(*random.pick(&[0_u16, 63, 64, 65, 96, 384, 512, 8192, 8193])).to_le_bytes()),
        8 => put(232, &[*random.pick(&[0, 10, 12, 48, 49, 255])]),
        9 => random.flip(&mut head[65..72]),
        10 => random.flip(&mut head[112..]),
        _ => random.flip(head),
    }
}

/// The signatures.
pub(crate) fn signatures(signatures: &mut [Vec<u8>], entries: &[SignatureEntry], random: &mut Random) {
    if signatures.is_empty() {
        return;
    }
    let number = random.below(signatures.len());
    let last = signatures.len() - 1;
    let signature = &mut signatures[number];
    match (random.below(6), entries[number].kind()) {
        (0, _) => signature.fill(*random.pick(&[0, 0xFF])),
        (1, Kind::P384) => negate_s(signature),
        (1, Kind::Ed25519) => add_order(signature),
        (2, Kind::P384) => signature[48 * random.below(2)..].fill(0),
        (3, Kind::P384) => signature[48..].copy_from_slice(&P384_ORDER),
        // R of small order: the neutral element, in its usual encoding and as y + p.
        (2, Kind::Ed25519) => {
            signature[..32].fill(0);
            signature[0] = 1;
        }
        (3, Kind::Ed25519) => {
            signature[..32].fill(0xFF);
            signature[0] = 0xEE;
            signature[31] = 0x7F;
        }
        (4, _) => {
            let other = signatures[last].clone();
            let length = signatures[number].len();
            signatures[number] = other.into_iter().chain([0; 512]).take(length).collect();
        }
        _ => random.flip(signature),
    }
}

/// The order n of P-384 (SP 800-186, 3.2.1.4).
const P384_ORDER: [u8; 48] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC7, 0x63, 0x4D, 0x81, 0xF4, 0x37, 0x2D, 0xDF, 0x58, 0x1A,
    0x0D, 0xB2, 0x48, 0xB0, 0xA7, 0x7A, 0xEC, 0xEC, 0x19, 0x6A, 0xCC, 0xC5, 0x29, 0x73,
];

/// The order L of Ed25519 (RFC 8032, 5.1), least significant byte first.
const ED25519_ORDER: [u8; 32] = [
    0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// n - s: the other s of the same signature.
fn negate_s(signature: &mut [u8]) {
    let mut borrow = 0;
    for (byte, order) in signature[48..].iter_mut().zip(P384_ORDER).rev() {
        let difference = i16::from(order) - i16::from(*byte) - borrow;
        *byte = difference as u8;
        borrow = i16::from(difference < 0);
    }
}

/// S + L.
fn add_order(signature: &mut [u8]) {
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ED25519_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}

/// The BMC. One that a configuration cannot make is none.
pub(crate) fn bmc(bmc: &mut Bmc, total: u64, random: &mut Random) {
    let before = bmc.clone();
    let number = random.below(bmc.keys.len());
    match random.below(26) {
        24 if random.once_in(2) => bmc.expected.head = Some([0; 32]),
        24 => bmc.expected.length = Some(*random.pick(&[total - 1, total + 512, 0])),
        25 => bmc.expected.not_older = true,
        14 | 19 => bmc.same_version = Rule::Refuse,
        15 | 20 | 21 => bmc.downgrade = Rule::Refuse,
        16 => bmc.compatible = vec!["com.example.none".into()],
        17 | 18 | 22 | 23 => {
            let region = random.below(bmc.regions.len());
            let policies = [RegionPolicy::Preserve, RegionPolicy::Refuse, RegionPolicy::Refuse];
            bmc.regions[region].policy = *random.pick(&policies);
        }
        0 => bmc.machine.push('x'),
        1 => bmc.max_length = *random.pick(&[total, total - 1, total - 512, 0]),
        2 => bmc.floor += random.within(1, 3) as u32,
        3 => bmc.required = vec![Kind::Ed25519],
        4 => bmc.required = vec![Kind::Ed25519, Kind::P384],
        5 => bmc.required = vec![Kind::Ed25519, Kind::P384, Kind::Rsa],
        6 => bmc.revoked.push(*bmc.keys[number].0.id()),
        // Another of its kind is left.
        7 => drop(bmc.keys.remove(number)),
        8 => {
            let scheme = *random.pick(&Scheme::ALL);
            for (key, only) in &mut bmc.keys {
                if key.kind() == scheme.kind() {
                    *only = Some(scheme);
                }
            }
        }
        9 => bmc.regions.push(Region::new("bmc", "image-more", 0, 512)),
        10 if bmc.regions.len() > 1 => drop(bmc.regions.remove(0)),
        11 => {
            let region = random.below(bmc.regions.len());
            bmc.regions[region].target = random.pick(&["bmc", "second", "bios"]).to_string();
        }
        12 => bmc.regions.retain(|region| region.member != "image-rofs" || region.length < 4),
        _ => {
            for region in &mut bmc.regions {
                region.length = region.length.saturating_sub(random.within(1, 600) as u64).max(1);
            }
        }
    }
    if ours::ring(bmc).is_err() || ours::layout(bmc).is_err() {
        *bmc = before;
    }
}
