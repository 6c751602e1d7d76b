//! A host that dies where no message and no unit ends, on a port of full speed: a unit has eight packets there. Whoever comes next has to find
//! the stream straight (docs/spec/bulk.md, 2.1).
//!
//! ```text
//! half-unit out|in|chunk
//! ```
//!
//! * `out`: three packets, in no exchange.
//! * `in`: an OFFER that is refused, and of the RESULT the first packet only.
//! * `chunk`: a WHOLE, and of the first piece three packets.
//!
//! Takes the one BMC on this machine's USB, in DFU mode.

use std::{env, error::Error, time::Duration};

use inband::{find::Scope, usb::KernelBus};
use inband_bulk::wire::{HEADER_LENGTH, Kind, MAGIC, UNIT, message};
use inband_usb::{HostDevice, HostTransfer};

/// Bytes of a packet at full speed.
const PACKET: usize = 64;
/// How long one transfer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// A number of an exchange.
const EXCHANGE: u32 = 0x4a11_f00d;

fn main() -> Result<(), Box<dyn Error>> {
    let what = env::args().nth(1).unwrap_or_default();
    let mut bmc =
        Scope { bus: &KernelBus, name: "on this machine's USB".into(), hint: String::new() }.one(None)?;
    let bulk = bmc.bulk().ok_or("it shows no bulk interface")?;
    let device = bmc.device();
    device.claim(bulk.number)?;
    let send = |device: &mut dyn HostDevice, data: Vec<u8>| {
        device.run(HostTransfer::BulkOut { endpoint: bulk.output, data }, LIMIT).map(drop)
    };
    let read = |device: &mut dyn HostDevice, length| {
        let completion = device.run(HostTransfer::BulkIn { endpoint: bulk.input, length }, LIMIT)?;
        if completion.data.starts_with(&MAGIC) {
            Ok(())
        } else {
            Err(Box::<dyn Error>::from("that is no message"))
        }
    };
    match what.as_str() {
        "out" => send(device, vec![b'.'; 3 * PACKET])?,
        "in" => {
            let mut offer = message(Kind::Offer, EXCHANGE, 0, &[0; UNIT - HEADER_LENGTH]);
            // A version that nobody speaks, behind the magic.
            offer[MAGIC.len()] = 0xff;
            send(device, offer)?;
            read(device, PACKET)?;
        }
        "chunk" => {
            send(device, message(Kind::Whole, EXCHANGE, 0, &100_000_u64.to_le_bytes()))?;
            read(device, UNIT)?;
            let mut chunk = message(Kind::Chunk, EXCHANGE, 0, &[b'.'; 65_536]);
            chunk.truncate(3 * PACKET);
            send(device, chunk)?;
        }
        other => return Err(format!("{other:?} is none of out, in, chunk").into()),
    }
    Ok(())
}
