//! A disk on a wire.

use inband_usb::Direction;
use inband_volume::{
    bot::{Device, Halts, Intent, Limits, Refused, Target},
    scsi::{Disk, Identity, Medium, Sense},
    testing::{self, ArrayMedium, Seen, Wire},
};

pub(crate) const BLOCKS: usize = 300;

pub(crate) const IDENTITY: Identity = Identity {
    vendor: *b"INBAND  ",
    product: *b"FIRMWARE RAW    ",
    revision: *b"1   ",
    serial: 0x0123_4567_89ab_cdef,
};

pub(crate) fn disk() -> Disk<ArrayMedium> {
    Disk::new(IDENTITY, ArrayMedium::new(BLOCKS))
}

/// A disk whose host has heard of the first reset.
pub(crate) fn ready() -> Disk<ArrayMedium> {
    let mut disk = disk();
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::RESET));
    disk
}

/// Runs a command on a disk alone, as much data as it wants to move: what it answers, or why it does not.
pub(crate) fn run<M: Medium>(disk: &mut Disk<M>, command: &[u8], data: &[u8]) -> Result<Vec<u8>, Sense> {
    let mut cdb = [0; 16];
    cdb[..command.len()].copy_from_slice(command);
    let result = (|| {
        let mut answer = Vec::new();
        match disk.begin(&cdb, command.len())? {
            Intent::Nothing => {}
            Intent::In(length) => {
                answer.resize(length as usize, 0);
                answer.chunks_mut(512).try_for_each(|piece| disk.read(piece))?;
            }
            Intent::Out(length) => {
                data[..length as usize].chunks(1024).try_for_each(|piece| disk.write(piece))?;
            }
        }
        disk.end().map(|()| answer)
    })();
    result.map_err(|Refused| disk.sense())
}

/// A disk on a wire, whose host has heard of the first reset.
pub(crate) struct Rig {
    pub(crate) wire: Wire<Disk<ArrayMedium>>,
    pub(crate) halts: Halts,
    tag: u32,
}

impl Rig {
    pub(crate) fn new(halts: Halts) -> Self {
        Self::with(halts, Limits { buffers: 3, piece: 4096 })
    }

    pub(crate) fn with(halts: Halts, limits: Limits) -> Self {
        let wire = Wire::new(Device::new(0, halts, limits, disk()));
        let mut rig = Self { wire, halts, tag: 0x1000 };
        assert_eq!(rig.none(&[0; 6]).status, 1);
        rig
    }

    pub(crate) fn command(&mut self, direction: Direction, length: u32, cdb: &[u8], data: &[u8]) -> Seen {
        self.tag += 1;
        let cbw = testing::cbw(self.tag, direction, length, cdb);
        testing::run(&mut self.wire, self.halts, &cbw, data)
    }

    pub(crate) fn none(&mut self, cdb: &[u8]) -> Seen {
        self.command(Direction::Out, 0, cdb, &[])
    }

    pub(crate) fn input(&mut self, length: u32, cdb: &[u8]) -> Seen {
        self.command(Direction::In, length, cdb, &[])
    }

    pub(crate) fn output(&mut self, cdb: &[u8], data: &[u8]) -> Seen {
        self.command(Direction::Out, data.len() as u32, cdb, data)
    }

    pub(crate) fn disk(&mut self) -> &mut Disk<ArrayMedium> {
        self.wire.device.target_mut()
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        self.disk().medium().bytes.clone()
    }

    /// REQUEST SENSE: key, code, qualifier.
    pub(crate) fn sense(&mut self) -> (u8, u8, u8) {
        let seen = self.input(18, &[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((seen.status, seen.data.len()), (0, 18));
        (seen.data[2], seen.data[12], seen.data[13])
    }
}

/// READ(10) or another of its form.
pub(crate) fn cdb10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let (lba, blocks) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, 0, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0]
}

pub(crate) fn cdb12(opcode: u8, lba: u32, blocks: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[6..10].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub(crate) fn cdb16(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
