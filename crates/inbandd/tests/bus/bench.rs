//! A BMC on the bus, with everything under it in memory, and the host at the other end.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use inband_dfu::{
    descriptors::Identity,
    host::{End, Error},
    table::Mode,
    wire::{DETACH_TIMEOUT_MS, Request, State, Status, StatusReply},
};
use inband_ipmi::{
    Origin,
    command::Command as IpmiCommand,
    wire::{NETFN, Reply as IpmiReply, Request as IpmiRequest},
};
use inband_package::{KeyRing, Kind, Policy};
use inband_session::{
    Config, Door, DoorPolicy, Limits, Pipeline, Rates, ResultCode, Session, SessionState, StoreView, start,
    status::{FIRST_LOG_PAGE, FirmwarePage, LogPage, STATUS_PAGE, StatusPage},
    trial,
};
use inband_store::{
    Firmware, Layout, Options, Region, Slot, SlotState, Store,
    memory::{Loss, MemoryMedium},
    text::Text,
};
use inband_usb::{HostDevice, HostError, Setup};
use inband_virtual::memory::{Bus, MemoryDevice, MemoryHost};
use inband_volume::{bot::Halts, fat::Geometry};
use inbandd::{
    bmc::{self, ArmedOptions, Bmc, DiskKind, Health, IpmiOptions, Profile, VolumeOptions},
    command::{Answer, Ask},
    config::{PowerOn, WhileShut},
    programs::{Exit, Runner, Task},
    worker::{Command, Gone, Inline, Reply, Worker},
};

use crate::{
    host::{self, TIMEOUT, page_setup},
    lent::LentDisk,
    package::{IMAGE, MACHINE, Package, key, noise},
};

/// Bytes of a slot, all of them the image's region.
pub(crate) const SLOT: usize = 160 * 1024;
/// The largest package that is taken, bytes.
pub(crate) const MAX_PACKAGE: u64 = 192 * 1024;
/// The filesystem of its disk, if that has one.
pub(crate) const GEOMETRY: Geometry = Geometry::new(MAX_PACKAGE as u32).unwrap();
/// Security version of the first firmware.
pub(crate) const FLOOR: u32 = 3;
/// bcdDevice of the first firmware.
pub(crate) const FACTORY: u16 = 0x0100;

/// How a BMC is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) mode: Mode,
    pub(crate) policy: DoorPolicy,
    /// Of the bulk door.
    pub(crate) bulk: DoorPolicy,
    /// Of the volume door.
    pub(crate) volume: DoorPolicy,
    /// Its disk has a filesystem.
    pub(crate) fat: bool,
    /// Its disk is another's, and there is no other door.
    pub(crate) lent: bool,
    /// The host has the door handle.
    pub(crate) ipmi: bool,
    /// It opens doors that are shut.
    pub(crate) ipmi_opens: bool,
    /// Seconds for which doors are armed; 0 is without an end.
    pub(crate) armed_for: u32,
    /// What says that the BMC has powered the host on.
    pub(crate) power_on: Option<PowerOn>,
    pub(crate) while_shut: WhileShut,
    /// A restart waits for the end of a session.
    pub(crate) hold_restart: bool,
    pub(crate) activate: bool,
    /// New firmware has to pass a health command.
    pub(crate) health: bool,
    /// The BMC restarts by a command.
    pub(crate) restart: bool,
    pub(crate) rates: Rates,
    /// Refused packages in a row that lock the host out.
    pub(crate) refusals: u32,
    /// Bytes from one mark in the journal to the next.
    pub(crate) mark_every: u64,
}

impl Setting {
    /// Most tests are about something else than budgets, and go through more sessions than a day has.
    pub(crate) const DEFAULT: Self = Self {
        mode: Mode::Lenient,
        policy: DoorPolicy::Always,
        bulk: DoorPolicy::Off,
        volume: DoorPolicy::Off,
        fat: false,
        lent: false,
        ipmi: false,
        ipmi_opens: true,
        armed_for: 900,
        power_on: None,
        while_shut: WhileShut::Dfu,
        hold_restart: false,
        activate: false,
        health: false,
        restart: false,
        rates: Rates { sessions: 0, rewrites: 0 },
        refusals: 0,
        mark_every: 4 << 20,
    };

    fn store(&self) -> Options {
        Options { mark_every: self.mark_every, ..Options::default() }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The health command.
pub(crate) const HEALTH: &str = "/health";
/// The command that restarts the BMC.
pub(crate) const RESTART: &str = "/restart";
/// The time in which the health command must have passed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);
/// From one try of it to the next.
pub(crate) const RETRY: Duration = Duration::from_secs(10);

/// Programs that do nothing but what a test says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs(Arc<Mutex<ProgramsState>>);

#[derive(Debug, Default)]
struct ProgramsState {
    /// Those that run.
    running: Vec<Task>,
    /// How often each kind was started and killed.
    started: usize,
    killed: usize,
    exits: VecDeque<(Task, Exit)>,
}

impl Programs {
    fn state(&self) -> MutexGuard<'_, ProgramsState> {
        self.0.lock().unwrap()
    }

    pub(crate) fn runs(&self, task: Task) -> bool {
        self.state().running.contains(&task)
    }

    /// How many were started, and how many of them killed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.started, state.killed)
    }

    /// The program that runs ends so.
    #[track_caller]
    pub(crate) fn end(&self, task: Task, exit: Exit) {
        let mut state = self.state();
        let at = state.running.iter().position(|running| *running == task).expect("it runs");
        state.running.swap_remove(at);
        state.exits.push_back((task, exit));
    }
}

impl Runner for Programs {
    fn start(&mut self, task: Task, command: &[String]) {
        let expected = match task {
            Task::Health => HEALTH,
            Task::Restart => RESTART,
        };
        assert_eq!(command, [expected]);
        let mut state = self.state();
        assert!(!state.running.contains(&task), "one at a time");
        state.running.push(task);
        state.started += 1;
    }

    fn kill(&mut self, task: Task) {
        let mut state = self.state();
        let before = state.running.len();
        state.running.retain(|running| *running != task);
        state.killed += before - state.running.len();
    }

    fn poll(&mut self) -> Option<(Task, Exit)> {
        self.state().exits.pop_front()
    }
}

/// What the worker holds back until it is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing.
    Nothing,
    /// The read-back, and all behind it.
    Finish,
    /// All.
    Everything,
}

/// A worker that can be held up, as one is by slow flash.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Inline<MemoryMedium, KeyRing>,
    hold: Hold,
    held: VecDeque<Command>,
}

impl Gate {
    pub(crate) fn hold(&mut self, hold: Hold) {
        self.hold = hold;
        if hold == Hold::Nothing {
            for command in self.held.drain(..) {
                self.inner.send(command).unwrap();
            }
        }
    }

    pub(crate) fn held(&self) -> &VecDeque<Command> {
        &self.held
    }
}

impl Worker for Gate {
    fn send(&mut self, command: Command) -> Result<(), Gone> {
        let holds = match self.hold {
            Hold::Nothing => false,
            Hold::Finish => !self.held.is_empty() || matches!(command, Command::Finish { .. }),
            Hold::Everything => true,
        };
        if holds {
            self.held.push_back(command);
            Ok(())
        } else {
            self.inner.send(command)
        }
    }

    fn poll(&mut self) -> Result<Option<Reply>, Gone> {
        self.inner.poll()
    }

    fn backlog(&self) -> usize {
        self.inner.backlog() + self.held.len()
    }
}

type TestBmc = Bmc<MemoryDevice, Gate>;

/// A BMC and its bus.
pub(crate) struct Bench {
    pub(crate) bus: Bus,
    setting: Setting,
    bmc: Arc<Mutex<TestBmc>>,
    /// How long ago the clock was read when the BMC comes to read an event, as on a machine that has more to do.
    late: Arc<Mutex<Duration>>,
    /// The programs that the BMC runs.
    pub(crate) programs: Programs,
    /// Bytes of memory that the machine has left.
    pub(crate) memory: Arc<AtomicU64>,
    /// The disk that is another's.
    pub(crate) lender: Arc<LentDisk>,
}

pub(crate) fn layout() -> Layout {
    let image = Region::new("bmc", IMAGE, 0, SLOT as u64);
    Layout::new(SLOT as u64, vec![image]).unwrap()
}

/// The first firmware, as it stands in slot a.
pub(crate) fn factory() -> &'static [u8] {
    static FACTORY: OnceLock<Vec<u8>> = OnceLock::new();
    FACTORY.get_or_init(|| noise(SLOT, 0xfac))
}

/// A store in which slot a holds the first firmware and runs.
pub(crate) fn new_store() -> MemoryMedium {
    let mut medium = MemoryMedium::new(SLOT);
    medium.fill(Slot::A, factory());
    let firmware = Firmware { version: Text::cut("factory"), bcd_device: FACTORY, security_version: FLOOR };
    Store::create(&mut medium, &firmware).unwrap();
    medium
}

impl Bench {
    /// A new BMC.
    pub(crate) fn new() -> Self {
        Self::with(Setting::default())
    }

    pub(crate) fn with(setting: Setting) -> Self {
        Self::boot(setting, new_store())
    }

    /// The machine starts with this store.
    pub(crate) fn boot(setting: Setting, medium: MemoryMedium) -> Self {
        let mut store = Store::open(medium, layout(), setting.store()).unwrap();
        store.boot().unwrap();
        Self::run(setting, store)
    }

    /// The daemon alone starts, and finds the machine running.
    pub(crate) fn daemon(setting: Setting, medium: MemoryMedium) -> Self {
        Self::run(setting, Store::open(medium, layout(), setting.store()).unwrap())
    }

    fn run(setting: Setting, store: Store<MemoryMedium>) -> Self {
        let keys = KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap();
        let policy = Policy { max_total_length: MAX_PACKAGE, ..Policy::for_machine(MACHINE.into()) };
        Self::serve(setting, store, |store| Pipeline::new(store, keys, policy, setting.rates))
    }

    /// The daemon starts, with this pipeline into the store.
    pub(crate) fn serve(
        setting: Setting,
        mut store: Store<MemoryMedium>,
        pipeline: impl FnOnce(Store<MemoryMedium>) -> Pipeline<MemoryMedium, KeyRing>,
    ) -> Self {
        start::recover(&mut store).unwrap();
        let pipeline = pipeline(store);
        let view = pipeline.view();
        let inner = Inline::new(pipeline);
        let worker = Gate { inner, hold: Hold::Nothing, held: VecDeque::new() };
        let doors = Door::ALL.map(|door| match door {
            Door::Dfu if setting.lent => DoorPolicy::Off,
            Door::Dfu => setting.policy,
            Door::Bulk => setting.bulk,
            Door::Volume => setting.volume,
            Door::Ipmi => DoorPolicy::Off,
        });
        let limits = Limits { refusals: setting.refusals, ..Limits::default() };
        let takes_ahead = setting.mode == Mode::Lenient;
        let session = Session::new(Config { machine: Text::cut(MACHINE), doors, limits, takes_ahead }, view);
        let programs = Programs::default();
        let memory = Arc::new(AtomicU64::new(u64::MAX));
        let left = Arc::clone(&memory);
        let lender = Arc::new(LentDisk::default());
        let disk = match setting.lent {
            true => DiskKind::Lent(Arc::clone(&lender) as _),
            false => DiskKind::Own(Halts::Use),
        };
        let options = bmc::Options {
            mode: setting.mode,
            bulk: setting.bulk != DoorPolicy::Off,
            volume: (setting.volume != DoorPolicy::Off).then(|| VolumeOptions {
                product_id: VOLUME_PRODUCT,
                serial: 0x0123_4567_89ab_cdef,
                profile: if setting.fat { Profile::Fat(GEOMETRY) } else { Profile::Raw },
                fat: Some(GEOMETRY),
                max_package: MAX_PACKAGE,
                disk,
                available: Arc::new(move || Ok(left.load(Ordering::Relaxed))),
            }),
            ipmi: setting.ipmi.then_some(IpmiOptions {
                command: 0x49,
                holds: Duration::from_secs(900),
                opens: setting.ipmi_opens,
                activates: true,
                confirms: true,
                max_package: MAX_PACKAGE,
            }),
            armed: ArmedOptions {
                time: (setting.armed_for != 0).then(|| Duration::from_secs(setting.armed_for.into())),
                power_on: setting.power_on,
            },
            while_shut: setting.while_shut,
            activate: setting.activate,
            hold_restart: setting.hold_restart,
            identity: Box::new(identity),
            health: setting.health.then(|| Health {
                command: vec![HEALTH.into()],
                limits: trial::Limits { deadline: DEADLINE, retry: RETRY },
            }),
            restart: if setting.restart { vec![RESTART.into()] } else { Vec::new() },
            runner: Box::new(programs.clone()),
        };
        let (bus, device) = Bus::new();
        let mut bmc = Bmc::new(device, worker, session, options);
        bmc.attach(Duration::ZERO).unwrap();
        let bmc = Arc::new(Mutex::new(bmc));
        let pumped = Arc::clone(&bmc);
        let late = Arc::new(Mutex::new(Duration::ZERO));
        let latest = Arc::clone(&late);
        bus.set_pump(move |now| {
            let late = Cell::new(*latest.lock().unwrap());
            let clock = || now.saturating_sub(late.take());
            pumped.lock().unwrap().step(clock).unwrap()
        });
        let bench = Self { bus, setting, bmc, late, programs, memory, lender };
        bench.wait_attached();
        bench
    }

    /// The BMC, to look at.
    pub(crate) fn bmc(&self) -> MutexGuard<'_, TestBmc> {
        self.bmc.lock().unwrap()
    }

    /// Has the BMC read its clock so long before each event.
    pub(crate) fn be_late(&self, late: Duration) {
        *self.late.lock().unwrap() = late;
    }

    /// Has the worker hold something back, or lets it go on.
    pub(crate) fn hold(&self, hold: Hold) {
        self.bmc().worker().hold(hold);
        if hold == Hold::Nothing {
            self.bus.advance(Duration::from_millis(1));
        }
    }

    /// How often the worker, which is held up, is to drop what a host wrote.
    pub(crate) fn to_be_dropped(&self) -> usize {
        let mut bmc = self.bmc();
        bmc.worker().held.iter().filter(|command| matches!(command, Command::Discard(_))).count()
    }

    /// A copy of the store as it is.
    pub(crate) fn medium(&self) -> MemoryMedium {
        self.bmc().worker().inner.pipeline().store().medium().clone()
    }

    /// Whether a slot holds exactly that.
    pub(crate) fn slot_is(&self, slot: Slot, bytes: &[u8]) -> bool {
        self.bmc().worker().inner.pipeline().store().medium().slot(slot) == bytes
    }

    /// Ends the daemon without a word, and returns its store. All hosts must be gone.
    pub(crate) fn kill(self) -> MemoryMedium {
        self.bus.clear_pump();
        let bmc = Arc::into_inner(self.bmc).unwrap().into_inner().unwrap();
        bmc.into_worker().inner.into_pipeline().into_store().into_medium()
    }

    /// Cuts the power and starts the machine anew.
    pub(crate) fn power_cycle(self, loss: Loss) -> Self {
        let setting = self.setting;
        let mut medium = self.kill();
        medium.power_cycle(loss);
        Self::boot(setting, medium)
    }

    /// Somebody on the BMC asks for something; what they are answered.
    pub(crate) fn ask(&self, ask: Ask) -> Answer {
        let answer = self.ask_later(ask);
        self.bus.advance(Duration::from_millis(1));
        answer.or_else(|| self.bmc().poll_answer()).expect("an answer")
    }

    /// The same; `None` while the answer is not known.
    pub(crate) fn ask_later(&self, ask: Ask) -> Option<Answer> {
        self.bmc().ask(self.bus.now(), ask).unwrap()
    }

    /// A request by IPMI.
    pub(crate) fn ipmi(&self, origin: Origin, request: &IpmiRequest<'_>) -> Option<IpmiReply> {
        let now = self.bus.now();
        let reply = self.bmc().ipmi(now, origin, request, now.subsec_nanos() | 1).unwrap();
        self.bus.advance(Duration::from_millis(1));
        reply
    }

    /// A command of the door handle, by the system interface.
    pub(crate) fn ipmi_command(&self, command: &IpmiCommand) -> IpmiReply {
        let data = command.encode();
        let request = IpmiRequest { netfn: NETFN, lun: 0, command: 0x49, data: &data };
        self.ipmi(Origin::System, &request).expect("it is for us")
    }

    // The host's side.

    /// Whether a restart waits.
    pub(crate) fn restart_is_held(&self) -> bool {
        self.ask(Ask::Status).text().contains("\"restart_held\":true")
    }

    /// Whether the BMC says that there is nothing for a host to see; then it is so.
    pub(crate) fn is_hidden(&self) -> bool {
        let hides = self.setting.while_shut == WhileShut::Nothing;
        let says = || self.ask(Ask::Status).text().contains("\"hidden\":true");
        let hidden = hides && says();
        assert!(!hidden || self.bus.descriptors().is_none());
        hidden
    }

    /// Waits until the host sees the device, if it may.
    pub(crate) fn wait_attached(&self) {
        assert!(
            self.is_hidden() || self.bus.run_until(Duration::from_secs(5), || self.bus.attached()),
            "the device does not come"
        );
    }

    /// Opens the device.
    pub(crate) fn open(&self) -> MemoryHost {
        self.wait_attached();
        self.bus.open().unwrap()
    }

    /// Opens the device and claims its interface, as a host program does.
    pub(crate) fn claim(&self) -> MemoryHost {
        let mut host = self.open();
        host.claim(0).unwrap();
        host
    }

    /// Whether the DFU-mode set is on the bus.
    pub(crate) fn in_dfu_mode(&self) -> bool {
        self.wait_attached();
        self.bus.descriptors().unwrap().product_id == DFU_PRODUCT
    }

    /// The device on the bus now leaves, and the next one comes.
    pub(crate) fn wait_return(&self, limit: Duration) {
        let generation = self.bus.generation();
        assert!(
            self.bus.run_until(limit, || self.bus.generation() > generation),
            "the device stays as it is"
        );
    }

    /// DETACH from run time to DFU mode, then opened and claimed.
    pub(crate) fn enter_dfu(&self) -> MemoryHost {
        assert!(!self.in_dfu_mode());
        let mut host = self.claim();
        let before = self.bus.generation();
        host::detach(&mut host).unwrap();
        assert!(self.bus.run_until(Duration::from_secs(5), || self.bus.generation() > before));
        assert!(self.in_dfu_mode());
        self.claim()
    }

    /// A whole update, from whichever mode, as a host tool does it.
    pub(crate) fn update(&self, file: &[u8]) -> Result<End, Error> {
        let mut host = if self.in_dfu_mode() { self.claim() } else { self.enter_dfu() };
        host::download(&mut host, file, |_, _| {})
    }

    /// The status page, asked for by another program than the one that has claimed the interface; of a device that is hidden, as IPMI tells it.
    pub(crate) fn status(&self) -> StatusPage {
        if self.is_hidden() {
            let page = self.bmc().session().page(STATUS_PAGE, self.bus.now()).unwrap();
            return StatusPage::decode(&page).unwrap();
        }
        host::status(&mut self.open()).unwrap()
    }

    /// The firmware page of a slot.
    pub(crate) fn firmware(&self, slot: Slot) -> FirmwarePage {
        let page = self.open().control_in(page_setup(FirmwarePage::number(slot)), TIMEOUT).unwrap();
        FirmwarePage::decode(&page).unwrap()
    }

    /// The newest log record.
    pub(crate) fn last_log(&self) -> LogPage {
        let page = self.open().control_in(page_setup(FIRST_LOG_PAGE), TIMEOUT).unwrap();
        LogPage::decode(&page).unwrap()
    }

    /// Leaves DFU mode by DETACH.
    pub(crate) fn leave_dfu(&self) {
        let before = self.bus.generation();
        let mut host = self.claim();
        to_idle(&mut host);
        let _ = host.control_out(detach_setup(), Vec::new(), TIMEOUT);
        assert!(self.bus.run_until(Duration::from_secs(5), || self.bus.generation() > before));
        assert!(!self.in_dfu_mode());
    }

    // What must always hold.

    /// Asserts state and result of the session.
    #[track_caller]
    pub(crate) fn assert_session(&self, state: SessionState, result: ResultCode) {
        let status = self.status();
        assert_eq!((status.state, status.result()), (state, Some(result)));
    }

    /// Asserts that slot a runs the first firmware, byte for byte.
    #[track_caller]
    pub(crate) fn assert_factory_runs(&self) {
        let status = self.status();
        assert_eq!((status.running, status.slots[0]), (Slot::A, SlotState::Good));
        assert!(self.medium().slot(Slot::A) == factory(), "the running slot was written to");
    }

    /// Asserts that the next session, with the package of version 2.0, is staged.
    #[track_caller]
    pub(crate) fn assert_updatable(&self) {
        let package = Package::new(0x0200, 20_000);
        assert_eq!(self.update(&package.bytes()), Ok(End::Idle));
        let status = self.status();
        assert_eq!((status.state, status.result()), (SessionState::Staged, Some(ResultCode::Ok)));
        let target = status.running.other();
        assert_eq!(status.boots_next, target);
        assert!(self.medium().slot(target) == package.slot(SLOT), "the slot does not hold the package");
    }
}

const PRODUCT: u16 = 1;
const DFU_PRODUCT: u16 = 2;
/// idProduct of the run-time set with the disk.
pub(crate) const VOLUME_PRODUCT: u16 = 3;

fn identity(view: &StoreView) -> Identity {
    let record = &view.record;
    Identity {
        vendor_id: 0x1209,
        runtime_product_id: PRODUCT,
        dfu_product_id: DFU_PRODUCT,
        runtime_version: record.slot(record.choice).bcd_device,
        dfu_version: record.slot(view.running).bcd_device,
        manufacturer: "Tests".into(),
        product: "BMC".into(),
        serial: "BUS-1".into(),
        interface_name: "bmc".into(),
    }
}

// Bare requests.

/// DNLOAD.
pub(crate) fn dnload(host: &mut MemoryHost, number: u16, data: &[u8]) -> Result<(), HostError> {
    let setup = Request::Dnload.setup(0, number, u16::try_from(data.len()).unwrap());
    host.control_out(setup, data.to_vec(), TIMEOUT)
}

/// DETACH, as a setup packet.
pub(crate) const fn detach_setup() -> Setup {
    Request::Detach.setup(0, DETACH_TIMEOUT_MS, 0)
}

/// GETSTATUS.
pub(crate) fn get_status(host: &mut MemoryHost) -> Result<(State, Status), HostError> {
    let bytes = host.control_in(Request::GetStatus.setup(0, 0, 6), TIMEOUT)?;
    let reply = StatusReply::parse(&bytes).unwrap();
    Ok((reply.state, reply.status))
}

/// GETSTATE, which never changes the state.
pub(crate) fn get_state(host: &mut MemoryHost) -> Result<State, HostError> {
    let bytes = host.control_in(Request::GetState.setup(0, 0, 1), TIMEOUT)?;
    Ok(State::from_number(bytes[0]).unwrap())
}

/// A request without data: DETACH, CLRSTATUS or ABORT.
pub(crate) fn command(host: &mut MemoryHost, request: Request) -> Result<(), HostError> {
    host.control_out(request.setup(0, 0, 0), Vec::new(), TIMEOUT)
}

/// Brings the device to dfuIDLE.
pub(crate) fn to_idle(host: &mut MemoryHost) {
    match get_state(host).unwrap() {
        State::DfuIdle => {}
        State::DfuError => command(host, Request::ClrStatus).unwrap(),
        _ => command(host, Request::Abort).unwrap(),
    }
    assert_eq!(get_status(host), Ok((State::DfuIdle, Status::Ok)));
}

/// A block, and GETSTATUS until the device is no longer busy with it.
pub(crate) fn block(host: &mut MemoryHost, number: u16, data: &[u8]) -> Result<(State, Status), HostError> {
    dnload(host, number, data)?;
    loop {
        match get_status(host)? {
            (State::DfuDnloadSync | State::DfuDnbusy, _) => host.wait(Duration::from_millis(50)),
            other => return Ok(other),
        }
    }
}

/// An IN request that is answered with so many bytes, or none.
pub(crate) fn answered(host: &mut MemoryHost, setup: Setup) -> Option<usize> {
    match host.control_in(setup, TIMEOUT) {
        Ok(bytes) => Some(bytes.len()),
        Err(HostError::Stall) => None,
        Err(error) => panic!("{setup:?}: {error}"),
    }
}

/// A start of the machine that gets no further than the loader.
pub(crate) fn boot_and_die(medium: MemoryMedium) -> MemoryMedium {
    let mut store = Store::open(medium, layout(), Options::default()).unwrap();
    store.boot().unwrap();
    store.into_medium()
}
