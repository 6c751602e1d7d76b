//! A USB device without USB, to look at with `usbip list -r 127.0.0.1`, `usbip attach -r 127.0.0.1 -b 1-1` and `lsusb -v`:
//!
//! ```text
//! cargo run -p inband-virtual --example usbip -- serve 127.0.0.1:3240 [RECORDING.pcap]
//! cargo run -p inband-virtual --example usbip -- list 127.0.0.1:3240
//! cargo run -p inband-virtual --example usbip -- echo 127.0.0.1:3240 1-1       through the user-space client
//! cargo run -p inband-virtual --example usbip -- attach 127.0.0.1:3240 1-1     to this machine's kernel, as root
//! ```
//!
//! The device sends back what it gets on its bulk endpoints. It answers every vendor request that reads with its text, and
//! leaves and comes back as another product at a vendor request without data.

use std::{env, error::Error, fs::File, task::Poll, time::Duration};

use inband_usb::{
    Completion, DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress, HostDevice,
    HostTransfer, descriptor::Interface,
};
use inband_virtual::usbip::{self, BusId, Port, Server};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
const TEXT: &[u8] = b"hello";
const TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", address] => serve(&Server::bind(address.parse()?)?),
        ["serve", address, recording] => {
            let server = Server::bind(address.parse()?)?;
            server.tap(File::create(recording)?)?;
            serve(&server)
        }
        ["list", address] => {
            for remote in usbip::list(*address)? {
                let device = remote.device;
                println!("{}  {:04x}:{:04x}  {:02x?}", device.busid, device.vendor_id, device.product_id, remote.interfaces);
            }
            Ok(())
        }
        ["echo", address, busid] => {
            let mut client = usbip::open(*address, &BusId::new(busid).ok_or("no busid")?)?;
            client.claim(0)?;
            client.run(HostTransfer::BulkOut { endpoint: OUT, data: TEXT.to_vec() }, TIMEOUT)?;
            let answer = client.run(HostTransfer::BulkIn { endpoint: IN, length: 512 }, TIMEOUT)?;
            println!("{}", String::from_utf8_lossy(&answer.data));
            Ok(())
        }
        #[cfg(target_os = "linux")]
        ["attach", address, busid] => {
            let port = usbip::attach::attach(*address, &BusId::new(busid).ok_or("no busid")?, None)?;
            println!("on port {port}");
            Ok(())
        }
        _ => Err("usage: usbip serve ADDRESS [RECORDING] | list ADDRESS | echo ADDRESS BUSID | attach ADDRESS BUSID".into()),
    }
}

fn descriptors(product_id: u16) -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Echo".into(),
        serial: "1".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 0,
            protocol: 0,
            name: "Echo".into(),
            extra: Vec::new(),
            endpoints: vec![OUT, IN],
        }],
    }
}

fn serve(server: &Server) -> Result<(), Box<dyn Error>> {
    let mut port = server.port("1-1")?;
    let mut product_id = 0x0104;
    port.attach(&descriptors(product_id))?;
    loop {
        server.wait(Duration::from_secs(60));
        while let Some(event) = port.poll_event()? {
            match event {
                DeviceEvent::Enable => submit(&mut port, OUT, vec![0; 64 << 10]),
                DeviceEvent::Setup(setup) if setup.length == 0 => {
                    if let Poll::Ready(Ok(_)) = port.control_read(&mut []) {
                        product_id += 1;
                        port.attach(&descriptors(product_id))?;
                    }
                }
                DeviceEvent::Setup(setup) => {
                    let answered = match setup.direction() {
                        Direction::In => port.control_write(&TEXT[..TEXT.len().min(setup.length.into())]),
                        Direction::Out => port.control_stall(),
                    };
                    if let Err(error) = answered {
                        eprintln!("{error}");
                    }
                }
                DeviceEvent::Complete(Completion { endpoint, mut buffer, length, result: Ok(()) }) => {
                    if endpoint == OUT {
                        buffer.truncate(length);
                        submit(&mut port, IN, buffer);
                    } else {
                        submit(&mut port, OUT, vec![0; 64 << 10]);
                    }
                }
                // Transfers come home when the host goes; the next Enable begins anew.
                DeviceEvent::Complete(Completion { result: Err(_), .. }) => {}
                DeviceEvent::Disable | DeviceEvent::Suspend | DeviceEvent::Resume => {}
            }
        }
    }
}

fn submit(port: &mut Port, endpoint: EndpointAddress, buffer: Vec<u8>) {
    if port.submit(endpoint, buffer).is_err() {
        eprintln!("the host has just left");
    }
}
