//! The suite every pair of backends passes, over USB/IP: server and client joined by loopback sockets, in one thread.

use std::{task::Poll, time::Duration};

use inband_usb::{
    DescriptorSet,
    conformance::{Rig, run_all},
};
use inband_virtual::usbip::{BusId, Client, Opening, Port, Server};

struct Sockets {
    server: Server,
    port: Port,
    busid: BusId,
    opening: Option<Opening>,
}

impl Rig for Sockets {
    type Device = Port;
    type Host = Client;

    fn device(&mut self) -> &mut Port {
        &mut self.port
    }

    fn open(&mut self, descriptors: &DescriptorSet) -> Option<Client> {
        let mut opening = match self.opening.take() {
            Some(opening) => opening,
            None => Opening::new(self.server.address(), &self.busid).ok()?,
        };
        match opening.poll() {
            Poll::Ready(Ok(client)) => {
                let device = client.device_descriptor();
                let wanted = (descriptors.vendor_id, descriptors.product_id);
                ((device.vendor_id, device.product_id) == wanted).then_some(client)
            }
            // Not there yet, or the client before has not yet been seen to leave.
            Poll::Ready(Err(_)) => None,
            Poll::Pending => {
                self.opening = Some(opening);
                None
            }
        }
    }

    fn idle(&mut self) {
        self.server.wait(Duration::from_millis(1));
    }
}

#[test]
fn usbip_conforms() {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = server.port("1-1").unwrap();
    let busid = port.busid().clone();
    run_all(&mut Sockets { server, port, busid, opening: None });
}
