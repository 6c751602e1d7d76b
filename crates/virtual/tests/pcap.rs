//! Recordings, read by tshark: it has to be installed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test reports by panicking")]

use std::{
    cell::RefCell,
    fs,
    io::Write,
    path::Path,
    process::Command,
    rc::Rc,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use inband_usb::{
    DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress, HostCompletion, HostDevice,
    HostTransfer, Setup, descriptor::Interface,
};
use inband_virtual::{
    pcap::Tapped,
    usbip::{Client, Opening, Port, Server},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
const DFU_DNLOAD: u8 = 1;
const DFU_GETSTATUS: u8 = 3;

/// A sink that can be looked at while it is written to.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A sink that takes only so many writes.
struct Failing(u32);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A DFU interface and a bulk interface, and the host's side of them.
struct Bench {
    port: Rc<RefCell<Port>>,
    client: Client,
}

impl Bench {
    fn new(server: &Server) -> Self {
        let interface = |class, extra: &[u8], endpoints: &[EndpointAddress]| Interface {
            class,
            subclass: 1,
            protocol: 2,
            name: String::new(),
            extra: extra.to_vec(),
            endpoints: endpoints.to_vec(),
        };
        let set = DescriptorSet {
            vendor_id: 0x1d6b,
            product_id: 0x0104,
            device_version: 0x0100,
            manufacturer: "Inband".into(),
            product: "Recorded".into(),
            serial: "1".into(),
            interfaces: vec![
                interface(0xfe, &[9, 0x21, 0x0d, 0xe8, 0x03, 0x00, 0x10, 0x10, 0x01], &[]),
                interface(0xff, &[], &[OUT, IN]),
            ],
        };
        let mut port = server.port("1-1").unwrap();
        port.attach(&set).unwrap();
        let mut opening = Opening::new(server.address(), port.busid()).unwrap();
        let client = loop {
            step(&mut port);
            match opening.poll() {
                Poll::Ready(client) => break client.unwrap(),
                Poll::Pending => opening.wait(Duration::from_millis(1)),
            }
        };
        Self { port: Rc::new(RefCell::new(port)), client }
    }
}

/// The device: downloads are taken, the status is dfuIDLE, bulk data is sent back.
fn step(port: &mut Port) {
    while let Some(event) = port.poll_event().unwrap() {
        match event {
            DeviceEvent::Enable => port.submit(OUT, vec![0; 512]).unwrap(),
            DeviceEvent::Setup(setup) => match (setup.direction(), setup.request) {
                (Direction::Out, DFU_DNLOAD) => {
                    assert!(port.control_read(&mut vec![0; usize::from(setup.length)]).is_ready());
                }
                (Direction::In, DFU_GETSTATUS) => port.control_write(&[0, 10, 0, 0, 2, 0]).unwrap(),
                _ => port.control_stall().unwrap(),
            },
            DeviceEvent::Complete(mut done) if done.result.is_ok() && done.endpoint == OUT => {
                done.buffer.truncate(done.length);
                port.submit(IN, done.buffer).unwrap();
            }
            DeviceEvent::Complete(_) | DeviceEvent::Disable | DeviceEvent::Suspend | DeviceEvent::Resume => {}
        }
    }
}

fn finish(host: &mut impl HostDevice, port: &Rc<RefCell<Port>>, transfer: HostTransfer) -> HostCompletion {
    let id = host.submit(transfer).unwrap();
    loop {
        step(&mut port.borrow_mut());
        host.wait(Duration::from_millis(1));
        while let Some(completion) = host.poll() {
            if completion.id == id {
                return completion;
            }
        }
    }
}

/// What is recorded: descriptors, a download, its status, a refusal, bulk both ways.
fn traffic(host: &mut impl HostDevice, port: &Rc<RefCell<Port>>) {
    let descriptor = |kind: u8, length| Setup {
        request_type: 0x80,
        request: 6,
        value: u16::from(kind) << 8,
        index: 0,
        length,
    };
    let control_in = |setup| HostTransfer::ControlIn { setup };
    finish(host, port, control_in(descriptor(1, 18)));
    let length = finish(host, port, control_in(descriptor(2, 255))).length;
    assert_eq!(length, 9 + 9 + 9 + 9 + 7 + 7);
    let setup = Setup { request_type: 0x21, request: DFU_DNLOAD, value: 5, index: 0, length: 64 };
    finish(host, port, HostTransfer::ControlOut { setup, data: vec![0xab; 64] });
    let setup = Setup { request_type: 0xa1, request: DFU_GETSTATUS, value: 0, index: 0, length: 6 };
    assert_eq!(finish(host, port, control_in(setup)).data, [0, 10, 0, 0, 2, 0]);
    let setup = Setup { request_type: 0xc0, request: 0x77, value: 0, index: 0, length: 6 };
    assert!(finish(host, port, control_in(setup)).result.is_err());
    host.claim(1).unwrap();
    finish(host, port, HostTransfer::BulkOut { endpoint: OUT, data: b"to and fro".to_vec() });
    finish(host, port, HostTransfer::BulkIn { endpoint: IN, length: 512 });
}

/// One line for each packet of the recording that passes the filter, with the fields asked for.
fn tshark(recording: &Path, decoder: &[&str], filter: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(decoder).arg("-r").arg(recording).args(["-Y", filter, "-T", "fields", "-E", "separator=/s"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is not installed: it decodes the recordings");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_end().to_owned()).collect()
}

fn check(recording: &[u8], name: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcap"));
    fs::write(&path, recording).unwrap();
    let show = |filter, fields: &[&str]| tshark(&path, &[], filter, fields);
    // Its DFU decoder knows some devices by their numbers, not the class, and takes all of a device's traffic for DFU.
    let show_dfu =
        |filter, fields: &[&str]| tshark(&path, &["-d", "usb.product==0x1d6b0104,usbdfu"], filter, fields);

    assert_eq!(show("_ws.malformed || _ws.expert.severity == error", &["frame.number"]), [""; 0]);
    let descriptors = show("usb.setup.bRequest == 6", &["usb.setup.wLength", "usb.DescriptorIndex"]);
    assert!(descriptors.contains(&"18 0x00".to_owned()), "{descriptors:?}");
    assert!(show("usb.idVendor", &["usb.idVendor", "usb.idProduct"]).contains(&"0x1d6b 0x0104".to_owned()));
    assert_eq!(
        show("usbdfu.descriptor", &["usbdfu.descriptor.wTransferSize", "usbdfu.descriptor.bcdDFUVersion"])
            .last(),
        Some(&"4096 0x0110".to_owned())
    );

    assert_eq!(
        show_dfu(
            "usbdfu.command == 1 && usb.urb_type == 'S'",
            &["usbdfu.block_number", "usbdfu.length", "usb.data_len"]
        ),
        ["5 64 64"]
    );
    assert_eq!(
        show_dfu(
            "usbdfu.response == 3",
            &["usbdfu.status", "usbdfu.poll_timeout", "usbdfu.state", "usb.urb_status"]
        ),
        ["0x00 10 2 0"]
    );
    assert_eq!(show("usb.urb_status == -32", &["usb.transfer_type", "usb.endpoint_address"]), ["0x02 0x80"]);
    assert_eq!(
        show(
            "usb.transfer_type == 3 && usb.data_len > 0",
            &["usb.urb_type", "usb.endpoint_address", "usb.capdata"]
        ),
        ["'S' 0x01 746f20616e642066726f", "'C' 0x81 746f20616e642066726f"]
    );
    // Every transfer has its end.
    assert_eq!(
        show("usb.urb_type == 'S'", &["frame.number"]).len(),
        show("usb.urb_type == 'C'", &["frame.number"]).len()
    );
}

#[test]
fn tshark_reads_what_a_host_device_recorded() {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let Bench { port, client } = Bench::new(&server);
    let sink = Shared::default();
    let mut host = Tapped::new(client, sink.clone()).unwrap();
    traffic(&mut host, &port);
    check(&sink.0.lock().unwrap(), "host");
}

#[test]
fn tshark_reads_what_a_server_recorded() {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let sink = Shared::default();
    server.tap(sink.clone()).unwrap();
    let Bench { port, mut client } = Bench::new(&server);
    traffic(&mut client, &port);
    check(&sink.0.lock().unwrap(), "server");
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    server.tap(Failing(4)).unwrap();
    let Bench { port, client } = Bench::new(&server);
    let mut host = Tapped::new(client, Failing(6)).unwrap();
    traffic(&mut host, &port);
    assert!(host.into_parts().1.is_none());
    assert!(server.tap(Failing(0)).is_err());
}
