use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;

/// A record with something in every field, and one log record.
fn sample() -> Record {
    let session = SessionRecord {
        id: 7,
        result: 34,
        state: 9,
        door: 1,
        target: Slot::B,
        boot: 0,
        head: *b"0123456789abcdef",
        version: Text::cut("2.0"),
    };
    Record {
        sequence: 0x0102_0304_0506_0708,
        choice: Slot::B,
        boots_left: 2,
        booted: Slot::A,
        floor: 3,
        last_id: 8,
        slots: [
            SlotRecord {
                state: SlotState::Good,
                bcd_device: 0x0110,
                security_version: 3,
                version: Text::cut("1.0"),
                ..SlotRecord::EMPTY
            },
            SlotRecord {
                state: SlotState::Staged,
                bcd_device: 0x0200,
                security_version: 4,
                head: *b"fedcba9876543210",
                version: Text::cut("2.0"),
                door: 1,
                pending: 6,
                trial: TrialRecord { given: 3, given_back: 5, settled: true, unhealthy: true },
            },
        ],
        session,
        log: vec![SessionRecord { id: 6, result: 1, state: 5, boot: 9, ..session }],
        start: None,
    }
}

/// The bytes of [`sample`], field by field as in docs/spec/store.md, 2. They are on disks: do not change this test, revert
/// the change that breaks it.
fn frozen() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"INBANDST"); // magic
    bytes.extend_from_slice(&[1, 0]); // format version
    bytes.extend_from_slice(&[0x72, 0x01]); // length: 266 + 72 + 32
    bytes.extend_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]); // sequence number
    bytes.extend_from_slice(&[1, 2, 0, 0]); // boot choice, boots left, booted last, reserved
    bytes.extend_from_slice(&[3, 0, 0, 0]); // security floor
    bytes.extend_from_slice(&[8, 0, 0, 0]); // highest session id
    // Slot a.
    bytes.extend_from_slice(&[4, 0, 0x10, 0x01]); // state, boots given, bcdDevice
    bytes.extend_from_slice(&[3, 0, 0, 0]); // security version
    bytes.extend_from_slice(&[0; 16]); // head
    bytes.extend_from_slice(b"\x031.0"); // version
    bytes.extend_from_slice(&[0; 45]);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0]); // door, given back, flags, pending session
    // Slot b.
    bytes.extend_from_slice(&[2, 3, 0x00, 0x02]);
    bytes.extend_from_slice(&[4, 0, 0, 0]);
    bytes.extend_from_slice(b"fedcba9876543210");
    bytes.extend_from_slice(b"\x032.0");
    bytes.extend_from_slice(&[0; 45]);
    bytes.extend_from_slice(&[1, 5, 0b11, 6, 0, 0, 0]);
    // Last session.
    bytes.extend_from_slice(&[7, 0, 0, 0]); // id
    bytes.extend_from_slice(&[34, 0, 9, 1, 1, 0]); // result, state, door, target, boot
    bytes.extend_from_slice(b"0123456789abcdef"); // head
    bytes.extend_from_slice(b"\x032.0"); // version
    bytes.extend_from_slice(&[0; 37 + 5]);
    // Log.
    bytes.extend_from_slice(&[1, 0]); // number of log records
    bytes.extend_from_slice(&[6, 0, 0, 0]);
    bytes.extend_from_slice(&[1, 0, 5, 1, 1, 9]);
    bytes.extend_from_slice(b"0123456789abcdef");
    bytes.extend_from_slice(b"\x032.0");
    bytes.extend_from_slice(&[0; 37 + 5]);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// Bytes changed and the checksum made right again: what a faulty writer would leave.
fn resealed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = frozen();
    let body = bytes.len() - CHECKSUM_LENGTH;
    change(&mut bytes[..body]);
    let checksum = Sha256::digest(&bytes[..body]);
    bytes[body..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn the_bytes_are_frozen() {
    assert_eq!(sample().encode(), frozen());
    assert_eq!(Record::parse(&frozen()), Ok(sample()));
}

#[test]
fn any_changed_bit_is_refused() {
    let bytes = frozen();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(Record::parse(&changed).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn any_other_length_is_refused() {
    let bytes = frozen();
    for length in 0..bytes.len() {
        assert!(Record::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Record::parse(&longer), Err(RecordError::Length(longer.len())));
    longer.resize(MAX_LENGTH + 1, 0);
    assert_eq!(Record::parse(&longer), Err(RecordError::Length(MAX_LENGTH + 1)));
}

#[test]
fn a_checksum_does_not_excuse_a_wrong_field() {
    let field = |at: usize, value: u8| Record::parse(&resealed(|bytes| bytes[at] = value)).unwrap_err();
    assert_eq!(field(0, b'i'), RecordError::Magic);
    assert_eq!(field(8, 2), RecordError::Format(2));
    assert_eq!(field(10, 0), RecordError::Length(370));
    assert_eq!(field(264, 2), RecordError::Length(370));
    assert_eq!(field(20, 2), RecordError::Field("boot choice"));
    assert_eq!(field(22, 255), RecordError::Field("boot choice"));
    assert_eq!(field(32, 5), RecordError::Field("slot state"));
    assert_eq!(field(32 + 24, 49), RecordError::Field("slot version"));
    assert_eq!(field(32 + 26, 0x1b), RecordError::Field("slot version"));
    assert_eq!(field(112 + 72, 1), RecordError::Field("slot version"));
    assert_eq!(field(192 + 8, 2), RecordError::Field("target slot"));
    assert_eq!(field(192 + 26, 41), RecordError::Field("package version"));
    assert_eq!(field(266 + 8, 9), RecordError::Field("target slot"));
    for (reserved, value) in [(23, 1), (32 + 75, 4), (112 + 75, 128), (192 + 67, 1), (266 + 71, 1)] {
        assert_eq!(field(reserved, value), RecordError::Field("reserved"), "byte {reserved}");
    }
}

#[test]
fn the_longest_record_keeps_its_bound() {
    let mut record = sample();
    record.log.clear();
    for id in 0..40 {
        record.push_log(SessionRecord { id, ..record.session });
    }
    assert_eq!(record.log.len(), LOG_LIMIT);
    assert_eq!(record.log.first().map(|entry| entry.id), Some(24));
    assert_eq!(record.log.last().map(|entry| entry.id), Some(39));
    record.start = Some(StartId::of(b"this one"));
    let bytes = record.encode();
    assert_eq!(bytes.len(), MAX_LENGTH);
    assert_eq!(Record::parse(&bytes), Ok(record));
}

#[test]
fn the_start_of_the_machine_stands_behind_the_log() {
    // SHA-256 of "abc", FIPS 180-2, B.1.
    let start =
        [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23];
    let record = Record { start: Some(StartId::of(b"abc")), ..sample() };
    let mut expected = frozen();
    expected.truncate(expected.len() - CHECKSUM_LENGTH);
    expected[10..12].copy_from_slice(&[0x82, 0x01]);
    expected.extend_from_slice(&start);
    let checksum = Sha256::digest(&expected);
    expected.extend_from_slice(&checksum);
    assert_eq!(record.encode(), expected);
    assert_eq!(Record::parse(&expected), Ok(record));
}

#[test]
fn of_two_valid_copies_the_higher_counts() {
    let older = sample();
    let newer = Record { sequence: older.sequence + 1, choice: Slot::A, ..older.clone() };
    let (old, new) = (older.encode(), newer.encode());
    assert_eq!(newest(Some(&old), Some(&new)), Ok((newer.clone(), Place::Second)));
    assert_eq!(newest(Some(&new), Some(&old)), Ok((newer, Place::First)));
}

#[test]
fn a_torn_or_missing_copy_leaves_the_other() {
    let record = sample();
    let good = record.encode();
    for other in [None, Some(&good[..9]), Some(&[][..]), Some(&good[..good.len() - 1])] {
        assert_eq!(newest(Some(&good), other), Ok((record.clone(), Place::First)));
        assert_eq!(newest(other, Some(&good)), Ok((record.clone(), Place::Second)));
    }
}

#[test]
fn without_a_valid_copy_the_message_says_what_is_wrong_with_both() {
    assert_eq!(newest(None, None), Err(PairError::Missing));
    let torn = &frozen()[..100];
    let error = newest(Some(torn), None).unwrap_err();
    assert_eq!(error, PairError::Corrupt { first: Some(RecordError::Length(100)), second: None });
    assert_eq!(
        error.to_string(),
        "no valid record in the store (record.0: wrong length, 100 bytes, record.1: missing); restore one from a \
         backup, or remove the store and initialise it anew with `inbandd init`"
    );
    let wrong = resealed(|bytes| bytes[20] = 9);
    let error = newest(None, Some(&wrong)).unwrap_err();
    assert_eq!(error, PairError::Corrupt { first: None, second: Some(RecordError::Field("boot choice")) });
    let error = newest(Some(torn), Some(&wrong)).unwrap_err();
    assert!(matches!(error, PairError::Corrupt { first: Some(_), second: Some(_) }));
}

proptest! {
    #[test]
    fn whatever_is_taken_is_written_back_the_same(changes in prop::collection::vec((0..338usize, any::<u8>()), 0..8)) {
        let bytes = resealed(|bytes| {
            for (at, value) in changes {
                bytes[at] = value;
            }
        });
        if let Ok(record) = Record::parse(&bytes) {
            prop_assert_eq!(record.encode(), bytes);
        }
    }
}

#[test]
fn attempts_that_came_to_nothing_do_not_push_out_what_ran_here() {
    const OK: u16 = 1;
    const BAD_HEAD: u16 = 17;
    const ROLLED_BACK: u16 = 80;
    let mut record = sample();
    record.log.clear();
    let mut id = 0;
    let mut push = |record: &mut Record, result, times| {
        for _ in 0..times {
            id += 1;
            record.push_log(SessionRecord { id, result, ..SessionRecord::NONE });
        }
    };
    push(&mut record, OK, 6);
    push(&mut record, ROLLED_BACK, 1);
    push(&mut record, BAD_HEAD, 1000);
    let ids = record.log.iter().map(|entry| entry.id).collect::<Vec<_>>();
    assert_eq!(ids, (1..=7).chain(999..=1007).collect::<Vec<_>>());
    // Of those that tell of firmware, the oldest leaves.
    push(&mut record, OK, 1000);
    let results = record.log.iter().map(|entry| entry.result).collect::<Vec<_>>();
    assert_eq!(results.iter().filter(|result| **result == OK).count(), 16);
}
