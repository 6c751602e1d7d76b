//! An update by the bulk door, and all the while the BMC is asked how it stands: GETSTATUS and page 0, each as soon as the one before
//! is answered. Tells as one line of JSON how often in which state it was asked, and how long the slowest answer took the host.
//!
//! ```text
//! asking PACKAGE
//! ```
//!
//! Takes the one BMC on this machine's USB. Exits with 1 if the update fails, or if a request is refused or not answered.

use std::{
    cell::RefCell, collections::BTreeMap, env, error::Error, path::PathBuf, process::ExitCode, rc::Rc,
    time::Duration,
};

use inband::{
    cancel::Cancel,
    error::DeviceError,
    find::Scope,
    update::{
        self, Plan,
        door::Wish,
        event::{Event, Listener},
        handle::Handle,
    },
    usb::{Bus, KernelBus, Opened, Place, Sighting},
};
use inband_dfu::wire::{Request, StatusReply};
use inband_package::Rule;
use inband_session::status::{self, StatusPage};
use inband_usb::{EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, Setup, TransferId};

/// The DFU interface's number in a BMC's sets.
const INTERFACE: u8 = 0;

/// What came of the asking.
#[derive(Default)]
struct Answers {
    /// How often in which state.
    states: BTreeMap<String, u32>,
    slowest: Duration,
    /// The first request that was not answered well.
    failed: Option<String>,
}

impl Answers {
    fn add(&mut self, what: Asked, took: Duration, completion: &HostCompletion) {
        self.slowest = self.slowest.max(took);
        let state = match (what, &completion.result) {
            // The device left behind the exchange, or was let go of.
            (_, Err(HostError::Gone | HostError::Cancelled)) => return,
            (_, Err(error)) => Err(error.to_string()),
            (Asked::Status, Ok(())) => StatusReply::parse(&completion.data)
                .map(|reply| format!("{:?}", reply.state))
                .map_err(|error| error.to_string()),
            (Asked::Page, Ok(())) => StatusPage::decode(&completion.data)
                .map(|page| page.state.name().to_owned())
                .map_err(|error| error.to_string()),
        };
        match state {
            Ok(state) => *self.states.entry(state).or_default() += 1,
            Err(error) => _ = self.failed.get_or_insert(format!("{what:?}: {error}")),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// GETSTATUS.
    Status,
    /// The status page.
    Page,
}

impl Asked {
    const fn setup(self) -> Setup {
        match self {
            Self::Status => Request::GetStatus.setup(INTERFACE, 0, StatusReply::LEN as u16),
            Self::Page => Setup {
                request_type: 0xc1,
                request: status::REQUEST,
                value: status::STATUS_PAGE,
                index: INTERFACE as u16,
                length: status::MAX_LENGTH as u16,
            },
        }
    }
}

/// This machine's USB, whose devices are asked while an exchange is under way.
struct Inquisitive {
    answers: Rc<RefCell<Answers>>,
}

impl Bus for Inquisitive {
    fn list(&self) -> Result<Vec<Sighting>, HostError> {
        KernelBus.list()
    }

    fn open(&self, place: &Place) -> Result<Opened, DeviceError> {
        let opened = KernelBus.open(place)?;
        let device = Device {
            inner: opened.device,
            answers: Rc::clone(&self.answers),
            bulk: Vec::new(),
            next: Asked::Status,
            asked: None,
        };
        Ok(Opened { device: Box::new(device), ..opened })
    }

    fn advice(&self, place: &Place, error: &HostError) -> Option<String> {
        KernelBus.advice(place, error)
    }
}

/// A device that is asked while bulk transfers are in flight.
struct Device {
    inner: Box<dyn HostDevice>,
    answers: Rc<RefCell<Answers>>,
    /// The bulk transfers in flight.
    bulk: Vec<TransferId>,
    next: Asked,
    /// The request that is under way, and since when.
    asked: Option<(TransferId, Asked, Duration)>,
}

impl Device {
    fn ask(&mut self) {
        if self.asked.is_some() || self.bulk.is_empty() {
            return;
        }
        let what = self.next;
        if let Ok(id) = self.inner.submit(HostTransfer::ControlIn { setup: what.setup() }) {
            self.asked = Some((id, what, self.inner.now()));
            self.next = match what {
                Asked::Status => Asked::Page,
                Asked::Page => Asked::Status,
            };
        }
    }
}

impl HostDevice for Device {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let is_bulk = matches!(transfer, HostTransfer::BulkOut { .. } | HostTransfer::BulkIn { .. });
        let id = self.inner.submit(transfer)?;
        if is_bulk {
            self.bulk.push(id);
        }
        Ok(id)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        loop {
            self.ask();
            let completion = self.inner.poll()?;
            match self.asked {
                Some((id, what, since)) if id == completion.id => {
                    self.asked = None;
                    let took = self.inner.now().saturating_sub(since);
                    self.answers.borrow_mut().add(what, took, &completion);
                }
                _ => {
                    self.bulk.retain(|id| *id != completion.id);
                    return Some(completion);
                }
            }
        }
    }

    fn cancel(&mut self, id: TransferId) {
        self.inner.cancel(id);
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        self.inner.claim(interface)
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        self.inner.clear_halt(endpoint)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        self.inner.reset()
    }

    fn wait(&mut self, limit: Duration) {
        self.inner.wait(limit);
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}

/// Nobody watches.
struct Nobody;

impl Listener for Nobody {
    fn event(&mut self, _: &Event) {}
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let package = PathBuf::from(env::args_os().nth(1).ok_or("which package?")?);
    let answers = Rc::<RefCell<Answers>>::default();
    let bus = Inquisitive { answers: Rc::clone(&answers) };
    let (cancel, plan) = (
        Cancel::default(),
        Plan {
            package,
            keys: None,
            wait: None,
            same_version: Rule::Accept,
            downgrade: Rule::Accept,
            door: Wish::Bulk,
            is_chosen: false,
            dry_run: false,
        },
    );
    let scope = Scope { bus: &bus, name: "on this machine's USB".into(), hint: String::new() };
    let find = |wish| scope.target(None, wish);
    let prepared = update::prepare(&bus, &plan, find, &mut Handle::default(), &mut Nobody, &cancel)?
        .ok_or("it is there already")?;
    update::run(&bus, &plan, prepared, &mut Nobody, &cancel)?;
    let answers = answers.borrow();
    let states: Vec<String> =
        answers.states.iter().map(|(state, count)| format!("\"{state}\":{count}")).collect();
    println!("{{{},\"slowest_us\":{}}}", states.join(","), answers.slowest.as_micros());
    if let Some(failed) = &answers.failed {
        println!("{failed}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
