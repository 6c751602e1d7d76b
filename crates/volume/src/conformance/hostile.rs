//! A host without manners: what it sends comes from a seed, so that a failure comes again.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use inband_usb::{Direction, HostDevice};

use super::{Bench, Session, session::cdb10};
use crate::{
    bot::{
        host::Data,
        wire::{GET_MAX_LUN, RESET},
    },
    scsi::BLOCK,
    testing::pattern,
};

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Commands, good and bad.
    pub commands: u32,
    /// How long a good one took at most, from its CBW to its CSW.
    pub slowest: Duration,
}

/// Splitmix64: small, and as random as is needed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) >> 33) as u32 % end.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A CDB of random bytes, few of them set as often as not.
    fn cdb(&mut self) -> Vec<u8> {
        let length = 1 + self.below(16) as usize;
        let mut cdb = self.bytes(length);
        if self.below(2) == 0 {
            cdb.iter_mut().skip(1).for_each(|byte| *byte &= 1);
        }
        cdb
    }
}

/// So many commands: noise in the place of CBWs, random CDBs with any data, data that ends early or is not read, resets and wrong requests. Now and
/// then a host that begins anew finds a disk that works, and at the end.
///
/// # Errors
/// It does not work.
pub fn run<B: Bench>(bench: &mut B, commands: u32, seed: u64) -> Result<Figures, String> {
    let between = bench.between();
    let mut opened = bench.open()?;
    let mut disk = Session::new(&mut opened, between);
    disk.recover()?;
    let mut random = Random(seed);
    let mut figures = Figures { commands, slowest: Duration::ZERO };
    for n in 0..commands {
        let kind = random.below(8);
        step(&mut disk, &mut random, kind, &mut figures)
            .map_err(|why| format!("command {n} of seed {seed}, kind {kind}: {why}"))?;
        if n % 64 == 63 || n + 1 == commands {
            disk.recover()?;
            disk.ready().map_err(|why| format!("behind command {n} of seed {seed}: {why}"))?;
            disk.works().map_err(|why| format!("behind command {n} of seed {seed}: {why}"))?;
        }
    }
    Ok(figures)
}

fn step<U: HostDevice>(
    disk: &mut Session<'_, U>,
    random: &mut Random,
    kind: u32,
    figures: &mut Figures,
) -> Result<(), String> {
    let told = |error: inband_usb::HostError| format!("{error}");
    match kind {
        // Noise of any length.
        0 => {
            let length = random.below(600) as usize;
            disk.send(&random.bytes(length)).map_err(told)?;
            disk.recover()
        }
        // A good CBW of which a byte is not.
        1 => {
            let cdb = random.cdb();
            let length = random.below(4096);
            let mut bytes = disk.cbw(Direction::In, length, &cdb).to_bytes();
            let bad = [0, 1, 2, 3, 13][random.below(5) as usize];
            bytes[bad] ^= 0x40 | random.below(64) as u8;
            disk.send(&bytes).map_err(told)?;
            disk.recover()
        }
        // Data that nobody reads to its end.
        2 => {
            disk.ready()?;
            let blocks = 1 + random.below(240);
            let cbw = disk.cbw(Direction::In, blocks * BLOCK as u32, &cdb10(0x28, 0, blocks as u16));
            disk.send(&cbw.to_bytes()).map_err(told)?;
            disk.receive((1 + random.below(blocks) as usize) * BLOCK).map_err(told)?;
            disk.recover()
        }
        // Data that stops, in whole packets or not.
        3 => {
            disk.ready()?;
            let blocks = 1 + random.below(240);
            let cbw = disk.cbw(Direction::Out, blocks * BLOCK as u32, &cdb10(0x2a, 0, blocks as u16));
            disk.send(&cbw.to_bytes()).map_err(told)?;
            let length = random.below(blocks * BLOCK as u32) as usize;
            if length > 0 {
                disk.send(&pattern(blocks as usize, length)).map_err(told)?;
            }
            disk.recover()
        }
        // Requests that are none; each is refused.
        4 => {
            let (value, length) = (random.below(0x1_0000) as u16, 1 + random.below(64) as u16);
            let index = u16::from(disk.interface);
            let request_type = if random.below(2) == 0 { 0x21 } else { 0xa1 };
            let request = [RESET, GET_MAX_LUN, random.below(0xfe) as u8][random.below(3) as usize];
            if (request, request_type, value, length) == (GET_MAX_LUN, 0xa1, 0, 1) {
                return Ok(());
            }
            match disk.request(request_type, request, value, index, length) {
                Err(inband_usb::HostError::Stall) => Ok(()),
                other => Err(format!("{request_type:02x} {request:02x} {value:04x} {length}: {other:?}")),
            }
        }
        // Any command with any data, as by the rules.
        _ => {
            let mut cdb = random.cdb();
            // Not an eject: nobody inserts anything. Nor SWP.
            if matches!(cdb[0], 0x1b | 0x15 | 0x55) {
                cdb[0] = 0x28;
            }
            let length = random.below(20_000);
            let out = pattern(length as usize, length as usize);
            let data = match random.below(3) {
                0 => Data::None,
                1 => Data::In(length),
                _ => Data::Out(&out),
            };
            let before = disk.usb.now();
            disk.command(&cdb, data)?;
            figures.slowest = figures.slowest.max(disk.usb.now().saturating_sub(before));
            Ok(())
        }
    }
}
