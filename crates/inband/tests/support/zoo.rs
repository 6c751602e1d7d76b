//! USB/IP servers with devices that answer what a test wants.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use inband_usb::{DescriptorSet, DeviceBackend, DeviceEvent, descriptor::Interface};
use inband_virtual::usbip::{Server, Waker};

/// A USB/IP server with devices of our making, until it is dropped.
pub(crate) struct Zoo {
    pub(crate) address: String,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<thread::JoinHandle<()>>,
}

/// What a device of the zoo answers to the vendor request.
pub(crate) type Answer = fn(&inband_usb::Setup) -> Option<Vec<u8>>;

impl Zoo {
    pub(crate) fn open(devices: Vec<(&'static str, DescriptorSet, Answer)>) -> Self {
        let (tell, told) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let server = Server::bind("127.0.0.1:0".parse().expect("a server of our own works"))
                .expect("a server of our own works");
            let mut ports: Vec<_> = devices
                .iter()
                .map(|(busid, set, answer)| {
                    let mut port = server.port(busid).expect("a server of our own works");
                    port.attach(set).expect("a server of our own works");
                    (port, *answer)
                })
                .collect();
            tell.send((server.address().to_string(), server.waker())).expect("a server of our own works");
            while !stopped.load(Ordering::Acquire) {
                for (port, answer) in &mut ports {
                    while let Some(event) = port.poll_event().expect("a server of our own works") {
                        let DeviceEvent::Setup(setup) = event else { continue };
                        let _ = match answer(&setup) {
                            Some(bytes) => port.control_write(&bytes[..bytes.len().min(setup.length.into())]),
                            None => port.control_stall(),
                        };
                    }
                }
                server.wait(Duration::from_secs(1));
            }
        });
        let (address, waker) = told.recv().expect("a server of our own works");
        Self { address, stop, waker, thread: Some(thread) }
    }
}

impl Drop for Zoo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.take().expect("a server of our own works").join().expect("a server of our own works");
    }
}

pub(crate) fn dfu_device(serial: &str, product: &str) -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 0xdf11,
        device_version: 0x0100,
        manufacturer: "Somebody".into(),
        product: product.into(),
        serial: serial.into(),
        interfaces: vec![Interface {
            class: 0xfe,
            subclass: 1,
            protocol: 1,
            name: "x".into(),
            extra: inband_dfu::wire::FunctionalDescriptor::OURS.to_bytes().to_vec(),
            endpoints: vec![],
        }],
    }
}

/// Answers as a BMC of ours that has just begun.
pub(crate) fn ours(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    use inband_session::status::{MACHINE_PAGE, STATUS_PAGE};

    if (setup.request_type, setup.request) != (0xc1, 0x49) {
        return None;
    }
    match setup.value {
        MACHINE_PAGE => Some([&[1, 7][..], b"board"].concat()),
        STATUS_PAGE => {
            let mut page = vec![0; 56];
            page[..2].copy_from_slice(&[1, 56]);
            page[6] = inband_session::DoorState::Armed.number();
            Some(page)
        }
        page @ (1 | 2) => Some(vec![1, 10, 0, page as u8 - 1, 0, 0, 0, 0, 0, 0]),
        _ => None,
    }
}

pub(crate) fn stalls(_: &inband_usb::Setup) -> Option<Vec<u8>> {
    None
}

pub(crate) fn nonsense(_: &inband_usb::Setup) -> Option<Vec<u8>> {
    Some(vec![0xff; 60])
}
