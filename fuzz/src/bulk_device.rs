//! A hostile host against the device of the bulk protocol.
//!
//! The input is a byte each for the owner (which hints it has, and which are wrong), a byte for the portions in units of 16 bytes, then the
//! script: a byte says what comes. 0 to 0xef: the next so many bytes as they stand, as a unit. 0xf0: a good OFFER; 0xf1: the good chunk
//! that is due; 0xf2: the first unit of an OFFER; 0xf3: a WHOLE of the length in the next two bytes; 0xf4: ABORT; 0xf5: reset; 0xf6: the next
//! so many bytes as they stand, and the transfer ends; 0xf7: a good chunk up to the place in the next byte, and the transfer ends; 0xf8 to
//! 0xff: a good chunk, with the byte at the place in the next byte flipped.
//!
//! Besides: never more is taken than was due, nothing is staged that is not whole, and behind it all a good exchange works.

use inband_bulk::{
    ChunkSet, Device,
    device::Incoming,
    wire::{Kind, UNIT, message},
};

const HEAD: [u8; 3072] = [0x5a; 3072];
const LENGTHS: [usize; 5] = [5, 492, 493, 700, 1];
const COUNT: u32 = LENGTHS.len() as u32;

pub(crate) fn run(input: &[u8]) {
    let [hints, wrong, portion, script @ ..] = input else { return };
    let portion = match usize::from(*portion) * 16 {
        0 => usize::MAX,
        portion => portion,
    };
    let mut bmc = Bmc {
        device: Device::new(),
        has: ChunkSet::new(COUNT),
        hints: *hints,
        wrong: *wrong,
        due: None,
        chunk: Vec::new(),
        head: Vec::new(),
        staged: false,
    };
    let mut script = script;
    let next_byte = |script: &mut &[u8]| {
        let (byte, rest) = script.split_first().unwrap_or((&0, &[]));
        *script = rest;
        usize::from(*byte)
    };
    while let Some((&step, rest)) = script.split_first() {
        script = rest;
        let bytes = match step {
            0..=0xef => {
                let (bytes, rest) = script.split_at(usize::from(step).min(script.len()));
                script = rest;
                let mut unit = bytes.to_vec();
                unit.resize(UNIT, 0);
                unit
            }
            0xf0 => message(Kind::Offer, 1, 0, &HEAD),
            0xf1 => chunk(bmc.due.unwrap_or(0)),
            0xf2 => message(Kind::Offer, 1, 0, &HEAD)[..UNIT].to_vec(),
            0xf3 => {
                let (length, rest) = script.split_at(2.min(script.len()));
                script = rest;
                let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
                message(Kind::Whole, 1, 0, &length.to_le_bytes())
            }
            0xf4 => {
                bmc.device.end(48);
                continue;
            }
            0xf5 => {
                bmc.device.reset();
                continue;
            }
            0xf6 => {
                let length = next_byte(&mut script);
                let (bytes, rest) = script.split_at(length.min(script.len()));
                script = rest;
                bytes.to_vec()
            }
            0xf7 => {
                let mut bytes = chunk(bmc.due.unwrap_or(0));
                bytes.truncate(next_byte(&mut script));
                bytes
            }
            0xf8..=0xff => {
                let mut bytes = chunk(bmc.due.unwrap_or(0));
                if let Some((at, rest)) = script.split_first() {
                    script = rest;
                    bytes[usize::from(*at)] ^= 1 << (step & 7);
                }
                bytes
            }
        };
        bmc.give(&bytes, portion);
    }
    bmc.device.end(48);
    bmc.hints = 0;
    bmc.has = ChunkSet::new(COUNT);
    bmc.give(&message(Kind::Offer, 2, 0, &HEAD), portion);
    for number in 0..COUNT {
        bmc.give(&chunk_of(2, number), portion);
    }
    assert!(bmc.staged, "the exchange behind it does not work");
}

fn content(number: u32) -> Vec<u8> {
    vec![number as u8 + 1; LENGTHS[number as usize]]
}

fn chunk_of(exchange: u32, number: u32) -> Vec<u8> {
    message(Kind::Chunk, exchange, number, &content(number))
}

fn chunk(number: u32) -> Vec<u8> {
    chunk_of(1, number)
}

/// The owner.
struct Bmc {
    device: Device,
    has: ChunkSet,
    hints: u8,
    wrong: u8,
    /// The chunk that comes next.
    due: Option<u32>,
    head: Vec<u8>,
    chunk: Vec<u8>,
    staged: bool,
}

impl Bmc {
    fn give(&mut self, bytes: &[u8], portion: usize) {
        for mut rest in bytes.chunks(portion.min(bytes.len().max(1))) {
            loop {
                let (before, due) = (rest.len() as u64, self.device.expected());
                let idle = self.device.is_idle();
                let incoming = self.device.handle_bytes(&mut rest);
                // In Idle each unit that is dropped makes the next one due.
                assert!(idle || before - rest.len() as u64 <= due, "more was taken than was due");
                let Some(incoming) = incoming else { break };
                self.on(incoming);
            }
            // What an owing device does not take waits at the host's controller; here it is lost.
            assert!(rest.is_empty() || self.device.is_owing());
            while self.device.poll_action().is_some() {}
        }
        if let Some(incoming) = self.device.handle_end_of_read() {
            self.on(incoming);
        }
        while self.device.poll_action().is_some() {}
        assert_eq!(self.device.expected() % UNIT as u64, 0, "a read that is no number of packets");
    }

    fn on(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Package { .. } => {
                self.staged = false;
                self.head.clear();
                self.chunk.clear();
            }
            Incoming::Head(bytes) => self.head.extend_from_slice(bytes),
            Incoming::HeadEnd => {
                if self.head != HEAD {
                    self.device.end(19);
                    return;
                }
                self.device.describe(LENGTHS.iter().map(|it| *it as u32).collect()).expect("described once");
                for number in (0..COUNT).filter(|number| self.hints & !self.wrong >> number & 1 == 1) {
                    self.has.insert(number);
                }
                let wanted = missing(|number| self.hints >> number & 1 == 1 || self.has.contains(number));
                self.ask(&wanted);
                if wanted.is_empty() {
                    self.settle();
                }
            }
            Incoming::File { length } => {
                assert!((1..=u64::from(u16::MAX)).contains(&length));
                self.device.ask(&ChunkSet::all(1)).expect("a file that is whole");
                self.device.end(41);
            }
            Incoming::Chunk { number, offset, bytes, complete } => {
                assert_eq!((Some(number), offset as usize), (self.due, self.chunk.len()));
                assert!(!bytes.is_empty());
                self.chunk.extend_from_slice(bytes);
                if complete {
                    let good = core::mem::take(&mut self.chunk) == content(number);
                    if good {
                        self.has.insert(number);
                        self.due = (number + 1..COUNT)
                            .find(|next| !self.has.contains(*next) && !self.is_hinted(*next));
                    } else {
                        self.device.end(23);
                    }
                }
            }
            Incoming::RoundEnd => self.settle(),
            Incoming::Broken(violation) => assert!(!violation.to_string().is_empty()),
        }
    }

    fn is_hinted(&self, number: u32) -> bool {
        self.hints >> number & 1 == 1
    }

    fn ask(&mut self, wanted: &ChunkSet) {
        self.due = wanted.next(0);
        self.device.ask(wanted).expect("asked for once");
    }

    fn settle(&mut self) {
        self.hints = 0;
        let wanted = missing(|number| self.has.contains(number));
        if wanted.is_empty() {
            self.staged = true;
            self.device.end(1);
        } else {
            self.ask(&wanted);
        }
    }
}

fn missing(is_there: impl Fn(u32) -> bool) -> ChunkSet {
    let mut set = ChunkSet::new(COUNT);
    (0..COUNT).filter(|number| !is_there(*number)).for_each(|number| set.insert(number));
    set
}
