//! The USB/IP client's side: opening a device that comes and goes.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use inband_session::{SessionState, status::StatusPage};
use inband_usb::HostDevice as _;
use inband_virtual::usbip::{self, BusId, Client};

use crate::host::status;

/// Opens the device and claims its interface, once it is there with this product id.
pub(crate) fn open(server: SocketAddr, product: u16) -> Client {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // It may not be listening yet, or again; the device may have left and not come back.
        if let Ok(mut client) = usbip::open(server, &BusId::new("1-1").unwrap())
            && client.device_descriptor().product_id == product
            && client.claim(0).is_ok()
        {
            return client;
        }
        assert!(Instant::now() < deadline, "no device {product:04x} at {server}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The status page at run time, once new firmware has been confirmed.
pub(crate) fn settled(server: SocketAddr, product: u16) -> StatusPage {
    let mut client = open(server, product);
    loop {
        let page = status(&mut client).unwrap();
        match page.state {
            SessionState::PendingConfirm => thread::yield_now(),
            _ => return page,
        }
    }
}
