//! A record of what went over a bus, for tshark and Wireshark: pcap files of LINKTYPE_USB_LINUX_MMAPPED (220), the format
//! of the Linux kernel's usbmon (`Documentation/usb/usbmon.rst`, "struct usbmon_packet").
//!
//! [`Recorder`] writes the records; [`Tapped`] is a host device whose transfers are recorded;
//! [`Server::tap`](crate::usbip::Server::tap) records what a USB/IP server carries.
//!
//! Wireshark knows a device only from descriptors it saw: to have requests decoded, read the device and configuration
//! descriptors on the recorded side. Its DFU decoder besides wants to be told the device, as in
//! `tshark -d usb.product==0x1d6b0104,usbdfu -r FILE`.

mod tapped;

use std::{
    io::{self, Write},
    time::Duration,
};

use inband_usb::{Direction, EndpointAddress};

pub use tapped::Tapped;

/// LINKTYPE_USB_LINUX_MMAPPED of the tcpdump group's registry.
const LINK_TYPE: u32 = 220;
/// Magic of a pcap file with microseconds, here in little-endian order, as all numbers below.
const MAGIC: u32 = 0xa1b2_c3d4;
/// Bytes of a record before the data.
const RECORD_SIZE: usize = 64;
/// Most bytes of one transfer's data that are kept: more than any control transfer has.
const MAX_DATA: usize = 65_536;
/// Status of a transfer that was just submitted: -EINPROGRESS.
const IN_PROGRESS: i32 = -115;

/// What is the same in the two records of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urb {
    /// Tells the transfers of a file apart.
    pub id: u64,
    /// Number of the bus.
    pub bus: u16,
    /// Address of the device, 0 to 127.
    pub device: u8,
    /// The endpoint with its direction; for control transfers number 0 with the direction of the data stage.
    pub endpoint: EndpointAddress,
}

impl Urb {
    const fn is_control(self) -> bool {
        self.endpoint.number() == 0
    }
}

/// Writes a pcap file.
#[derive(Debug)]
pub struct Recorder<W> {
    out: W,
    record: Vec<u8>,
}

impl<W: Write> Recorder<W> {
    /// Begins a file.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        header.extend(MAGIC.to_le_bytes());
        header.extend(2_u16.to_le_bytes());
        header.extend(4_u16.to_le_bytes());
        header.extend([0; 8]);
        header.extend((RECORD_SIZE as u32 + MAX_DATA as u32).to_le_bytes());
        header.extend(LINK_TYPE.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, record: Vec::new() })
    }

    /// Records that a transfer was submitted at a time counted from any fixed moment, 1970 for the file to show
    /// dates. `length` is what may move; `data` is empty for IN. `setup` is there for control transfers.
    pub fn submitted(
        &mut self,
        at: Duration,
        urb: Urb,
        setup: [u8; 8],
        length: u32,
        data: &[u8],
    ) -> io::Result<()> {
        let absent = match urb.endpoint.direction() {
            Direction::In => b'<',
            Direction::Out => 0,
        };
        self.record(b'S', at, urb, Some(setup), IN_PROGRESS, length, absent, data)
    }

    /// Records that a transfer ended. `status` is a negative errno number of Linux or 0, `length` is what moved,
    /// `data` is empty for OUT.
    pub fn completed(
        &mut self,
        at: Duration,
        urb: Urb,
        status: i32,
        length: u32,
        data: &[u8],
    ) -> io::Result<()> {
        let absent = match urb.endpoint.direction() {
            Direction::In => 0,
            Direction::Out => b'>',
        };
        self.record(b'C', at, urb, None, status, length, absent, data)
    }

    /// The sink, for its end or its buffers.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record, in the order they are written")]
    fn record(
        &mut self,
        kind: u8,
        at: Duration,
        urb: Urb,
        setup: Option<[u8; 8]>,
        status: i32,
        length: u32,
        absent: u8,
        data: &[u8],
    ) -> io::Result<()> {
        let setup = setup.filter(|_| urb.is_control());
        let kept = &data[..data.len().min(MAX_DATA)];
        let (seconds, micros) = (at.as_secs(), at.subsec_micros());
        let captured = (RECORD_SIZE + kept.len()) as u32;
        let original = u32::try_from(RECORD_SIZE + data.len()).unwrap_or(u32::MAX);

        let record = &mut self.record;
        record.clear();
        // The file's header of a record.
        record.extend(u32::try_from(seconds).unwrap_or(u32::MAX).to_le_bytes());
        record.extend(micros.to_le_bytes());
        record.extend(captured.to_le_bytes());
        record.extend(original.to_le_bytes());
        // struct usbmon_packet
        record.extend(urb.id.to_le_bytes());
        record.push(kind);
        record.push(if urb.is_control() { 2 } else { 3 });
        record.push(urb.endpoint.0);
        record.push(urb.device);
        record.extend(urb.bus.to_le_bytes());
        record.push(if setup.is_some() { 0 } else { b'-' });
        record.push(if kept.is_empty() { absent } else { 0 });
        record.extend(seconds.to_le_bytes());
        record.extend(micros.to_le_bytes());
        record.extend(status.to_le_bytes());
        record.extend(length.to_le_bytes());
        record.extend((kept.len() as u32).to_le_bytes());
        record.extend(setup.unwrap_or_default());
        // interval, start_frame, transfer_flags, number of isochronous descriptors
        record.extend([0; 16]);
        record.extend(kept);
        self.out.write_all(record)
    }
}
