//! The host by itself, against a device that does what it should not (docs/spec/bulk.md, 7).

use std::time::Duration;

use inband_bulk::{
    ChunkSet, Host,
    chunks::NeedError,
    host::{Error, Limits, Misbehaviour, Next},
    wire::{HEADER_LENGTH, Header, Kind, OK, Outcome, message},
};

const EXCHANGE: u32 = 5;
const LENGTHS: [u32; 9] = [600, 10, 492, 1, 1, 1, 1, 1, 1];
const NOW: Duration = Duration::from_secs(1000);

fn limits() -> Limits {
    Limits { under_way: 2048, transfer: 1024, ..Limits::default() }
}

fn offering() -> Host {
    Host::offer(NOW, limits(), EXCHANGE, &[0x77; 3584], LENGTHS.to_vec()).unwrap()
}

/// One that has given its OFFER out.
fn waiting() -> Host {
    let mut host = offering();
    while let Next::Submit(part) = host.poll_next().unwrap() {
        assert_eq!(part.len(), 1024);
        host.handle_sent(NOW, part.len());
    }
    host
}

/// One that has been asked for these chunks.
fn asked(numbers: &[u32]) -> Host {
    let mut host = waiting();
    host.handle_received(NOW, &need(0, numbers)).unwrap();
    host
}

fn set(numbers: &[u32]) -> ChunkSet {
    let mut set = ChunkSet::new(LENGTHS.len() as u32);
    numbers.iter().for_each(|chunk| set.insert(*chunk));
    set
}

fn need(round: u32, numbers: &[u32]) -> Vec<u8> {
    message(Kind::Need, EXCHANGE, round, &set(numbers).to_need(&LENGTHS))
}

fn result(result: u16) -> Vec<u8> {
    message(Kind::Result, EXCHANGE, 0, &Outcome { result, session: 3 }.to_bytes())
}

fn numbers(host: &mut Host) -> Vec<u32> {
    std::iter::from_fn(|| match host.poll_next().unwrap() {
        Next::Chunk { number, length, message } => {
            assert_eq!(length, LENGTHS[number as usize]);
            let header = Header::new(Kind::Chunk, EXCHANGE, number, length).to_bytes();
            assert_eq!(message[..HEADER_LENGTH], header);
            host.handle_sent(NOW, message.len());
            Some(number)
        }
        Next::Wait => None,
        other => panic!("{other:?}"),
    })
    .collect()
}

fn misbehaves(mut host: Host, bytes: &[u8], misbehaviour: Misbehaviour) {
    let error = Error::Misbehaved(misbehaviour);
    assert_eq!(host.handle_received(NOW, bytes), Err(error));
    assert_eq!(host.poll_next(), Err(error), "it stays failed");
    assert_eq!(host.handle_received(NOW, &result(OK)), Err(error));
    assert_eq!((host.expected(), host.poll_timeout()), (0, None));
}

#[test]
fn bounded_bytes_are_under_way() {
    let mut host = offering();
    for _ in 0..2 {
        assert!(matches!(host.poll_next(), Ok(Next::Submit(part)) if part.len() == 1024));
    }
    assert_eq!(host.poll_next(), Ok(Next::Wait));
    assert_eq!(host.poll_timeout(), Some(NOW + limits().sending), "the device has not got it all");
    host.handle_sent(NOW, 1024);
    assert!(matches!(host.poll_next(), Ok(Next::Submit(_))));
    assert_eq!(host.poll_next(), Ok(Next::Wait));
    host.handle_sent(NOW, 1024);
    host.handle_sent(NOW, 1024);
    assert!(matches!(host.poll_next(), Ok(Next::Submit(_))));
    assert_eq!(host.poll_next(), Ok(Next::Wait));
    assert_eq!((host.sent(), host.total()), (3072, 4096));
    assert_eq!(host.poll_timeout(), Some(NOW + Duration::from_secs(120)));
    // Chunks count as well, whole messages: the first three have 2,048 bytes.
    let mut host = asked(&[0, 1, 2, 3]);
    assert!(matches!(host.poll_next(), Ok(Next::Chunk { number: 0, .. })));
    assert!(matches!(host.poll_next(), Ok(Next::Chunk { number: 1, .. })));
    assert!(matches!(host.poll_next(), Ok(Next::Chunk { number: 2, .. })));
    assert_eq!(host.poll_next(), Ok(Next::Wait));
    host.handle_sent(NOW, 1024);
    assert!(matches!(host.poll_next(), Ok(Next::Chunk { number: 3, .. })));
    // A backend that says too much moves no bound.
    host.handle_sent(NOW, usize::MAX);
    assert_eq!(host.sent(), host.total());
    // A single message may be longer than the bound.
    let tight = Limits { under_way: 0, ..limits() };
    let mut host = Host::offer(NOW, tight, EXCHANGE, &[0; 3584], LENGTHS.to_vec()).unwrap();
    assert!(matches!(host.poll_next(), Ok(Next::Submit(_))));
    assert_eq!(host.poll_next(), Ok(Next::Wait));
}

#[test]
fn what_is_asked_for_is_sent_in_order() {
    let mut host = asked(&[0, 2, 8]);
    assert_eq!(host.asked(), Some(&set(&[0, 2, 8])));
    assert_eq!(host.total(), 4096 + 1024 + 512 + 512);
    assert_eq!(numbers(&mut host), [0, 2, 8]);
    host.handle_received(NOW, &need(1, &[1, 7])).unwrap();
    assert_eq!(numbers(&mut host), [1, 7]);
    host.handle_received(NOW, &result(OK)).unwrap();
    assert_eq!(host.poll_next(), Ok(Next::Over(Outcome { result: OK, session: 3 })));
    assert_eq!(host.expected(), 0);
    // What comes behind it is not looked at.
    host.handle_received(NOW, &[0xff; 4096]).unwrap();
}

#[test]
fn reads_ask_for_what_comes() {
    let lengths = vec![1; 5000];
    let mut host = Host::offer(NOW, Limits::default(), EXCHANGE, &[0; 3584], lengths.clone()).unwrap();
    while let Next::Submit(_) = host.poll_next().unwrap() {}
    assert_eq!(host.expected(), 512);
    let need = message(Kind::Need, EXCHANGE, 0, &ChunkSet::all(5000).to_need(&lengths));
    assert_eq!(need.len(), 1024);
    host.handle_received(NOW, &need[..512]).unwrap();
    assert_eq!(host.expected(), 512);
    assert_eq!(host.asked(), None);
    host.handle_received(NOW, &need[512..]).unwrap();
    assert_eq!(host.asked().map(ChunkSet::len), Some(5000));
    assert_eq!(host.expected(), 512);
}

#[test]
fn needs_that_break_the_protocol() {
    let with = |at: usize, byte: u8| {
        let mut need = need(0, &[0, 2, 8]);
        need[at] = byte;
        need
    };
    let body = HEADER_LENGTH;
    misbehaves(waiting(), &with(4, 2), Misbehaviour::Version(2));
    misbehaves(waiting(), &with(6, 1), Misbehaviour::Field(Kind::Need));
    misbehaves(waiting(), &with(12, 1), Misbehaviour::Field(Kind::Need));
    misbehaves(waiting(), &with(16, 17), Misbehaviour::Length(Kind::Need, 17));
    misbehaves(waiting(), &with(17, 1), Misbehaviour::Length(Kind::Need, 0x112));
    let count = NeedError::Count { found: 10, chunks: 9 };
    misbehaves(waiting(), &with(body, 10), Misbehaviour::Need(count));
    let asked_for = NeedError::Asked { said: 4, set: 3 };
    misbehaves(waiting(), &with(body + 4, 4), Misbehaviour::Need(asked_for));
    let bytes = NeedError::Bytes { said: 1092, sum: 1093 };
    misbehaves(waiting(), &with(body + 8, 0x44), Misbehaviour::Need(bytes));
    misbehaves(waiting(), &with(body + 17, 3), Misbehaviour::Need(NeedError::Behind));
    misbehaves(waiting(), &with(511, 1), Misbehaviour::Filling);
    misbehaves(offering(), &need(0, &[1]), Misbehaviour::Untimely(Kind::Need));
    misbehaves(asked(&[0, 1]), &need(1, &[2]), Misbehaviour::Untimely(Kind::Need));
    let mut host = asked(&[0]);
    numbers(&mut host);
    misbehaves(host.clone(), &need(0, &[1]), Misbehaviour::Field(Kind::Need));
    misbehaves(host.clone(), &need(1, &[0, 1]), Misbehaviour::Twice);
    misbehaves(host, &need(1, &[]), Misbehaviour::Nothing);
}

/// A device that has asked for a part of a file could say `ok` behind it.
#[test]
fn a_file_without_an_index_is_needed_whole() {
    let lengths = [65_536, 65_536, 1];
    let asked = |numbers: &[u32]| {
        let mut host = Host::whole(NOW, limits(), EXCHANGE, 131_073).unwrap();
        assert!(matches!(host.poll_next(), Ok(Next::Submit(unit)) if unit.len() == 512));
        let mut set = ChunkSet::new(3);
        numbers.iter().for_each(|piece| set.insert(*piece));
        (host, message(Kind::Need, EXCHANGE, 0, &set.to_need(&lengths)))
    };
    for part in [&[][..], &[0], &[2], &[0, 1]] {
        let (host, need) = asked(part);
        misbehaves(host, &need, Misbehaviour::Part);
    }
    let (mut host, need) = asked(&[0, 1, 2]);
    assert_eq!(host.handle_received(NOW, &need), Ok(()));
    assert_eq!(host.asked(), Some(&ChunkSet::all(3)));
}

#[test]
fn results_that_break_the_protocol() {
    let mut done = asked(&[0]);
    numbers(&mut done);
    let mut long = result(OK);
    long[16] = 9;
    misbehaves(done.clone(), &long, Misbehaviour::Length(Kind::Result, 9));
    let mut reserved = result(OK);
    reserved[HEADER_LENGTH + 2] = 1;
    misbehaves(done.clone(), &reserved, Misbehaviour::Field(Kind::Result));
    let mut numbered = result(OK);
    numbered[12] = 1;
    misbehaves(done.clone(), &numbered, Misbehaviour::Field(Kind::Result));
    misbehaves(done, &result(0), Misbehaviour::NoResult);
    // Good news before everything is there.
    misbehaves(offering(), &result(OK), Misbehaviour::Untimely(Kind::Result));
    misbehaves(waiting(), &result(OK), Misbehaviour::Untimely(Kind::Result));
    misbehaves(asked(&[0]), &result(OK), Misbehaviour::Untimely(Kind::Result));
}

/// A refusal comes at any time, in any version.
#[test]
fn refused_at_any_time() {
    for mut host in [offering(), waiting(), asked(&[0]), asked(&[])] {
        let mut refusal = result(52);
        refusal[4] = 9;
        host.handle_received(NOW, &refusal).unwrap();
        assert_eq!(host.poll_next(), Ok(Next::Over(Outcome { result: 52, session: 3 })));
    }
}

#[test]
fn what_is_left_of_another_exchange_is_dropped() {
    let mut host = waiting();
    let old = message(Kind::Result, EXCHANGE - 1, 0, &Outcome { result: 48, session: 2 }.to_bytes());
    let own = message(Kind::Chunk, EXCHANGE, 0, &[1]);
    for unit in [vec![0xaa; 512], old, own, vec![0; 512]] {
        host.handle_received(NOW, &unit).unwrap();
        assert_eq!(host.expected(), 512);
    }
    host.handle_received(NOW, &need(0, &[3])).unwrap();
    assert_eq!(numbers(&mut host), [3]);

    let mut host = waiting();
    host.handle_received(NOW, &vec![0xaa; 64 * 512]).unwrap();
    misbehaves(host.clone(), &[0xaa; 512], Misbehaviour::Foreign);
    // In a row: behind a message of its own they count anew.
    host.handle_received(NOW, &need(0, &[])).unwrap();
    host.handle_received(NOW, &vec![0xaa; 64 * 512]).unwrap();
    misbehaves(host, &[0xaa; 512], Misbehaviour::Foreign);
}

#[test]
fn a_device_that_says_nothing() {
    let mut host = waiting();
    let due = host.poll_timeout().unwrap();
    assert_eq!(due, NOW + Duration::from_secs(120));
    host.handle_timeout(due - Duration::from_millis(1)).unwrap();
    assert_eq!(host.handle_timeout(due), Err(Error::TooSlow));
    assert_eq!(host.poll_next(), Err(Error::TooSlow));

    let mut host = asked(&[0]);
    assert_eq!(host.poll_timeout(), Some(NOW + limits().sending));
    assert!(matches!(host.poll_next(), Ok(Next::Chunk { .. })));
    assert_eq!(host.poll_timeout(), Some(NOW + Duration::from_secs(600)));
    // Its time begins when it has got the last byte.
    let later = NOW + Duration::from_secs(100);
    host.handle_sent(later, 1024);
    assert_eq!(host.poll_timeout(), Some(later + Duration::from_secs(600)));
}

/// One that takes a transfer now and then, and asks again and again, has no longer than that with all it does.
#[test]
fn a_device_that_always_takes_a_little() {
    let limits = Limits { sending: Duration::from_secs(1800), ..limits() };
    let mut host = Host::offer(NOW, limits, EXCHANGE, &[0x77; 3584], LENGTHS.to_vec()).unwrap();
    let mut now = NOW;
    let latest = NOW + limits.sending + limits.result;
    let mut rounds = 0;
    loop {
        // It is a little faster than each of the limits between two steps.
        now += Duration::from_secs(119);
        if let Err(error) = host.handle_timeout(now) {
            assert_eq!(error, Error::TooSlow);
            break;
        }
        assert!(now < latest, "{now:?}");
        match host.poll_next().unwrap() {
            Next::Submit(part) => host.handle_sent(now, part.len()),
            Next::Chunk { message, .. } => host.handle_sent(now, message.len()),
            Next::Wait if (rounds as usize) < LENGTHS.len() => {
                host.handle_received(now, &need(rounds, &[rounds])).unwrap();
                now += Duration::from_secs(481);
                rounds += 1;
            }
            other => panic!("it took all there is: {other:?}"),
        }
    }
    assert!(now >= NOW + limits.sending && now < latest, "{now:?}");
    assert!(rounds > 1);
    assert_eq!(host.poll_next(), Err(Error::TooSlow));
}

/// Units that are dropped, and a message that comes a byte at a time, are no answer.
#[test]
fn a_device_that_says_nothing_at_length() {
    let (mut host, mut now) = (waiting(), NOW);
    let due = host.poll_timeout();
    for bytes in [&[0xaa; 512][..], &need(0, &[])[..500]] {
        now += Duration::from_secs(50);
        host.handle_received(now, bytes).unwrap();
        assert_eq!(host.poll_timeout(), due);
    }
    // A NEED that asks for nothing is one.
    host.handle_received(now, &need(0, &[])[500..]).unwrap();
    assert_eq!(host.poll_timeout(), Some(now + Duration::from_secs(600)));
}

#[test]
fn what_cannot_be_offered() {
    let offer = |head: usize, lengths: &[u32], limits| {
        Host::offer(NOW, limits, EXCHANGE, &vec![0; head], lengths.to_vec()).is_ok()
    };
    assert!(offer(3072, &[1, 131_072], limits()) && offer(560_640, &[], limits()));
    assert!(!offer(3071, &[1], limits()) && !offer(560_641, &[1], limits()));
    assert!(!offer(3072, &[0], limits()) && !offer(3072, &[131_073], limits()));
    assert!(!offer(3072, &[1; 16_386], limits()));
    assert!(!offer(3072, &[1], Limits { transfer: 0, ..limits() }));
    assert!(!offer(3072, &[1], Limits { transfer: 100, ..limits() }));
    for (length, good) in [(0, false), (1, true), (1_073_807_360, true), (1_073_807_361, false)] {
        assert_eq!(Host::whole(NOW, limits(), EXCHANGE, length).is_ok(), good);
    }
}
