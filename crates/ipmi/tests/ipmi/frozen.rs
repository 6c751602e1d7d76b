//! The bytes of docs/spec/ipmi.md.

use inband_ipmi::{
    command::{
        BadReply, Capabilities, Command, Door, Piece, Profile, Started, Status, Wishes, acknowledged,
        check_acknowledged,
    },
    wire::{BODY, Code},
};

/// The data of each example, behind the organisation, and what it means.
fn examples() -> Vec<(Vec<u8>, Command)> {
    let head: [u8; 32] = std::array::from_fn(|n| n as u8);
    let wishes = Wishes::default();
    let all =
        Wishes { no_downgrade: true, defer_activation: true, length: Some(0x0203_0405), head: Some(head) };
    let start = |tag, door, wishes| Command::Start { tag, door, wishes };
    let mut long = vec![1, 4, 3, 2, 1, 2, 0, 0x0f, 5, 4, 3, 2];
    long.extend(head);
    vec![
        (vec![0], Command::Capabilities),
        (vec![1, 1, 0, 0, 0, 3, 0, 0], start(1, Door::Volume(Profile::Fat), wishes)),
        (vec![1, 1, 0, 0, 0, 3, 1, 0], start(1, Door::Volume(Profile::Raw), wishes)),
        (vec![1, 1, 0, 0, 0, 1, 0, 1], start(1, Door::Dfu, Wishes { no_downgrade: true, ..wishes })),
        (
            vec![1, 4, 0, 0, 0, 3, 1, 5, 0, 0xc8, 2, 0],
            start(
                4,
                Door::Volume(Profile::Raw),
                Wishes { no_downgrade: true, length: Some(182_272), ..wishes },
            ),
        ),
        (long, start(0x0102_0304, Door::Bulk, all)),
        (
            vec![2, 2, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0],
            Command::Stop { tag: 2, nonce: 0x1234_5678, commit: true },
        ),
        (
            vec![2, 2, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 1],
            Command::Stop { tag: 2, nonce: 0x1234_5678, commit: false },
        ),
        (vec![3], Command::Status),
        (vec![4, 0x80, 56], Command::Info { item: 0x80, offset: 56 }),
        (vec![5, 3, 0, 0, 0], Command::Activate { tag: 3 }),
        (vec![6, 4, 0, 0, 0], Command::Confirm { tag: 4 }),
        (vec![7, 5, 0, 0, 0], Command::Abort { tag: 5 }),
    ]
}

#[test]
fn requests() {
    for (data, command) in examples() {
        assert_eq!(Command::decode(&data), Ok(command));
        assert_eq!(command.encode(), [&[0xcf, 0xc2, 0x00], &data[..]].concat());
    }
}

#[test]
fn a_request_that_is_cut_or_goes_on_is_refused() {
    for (data, _) in examples() {
        for cut in 0..data.len() {
            assert_eq!(Command::decode(&data[..cut]), Err(Code::LENGTH), "{data:02x?} at {cut}");
        }
        assert_eq!(Command::decode(&[&data[..], &[0]].concat()), Err(Code::LENGTH));
    }
    assert_eq!(Command::decode(&[3; 2 + BODY]), Err(Code::LENGTH));
}

#[test]
fn fields_that_may_not_be() {
    for data in [
        vec![1, 0, 0, 0, 0, 0, 0, 0],
        vec![1, 0, 0, 0, 0, 1, 1, 0],
        vec![1, 0, 0, 0, 0, 3, 2, 0],
        vec![1, 0, 0, 0, 0, 4, 0, 0],
        vec![1, 0, 0, 0, 0, 1, 0, 0x10],
        vec![2, 0, 0, 0, 0, 1, 0, 0, 0, 2],
    ] {
        assert_eq!(Command::decode(&data), Err(Code::FIELD), "{data:02x?}");
    }
    assert_eq!(Command::decode(&[8]), Err(Code::INVALID_COMMAND));
}

#[test]
fn what_is_wrong_first_is_told() {
    for (data, code) in [
        // No subcommand, and one that there is not, with anything behind it.
        (vec![], Code::LENGTH),
        (vec![8, 0xff, 0xff], Code::INVALID_COMMAND),
        // Half of door and profile, all of them, and options before what they announce.
        (vec![1, 0, 0, 0, 0, 4], Code::LENGTH),
        (vec![1, 0, 0, 0, 0, 4, 0], Code::FIELD),
        (vec![1, 0, 0, 0, 0, 3, 0, 0x14], Code::FIELD),
        (vec![2, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0], Code::FIELD),
        // More than any request has.
        (vec![8; 2 + BODY], Code::LENGTH),
    ] {
        assert_eq!(Command::decode(&data), Err(code), "{data:02x?}");
    }
}

#[test]
fn replies() {
    let capabilities = Capabilities {
        doors: 0x07,
        door_states: 0x15,
        profiles: 0x03,
        options: 0x0f,
        allowed: 0x05,
        holds_s: 900,
        largest_mib: 128,
    };
    let bytes = [0xcf, 0xc2, 0, 1, 7, 0x15, 3, 0x0f, 5, 0x84, 3, 128, 0];
    assert_eq!(capabilities.encode(), bytes);
    assert_eq!(Capabilities::decode(&bytes), Ok(capabilities));

    let started = Started { nonce: 0x1234_5678, holds_s: 900 };
    let bytes = [0xcf, 0xc2, 0, 1, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0x84, 3];
    assert_eq!(started.encode(1), bytes);
    assert_eq!(Started::decode(&bytes, 1), Ok(started));
    assert_eq!(Started::decode(&bytes, 2), Err(BadReply::Tag));

    assert_eq!(acknowledged(0x0102_0304), [0xcf, 0xc2, 0, 4, 3, 2, 1]);
    assert_eq!(check_acknowledged(&[0xcf, 0xc2, 0, 4, 3, 2, 1], 0x0102_0304), Ok(()));
    assert_eq!(check_acknowledged(&[0xcf, 0xc2, 1, 4, 3, 2, 1], 0x0102_0304), Err(BadReply::Organisation));
}

#[test]
fn the_status() {
    let status = Status {
        state: 2,
        door: 3,
        percent: 50,
        result: 0x0102,
        door_states: 0x24,
        flags: 0x81,
        session: 0x1112_1314,
        received: 0x2122_2324,
        announced: 0x3132_3334,
        nonce: 0x4142_4344,
        running: [0x50; 8],
        running_security: 6,
        other: [0x70; 8],
        other_security: 8,
        wait_min: 9,
        holds_s: 10,
    };
    let mut bytes = vec![0xcf, 0xc2, 0, 1, 2, 3, 50, 2, 1, 0x24, 0x81];
    for word in [0x1112_1314_u32, 0x2122_2324, 0x3132_3334, 0x4142_4344] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0x50; 8]);
    bytes.extend([6, 0, 0, 0]);
    bytes.extend([0x70; 8]);
    bytes.extend([8, 0, 0, 0, 9, 0, 10, 0]);
    assert_eq!(status.encode(), bytes);
    assert_eq!(Status::decode(&bytes), Ok(status));
    for cut in 0..bytes.len() {
        assert!(Status::decode(&bytes[..cut]).is_err());
    }
    // What a later version appends is passed over.
    assert_eq!(Status::decode(&[&bytes[..], &[1, 2]].concat()), Ok(status));
    bytes[3] = 2;
    assert_eq!(Status::decode(&bytes), Err(BadReply::Format(2)));
}

#[test]
fn pieces() {
    let whole: Vec<u8> = (0..100).collect();
    let first = Piece::encode(9, &whole, 0);
    assert_eq!(first[..6], [0xcf, 0xc2, 0, 9, 100, 0]);
    assert_eq!(first.len(), 3 + BODY);
    assert_eq!(Piece::decode(&first, 9, 0), Ok(Piece { item: 9, total: 100, bytes: &whole[..56] }));
    assert_eq!(
        Piece::decode(&Piece::encode(9, &whole, 56), 9, 56).map(|piece| piece.bytes),
        Ok(&whole[56..])
    );
    assert_eq!(Piece::decode(&Piece::encode(9, &whole, 200), 9, 200).map(|piece| piece.bytes), Ok(&[][..]));
    assert_eq!(Piece::decode(&first, 8, 0), Err(BadReply::Tag));
    assert_eq!(
        Piece::decode(&first, 9, 60),
        Err(BadReply::Length),
        "a piece that is not as long as it has to be"
    );
}
