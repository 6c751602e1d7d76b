//! The device by itself, state by state (docs/spec/bulk.md, 6).

use inband_bulk::{
    ChunkSet, Device,
    device::{Action, Incoming, Violation},
    wire::{Header, Kind, MAX_CHUNKS, MAX_FILE_LENGTH, Outcome, PROTOCOL, blank, message},
};
use inband_usb::Direction;

use crate::sides::ABORTED;

const EXCHANGE: u32 = 5;
const HEAD: [u8; 3584] = [0x77; 3584];
const LENGTHS: [u32; 3] = [600, 10, 492];

/// What the device tells of these bytes; all of them are taken.
fn give<'a>(device: &mut Device, mut bytes: &'a [u8]) -> Vec<Incoming<'a>> {
    let told = std::iter::from_fn(|| device.handle_bytes(&mut bytes)).collect();
    assert!(bytes.is_empty());
    told
}

fn actions(device: &mut Device) -> Vec<Action> {
    std::iter::from_fn(|| device.poll_action()).collect()
}

fn result(exchange: u32, result: u16, session: u32) -> Action {
    Action::Send(message(Kind::Result, exchange, 0, &Outcome { result, session }.to_bytes()))
}

/// What a device does when an exchange ends.
fn ending(code: u16, session: u32) -> Vec<Action> {
    vec![Action::TakeBack(Direction::Out), result(EXCHANGE, code, session)]
}

fn offer() -> Vec<u8> {
    message(Kind::Offer, EXCHANGE, 0, &HEAD)
}

/// One that has an OFFER and owes an answer.
fn owing() -> Device {
    let mut device = Device::new();
    let offer = offer();
    let told = give(&mut device, &offer);
    assert_eq!(told.first(), Some(&Incoming::Package { length: 3584 }));
    assert_eq!(told.last(), Some(&Incoming::HeadEnd));
    device.set_session(9);
    assert_eq!(actions(&mut device), [Action::TakeBack(Direction::In)]);
    device
}

fn set(numbers: &[u32]) -> ChunkSet {
    let mut set = ChunkSet::new(3);
    numbers.iter().for_each(|chunk| set.insert(*chunk));
    set
}

/// One that has asked for chunks 0 and 2.
fn asking() -> Device {
    let mut device = owing();
    device.describe(LENGTHS.to_vec()).unwrap();
    device.ask(&set(&[0, 2])).unwrap();
    let need = message(Kind::Need, EXCHANGE, 0, &set(&[0, 2]).to_need(&LENGTHS));
    assert_eq!(actions(&mut device), [Action::Send(need)]);
    device
}

fn chunk(number: u32, length: usize) -> Vec<u8> {
    message(Kind::Chunk, EXCHANGE, number, &vec![3; length])
}

#[test]
fn idle_drops_what_begins_nothing() {
    let mut device = Device::new();
    for unit in [
        vec![0; 512],
        vec![0xff; 512],
        chunk(0, 10),
        message(Kind::Need, EXCHANGE, 0, &[0; 18]),
        message(Kind::Result, EXCHANGE, 0, &[0; 8]),
        blank(&Header { kind: 0x04, ..Header::new(Kind::Offer, EXCHANGE, 0, 8) }),
    ] {
        assert_eq!(give(&mut device, &unit), []);
        assert!(device.is_idle());
        assert_eq!((device.expected(), actions(&mut device)), (512, vec![]));
    }
    assert_eq!(give(&mut device, &offer()).len(), 3);
}

#[test]
fn offers_that_are_none() {
    let good = Header::new(Kind::Offer, EXCHANGE, 0, 3584);
    let whole = Header::new(Kind::Whole, EXCHANGE, 0, 8);
    let mut reserved = blank(&Header { length: 3584, ..good });
    reserved[7] = 1;
    let unit = |header: &Header| {
        let mut unit = header.to_bytes().to_vec();
        unit.resize(512, 0);
        unit
    };
    let file = |length: u64| message(Kind::Whole, EXCHANGE, 0, &length.to_le_bytes());
    for (unit, violation) in [
        (unit(&Header { version: 0, ..good }), Violation::Version(0)),
        (unit(&Header { version: 2, ..good }), Violation::Version(2)),
        (reserved[..512].to_vec(), Violation::Reserved(Kind::Offer)),
        (unit(&Header { number: 1, ..good }), Violation::Reserved(Kind::Offer)),
        (unit(&Header { length: 0, ..good }), Violation::Length(Kind::Offer, 0)),
        (unit(&Header { length: 3071, ..good }), Violation::Length(Kind::Offer, 3071)),
        (unit(&Header { length: 560_641, ..good }), Violation::Length(Kind::Offer, 560_641)),
        (unit(&Header { length: u32::MAX, ..good }), Violation::Length(Kind::Offer, u32::MAX.into())),
        (unit(&Header { version: 2, ..whole }), Violation::Version(2)),
        (unit(&Header { length: 7, ..whole }), Violation::Length(Kind::Whole, 7)),
        (unit(&Header { length: 9, ..whole }), Violation::Length(Kind::Whole, 9)),
        (file(0), Violation::Length(Kind::Whole, 0)),
        (file(MAX_FILE_LENGTH + 1), Violation::Length(Kind::Whole, MAX_FILE_LENGTH + 1)),
        (file(u64::MAX), Violation::Length(Kind::Whole, u64::MAX)),
    ] {
        let mut device = Device::new();
        assert_eq!(give(&mut device, &unit), [Incoming::Broken(violation)]);
        assert!(device.is_idle());
        let mut expected = vec![Action::TakeBack(Direction::In)];
        expected.extend(ending(PROTOCOL, 0));
        assert_eq!(actions(&mut device), expected);
        assert_eq!(give(&mut device, &offer()).len(), 3, "{violation}");
    }
}

#[test]
fn an_offer_is_handed_on_as_it_comes() {
    let mut device = Device::new();
    let offer = offer();
    assert_eq!(give(&mut device, &offer[..19]), []);
    assert_eq!(device.expected(), 512 - 19);
    assert_eq!(give(&mut device, &offer[19..20]), [Incoming::Package { length: 3584 }]);
    assert_eq!(device.expected(), 8 * 512 - 20);
    assert_eq!(give(&mut device, &offer[20..512]), [Incoming::Head(&HEAD[..492])]);
    assert_eq!(device.expected(), 7 * 512);
    assert_eq!(give(&mut device, &offer[512..3604]), [Incoming::Head(&HEAD[492..])]);
    assert_eq!((device.is_owing(), device.expected()), (false, 492));
    assert_eq!(give(&mut device, &offer[3604..]), [Incoming::HeadEnd]);
    assert_eq!((device.is_owing(), device.expected()), (true, 0));
}

/// Refused with its first unit; the rest of it is dropped.
#[test]
fn refused_at_the_door() {
    let mut device = Device::new();
    let offer = offer();
    assert_eq!(give(&mut device, &offer[..20]), [Incoming::Package { length: 3584 }]);
    device.end(33);
    assert_eq!(device.expected(), 492);
    assert_eq!(give(&mut device, &offer[20..]), []);
    actions(&mut device);
    assert_eq!(device.expected(), 512);
    assert_eq!(give(&mut device, &offer).len(), 3);
}

/// The session is that of the exchange, not of one before; and the last that was said.
#[test]
fn a_result_names_its_own_session() {
    let mut device = owing();
    device.set_session(10);
    device.end(1);
    assert_eq!(actions(&mut device), ending(1, 10));
    give(&mut device, &offer()[..512]);
    device.end(33);
    assert_eq!(actions(&mut device)[1..], ending(33, 0), "none has begun");
}

#[test]
fn owing_takes_nothing() {
    let mut device = owing();
    let early = chunk(0, 600);
    let mut bytes = &early[..];
    assert_eq!(device.handle_bytes(&mut bytes), None);
    assert_eq!(bytes.len(), early.len());
    // It was due all the same.
    device.describe(LENGTHS.to_vec()).unwrap();
    device.ask(&set(&[0])).unwrap();
    assert_eq!(give(&mut device, bytes).last(), Some(&Incoming::RoundEnd));
    assert!(device.is_owing());
}

#[test]
fn a_round() {
    let mut device = asking();
    assert_eq!(device.expected(), 2 * 512 + 512);
    let round = [chunk(0, 600), chunk(2, 492)].concat();
    let body = [3; 600];
    let part = |number, offset, length, complete| Incoming::Chunk {
        number,
        offset,
        bytes: &body[..length],
        complete,
    };
    assert_eq!(give(&mut device, &round[..512]), [part(0, 0, 492, false)]);
    assert_eq!(give(&mut device, &round[512..1024]), [part(0, 492, 108, true)]);
    assert_eq!(device.expected(), 512);
    assert_eq!(give(&mut device, &round[1024..]), [part(2, 0, 492, true), Incoming::RoundEnd]);
    assert!(device.is_owing());
    // What is left, and no more than that.
    for wanted in [set(&[0]), set(&[1, 2]), set(&[]), ChunkSet::new(2), ChunkSet::all(4)] {
        assert!(device.ask(&wanted).is_err(), "{wanted:?}");
    }
    device.ask(&set(&[1])).unwrap();
    let need = message(Kind::Need, EXCHANGE, 1, &set(&[1]).to_need(&LENGTHS));
    assert_eq!(actions(&mut device), [Action::Send(need)]);
    assert_eq!(give(&mut device, &chunk(1, 10)).last(), Some(&Incoming::RoundEnd));
    device.end(1);
    assert_eq!(actions(&mut device), ending(1, 9));
    assert!(device.is_idle());
}

#[test]
fn chunks_that_are_not_the_one() {
    let good = Header::new(Kind::Chunk, EXCHANGE, 0, 600);
    for header in [
        Header { version: 2, ..good },
        Header { kind: 1, ..good },
        Header { kind: 4, ..good },
        Header { kind: 0x81, ..good },
        Header { exchange: 6, ..good },
        Header { number: 1, ..good },
        Header { number: 2, ..good },
        Header { number: 3, ..good },
        Header { number: u32::MAX, ..good },
        Header { length: 0, ..good },
        Header { length: 599, ..good },
        Header { length: 601, ..good },
        Header { length: u32::MAX, ..good },
    ] {
        let mut device = asking();
        let broken = Incoming::Broken(Violation::NotTheChunk(0));
        assert_eq!(give(&mut device, &header.to_bytes()), [broken], "{header:?}");
        assert_eq!(actions(&mut device), ending(PROTOCOL, 9));
    }
    for at in [0, 6, 7] {
        let mut device = asking();
        let mut bytes = good.to_bytes();
        bytes[at] ^= 0x80;
        assert_eq!(give(&mut device, &bytes), [Incoming::Broken(Violation::NotTheChunk(0))]);
    }
    let mut device = asking();
    let mut bytes = chunk(0, 600);
    bytes[1023] = 1;
    assert_eq!(give(&mut device, &bytes).last(), Some(&Incoming::Broken(Violation::Filling)));
}

#[test]
fn descriptions_that_cannot_be() {
    assert!(Device::new().describe(vec![1]).is_err(), "before an OFFER");
    assert!(Device::new().ask(&ChunkSet::new(0)).is_err(), "before an OFFER");
    let mut device = owing();
    assert!(device.describe(vec![1; MAX_CHUNKS as usize + 1]).is_err());
    assert!(device.describe(vec![1, 0]).is_err());
    assert!(device.describe(vec![1, 131_073]).is_err());
    assert!(device.ask(&ChunkSet::all(1)).is_err(), "before it is described");
    device.describe(vec![1, 131_072]).unwrap();
    assert!(device.describe(vec![1]).is_err(), "twice");
    assert!(device.ask(&ChunkSet::all(3)).is_err());
    device.ask(&ChunkSet::new(2)).unwrap();
    assert!(device.is_owing(), "another answer is due");
    assert!(device.ask(&ChunkSet::new(2)).is_err(), "nothing, a second time");
    device.ask(&ChunkSet::all(2)).unwrap();
    assert_eq!(device.expected(), 512 + 257 * 512);
}

#[test]
fn file_without_an_index() {
    let mut device = Device::new();
    let whole = message(Kind::Whole, EXCHANGE, 0, &65_537_u64.to_le_bytes());
    assert_eq!(give(&mut device, &whole[..20]), []);
    assert_eq!(device.expected(), 492);
    assert_eq!(give(&mut device, &whole[20..]), [Incoming::File { length: 65_537 }]);
    assert!(device.describe(vec![1]).is_err(), "its pieces are known");
    device.ask(&ChunkSet::all(2)).unwrap();
    assert_eq!(device.expected(), 129 * 512 + 512);
}

/// An end and a reset, in each state.
#[test]
fn ends() {
    let offer = offer();
    let mut offering = Device::new();
    give(&mut offering, &offer[..1000]);
    offering.set_session(9);
    actions(&mut offering);
    let mut inside = asking();
    give(&mut inside, &chunk(0, 600)[..700]);
    for device in [offering, owing(), asking(), inside] {
        let mut ended = device.clone();
        ended.end(ABORTED);
        assert!(ended.is_idle());
        assert_eq!(actions(&mut ended), ending(ABORTED, 9));
        ended.end(ABORTED);
        assert_eq!(actions(&mut ended), [], "it is over");
        let left = ended.expected();
        assert!(left <= 512);
        assert_eq!(give(&mut ended, &vec![0xff; left as usize]), []);
        assert_eq!(give(&mut ended, &offer).len(), 3);

        let mut reset = device;
        reset.reset();
        assert!(reset.is_idle());
        let both = [Direction::Out, Direction::In].map(Action::TakeBack);
        assert_eq!((reset.expected(), actions(&mut reset)), (512, both.to_vec()));
        assert_eq!(give(&mut reset, &offer).len(), 3);
    }
}

/// A NEED that nobody has read stays before the RESULT.
#[test]
fn need_then_result() {
    let mut device = owing();
    device.describe(LENGTHS.to_vec()).unwrap();
    device.ask(&set(&[])).unwrap();
    device.end(1);
    let need = message(Kind::Need, EXCHANGE, 0, &set(&[]).to_need(&LENGTHS));
    let mut expected = vec![Action::Send(need)];
    expected.extend(ending(1, 9));
    assert_eq!(actions(&mut device), expected);
}

/// A transfer that ends inside a unit breaks an exchange, and nothing that follows is read askew for it.
#[test]
fn short_transfers() {
    let (offer, whole) = (offer(), message(Kind::Whole, EXCHANGE, 0, &1000_u64.to_le_bytes()));
    for (stream, aligned) in
        [(&offer, 0), (&offer, 512), (&offer, 3584), (&whole, 0), (&vec![0xff; 2048], 512)]
    {
        for short in [1, 19, 20, 21, 511] {
            let mut device = Device::new();
            give(&mut device, &stream[..aligned + short]);
            actions(&mut device);
            let broken = (!device.is_idle()).then_some(Incoming::Broken(Violation::ShortTransfer));
            assert_eq!(device.handle_end_of_read(), broken, "{aligned} and {short}");
            let ended = if broken.is_some() { ending(PROTOCOL, 0) } else { vec![] };
            assert_eq!(actions(&mut device), ended);
            assert!(device.is_idle());
            assert_eq!(device.expected(), 512, "reads are whole packets");
            assert_eq!(give(&mut device, &offer).len(), 3, "the next exchange begins");
        }
    }
    // In the last chunk of a round.
    let mut device = asking();
    give(&mut device, &[chunk(0, 600), chunk(2, 492)].concat()[..1500]);
    assert_eq!(device.handle_end_of_read(), Some(Incoming::Broken(Violation::ShortTransfer)));
    assert_eq!(actions(&mut device), ending(PROTOCOL, 9));
    // Whole units are as they should be, in any state.
    let mut device = Device::new();
    for unit in offer.chunks(512) {
        give(&mut device, unit);
        assert_eq!(device.handle_end_of_read(), None);
    }
    assert!(device.is_owing());
    assert_eq!(device.handle_end_of_read(), None);
}

/// A host that goes on at once, its next OFFER in the same read as what broke the protocol: reads for the rest of the old exchange would
/// wait for bytes that never come.
#[test]
fn reads_are_taken_back_though_the_next_exchange_has_begun() {
    let mut device = asking();
    let stream = [chunk(1, 10), offer()].concat();
    let told = give(&mut device, &stream);
    assert_eq!(told[..2], [Incoming::Broken(Violation::NotTheChunk(0)), Incoming::Package { length: 3584 }]);
    assert_eq!(actions(&mut device), [Direction::Out, Direction::In].map(Action::TakeBack));
}
