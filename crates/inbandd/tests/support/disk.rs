//! A host that uses the disk as its kernel does, over an opened device.

use inband_usb::{EndpointAddress, HostDevice};
use inband_volume::{
    bot::{
        host::{Data, Host},
        wire::Status,
    },
    testing::FatHost,
};

/// bInterfaceNumber of the disk.
pub(crate) const INTERFACE: u8 = 1;
const BLOCK: usize = 512;

/// Sense key, additional sense code, qualifier.
pub(crate) type Sense = (u8, u8, u8);
pub(crate) const NO_MEDIUM: Sense = (0x02, 0x3a, 0);
pub(crate) const CHANGED: Sense = (0x06, 0x28, 0);
pub(crate) const RESET: Sense = (0x06, 0x29, 0);
pub(crate) const WRITE_PROTECTED: Sense = (0x07, 0x27, 0);
pub(crate) const NO_SPACE: Sense = (0x07, 0x27, 0x07);

/// The disk of a device.
pub(crate) struct Disk<H> {
    pub(crate) usb: H,
    pub(crate) bot: Host,
}

impl<H: HostDevice> Disk<H> {
    /// Claims the interface, and takes note that the disk was switched on.
    pub(crate) fn open(mut usb: H) -> Self {
        usb.claim(INTERFACE).unwrap();
        let bot = Host::new(INTERFACE, EndpointAddress(0x02), EndpointAddress(0x82));
        let mut disk = Self { usb, bot };
        assert_eq!(disk.ready(), Err(RESET));
        disk
    }

    pub(crate) fn command(&mut self, cdb: &[u8], data: Data<'_>) -> Result<Vec<u8>, Sense> {
        let answer = self.bot.command(&mut self.usb, cdb, data).unwrap();
        match answer.csw.status {
            Status::Passed => Ok(answer.data),
            Status::Failed => {
                let sense = self.bot.command(&mut self.usb, &[3, 0, 0, 0, 18, 0], Data::In(18)).unwrap().data;
                Err((sense[2], sense[12], sense[13]))
            }
            Status::PhaseError => panic!("{cdb:x?}"),
        }
    }

    /// TEST UNIT READY.
    pub(crate) fn ready(&mut self) -> Result<(), Sense> {
        self.command(&[0; 6], Data::None).map(drop)
    }

    /// READ(10).
    pub(crate) fn read(&mut self, lba: u32, blocks: u16) -> Result<Vec<u8>, Sense> {
        self.command(&cdb10(0x28, lba, blocks), Data::In(u32::from(blocks) * BLOCK as u32))
    }

    /// WRITE(10).
    pub(crate) fn write(&mut self, lba: u32, bytes: &[u8]) -> Result<(), Sense> {
        let blocks = u16::try_from(bytes.len() / BLOCK).unwrap();
        self.command(&cdb10(0x2a, lba, blocks), Data::Out(bytes)).map(drop)
    }

    /// Writes a file from the first block on, as dd does; its last block is filled up with zeros.
    pub(crate) fn copy(&mut self, file: &[u8]) {
        for (number, piece) in (0..).zip(padded(file).chunks(120 * 1024)) {
            self.write(number * 240, piece).unwrap();
        }
    }

    /// Writes what that host has written, in the order of the blocks.
    #[track_caller]
    pub(crate) fn put(&mut self, host: &FatHost) {
        runs(host).iter().for_each(|(lba, blocks)| self.write(*lba, blocks).unwrap());
    }

    /// START STOP UNIT with LoEj.
    pub(crate) fn eject(&mut self) -> Result<(), Sense> {
        self.command(&[0x1b, 0, 0, 0, 2, 0], Data::None).map(drop)
    }

    /// Whether MODE SENSE says that nothing may be written.
    pub(crate) fn write_protected(&mut self) -> bool {
        self.command(&[0x1a, 0, 0x3f, 0, 192, 0], Data::In(192)).unwrap()[2] & 0x80 != 0
    }

    /// The lines of the first block.
    pub(crate) fn text(&mut self) -> String {
        let block = self.read(0, 1).unwrap();
        String::from_utf8(block).unwrap().trim_end().to_owned()
    }
}

/// Blocks behind one another, and where the first is.
pub(crate) type Runs = Vec<(u32, Vec<u8>)>;

/// What that host has written.
pub(crate) fn runs(host: &FatHost) -> Runs {
    let blocks = host.store.blocks();
    let (mut lba, mut runs) = (0, Vec::new());
    while let Some(first) = (lba..blocks).find(|lba| host.store.is_written(*lba)) {
        let end = blocks.min(first + 128);
        lba = (first..end).find(|lba| !host.store.is_written(*lba)).unwrap_or(end);
        let mut bytes = vec![0; (lba - first) as usize * BLOCK];
        host.store.read(first, &mut bytes).unwrap();
        runs.push((first as u32, bytes));
    }
    runs
}

pub(crate) fn cdb10(code: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [code, 0, a, b, c, d, 0, e, f, 0]
}

/// Whole blocks.
pub(crate) fn padded(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    file
}
