//! Bulk transfers.

use alloc::{vec, vec::Vec};

use super::{
    BULK_IN, BULK_OUT, PACKET, Rig,
    bench::{Bench, must},
    pattern,
};
use crate::{
    DeviceBackend, EndpointAddress, HostDevice, HostError, HostTransfer, SubmitError, TransferError,
    TransferId,
};

/// Transfers that are in flight together, on each endpoint and side. Every backend takes as many.
const IN_FLIGHT: usize = 4;
/// Lengths of transfers: around one packet, and several.
const LENGTHS: [usize; 8] = [1, 511, 512, 513, 1024, 3000, 4096, 16384];
/// How many transfers go each way.
const ROUNDS: usize = 40;

/// Many transfers in flight on both endpoints at once: all arrive, whole and in order.
pub fn in_flight<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    let data = |round: usize| pattern(round as u8, LENGTHS[round % LENGTHS.len()]);
    let room = |round: usize| LENGTHS[round % LENGTHS.len()].next_multiple_of(PACKET);

    let (mut host_out, mut host_in) = (Vec::new(), Vec::new());
    let (mut device_out, mut device_in) = (0, 0);
    let (mut sent, mut received) = (0, 0);
    bench.until("all transfers", |bench| {
        // Each side's queues are kept full, the device's OUT buffers one behind and its IN buffers one ahead.
        while host_out.len() < ROUNDS && host_out.len() < sent + IN_FLIGHT {
            let transfer = HostTransfer::BulkOut { endpoint: bench.bulk_out, data: data(host_out.len()) };
            host_out.push(bench.start(transfer));
        }
        while host_in.len() < ROUNDS && host_in.len() < received + IN_FLIGHT {
            let transfer = HostTransfer::BulkIn { endpoint: bench.bulk_in, length: room(host_in.len()) };
            host_in.push(bench.start(transfer));
        }
        while device_out < ROUNDS && device_out < sent + IN_FLIGHT {
            bench.submit(BULK_OUT, vec![0; room(device_out)]);
            device_out += 1;
        }
        while device_in < ROUNDS && device_in < received + IN_FLIGHT {
            bench.submit(BULK_IN, data(device_in));
            device_in += 1;
        }
        while let Some(completion) = bench.function.completions.pop_front() {
            assert_eq!(completion.result, Ok(()));
            if completion.endpoint == BULK_OUT {
                assert_eq!(completion.buffer.len(), room(sent), "OUT buffers come home in order");
                assert_eq!(completion.buffer[..completion.length], data(sent));
                sent += 1;
            } else {
                assert_eq!(completion.endpoint, BULK_IN);
                assert_eq!(completion.buffer, data(received), "IN buffers come home in order, as submitted");
                assert_eq!(completion.length, completion.buffer.len());
                received += 1;
            }
        }
        sent == ROUNDS && received == ROUNDS
    });
    for (ids, endpoint) in [(&host_out, "OUT"), (&host_in, "IN")] {
        bench.until(endpoint, |bench| ids.iter().all(|id| bench.has_ended(*id)));
        let ended: Vec<TransferId> = bench.ended_ids().into_iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(&ended, ids, "{endpoint} transfers end in order");
    }
    for (round, id) in host_out.into_iter().enumerate() {
        assert_eq!(bench.good(id), data(round), "OUT data comes back as submitted");
    }
    for (round, id) in host_in.into_iter().enumerate() {
        assert_eq!(bench.good(id), data(round));
    }
    bench.finish();
}

/// What ends an OUT transfer on the device's side: a full buffer, a short packet, a zero-length packet; nothing else.
pub fn packets_out<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);

    // A full packet does not end a transfer with room for more; a zero-length packet does.
    bench.submit(BULK_OUT, vec![0; 2 * PACKET]);
    let id = start_out(&mut bench, pattern(1, PACKET));
    bench.good(id);
    bench.quiet();
    assert_eq!(bench.function.completions, [], "a full packet ends nothing");
    let id = start_out(&mut bench, Vec::new());
    bench.good(id);
    arrived(&mut bench, &pattern(1, PACKET));

    // Nor does it if a short packet follows.
    bench.submit(BULK_OUT, vec![0; 4 * PACKET]);
    let ids = [start_out(&mut bench, pattern(2, 2 * PACKET)), start_out(&mut bench, pattern(3, 10))];
    for id in ids {
        bench.good(id);
    }
    let mut both = pattern(2, 2 * PACKET);
    both.extend(pattern(3, 10));
    arrived(&mut bench, &both);

    // A zero-length packet by itself.
    bench.submit(BULK_OUT, vec![0; PACKET]);
    let id = start_out(&mut bench, Vec::new());
    bench.good(id);
    arrived(&mut bench, &[]);

    // One transfer of the host's into several buffers of the device's.
    for _ in 0..3 {
        bench.submit(BULK_OUT, vec![0; PACKET]);
    }
    let id = start_out(&mut bench, pattern(4, 2 * PACKET + 1));
    bench.good(id);
    for part in pattern(4, 2 * PACKET + 1).chunks(PACKET) {
        arrived(&mut bench, part);
    }
    bench.finish();
}

/// What ends an IN transfer on the host's side.
pub fn packets_in<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);

    // A full packet does not end a transfer that asked for more; a short one does.
    let id = start_in(&mut bench, 3 * PACKET);
    bench.submit(BULK_IN, pattern(1, PACKET));
    left(&mut bench, PACKET);
    bench.quiet();
    assert!(!bench.has_ended(id), "a full packet ends nothing");
    bench.submit(BULK_IN, pattern(2, PACKET + 7));
    left(&mut bench, PACKET + 7);
    let mut both = pattern(1, PACKET);
    both.extend(pattern(2, PACKET + 7));
    assert_eq!(bench.good(id), both);

    // Nor does it if a zero-length packet follows.
    let id = start_in(&mut bench, 2 * PACKET);
    bench.submit(BULK_IN, pattern(3, PACKET));
    bench.submit(BULK_IN, Vec::new());
    left(&mut bench, PACKET);
    left(&mut bench, 0);
    assert_eq!(bench.good(id), pattern(3, PACKET));

    // A zero-length packet by itself.
    let id = start_in(&mut bench, PACKET);
    bench.submit(BULK_IN, Vec::new());
    left(&mut bench, 0);
    assert_eq!(bench.good(id), []);

    // One buffer of the device's into several transfers of the host's.
    bench.submit(BULK_IN, pattern(4, 2 * PACKET + 1));
    let ids = [(); 3].map(|()| start_in(&mut bench, PACKET));
    for (id, part) in ids.into_iter().zip(pattern(4, 2 * PACKET + 1).chunks(PACKET)) {
        assert_eq!(bench.good(id), part);
    }
    left(&mut bench, 2 * PACKET + 1);
    bench.finish();
}

/// A halted endpoint answers STALL until the host clears it; then data flows, a buffer queued before it too.
pub fn halts<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);

    bench.rig.device().set_halt(BULK_IN);
    for _ in 0..2 {
        let id = start_in(&mut bench, PACKET);
        bench.bad(id, &HostError::Stall);
    }
    must(bench.host.clear_halt(bench.bulk_in), "clearing the halt of the IN endpoint");
    let id = start_in(&mut bench, PACKET);
    bench.quiet();
    assert!(!bench.has_ended(id), "the halt is gone and there is no data");
    bench.submit(BULK_IN, pattern(1, 100));
    assert_eq!(bench.good(id), pattern(1, 100));
    left(&mut bench, 100);

    bench.submit(BULK_OUT, vec![0; PACKET]);
    bench.rig.device().set_halt(BULK_OUT);
    for _ in 0..2 {
        let id = start_out(&mut bench, pattern(2, 100));
        bench.bad(id, &HostError::Stall);
    }
    assert_eq!(bench.function.completions, [], "what was refused did not arrive");
    must(bench.host.clear_halt(bench.bulk_out), "clearing the halt of the OUT endpoint");
    let id = start_out(&mut bench, pattern(3, 100));
    bench.good(id);
    arrived(&mut bench, &pattern(3, 100));

    // Clearing what is not halted.
    must(bench.host.clear_halt(bench.bulk_out), "clearing no halt");
    must(bench.host.clear_halt(bench.bulk_in), "clearing no halt");
    bench.works();
    bench.finish();
}

/// A halt under transfers the host has already started: none of them ends well, and after clearing it all is as before.
pub fn halt_with_transfers_queued<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    let ids = [(); 3].map(|()| start_in(&mut bench, PACKET));
    bench.quiet();
    bench.rig.device().set_halt(BULK_IN);
    bench.bad(ids[0], &HostError::Stall);
    // Whether the others stall too or stay where they are is the host controller's business.
    for id in &ids[1..] {
        bench.host.cancel(*id);
    }
    for id in &ids[1..] {
        assert!(bench.end(*id).result.is_err());
    }
    must(bench.host.clear_halt(bench.bulk_in), "clearing the halt");
    bench.submit(BULK_IN, pattern(1, 100));
    let id = start_in(&mut bench, PACKET);
    assert_eq!(bench.good(id), pattern(1, 100));
    bench.finish();
}

/// A halt between two transfers: what had left for the function comes before, what it submits afterwards comes behind. Controllers there are that
/// call a packet sent while the host has not taken it.
pub fn halt_between_two_transfers<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for length in [20, PACKET] {
        bench.submit(BULK_IN, pattern(1, length));
        bench.quiet();
        let early = !bench.function.completions.is_empty();
        let read = |bench: &mut Bench<'_, R>, seed, length| {
            let id = start_in(bench, PACKET);
            assert_eq!(bench.good(id), pattern(seed, length));
        };
        if !early {
            read(&mut bench, 1, length);
        }
        left(&mut bench, length);
        bench.rig.device().set_halt(BULK_IN);
        bench.submit(BULK_IN, pattern(2, 13));
        if early {
            bench.quiet();
            read(&mut bench, 1, length);
        }
        let id = start_in(&mut bench, PACKET);
        bench.bad(id, &HostError::Stall);
        must(bench.host.clear_halt(bench.bulk_in), "clearing the halt");
        read(&mut bench, 2, 13);
        left(&mut bench, 13);
    }

    // Taken back while it waits, if it does: no halt comes later.
    bench.submit(BULK_IN, pattern(3, 20));
    bench.quiet();
    if !bench.function.completions.is_empty() {
        left(&mut bench, 20);
        bench.rig.device().set_halt(BULK_IN);
        bench.submit(BULK_IN, pattern(4, 13));
        bench.rig.device().cancel(BULK_IN);
        assert_eq!(bench.home().result, Err(TransferError::Cancelled));
        let id = start_in(&mut bench, PACKET);
        assert_eq!(bench.good(id), pattern(3, 20));
        bench.quiet();
    } else {
        bench.rig.device().cancel(BULK_IN);
        assert_eq!(bench.home().result, Err(TransferError::Cancelled));
    }
    bench.works();
    bench.finish();
}

/// The host takes transfers back: each comes home, and later ones lose nothing.
pub fn host_cancels<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    let ids = [(); IN_FLIGHT].map(|()| start_in(&mut bench, PACKET));
    bench.quiet();
    // The last first: cancelling one does not disturb the others, where the host can cancel one.
    bench.host.cancel(ids[IN_FLIGHT - 1]);
    let rest = if R::CANCELS_ONE {
        bench.bad(ids[IN_FLIGHT - 1], &HostError::Cancelled);
        bench.submit(BULK_IN, pattern(1, 100));
        assert_eq!(bench.good(ids[0]), pattern(1, 100));
        left(&mut bench, 100);
        for id in &ids[1..IN_FLIGHT - 1] {
            bench.host.cancel(*id);
        }
        &ids[1..IN_FLIGHT - 1]
    } else {
        &ids[..]
    };
    for id in rest {
        bench.bad(*id, &HostError::Cancelled);
    }
    bench.submit(BULK_IN, pattern(2, 100));
    let id = start_in(&mut bench, PACKET);
    assert_eq!(bench.good(id), pattern(2, 100));
    left(&mut bench, 100);

    let id = start_out(&mut bench, pattern(3, 100));
    bench.quiet();
    bench.host.cancel(id);
    let completion = bench.end(id);
    // A controller may have taken the packet before the function had a buffer for it.
    if completion.result.is_err() {
        assert_eq!(completion.result, Err(HostError::Cancelled));
        bench.submit(BULK_OUT, vec![0; PACKET]);
        let id = start_out(&mut bench, pattern(4, 100));
        bench.good(id);
        arrived(&mut bench, &pattern(4, 100));
    }
    // Ended and unknown ids.
    bench.host.cancel(id);
    bench.host.cancel(TransferId(u64::MAX));
    bench.works();
    bench.finish();
}

/// The device takes transfers back: each buffer comes home, and nothing of it reaches the host.
pub fn device_cancels<R: Rig>(rig: &mut R) {
    let mut bench = Bench::new(rig);
    for endpoint in [BULK_OUT, BULK_IN] {
        for seed in 0..IN_FLIGHT {
            bench.submit(endpoint, pattern(seed as u8, PACKET));
        }
        bench.quiet();
        bench.rig.device().cancel(endpoint);
        for seed in 0..IN_FLIGHT {
            let completion = bench.home();
            assert_eq!(completion.endpoint, endpoint);
            assert_eq!(completion.buffer.len(), PACKET);
            assert_eq!((completion.length, completion.result), (0, Err(TransferError::Cancelled)));
            if endpoint == BULK_IN {
                assert_eq!(
                    completion.buffer,
                    pattern(seed as u8, PACKET),
                    "IN buffers come home as submitted"
                );
            }
        }
        // Nothing to take back.
        bench.rig.device().cancel(endpoint);
    }
    bench.submit(BULK_OUT, vec![0; PACKET]);
    let id = start_out(&mut bench, pattern(0x21, 100));
    bench.good(id);
    arrived(&mut bench, &pattern(0x21, 100));
    bench.submit(BULK_IN, pattern(0x22, 100));
    let id = start_in(&mut bench, PACKET);
    assert_eq!(bench.good(id), pattern(0x22, 100));
    left(&mut bench, 100);
    bench.finish();
}

/// Transfers that cannot be: the buffer comes back at once.
pub fn submit_errors<R: Rig>(rig: &mut R) {
    assert!(
        matches!(rig.device().submit(BULK_IN, vec![1, 2, 3]), Err(SubmitError::Disabled(buffer)) if buffer == [1, 2, 3]),
        "detached"
    );
    let mut bench = Bench::new(rig);
    let device = bench.rig.device();
    for endpoint in [0x00, 0x80, 0x02, 0x8f] {
        let refused = device.submit(EndpointAddress(endpoint), vec![7; PACKET]);
        assert_eq!(refused, Err(SubmitError::NoEndpoint(vec![7; PACKET])), "endpoint {endpoint:#04x}");
    }
    for length in [0, 1, PACKET - 1, PACKET + 1] {
        let refused = device.submit(BULK_OUT, vec![7; length]);
        assert_eq!(refused, Err(SubmitError::BadLength(vec![7; length])));
    }

    // As many as it takes; the one too many comes back, the others when they are cancelled.
    let mut taken = 0;
    while taken < 1000 {
        match device.submit(BULK_OUT, vec![0; PACKET]) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, SubmitError::Full(vec![0; PACKET]));
                break;
            }
        }
    }
    assert!(taken >= IN_FLIGHT, "only {taken} transfers in flight");
    device.cancel(BULK_OUT);
    for _ in 0..taken {
        assert_eq!(bench.home().result, Err(TransferError::Cancelled));
    }

    // And on the host's side.
    for (endpoint, length) in
        [(bench.bulk_out, PACKET), (EndpointAddress(0x8f), PACKET), (bench.bulk_in, 100)]
    {
        let refused = bench.host.submit(HostTransfer::BulkIn { endpoint, length });
        assert!(matches!(refused, Err(HostError::Misuse(_))), "IN {endpoint:?} {length}: {refused:?}");
    }
    for endpoint in [bench.bulk_in, EndpointAddress(0x0f)] {
        let refused = bench.host.submit(HostTransfer::BulkOut { endpoint, data: vec![1] });
        assert!(matches!(refused, Err(HostError::Misuse(_))), "OUT {endpoint:?}: {refused:?}");
    }
    bench.works();
    bench.finish();
}

fn start_out<R: Rig>(bench: &mut Bench<'_, R>, data: Vec<u8>) -> TransferId {
    let endpoint = bench.bulk_out;
    bench.start(HostTransfer::BulkOut { endpoint, data })
}

fn start_in<R: Rig>(bench: &mut Bench<'_, R>, length: usize) -> TransferId {
    let endpoint = bench.bulk_in;
    bench.start(HostTransfer::BulkIn { endpoint, length })
}

/// The next transfer that comes home on the device's side brings this data.
fn arrived<R: Rig>(bench: &mut Bench<'_, R>, data: &[u8]) {
    let completion = bench.home();
    assert_eq!((completion.endpoint, &completion.result), (BULK_OUT, &Ok(())));
    assert_eq!(&completion.buffer[..completion.length], data);
}

/// The next transfer that comes home on the device's side sent so many bytes.
fn left<R: Rig>(bench: &mut Bench<'_, R>, length: usize) {
    let completion = bench.home();
    assert_eq!((completion.endpoint, completion.length, &completion.result), (BULK_IN, length, &Ok(())));
}
