//! A hostile host against the disk: CBWs, data, reads and resets in any order, and a medium that changes under it.
//!
//! The first byte: bit 0 no halts, bits 1 and 2 buffers less one, bit 3 what is taken back comes home late; the second: packets of a piece less one, modulo 8. Then the script. A byte says what comes:
//!
//! * 0 to 0x7f: a command by a host that keeps to the rules. Bit 0: data to the host; bits 1 and 2: 0 no data, 1 as many bytes as the next two bytes say, 2 as
//!   many blocks as the next byte says modulo 32, 3 as many bytes as the CDB asks for, if it is one with blocks. Then the CDB: a byte for the line of the table (or,
//!   from 0xc0 on, none), a byte for its length, then its bytes, under the mask of the line where bit 3 of the first byte is clear.
//! * 0x80 to 0xbf: a CBW as in 0 to 0x7f, and nothing else.
//! * 0xc0 to 0xcf: the next so many bytes plus 24, as they stand, as a transfer. 0xd0: data of as many bytes as the next two bytes say. 0xd1: a
//!   read likewise. 0xd2: clears the halt. 0xd3: the class request. 0xd4: Reset Recovery. 0xd5: off the bus and on. 0xd6: 100 ms. 0xd7: another medium. 0xd8: no medium, or one
//!   again. 0xd9: write protection, on or off. 0xda: a fault at the block in the next byte. 0xdb: none. 0xdc: the medium has another number of blocks,
//!   that in the next byte modulo 32 and one, and says nothing of it.
//!
//! Besides what `inband_volume::testing` checks of each command: a failure is explained, and behind it all the disk works.

use std::time::Duration;

use inband_usb::Direction;
use inband_volume::{
    bot::{Device, Halts, Limits, Phase, wire::Cbw},
    scsi::{
        BLOCK, Disk, Fault, Identity,
        command::{Entry, TABLE, blocks},
    },
    testing::{self, ArrayMedium, Seen, Wire},
};

const BLOCKS: usize = 24;
const IDENTITY: Identity =
    Identity { vendor: *b"INBAND  ", product: *b"FIRMWARE RAW    ", revision: *b"1   ", serial: 1 };

pub(crate) fn run(input: &[u8]) {
    let mut script = Script(input);
    let (setting, piece) = (script.byte(), script.byte());
    let halts = if setting & 1 == 0 { Halts::Use } else { Halts::Avoid };
    let limits =
        Limits { buffers: usize::from(setting >> 1 & 3) + 1, piece: (usize::from(piece % 8) + 1) * 512 };
    let disk = Disk::new(IDENTITY, ArrayMedium::new(BLOCKS));
    let mut wire = Wire::new(Device::new(0, halts, limits, disk));
    wire.late = setting & 8 != 0;
    let mut host = Host { wire, halts, tag: 0, astray: false };
    while let Some((&step, rest)) = script.0.split_first() {
        script.0 = rest;
        host.step(step, &mut script);
        assert!(host.wire.deepest <= 4, "more in flight than every backend takes");
        assert!(host.medium().events.len() <= 64, "a command with events without end");
        host.medium().events.clear();
    }
    host.end();
}

struct Host {
    wire: Wire<Disk<ArrayMedium>>,
    halts: Halts,
    tag: u32,
    /// What was sent or read was not by the rules: only Reset Recovery helps.
    astray: bool,
}

impl Host {
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step {
            0..=0x7f => {
                let cbw = self.cbw(step, script);
                let seen = self.command(&cbw);
                if seen.status == 1 {
                    let sense = testing::cbw(self.tag, Direction::In, 18, &[3, 0, 0, 0, 18, 0]);
                    let sense = self.command(&sense);
                    assert!(sense.data[2] != 0 && sense.data[12] != 0, "a failure without a reason");
                }
            }
            0x80..=0xbf => {
                let cbw = self.cbw(step, script);
                self.raw(&cbw.to_bytes());
            }
            0xc0..=0xcf => {
                let (bytes, rest) = script.0.split_at((usize::from(step & 15) + 24).min(script.0.len()));
                script.0 = rest;
                self.raw(bytes);
            }
            0xd0 => {
                let length = script.word();
                self.raw(&testing::pattern(length, length));
            }
            0xd1 => {
                self.astray = true;
                self.wire.read(script.word());
            }
            0xd2 => self.wire.clear_halt(),
            0xd3 => {
                self.wire.reset(false);
                self.astray |= self.wire.halted;
            }
            0xd4 => self.recover(),
            0xd5 => {
                self.wire.reconnect();
                self.astray = false;
            }
            0xd6 => self.wire.advance(Duration::from_millis(100)),
            0xd7 => self.medium().insertion += 1,
            0xd8 => self.medium().present ^= true,
            0xd9 => self.medium().write_protected ^= true,
            0xda => {
                let faults = [Fault::Absent, Fault::NoSpace, Fault::Unreadable, Fault::Unwritable];
                let block = script.byte();
                self.medium().fault = Some((u64::from(block & 63), faults[usize::from(block >> 6)]));
            }
            0xdc => {
                let blocks = usize::from(script.byte() % 32) + 1;
                self.medium().bytes.resize(blocks * BLOCK, 0);
            }
            _ => self.medium().fault = None,
        }
    }

    fn medium(&mut self) -> &mut ArrayMedium {
        self.wire.device.target_mut().medium_mut()
    }

    fn cbw(&mut self, step: u8, script: &mut Script<'_>) -> Cbw {
        let words = if step & 6 == 2 { script.word() as u32 } else { 0 };
        let count = if step & 6 == 4 { u32::from(script.byte()) % 32 } else { 0 };
        let (line, length) = (script.byte(), script.byte());
        let entry = (line < 0xc0).then(|| &TABLE[usize::from(line) % TABLE.len()]);
        let length = match entry {
            Some(entry) if length < 0xf0 => entry.usage.len(),
            _ => usize::from(length % 16) + 1,
        };
        let mut cdb: Vec<u8> = (0..length).map(|_| script.byte()).collect();
        if let Some(Entry { usage, service, .. }) = entry {
            if step & 8 == 0 {
                cdb.iter_mut().zip(*usage).for_each(|(byte, mask)| *byte &= mask);
            }
            cdb[0] = usage[0];
            if let (Some(service), Some(byte)) = (service, cdb.get_mut(1)) {
                *byte = *service;
            }
        }
        self.tag = self.tag.wrapping_add(0x0101_0101);
        let direction = if step & 1 == 0 { Direction::Out } else { Direction::In };
        let mut cbw = testing::cbw(self.tag, direction, 0, &cdb);
        cbw.length = match (step & 6, entry) {
            (2, _) => words,
            (4, _) => count * 512,
            // At most the whole disk: a host with more has much to send.
            (6, Some(entry)) => (blocks(entry, &cbw.cdb).1.min(BLOCKS as u64) * 512) as u32,
            _ => 0,
        };
        cbw
    }

    fn command(&mut self, cbw: &Cbw) -> Seen {
        if self.astray || self.wire.halted || self.wire.device.phase() != Phase::Command {
            self.recover();
        }
        let data = testing::pattern(cbw.tag as usize, cbw.length as usize);
        testing::run(&mut self.wire, self.halts, cbw, &data)
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.astray = true;
        self.wire.send(bytes);
    }

    fn recover(&mut self) {
        self.wire.reset(true);
        self.astray = false;
    }

    fn end(&mut self) {
        let medium = self.medium();
        (medium.present, medium.write_protected, medium.fault) = (true, false, None);
        medium.bytes.resize(BLOCKS * BLOCK, 0);
        medium.insertion += 1;
        self.recover();
        for _ in 0..2 {
            let seen = self.command(&testing::cbw(1, Direction::Out, 0, &[0; 6]));
            assert_eq!(seen.status, 1, "reset and change are told");
        }
        let data = testing::cbw(2, Direction::Out, 1024, &[0x2a, 0, 0, 0, 0, 9, 0, 0, 2, 0]);
        assert_eq!(self.command(&data).status, 0, "a good WRITE fails");
        let read = self.command(&testing::cbw(3, Direction::In, 1024, &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0]));
        assert_eq!(read.data, testing::pattern(2, 1024), "what was written is not there");
    }
}

/// What is left of the input; zeros behind it.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// A length: two bytes, of which 14 bits count. More than all buffers hold.
    fn word(&mut self) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) & 0x3fff
    }
}
