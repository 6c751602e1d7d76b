//! The scenarios.

pub(super) mod child;
mod figures;
mod world;

use std::{fs, path::Path};

use inband_gadget::{Gadget, GadgetError, Options};
use inband_usb::{DescriptorSet, DeviceBackend as _, HostError};

use child::Child;
use world::{CONFIGFS, Function, World, controller, gadgets, set, write};

use crate::attempt::attempt;

/// Every scenario, with its name.
const SCENARIOS: &[(&str, fn())] = &[
    ("leftovers-are-removed", leftovers),
    ("a-living-process-is-left-alone", held),
    ("gadgets-of-others-are-left-alone", others),
    ("unbound-and-rebound", rebound),
    ("disconnected", disconnected),
    ("taken-out-of-configfs", taken_out),
    ("handed-over", handed_over),
    ("handed-over-with-another-version", handed_over_with_another_version),
    ("handed-over-in-part", handed_over_in_part),
    ("a-request-for-the-device", request_for_the_device),
    ("a-controller-that-cannot-stall", without_stalls),
    ("handed-over-without-stalls", handed_over_without_stalls),
    ("swapped", figures::swapped),
    ("latency", figures::latency),
    ("throughput", figures::throughput),
];

/// Runs the scenarios named, or all; whether all passed.
pub(super) fn run(wanted: Vec<String>) -> bool {
    let mut passed = true;
    for (name, scenario) in SCENARIOS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == name) {
            continue;
        }
        match attempt(scenario) {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                passed = false;
                println!("failed {name} {why}");
            }
        }
    }
    passed
}

fn open() -> Gadget {
    Gadget::open(Options::default()).unwrap()
}

/// A process is killed: the kernel takes the device off the bus, and the next process removes what is in configfs.
fn leftovers() {
    let child = Child::new();
    assert_eq!(gadgets(), ["inband-0"]);
    child.kill();
    world::until("the kernel to unbind", || {
        fs::read_to_string(format!("{CONFIGFS}/inband-0/UDC")).unwrap().trim() == ""
    });
    assert_eq!(gadgets(), ["inband-0"], "the kernel leaves the folder");
    let gadget = open();
    assert!(gadgets().is_empty());
    // And all is as if nothing had been.
    let mut world = World::new(gadget, &set(1));
    world.works();
    drop(world);
    assert!(gadgets().is_empty());
}

/// The gadgets of a process that lives are not removed under it.
fn held() {
    let child = Child::new();
    match Gadget::open(Options::default()) {
        Err(GadgetError::Held(name)) => assert_eq!(name, "inband-0"),
        other => panic!("{other:?}"),
    }
    let mut host = world::open_host(&set(1));
    world::host_works(&mut *host, || {});
    child.kill();
    drop(open());
}

/// A controller that somebody has is named with who has it, and nothing of others is touched.
fn others() {
    fs::create_dir(format!("{CONFIGFS}/inband-x")).unwrap();
    let other = Gadget::open(Options { name: "other".into(), ..Options::default() }).unwrap();
    let mut other = World::new(other, &set(2));
    other.works();

    let mut ours = open();
    match ours.attach(&set(1)) {
        Err(error @ GadgetError::Busy { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&controller()) && text.ends_with("/other-0"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    drop(ours);
    other.works();
    assert_eq!(gadgets(), ["inband-x", "other-0"]);
    drop(other);
    fs::remove_dir(format!("{CONFIGFS}/inband-x")).unwrap();
}

/// The administrator unbinds our gadget and binds it again.
fn rebound() {
    let mut world = World::new(open(), &set(1));
    for _ in 0..3 {
        world.works();
        let file = format!("{CONFIGFS}/inband-0/UDC");
        write(&file, "\n");
        world.until("Disable", |function| !function.enabled);
        write(&file, &controller());
        world.until("Enable", |function| function.enabled);
        world.reopen(&set(1));
    }
    world.works();
    // And attaching anew is nothing special, unbound as it is.
    write(&format!("{CONFIGFS}/inband-0/UDC"), "\n");
    world.attach(&set(1));
    world.works();
}

/// The administrator disconnects the controller, and the device is attached anew. (`connect` is of no use with `dummy_hcd`: it keeps
/// its interrupts off.)
fn disconnected() {
    let mut world = World::new(open(), &set(1));
    for _ in 0..3 {
        world.works();
        write(&format!("/sys/class/udc/{}/soft_connect", controller()), "disconnect");
        world.until("Disable", |function| !function.enabled);
        world.attach(&set(1));
    }
    world.works();
}

/// The administrator removes our gadget altogether.
fn taken_out() {
    let mut world = World::new(open(), &set(1));
    world.works();
    write(&format!("{CONFIGFS}/inband-0/UDC"), "\n");
    for link in ["os_desc/c.1", "configs/c.1/ffs.inband-0"] {
        fs::remove_file(Path::new(CONFIGFS).join("inband-0").join(link)).unwrap();
    }
    for folder in ["configs/c.1", "functions/ffs.inband-0", "strings/0x409", ""] {
        fs::remove_dir(Path::new(CONFIGFS).join("inband-0").join(folder)).unwrap();
    }
    world.until("Disable", |function| !function.enabled);
    world.attach(&set(1));
    world.works();
}

/// A process dies, its files live on, and the next one goes on: the host sees the same device. A request that was read and not
/// answered ends in an error.
fn handed_over() {
    for request in [world::HOLD_IN, world::HOLD_OUT, world::HOLD_NO_DATA] {
        let mut child = Child::new();
        let mut host = world::open_host(&set(1));
        let address = world::address(&set(1)).unwrap();
        let held = host.submit(world::request(request)).unwrap();
        child.wait_for("held");
        let files = child.files();
        child.kill();

        let mut gadget = Gadget::adopt(Options::default(), files).unwrap();
        gadget.attach(&set(1)).unwrap();
        let mut function = Function::default();
        let deadline = host.now() + world::LIMIT;
        let ended = loop {
            function.step(&mut gadget);
            host.wait(world::STEP);
            if let Some(ended) = host.poll() {
                break ended;
            }
            assert!(host.now() < deadline, "the host waits for an answer that nobody gives");
        };
        assert_eq!(ended.id, held);
        assert!(ended.result == Err(HostError::Stall) || ended.data.is_empty(), "{ended:?}");
        assert!(function.enabled, "told that it is configured");
        assert_eq!((function.enables, function.disables), (1, 0));
        world::host_works(&mut *host, || function.step(&mut gadget));
        assert_eq!(world::address(&set(1)).unwrap(), address, "the device never left");
        let mut world = World { gadget, function, host };
        world.bulk_works();
    }
}

/// The next process shows another version: the host has to enumerate the device again.
fn handed_over_with_another_version() {
    let mut child = Child::new();
    let old = world::address(&set(1)).unwrap();
    let files = child.files();
    child.kill();
    let gadget = Gadget::adopt(Options::default(), files).unwrap();
    let next = DescriptorSet { device_version: 0x0200, ..set(1) };
    let mut world = World::new(gadget, &next);
    world.works();
    world.bulk_works();
    assert_ne!(world::address(&next).unwrap(), old);
    assert_eq!(gadgets(), ["inband-0"], "the prepared gadget serves on");
}

/// Files that do not make a whole are closed, and all begins anew.
fn handed_over_in_part() {
    for missing in ["inband-0.ep0", "inband-0.ep2", "inband-0.events", "inband-0.set"] {
        let mut child = Child::new();
        let mut files = child.files();
        files.retain(|(name, _)| name != missing);
        assert_eq!(files.len(), 4);
        child.kill();
        let gadget = Gadget::adopt(Options::default(), files).unwrap();
        assert!(gadgets().is_empty(), "{missing}");
        let mut world = World::new(gadget, &set(1));
        world.works();
    }
}

/// A request to the device as a whole is the function's as well, and a standard request to an interface is not.
fn request_for_the_device() {
    let mut world = World::new(open(), &set(1));
    world.asks_the_device();
}

fn open_without_stalls() -> Options {
    Options { stalls: Some(false), ..Options::default() }
}

/// As on a controller that cannot stall: a request that is refused times out at the host, and the next one is answered.
fn without_stalls() {
    let mut world = World::new(Gadget::open(open_without_stalls()).unwrap(), &set(1));
    assert!(!world.gadget.probe().stalls);
    for refused in [world::REFUSE_IN, world::REFUSE_OUT, world::REFUSE_NO_DATA, world::STANDARD] {
        world.is_silent(refused);
        world.works();
    }
    // And a device that leaves with such a request comes back.
    world.is_silent(world::REFUSE_IN);
    world.attach(&set(1));
    world.works();
    world.bulk_works();
}

/// A request that a dead process had read is left to the host, which gives it up; the next one is answered.
fn handed_over_without_stalls() {
    for request in [world::HOLD_IN, world::HOLD_OUT, world::HOLD_NO_DATA] {
        let mut child = Child::new();
        let mut host = world::open_host(&set(1));
        let held = host.submit(world::request(request)).unwrap();
        child.wait_for("held");
        let files = child.files();
        child.kill();

        let mut gadget = Gadget::adopt(open_without_stalls(), files).unwrap();
        gadget.attach(&set(1)).unwrap();
        let mut function = Function::default();
        world::until("Enable", || {
            function.step(&mut gadget);
            function.enabled
        });
        assert!(host.poll().is_none(), "nobody answers");
        host.cancel(held);
        world::until("the host to give the request up", || {
            function.step(&mut gadget);
            host.poll().is_some()
        });
        world::host_works(&mut *host, || function.step(&mut gadget));
    }
}
