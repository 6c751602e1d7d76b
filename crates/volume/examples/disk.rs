//! A disk in memory over USB/IP, for whatever a kernel and its tools make of it:
//!
//! ```text
//! cargo run -p inband-volume --example disk -- serve 127.0.0.1:3240 64     so many MiB
//! cargo run -p inband-volume --example disk -- attach 127.0.0.1:3240       to this machine's kernel, as root
//! ```
//!
//! It shows what a shell around the core has to do.

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use inband_usb::{DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress, SubmitError};
use inband_virtual::usbip::{Port, Server};
use inband_volume::{
    bot::{Action, Control, Device, Halts, Limits, wire},
    scsi::{BLOCK, Disk, Event, Fault, Identity, Medium, State},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", address, size] => serve(&Server::bind(address.parse()?)?, size.parse()?),
        #[cfg(target_os = "linux")]
        ["attach", address] => {
            use inband_virtual::usbip::{BusId, attach::attach};
            println!("on port {}", attach(*address, &BusId::new("1-1").ok_or("no busid")?, None)?);
            Ok(())
        }
        _ => Err("usage: disk serve ADDRESS MIB | attach ADDRESS".into()),
    }
}

/// Memory. What is ejected stays out until the program is started anew.
struct Memory {
    bytes: Vec<u8>,
    insertion: u32,
}

impl Memory {
    fn range(lba: u64, length: usize) -> std::ops::Range<usize> {
        let start = lba as usize * BLOCK;
        start..start + length
    }
}

impl Medium for Memory {
    fn state(&self) -> State {
        let blocks = (self.bytes.len() / BLOCK) as u64;
        State::Present { blocks, write_protected: false, insertion: self.insertion }
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let part = self.bytes.get(Self::range(lba, buffer.len())).ok_or(Fault::Unreadable)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        let part = self.bytes.get_mut(Self::range(lba, data.len())).ok_or(Fault::Unwritable)?;
        part.copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::Written { .. } => {}
            other => println!("{other:?}"),
        }
    }
}

fn serve(server: &Server, mib: usize) -> Result<(), Box<dyn Error>> {
    let set = DescriptorSet {
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Disk".into(),
        serial: "0123456789ABCDEF".into(),
        interfaces: vec![wire::interface(OUT, IN)],
    };
    let identity = Identity {
        vendor: *b"INBAND  ",
        product: *b"MEMORY DISK     ",
        revision: *b"1   ",
        serial: 0x0123_4567_89ab_cdef,
    };
    let memory = Memory { bytes: vec![0; mib << 20], insertion: 1 };
    let mut device = Device::new(0, Halts::Use, Limits::default(), Disk::new(identity, memory));
    let start = Instant::now();
    let mut port = server.port("1-1")?;
    port.attach(&set)?;
    loop {
        let limit = device.timeout().map_or(Duration::from_secs(60), |_| Duration::from_millis(50));
        server.wait(limit);
        let now = start.elapsed();
        while let Some(event) = port.poll_event()? {
            match event {
                DeviceEvent::Enable => device.handle_enable(),
                DeviceEvent::Disable => device.handle_disable(),
                DeviceEvent::Suspend | DeviceEvent::Resume => {}
                DeviceEvent::Setup(setup) => {
                    // A host that has given up the request is none to tell of it.
                    let _ = match device.handle_setup(&setup) {
                        Control::NotOurs | Control::Stall => port.control_stall(),
                        Control::Reply(byte) => port.control_write(&[byte]),
                        Control::Reset => {
                            act(&mut device, &mut port);
                            let _ = port.control_read(&mut []);
                            Ok(())
                        }
                    };
                }
                DeviceEvent::Complete(done) if done.endpoint == OUT => {
                    device.handle_read(now, done.buffer, done.length, done.result);
                }
                DeviceEvent::Complete(done) => device.handle_sent(now, done.buffer, done.result),
            }
        }
        device.handle_timeout(now);
        act(&mut device, &mut port);
    }
}

fn act(device: &mut Device<Disk<Memory>>, port: &mut Port) {
    while let Some(action) = device.poll_action() {
        let (direction, submitted) = match action {
            Action::Read(buffer) => (Direction::Out, port.submit(OUT, buffer)),
            Action::Send(buffer) => (Direction::In, port.submit(IN, buffer)),
            Action::Halt => {
                port.set_halt(IN);
                continue;
            }
            Action::TakeBack(Direction::Out) => {
                port.cancel(OUT);
                continue;
            }
            Action::TakeBack(Direction::In) => {
                port.cancel(IN);
                continue;
            }
        };
        if let Err(
            SubmitError::Disabled(buffer)
            | SubmitError::NoEndpoint(buffer)
            | SubmitError::BadLength(buffer)
            | SubmitError::Full(buffer),
        ) = submitted
        {
            device.handle_refused(direction, buffer);
        }
    }
}
