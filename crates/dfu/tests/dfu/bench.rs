//! A device on a test bench: the state machine, a clock moved by hand, and an owner that takes one known image.

use std::time::Duration;

use inband_dfu::{
    Device,
    device::{Answer, Cause, Event, Intake, Manifestation},
    host::{self, DfuInterface, End, Error, InterfaceMode, Limits, Step},
    table::Mode,
    wire::{FunctionalDescriptor, Request, State, Status, StatusReply},
};
use inband_usb::{Direction, HostError, Setup};

/// A device as the host's side finds it by its descriptors.
pub(crate) const RUNTIME: DfuInterface =
    DfuInterface { number: 0, mode: InterfaceMode::Runtime, name: 0, functional: FunctionalDescriptor::OURS };
/// The same in DFU mode.
pub(crate) const DFU: DfuInterface = DfuInterface { mode: InterfaceMode::Dfu, ..RUNTIME };

/// The device answered STALL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) now: Duration,
    /// The image the owner takes; any other is refused with errVERIFY at its last byte.
    pub(crate) image: Vec<u8>,
    /// What the download in progress has brought.
    pub(crate) received: Vec<u8>,
    /// What the last download that was taken has brought.
    pub(crate) installed: Option<Vec<u8>>,
    /// The owner is busy with each block so often.
    pub(crate) busy_polls: u32,
    busy_left: u32,
    /// The owner says by itself that the manifestation is done.
    pub(crate) manifests: bool,
    pub(crate) events: Vec<Event>,
}

impl Bench {
    /// Run-time mode, configured.
    pub(crate) fn new(mode: Mode) -> Self {
        let image = (0..3 * 4096 + 100).map(|at: usize| (at % 251) as u8).collect();
        let mut bench = Self {
            device: Device::new(mode),
            now: Duration::from_secs(1000),
            image,
            received: Vec::new(),
            installed: None,
            busy_polls: 0,
            busy_left: 0,
            manifests: true,
            events: Vec::new(),
        };
        bench.device.handle_enable(bench.now);
        bench
    }

    pub(crate) fn in_dfu_mode(mode: Mode) -> Self {
        let mut bench = Self::new(mode);
        bench.out(Request::Detach, 1000, &[]).unwrap();
        assert_eq!(bench.device.state(), State::DfuIdle);
        bench
    }

    pub(crate) fn lenient() -> Self {
        Self::in_dfu_mode(Mode::Lenient)
    }

    /// A request to the device, by its name.
    pub(crate) fn out(&mut self, request: Request, value: u16, data: &[u8]) -> Result<(), Stalled> {
        self.control_out(request.setup(0, value, data.len().try_into().unwrap()), data)
    }

    /// Any request with data to the device, or without data.
    pub(crate) fn control_out(&mut self, setup: Setup, data: &[u8]) -> Result<(), Stalled> {
        let answer = self.device.handle_setup(self.now, &setup);
        let result = match answer {
            Answer::Stall => Err(Stalled),
            Answer::Reply { .. } => panic!("an IN answer to {setup:?}"),
            Answer::Receive { length } => {
                assert_eq!(length, data.len());
                self.device.handle_data(self.now, length);
                Ok(())
            }
            Answer::Acknowledge => {
                assert_eq!(setup.length, 0);
                self.device.handle_data(self.now, 0);
                Ok(())
            }
        };
        self.own(data);
        result
    }

    /// Any request with data from the device.
    pub(crate) fn control_in(&mut self, setup: Setup) -> Result<Vec<u8>, Stalled> {
        let answer = self.device.handle_setup(self.now, &setup);
        let result = match answer {
            Answer::Stall => Err(Stalled),
            Answer::Reply { bytes, length } => {
                assert!(length <= usize::from(setup.length));
                Ok(bytes[..length].to_vec())
            }
            Answer::Receive { .. } | Answer::Acknowledge => panic!("an OUT answer to {setup:?}"),
        };
        self.own(&[]);
        result
    }

    pub(crate) fn status(&mut self) -> StatusReply {
        let bytes = self.control_in(Request::GetStatus.setup(0, 0, 6)).expect("GETSTATUS is answered");
        StatusReply::parse(&bytes).unwrap()
    }

    pub(crate) fn assert_status(&mut self, state: State, status: Status) {
        let reply = self.status();
        assert_eq!((reply.state, reply.status), (state, status));
    }

    /// A request whose data stage is cut.
    pub(crate) fn cut(&mut self, setup: Setup) {
        let answer = self.device.handle_setup(self.now, &setup);
        assert!(matches!(answer, Answer::Receive { .. } | Answer::Acknowledge), "{answer:?}");
        self.device.handle_cancelled();
        self.own(&[]);
    }

    pub(crate) fn bus_reset(&mut self) {
        self.device.handle_disable(self.now);
        self.own(&[]);
        self.device.handle_enable(self.now);
        self.own(&[]);
    }

    pub(crate) fn set_interface(&mut self) {
        self.device.handle_enable(self.now);
        self.own(&[]);
    }

    /// Time passes; every deadline on the way is kept.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.device.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.device.handle_timeout(self.now);
            self.own(&[]);
        }
        self.now = end;
    }

    /// One block and its status, to dfuDNLOAD-IDLE.
    pub(crate) fn block(&mut self, number: u16, data: &[u8]) {
        self.out(Request::Dnload, number, data).unwrap();
        self.assert_status(State::DfuDnloadIdle, Status::Ok);
    }

    /// All blocks of the image, each of them good; the end of the data is still to be sent.
    pub(crate) fn blocks(&mut self) -> u16 {
        let mut number = 0;
        for block in self.image.clone().chunks(4096) {
            self.block(number, block);
            number += 1;
        }
        number
    }

    /// Brings the device into a state by requests and time alone.
    pub(crate) fn reach(mode: Mode, state: State) -> Self {
        let mut bench = match state {
            State::AppIdle => return Self::new(mode),
            State::AppDetach => {
                let mut bench = Self::new(mode);
                let answer = bench.device.handle_setup(bench.now, &Request::Detach.setup(0, 1000, 0));
                assert_eq!(answer, Answer::Acknowledge);
                bench.device.handle_data(bench.now, 0);
                return bench;
            }
            _ => Self::in_dfu_mode(mode),
        };
        match state {
            State::AppIdle | State::AppDetach | State::DfuIdle => {}
            State::DfuDnloadSync => bench.out(Request::Dnload, 0, &[1; 64]).unwrap(),
            State::DfuDnbusy => {
                bench.busy_polls = 1;
                bench.out(Request::Dnload, 0, &[1; 64]).unwrap();
                bench.assert_status(State::DfuDnbusy, Status::Ok);
            }
            State::DfuDnloadIdle => bench.block(0, &[1; 64]),
            State::DfuManifestSync | State::DfuManifest => {
                bench.manifests = false;
                let number = bench.blocks();
                bench.out(Request::Dnload, number, &[]).unwrap();
                if state == State::DfuManifest {
                    bench.assert_status(State::DfuManifest, Status::Ok);
                }
            }
            State::DfuError => assert_eq!(bench.out(Request::Dnload, 0, &[]), Err(Stalled)),
            State::DfuManifestWaitReset | State::DfuUploadIdle => {
                panic!("our attributes have no way into {state}")
            }
        }
        assert_eq!(bench.device.state(), state);
        bench
    }

    /// Runs steps of the host sequence until one that ends it, giving blocks from `file`.
    pub(crate) fn drive(&mut self, step: Step, file: &[u8]) -> Result<Step, Error> {
        let mut step = step;
        let mut at = 0;
        loop {
            step = match step {
                Step::Request(transfer, expect) => {
                    let reply = match transfer.setup.direction() {
                        Direction::Out => {
                            self.control_out(transfer.setup, &transfer.data).map(|()| transfer.data)
                        }
                        Direction::In => self.control_in(transfer.setup),
                    };
                    let reply = reply.map_err(|Stalled| HostError::Stall);
                    expect.handle(self.now, reply.as_deref().map_err(Clone::clone))?
                }
                Step::Wait(time, pause) => {
                    self.pass(time);
                    pause.resume()
                }
                Step::Block(block) => {
                    let data = file[at..at + block.length()].to_vec();
                    assert_eq!(block.sent(), at as u64);
                    at += data.len();
                    block.send(self.now, data)?
                }
                Step::Ready(ready) if !file.is_empty() => ready.download(self.now, file.len() as u64)?,
                end @ (Step::Ready(_) | Step::Detached { .. } | Step::Downloaded(_)) => return Ok(end),
            };
        }
    }

    /// A whole session of our host sequence: detach if need be, select the interface, clean up, download.
    pub(crate) fn session(&mut self, file: &[u8]) -> Result<End, Error> {
        if matches!(self.device.state(), State::AppIdle | State::AppDetach) {
            match self.drive(host::detach(&RUNTIME), &[])? {
                Step::Detached { bus_reset } => assert!(!bus_reset),
                other => panic!("{other:?}"),
            }
        }
        self.set_interface();
        match self.drive(host::open(self.now, &DFU, Limits::default()), file)? {
            Step::Downloaded(end) => Ok(end),
            other => panic!("{other:?}"),
        }
    }

    /// The device is unharmed: the next session installs the image.
    pub(crate) fn assert_next_session(&mut self) {
        self.installed = None;
        self.busy_polls = 0;
        self.manifests = true;
        let file = self.image.clone();
        assert_eq!(self.session(&file), Ok(End::Idle));
        assert!(self.installed.as_ref() == Some(&self.image), "another image was installed");
    }

    /// The owner is done with what it has taken.
    pub(crate) fn finish_manifestation(&mut self) {
        self.manifests = true;
        self.device.set_manifestation(self.now, Manifestation::Done);
    }

    /// What the owner does after each input; `data` is what the last data stage brought.
    fn own(&mut self, data: &[u8]) {
        while let Some(event) = self.device.poll_event() {
            self.events.push(event);
            match event {
                Event::Detach => {
                    self.device.enter_dfu_mode(self.now);
                    self.device.handle_enable(self.now);
                }
                Event::Leave => {
                    self.device.enter_runtime(self.now);
                    self.device.handle_enable(self.now);
                }
                Event::Begin | Event::Aborted(_) => self.received.clear(),
                Event::BlockReceived { length, .. } => {
                    assert_eq!(length, data.len());
                    self.received.extend_from_slice(data);
                    self.busy_left = self.busy_polls;
                    self.judge();
                }
                Event::EndOfData => {
                    self.installed = Some(std::mem::take(&mut self.received));
                    if self.manifests {
                        self.device.set_manifestation(self.now, Manifestation::Done);
                    }
                }
            }
        }
        if self.device.state() == State::DfuDnbusy && self.busy_left > 0 {
            self.busy_left -= 1;
            self.judge();
        }
    }

    fn judge(&mut self) {
        if self.busy_left > 0 {
            self.device.set_intake(Intake::Busy { poll_ms: 20 });
        } else if self.received.len() < self.image.len() {
            self.device.set_intake(Intake::Ready);
        } else if self.received == self.image {
            self.device.set_intake(Intake::Ready);
            self.device.set_complete(true);
        } else if self.received.len() > self.image.len() {
            self.device.set_intake(Intake::Failed(Status::ErrAddress));
        } else {
            self.device.set_intake(Intake::Failed(Status::ErrVerify));
        }
    }

    /// How downloads were ended early.
    pub(crate) fn aborts(&self) -> Vec<Cause> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Aborted(cause) => Some(*cause),
                _ => None,
            })
            .collect()
    }
}
