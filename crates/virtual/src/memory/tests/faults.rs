use inband_usb::{HostCompletion, TransferId};

use super::*;

/// Runs one transfer that meets one fault, as a host with a timeout of 2 s does. Returns its end and what the device saw.
fn strike(transfer: HostTransfer, step: Step, action: Action) -> (HostCompletion, Bus, Arc<Mutex<Seen>>) {
    let (bus, seen) = running();
    let mut host = bus.open().unwrap();
    host.claim(0).unwrap();
    // The transfer after the first meets it.
    bus.set_faults(FaultPlan::new([Fault { transfer: 1, step, action }]));
    host.run(request_out(3), SECOND).unwrap();
    *seen.lock().unwrap() = Seen::default();
    let id = host.submit(transfer).unwrap();
    let completion = end(&mut host, id, 2 * SECOND);
    assert_eq!(bus.transfers(), 2);
    (completion, bus, seen)
}

/// Waits for a transfer; gives it up after the timeout.
fn end(host: &mut MemoryHost, id: TransferId, timeout: Duration) -> HostCompletion {
    let deadline = host.now() + timeout;
    loop {
        while let Some(completion) = host.poll() {
            if completion.id == id {
                return completion;
            }
        }
        let left = deadline.saturating_sub(host.now());
        if left.is_zero() {
            host.cancel(id);
        }
        host.wait(left);
    }
}

/// Whatever happened: replugged, opened anew, the device works.
fn works(bus: &Bus, seen: &Mutex<Seen>) {
    bus.plug();
    assert!(bus.run_until(SECOND, || bus.attached()));
    let mut host = bus.open().unwrap();
    host.run(request_out(9), SECOND).unwrap();
    assert_eq!(seen.lock().unwrap().taken.last().unwrap(), &data(9));
    assert_eq!(host.run(request_in(9), SECOND).unwrap().data, data(9));
}

fn get_status() -> Action {
    let setup = Setup { request_type: 0x80, request: 0, value: 0, index: 0, length: 2 };
    Action::NewSetup(setup, Vec::new())
}

fn new_request() -> Action {
    let setup = Setup { request_type: 0x41, request: 1, value: 0, index: 0, length: 5 };
    Action::NewSetup(setup, vec![0xbb; 5])
}

/// A request with data to the device: how it ends for the host, how many bytes moved, and whether the device took it.
#[test]
fn control_out() {
    let lost = Err(HostError::Cancelled);
    let gone = Err(HostError::Gone);
    for (step, action, result, moved, taken) in [
        (Step::Setup, Action::Drop, lost.clone(), 0, false),
        (Step::Data(64), Action::Drop, lost.clone(), 64, false),
        (Step::Data(9999), Action::Drop, lost.clone(), 300, false),
        (Step::Status, Action::Drop, lost.clone(), 300, true),
        (Step::Setup, Action::Unplug, gone.clone(), 0, false),
        (Step::Data(64), Action::Unplug, gone.clone(), 64, false),
        (Step::Status, Action::Unplug, gone, 300, true),
        (Step::Setup, Action::Reset, lost.clone(), 0, false),
        (Step::Data(64), Action::Reset, lost.clone(), 64, false),
        (Step::Status, Action::Reset, lost.clone(), 300, true),
        (Step::Setup, get_status(), lost.clone(), 0, false),
        (Step::Data(64), get_status(), lost.clone(), 64, false),
        (Step::Status, get_status(), lost, 300, true),
        (Step::Setup, Action::Delay(SECOND), Ok(()), 300, true),
        (Step::Data(64), Action::Delay(SECOND), Ok(()), 300, true),
        (Step::Status, Action::Delay(SECOND), Ok(()), 300, true),
    ] {
        let name = format!("{step:?} {action:?}");
        let (completion, bus, seen) = strike(request_out(300), step, action);
        assert_eq!((&completion.result, completion.length), (&result, moved), "{name}");
        assert_eq!(completion.data, data(300), "{name}: the data comes back");
        let expected = if taken { vec![data(300)] } else { vec![] };
        assert_eq!(seen.lock().unwrap().taken, expected, "{name}");
        works(&bus, &seen);
    }
}

/// A request for data: how it ends for the host, how many bytes it got, and whether the device's answer went out.
#[test]
fn control_in() {
    let lost = Err(HostError::Cancelled);
    let gone = Err(HostError::Gone);
    for (step, action, result, received, answered) in [
        (Step::Setup, Action::Drop, lost.clone(), 0, 0),
        (Step::Data(0), Action::Drop, lost.clone(), 0, 0),
        (Step::Data(64), Action::Drop, lost.clone(), 64, 0),
        (Step::Status, Action::Drop, lost.clone(), 300, 1),
        (Step::Setup, Action::Unplug, gone.clone(), 0, 0),
        (Step::Data(64), Action::Unplug, gone.clone(), 64, 0),
        (Step::Status, Action::Unplug, gone, 300, 1),
        (Step::Setup, Action::Reset, lost.clone(), 0, 0),
        (Step::Data(64), Action::Reset, lost.clone(), 64, 0),
        (Step::Status, Action::Reset, lost.clone(), 300, 1),
        (Step::Setup, get_status(), lost.clone(), 0, 0),
        (Step::Data(64), get_status(), lost.clone(), 64, 0),
        (Step::Status, get_status(), lost, 300, 1),
        (Step::Setup, Action::Delay(SECOND), Ok(()), 300, 1),
        (Step::Data(64), Action::Delay(SECOND), Ok(()), 300, 1),
        (Step::Status, Action::Delay(SECOND), Ok(()), 300, 1),
    ] {
        let name = format!("{step:?} {action:?}");
        let (completion, bus, seen) = strike(request_in(300), step, action);
        assert_eq!((&completion.result, completion.length), (&result, received), "{name}");
        assert_eq!(completion.data, data(300)[..received], "{name}");
        assert_eq!(seen.lock().unwrap().answered, answered, "{name}");
        works(&bus, &seen);
    }
}

/// Bulk to the device, 1300 bytes: how it ends for the host and what the device has of it.
#[test]
fn bulk_out() {
    let lost = Err(HostError::Cancelled);
    let gone = Err(HostError::Gone);
    let transfer = || HostTransfer::BulkOut { endpoint: OUT, data: data(1300) };
    for (step, action, result, moved, arrived) in [
        (Step::Setup, Action::Drop, lost.clone(), 0, false),
        (Step::Data(600), Action::Drop, lost.clone(), 512, false),
        (Step::Data(1300), Action::Drop, lost.clone(), 1024, false),
        (Step::Status, Action::Drop, lost.clone(), 1300, true),
        (Step::Setup, Action::Unplug, gone.clone(), 0, false),
        (Step::Data(600), Action::Unplug, gone.clone(), 512, false),
        (Step::Status, Action::Unplug, gone, 1300, true),
        (Step::Setup, Action::Reset, lost.clone(), 0, false),
        (Step::Data(600), Action::Reset, lost.clone(), 512, false),
        (Step::Status, Action::Reset, lost, 1300, true),
        (Step::Setup, new_request(), Ok(()), 1300, true),
        (Step::Data(600), new_request(), Ok(()), 1300, true),
        (Step::Status, new_request(), Ok(()), 1300, true),
        (Step::Setup, Action::Delay(SECOND), Ok(()), 1300, true),
        (Step::Data(600), Action::Delay(SECOND), Ok(()), 1300, true),
        (Step::Status, Action::Delay(SECOND), Ok(()), 1300, true),
    ] {
        let name = format!("{step:?} {action:?}");
        let (completion, bus, seen) = strike(transfer(), step, action.clone());
        assert_eq!((&completion.result, completion.length), (&result, moved), "{name}");
        bus.advance(Duration::ZERO);
        let expected = if arrived { vec![data(1300)] } else { vec![] };
        assert_eq!(seen.lock().unwrap().bulk, expected, "{name}");
        if action == new_request() {
            assert_eq!(seen.lock().unwrap().taken, [vec![0xbb; 5]], "{name}: the request ran beside it");
        }
        works(&bus, &seen);
    }
}

/// A request that takes another's place is answered, and what came of the other is not mixed into it.
#[test]
fn a_request_in_anothers_place() {
    for (step, taken) in [
        (Step::Setup, vec![vec![0xbb; 5]]),
        (Step::Data(64), vec![vec![0xbb; 5]]),
        (Step::Status, vec![data(300), vec![0xbb; 5]]),
    ] {
        let (completion, bus, seen) = strike(request_out(300), step, new_request());
        assert_eq!(completion.result, Err(HostError::Cancelled));
        bus.advance(MS);
        assert_eq!(seen.lock().unwrap().taken, taken, "{step:?}");
        works(&bus, &seen);
    }
}

/// Faults meet the requests the bus answers by itself as well.
#[test]
fn standard_requests() {
    let setup = Setup { request_type: 0x80, request: 6, value: 0x0100, index: 0, length: 18 };
    let transfer = || HostTransfer::ControlIn { setup };
    let (completion, ..) = strike(transfer(), Step::Data(8), Action::Drop);
    assert_eq!(
        (completion.result, completion.data),
        (Err(HostError::Cancelled), set().device_bytes()[..8].into())
    );
    let (completion, ..) = strike(transfer(), Step::Status, Action::Delay(SECOND));
    assert_eq!((completion.result, completion.data), (Ok(()), set().device_bytes().into()));

    // The cable is out before the host knows that it has configured the device: Disable is the last the device hears.
    let setup = Setup { request_type: 0x00, request: 9, value: 1, index: 0, length: 0 };
    let (completion, bus, seen) =
        strike(HostTransfer::ControlOut { setup, data: vec![] }, Step::Status, Action::Unplug);
    assert_eq!(completion.result, Err(HostError::Gone));
    bus.advance(MS);
    assert_eq!(seen.lock().unwrap().events, [DeviceEvent::Enable, DeviceEvent::Disable]);
}

/// Data that is late, and data that never comes: the function is told to wait, until it is told that the request is gone.
#[test]
fn pending_data() {
    let (bus, mut device) = Bus::new();
    device.attach(&set()).unwrap();
    bus.advance(SECOND);
    let mut host = bus.open().unwrap();
    assert_eq!(device.poll_event(), Ok(Some(DeviceEvent::Enable)));
    let fault = |transfer, action| Fault { transfer, step: Step::Data(4), action };
    bus.set_faults(FaultPlan::new([
        fault(0, Action::Delay(SECOND)),
        fault(1, Action::Drop),
        fault(2, new_request()),
    ]));
    let mut buffer = [0; 8];

    let id = host.submit(request_out(8)).unwrap();
    assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
    assert_eq!(device.control_read(&mut buffer), Poll::Pending);
    bus.advance(SECOND - MS);
    assert_eq!(device.control_read(&mut buffer), Poll::Pending);
    assert_eq!(buffer, [0; 8], "no part of it");
    bus.advance(MS);
    assert_eq!(device.control_read(&mut buffer), Poll::Ready(Ok(8)));
    assert_eq!(buffer, *data(8));
    let completion = host.poll().unwrap();
    assert_eq!((completion.id, completion.result), (id, Ok(())));

    let id = host.submit(request_out(8)).unwrap();
    assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
    assert_eq!(device.control_read(&mut buffer), Poll::Pending);
    bus.advance(3600 * SECOND);
    assert_eq!(device.control_read(&mut buffer), Poll::Pending);
    host.cancel(id);
    assert_eq!(device.control_read(&mut buffer), Poll::Ready(Err(ControlError::Cancelled)));

    host.submit(request_out(8)).unwrap();
    assert!(matches!(device.poll_event(), Ok(Some(DeviceEvent::Setup(_)))));
    assert_eq!(device.control_read(&mut buffer), Poll::Ready(Err(ControlError::Cancelled)));
    assert_eq!(
        device.control_read(&mut buffer),
        Poll::Ready(Err(ControlError::Misuse)),
        "nothing is left to read"
    );
    let Ok(Some(DeviceEvent::Setup(setup))) = device.poll_event() else { panic!("the request in its place") };
    assert_eq!(setup.length, 5);
}

#[test]
fn each_fault_happens_once_and_the_first_of_two_counts() {
    let (bus, _seen) = running();
    let mut host = bus.open().unwrap();
    let fault = |action| Fault { transfer: 0, step: Step::Setup, action };
    bus.set_faults(FaultPlan::new([fault(Action::Delay(3 * SECOND)), fault(Action::Drop)]));
    let before = host.now();
    host.run(request_out(1), 5 * SECOND).unwrap();
    assert!(host.now() - before >= 3 * SECOND);
    let before = host.now();
    host.run(request_out(1), 5 * SECOND).unwrap();
    assert!(host.now() - before < SECOND);
}

#[test]
fn random_plans_are_the_same_for_the_same_seed() {
    let plan = FaultPlan::random(7, 50, 20);
    assert_eq!(plan, FaultPlan::random(7, 50, 20));
    assert_ne!(plan, FaultPlan::random(8, 50, 20));
    assert_eq!(plan.faults().len(), 50);
    assert!(plan.faults().iter().all(|fault| fault.transfer < 20));
    // Every kind is among them.
    for kind in 0..5 {
        assert!(plan.faults().iter().any(|fault| kind
            == match fault.action {
                Action::Unplug => 0,
                Action::Reset => 1,
                Action::Drop => 2,
                Action::NewSetup(..) => 3,
                Action::Delay(_) => 4,
            }));
    }
}

/// Under any plan every transfer ends, what the host is told is true, and afterwards all is well.
#[test]
fn random_faults() {
    for seed in 0..300 {
        let (bus, seen) = running();
        bus.set_faults(FaultPlan::random(seed, 12, 40));
        let mut host = bus.open().unwrap();
        for round in 0..40_u16 {
            if host.claim(0) == Err(HostError::Gone) {
                bus.plug();
                assert!(bus.run_until(SECOND, || bus.attached()), "seed {seed}");
                host = bus.open().unwrap();
                host.claim(0).unwrap();
            }
            let length = round * 97 % 4000;
            let transfer = match round % 3 {
                0 => request_out(length),
                1 => request_in(length),
                _ => HostTransfer::BulkOut { endpoint: OUT, data: data(length) },
            };
            let taken = seen.lock().unwrap().taken.len();
            let Ok(id) = host.submit(transfer) else { continue };
            let completion = end(&mut host, id, 6 * SECOND);
            match completion.result {
                Ok(()) => {
                    assert_eq!(completion.data, data(length), "seed {seed}");
                    if round % 3 == 0 {
                        assert!(seen.lock().unwrap().taken[taken..].contains(&data(length)), "seed {seed}");
                    }
                }
                Err(error) => {
                    assert!(
                        matches!(error, HostError::Cancelled | HostError::Gone),
                        "seed {seed}: {error:?}"
                    );
                }
            }
        }
        drop(host);
        bus.set_faults(FaultPlan::default());
        works(&bus, &seen);
    }
}
