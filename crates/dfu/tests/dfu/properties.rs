//! Whatever a host does, in whatever order: no panic, no data beyond a block, events in their grammar, GETSTATUS answered, and the
//! next session works.

use std::time::Duration;

use inband_dfu::{
    Device,
    device::{Answer, Door, Elsewhere, Event, Intake, Manifestation},
    host::{self, Limits, Step},
    table::Mode,
    wire::{Request, State, Status, StatusReply},
};
use inband_usb::{HostError, Setup};
use proptest::prelude::*;

use crate::bench::{Bench, DFU};

/// Something that happens to the device.
#[derive(Clone, Debug)]
enum Op {
    /// A request that runs to its end.
    Request(Setup),
    /// A request that is given up; the data never come.
    Cut(Setup),
    /// Data nobody waits for.
    StrayData(usize),
    Reset,
    SetInterface,
    Unplug,
    Pass(u64),
    Intake(Intake),
    Complete(bool),
    Manifestation(Manifestation),
    Door(Door),
    BeginElsewhere,
    HandOverElsewhere,
    EndElsewhere(Elsewhere),
}

fn setup() -> impl Strategy<Value = Setup> {
    let dfu = (0_usize..7, 0_u16..6, prop_oneof![Just(0), Just(6), Just(64), Just(4096), any::<u16>()])
        .prop_map(|(request, value, length)| Request::ALL[request].setup(0, value, length));
    let good = (0_usize..7, 0_u16..3).prop_map(|(request, value)| {
        let request = Request::ALL[request];
        let length = match request {
            Request::Dnload => 100,
            Request::Upload => 4096,
            Request::GetStatus => 6,
            Request::GetState => 1,
            Request::Detach | Request::ClrStatus | Request::Abort => 0,
        };
        request.setup(0, value, length)
    });
    let any = any::<[u8; 8]>().prop_map(Setup::from_bytes);
    prop_oneof![6 => good, 3 => dfu, 1 => any]
}

fn status() -> impl Strategy<Value = Status> {
    (1_usize..16).prop_map(|number| Status::ALL[number])
}

fn op() -> impl Strategy<Value = Op> {
    let intake = prop_oneof![
        2 => Just(Intake::Ready),
        1 => any::<u32>().prop_map(|poll_ms| Intake::Busy { poll_ms }),
        1 => status().prop_map(Intake::Failed),
    ];
    let manifestation = prop_oneof![
        any::<u32>().prop_map(|poll_ms| Manifestation::Running { poll_ms }),
        Just(Manifestation::Done),
        status().prop_map(Manifestation::Failed),
    ];
    let elsewhere =
        prop_oneof![Just(Elsewhere::Staged), Just(Elsewhere::Aborted), status().prop_map(Elsewhere::Failed),];
    let door = prop_oneof![3 => Just(Door::Open), 1 => status().prop_map(Door::Refused)];
    prop_oneof![
        20 => setup().prop_map(Op::Request),
        2 => setup().prop_map(Op::Cut),
        1 => (0_usize..70_000).prop_map(Op::StrayData),
        1 => Just(Op::Reset),
        1 => Just(Op::SetInterface),
        1 => Just(Op::Unplug),
        2 => (0_u64..90_000).prop_map(Op::Pass),
        3 => intake.prop_map(Op::Intake),
        3 => any::<bool>().prop_map(Op::Complete),
        2 => manifestation.prop_map(Op::Manifestation),
        1 => door.prop_map(Op::Door),
        2 => Just(Op::BeginElsewhere),
        1 => Just(Op::HandOverElsewhere),
        1 => elsewhere.prop_map(Op::EndElsewhere),
    ]
}

/// What the events so far allow.
struct Watch {
    device: Device,
    now: Duration,
    /// Between Begin and the end of the download, or in another door's session.
    downloading: bool,
    /// It is another door's; whether it is handed over.
    elsewhere: Option<bool>,
    /// The owner has failed the download, so that its end need not be told.
    failed: bool,
    complete: bool,
    last_number: Option<u16>,
}

impl Watch {
    fn new(mode: Mode) -> Self {
        Self {
            device: Device::new(mode),
            now: Duration::from_secs(1),
            downloading: false,
            elsewhere: None,
            failed: false,
            complete: false,
            last_number: None,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Request(setup) => {
                let state = self.device.state();
                match self.device.handle_setup(self.now, setup) {
                    Answer::Stall => {}
                    Answer::Reply { bytes, length } => {
                        assert!(setup.request_type & 0x80 != 0);
                        assert!(length >= 1 && length <= usize::from(setup.length) && length <= bytes.len());
                    }
                    Answer::Receive { length } => {
                        assert_eq!(length, usize::from(setup.length));
                        assert!((1..=4096).contains(&length));
                        // Nothing has happened before the data is there, but what time has done.
                        assert!(self.device.state() == state || state == State::DfuDnbusy);
                        self.device.handle_data(self.now, length);
                        self.events(Some((setup.value, length)));
                    }
                    Answer::Acknowledge => {
                        assert_eq!(setup.length, 0);
                        self.device.handle_data(self.now, 0);
                    }
                }
            }
            Op::Cut(setup) => {
                let _ = self.device.handle_setup(self.now, setup);
                self.device.handle_cancelled();
            }
            Op::StrayData(length) => self.device.handle_data(self.now, *length),
            Op::Reset => {
                self.device.handle_disable(self.now);
                self.device.handle_enable(self.now);
            }
            Op::SetInterface => self.device.handle_enable(self.now),
            Op::Unplug => self.device.handle_disable(self.now),
            Op::Pass(ms) => {
                self.now += Duration::from_millis(*ms);
                if self.device.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.device.handle_timeout(self.now);
                    assert!(self.device.poll_timeout().is_none_or(|at| at > self.now), "a deadline stays");
                }
            }
            Op::Intake(intake) => {
                self.failed |= matches!(intake, Intake::Failed(_));
                self.device.set_intake(*intake);
            }
            Op::Complete(complete) => {
                self.complete = *complete;
                self.device.set_complete(*complete);
            }
            Op::Manifestation(manifestation) => self.device.set_manifestation(self.now, *manifestation),
            Op::Door(door) => self.device.set_door(*door),
            Op::BeginElsewhere => {
                let state = self.device.state();
                if self.device.begin_elsewhere(self.now) {
                    assert_eq!(state, State::DfuIdle);
                    assert!(!self.downloading || self.failed, "two sessions at once");
                    self.forget();
                    self.downloading = true;
                    self.elsewhere = Some(false);
                }
            }
            Op::HandOverElsewhere => {
                self.device.hand_over_elsewhere();
                self.elsewhere = self.elsewhere.map(|_| true);
            }
            Op::EndElsewhere(end) => {
                let before = (self.device.state(), self.device.status());
                self.device.end_elsewhere(self.now, *end);
                if self.elsewhere.take().is_some() {
                    self.downloading = false;
                } else {
                    assert_eq!((self.device.state(), self.device.status()), before);
                }
            }
        }
        self.events(None);
    }

    /// Takes the events, as an owner would; a block has to be the one just sent.
    fn events(&mut self, block: Option<(u16, usize)>) {
        let mut count = 0;
        while let Some(event) = self.device.poll_event() {
            count += 1;
            assert!(count <= 4, "events without end");
            match event {
                Event::Detach => {
                    self.device.enter_dfu_mode(self.now);
                    self.forget();
                }
                Event::Leave => {
                    assert!(!self.downloading || self.failed, "left in the middle of a download");
                    self.device.enter_runtime(self.now);
                    self.forget();
                }
                Event::Begin => {
                    assert!(!self.downloading || self.failed, "two downloads at once");
                    self.downloading = true;
                    self.failed = false;
                    self.complete = false;
                    self.last_number = None;
                }
                Event::BlockReceived { number, length } => {
                    assert!(self.downloading && !self.failed && self.elsewhere.is_none());
                    assert_eq!(block, Some((number, length)));
                    assert!(self.last_number.is_none_or(|last| last.wrapping_add(1) == number));
                    self.last_number = Some(number);
                }
                Event::EndOfData => {
                    assert!(self.downloading && self.complete && !self.failed && self.elsewhere.is_none());
                    self.downloading = false;
                }
                Event::Aborted(_) => {
                    assert!(self.downloading && (self.elsewhere.is_some() || !self.failed));
                    assert_ne!(self.elsewhere, Some(true), "what is handed over is not the host's to end");
                    self.downloading = false;
                    self.elsewhere = None;
                }
            }
        }
    }

    fn forget(&mut self) {
        self.downloading = false;
        self.elsewhere = None;
        self.failed = false;
        self.complete = false;
    }
}

fn walk(mode: Mode, ops: &[Op]) -> Watch {
    let mut watch = Watch::new(mode);
    for op in ops {
        watch.run(op);
        if mode == Mode::Lenient {
            // On a copy, since asking is not without effect.
            let mut device = watch.device.clone();
            let answer = device.handle_setup(watch.now, &Request::GetStatus.setup(0, 0, 6));
            let Answer::Reply { bytes, length: 6 } = answer else { panic!("GETSTATUS: {answer:?}") };
            let reply = StatusReply::parse(&bytes).unwrap();
            assert!((1..=1000).contains(&reply.poll_timeout_ms));
            assert_eq!((reply.state, reply.status), (device.state(), device.status()));
            assert_eq!(reply.status != Status::Ok, reply.state == State::DfuError);
        }
    }
    watch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_order_of_anything(ops in prop::collection::vec(op(), 0..60)) {
        for mode in [Mode::Lenient, Mode::Strict] {
            walk(mode, &ops);
        }
    }

    #[test]
    fn the_next_session_works(ops in prop::collection::vec(op(), 0..60)) {
        let Watch { mut device, now, .. } = walk(Mode::Lenient, &ops);
        // The owner is in order again, whatever the host did.
        device.end_elsewhere(now, Elsewhere::Aborted);
        device.set_door(Door::Open);
        device.set_intake(Intake::Ready);
        device.set_manifestation(now, Manifestation::Done);
        let mut bench = Bench::new(Mode::Lenient);
        bench.device = device;
        bench.now = now;
        bench.bus_reset();
        bench.assert_next_session();
    }

    /// A device that answers anything at all: the host ends, in bounded time, requests and waits.
    #[test]
    fn the_host_ends(replies in prop::collection::vec(reply(), 1..40), total in 1_u64..20_000) {
        let mut now = Duration::from_secs(5);
        let mut replies = replies.into_iter().cycle();
        let mut step = host::open(now, &DFU, Limits::default());
        let mut requests = 0;
        loop {
            step = match step {
                Step::Request(_, expect) => {
                    requests += 1;
                    prop_assert!(requests < 1_000_000);
                    now += Duration::from_millis(1);
                    let reply = replies.next().unwrap();
                    match expect.handle(now, reply.as_deref().map_err(Clone::clone)) {
                        Ok(step) => step,
                        Err(_) => break,
                    }
                }
                Step::Wait(time, pause) => {
                    prop_assert!(time <= host::POLL_LIMIT && !time.is_zero());
                    now += time;
                    pause.resume()
                }
                Step::Ready(ready) => ready.download(now, total).unwrap(),
                Step::Block(block) => {
                    prop_assert!(block.length() <= 4096 && block.length() > 0);
                    let data = vec![0; block.length()];
                    match block.send(now, data) {
                        Ok(step) => step,
                        Err(_) => break,
                    }
                }
                Step::Downloaded(_) => break,
                Step::Detached { .. } => unreachable!("nothing was detached"),
            };
        }
    }
}

fn reply() -> impl Strategy<Value = Result<Vec<u8>, HostError>> {
    let status = (0_u8..11, prop_oneof![5 => Just(0_u8), 1 => 0_u8..17], 0_u32..0x0100_0000).prop_map(
        |(state, status, poll)| {
            let poll = poll.to_le_bytes();
            vec![status, poll[0], poll[1], poll[2], state, 0]
        },
    );
    let helpful =
        prop_oneof![Just(2_u8), Just(5), Just(4), Just(7)].prop_map(|state| vec![0, 1, 0, 0, state, 0]);
    prop_oneof![
        12 => helpful.prop_map(Ok),
        6 => status.prop_map(Ok),
        1 => any::<Vec<u8>>().prop_map(Ok),
        1 => Just(Err(HostError::Stall)),
        1 => prop_oneof![Just(HostError::Gone), Just(HostError::Cancelled), Just(HostError::Overflow)].prop_map(Err),
    ]
}
