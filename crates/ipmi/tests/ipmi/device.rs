//! The framings of the BMC's devices.

use inband_ipmi::{
    device::{Framing, READ},
    wire::{Code, Reply},
};
use proptest::{collection::vec, prelude::*};

const ALL: [Framing; 3] = [Framing::Kcs, Framing::Bt, Framing::Ssif];

/// What the length of a message is in front of it on this machine.
fn ssif(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_ne_bytes(), message].concat()
}

fn bt(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).unwrap()], message].concat()
}

#[test]
fn get_device_id_and_its_reply() {
    let reply = Reply::ok(vec![0x20, 0x01]);
    for (framing, read, written) in [
        (Framing::Kcs, vec![0x18, 0x01], vec![0x1c, 0x01, 0x00, 0x20, 0x01]),
        (Framing::Bt, vec![3, 0x18, 0x77, 0x01], vec![6, 0x1c, 0x77, 0x01, 0x00, 0x20, 0x01]),
        (Framing::Ssif, ssif(&[0x18, 0x01]), ssif(&[0x1c, 0x01, 0x00, 0x20, 0x01])),
    ] {
        let request = framing.decode(&read).unwrap();
        let asked = request.message.request();
        assert_eq!((asked.netfn, asked.lun, asked.command, asked.data), (6, 0, 1, &[][..]));
        assert_eq!(request.reply(&reply), written, "{framing:?}");
    }
}

#[test]
fn status_with_a_logical_unit_and_a_refusal() {
    let data = [0xcf, 0xc2, 0x00, 0x03];
    let kcs = [&[0xba, 0x49][..], &data].concat();
    for (framing, read, written) in [
        (Framing::Kcs, kcs.clone(), vec![0xbe, 0x49, 0xd4]),
        (Framing::Bt, [&[7, 0xba, 0xff, 0x49][..], &data].concat(), vec![4, 0xbe, 0xff, 0x49, 0xd4]),
        (Framing::Ssif, ssif(&kcs), ssif(&[0xbe, 0x49, 0xd4])),
    ] {
        let request = framing.decode(&read).unwrap();
        let asked = request.message.request();
        assert_eq!((asked.netfn, asked.lun, asked.command, asked.data), (0x2e, 2, 0x49, &data[..]));
        assert_eq!(request.reply(&Code::PRIVILEGE.into()), written, "{framing:?}");
    }
}

#[test]
fn what_is_no_request_is_none() {
    for (framing, read) in [
        (Framing::Kcs, vec![]),
        (Framing::Kcs, vec![0x18]),
        // A reply.
        (Framing::Kcs, vec![0x1c, 0x01]),
        (Framing::Kcs, vec![0x18; READ + 1]),
        (Framing::Bt, vec![]),
        (Framing::Bt, vec![0]),
        (Framing::Bt, vec![2, 0x18, 0x00]),
        (Framing::Bt, vec![3, 0x1c, 0x00, 0x01]),
        (Framing::Bt, vec![2, 0x18, 0x00, 0x01]),
        (Framing::Bt, vec![4, 0x18, 0x00, 0x01]),
        (Framing::Ssif, vec![]),
        (Framing::Ssif, vec![2, 0, 0]),
        (Framing::Ssif, ssif(&[])),
        (Framing::Ssif, ssif(&[0x18])),
        (Framing::Ssif, ssif(&[0x1c, 0x01])),
        (Framing::Ssif, [&u32::MAX.to_ne_bytes()[..], &[0x18, 0x01]].concat()),
        (Framing::Ssif, [&3_u32.to_ne_bytes()[..], &[0x18, 0x01]].concat()),
        (Framing::Ssif, ssif(&[0x18; 255])),
    ] {
        assert_eq!(framing.decode(&read), None, "{framing:?} {read:02x?}");
    }
}

#[test]
fn the_longest_of_each_kind() {
    for (framing, longest, frame) in [(Framing::Kcs, 997, 0), (Framing::Bt, 251, 1), (Framing::Ssif, 251, 4)]
    {
        let read = match framing {
            Framing::Kcs => vec![0x18; READ],
            Framing::Bt => bt(&[0x18; 255]),
            Framing::Ssif => ssif(&[0x18; 254]),
        };
        let request = framing.decode(&read).unwrap();
        let fits = request.reply(&Reply::ok(vec![0xaa; longest]));
        assert_eq!(fits[fits.len() - longest..], vec![0xaa; longest], "{framing:?}");
        // Nothing is cut off in silence.
        let refused = request.reply(&Reply::ok(vec![0xaa; longest + 1]));
        assert_eq!((refused.last(), refused.len()), (Some(&0xce), fits.len() - longest), "{framing:?}");
        assert!(refused.len() >= frame + 3);
    }
}

proptest! {
    #[test]
    fn junk_is_answered_with_something_the_device_takes(junk in vec(any::<u8>(), 0..1010), data in vec(any::<u8>(), 0..1010)) {
        for framing in ALL {
            // As it is, and with a length that is right.
            for read in [junk.clone(), bt(&junk[..junk.len().min(255)]), ssif(&junk)] {
                let Some(request) = framing.decode(&read) else { continue };
                let reply = request.reply(&Reply::ok(data.clone()));
                let taken = match framing {
                    Framing::Kcs => (3..=1000).contains(&reply.len()),
                    Framing::Bt => (5..=256).contains(&reply.len()) && usize::from(reply[0]) == reply.len() - 1 && reply[2] == read[2],
                    Framing::Ssif => (7..=258).contains(&reply.len()) && reply[..4] == u32::try_from(reply.len() - 4).unwrap().to_ne_bytes(),
                };
                prop_assert!(taken, "{:?} {:02x?}", framing, reply);
            }
        }
    }
}
