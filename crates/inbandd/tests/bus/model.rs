//! A session, its doors and the door handle against a model of them: whatever hosts, somebody on the BMC and the power do, in whatever order, the BMC
//! answers what the model answers and stands where the model stands. Whatever came, the running firmware is untouched, nothing is staged that
//! was not whole and signed, and the next update works.

use std::{
    fmt::{Debug, Write as _},
    sync::OnceLock,
    time::Duration,
};

use inband_bulk::{ChunkSet, interface, wire::Kind};
use inband_dfu::wire::{Request, State};
use inband_ipmi::{
    Origin,
    command::Status,
    wire::{NETFN, ORGANISATION, Reply, Request as IpmiRequest},
};
use inband_package::sha256;
use inband_session::{DoorState, SessionState};
use inband_store::memory::Loss;
use inband_usb::{HostDevice as _, HostError};
use inband_virtual::memory::MemoryHost;
use inbandd::config::{PowerOn, WhileShut};
use proptest::test_runner::{Config, TestCaseError, TestCaseResult, TestRunner};

mod disk;
mod doors;
mod handle;
mod held;
mod machine;
mod step;
mod usb;

use disk::{Drive, Trigger};
use handle::{Act, Memory};
use machine::{Configured, DOORS, Firmware, Machine, Next, seconds};
use step::Step;
use usb::{Answer, Block, Dfu, DfuState, OnBus};

use crate::{
    bench::{Bench, GEOMETRY, Hold, Setting, command, detach_setup, dnload, factory, get_state, get_status},
    bulk_host::{self, Parts},
    cells::{
        image::{self, Sent},
        look::{self, Set},
    },
    disk_host::{Disk, Sense},
    fat::{APPLY, CANCEL, FREE},
    host::TIMEOUT,
    package::Package,
};

/// Bytes of a block of DFU.
const BLOCK: usize = 4096;
/// A byte of a signature, in the first block.
const SIGNATURE: usize = 1536;
/// In all other blocks, a byte of the image.
const IMAGE: usize = 100;

/// What hosts send, and the same with a signature that is none.
fn sent(firmware: Firmware, forged: bool) -> &'static Sent {
    static SENT: OnceLock<[[Sent; 2]; 2]> = OnceLock::new();
    let make = |firmware: Firmware| {
        let package = Package::new(firmware.bcd_device(), 9000);
        let mut file = package.bytes();
        let good = Sent::of(&package, file.clone());
        file[SIGNATURE] ^= 1;
        [good, Sent::of(&package, file)]
    };
    let all = SENT.get_or_init(|| [Firmware::Sent, Firmware::Older].map(make));
    &all[usize::from(firmware == Firmware::Older)][usize::from(forged)]
}

/// SHA-256 of the head of what hosts send; of the first firmware what none has.
fn head(firmware: Firmware) -> [u8; 32] {
    static HEADS: OnceLock<[[u8; 32]; 2]> = OnceLock::new();
    let of = |firmware| sha256(&sent(firmware, false).file[512..1024]);
    let [sent, older] = *HEADS.get_or_init(|| [Firmware::Sent, Firmware::Older].map(of));
    match firmware {
        Firmware::Factory => [0; 32],
        Firmware::Sent => sent,
        Firmware::Older => older,
    }
}

/// A BMC, what the model says of it, and a host.
struct Pair {
    bench: Bench,
    setting: Setting,
    machine: Machine,
    memory: Memory,
    /// Blocks of the download so far, and the number of the next one.
    blocks: usize,
    /// What speaks bulk.
    host: Option<MemoryHost>,
}

/// Fails with `what` unless both are the same.
fn same<T: PartialEq + Debug>(what: &str, is: &T, should: &T) -> TestCaseResult {
    if is == should {
        Ok(())
    } else {
        Err(TestCaseError::fail(format!("{what}: {is:?}; the model says {should:?}")))
    }
}

impl Pair {
    fn new(configured: Configured) -> Self {
        let [policy, bulk, volume] = configured.policies;
        let Configured {
            policies: _,
            fat,
            opens,
            health,
            refusals,
            armed_for,
            power_on,
            hides,
            holds,
            at_once,
        } = configured;
        let setting = Setting {
            policy,
            bulk,
            volume,
            fat,
            health,
            refusals,
            ipmi: true,
            ipmi_opens: opens,
            armed_for: armed_for.map_or(0, |time| time.as_secs() as u32),
            power_on: power_on.then_some(PowerOn::Command),
            while_shut: if hides { WhileShut::Nothing } else { WhileShut::Dfu },
            hold_restart: holds,
            activate: at_once,
            ..Setting::DEFAULT
        };
        let bench = Bench::with(setting);
        Self {
            bench,
            setting,
            machine: Machine::new(configured),
            memory: Memory::default(),
            blocks: 0,
            host: None,
        }
    }

    /// Has a step happen on both sides.
    fn take(mut self, step: Step) -> Result<Self, TestCaseError> {
        match step {
            Step::Killed | Step::PowerCut => {
                self.host = None;
                let power_cut = matches!(step, Step::PowerCut);
                self.bench = if power_cut {
                    self.bench.power_cycle(Loss::All)
                } else {
                    Bench::daemon(self.setting, self.bench.kill())
                };
                self.machine.die(power_cut);
                self.memory = Memory::default();
            }
            _ => self.happen(step)?,
        }
        self.settle();
        self.compare()?;
        Ok(self)
    }

    /// Nothing happens for 3 s, and then for as long as something is about to.
    fn settle(&mut self) {
        self.pass(seconds(3));
        while self.machine.is_near() || self.memory.is_near(self.machine.now) {
            self.pass(seconds(2));
        }
        if self.machine.plugged {
            self.bench.wait_attached();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.bench.bus.advance(time);
        self.catch_up();
    }

    fn catch_up(&mut self) {
        self.machine.pass(self.bench.bus.now());
    }

    fn happen(&mut self, step: Step) -> TestCaseResult {
        self.catch_up();
        if step.needs_device() && matches!(self.machine.bus, OnBus::Nothing) {
            return Ok(());
        }
        let bench = &self.bench;
        match step {
            Step::Ipmi(tag, act) => return self.ipmi(tag, act),
            Step::Nonsense(bytes, code) => {
                return same("the code", &self.send(Origin::System, bytes).code.0, &code);
            }
            Step::FromElsewhere(tag, act) => {
                return same("the code", &self.send(Origin::Other, &self.request(tag, act)).code.0, &0xd4);
            }
            Step::Ask(ask) => {
                let answer = bench.ask(ask);
                self.catch_up();
                let said = self.machine.ask(ask);
                return same("the answer", &answer, &said);
            }
            Step::Have(package) => self.machine.package = package,
            Step::Detach => {
                let answer = control(bench.open().control_out(detach_setup(), Vec::new(), TIMEOUT));
                self.blocks = 0;
                return same("DETACH", &answer, &self.machine.detach());
            }
            Step::Block(block) => return self.block(block),
            Step::Offer { whole } if self.machine.can_offer() => return self.offer(whole),
            Step::Offer { .. } => {}
            Step::GetStatus => {
                _ = get_status(&mut bench.open());
                self.machine.get_status();
            }
            Step::ClearStatus => {
                let answer = control(command(&mut bench.open(), Request::ClrStatus));
                return same("CLRSTATUS", &answer, &self.machine.clear_status());
            }
            Step::AbortDownload => {
                let answer = control(command(&mut bench.open(), Request::Abort));
                return same("ABORT", &answer, &self.machine.abort_download());
            }
            Step::Package(content) => {
                let (fat, package) = (self.machine.fat, self.machine.sends());
                let sent = sent(package, content.forged);
                let write = if content.whole { Sent::write } else { Sent::write_part };
                let answer = self.on_disk(|disk| write(sent, disk, fat))?;
                return same("WRITE", &answer, &self.machine.write_package(content));
            }
            Step::OtherFiles if self.machine.fat => {
                let taken = matches!(self.machine.bus, OnBus::Disk(Drive::Receiving { .. }));
                let answer = self.on_disk(|disk| match taken {
                    // Where a package is, it stays.
                    true => disk.write(GEOMETRY.data() + 9000, &[8; 5120]),
                    false => image::write_other(disk),
                })?;
                return same("WRITE", &answer, &self.machine.write_other());
            }
            Step::Command(trigger) if self.machine.fat => {
                let name = if trigger == Trigger::Take { APPLY } else { CANCEL };
                let answer = self.on_disk(|disk| image::name(disk, FREE + 1, name))?;
                return same("WRITE", &answer, &self.machine.write_command(trigger));
            }
            Step::OtherFiles | Step::Command(_) => {}
            Step::Eject => {
                let answer = self.on_disk(Disk::eject)?;
                return same("eject", &answer, &self.machine.eject());
            }
            Step::Look => return self.look(),
            Step::BusReset => {
                bench.bus.reset();
                self.machine.reset();
            }
            Step::Unplugged(time) => {
                bench.bus.unplug();
                self.machine.unplug();
                self.pass(seconds(time));
                while self.machine.is_near() {
                    self.pass(seconds(2));
                }
                self.bench.bus.plug();
                self.machine.plug();
            }
            Step::Silence(time) => self.pass(seconds(time)),
            Step::Slow(slow) => {
                bench.hold(if slow { Hold::Finish } else { Hold::Nothing });
                self.machine.slow_down(slow);
            }
            Step::Late(time) => bench.be_late(Duration::from_millis(time)),
            Step::Killed | Step::PowerCut => unreachable!("another BMC comes"),
        }
        Ok(())
    }

    /// The disk's answer, or that of none.
    fn on_disk<T>(
        &self,
        act: impl FnOnce(&mut Disk<MemoryHost>) -> Result<T, Sense>,
    ) -> Result<Option<Result<T, Sense>>, TestCaseError> {
        let there = look::set(&self.bench) == Set::Disk;
        Ok(there.then(|| act(&mut look::disk(&self.bench))))
    }

    // The door handle.

    /// What is behind the organisation's number.
    fn request(&self, tag: u32, act: Act) -> Vec<u8> {
        let tagged = |number: u8| [&[number][..], &tag.to_le_bytes()].concat();
        match act {
            Act::Start(door, other, said) => {
                let raw = door == 3 && self.setting.fat == other;
                let bits = [said.not_older, said.defer, said.length.is_some(), said.head.is_some()];
                let options = (0..).zip(bits).fold(0, |options, (bit, set)| options | u8::from(set) << bit);
                // One length is that of both packages.
                let bytes = sent(self.machine.package, false).file.len() as u32;
                let length = said.length.map(|right| if right { bytes } else { bytes + 512 }.to_le_bytes());
                let head = said.head.map(head);
                let (length, head) = (length.as_slice().concat(), head.as_slice().concat());
                [tagged(1), vec![door, u8::from(raw), options], length, head].concat()
            }
            Act::Stop { mine, commit } => {
                let nonce = self.machine.nonce ^ u32::from(!mine);
                [tagged(2), nonce.to_le_bytes().to_vec(), vec![u8::from(!commit)]].concat()
            }
            Act::Activate => tagged(5),
            Act::Confirm => tagged(6),
            Act::Abort => tagged(7),
        }
    }

    fn send(&self, origin: Origin, request: &[u8]) -> Reply {
        let data = [&ORGANISATION[..], request].concat();
        let request = IpmiRequest { netfn: NETFN, lun: 0, command: 0x49, data: &data };
        self.bench.ipmi(origin, &request).expect("it is for us")
    }

    fn ipmi(&mut self, tag: u32, act: Act) -> TestCaseResult {
        let request = self.request(tag, act);
        let reply = self.send(Origin::System, &request);
        if let Some(first) = self.memory.repeat(&self.machine, tag, &request) {
            return same("the reply to a repeat", &reply.data, &first.to_vec());
        }
        let before = self.machine.nonce;
        let code = self.machine.act(act);
        same("the code", &reply.code.0, &code)?;
        let done = (code == 0).then(|| reply.data.clone());
        if let (Act::Start(..), Some(data)) = (act, &done) {
            // Organisation, tag, nonce, seconds.
            let nonce = u32::from_le_bytes(data[7..11].try_into().unwrap());
            same("a nonce that was not there before", &(nonce != 0 && nonce != before), &true)?;
            same("the time that it holds", &&data[11..], &&900u16.to_le_bytes()[..])?;
            self.machine.name_start(nonce);
        }
        self.memory.keep(&self.machine, act, request, done);
        Ok(())
    }

    // DFU.

    fn block(&mut self, block: Block) -> TestCaseResult {
        let file = &sent(self.machine.sends(), false).file;
        let of = file.len().div_ceil(BLOCK);
        let idle = matches!(self.machine.bus, OnBus::Dfu(Dfu { state: DfuState::Idle, .. }));
        if idle {
            self.blocks = 0;
        }
        // Behind the last one, any bytes.
        let mut data = file.chunks(BLOCK).nth(self.blocks).unwrap_or(&[0x5a; BLOCK]).to_vec();
        match block {
            Block::Good | Block::Misnumbered => {}
            Block::Spoilt if self.blocks == 0 => data[SIGNATURE] ^= 1,
            Block::Spoilt => data[IMAGE] ^= 1,
            Block::End => data.clear(),
        }
        let number = self.blocks as u16 + if block == Block::Misnumbered && !idle { 7 } else { 0 };
        let mut host = self.bench.open();
        let answer = control(dnload(&mut host, number, &data));
        if answer == Answer::Taken {
            self.blocks += 1;
            // As a host does, but for a verdict that takes its time.
            for _ in 0..8 {
                match get_status(&mut host) {
                    Ok((State::DfuDnbusy | State::DfuDnloadSync, _)) => host.wait(Duration::from_millis(50)),
                    _ => break,
                }
            }
        }
        same("DNLOAD", &answer, &self.machine.block(block, of))
    }

    // Bulk.

    fn offer(&mut self, whole: bool) -> TestCaseResult {
        self.host = None;
        let mut host = self.bench.open();
        host.claim(interface::INTERFACE).unwrap();
        let parts = Parts::of(&sent(self.machine.sends(), false).file);
        bulk_host::send(&mut host, Kind::Offer, 1, 0, &parts.head).unwrap();
        let (header, body) = bulk_host::answer(&mut host);
        let is = (Kind::from_number(header.kind) == Some(Kind::Result)).then(|| bulk_host::result_in(&body));
        let should = self.machine.offer();
        same("OFFER", &is, &should)?;
        if is.is_some() {
            return Ok(());
        }
        // Of what it has already it asks for nothing.
        let asked = ChunkSet::from_need(&body, &parts.lengths()).unwrap();
        let asked: Vec<_> = asked.iter().collect();
        if whole || asked.is_empty() {
            for number in asked {
                bulk_host::chunk(&mut host, 1, &parts, number).unwrap();
            }
            self.machine.chunks();
        }
        // What it claims stays claimed.
        self.host = Some(host);
        Ok(())
    }

    // What must hold.

    fn look(&mut self) -> TestCaseResult {
        match self.machine.bus {
            OnBus::Nothing | OnBus::Bare => Ok(()),
            OnBus::Dfu(Dfu { state, .. }) => {
                let is = get_state(&mut self.bench.open()).unwrap();
                self.machine.be(state);
                let fits = match state {
                    DfuState::Idle => is == State::DfuIdle,
                    DfuState::Loading { .. } | DfuState::Whole => is == State::DfuDnloadIdle,
                    DfuState::Judged => matches!(is, State::DfuDnbusy | State::DfuDnloadSync),
                    DfuState::Over => !matches!(is, State::DfuIdle | State::AppIdle),
                    DfuState::Error => is == State::DfuError,
                    DfuState::Bulk => is == State::DfuDnbusy,
                    DfuState::BulkJudged => is == State::DfuManifest,
                };
                same(&format!("{is} is {state:?}"), &fits, &true)
            }
            OnBus::Disk(drive) => {
                let is = look::drive(&self.bench);
                let should = match drive {
                    Drive::Refused => "REFUSED",
                    Drive::Ready { other: false, .. } => "READY",
                    Drive::Told(_, true) => "PASS",
                    Drive::Told(_, false) => "FAIL",
                    Drive::Ready { .. } | Drive::Receiving { .. } => {
                        return same("the drive", &is, &look::Drive::Written);
                    }
                    Drive::Judging(_) | Drive::Gap(..) => return same("the drive", &is, &look::Drive::Empty),
                };
                same("the drive", &matches!(&is, look::Drive::Says(says, _) if says == should), &true)
                    .map_err(|_| TestCaseError::fail(format!("the drive: {is:?}; the model says {should}")))
            }
        }
    }

    fn compare(&mut self) -> TestCaseResult {
        let reply = self.send(Origin::System, &[3]);
        self.catch_up();
        let status = Status::decode(&reply.data).unwrap();
        self.machine.resolve(status.flags & 2 != 0);
        let machine = &self.machine;
        let session = &machine.session;
        let number = |door: inband_session::Door| door.number();
        same("state", &SessionState::from_number(status.state), &Some(session.state))?;
        same("result", &status.result, &session.result.code())?;
        same("door", &status.door, &session.door.map_or(0, number))?;
        same("session", &status.session, &session.id)?;
        let doors = DOORS.map(|door| match status.door_states >> (2 * door.index()) & 3 {
            0 => DoorState::Shut,
            1 => DoorState::Armed,
            _ => DoorState::Open,
        });
        same("doors", &doors, &machine.doors)?;
        let bits = [
            machine.trial.is_some(),
            machine.other_boots_next(),
            machine.is_locked_out(),
            true,
            false,
            false,
            false,
            machine.start.is_some(),
        ];
        let flags = (0..).zip(bits).fold(0, |flags, (bit, set)| flags | u8::from(set) << bit);
        same("flags", &format!("{:08b}", status.flags), &format!("{flags:08b}"))?;
        same("nonce", &status.nonce, &machine.nonce)?;
        let left = machine.start.map_or(Duration::ZERO, |start| start.until - machine.now);
        same("seconds of the start", &near(status.holds_s.into(), left.as_millis().div_ceil(1000)), &true)?;
        let wait = machine.wait().as_millis().div_ceil(60_000);
        same("minutes to wait", &near(status.wait_min.into(), wait), &true)?;
        if machine.configured.holds {
            same("a restart waits", &self.bench.restart_is_held(), &machine.held.is_some())?;
        }
        if machine.plugged {
            let set = match machine.bus {
                OnBus::Nothing => Set::Nothing,
                OnBus::Bare => Set::Bare,
                OnBus::Disk(_) => Set::Disk,
                OnBus::Dfu(_) => Set::Dfu,
            };
            same("on the bus", &look::set(&self.bench), &set)?;
        }
        self.assert_firmware()
    }

    /// What runs is what ran, byte for byte, and what boots next was sent whole.
    fn assert_firmware(&self) -> TestCaseResult {
        let bytes = match self.machine.running {
            Firmware::Factory => factory(),
            firmware => &sent(firmware, false).slot[..],
        };
        let running = self.bench.bmc().session().store().running;
        same("the running slot is untouched", &self.bench.slot_is(running, bytes), &true)?;
        let staged = match self.machine.next {
            Next::Staged(session) => self.bench.slot_is(running.other(), &sent(session.package, false).slot),
            Next::Nothing | Next::Open(_) => true,
        };
        same("what is staged is what was sent", &staged, &true)
    }

    fn end(mut self) {
        self.host = None;
        self.bench.hold(Hold::Nothing);
        self.machine.slow_down(false);
        // What a start has said is not for what follows.
        self.send(Origin::System, &self.request(0, Act::Abort));
        self.machine.act(Act::Abort);
        if self.machine.restart_at.is_some() {
            self.pass(seconds(70));
        }
        self.settle();
        crate::cells::assert_updatable(&self.bench, &self.setting, "behind it all");
    }
}

fn near(is: u128, should: u128) -> bool {
    is.abs_diff(should) <= 1
}

fn control(result: Result<(), HostError>) -> Answer {
    match result {
        Ok(()) | Err(HostError::Gone) => Answer::Taken,
        Err(HostError::Stall) => Answer::Stalled,
        Err(error) => panic!("{error}"),
    }
}

fn run(configured: Configured, steps: &[Step]) -> TestCaseResult {
    let mut pair = Pair::new(configured);
    pair.compare()?;
    let mut behind = String::new();
    for step in steps {
        writeln!(behind, "  {step:?}").unwrap();
        pair = pair.take(*step).map_err(|error| TestCaseError::fail(format!("{error}, behind\n{behind}")))?;
    }
    pair.end();
    Ok(())
}

/// A share of 10,000 sequences, or of as many as the environment says.
fn share(part: u32, of: u32) {
    let cases = std::env::var("INBAND_SEQUENCES").map_or(10_000, |count| count.parse().unwrap());
    let config = Config { cases: cases / of, failure_persistence: None, ..Config::default() };
    let seed = std::env::var("INBAND_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut bytes = [part as u8; 32];
    bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let random = proptest::test_runner::TestRng::from_seed(config.rng_algorithm, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    if let Err(error) = runner.run(&step::sequence(), |(configured, steps)| run(configured, &steps)) {
        panic!("{error}");
    }
}

#[test]
fn a_bmc_does_what_the_model_does_1() {
    share(1, 4);
}

#[test]
fn a_bmc_does_what_the_model_does_2() {
    share(2, 4);
}

#[test]
fn a_bmc_does_what_the_model_does_3() {
    share(3, 4);
}

#[test]
fn a_bmc_does_what_the_model_does_4() {
    share(4, 4);
}
