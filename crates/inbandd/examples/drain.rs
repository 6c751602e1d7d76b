//! A device with the bulk interface that reads whatever comes and throws it away, to measure against: all of the backend, and nothing of the
//! protocol or of an update. It is in DFU mode from the start.
//!
//! ```text
//! drain
//! ```

use std::{error::Error, time::Duration};

use inband_bulk::interface::{self, OUT};
use inband_dfu::descriptors::{self, Identity};
use inband_gadget::{Gadget, Options};
use inband_usb::{DescriptorSet, DeviceBackend as _, DeviceEvent};

/// Bytes of a read, and how many there are in flight: as inbandd has them.
const READ: usize = 64 << 10;
const READS: usize = 4;
/// The longest wait; nothing depends on it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut gadget = Gadget::open(Options::default())?;
    let set = set();
    gadget.prepare(&set)?;
    let waiter = gadget.waiter();
    gadget.attach(&set)?;
    loop {
        while let Some(event) = gadget.poll_event()? {
            match event {
                DeviceEvent::Enable => {
                    for _ in 0..READS {
                        read(&mut gadget, vec![0; READ]);
                    }
                }
                DeviceEvent::Complete(transfer) if transfer.result.is_ok() => {
                    read(&mut gadget, transfer.buffer);
                }
                DeviceEvent::Setup(_) => _ = gadget.control_stall(),
                DeviceEvent::Complete(_)
                | DeviceEvent::Disable
                | DeviceEvent::Suspend
                | DeviceEvent::Resume => {}
            }
        }
        waiter.wait(LONGEST_WAIT);
    }
}

/// One that is not taken is one too many for a device that was disabled meanwhile, which an event will tell.
fn read(gadget: &mut Gadget, buffer: Vec<u8>) {
    let _ = gadget.submit(OUT, buffer);
}

fn set() -> DescriptorSet {
    let mut set = descriptors::dfu_mode(&Identity {
        vendor_id: 0x1209,
        runtime_product_id: 1,
        dfu_product_id: 2,
        runtime_version: 0x0100,
        dfu_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Drain".into(),
        serial: "DRAIN".into(),
        interface_name: "bmc".into(),
    });
    set.interfaces.push(interface::interface());
    set
}
