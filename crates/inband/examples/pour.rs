//! The two limits of the bulk interface, each by itself, as one line of JSON with `total_ms`.
//!
//! ```text
//! pour usb MIB     bulk writes, several in flight, to the one device with the bulk interface, from the first one submitted to the last one done
//! pour hash MIB    SHA-256, on one processor
//! ```

use std::{
    collections::VecDeque,
    env,
    error::Error,
    time::{Duration, Instant},
};

use inband::usb::{Bus as _, KernelBus};
use inband_bulk::interface;
use inband_package::digest::sha256;
use inband_usb::{HostDevice, HostTransfer, TransferId};

/// Bytes of a transfer, and how many there are in flight: together the 1 MiB that `inband update` has under way.
const TRANSFER: usize = 256 << 10;
const IN_FLIGHT: usize = 4;
/// A device that takes so long to read is none.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (what, mib) = arguments.next().zip(arguments.next()).ok_or("usage: pour usb|hash MIB")?;
    let transfers = (mib.parse::<usize>()? << 20) / TRANSFER;
    let time = match what.as_str() {
        "usb" => pour(transfers)?,
        "hash" => hash(transfers),
        other => return Err(format!("{other} is neither usb nor hash").into()),
    };
    println!("{{\"what\":\"{what}\",\"mib\":{mib},\"total_ms\":{:.1}}}", time.as_secs_f64() * 1e3);
    Ok(())
}

fn pour(transfers: usize) -> Result<Duration, Box<dyn Error>> {
    let sighting = KernelBus.list()?.into_iter().find(|sighting| {
        sighting.interfaces.iter().any(|interface| interface.class == interface::INTERFACE_CLASS)
    });
    let mut opened = KernelBus.open(&sighting.ok_or("no device with the interface")?.place)?;
    let bulk = interface::find(&opened.configuration).ok_or("no bulk interface")?;
    let device = &mut opened.device;
    device.claim(bulk.number)?;
    let mut under_way = VecDeque::new();
    let start = Instant::now();
    for _ in 0..transfers {
        if under_way.len() >= IN_FLIGHT {
            finish(device.as_mut(), &mut under_way)?;
        }
        let data = vec![0; TRANSFER];
        under_way.push_back(device.submit(HostTransfer::BulkOut { endpoint: bulk.output, data })?);
    }
    while !under_way.is_empty() {
        finish(device.as_mut(), &mut under_way)?;
    }
    Ok(start.elapsed())
}

/// Waits for the oldest transfer.
fn finish(device: &mut dyn HostDevice, under_way: &mut VecDeque<TransferId>) -> Result<(), Box<dyn Error>> {
    let Some(oldest) = under_way.pop_front() else { return Ok(()) };
    Ok(device.finish(oldest, LIMIT)?.result?)
}

fn hash(transfers: usize) -> Duration {
    let data = vec![0x5a; TRANSFER];
    let start = Instant::now();
    for _ in 0..transfers {
        std::hint::black_box(sha256(&data));
    }
    start.elapsed()
}
