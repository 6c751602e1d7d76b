use std::{sync::mpsc, thread, time::Duration};

use inband_usb::{DescriptorSet, DeviceBackend, descriptor::Interface};
use tempfile::TempDir;

use super::*;
use crate::usbip::{Server, wire::Status};

/// As Linux 6.12 shows it, with the second port in use.
const STATUS: &str = "hub port sta spd dev      sockfd local_busid\n\
    hs  0000 006 003 00010001 000003 1-1\n\
    ss  0008 004 000 00000000 000000 0-0\n\
    hs  0001 004 000 00000000 000000 0-0\n\
    hs  0002 004 000 00000000 000000 0-0\n";

fn controller(status: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, text) in status.iter().enumerate() {
        let name = if number == 0 { "status".to_owned() } else { format!("status.{number}") };
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("attach"), "").unwrap();
    folder
}

/// Attaches to a server that has a device on port 1-1, served by a thread.
fn attach_with_server(folder: &Path, busid: &str, last: Option<u32>) -> Result<u32, AttachError> {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let mut port = server.port("1-1").unwrap();
    let interface = Interface {
        class: 0xff,
        subclass: 0,
        protocol: 0,
        name: String::new(),
        extra: Vec::new(),
        endpoints: Vec::new(),
    };
    port.attach(&DescriptorSet {
        vendor_id: 1,
        product_id: 2,
        device_version: 3,
        manufacturer: String::new(),
        product: String::new(),
        serial: String::new(),
        interfaces: vec![interface],
    })
    .unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let (waker, address) = (server.waker(), server.address());
    thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                server.wait(Duration::from_secs(10));
            }
        });
        let result = attach_to(folder, address, &BusId::new(busid).unwrap(), last);
        drop(stop);
        waker.wake();
        result
    })
}

#[test]
fn the_kernel_gets_the_socket_on_the_first_free_port() {
    let folder = controller(&[STATUS]);
    assert_eq!(attach_with_server(folder.path(), "1-1", None).unwrap(), 1);
    let line = fs::read_to_string(folder.path().join("attach")).unwrap();
    let fields: Vec<u32> = line.split(' ').map(|field| field.parse().unwrap()).collect();
    // port, file descriptor, devid, speed
    assert_eq!((fields[0], fields[2], fields[3], fields.len()), (1, 0x0001_0001, 3, 4));

    // A later controller has the first free port.
    let full = STATUS.replace(" 004 ", " 006 ");
    let folder = controller(&[&full, &STATUS.replace("0001 004", "0017 004")]);
    assert_eq!(attach_with_server(folder.path(), "1-1", None).unwrap(), 17);
}

#[test]
fn what_stands_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let error = attach_with_server(folder.path(), "1-1", None).unwrap_err();
    assert!(matches!(error, AttachError::NoController { .. }));
    assert!(error.to_string().contains("modprobe vhci_hcd"), "{error}");

    let folder = controller(&[&STATUS.replace(" 004 ", " 006 ")]);
    assert!(matches!(attach_with_server(folder.path(), "1-1", None), Err(AttachError::NoPort)));

    for text in ["", "something else\n", "hub port sta spd dev\nhs 1\n", "hub port sta\nhs x 004\n"] {
        let folder = controller(&[text]);
        assert!(
            matches!(attach_with_server(folder.path(), "1-1", None), Err(AttachError::Status(_))),
            "{text:?}"
        );
    }

    let folder = controller(&[STATUS]);
    let refused = attach_with_server(folder.path(), "9-9", None).unwrap_err();
    assert!(matches!(refused, AttachError::Client(ClientError::Refused(Status::NoDevice))));
    assert_eq!(fs::read_to_string(folder.path().join("attach")).unwrap(), "");

    fs::remove_file(folder.path().join("attach")).unwrap();
    let error = attach_with_server(folder.path(), "1-1", None).unwrap_err();
    assert!(matches!(error, AttachError::Refused { .. }));
    assert!(error.to_string().contains("needs root"), "{error}");
}

#[test]
fn a_device_that_comes_back_waits_for_its_port() {
    let ports = parse_status(STATUS).unwrap();
    assert_eq!(free_port(&ports, None), Some(1));
    assert_eq!(free_port(&ports, Some(2)), Some(2));
    for (port, why) in [(0, "in use"), (8, "for super speed"), (9, "not there")] {
        assert_eq!(free_port(&ports, Some(port)), None, "port {port} is {why}");
    }

    let folder = controller(&[STATUS]);
    assert_eq!(attach_with_server(folder.path(), "1-1", Some(2)).unwrap(), 2);
    // Its port becomes free a moment later.
    let path = folder.path().to_owned();
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(100));
            // All at once, as the kernel shows it.
            fs::write(path.join("new"), STATUS.replace("0000 006", "0000 004")).unwrap();
            fs::rename(path.join("new"), path.join("status")).unwrap();
        });
        assert_eq!(attach_with_server(folder.path(), "1-1", Some(0)).unwrap(), 0);
    });
    // It does not: after a while any port will do.
    let folder = controller(&[STATUS]);
    assert_eq!(attach_with_server(folder.path(), "1-1", Some(0)).unwrap(), 1);
}
