//! Devices that come, go and change, and hosts that do.

use alloc::{vec, vec::Vec};

use super::{
    BULK_IN, BULK_OUT, PACKET, Rig,
    bench::{Bench, LIMIT, must},
    control::compare_descriptors,
    other_set, pattern, plain_set,
};
use crate::{
    ControlError, DeviceBackend, Direction, EndpointAddress, HostDevice, HostError, HostTransfer,
    SubmitError, TransferError,
};

/// Attached anew with other descriptors: the host's handle is gone, another shows the new device; and back.
pub fn other_descriptors<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for set in [other_set(), plain_set()] {
        must(bench.rig.device().attach(&set), "attaching again");
        gone(&mut bench);
        bench = bench.reopen(&set);
        compare_descriptors(&mut bench, &set);
    }
    bench.finish();
}

/// The device leaves with a request unanswered.
pub fn unplug_in_control<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for (direction, length) in [(Direction::Out, 0), (Direction::Out, 300), (Direction::In, 300)] {
        let id = bench.hold(direction, length);
        must(bench.rig.device().detach(), "detaching");
        must(bench.rig.device().detach(), "detaching again");
        // Whether it is still known that there was a request depends on what the backend has told by now.
        let answer = bench.rig.device().control_stall();
        assert!(matches!(answer, Err(ControlError::Cancelled | ControlError::Misuse)));
        bench.lost(id);
        gone(&mut bench);
        must(bench.rig.device().attach(&plain_set()), "attaching again");
        bench = bench.reopen(&plain_set());
    }
    bench.finish();
}

/// The device leaves with transfers in flight: all buffers come home on both sides.
pub fn unplug_in_bulk<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    // Buffers the host does not ask for, and transfers the device does not serve.
    for (device, host) in [(BULK_OUT, bench.bulk_in), (BULK_IN, bench.bulk_out)] {
        for _ in 0..3 {
            bench.submit(device, pattern(9, PACKET));
        }
        let ids: Vec<_> = (0..3)
            .map(|_| {
                bench.start(match host.direction() {
                    Direction::In => HostTransfer::BulkIn { endpoint: host, length: PACKET },
                    Direction::Out => HostTransfer::BulkOut { endpoint: host, data: pattern(8, PACKET) },
                })
            })
            .collect();
        bench.quiet();
        must(bench.rig.device().detach(), "detaching");
        for id in ids {
            bench.lost(id);
        }
        for _ in 0..3 {
            let completion = bench.home();
            assert_eq!((completion.endpoint, completion.result), (device, Err(TransferError::Disabled)));
            assert_eq!(completion.buffer.len(), PACKET);
        }
        let refused = bench.rig.device().submit(device, vec![0; PACKET]);
        assert_eq!(refused, Err(SubmitError::Disabled(vec![0; PACKET])));
        gone(&mut bench);
        must(bench.rig.device().attach(&plain_set()), "attaching again");
        bench = bench.reopen(&plain_set());
    }
    bench.finish();
}

/// The host's program ends with a request unanswered and transfers in flight; the next one finds the device in order.
pub fn host_leaves<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for direction in [Direction::Out, Direction::In] {
        bench.hold(direction, 300);
        let endpoint = bench.bulk_in;
        bench.start(HostTransfer::BulkIn { endpoint, length: PACKET });
        bench = bench.reopen(&plain_set());
        bench.works();
        // What the program before asked for is not waiting for this data.
        bench.submit(BULK_IN, pattern(5, 100));
        let endpoint = bench.bulk_in;
        let id = bench.start(HostTransfer::BulkIn { endpoint, length: PACKET });
        assert_eq!(bench.good(id), pattern(5, 100));
        assert_eq!(bench.home().result, Ok(()));
    }
    bench.finish();
}

/// A bus reset: the function is disabled and enabled, transfers end on both sides, halts are gone, and all works again.
pub fn bus_reset<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    bench.submit(BULK_OUT, vec![0; PACKET]);
    bench.rig.device().set_halt(BULK_IN);
    let held = bench.hold(Direction::In, 300);
    let disables = bench.function.disables;
    must(bench.host.reset(), "resetting the device");
    assert!(matches!(bench.end(held).result, Err(HostError::Cancelled | HostError::Gone)));
    let completion = bench.home();
    assert_eq!((completion.endpoint, completion.result), (BULK_OUT, Err(TransferError::Disabled)));
    bench.until("Disable and Enable", |bench| bench.function.disables > disables && bench.function.enabled);
    bench = bench.reopen(&plain_set());
    bench.submit(BULK_IN, pattern(6, 100));
    let endpoint = bench.bulk_in;
    let id = bench.start(HostTransfer::BulkIn { endpoint, length: PACKET });
    assert_eq!(bench.good(id), pattern(6, 100));
    bench.finish();
}

/// Waits until the host knows that the device has left; then every call says so.
fn gone<R: Rig>(bench: &mut Bench<'_, R>) {
    let deadline = bench.host.now() + LIMIT;
    loop {
        let transfer = HostTransfer::BulkIn { endpoint: bench.bulk_in, length: PACKET };
        let result = match bench.host.submit(transfer) {
            Ok(id) => bench.end(id).result,
            Err(error) => Err(error),
        };
        if result == Err(HostError::Gone) {
            break;
        }
        assert!(bench.host.now() < deadline, "the device left {LIMIT:?} ago, and the host says {result:?}");
        bench.step();
    }
    assert_eq!(bench.host.claim(0), Err(HostError::Gone));
    assert_eq!(bench.host.clear_halt(EndpointAddress(0x81)), Err(HostError::Gone));
    assert_eq!(bench.host.reset(), Err(HostError::Gone));
}
