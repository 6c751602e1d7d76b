//! The USB/IP server and client over real sockets.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use inband_usb::{
    DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress, HostDevice, HostError,
    HostTransfer, Setup, descriptor::Interface,
};
use inband_virtual::usbip::{
    self, BusId, ClientError, Port, Server, ServerError,
    wire::{self, Command, Request, Status, Submit},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A vendor request that makes the device leave and come back as another product.
const LEAVE: Setup = Setup { request_type: 0x40, request: 1, value: 0, index: 0, length: 0 };

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn busid() -> BusId {
    BusId::new("1-1").unwrap()
}

fn set(product_id: u16) -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Test".into(),
        serial: "1".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 1,
            protocol: 2,
            name: String::new(),
            extra: Vec::new(),
            endpoints: vec![OUT, IN],
        }],
    }
}

/// Runs a function that sends bulk data back, in its own thread, while the test talks to it.
fn with_echo(test: impl FnOnce(&Server)) {
    struct Stop<'a>(&'a AtomicBool, usbip::Waker);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            self.1.wake();
        }
    }

    let server = Server::bind(localhost()).unwrap();
    let mut port = server.port("1-1").unwrap();
    port.attach(&set(0x0104)).unwrap();
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stopped.load(Ordering::SeqCst) {
                // Without the waker the test would take this long.
                port.wait(TIMEOUT);
                while let Some(event) = port.poll_event().unwrap() {
                    echo(&mut port, event);
                }
            }
        });
        let _stop = Stop(&stopped, server.waker());
        test(&server);
    });
}

fn echo(port: &mut Port, event: DeviceEvent) {
    match event {
        DeviceEvent::Enable => port.submit(OUT, vec![0; 1 << 20]).unwrap(),
        DeviceEvent::Complete(mut done) if done.result.is_ok() && done.endpoint == OUT => {
            done.buffer.truncate(done.length);
            port.submit(IN, done.buffer).unwrap();
        }
        DeviceEvent::Complete(done) if done.result.is_ok() => port.submit(OUT, vec![0; 1 << 20]).unwrap(),
        DeviceEvent::Setup(LEAVE) => {
            assert_eq!(port.control_read(&mut []), Poll::Ready(Ok(0)));
            port.attach(&set(0x0105)).unwrap();
        }
        DeviceEvent::Setup(_) => port.control_stall().unwrap(),
        DeviceEvent::Complete(_) | DeviceEvent::Disable | DeviceEvent::Suspend | DeviceEvent::Resume => {}
    }
}

#[test]
fn only_loopback_addresses() {
    for address in ["0.0.0.0:0", "192.0.2.1:3240", "[::]:0"] {
        let error = Server::bind(address.parse().unwrap()).unwrap_err();
        assert!(matches!(error, ServerError::NotLoopback(_)));
        assert!(error.to_string().contains("use 127.0.0.1 or [::1]"), "{error}");
    }
    let server = Server::bind(localhost()).unwrap();
    let error = Server::bind(server.address()).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", server.address())), "{error}");
    assert!(matches!(server.port("1 1"), Err(ServerError::BusId(_))));
    server.port("1-1").unwrap();
    assert!(matches!(server.port("1-1"), Err(ServerError::PortTaken(_))));
}

#[test]
fn list_and_transfers() {
    with_echo(|server| {
        let listed = usbip::list(server.address()).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].device.busid, busid());
        assert_eq!((listed[0].device.vendor_id, listed[0].device.product_id), (0x1d6b, 0x0104));
        assert_eq!(listed[0].interfaces, [[0xff, 1, 2]]);

        let mut client = usbip::open(server.address(), &busid()).unwrap();
        assert_eq!(client.record(), &listed[0].device);
        assert_eq!(client.device_descriptor().product_id, 0x0104);
        assert_eq!(client.configuration().interfaces[0].endpoints.len(), 2);
        client.claim(0).unwrap();
        // The most one transfer takes; a megabyte fits no socket buffer, so both sides are held up and go on.
        let data: Vec<u8> = (0..1_u32 << 20).map(|at| (at / 509) as u8).collect();
        client.submit(HostTransfer::BulkOut { endpoint: OUT, data: data.clone() }).unwrap();
        let read = client.submit(HostTransfer::BulkIn { endpoint: IN, length: 1 << 20 }).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let back = loop {
            assert!(Instant::now() < deadline);
            match client.poll() {
                Some(completion) if completion.id == read => break completion,
                Some(completion) => assert_eq!(completion.result, Ok(())),
                None => client.wait(TIMEOUT),
            }
        };
        assert_eq!(back.result, Ok(()));
        assert!(back.data == data, "the data came back changed");
    });
}

#[test]
fn a_request_nobody_answers_times_out() {
    let server = Server::bind(localhost()).unwrap();
    let mut port = server.port("1-1").unwrap();
    port.attach(&set(0x0104)).unwrap();
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stopped.load(Ordering::SeqCst) {
                port.wait(Duration::from_millis(1));
                // Standard requests are answered by themselves, the vendor request never.
                while port.poll_event().unwrap().is_some() {}
            }
        });
        let mut client = usbip::open(server.address(), &busid()).unwrap();
        let setup = Setup { request_type: 0xc0, request: 1, value: 0, index: 0, length: 4 };
        assert_eq!(client.control_in(setup, Duration::from_millis(50)), Err(HostError::Cancelled));
        let setup = Setup { request_type: 0x80, request: 8, value: 0, index: 0, length: 1 };
        assert_eq!(client.control_in(setup, TIMEOUT), Ok(vec![1]), "the next request is answered");
        stopped.store(true, Ordering::SeqCst);
    });
}

#[test]
fn the_second_importer_is_refused() {
    with_echo(|server| {
        let first = usbip::open(server.address(), &busid()).unwrap();
        let error = usbip::open(server.address(), &busid()).unwrap_err();
        assert!(matches!(error, ClientError::Refused(Status::Busy)));
        assert_eq!(error.to_string(), "the USB/IP server refuses: another client is using the device");
        let error = usbip::open(server.address(), &BusId::new("7-7").unwrap()).unwrap_err();
        assert!(matches!(error, ClientError::Refused(Status::NoDevice)));
        drop(first);
        usbip::open(server.address(), &busid()).unwrap();
    });
}

#[test]
fn a_device_that_leaves_and_returns() {
    with_echo(|server| {
        let mut client = usbip::open(server.address(), &busid()).unwrap();
        client.claim(0).unwrap();
        let parked = client.submit(HostTransfer::BulkIn { endpoint: IN, length: 512 }).unwrap();
        let leave = client.submit(HostTransfer::ControlOut { setup: LEAVE, data: Vec::new() }).unwrap();
        let mut ended = Vec::new();
        while ended.len() < 2 {
            client.wait(TIMEOUT);
            ended.extend(std::iter::from_fn(|| client.poll()));
        }
        let result = |id| ended.iter().find(|it| it.id == id).unwrap().result.clone();
        assert_eq!(result(leave), Ok(()), "the request that made it leave is answered");
        assert_eq!(result(parked), Err(HostError::Gone));
        let setup = Setup { request_type: 0x80, request: 8, value: 0, index: 0, length: 1 };
        assert_eq!(client.control_in(setup, TIMEOUT), Err(HostError::Gone));
        assert_eq!(usbip::list(server.address()).unwrap()[0].device.product_id, 0x0105);
        let client = usbip::open(server.address(), &busid()).unwrap();
        assert_eq!(client.device_descriptor().product_id, 0x0105);
    });
}

#[test]
fn hostile_clients_do_not_keep_others_out() {
    with_echo(|server| {
        // Idle, half a request, garbage, one that vanishes; all stay open as long as they are let.
        let mut hostile = Vec::new();
        for round in 0..50 {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            let bytes: &[u8] = match round % 3 {
                0 => &[],
                1 => &[0x01, 0x11, 0x80],
                _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            };
            // The server may have closed it by now.
            let _ = stream.write_all(bytes);
            hostile.push(stream);
        }
        let mut client = usbip::open(server.address(), &busid()).unwrap();
        for stream in &mut hostile {
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let mut buffer = [0];
            // Closed or reset long before the 10 seconds.
            assert!(matches!(stream.read(&mut buffer), Ok(0) | Err(_)));
        }
        client.claim(0).unwrap();
        client.run(HostTransfer::BulkOut { endpoint: OUT, data: b"still here".to_vec() }, TIMEOUT).unwrap();
        let back = client.run(HostTransfer::BulkIn { endpoint: IN, length: 512 }, TIMEOUT).unwrap();
        assert_eq!(back.data, b"still here");
    });
}

/// An importer that fills the server with data nobody takes, or lets its answers lie: the server rests meanwhile.
#[test]
fn a_stuck_importer_costs_no_time() {
    for direction in [Direction::Out, Direction::In] {
        let server = Server::bind(localhost()).unwrap();
        let mut port = server.port("1-1").unwrap();
        port.attach(&set(0x0104)).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let mut send = Request::Import(busid()).to_bytes();
        let device = record(&server);
        let submit = Submit {
            seqnum: 1,
            devid: device.devid(),
            direction: Direction::Out,
            endpoint: 0,
            flags: 0,
            length: 0,
            setup: [0, 9, 1, 0, 0, 0, 0, 0],
        };
        send.extend(Command::Submit(submit).to_bytes());
        stream.write_all(&send).unwrap();
        while !matches!(port.poll_event().unwrap(), Some(DeviceEvent::Enable)) {
            server.wait(TIMEOUT);
        }

        stream.set_nonblocking(true).unwrap();
        let submit = Submit { direction, endpoint: 1, length: 1 << 20, setup: [0; 8], ..submit };
        let mut command = Command::Submit(submit).to_bytes().to_vec();
        if direction == Direction::Out {
            command.resize(48 + (1 << 20), 7);
        }
        // Until both sides' buffers are full.
        let mut at = 0;
        let mut idle = 0;
        while idle < 50 {
            let written = stream.write(&command[at..]).unwrap_or_default();
            at = (at + written) % command.len();
            let mut moved = written > 0;
            if direction == Direction::In {
                moved |= port.submit(IN, vec![1; 1 << 20]).is_ok();
            }
            while port.poll_event().unwrap().is_some() {
                moved = true;
            }
            idle = if moved { 0 } else { idle + 1 };
        }
        let start = Instant::now();
        let mut turns = 0;
        while start.elapsed() < Duration::from_millis(300) {
            server.wait(Duration::from_millis(100));
            turns += 1;
        }
        assert!(turns < 10, "{direction:?}: the server woke up {turns} times in 300 ms with nothing to do");
        // And it notices when the importer goes.
        drop(stream);
        let deadline = Instant::now() + TIMEOUT;
        while port.poll_event().unwrap() != Some(DeviceEvent::Disable) {
            assert!(Instant::now() < deadline, "{direction:?}: the importer has gone and nobody knows");
            server.wait(Duration::from_millis(100));
        }
    }
}

/// The device as a server's list shows it.
fn record(server: &Server) -> wire::Device {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&Request::DeviceList.to_bytes()).unwrap();
    server.wait(TIMEOUT);
    server.wait(Duration::from_millis(10));
    let mut bytes = vec![0; 12 + wire::DEVICE_SIZE];
    stream.read_exact(&mut bytes).unwrap();
    wire::Device::from_bytes(bytes[12..].first_chunk().unwrap()).unwrap()
}

#[test]
fn a_waker_ends_a_wait() {
    let server = Server::bind(localhost()).unwrap();
    let waker = server.waker();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || waker.wake());
        server.wait(TIMEOUT);
    });
    assert!(start.elapsed() < TIMEOUT);
}

#[test]
fn servers_that_do_not_answer() {
    let refused = {
        let listener = TcpListener::bind(localhost()).unwrap();
        listener.local_addr().unwrap()
    };
    assert!(matches!(usbip::list(refused), Err(ClientError::Connect { .. })));
    assert!(matches!(usbip::open(refused, &busid()), Err(ClientError::Connect { .. })));

    for (answer, list) in [(&b"HTTP/1.1 400 Bad Request\r\n"[..], true), (&[], false)] {
        let listener = TcpListener::bind(localhost()).unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 8];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(answer).unwrap();
            });
            let result = usbip::list(address).map(|_| ());
            if list {
                assert!(matches!(result, Err(ClientError::Wire(_))));
            } else {
                assert!(matches!(result, Err(ClientError::Closed)));
            }
        });
    }
}
