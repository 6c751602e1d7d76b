//! A hostile device against the host of the bulk protocol.
//!
//! The first byte: portions in units of 16 bytes. Then the script: a byte says what comes. 0 to 0xef: the next so many bytes, as a
//! unit. 0xf0: a NEED of the round that is due, with the bitmap in the next byte; 0xf1: a RESULT with the number in the next byte; 0xf2: the same in another
//! exchange; 0xf3 to 0xff: the NEED, with the byte at the place in the next byte flipped.
//!
//! Besides: a chunk is given out once and only if it was asked for, reads stay in bounds, `ok` comes only behind all of it.

use std::time::Duration;

use inband_bulk::{
    ChunkSet, Host,
    host::{Limits, Next},
    wire::{HEADER_LENGTH, Kind, OK, Outcome, UNIT, message},
};

const LENGTHS: [u32; 8] = [5, 492, 493, 700, 1, 1, 131_072, 2];

pub(crate) fn run(input: &[u8]) {
    let Some((&portion, mut script)) = input.split_first() else { return };
    let portion = match usize::from(portion) * 16 {
        0 => usize::MAX,
        portion => portion,
    };
    let mut host =
        Host::offer(Duration::ZERO, Limits::default(), 1, &[0; 3072], LENGTHS.to_vec()).expect("a package");
    let mut given = ChunkSet::new(8);
    let mut round = 0;
    let next_byte = |script: &mut &[u8]| {
        let (byte, rest) = script.split_first().unwrap_or((&0, &[]));
        *script = rest;
        *byte
    };
    while !script.is_empty() {
        if !give_out(&mut host, &mut given) {
            return;
        }
        let step = next_byte(&mut script);
        let bytes = match step {
            0..=0xef => {
                let (bytes, rest) = script.split_at(usize::from(step).min(script.len()));
                script = rest;
                let mut unit = bytes.to_vec();
                unit.resize(UNIT, 0);
                unit
            }
            0xf0 => need(&mut round, next_byte(&mut script)),
            0xf1 => result(1, next_byte(&mut script)),
            0xf2 => result(2, next_byte(&mut script)),
            0xf3..=0xff => {
                let mut bytes = need(&mut round, next_byte(&mut script));
                bytes[usize::from(next_byte(&mut script))] ^= 1 << (step & 7);
                bytes
            }
        };
        for portion in bytes.chunks(portion.min(bytes.len())) {
            if let Err(error) = host.handle_received(Duration::ZERO, portion) {
                assert!(!error.to_string().is_empty());
                assert_eq!((host.expected(), host.poll_next()), (0, Err(error)));
                return;
            }
            assert!(host.expected() <= UNIT);
        }
    }
    give_out(&mut host, &mut given);
    assert!(host.sent() <= host.total());
}

/// Takes all that the host has to give out. Returns whether the exchange goes on.
fn give_out(host: &mut Host, given: &mut ChunkSet) -> bool {
    loop {
        match host.poll_next() {
            Ok(Next::Submit(part)) => host.handle_sent(Duration::ZERO, part.len()),
            Ok(Next::Chunk { number, length, message }) => {
                assert!(!given.contains(number) && host.asked().is_some_and(|asked| asked.contains(number)));
                assert!(message.len() >= HEADER_LENGTH + length as usize && message.len() % UNIT == 0);
                given.insert(number);
                host.handle_sent(Duration::ZERO, message.len());
            }
            Ok(Next::Wait) => return true,
            Ok(Next::Over(outcome)) => {
                assert!(outcome.result != OK || host.asked() == Some(&*given));
                return false;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn need(round: &mut u32, bits: u8) -> Vec<u8> {
    let mut set = ChunkSet::new(8);
    (0..8).filter(|chunk| bits >> chunk & 1 == 1).for_each(|chunk| set.insert(chunk));
    *round += 1;
    message(Kind::Need, 1, *round - 1, &set.to_need(&LENGTHS))
}

fn result(exchange: u32, number: u8) -> Vec<u8> {
    message(Kind::Result, exchange, 0, &Outcome { result: number.into(), session: 7 }.to_bytes())
}
