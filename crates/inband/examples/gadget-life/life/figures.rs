//! What is counted and timed. The clock of an emulated machine says little by itself: figures of one run compare.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use inband_usb::{DescriptorSet, DeviceBackend as _, Direction, EndpointAddress, HostDevice, HostTransfer};

use super::{
    open,
    world::{self, Function, LIMIT, set},
};

/// How often the device changes its descriptors.
const SWAPS: u32 = 50;
const REQUESTS: u32 = 500;
const BULK_OUT: EndpointAddress = EndpointAddress(0x01);
const TRANSFER: usize = 256 << 10;
const TRANSFERS: usize = 128;
const QUEUED: usize = 4;

/// Two sets, as the run-time and the DFU set are: one without endpoints.
fn sets() -> [DescriptorSet; 2] {
    let mut other = set(2);
    other.interfaces[0].endpoints.clear();
    [set(1), other]
}

fn files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Attached with other descriptors again and again: each time the host configures it, and no file stays open.
pub(super) fn swapped() {
    let mut gadget = open();
    for set in &sets() {
        gadget.prepare(set).unwrap();
    }
    let mut function = Function::default();
    let (mut attaching, mut configured) = (Vec::new(), Vec::new());
    let before = files();
    for round in 0..SWAPS {
        let start = Instant::now();
        gadget.attach(&sets()[round as usize % 2]).unwrap();
        attaching.push(start.elapsed());
        function.enabled = false;
        let waiter = gadget.waiter();
        loop {
            // The Disable of before comes first.
            function.step(&mut gadget);
            if function.enabled {
                break;
            }
            assert!(start.elapsed() < LIMIT, "not configured in round {round}");
            waiter.wait(Duration::from_secs(1));
        }
        configured.push(start.elapsed());
    }
    assert_eq!(files(), before);
    assert_eq!(function.enables, SWAPS);
    assert_eq!(function.disables, SWAPS - 1);
    println!("figure swap: attach() took {}, until configured {}", spread(attaching), spread(configured));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |place: usize| times[place].as_secs_f64() * 1e3;
    format!("{:.2} ms (median; least {:.2}, most {:.2})", at(times.len() / 2), at(0), at(times.len() - 1))
}

/// Runs a host against a device that a thread serves as a daemon does.
fn against_a_thread(
    serve: fn(&mut inband_gadget::Gadget, &mut Function),
    act: impl FnOnce(&mut dyn HostDevice),
) {
    let mut gadget = open();
    gadget.attach(&set(1)).unwrap();
    let (waker, end) = (gadget.waker(), Arc::new(AtomicBool::new(false)));
    let its = Arc::clone(&end);
    let device = thread::spawn(move || {
        let mut function = Function::default();
        let waiter = gadget.waiter();
        while !its.load(Ordering::Relaxed) {
            function.step(&mut gadget);
            serve(&mut gadget, &mut function);
            waiter.wait(Duration::from_secs(1));
        }
    });
    act(&mut *world::open_host(&set(1)));
    end.store(true, Ordering::Relaxed);
    waker.wake();
    device.join().unwrap();
}

/// Control requests one after the other.
pub(super) fn latency() {
    against_a_thread(
        |_, _| {},
        |host| {
            for (direction, length) in
                [(Direction::In, 6), (Direction::In, 4096), (Direction::Out, 4096), (Direction::Out, 0)]
            {
                let mut times = Vec::new();
                for _ in 0..REQUESTS {
                    let start = Instant::now();
                    world::run(host, world::answered(direction, length), || {}).unwrap();
                    times.push(start.elapsed());
                }
                println!("figure control {direction:?} {length} bytes: {}", spread(times));
            }
            // Answered by the kernel's own half of the gadget: what the bus itself costs.
            let status = inband_usb::Setup { request_type: 0x80, request: 0, value: 0, index: 0, length: 2 };
            let mut times = Vec::new();
            for _ in 0..REQUESTS {
                let start = Instant::now();
                world::run(host, world::request(status), || {}).unwrap();
                times.push(start.elapsed());
            }
            println!("figure control In 2 bytes, answered in the kernel: {}", spread(times));
        },
    );
}

/// Bulk OUT with several transfers queued on both sides; and, to compare, read by a thread that waits in the kernel.
pub(super) fn throughput() {
    against_a_thread(
        |gadget, function| {
            if !function.enabled {
                return;
            }
            let home = function.completions.drain(..).map(|completion| completion.buffer).collect::<Vec<_>>();
            let fresh = if function.held.is_none() { QUEUED } else { 0 };
            // Marks that the first buffers were given.
            function.held = function.last;
            for buffer in home.into_iter().chain((0..fresh).map(|_| vec![0; TRANSFER])) {
                gadget.submit(BULK_OUT, buffer).unwrap();
            }
        },
        |host| {
            let rate = send(host);
            println!("figure bulk OUT, {QUEUED} transfers of {} KiB queued: {rate:.0} MB/s", TRANSFER >> 10);
        },
    );
    against_a_thread(
        |gadget, function| {
            if function.last.is_some() && function.held.is_none() {
                function.held = function.last;
                let files = gadget.files();
                let (_, file) = files.iter().find(|(name, _)| name.ends_with(".ep1")).unwrap();
                let file = file.try_clone_to_owned().unwrap();
                thread::spawn(move || {
                    let mut buffer = vec![0; TRANSFER];
                    while rustix::io::read(&file, &mut *buffer).is_ok() {}
                });
            }
        },
        |host| {
            let rate = send(host);
            println!("figure bulk OUT, one read of {} KiB at a time: {rate:.0} MB/s", TRANSFER >> 10);
        },
    );
}

/// Sends all transfers, several queued; megabytes per second.
fn send(host: &mut dyn HostDevice) -> f64 {
    world::run(host, world::answered(Direction::In, 6), || {}).unwrap();
    let (endpoint, _) = world::bulk_endpoints(host, || {});
    let (mut sent, mut ended) = (0, 0);
    let start = Instant::now();
    while ended < TRANSFERS {
        while sent < TRANSFERS && sent < ended + QUEUED {
            host.submit(HostTransfer::BulkOut { endpoint, data: vec![sent as u8; TRANSFER] }).unwrap();
            sent += 1;
        }
        host.wait(Duration::from_secs(1));
        while let Some(completion) = host.poll() {
            assert_eq!(completion.result, Ok(()));
            ended += 1;
        }
        assert!(start.elapsed() < 6 * LIMIT);
    }
    (TRANSFER * TRANSFERS) as f64 / start.elapsed().as_secs_f64() / 1e6
}
