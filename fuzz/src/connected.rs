//! A device that a hostile peer reaches over a connection, and a function behind it that uses every call.

use inband_usb::{DescriptorSet, DeviceEvent, Direction, EndpointAddress, Setup, descriptor::Interface};
use inband_virtual::device::{Device, Peer};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);

/// Where a device is attached.
pub(crate) trait Place {
    type Peer: Peer;

    fn device(&mut self) -> &mut Device<Self::Peer>;
    fn attach(&mut self, set: &DescriptorSet);
    fn detach(&mut self);
}

pub(crate) fn set(product_id: u16) -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id,
        device_version: 0,
        manufacturer: String::new(),
        product: "Fuzz".into(),
        serial: "1".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 0,
            protocol: 0,
            name: String::new(),
            extra: Vec::new(),
            endpoints: vec![OUT, IN],
        }],
    }
}

/// Takes the device's events; what it does with a request is its bRequest.
pub(crate) fn function(place: &mut impl Place, attachments: &mut u16) {
    // Each event takes something of the peer's, of which there is no end of empty transfers but of input.
    while let Some(event) = place.device().next_event() {
        match event {
            DeviceEvent::Enable => {
                for length in [512, 2048] {
                    let _ = place.device().submit(OUT, vec![0; length]);
                }
                for length in [0, 100, 512, 1024] {
                    let _ = place.device().submit(IN, vec![0x55; length]);
                }
            }
            DeviceEvent::Setup(setup) => request(place, setup, attachments),
            DeviceEvent::Complete(done) if done.result.is_ok() => {
                assert!(done.length <= done.buffer.len());
                let _ = place.device().submit(done.endpoint, done.buffer);
            }
            DeviceEvent::Complete(_) | DeviceEvent::Disable | DeviceEvent::Suspend | DeviceEvent::Resume => {}
        }
    }
}

fn request(place: &mut impl Place, setup: Setup, attachments: &mut u16) {
    let device = place.device();
    match setup.request {
        0 => {}
        1 => {
            let _ = device.control_stall();
        }
        2 => device.set_halt(EndpointAddress(setup.value as u8)),
        3 => device.cancel(EndpointAddress(setup.value as u8)),
        4 if *attachments < 4 => {
            let _ = device.control_read(&mut []);
            *attachments += 1;
            place.attach(&set(*attachments));
        }
        5 => place.detach(),
        _ if setup.length == 0 || setup.direction() == Direction::Out => {
            let _ = device.control_read(&mut vec![0; usize::from(setup.length)]);
        }
        _ => {
            let _ = device.control_write(&vec![0xaa; usize::from(setup.value)]);
        }
    }
}
