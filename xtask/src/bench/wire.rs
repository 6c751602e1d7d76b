//! A model of a high-speed wire: it stands between a host and a virtual BMC, carries their USB/IP, and holds back each transfer until a
//! real wire would have carried it.
//!
//! What counts is bus time as USB 2.0 has it: 7,500 bytes in a microframe of 125 µs (5.5.4, 5.8.4), 13 bulk packets of 512 bytes in
//! one, for a control transfer 173 bytes of overhead with its first data packet and 55 with each further one of 64 bytes. One
//! transfer is on the wire at a time. What is left out makes the wire better than a real one: no controller takes its time between packets, no
//! stage waits for the next microframe, and a device that has no room costs nothing.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use inband_usb::Direction;
use inband_virtual::usbip::wire::{
    Command, DEVICE_SIZE, HEADER_SIZE, OP_HEADER_SIZE, Request, Return, Status, parse_import_header,
};

const MICROFRAME: Duration = Duration::from_micros(125);
/// Bytes in a microframe.
const BYTES: u32 = 7500;
/// Bulk packets in a microframe.
const BULK_PACKETS: u32 = 13;
/// Bytes of a bulk packet.
const BULK_PACKET: u32 = 512;
/// Bytes of a packet of the default pipe.
const CONTROL_PACKET: u32 = 64;
/// What a control transfer costs besides its data, with its first data packet and without one, in bytes.
const CONTROL_OVERHEAD: u32 = 173;
/// What a further data packet costs besides its data, in bytes.
const PACKET_OVERHEAD: u32 = 55;
/// A sleep may be so much longer than asked for.
const SLACK: Duration = Duration::from_micros(200);

/// The wire, and what it has carried.
#[derive(Clone)]
pub(super) struct Wire {
    address: String,
    shared: Arc<Mutex<Shared>>,
    /// A connection has ended.
    ended: Arc<Condvar>,
}

/// What was on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    /// Bytes of data stages of control transfers, and of bulk transfers; both directions.
    pub(super) bytes: u64,
    /// How long it was busy.
    pub(super) busy: Duration,
}

struct Shared {
    carried: Carried,
    /// When the last transfer is through.
    free: Instant,
    /// Connections that the BMC has not seen the end of.
    connections: usize,
}

impl Wire {
    /// A wire to the USB/IP server at this address. It lies there until the program ends.
    pub(super) fn to(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?.to_string();
        let shared = Shared { carried: Carried::default(), free: Instant::now(), connections: 0 };
        let wire = Self { address, shared: Arc::new(Mutex::new(shared)), ended: Arc::default() };
        let (ours, server) = (wire.clone(), server.to_owned());
        thread::spawn(move || {
            for host in listener.incoming().map_while(Result::ok) {
                // A BMC that is gone is a connection that is closed, as without a wire between.
                if let Ok(bmc) = TcpStream::connect(&server) {
                    ours.join(host, bmc);
                }
            }
        });
        Ok(wire)
    }

    /// Where the host finds its end.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What it has carried since the last call.
    pub(super) fn take_carried(&self) -> Carried {
        std::mem::take(&mut self.lock().carried)
    }

    /// What it has carried since then.
    pub(super) fn carried(&self) -> Carried {
        self.lock().carried
    }

    /// Waits until the BMC has been told of the end of all connections: whoever comes next then finds it free.
    pub(super) fn wait_for_end(&self) {
        let shared = self.lock();
        drop(self.ended.wait_while(shared, |shared| shared.connections > 0));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one connection, in threads of its own; it ends when one side does.
    fn join(&self, host: TcpStream, bmc: TcpStream) {
        let _ = (host.set_nodelay(true), bmc.set_nodelay(true));
        let (Ok(host_again), Ok(bmc_again)) = (host.try_clone(), bmc.try_clone()) else { return };
        let submitted = Arc::new(Mutex::new(HashMap::new()));
        let (ours, theirs) = (self.clone(), Arc::clone(&submitted));
        thread::spawn(move || {
            let _ = ours.to_host(&bmc_again, &host_again, &theirs);
            let _ = host_again.shutdown(std::net::Shutdown::Both);
        });
        let ours = self.clone();
        self.lock().connections += 1;
        thread::spawn(move || {
            let _ = ours.to_bmc(&host, &bmc, &submitted);
            let _ = bmc.shutdown(std::net::Shutdown::Both);
            ours.lock().connections -= 1;
            ours.ended.notify_all();
        });
    }

    /// The request that begins a connection, then commands. Data of OUT transfers is held back.
    fn to_bmc(&self, mut host: &TcpStream, mut bmc: &TcpStream, submitted: &Submitted) -> io::Result<()> {
        let mut request = Vec::new();
        let imports = loop {
            let mut byte = [0];
            host.read_exact(&mut byte)?;
            request.extend(byte);
            if let Some((request, _)) = Request::parse(&request).map_err(io::Error::other)? {
                break matches!(request, Request::Import(_));
            }
        };
        bmc.write_all(&request)?;
        if !imports {
            return io::copy(&mut host, &mut bmc).map(drop);
        }
        loop {
            let mut message = vec![0; HEADER_SIZE];
            host.read_exact(&mut message)?;
            if let Command::Submit(submit) =
                Command::from_bytes(&header(&message)).map_err(io::Error::other)?
            {
                let is_control = submit.endpoint == 0;
                let transfer = Transfer { is_control, direction: submit.direction };
                submitted.lock().unwrap_or_else(PoisonError::into_inner).insert(submit.seqnum, transfer);
                if submit.direction == Direction::Out {
                    message.resize(HEADER_SIZE + submit.length as usize, 0);
                    host.read_exact(&mut message[HEADER_SIZE..])?;
                    self.carry(is_control, submit.length);
                }
            }
            bmc.write_all(&message)?;
        }
    }

    /// The reply that begins a connection, then returns. Data of IN transfers is held back.
    fn to_host(&self, mut bmc: &TcpStream, mut host: &TcpStream, submitted: &Submitted) -> io::Result<()> {
        let mut reply = [0; OP_HEADER_SIZE];
        bmc.read_exact(&mut reply)?;
        host.write_all(&reply)?;
        if parse_import_header(&reply) != Ok(Status::Ok) {
            return io::copy(&mut bmc, &mut host).map(drop);
        }
        let mut device = [0; DEVICE_SIZE];
        bmc.read_exact(&mut device)?;
        host.write_all(&device)?;
        loop {
            let mut message = vec![0; HEADER_SIZE];
            bmc.read_exact(&mut message)?;
            if let Return::Submit { seqnum, length, .. } =
                Return::from_bytes(&header(&message)).map_err(io::Error::other)?
            {
                let transfer = submitted.lock().unwrap_or_else(PoisonError::into_inner).remove(&seqnum);
                if let Some(Transfer { is_control, direction: Direction::In }) = transfer {
                    message.resize(HEADER_SIZE + length as usize, 0);
                    bmc.read_exact(&mut message[HEADER_SIZE..])?;
                    self.carry(is_control, length);
                }
            }
            host.write_all(&message)?;
        }
    }

    /// Waits until the wire has carried a transfer.
    fn carry(&self, is_control: bool, length: u32) {
        let time = bus_time(is_control, length);
        let due = {
            let mut shared = self.lock();
            shared.carried.bytes += u64::from(length);
            shared.carried.busy += time;
            shared.free = shared.free.max(Instant::now()) + time;
            shared.free
        };
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match left.checked_sub(SLACK) {
                Some(long) => thread::sleep(long),
                None => std::hint::spin_loop(),
            }
        }
    }
}

/// A transfer that was not returned yet.
struct Transfer {
    is_control: bool,
    direction: Direction,
}

/// By their seqnum.
type Submitted = Mutex<HashMap<u32, Transfer>>;

fn header(message: &[u8]) -> [u8; HEADER_SIZE] {
    let mut header = [0; HEADER_SIZE];
    header.copy_from_slice(&message[..HEADER_SIZE]);
    header
}

/// How long a transfer is on the wire.
fn bus_time(is_control: bool, length: u32) -> Duration {
    if is_control {
        let further = length.div_ceil(CONTROL_PACKET).saturating_sub(1);
        MICROFRAME * (CONTROL_OVERHEAD + length + further * PACKET_OVERHEAD) / BYTES
    } else {
        MICROFRAME * length.div_ceil(BULK_PACKET).max(1) / BULK_PACKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_packets_fit_into_a_microframe_as_the_specification_says() {
        assert_eq!(bus_time(false, 13 * 512), MICROFRAME);
        // USB 2.0, tables 5-3 and 5-10: 31 control transfers of 64 bytes, and 13 bulk packets of 512.
        let fit = |time: Duration| (MICROFRAME.as_nanos() / time.as_nanos()) as u32;
        assert_eq!(fit(bus_time(true, 64)), 31);
        assert_eq!(fit(bus_time(false, 512)), BULK_PACKETS);
        // A long data stage: 63 packets in a microframe.
        let long = bus_time(true, 64 * 1000) - bus_time(true, 64);
        assert_eq!(fit(long / 999), 63);
    }
}
