//! The door handle: a host's requests, QEMU's stream, messages of the BMC's devices, and a BMC's replies.

use std::time::Duration;

use inband_ipmi::{
    Doorkeeper, Handler, Origin,
    command::{
        Capabilities, Command, Door, FLAG_STARTED, Piece, Started, Status, Wishes, check_acknowledged,
    },
    device::{Framing, READ},
    standalone::Standalone,
    vm::{Decoder, FRAME, Frame, qemu},
    wire::{BODY, Code, ORGANISATION, Request},
};

/// Whether a door is open, and what it refuses.
#[derive(Default)]
struct Keeper {
    open: bool,
    refuse: bool,
    at_work: bool,
}

impl Keeper {
    const fn answer(&self) -> Result<(), Code> {
        if self.refuse { Err(Code::NOTHING) } else { Ok(()) }
    }
}

impl Doorkeeper for Keeper {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn status(&self, _: Duration) -> Status {
        Status::default()
    }

    fn session(&self) -> u32 {
        0
    }

    fn item(&self, item: u8, _: Duration) -> Option<Vec<u8>> {
        (item < 128).then(|| vec![item; usize::from(item) * 4])
    }

    fn open(&mut self, _: Duration, _: Door, _: &Wishes) -> Result<(), Code> {
        self.answer()?;
        assert!(!self.open, "a door that is open is opened");
        self.open = true;
        Ok(())
    }

    fn is_at_work(&self) -> bool {
        self.at_work
    }

    fn shut(&mut self, _: Duration, _: bool) -> Result<(), Code> {
        self.open = false;
        self.answer()
    }

    fn run_out(&mut self, _: Duration) {
        self.open = false;
    }

    fn abort(&mut self, _: Duration) -> Result<(), Code> {
        self.answer()
    }

    fn activate(&mut self, _: Duration) -> Result<(), Code> {
        self.answer()
    }

    fn confirm(&mut self, _: Duration) -> Result<(), Code> {
        self.answer()
    }
}

/// The input is a stream as QEMU sends it, in which a control command moves the clock and the doorkeeper's mood besides; it is what a device gives; and it is a reply.
pub(crate) fn run(input: &[u8]) {
    read_as_replies(input);
    read_from_devices(input);
    let (mut decoder, mut handler, mut standalone) =
        (Decoder::default(), Handler::default(), Standalone::default());
    let (mut keeper, mut now) = (Keeper::default(), Duration::ZERO);
    let mut answers = qemu::Decoder::default();
    for byte in input {
        assert!(answers.push(*byte).is_none_or(|answer| answer.reply.data.len() <= FRAME));
        match decoder.push(*byte) {
            None | Some(Frame::Reset) => {}
            Some(Frame::Version(seconds)) => now += Duration::from_secs(u64::from(seconds) * 8),
            Some(Frame::Capabilities(bits)) => {
                (keeper.refuse, keeper.at_work) = (bits & 1 != 0, bits & 2 != 0);
            }
            Some(Frame::Request(numbered)) => {
                let request = numbered.message.request();
                assert!(request.data.len() <= FRAME);
                let reply = if handler.is_ours(&request) {
                    handler.handle(now, Origin::System, &request, u32::from(*byte), &mut keeper)
                } else {
                    standalone.handle(&request)
                };
                assert!(reply.code == Code::OK || reply.data.is_empty());
                assert!(reply.data.len() <= ORGANISATION.len() + BODY);
                assert!(numbered.reply(&reply).ends_with(&[0xa0]));
            }
        }
        // Asking lets a start run out whose time is over.
        let started = is_started(&mut handler, now, &mut keeper);
        assert_eq!(keeper.open, started, "a door is open exactly while a start is in force");
    }
}

fn is_started(handler: &mut Handler, now: Duration, keeper: &mut Keeper) -> bool {
    let data = Command::Status.encode();
    let request = Request { netfn: 0x2e, lun: 0, command: 0x49, data: &data };
    let reply = handler.handle(now, Origin::System, &request, 1, keeper);
    Status::decode(&reply.data).expect("a status of our own").flags & FLAG_STARTED != 0
}

/// With each framing's own length in front too, so that what is behind it is reached.
fn read_from_devices(input: &[u8]) {
    let (mut handler, mut standalone, mut keeper) =
        (Handler::default(), Standalone::default(), Keeper::default());
    let bt = [&[input.len() as u8], input].concat();
    let ssif = [&(input.len() as u32).to_ne_bytes(), input].concat();
    for framing in [Framing::Kcs, Framing::Bt, Framing::Ssif] {
        for read in [input, &bt, &ssif] {
            let Some(framed) = framing.decode(read) else { continue };
            let request = framed.message.request();
            assert!(request.data.len() < READ);
            let reply = if handler.is_ours(&request) {
                handler.handle(Duration::ZERO, Origin::System, &request, 1, &mut keeper)
            } else {
                standalone.handle(&request)
            };
            let written = framed.reply(&reply);
            assert!(written.ends_with(&reply.data), "it is short enough for each of them");
            assert!(written.len() <= 4 + 4 + ORGANISATION.len() + BODY);
        }
    }
}

fn read_as_replies(input: &[u8]) {
    for reply in [input.to_vec(), [&ORGANISATION, input].concat()] {
        let _ = Capabilities::decode(&reply);
        let _ = Started::decode(&reply, 1);
        let _ = check_acknowledged(&reply, 1);
        if let Ok(status) = Status::decode(&reply) {
            assert_eq!(Status::decode(&status.encode()), Ok(status));
        }
        if let Ok(piece) = Piece::decode(&reply, 0, 0) {
            assert!(piece.bytes.len() <= usize::from(piece.total));
        }
    }
    if let Ok(command) = Command::decode(input) {
        assert_eq!(Command::decode(&command.encode()[ORGANISATION.len()..]), Ok(command));
    }
}
