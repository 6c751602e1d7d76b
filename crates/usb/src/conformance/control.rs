//! Control transfers.

use alloc::{string::String, vec};
use core::task::Poll;

use super::{
    PACKET, Rig,
    bench::{Ask, Bench, must},
    other_set, pattern, plain_set,
};
use crate::{
    ControlError, DescriptorSet, DeviceBackend, Direction, HostDevice, HostError,
    descriptor::{self, parse_device, parse_string},
};

/// Sizes of data stages: none, less than a packet, a packet, and the most a composite gadget takes.
const SIZES: [usize; 7] = [0, 1, 63, 64, 65, 512, 4096];

/// What a host reads is what the device was attached with.
pub fn descriptors<R: Rig>(rig: &mut R) {
    for set in [plain_set(), other_set()] {
        let mut bench = Bench::with(rig, &set);
        compare_descriptors(&mut bench, &set);
        bench.finish();
    }
}

/// Compares all a function depends on. String indexes, bcdUSB and bMaxPower are the backend's.
pub(super) fn compare_descriptors<R: Rig>(bench: &mut Bench<'_, R>, set: &DescriptorSet) {
    let bytes = bench.descriptor(descriptor::DEVICE, 0, 0, 18);
    let device = must(parse_device(&bytes), "parsing the device descriptor");
    assert_eq!(
        (device.vendor_id, device.product_id, device.device_version),
        (set.vendor_id, set.product_id, set.device_version)
    );
    assert_eq!((device.class, device.subclass, device.protocol), (0, 0, 0));
    assert_eq!(device.configurations, 1);
    assert_eq!(string(bench, device.manufacturer), set.manufacturer);
    assert_eq!(string(bench, device.product), set.product);
    assert_eq!(string(bench, device.serial), set.serial);

    let configuration = bench.configuration();
    assert_eq!(configuration.interfaces.len(), set.interfaces.len());
    for ((number, expected), found) in (0..).zip(&set.interfaces).zip(&configuration.interfaces) {
        assert_eq!((found.number, found.alternate), (number, 0));
        assert_eq!(
            (found.class, found.subclass, found.protocol),
            (expected.class, expected.subclass, expected.protocol)
        );
        assert_eq!(string(bench, found.name), expected.name);
        let extra = if bench.rig.shows_class_descriptors() { &expected.extra[..] } else { &[] };
        assert_eq!(found.extra, extra);
        assert_eq!(found.endpoints.len(), expected.endpoints.len());
        for (found, expected) in found.endpoints.iter().zip(&expected.endpoints) {
            assert_eq!(found.address.direction(), expected.direction());
            assert_eq!(found.kind, descriptor::EndpointKind::Bulk);
            assert_eq!(usize::from(found.max_packet_size), PACKET);
        }
    }
}

fn string<R: Rig>(bench: &mut Bench<'_, R>, index: u8) -> String {
    if index == 0 {
        return String::new();
    }
    let bytes = bench.descriptor(descriptor::STRING, index, descriptor::LANGUAGE, 255);
    must(parse_string(&bytes), "parsing a string")
}

/// Answers of every size, whole and shorter than asked for.
pub fn data_in<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for (seed, size) in (1..).zip(SIZES) {
        let id = bench.start_in(Ask::Data, seed, size);
        assert_eq!(bench.good(id), pattern(seed as u8, size));
    }
    // Fewer bytes than wLength; where they fill their last packet, a zero-length packet has to follow (USB 2.0, 8.5.3).
    for (length, answered) in [(64, 0), (64, 1), (65, 64), (4096, 64), (4096, 512), (4096, 4095)] {
        let id = bench.start_in(Ask::Short, answered, length);
        assert_eq!(bench.good(id), pattern(0, usize::from(answered)), "{answered} of {length} bytes");
    }
    bench.finish();
}

/// Data of every size.
pub fn data_out<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for (seed, size) in (1..).zip(SIZES) {
        let id = bench.start_out(Ask::Take, 0, pattern(seed, size));
        bench.good(id);
        bench.taken(&pattern(seed, size));
    }
    bench.finish();
}

/// Refusals, each followed by a request that is answered.
pub fn stalls<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for size in SIZES {
        for direction in [Direction::Out, Direction::In] {
            let id = match direction {
                Direction::Out => bench.start_out(Ask::Refuse, 0, pattern(0, size)),
                Direction::In => bench.start_in(Ask::Refuse, 0, size),
            };
            bench.bad(id, &HostError::Stall);
            bench.works();
        }
    }
    bench.finish();
}

/// Answers that do not fit are the caller's mistake and a STALL to the host; so is an answer to nothing, without the STALL.
pub fn wrong_answers<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);

    let id = bench.hold(Direction::Out, 64);
    assert_eq!(bench.rig.device().control_write(&[0; 64]), Err(ControlError::Misuse), "IN data for OUT");
    bench.bad(id, &HostError::Stall);

    let id = bench.hold(Direction::Out, 64);
    assert_eq!(
        bench.rig.device().control_read(&mut [0; 63]),
        Poll::Ready(Err(ControlError::Misuse)),
        "a buffer smaller than wLength"
    );
    bench.bad(id, &HostError::Stall);

    for direction in [Direction::Out, Direction::In] {
        let id = bench.hold(direction, 0);
        assert_eq!(
            bench.rig.device().control_write(&[]),
            Err(ControlError::Misuse),
            "there is no data stage"
        );
        bench.bad(id, &HostError::Stall);
    }

    let id = bench.hold(Direction::In, 64);
    assert_eq!(
        bench.rig.device().control_read(&mut [0; 64]),
        Poll::Ready(Err(ControlError::Misuse)),
        "OUT data from IN"
    );
    bench.bad(id, &HostError::Stall);

    let id = bench.hold(Direction::In, 64);
    assert_eq!(bench.rig.device().control_write(&[0; 65]), Err(ControlError::Misuse), "more than wLength");
    bench.bad(id, &HostError::Stall);

    assert_eq!(bench.rig.device().control_stall(), Err(ControlError::Misuse), "nothing to stall");
    assert_eq!(bench.rig.device().control_write(&[]), Err(ControlError::Misuse), "nothing to write to");
    assert_eq!(
        bench.rig.device().control_read(&mut [0; 64]),
        Poll::Ready(Err(ControlError::Misuse)),
        "nothing to read"
    );
    bench.works();
    bench.finish();
}

/// The shapes of a request that is left hanging.
const SHAPES: [(Direction, usize); 4] =
    [(Direction::Out, 0), (Direction::Out, 300), (Direction::In, 1), (Direction::In, 300)];

/// The host gives a request up and makes another: the function polls the new one and answers it.
pub fn setup_after_cancel<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for (direction, length) in SHAPES {
        let id = bench.hold(direction, length);
        bench.host.cancel(id);
        bench.bad(id, &HostError::Cancelled);
        bench.works();
    }
    bench.finish();
}

/// As before, but the function answers the old request before it polls the new one: the answer goes nowhere, least of all
/// to the new request.
pub fn setup_replaces_setup<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for (direction, length) in SHAPES {
        let old = bench.hold(direction, length);
        bench.host.cancel(old);
        bench.bad(old, &HostError::Cancelled);
        let new = bench.start_in(Ask::Data, 0x77, 300);
        // Time for the new SETUP to reach the device, whose events nobody polls.
        for _ in 0..5 {
            bench.rig.idle();
        }
        let answer = match direction {
            Direction::Out => match bench.rig.device().control_read(&mut vec![0; length]) {
                Poll::Ready(result) => result.map(|_| ()),
                Poll::Pending => Ok(()),
            },
            Direction::In => bench.rig.device().control_write(&pattern(0x11, length)),
        };
        assert_ne!(answer, Err(ControlError::Misuse), "the request is cancelled, not unknown");
        assert_eq!(bench.good(new), pattern(0x77, 300));
        bench.works();
    }
    bench.finish();
}

/// The host gives a request up and is silent; the function answers late. Then the host goes on.
pub fn late_answer<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for (direction, length) in SHAPES {
        for stall in [false, true] {
            let id = bench.hold(direction, length);
            bench.host.cancel(id);
            bench.bad(id, &HostError::Cancelled);
            let answer = match direction {
                _ if stall => bench.rig.device().control_stall(),
                Direction::Out => match bench.rig.device().control_read(&mut vec![0; length]) {
                    Poll::Ready(result) => result.map(|_| ()),
                    Poll::Pending => Ok(()),
                },
                Direction::In => bench.rig.device().control_write(&pattern(0x11, length)),
            };
            assert_ne!(answer, Err(ControlError::Misuse), "the request is cancelled, not unknown");
            bench.works();
        }
    }
    bench.finish();
}
