//! QEMU's framing.

use inband_ipmi::{
    vm::{Decoder, FRAME, Frame, Numbered, greeting, qemu},
    wire::{Code, Reply},
};
use proptest::{collection::vec, prelude::*};

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
}

fn only_request(bytes: &[u8]) -> Option<Numbered> {
    match frames(bytes).as_slice() {
        [Frame::Request(message)] => Some(message.clone()),
        _ => None,
    }
}

#[test]
fn what_qemu_says_when_it_connects() {
    assert_eq!(frames(&[0xff, 0x01, 0xa1, 0x08, 0x3f, 0xa1]), [Frame::Version(1), Frame::Capabilities(0x3f)]);
    assert_eq!(frames(&[0x04, 0xa1]), [Frame::Reset]);
    assert_eq!(greeting(), [0xff, 0x01, 0xa1]);
}

#[test]
fn get_device_id_as_qemu_sends_it() {
    let message = only_request(&[0x00, 0x18, 0x01, 0xe7, 0xa0]).unwrap();
    let request = message.message.request();
    assert_eq!((request.netfn, request.lun, request.command, request.data), (6, 0, 1, &[][..]));
    assert_eq!(message.reply(&Reply::ok(vec![0xa0])), [0x00, 0x1c, 0x01, 0x00, 0xaa, 0xb0, 0x43, 0xa0]);
}

fn answers(bytes: &[u8]) -> Vec<qemu::Answer> {
    let mut decoder = qemu::Decoder::default();
    bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
}

#[test]
fn a_host_passes_over_what_is_no_answer() {
    let good = [0x07, 0x1c, 0x01, 0x00, 0xaa, 0xb0, 0x3c, 0xa0];
    let answer = qemu::Answer { sequence: 7, netfn: 7, command: 1, reply: Reply::ok(vec![0xa0]) };
    let overlong = [&[0x55; FRAME + 1][..], &[0xa0]].concat();
    // The greeting, ATTN, a wrong checksum, no completion code, nothing, too much.
    for other in [
        &[0xff, 0x01, 0xa1][..],
        &[0x02, 0xa1],
        &[7, 0x1c, 1, 0, 0, 0xa0],
        &[7, 0x1c, 1, 0xdc, 0xa0],
        &[0xa0],
        &overlong,
    ] {
        assert_eq!(answers(&[other, &good].concat()), std::slice::from_ref(&answer), "{other:02x?}");
    }
}

#[test]
fn what_makes_no_sense_is_passed_over_and_the_next_message_is_not() {
    let good = [0x00, 0x18, 0x01, 0xe7, 0xa0];
    let overlong = [&[0x55; FRAME + 1][..], &[0xa0]].concat();
    for bad in [
        &[0x00, 0x18, 0x01, 0xe8, 0xa0][..],
        &[0xa0],
        &[0x01, 0xff, 0xa0],
        &[0x77, 0xa1],
        &[0xaa, 0xa0],
        &overlong,
    ] {
        assert!(only_request(&[bad, &good].concat()).is_some(), "{bad:02x?}");
    }
    // A reply is no request.
    assert_eq!(frames(&[0x00, 0x1c, 0x01, 0xe3, 0xa0]), []);
}

proptest! {
    #[test]
    fn every_request_arrives(sequence: u8, netfn in (0..32_u8).prop_map(|n| n * 2), command: u8, data in vec(any::<u8>(), 0..200)) {
        let message = only_request(&qemu::request(sequence, netfn, command, &data)).unwrap();
        prop_assert_eq!(message.sequence, sequence);
        let request = message.message.request();
        prop_assert_eq!((request.netfn, request.command, request.data), (netfn, command, &data[..]));
    }

    #[test]
    fn every_reply_arrives(sequence: u8, netfn in (0..32_u8).prop_map(|n| n * 2), command: u8, code: u8, data in vec(any::<u8>(), 0..200)) {
        let message = only_request(&qemu::request(sequence, netfn, command, &[])).unwrap();
        let reply = Reply { code: Code(code), data };
        let answer = qemu::Answer { sequence, netfn: netfn + 1, command, reply };
        prop_assert_eq!(answers(&message.reply(&answer.reply)), [answer]);
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(prop_oneof![any::<u8>(), Just(0xa0), Just(0xa1), Just(0xaa)], 0..2000)) {
        for frame in frames(&bytes) {
            if let Frame::Request(message) = frame {
                prop_assert!(message.message.request().data.len() <= FRAME);
            }
        }
        for answer in answers(&bytes) {
            prop_assert!(answer.reply.data.len() <= FRAME);
        }
    }
}
