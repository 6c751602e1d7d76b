//! A host, a bus and an owner that do anything to the DFU device, in any order.

use std::time::Duration;

use inband_dfu::{
    Device,
    device::{Answer, Door, Elsewhere, Event, Intake, Manifestation},
    table::Mode,
    wire::{Request, State, Status, StatusReply, TRANSFER_SIZE},
};
use inband_usb::Setup;

/// The input is a mode and then operations, each a byte and what it needs. GETSTATUS is asked after each, on a copy.
pub(crate) fn run(input: &[u8]) {
    let Some((mode, mut rest)) = input.split_first() else { return };
    let mode = if mode & 1 == 0 { Mode::Lenient } else { Mode::Strict };
    let mut owner = Owner {
        device: Device::new(mode),
        now: Duration::ZERO,
        complete: false,
        download: None,
        elsewhere: false,
    };
    while owner.step(&mut rest).is_some() {
        owner.events();
        if mode == Mode::Lenient {
            owner.assert_status_is_answered();
        }
    }
}

struct Owner {
    device: Device,
    now: Duration,
    complete: bool,
    /// Bytes of the download in progress, or of another door's session, of which DFU sees none.
    download: Option<usize>,
    elsewhere: bool,
}

impl Owner {
    fn step(&mut self, rest: &mut &[u8]) -> Option<()> {
        let [operation] = take(rest)?;
        match operation % 16 {
            // Any setup packet, and its data.
            0 => self.request(&Setup::from_bytes(take(rest)?)),
            // One that is taken back.
            1 => {
                let _ = self.device.handle_setup(self.now, &Setup::from_bytes(take(rest)?));
                self.device.handle_cancelled();
            }
            // A DFU request in few bytes.
            2 => {
                let [request, value, low, high] = take(rest)?;
                let request = Request::ALL[usize::from(request) % Request::ALL.len()];
                self.request(&request.setup(0, value.into(), u16::from_le_bytes([low, high])));
            }
            3 => {
                self.device.handle_disable(self.now);
                self.device.handle_enable(self.now);
            }
            4 => self.device.handle_enable(self.now),
            5 => self.device.handle_disable(self.now),
            6 => {
                self.now += Duration::from_millis(u16::from_le_bytes(take(rest)?).into());
                self.device.handle_timeout(self.now);
                assert!(self.device.poll_timeout().is_none_or(|at| at > self.now));
            }
            7 => {
                let [kind, poll_ms] = take(rest)?;
                self.device.set_intake(match status(kind) {
                    Some(status) => Intake::Failed(status),
                    None if kind % 2 == 0 => Intake::Ready,
                    None => Intake::Busy { poll_ms: poll_ms.into() },
                });
            }
            8 => {
                let [complete] = take(rest)?;
                self.complete = complete % 2 == 0;
                self.device.set_complete(self.complete);
            }
            9 => {
                let [kind, poll_ms] = take(rest)?;
                let manifestation = match status(kind) {
                    Some(status) => Manifestation::Failed(status),
                    None if kind % 2 == 0 => Manifestation::Done,
                    None => Manifestation::Running { poll_ms: poll_ms.into() },
                };
                self.device.set_manifestation(self.now, manifestation);
            }
            10 => {
                let [kind] = take(rest)?;
                self.device.set_door(status(kind).map_or(Door::Open, Door::Refused));
            }
            // Another door.
            12 => {
                if self.device.begin_elsewhere(self.now) {
                    self.download = Some(0);
                    self.elsewhere = true;
                }
            }
            13 => self.device.hand_over_elsewhere(),
            14 => {
                let [kind] = take(rest)?;
                self.device.end_elsewhere(
                    self.now,
                    match status(kind) {
                        Some(status) => Elsewhere::Failed(status),
                        None if kind % 2 == 0 => Elsewhere::Staged,
                        None => Elsewhere::Aborted,
                    },
                );
                if core::mem::take(&mut self.elsewhere) {
                    self.download = None;
                }
            }
            // Data that no request waits for.
            _ => self.device.handle_data(self.now, u16::from_le_bytes(take(rest)?).into()),
        }
        Some(())
    }

    fn request(&mut self, setup: &Setup) {
        match self.device.handle_setup(self.now, setup) {
            Answer::Stall => {}
            Answer::Reply { bytes, length } => {
                assert!(length > 0 && length <= bytes.len() && length <= usize::from(setup.length));
            }
            Answer::Receive { length } => {
                assert!(length > 0 && length <= usize::from(TRANSFER_SIZE));
                self.device.handle_data(self.now, length);
            }
            Answer::Acknowledge => {
                assert_eq!(setup.length, 0);
                self.device.handle_data(self.now, 0);
            }
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.device.poll_event() {
            match event {
                Event::Detach => {
                    self.device.enter_dfu_mode(self.now);
                    self.download = None;
                    self.elsewhere = false;
                }
                Event::Leave => {
                    self.device.enter_runtime(self.now);
                    self.download = None;
                    self.elsewhere = false;
                }
                Event::Begin => {
                    self.download = Some(0);
                    self.complete = false;
                }
                Event::BlockReceived { length, .. } => {
                    let before = self.download.expect("a block in a download");
                    self.download = Some(before + length);
                }
                Event::EndOfData => {
                    assert!(self.complete, "taken before it was complete");
                    assert!(self.download.take().is_some_and(|bytes| bytes > 0));
                }
                Event::Aborted(_) => {
                    assert!(self.download.take().is_some());
                    self.elsewhere = false;
                }
            }
        }
    }

    fn assert_status_is_answered(&self) {
        let mut device = self.device.clone();
        let answer = device.handle_setup(self.now, &Request::GetStatus.setup(0, 0, 64));
        let Answer::Reply { bytes, length: StatusReply::LEN } = answer else { panic!("{answer:?}") };
        let reply = StatusReply::parse(&bytes).expect("our own reply");
        assert_eq!(reply.status != Status::Ok, reply.state == State::DfuError);
        assert!((1..=1000).contains(&reply.poll_timeout_ms));
    }
}

/// The high nibble as a status, unless it is OK.
fn status(kind: u8) -> Option<Status> {
    let number = kind >> 4;
    Status::from_number(number).filter(|status| *status != Status::Ok)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}
