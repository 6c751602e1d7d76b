//! Whatever comes, in whatever portions: the same messages, no panic, nothing read that is not due.

use std::time::Duration;

use inband_bulk::{
    ChunkSet, Device, Host,
    device::Incoming,
    host::{Limits, Next},
    wire::{Header, Kind, Outcome, message, message_length},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::sides::{Bmc, Package};

fn header() -> impl Strategy<Value = Header> {
    (any::<u8>(), any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |(version, kind, exchange, number, length, clean)| Header {
            version,
            kind,
            exchange,
            number,
            length,
            clean,
        },
    )
}

/// A message that may or may not make sense, most often to the exchanges of these tests.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![4 => 1_u8..4, 2 => 0x81_u8..0x83, 1 => any::<u8>()];
    let number = prop_oneof![4 => 0_u32..5, 1 => any::<u32>()];
    let body = prop_oneof![
        3 => vec(any::<u8>(), 0..40),
        1 => Just(Package::new(&[]).head),
        2 => (any::<u16>(), any::<u32>()).prop_map(|(result, session)| {
            Outcome { result, session }.to_bytes().to_vec()
        }),
        2 => vec(any::<bool>(), 4).prop_map(|asked| {
            let mut set = ChunkSet::new(4);
            (0..4).filter(|chunk| asked[*chunk as usize]).for_each(|chunk| set.insert(chunk));
            set.to_need(&[5; 4])
        }),
    ];
    (kind, number, body, prop_oneof![9 => Just(1), 1 => any::<u8>()], any::<Index>(), any::<bool>()).prop_map(
        |(kind, number, body, version, at, damage)| {
            let header = Header { version, kind, ..Header::new(Kind::Chunk, 1, number, body.len() as u32) };
            let mut bytes = message(Kind::Chunk, 1, number, &body);
            bytes[..20].copy_from_slice(&header.to_bytes());
            if damage && number == 0 {
                let at = at.index(bytes.len());
                bytes[at] ^= 1;
            }
            bytes
        },
    )
}

/// The stream of a host that does all right, for these rounds.
fn stream(package: &Package, rounds: &[&[u32]]) -> Vec<u8> {
    let mut stream = message(Kind::Offer, 1, 0, &package.head);
    for number in rounds.concat() {
        stream.extend(message(Kind::Chunk, 1, number, &package.chunks[number as usize]));
    }
    stream
}

proptest! {
    #[test]
    fn headers(header in header()) {
        let mut bytes = header.to_bytes();
        if !header.clean {
            bytes[6] = 1;
        }
        prop_assert_eq!(Header::parse(&bytes), Some(header));
        prop_assert_eq!(message_length(header.length) % 512, 0);
    }

    #[test]
    fn headers_begin_with_the_magic(bytes in any::<[u8; 20]>()) {
        prop_assert_eq!(Header::parse(&bytes).is_some(), bytes.starts_with(b"IBLK"));
    }

    #[test]
    fn needs(lengths in vec(1_u32..=131_072, 0..300), picks in vec(any::<Index>(), 0..40)) {
        let mut set = ChunkSet::new(lengths.len() as u32);
        if !lengths.is_empty() {
            picks.iter().for_each(|pick| set.insert(pick.index(lengths.len()) as u32));
        }
        let body = set.to_need(&lengths);
        prop_assert_eq!(ChunkSet::from_need(&body, &lengths), Ok(set.clone()));
        prop_assert_eq!(set.iter().count(), set.len() as usize);
        // One bit more or less anywhere is noticed.
        for at in 0..body.len() * 8 {
            let mut other = body.clone();
            other[at / 8] ^= 1 << (at % 8);
            prop_assert!(ChunkSet::from_need(&other, &lengths).is_err(), "bit {}", at);
        }
    }

    #[test]
    fn any_need(body in vec(any::<u8>(), 0..64), count in 0_usize..200) {
        let lengths = vec![7; count];
        if let Ok(set) = ChunkSet::from_need(&body, &lengths) {
            prop_assert_eq!(set.to_need(&lengths), body);
        }
    }

    /// However the stream is cut, the same chunks come out, and the same answers.
    #[test]
    fn any_fragmentation(
        lengths in vec(1_usize..3000, 1..8),
        cuts in vec(prop_oneof![1_usize..30, 1_usize..2000], 1..40),
        hints in any::<u8>(),
        wrong in any::<u8>(),
    ) {
        let package = Package::new(&lengths);
        let pick = |bits: u8| package.set((0..8).filter(|chunk| bits >> chunk & 1 == 1));
        let has = pick(hints & !wrong);
        let hinted = pick(hints | wrong);
        let all = 0..lengths.len() as u32;
        let first: Vec<u32> = all.clone().filter(|chunk| !hinted.contains(*chunk)).collect();
        let second: Vec<u32> = all.filter(|chunk| hinted.contains(*chunk) && !has.contains(*chunk)).collect();
        let stream = stream(&package, &[&first, &second]);

        let mut bmc = Bmc::new(&package, has, &hinted);
        let mut sent = Vec::new();
        let (mut rest, mut turn) = (&stream[..], 0);
        while !rest.is_empty() {
            let due = usize::try_from(bmc.device.expected()).unwrap();
            let cut = cuts[turn % cuts.len()].min(due);
            prop_assert!(cut > 0 && cut <= rest.len());
            turn += 1;
            let (portion, after) = rest.split_at(cut);
            bmc.take(portion);
            sent.extend(std::iter::from_fn(|| bmc.device.poll_action()));
            rest = after;
        }
        prop_assert!(bmc.staged);
        prop_assert_eq!(bmc.came, [first, second].concat());

        // The same in one piece.
        let mut whole = Bmc::new(&package, pick(hints & !wrong), &pick(hints | wrong));
        whole.take(&stream);
        let at_once: Vec<_> = std::iter::from_fn(|| whole.device.poll_action()).collect();
        prop_assert_eq!(sent, at_once);
    }

    /// Any messages to a device: it stays within what it asked for, and the next exchange works.
    #[test]
    fn any_messages_to_a_device(messages in vec(any_message(), 0..12), cut in 1_usize..700) {
        let package = Package::new(&[5, 5, 5, 5]);
        let mut bmc = Bmc::empty(&package);
        let stream = messages.concat();
        for mut portion in stream.chunks(cut) {
            while let Some(incoming) = bmc.device.handle_bytes(&mut portion) {
                if let Incoming::File { .. } = incoming {
                    bmc.device.end(33);
                } else {
                    bmc.on(incoming);
                }
            }
            prop_assert!(portion.is_empty() || bmc.device.is_owing());
            while bmc.device.poll_action().is_some() {}
        }
        prop_assert!(!bmc.staged || bmc.has.len() == 4);
        bmc.device.end(48);
        let left = bmc.device.expected();
        prop_assert!(left <= 512);
        bmc.take(&vec![0; usize::try_from(left).unwrap() % 512]);
        bmc.has = package.set([]);
        bmc.hints = package.set([]);
        bmc.take(&crate::properties::stream(&package, &[&[0, 1, 2, 3]]));
        prop_assert!(bmc.staged);
    }

    /// Any messages to a host: what it gives out is what it was asked for, in bounds, and it comes to an end.
    #[test]
    fn any_messages_to_a_host(messages in vec(any_message(), 0..12), cut in 1_usize..700) {
        let lengths = vec![5; 4];
        let head = Package::new(&[]).head;
        let mut host = Host::offer(Duration::ZERO, Limits::default(), 1, &head, lengths).unwrap();
        let mut given = ChunkSet::new(4);
        let stream = messages.concat();
        for portion in stream.chunks(cut) {
            while let Ok(next @ (Next::Submit(_) | Next::Chunk { .. })) = host.poll_next() {
                if let Next::Chunk { number, .. } = next {
                    prop_assert!(!given.contains(number));
                    given.insert(number);
                }
            }
            if host.handle_received(Duration::ZERO, portion).is_err() {
                break;
            }
        }
        if let Some(asked) = host.asked() {
            prop_assert!(given.iter().all(|chunk| asked.contains(chunk)));
        }
        prop_assert!(host.sent() <= host.total());
    }

    /// Rubbish in any portions is no exchange, but where it happens to begin with the magic.
    #[test]
    fn rubbish_to_a_device(mut bytes in vec(any::<u8>(), 0..3000), cut in 1_usize..700) {
        bytes.iter_mut().step_by(512).for_each(|byte| *byte = 0);
        let mut device = Device::new();
        for mut portion in bytes.chunks(cut) {
            prop_assert_eq!(device.handle_bytes(&mut portion), None);
            prop_assert!(portion.is_empty() && device.is_idle());
        }
        prop_assert_eq!(device.poll_action(), None);
    }
}
