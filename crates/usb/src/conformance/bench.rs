//! Drives both sides of a rig from one thread.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::{fmt::Debug, task::Poll, time::Duration};

use super::{BULK_IN, BULK_OUT, Rig, pattern, plain_set};
use crate::{
    Completion, ControlError, DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress,
    HostCompletion, HostDevice, HostError, HostTransfer, Setup, TransferId, descriptor::ParsedConfiguration,
};

/// What the device's function does with a vendor request to interface 0: its bRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// IN: answer `pattern(wValue, wLength)`.
    Data = 1,
    /// IN: answer the first wValue bytes of `pattern(0, _)`.
    Short = 2,
    /// OUT or no data: take the data.
    Take = 3,
    /// Stall.
    Refuse = 4,
    /// Leave it to the scenario.
    Hold = 5,
}

/// Much longer than anything here takes.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Most idle periods of about a millisecond until the host sees a device.
const OPEN_LIMIT: u32 = 20_000;
/// How long a scenario looks on when nothing must happen.
const QUIET: Duration = Duration::from_millis(20);
/// How long the host waits before the device is looked after again.
const STEP: Duration = Duration::from_millis(1);

/// The function on the device's side.
#[derive(Default)]
pub(super) struct Function {
    /// Between an Enable and a Disable.
    pub(super) enabled: bool,
    /// Number of Disable events.
    pub(super) disables: u32,
    /// The unanswered request, if it is one to hold.
    pub(super) held: Option<Setup>,
    /// Data of the last OUT request taken.
    pub(super) received: Vec<u8>,
    /// Transfers that came home.
    pub(super) completions: VecDeque<Completion>,
    /// A request whose data has not come yet.
    reading: Option<Setup>,
}

impl Function {
    /// Takes all events there are.
    pub(super) fn step(&mut self, device: &mut impl DeviceBackend) {
        loop {
            if let Some(setup) = self.reading {
                self.take(device, setup);
            }
            let Some(event) = must(device.poll_event(), "polling the device") else { return };
            match event {
                DeviceEvent::Enable => self.enabled = true,
                DeviceEvent::Disable => {
                    self.enabled = false;
                    self.disables += 1;
                    self.held = None;
                    self.reading = None;
                }
                DeviceEvent::Suspend | DeviceEvent::Resume => {}
                DeviceEvent::Setup(setup) => {
                    self.held = None;
                    self.reading = None;
                    self.setup(device, setup);
                }
                DeviceEvent::Complete(completion) => self.completions.push_back(completion),
            }
        }
    }

    /// No request waits for its data.
    fn is_through(&self) -> bool {
        self.reading.is_none()
    }

    fn setup(&mut self, device: &mut impl DeviceBackend, setup: Setup) {
        assert!(self.enabled, "a request to a function that is not enabled: {setup:?}");
        assert_eq!(setup.request_type & 0x7f, 0x41, "no request of the suite: {setup:?}");
        assert_eq!(setup.index, 0, "no request of the suite: {setup:?}");
        let written = match setup.request {
            it if it == Ask::Data as u8 && setup.length > 0 => {
                device.control_write(&pattern(setup.value as u8, usize::from(setup.length)))
            }
            it if it == Ask::Short as u8 => device.control_write(&pattern(0, usize::from(setup.value))),
            it if it == Ask::Data as u8 || it == Ask::Take as u8 => {
                self.reading = Some(setup);
                return;
            }
            it if it == Ask::Refuse as u8 => device.control_stall(),
            it if it == Ask::Hold as u8 => {
                self.held = Some(setup);
                return;
            }
            _ => panic!("no request of the suite: {setup:?}"),
        };
        assert_ne!(written, Err(ControlError::Misuse), "the answer fits the request {setup:?}");
    }

    fn take(&mut self, device: &mut impl DeviceBackend, setup: Setup) {
        let mut data = vec![0; usize::from(setup.length)];
        match device.control_read(&mut data) {
            Poll::Pending => {}
            Poll::Ready(Ok(length)) => {
                assert_eq!(length, data.len(), "control_read returns wLength");
                self.received = data;
                self.reading = None;
            }
            Poll::Ready(Err(ControlError::Cancelled)) => self.reading = None,
            Poll::Ready(Err(ControlError::Misuse)) => panic!("control_read fits the request {setup:?}"),
        }
    }
}

/// A rig whose device is attached, opened by the host and configured.
pub(super) struct Bench<'a, R: Rig> {
    pub(super) rig: &'a mut R,
    pub(super) host: R::Host,
    pub(super) function: Function,
    /// The bulk endpoints as the host's descriptors name them.
    pub(super) bulk_out: EndpointAddress,
    pub(super) bulk_in: EndpointAddress,
    /// Ended transfers nobody has asked for yet.
    ended: VecDeque<HostCompletion>,
}

impl<'a, R: Rig> Bench<'a, R> {
    /// Attaches the plain set and brings everything up.
    pub(super) fn new(rig: &'a mut R) -> Self {
        Self::with(rig, &plain_set())
    }

    /// Attaches a set, whose first interface is the plain set's, and brings everything up.
    pub(super) fn with(rig: &'a mut R, set: &DescriptorSet) -> Self {
        let mut function = Function::default();
        must(rig.device().attach(set), "attaching");
        let host = open(rig, &mut function, set);
        let mut bench =
            Self { rig, host, function, bulk_out: BULK_OUT, bulk_in: BULK_IN, ended: VecDeque::new() };
        bench.settle();
        bench
    }

    /// Opens the device anew, after it left or the host let go of it. The old host is dropped first.
    pub(super) fn reopen(self, set: &DescriptorSet) -> Self {
        let Self { rig, host, mut function, .. } = self;
        drop(host);
        let host = open(rig, &mut function, set);
        let mut bench =
            Self { rig, host, function, bulk_out: BULK_OUT, bulk_in: BULK_IN, ended: VecDeque::new() };
        bench.settle();
        bench
    }

    /// Leaves the rig as [`Bench::new`] expects it.
    pub(super) fn finish(self) {
        let Self { rig, host, mut function, .. } = self;
        drop(host);
        must(rig.device().detach(), "detaching");
        rig.idle();
        function.step(rig.device());
    }

    /// Claims the interface and makes one request: once it is answered, the function has seen every Enable that went before.
    fn settle(&mut self) {
        must(self.host.claim(0), "claiming interface 0");
        must(self.host.claim(0), "claiming interface 0 again");
        self.works();
        let configuration = self.configuration();
        let [Some(bulk_out), Some(bulk_in)] = [Direction::Out, Direction::In].map(|direction| {
            configuration.interfaces.first().and_then(|interface| interface.bulk(direction))
        }) else {
            panic!("no bulk endpoints in {configuration:?}");
        };
        self.bulk_out = bulk_out.address;
        self.bulk_in = bulk_in.address;
    }

    /// Lets both sides run for a moment.
    pub(super) fn step(&mut self) {
        self.function.step(self.rig.device());
        self.host.wait(STEP);
        while let Some(completion) = self.host.poll() {
            self.ended.push_back(completion);
        }
    }

    /// Runs both sides until something is so.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = self.host.now() + LIMIT;
        while !done(self) {
            assert!(self.host.now() < deadline, "nothing for {LIMIT:?}: {what}");
            self.step();
        }
    }

    /// Runs both sides for a while in which nothing is to come.
    pub(super) fn quiet(&mut self) {
        let end = self.host.now() + QUIET;
        while self.host.now() < end {
            self.step();
        }
    }

    /// Starts a transfer.
    pub(super) fn start(&mut self, transfer: HostTransfer) -> TransferId {
        must(self.host.submit(transfer), "starting a transfer")
    }

    /// Starts a control request that carries `data`, or asks for `length` bytes.
    pub(super) fn start_out(&mut self, ask: Ask, value: u16, data: Vec<u8>) -> TransferId {
        self.start(HostTransfer::ControlOut { setup: setup(0x41, ask, value, data.len()), data })
    }

    /// Starts a control request for `length` bytes.
    pub(super) fn start_in(&mut self, ask: Ask, value: u16, length: usize) -> TransferId {
        self.start(HostTransfer::ControlIn { setup: setup(0xc1, ask, value, length) })
    }

    /// Whether a transfer has ended, which stays to be asked for.
    pub(super) fn has_ended(&self, id: TransferId) -> bool {
        self.ended.iter().any(|completion| completion.id == id)
    }

    /// The ids of the ended transfers nobody has asked for, in the order they ended.
    pub(super) fn ended_ids(&self) -> Vec<TransferId> {
        self.ended.iter().map(|completion| completion.id).collect()
    }

    /// Waits for the end of a transfer.
    pub(super) fn end(&mut self, id: TransferId) -> HostCompletion {
        self.until("the end of a transfer", |bench| bench.has_ended(id));
        let place = self.ended.iter().position(|completion| completion.id == id);
        must(place.and_then(|place| self.ended.remove(place)).ok_or("has_ended"), "the completion")
    }

    /// Waits for the good end of a transfer; its data.
    pub(super) fn good(&mut self, id: TransferId) -> Vec<u8> {
        let completion = self.end(id);
        assert_eq!(completion.result, Ok(()), "{completion:?}");
        assert_eq!(completion.length, completion.data.len(), "a transfer that ends well moves everything");
        completion.data
    }

    /// Waits for the end of a transfer, which has to be this error.
    pub(super) fn bad(&mut self, id: TransferId, error: &HostError) {
        assert_eq!(self.end(id).result.as_ref(), Err(error));
    }

    /// Waits for the end of a transfer that was in flight when the device left. A host controller may notice that nobody
    /// answers before its hub says why.
    pub(super) fn lost(&mut self, id: TransferId) {
        let result = self.end(id).result;
        assert!(matches!(result, Err(HostError::Gone | HostError::Other(_))), "{result:?}");
    }

    /// Waits for the next transfer that comes home on the device's side.
    pub(super) fn home(&mut self) -> Completion {
        self.until("a transfer on the device's side", |bench| !bench.function.completions.is_empty());
        must(self.function.completions.pop_front().ok_or("not empty"), "the completion")
    }

    /// Queues a buffer on the device's side.
    pub(super) fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) {
        must(self.rig.device().submit(endpoint, buffer), "submitting on the device's side");
    }

    /// Starts a request that the function holds, and waits until it does.
    pub(super) fn hold(&mut self, direction: Direction, length: usize) -> TransferId {
        self.function.held = None;
        let id = match direction {
            Direction::Out => self.start_out(Ask::Hold, 0, pattern(0xee, length)),
            Direction::In => self.start_in(Ask::Hold, 0, length),
        };
        self.until("a request to hold", |bench| bench.function.held.is_some());
        id
    }

    /// A request in each direction is answered as it should be.
    pub(super) fn works(&mut self) {
        let id = self.start_out(Ask::Take, 0, pattern(0x55, 70));
        self.good(id);
        self.taken(&pattern(0x55, 70));
        let id = self.start_in(Ask::Data, 0xaa, 70);
        assert_eq!(self.good(id), pattern(0xaa, 70));
    }

    /// The function has taken this data, or does so in a moment: a backend whose `control_read` is pending first may let the
    /// host's side end before the function asks again.
    pub(super) fn taken(&mut self, data: &[u8]) {
        self.until("the data of an OUT request", |bench| bench.function.is_through());
        assert_eq!(self.function.received, data);
    }

    /// GET_DESCRIPTOR.
    pub(super) fn descriptor(&mut self, kind: u8, index: u8, language: u16, length: u16) -> Vec<u8> {
        let setup = Setup {
            request_type: 0x80,
            request: crate::chapter9::request::GET_DESCRIPTOR,
            value: u16::from_le_bytes([index, kind]),
            index: language,
            length,
        };
        let id = self.start(HostTransfer::ControlIn { setup });
        self.good(id)
    }

    /// The configuration, read as a host does.
    pub(super) fn configuration(&mut self) -> ParsedConfiguration {
        let head = self.descriptor(crate::descriptor::CONFIGURATION, 0, 0, 9);
        assert_eq!(head.len(), 9, "a configuration descriptor has 9 bytes");
        let length = u16::from_le_bytes([head[2], head[3]]);
        let bytes = self.descriptor(crate::descriptor::CONFIGURATION, 0, 0, length);
        assert_eq!(bytes.len(), usize::from(length), "wTotalLength");
        must(crate::descriptor::parse_configuration(&bytes), "parsing the configuration")
    }
}

/// A vendor request to interface 0.
fn setup(request_type: u8, ask: Ask, value: u16, length: usize) -> Setup {
    let length = must(u16::try_from(length), "wLength");
    Setup { request_type, request: ask as u8, value, index: 0, length }
}

fn open<R: Rig>(rig: &mut R, function: &mut Function, set: &DescriptorSet) -> R::Host {
    for _ in 0..OPEN_LIMIT {
        function.step(rig.device());
        if let Some(host) = rig.open(set) {
            return host;
        }
        rig.idle();
    }
    panic!("the host does not see the device");
}

/// The value, or a panic that says what failed.
pub(super) fn must<T, E: Debug>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}
