//! Both sides, driven by one thread.

use std::{
    collections::VecDeque,
    fs,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use inband::usb::{Bus as _, KernelBus};
use inband_gadget::Gadget;
use inband_usb::{
    Completion, ControlError, DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress,
    HostDevice, HostError, HostTransfer, Setup,
    descriptor::{Interface, parse_configuration},
};

pub(crate) const CONFIGFS: &str = "/sys/kernel/config/usb_gadget";
/// Much longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// How long the host of this machine waits for an answer that does not come.
const PATIENCE: Duration = Duration::from_millis(200);
pub(crate) const STEP: Duration = Duration::from_millis(1);

const BULK_OUT: EndpointAddress = EndpointAddress(0x01);
const BULK_IN: EndpointAddress = EndpointAddress(0x81);

/// bRequest: answered with wLength bytes of wValue, or data taken.
const ANSWER: u8 = 1;
/// bRequest: never answered.
const HOLD: u8 = 5;
/// bRequest: refused.
const REFUSE: u8 = 6;

/// A vendor request to interface 0.
const fn vendor(request: u8, direction: Direction, length: u16) -> Setup {
    let request_type = match direction {
        Direction::Out => 0x41,
        Direction::In => 0xc1,
    };
    Setup { request_type, request, value: 0x5a, index: 0, length }
}

pub(crate) const HOLD_IN: Setup = vendor(HOLD, Direction::In, 6);
pub(crate) const HOLD_OUT: Setup = vendor(HOLD, Direction::Out, 300);
pub(crate) const HOLD_NO_DATA: Setup = vendor(HOLD, Direction::Out, 0);
pub(crate) const REFUSE_IN: Setup = vendor(REFUSE, Direction::In, 6);
pub(crate) const REFUSE_OUT: Setup = vendor(REFUSE, Direction::Out, 300);
pub(crate) const REFUSE_NO_DATA: Setup = vendor(REFUSE, Direction::Out, 0);
/// GET_DESCRIPTOR of the interface, type 21h: nobody's, and refused by the backend.
pub(crate) const STANDARD: Setup =
    Setup { request_type: 0x81, request: 6, value: 0x2100, index: 0, length: 9 };

/// A request with data of zeros if it is OUT.
pub(crate) fn request(setup: Setup) -> HostTransfer {
    match setup.direction() {
        Direction::In => HostTransfer::ControlIn { setup },
        Direction::Out => HostTransfer::ControlOut { setup, data: vec![0; setup.length.into()] },
    }
}

/// A request that is answered.
pub(crate) fn answered(direction: Direction, length: u16) -> HostTransfer {
    request(vendor(ANSWER, direction, length))
}

/// A vendor interface with two bulk endpoints, under a product id of its own.
pub(crate) fn set(product_id: u16) -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1209,
        product_id,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Life".into(),
        serial: "1".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 1,
            protocol: 2,
            name: "Bulk".into(),
            extra: Vec::new(),
            endpoints: vec![BULK_OUT, BULK_IN],
        }],
    }
}

/// The only controller.
pub(crate) fn controller() -> String {
    let mut names = fs::read_dir("/sys/class/udc").unwrap();
    names.next().unwrap().unwrap().file_name().into_string().unwrap()
}

/// The gadgets in configfs.
pub(crate) fn gadgets() -> Vec<String> {
    let entries = fs::read_dir(CONFIGFS).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn write(file: &str, text: &str) {
    if let Err(error) = fs::write(file, text) {
        panic!("writing {text:?} to {file}: {error}");
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "nothing for {LIMIT:?}: {what}");
        thread::sleep(STEP);
    }
}

/// The address the host has given the device, once it shows it.
pub(crate) fn address(set: &DescriptorSet) -> Option<String> {
    let mut devices = KernelBus.list().ok()?.into_iter();
    let device = devices.find(|it| (it.vendor_id, it.product_id) == (set.vendor_id, set.product_id))?;
    let place = device.place.to_string();
    fs::read_to_string(format!("/sys/bus/usb/devices/{}/devnum", place.strip_prefix("usb:")?)).ok()
}

fn try_open_host(set: &DescriptorSet) -> Option<Box<dyn HostDevice>> {
    let mut devices = KernelBus.list().ok()?.into_iter();
    let device = devices.find(|it| (it.vendor_id, it.product_id) == (set.vendor_id, set.product_id))?;
    let mut host = KernelBus.open(&device.place).ok()?.device;
    host.claim(0).ok()?;
    Some(host)
}

/// Opens a device that another process serves.
pub(crate) fn open_host(set: &DescriptorSet) -> Box<dyn HostDevice> {
    let mut host = None;
    until("the host to see the device", || {
        host = try_open_host(set);
        host.is_some()
    });
    host.unwrap()
}

/// The function on the device's side.
#[derive(Default)]
pub(crate) struct Function {
    pub(crate) enabled: bool,
    pub(crate) enables: u32,
    pub(crate) disables: u32,
    pub(crate) held: Option<Setup>,
    pub(crate) last: Option<Setup>,
    pub(crate) completions: VecDeque<Completion>,
    reading: Option<Setup>,
}

impl Function {
    /// Takes all events there are.
    pub(crate) fn step(&mut self, gadget: &mut Gadget) {
        loop {
            if let Some(setup) = self.reading {
                match gadget.control_read(&mut vec![0; setup.length.into()]) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(_) | Err(ControlError::Cancelled)) => self.reading = None,
                    Poll::Ready(Err(ControlError::Misuse)) => panic!("control_read fits {setup:?}"),
                }
            }
            match gadget.poll_event().unwrap() {
                None => return,
                Some(DeviceEvent::Enable) => {
                    self.enabled = true;
                    self.enables += 1;
                }
                Some(DeviceEvent::Disable) => {
                    self.enabled = false;
                    self.disables += 1;
                    self.reading = None;
                }
                Some(DeviceEvent::Suspend | DeviceEvent::Resume) => {}
                Some(DeviceEvent::Complete(completion)) => self.completions.push_back(completion),
                Some(DeviceEvent::Setup(setup)) => self.setup(gadget, setup),
            }
        }
    }

    fn setup(&mut self, gadget: &mut Gadget, setup: Setup) {
        self.reading = None;
        self.last = Some(setup);
        if setup.request == HOLD {
            self.held = Some(setup);
        } else if setup.request == REFUSE {
            assert_eq!(gadget.control_stall(), Ok(()));
        } else if setup.direction() == Direction::In && setup.length > 0 {
            let answer = gadget.control_write(&vec![setup.value as u8; setup.length.into()]);
            assert_ne!(answer, Err(ControlError::Misuse));
        } else {
            self.reading = Some(setup);
        }
    }
}

/// A gadget of this process, opened by the host.
pub(crate) struct World {
    // Dropped first: what is in flight is cancelled while the device is there.
    pub(crate) host: Box<dyn HostDevice>,
    pub(crate) function: Function,
    pub(crate) gadget: Gadget,
}

impl World {
    /// Attaches and opens.
    pub(crate) fn new(mut gadget: Gadget, set: &DescriptorSet) -> Self {
        gadget.attach(set).unwrap();
        let mut function = Function::default();
        let host = Self::open(&mut gadget, &mut function, set);
        Self { host, function, gadget }
    }

    fn open(gadget: &mut Gadget, function: &mut Function, set: &DescriptorSet) -> Box<dyn HostDevice> {
        let mut host = None;
        until("Enable", || {
            function.step(gadget);
            function.enabled
        });
        until("the host to see the device", || {
            function.step(gadget);
            host = try_open_host(set);
            host.is_some()
        });
        host.unwrap()
    }

    /// Attaches anew and opens anew.
    pub(crate) fn attach(&mut self, set: &DescriptorSet) {
        self.gadget.attach(set).unwrap();
        self.function.step(&mut self.gadget);
        self.function.enabled = false;
        self.reopen(set);
    }

    /// Opens anew.
    pub(crate) fn reopen(&mut self, set: &DescriptorSet) {
        self.host = Self::open(&mut self.gadget, &mut self.function, set);
    }

    /// Runs both sides until the function is in a state.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Function) -> bool) {
        until(what, || {
            self.function.step(&mut self.gadget);
            done(&self.function)
        });
    }

    /// A request in each direction is answered.
    pub(crate) fn works(&mut self) {
        host_works(&mut *self.host, || self.function.step(&mut self.gadget));
    }

    /// A request to the device is answered by the function; one of the standard ones to the interface by the backend.
    pub(crate) fn asks_the_device(&mut self) {
        let vendor = Setup { request_type: 0xc0, request: ANSWER, value: 7, index: 0x1234, length: 5 };
        let data = run(&mut *self.host, request(vendor), || self.function.step(&mut self.gadget));
        assert_eq!(data, Ok(vec![7; 5]));
        assert_eq!(self.function.last, Some(vendor));
        let data = run(&mut *self.host, request(STANDARD), || self.function.step(&mut self.gadget));
        assert_eq!(data, Err(HostError::Stall));
        assert_eq!(self.function.last, Some(vendor), "the function has not seen it");
        self.works();
    }

    /// A request gets no answer, and the host gives it up.
    pub(crate) fn is_silent(&mut self, setup: Setup) {
        let id = self.host.submit(request(setup)).unwrap();
        let deadline = self.host.now() + PATIENCE;
        while self.host.now() < deadline {
            self.function.step(&mut self.gadget);
            self.host.wait(STEP);
            assert!(self.host.poll().is_none(), "an answer to {setup:?}");
        }
        self.host.cancel(id);
        let mut ended = None;
        until("the host to give a request up", || {
            self.function.step(&mut self.gadget);
            ended = self.host.poll();
            ended.is_some()
        });
        let result = ended.unwrap().result;
        assert!(matches!(result, Err(HostError::Cancelled)), "{result:?}");
    }

    /// Data travels both ways.
    pub(crate) fn bulk_works(&mut self) {
        let (bulk_out, bulk_in) = bulk_endpoints(&mut *self.host, || self.function.step(&mut self.gadget));
        self.gadget.submit(BULK_OUT, vec![0; 512]).unwrap();
        self.gadget.submit(BULK_IN, vec![3; 100]).unwrap();
        let out = HostTransfer::BulkOut { endpoint: bulk_out, data: vec![4; 200] };
        assert!(run(&mut *self.host, out, || self.function.step(&mut self.gadget)).is_ok());
        let transfer = HostTransfer::BulkIn { endpoint: bulk_in, length: 512 };
        let data = run(&mut *self.host, transfer, || self.function.step(&mut self.gadget));
        assert_eq!(data, Ok(vec![3; 100]));
        self.until("both transfers on the device's side", |function| function.completions.len() == 2);
        for completion in self.function.completions.drain(..) {
            assert_eq!(completion.result, Ok(()));
            if completion.endpoint == BULK_OUT {
                assert_eq!(completion.buffer[..completion.length], [4; 200]);
            }
        }
    }
}

/// The bulk endpoints, OUT and IN, as the host's descriptors name them.
pub(crate) fn bulk_endpoints(
    host: &mut dyn HostDevice,
    step: impl FnMut(),
) -> (EndpointAddress, EndpointAddress) {
    let setup = Setup { request_type: 0x80, request: 6, value: 0x0200, index: 0, length: 255 };
    let bytes = run(host, request(setup), step).unwrap();
    let configuration = parse_configuration(&bytes).unwrap();
    let bulk = |direction| configuration.interfaces[0].bulk(direction).unwrap().address;
    (bulk(Direction::Out), bulk(Direction::In))
}

/// One transfer of the host's; its data.
pub(crate) fn run(
    host: &mut dyn HostDevice,
    transfer: HostTransfer,
    mut step: impl FnMut(),
) -> Result<Vec<u8>, HostError> {
    let id = host.submit(transfer)?;
    let deadline = host.now() + LIMIT;
    loop {
        step();
        host.wait(STEP);
        if let Some(ended) = host.poll() {
            assert_eq!(ended.id, id);
            return ended.result.map(|()| ended.data);
        }
        assert!(host.now() < deadline, "the transfer does not end");
    }
}

/// A request in each direction is answered, `step` doing so if it is this process.
pub(crate) fn host_works(host: &mut dyn HostDevice, mut step: impl FnMut()) {
    assert_eq!(run(host, answered(Direction::In, 70), &mut step), Ok(vec![0x5a; 70]));
    assert_eq!(run(host, answered(Direction::Out, 4096), &mut step), Ok(vec![0; 4096]));
    assert_eq!(run(host, answered(Direction::Out, 0), &mut step), Ok(vec![]));
}
