use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;

use super::*;

fn status() -> StatusPage {
    StatusPage {
        state: SessionState::Failed,
        door: Some(Door::Dfu),
        result_code: ResultCode::BadChunk.code(),
        doors: [DoorState::Open, DoorState::Armed, DoorState::Shut, DoorState::Open],
        on_trial: true,
        other_boots_next: true,
        locked_out: true,
        takes_ahead: true,
        session: 0x0403_0201,
        received: 0x1234,
        announced: 0x5678,
        running: Slot::A,
        boots_next: Slot::B,
        slots: [SlotState::Good, SlotState::Staged],
        bcd_device: [0x0100, 0x0210],
        security_version: 3,
        floor: 2,
        log_records: 16,
        boots_left: 2,
        boots_given: 3,
        head: *b"0123456789abcdef",
        wait_minutes: 0x0102,
    }
}

// The bytes of the pages are on the wire between versions: do not change these constants, revert the change that breaks
// them. Field by field as in docs/spec/session.md, 5.

#[rustfmt::skip]
const STATUS: [u8; 58] = [
    1, 58,                      // format version, length
    9, 1, 23, 0,                // state, door, result
    0b10_00_01_10, 0b1111,      // doors, flags
    1, 2, 3, 4,                 // session id
    0x34, 0x12, 0, 0,           // received
    0x78, 0x56, 0, 0,           // announced
    0, 1, 4, 2,                 // running, boots next, states of a and b
    0x00, 0x01, 0x10, 0x02,     // bcdDevice of a and b
    3, 0, 0, 0,                 // security version
    2, 0, 0, 0,                 // floor
    16, 0, 2, 3,                // log records, boots left, boots given
    b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'8', b'9', b'a', b'b', b'c', b'd', b'e', b'f',
    2, 1,                       // minutes to wait
];

#[rustfmt::skip]
const FIRMWARE: [u8; 13] = [
    1, 13,                      // format version, length
    4, 1,                       // state, slot
    3, 0, 0, 0,                 // security version
    0x10, 0x02,                 // bcdDevice
    b'2', b'.', b'1',           // version
];

const MACHINE: [u8; 7] = [1, 7, b'b', b'o', b'a', b'r', b'd'];

#[rustfmt::skip]
const LOG: [u8; 23] = [
    1, 23,                      // format version, length
    10, 2,                      // state, door
    7, 0, 0, 0,                 // session id
    48, 0,                      // result
    1, 2,                       // target, boot
    1, 2, 3, 4, 5, 6, 7, 8,     // head
    b'2', b'.', b'1',           // version
];

fn firmware() -> FirmwarePage {
    FirmwarePage {
        state: SlotState::Good,
        slot: Slot::B,
        security_version: 3,
        bcd_device: 0x0210,
        version: Text::cut("2.1"),
    }
}

fn log() -> LogPage {
    LogPage {
        state: SessionState::Aborted,
        door: Some(Door::Bulk),
        session: 7,
        result_code: ResultCode::Aborted.code(),
        target: Slot::B,
        boot: 2,
        head: [1, 2, 3, 4, 5, 6, 7, 8],
        version: Text::cut("2.1"),
    }
}

#[test]
fn the_bytes_are_frozen() {
    assert_eq!(status().encode(), STATUS);
    assert_eq!(StatusPage::decode(&STATUS), Ok(status()));
    assert_eq!(firmware().encode(), FIRMWARE);
    assert_eq!(FirmwarePage::decode(&FIRMWARE), Ok(firmware()));
    let machine = MachinePage { machine: Text::cut("board") };
    assert_eq!(machine.encode(), MACHINE);
    assert_eq!(MachinePage::decode(&MACHINE), Ok(machine));
    assert_eq!(log().encode(), LOG);
    assert_eq!(LogPage::decode(&LOG), Ok(log()));
}

#[test]
fn no_page_is_longer_than_its_bound() {
    let long = String::from_utf8(vec![b'v'; 60]).unwrap();
    let pages = [
        FirmwarePage { version: Text::cut(&long), ..firmware() }.encode(),
        MachinePage { machine: Text::cut(&long) }.encode(),
        LogPage { version: Text::cut(&long), ..log() }.encode(),
        status().encode(),
    ];
    assert_eq!(pages.each_ref().map(Vec::len), [58, 50, 60, 58]);
    assert!(pages.iter().all(|page| page.len() <= MAX_LENGTH));
}

#[test]
fn numbers_of_every_kind_survive() {
    for state in SessionState::ALL {
        for door in [None, Some(Door::Dfu), Some(Door::Bulk), Some(Door::Volume), Some(Door::Ipmi)] {
            for doors in DoorState::ALL {
                let page = StatusPage { state, door, doors: [doors; 4], ..status() };
                assert_eq!(StatusPage::decode(&page.encode()), Ok(page));
            }
        }
    }
}

#[test]
fn a_page_that_is_cut_short_is_refused() {
    for length in (0..STATUS.len()).filter(|length| *length != 56) {
        assert_eq!(StatusPage::decode(&STATUS[..length]), Err(PageError::Short(length)));
    }
    for length in 0..LOG.len() {
        assert_eq!(LogPage::decode(&LOG[..length]), Err(PageError::Short(length)));
    }
    // A length byte below what the page must have, whatever follows.
    for length in 0..56 {
        let mut page = STATUS;
        page[1] = length;
        assert_eq!(StatusPage::decode(&page), Err(PageError::Short(length.into())));
    }
}

#[test]
fn a_longer_status_page_is_read_as_far_as_it_is_known() {
    let mut page = STATUS.to_vec();
    page.extend_from_slice(&[0xff; 2]);
    page[1] = 60;
    assert_eq!(StatusPage::decode(&page), Ok(status()));
}

#[test]
fn a_status_page_of_the_first_version_tells_of_no_wait() {
    for length in [56, 57] {
        let mut page = STATUS[..usize::from(length)].to_vec();
        page[1] = length;
        assert_eq!(StatusPage::decode(&page), Ok(StatusPage { wait_minutes: 0, ..status() }));
    }
}

#[test]
fn an_unknown_format_version_is_an_error() {
    for format in (0..=u8::MAX).filter(|format| *format != FORMAT) {
        let mut page = STATUS;
        page[0] = format;
        assert_eq!(StatusPage::decode(&page), Err(PageError::Format(format)));
    }
}

#[test]
fn an_unknown_result_is_passed_on_as_its_number() {
    let mut page = STATUS;
    page[4..6].copy_from_slice(&[0xff, 0x7f]);
    let decoded = StatusPage::decode(&page).unwrap();
    assert_eq!((decoded.result_code, decoded.result()), (0x7fff, None));
}

#[test]
fn fields_out_of_range_are_refused() {
    let field = |at: usize, value: u8| {
        let mut page = STATUS;
        page[at] = value;
        StatusPage::decode(&page).unwrap_err()
    };
    assert_eq!(field(2, 12), PageError::Field("session state"));
    assert_eq!(field(3, 5), PageError::Field("door"));
    assert_eq!(field(6, 0b11), PageError::Field("door state"));
    assert_eq!(field(6, 0b1100_0000), PageError::Field("door state"));
    assert_eq!(field(20, 2), PageError::Field("slot"));
    assert_eq!(field(21, 2), PageError::Field("slot"));
    assert_eq!(field(23, 5), PageError::Field("slot state"));
}

#[test]
fn a_text_that_a_terminal_would_obey_is_refused() {
    for byte in (0..=u8::MAX).filter(|byte| !inband_package::is_str_byte(*byte)) {
        let mut page = MACHINE;
        page[4] = byte;
        assert_eq!(MachinePage::decode(&page), Err(PageError::Field("text")), "byte {byte}");
    }
    let mut long = vec![1, 51];
    long.resize(51, b'x');
    assert_eq!(MachinePage::decode(&long), Err(PageError::Field("text")));
    assert_eq!(MachinePage::decode(&[1, 2]), Err(PageError::Field("text")));
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(
        mut answer in prop::collection::vec(any::<u8>(), 0..64),
        honest in any::<bool>(),
    ) {
        if let (true, [format, length, ..]) = (honest, answer.as_mut_slice()) {
            *format = FORMAT;
            *length %= 64;
        }
        if let Ok(page) = LogPage::decode(&answer) {
            prop_assert_eq!(LogPage::decode(&page.encode()), Ok(page));
        }
        if let Ok(page) = FirmwarePage::decode(&answer) {
            prop_assert_eq!(FirmwarePage::decode(&page.encode()), Ok(page));
        }
        if let Ok(page) = MachinePage::decode(&answer) {
            prop_assert_eq!(MachinePage::decode(&page.encode()), Ok(page));
        }
        let _ = StatusPage::decode(&answer);
    }
}
