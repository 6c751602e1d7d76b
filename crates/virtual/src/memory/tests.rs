mod faults;

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use inband_usb::{
    ControlError, DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, HostDevice, HostError,
    HostTransfer, Setup, SubmitError, TransferError,
    conformance::{self, Rig},
    descriptor::Interface,
};

use super::*;

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

struct MemoryRig {
    bus: Bus,
    device: MemoryDevice,
}

impl Rig for MemoryRig {
    type Device = MemoryDevice;
    type Host = MemoryHost;

    fn device(&mut self) -> &mut MemoryDevice {
        &mut self.device
    }

    fn open(&mut self, descriptors: &DescriptorSet) -> Option<MemoryHost> {
        let seen = self.bus.descriptors()?;
        if seen.product_id == descriptors.product_id { self.bus.open().ok() } else { None }
    }

    fn idle(&mut self) {
        self.bus.advance(MS);
    }
}

#[test]
fn conformance() {
    let (bus, device) = Bus::new();
    conformance::run_all(&mut MemoryRig { bus, device });
}

/// Two vendor interfaces, the first with a bulk endpoint each way.
fn set() -> DescriptorSet {
    let interface = |endpoints| Interface {
        class: 0xff,
        subclass: 0,
        protocol: 0,
        name: String::new(),
        extra: Vec::new(),
        endpoints,
    };
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 1,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Memory".into(),
        serial: String::new(),
        interfaces: vec![interface(vec![OUT, IN]), interface(vec![])],
    }
}

fn request_out(length: u16) -> HostTransfer {
    let setup = Setup { request_type: 0x41, request: 1, value: 0, index: 0, length };
    HostTransfer::ControlOut { setup, data: data(length) }
}

fn request_in(length: u16) -> HostTransfer {
    HostTransfer::ControlIn { setup: Setup { request_type: 0xc1, request: 1, value: 0, index: 0, length } }
}

fn data(length: u16) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

/// What a [`Function`] saw.
#[derive(Default)]
struct Seen {
    /// Data of OUT requests, in order.
    taken: Vec<Vec<u8>>,
    /// Requests answered with data.
    answered: usize,
    /// Answers that came too late.
    cancelled: usize,
    /// The other events.
    events: Vec<DeviceEvent>,
    /// Bulk OUT data.
    bulk: Vec<Vec<u8>>,
}

/// Takes and answers every request, receives on OUT.
struct Function {
    device: MemoryDevice,
    seen: Arc<Mutex<Seen>>,
    reading: Option<u16>,
}

impl Function {
    /// Keeps one buffer on OUT.
    fn receive(&mut self) {
        match self.device.submit(OUT, vec![0; 2048]) {
            // The host has left, and the event that tells so is yet to be polled.
            Ok(()) | Err(SubmitError::Disabled(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn step(&mut self) {
        let seen = Arc::clone(&self.seen);
        let mut seen = seen.lock().unwrap();
        loop {
            if let Some(length) = self.reading {
                let mut buffer = vec![0; usize::from(length)];
                match self.device.control_read(&mut buffer) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(_)) => {
                        seen.taken.push(buffer);
                        self.reading = None;
                    }
                    Poll::Ready(Err(error)) => {
                        assert_eq!(error, ControlError::Cancelled);
                        seen.cancelled += 1;
                        self.reading = None;
                    }
                }
            }
            let Some(event) = self.device.poll_event().unwrap() else { return };
            match event {
                DeviceEvent::Setup(setup) if setup.request_type & 0x80 == 0 || setup.length == 0 => {
                    self.reading = Some(setup.length);
                }
                DeviceEvent::Setup(setup) => match self.device.control_write(&data(setup.length)) {
                    Ok(()) => seen.answered += 1,
                    Err(error) => {
                        assert_eq!(error, ControlError::Cancelled);
                        seen.cancelled += 1;
                    }
                },
                DeviceEvent::Complete(completion) => {
                    if completion.result.is_ok() {
                        seen.bulk.push(completion.buffer[..completion.length].to_vec());
                        self.receive();
                    }
                }
                event => {
                    if event == DeviceEvent::Disable {
                        self.reading = None;
                    }
                    if event == DeviceEvent::Enable {
                        self.receive();
                    }
                    seen.events.push(event);
                }
            }
        }
    }
}

/// A bus whose pump runs a function, attached and seen by the host.
fn running() -> (Bus, Arc<Mutex<Seen>>) {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut function = Function { device, seen: Arc::clone(&seen), reading: None };
    bus.set_pump(move |_| {
        function.step();
        None
    });
    assert!(bus.run_until(SECOND, || bus.attached()));
    bus.advance(Duration::ZERO);
    (bus, seen)
}

#[test]
fn the_device_appears_after_the_enumeration_time() {
    let (bus, mut device) = Bus::new();
    assert_eq!(bus.open().unwrap_err(), HostError::Gone);
    bus.set_enumeration_time(Duration::from_millis(370));
    device.attach(&set()).unwrap();
    bus.advance(Duration::from_millis(369));
    assert!(!bus.attached());
    bus.advance(MS);
    assert!(bus.attached());
    assert_eq!((bus.generation(), bus.descriptors()), (1, Some(set())));
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    drop(device);
    assert!(!bus.attached(), "a device that is dropped has left");
}

#[test]
fn descriptors_no_host_could_read_are_refused() {
    let (bus, mut device) = Bus::new();
    let mut set = set();
    set.interfaces.clear();
    assert!(matches!(device.attach(&set), Err(MemoryError::Descriptors(_))));
    bus.advance(SECOND);
    assert!(!bus.attached());
}

#[test]
fn a_controller_takes_no_set_that_it_has_too_few_endpoints_for() {
    let (bus, mut device) = Bus::new();
    let wanted = set().endpoints().count();
    bus.limit_endpoints(wanted - 1);
    assert_eq!(device.attach(&set()), Err(MemoryError::Endpoints { wanted, there: wanted - 1 }));
    bus.advance(SECOND);
    assert!(!bus.attached());
    bus.limit_endpoints(wanted);
    assert_eq!(device.attach(&set()), Ok(()));
}

#[test]
fn requests_of_any_length_pass() {
    let (bus, seen) = running();
    let mut host = bus.open().unwrap();
    for length in [0, 1, 4096, 4097, 65535] {
        host.run(request_out(length), SECOND).unwrap();
        assert_eq!(seen.lock().unwrap().taken.pop().unwrap(), data(length));
        assert_eq!(host.run(request_in(length), SECOND).unwrap().data, data(length));
    }
}

#[test]
fn time_moves_with_data_and_to_what_is_due() {
    let (bus, _seen) = running();
    let mut host = bus.open().unwrap();
    host.claim(0).unwrap();
    let before = host.now();
    host.run(request_out(0), SECOND).unwrap();
    assert_eq!(host.now() - before, Duration::from_micros(125));

    // 8 MiB at 13 packets of 512 bytes a microframe are 53 MB/s.
    let before = host.now();
    for _ in 0..128 {
        host.run(HostTransfer::BulkOut { endpoint: OUT, data: vec![0; 65536] }, SECOND).unwrap();
    }
    let rate = 8_388_608.0 / (host.now() - before).as_secs_f64();
    assert!((48e6..54e6).contains(&rate), "{rate} bytes a second");

    // Nothing is due: the wait is over at its limit, to the nanosecond.
    let before = host.now();
    host.wait(Duration::from_secs(3600));
    assert_eq!(host.now() - before, Duration::from_secs(3600));
}

#[test]
fn an_unanswered_request_times_out() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    let before = host.now();
    assert_eq!(host.run(request_in(6), 5 * SECOND).unwrap_err(), HostError::Cancelled);
    assert_eq!(host.now() - before, 5 * SECOND);
    // The device learns of it when it answers.
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
    assert_eq!(device.control_write(&[0; 6]), Err(ControlError::Cancelled));
    assert_eq!(device.control_write(&[0; 6]), Err(ControlError::Misuse), "and only once");
}

/// No answer ever reaches another request than its own, and a cancelled one is always told so.
#[test]
fn late_answers_are_cancelled() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    type Answer = fn(&mut MemoryDevice) -> Result<(), ControlError>;
    let read: Answer = |device| match device.control_read(&mut [0; 64]) {
        Poll::Ready(result) => result.map(|_| ()),
        Poll::Pending => panic!("nothing is to come"),
    };
    let write: Answer = |device| device.control_write(&[1; 8]);
    let stall: Answer = |device| device.control_stall();
    for (old, answer) in [
        (request_out(8), read),
        (request_out(0), read),
        (request_in(8), write),
        (request_out(8), stall),
        (request_in(8), stall),
        // Answers that would not have fitted either.
        (request_out(8), write),
        (request_in(8), read),
    ] {
        let old = host.submit(old).unwrap();
        assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
        host.cancel(old);
        let new = host.submit(request_in(3)).unwrap();
        assert_eq!(answer(&mut device), Err(ControlError::Cancelled));
        assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
        assert_eq!(device.control_write(&[7; 3]), Ok(()));
        let first = host.poll().unwrap();
        assert_eq!((first.id, first.result), (old, Err(HostError::Cancelled)));
        let second = host.poll().unwrap();
        assert_eq!((second.id, second.data, second.result), (new, vec![7; 3], Ok(())));
    }
}

/// Once the function has heard that the connection is gone, there is no request left to answer.
#[test]
fn disable_ends_a_request() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    host.submit(request_in(8)).unwrap();
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
    bus.reset();
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Disable)));
    assert_eq!(device.control_write(&[1; 8]), Err(ControlError::Misuse));
}

#[test]
fn a_full_queue() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    for _ in 0..16 {
        device.submit(IN, vec![1]).unwrap();
    }
    assert_eq!(device.submit(IN, vec![2]), Err(SubmitError::Full(vec![2])));
    device.submit(OUT, vec![0; 512]).unwrap();
}

#[test]
fn a_request_nobody_polled_is_never_seen() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    let old = host.submit(request_out(8)).unwrap();
    host.cancel(old);
    host.submit(request_in(3)).unwrap();
    let Ok(Some(DeviceEvent::Setup(setup))) = device.poll_event() else { panic!("no request") };
    assert_eq!(setup.length, 3);
    assert_eq!(device.poll_event(), Ok(None));
    // The same when the device leaves in between.
    device.attach(&set()).unwrap();
    assert_eq!(device.control_stall(), Err(ControlError::Cancelled));
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Disable)));
    bus.advance(SECOND);
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    assert_eq!(device.poll_event(), Ok(None));
}

#[test]
fn the_pump_is_called_when_it_wants_to_be() {
    let (bus, _device) = Bus::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&calls);
    bus.set_pump(move |now| {
        log.lock().unwrap().push(now);
        // Every 3 ms on the dot, until 9 ms.
        Some(Duration::from_millis((now.as_millis() as u64 / 3 + 1) * 3)).filter(|next| *next <= 9 * MS)
    });
    bus.advance(SECOND);
    assert_eq!(*calls.lock().unwrap(), [Duration::ZERO, 3 * MS, 6 * MS, 9 * MS, SECOND]);
    // Wishes for the past do not stop the clock.
    bus.set_pump(|_| Some(Duration::ZERO));
    bus.advance(SECOND);
    assert_eq!(bus.now(), 2 * SECOND);
}

#[test]
fn a_pump_that_never_rests_does_not_stop_the_clock() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    assert!(bus.run_until(SECOND, || bus.attached()));
    bus.set_pump(move |_| {
        if device.submit(OUT, vec![0; 512]).is_err() {
            device.cancel(OUT);
        }
        while device.poll_event().unwrap().is_some() {}
        None
    });
    let before = bus.now();
    bus.advance(MS);
    assert_eq!(bus.now(), before + MS);
}

#[test]
fn the_pump_may_use_the_bus() {
    let (bus, mut device) = Bus::new();
    let inner = bus.clone();
    let depth = Arc::new(Mutex::new(0));
    let calls = Arc::clone(&depth);
    bus.set_pump(move |now| {
        assert!(calls.try_lock().is_ok(), "never called while it runs");
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        if *calls == 1 {
            device.attach(&set()).unwrap();
            // Time passes here, too; the pump is not called for it.
            inner.advance(SECOND);
            assert_eq!(inner.now(), now + SECOND);
            assert!(inner.open().is_ok());
        } else {
            // It may even replace itself, and take the device with it.
            inner.set_pump(|_| None);
        }
        None
    });
    bus.advance(2 * SECOND);
    assert_eq!(*depth.lock().unwrap(), 2);
    assert!(!bus.attached(), "the first pump was dropped with its device");
}

#[test]
fn without_its_pump_the_device_is_gone() {
    let (bus, _seen) = running();
    let mut host = bus.open().unwrap();
    host.run(request_out(8), SECOND).unwrap();
    bus.clear_pump();
    assert!(!bus.attached());
    assert_eq!(host.submit(request_out(8)), Err(HostError::Gone));
}

#[test]
fn the_cable() {
    let (bus, seen) = running();
    let mut host = bus.open().unwrap();
    host.claim(0).unwrap();
    bus.unplug();
    bus.unplug();
    assert!(!bus.attached());
    assert_eq!(bus.descriptors(), None);
    bus.advance(SECOND);
    assert!(!bus.attached());
    assert_eq!(host.submit(request_out(8)), Err(HostError::Gone));
    bus.plug();
    bus.plug();
    assert!(bus.run_until(SECOND, || bus.attached()));
    assert_eq!(bus.generation(), 2);
    assert_eq!(host.submit(request_out(8)), Err(HostError::Gone), "the old handle stays gone");
    let mut new = bus.open().unwrap();
    new.claim(0).unwrap();
    new.run(request_out(8), SECOND).unwrap();
    use DeviceEvent::{Disable, Enable};
    let plugs: Vec<_> = seen.lock().unwrap().events.drain(..).collect();
    assert_eq!(plugs, [Enable, Enable, Disable, Enable, Enable], "each claim enables, too");
}

#[test]
fn a_wait_ends_when_the_device_leaves() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    let mut end = Some(bus.now() + SECOND);
    bus.set_pump(move |now| {
        if end.is_some_and(|end| end <= now) {
            device.detach().unwrap();
            end = None;
        }
        end
    });
    let before = host.now();
    host.wait(3600 * SECOND);
    assert_eq!(host.now() - before, SECOND);
}

#[test]
fn bus_events() {
    let (bus, seen) = running();
    bus.suspend();
    bus.resume();
    bus.reset();
    bus.advance(SECOND);
    use DeviceEvent::{Disable, Enable, Resume, Suspend};
    assert_eq!(seen.lock().unwrap().events, [Enable, Suspend, Resume, Disable, Enable]);
    assert_eq!(bus.generation(), 1, "the same device");
    bus.unplug();
    bus.suspend();
    bus.reset();
    bus.advance(SECOND);
    assert_eq!(seen.lock().unwrap().events[5..], [Disable], "no bus, no events");
}

#[test]
fn programs_on_one_host() {
    let (bus, _seen) = running();
    let mut first = bus.open().unwrap();
    let mut second = bus.open().unwrap();
    first.claim(0).unwrap();
    assert_eq!(second.claim(0), Err(HostError::Busy));
    second.claim(1).unwrap();
    assert!(matches!(first.claim(2), Err(HostError::Misuse(_))));
    let refused = second.submit(HostTransfer::BulkOut { endpoint: OUT, data: vec![1] });
    assert!(matches!(refused, Err(HostError::Misuse(_))), "an interface it has not claimed");
    assert!(matches!(second.clear_halt(OUT), Err(HostError::Misuse(_))));

    // Control transfers run one after the other; each program gets its own.
    let a = first.submit(request_in(1)).unwrap();
    let b = second.submit(request_in(2)).unwrap();
    first.cancel(b);
    second.wait(SECOND);
    assert_eq!(first.poll().unwrap().id, a);
    let completion = second.poll().unwrap();
    assert_eq!((completion.id, completion.result), (b, Ok(())), "not the first program's to cancel");
    assert!(first.poll().is_none() && second.poll().is_none());

    drop(first);
    second.claim(0).unwrap();
}

#[test]
fn transfers_that_contradict_themselves() {
    let (bus, _seen) = running();
    let mut host = bus.open().unwrap();
    host.claim(0).unwrap();
    let setup = |request_type, length| Setup { request_type, request: 1, value: 0, index: 0, length };
    for transfer in [
        HostTransfer::ControlOut { setup: setup(0x41, 8), data: vec![0; 7] },
        HostTransfer::ControlOut { setup: setup(0xc1, 8), data: vec![0; 8] },
        HostTransfer::ControlIn { setup: setup(0x41, 8) },
        HostTransfer::BulkIn { endpoint: IN, length: 0 },
        HostTransfer::BulkIn { endpoint: IN, length: 100 },
    ] {
        let refused = host.submit(transfer);
        assert!(matches!(refused, Err(HostError::Misuse(_))), "{refused:?}");
    }
    // With wLength 0 the direction says nothing.
    host.run(HostTransfer::ControlOut { setup: setup(0xc1, 0), data: vec![] }, SECOND).unwrap();
    let id = host.submit(HostTransfer::BulkIn { endpoint: IN, length: 512 }).unwrap();
    assert_eq!(host.clear_halt(IN), Err(HostError::Misuse("transfers are in flight on the endpoint")));
    host.cancel(id);
    host.clear_halt(IN).unwrap();
}

#[test]
fn another_setting_ends_transfers_on_both_sides() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    host.claim(0).unwrap();
    while device.poll_event().unwrap().is_some() {}
    device.submit(OUT, vec![0; 512]).unwrap();
    let pending = host.submit(HostTransfer::BulkIn { endpoint: IN, length: 512 }).unwrap();
    let setup = Setup { request_type: 0x01, request: 11, value: 0, index: 0, length: 0 };
    let request = host.submit(HostTransfer::ControlOut { setup, data: vec![] }).unwrap();
    let ended =
        [host.poll().unwrap(), host.poll().unwrap()].map(|completion| (completion.id, completion.result));
    assert_eq!(ended, [(pending, Err(HostError::Cancelled)), (request, Ok(()))]);
    let Ok(Some(DeviceEvent::Complete(completion))) = device.poll_event() else { panic!("no completion") };
    assert_eq!(completion.result, Err(TransferError::Disabled));
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)), "after its transfers came home");
}

#[test]
fn handles_may_go_to_other_threads() {
    let (bus, _seen) = running();
    let mut host = bus.open().unwrap();
    let answer = std::thread::spawn(move || host.run(request_in(6), SECOND).unwrap().data).join().unwrap();
    assert_eq!(answer, data(6));
}
