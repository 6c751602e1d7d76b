//! The backend.

mod backend;
mod hand_over;

use std::{collections::VecDeque, io, os::fd::AsFd as _, time::Duration};

use inband_usb::{ControlError, DescriptorSet, DeviceEvent};
use rustix::io::Errno;

use crate::{
    GadgetError, Probe, Waiter, Waker,
    alarm::Alarm,
    answer::{Answer, Answerer, SETTLING, SETTLING_FOR_RESET},
    binding,
    bulk::Bulk,
    configfs::{self, ConfigFs},
    ep0::{Dead, Ep0, Request},
    instance::{Instance, blueprint},
};

/// How often an answer is interrupted that nobody waits for any more. A controller's driver that takes requests back does it before it tells of what
/// made it do so.
const INTERRUPT: Duration = Duration::from_millis(100);
/// When a halt is tried again that a controller has refused: it has a packet for the host, who mostly waits for it.
const HALT_SOON: Duration = Duration::from_millis(1);
/// Behind that ever later, for a host that does not read.
const HALT_LATE: Duration = Duration::from_millis(100);

/// How to open a [`Gadget`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Prefix of the names of our gadgets in configfs: 1 to 32 letters, digits and hyphens. Two programs need two.
    pub name: String,
    /// The controller; without a name, the only one there is.
    pub udc: Option<String>,
    /// Whether the controller can stall its control endpoint; without a word, as its driver is known
    /// ([`Probe::stalls`]). `true` for one that cannot makes the kernel oops at the first request that is refused.
    pub stalls: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "inband".into(), udc: None, stalls: None }
    }
}

/// A USB device on a controller of this machine. See the [crate] for what it can do and what not.
///
/// When it is dropped the device leaves the bus, and nothing of it stays in configfs; [`hand_over`](Self::hand_over) leaves it for
/// another process.
pub struct Gadget {
    configfs: ConfigFs,
    probe: Probe,
    instances: Vec<Instance>,
    /// The prepared gadget that is attached; its place in `instances`.
    attached: Option<Attached>,
    /// The name of a gadget that was bound when this process took it over, until the first attach.
    inherited: Option<String>,
    /// Made when the first set with endpoints is prepared.
    bulk: Option<Bulk>,
    answerer: Answerer,
    /// Runs while an answer is under way that nobody waits for any more.
    alarm: Alarm,
    /// Runs while a halt waits for the controller.
    halting: Alarm,
    waiter: Waiter,
    /// Completions, and what detaching leaves to tell.
    due: VecDeque<DeviceEvent>,
    /// The kernel was asked since the function last heard that there is nothing more.
    looked: bool,
    /// The function had a request when the device was detached, and has not been told of the Disable.
    cancelled: bool,
    /// The gadgets stay when this is dropped.
    leave: bool,
}

struct Attached {
    instance: usize,
    set: DescriptorSet,
    ep0: Ep0,
    /// The function has been told of an Enable and not yet of a Disable.
    enabled: bool,
}

impl Gadget {
    /// Looks what the kernel and the controller can do, and removes what a process of ours that died has left.
    pub fn open(options: Options) -> Result<Self, GadgetError> {
        Self::adopt(options, Vec::new())
    }

    fn new(options: &Options) -> Result<Self, GadgetError> {
        let configfs = ConfigFs::of_system(&options.name)?;
        let probe = Probe::new(configfs.root(), options)?;
        let waiter = Waiter::new().map_err(GadgetError::system("make an epoll"))?;
        let answerer = Answerer::new(waiter.waker()).map_err(GadgetError::system("start a thread"))?;
        let timer = |first, longest| -> io::Result<Alarm> {
            let alarm = Alarm::new(first, longest)?;
            waiter.add(alarm.as_fd())?;
            Ok(alarm)
        };
        let alarm = timer(INTERRUPT, INTERRUPT).map_err(GadgetError::system("make a timer"))?;
        let halting = timer(HALT_SOON, HALT_LATE).map_err(GadgetError::system("make a timer"))?;
        Ok(Self {
            configfs,
            probe,
            instances: Vec::new(),
            attached: None,
            inherited: None,
            bulk: None,
            answerer,
            alarm,
            halting,
            waiter,
            due: VecDeque::new(),
            looked: false,
            cancelled: false,
            leave: false,
        })
    }

    /// What was found.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Makes ready what attaching such a set takes, so that it is done in milliseconds later. Does nothing if that is done
    /// already. Sets that differ in their numbers and strings only need one preparation.
    pub fn prepare(&mut self, set: &DescriptorSet) -> Result<(), GadgetError> {
        self.prepared(set).map(drop)
    }

    /// The place of the prepared gadget for a set.
    fn prepared(&mut self, set: &DescriptorSet) -> Result<usize, GadgetError> {
        check(set)?;
        let wanted = blueprint(set);
        if let Some(place) = self.instances.iter().position(|instance| instance.blueprint == wanted) {
            if set.endpoints().next().is_some() {
                self.need_bulk()?;
            }
            return Ok(place);
        }
        if set.endpoints().next().is_some() {
            self.need_bulk()?;
        }
        let name = self.configfs.free_name();
        let (instance, form) = Instance::create(&self.configfs, name, set, &self.probe.kernel)?;
        self.probe.tried(set, form);
        self.instances.push(instance);
        Ok(self.instances.len() - 1)
    }

    fn need_bulk(&mut self) -> Result<(), GadgetError> {
        if self.bulk.is_none() {
            let bulk = Bulk::new().map_err(|error| match error {
                Errno::NOSYS => GadgetError::NoAio,
                error => GadgetError::system("set up asynchronous I/O")(error),
            })?;
            self.waiter
                .add_counted(bulk.event())
                .map_err(GadgetError::system("wait for asynchronous I/O"))?;
            self.bulk = Some(bulk);
        }
        Ok(())
    }

    /// What waits for this gadget.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        self.waiter.clone()
    }

    /// What ends the wait from elsewhere.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waiter.waker()
    }

    fn do_attach(&mut self, set: &DescriptorSet) -> Result<(), GadgetError> {
        if self.attached.is_some() {
            self.do_detach()?;
        }
        let place = self.prepared(set)?;
        let name = self.instances[place].name.clone();
        if let Some(inherited) = self.inherited.take() {
            if inherited == name && self.configfs.has_identity(&name, set) {
                // The host sees no difference.
                return self.attach_bound(place, set);
            }
            self.configfs
                .unbind(&inherited)
                .map_err(GadgetError::system(format!("unbind the gadget {inherited}")))?;
        }
        let instance = match self.bind(place, set) {
            // Somebody took the gadget out of configfs.
            Err(GadgetError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                log::warn!("the gadget {name} is gone; making it anew");
                drop(self.instances.remove(place));
                // What somebody left of it, unless they made it theirs.
                if self.configfs.is_ours(&name) {
                    self.configfs.take_away(&name)?;
                }
                let place = self.prepared(set)?;
                self.bind(place, set)?;
                place
            }
            bound => bound.map(|()| place)?,
        };
        self.watch(instance, set, Ep0::new(self.probe.stalls))?;
        // The BIND, while it is alone: ENABLE drops it, and a request that is read together with a gap in the count is refused.
        self.pull();
        Ok(())
    }

    /// Takes a bound gadget for attached.
    fn attach_bound(&mut self, place: usize, set: &DescriptorSet) -> Result<(), GadgetError> {
        // A process that died may have left a request it had read. What it was is not known; an empty write refuses it if it is OUT,
        // and is an answer without data if it is IN, which the host takes for an error. If there is none, nothing
        // happens. The thread does it: with a host that is silent it lasts until the next request. A controller that cannot stall leaves
        // it to the host to give the request up.
        let configured = self.probe.controller.now().is_configured();
        let ep0 = if self.probe.stalls {
            self.answerer.start(&self.instances[place].ep0, Answer::Data(Vec::new()));
            let mut ep0 = Ep0::inherited(configured);
            ep0.request = Request::Own { cancelled: false };
            ep0
        } else {
            Ep0::inherited_without_stalls(configured, &self.instances[place])
        };
        self.watch(place, set, ep0)?;
        self.waiter.waker().wake();
        Ok(())
    }

    fn watch(&mut self, place: usize, set: &DescriptorSet, ep0: Ep0) -> Result<(), GadgetError> {
        let events = &self.instances[place].events;
        self.waiter.add(events.as_fd()).map_err(GadgetError::system("wait for events"))?;
        if let Some(bulk) = &mut self.bulk {
            bulk.attach(set.endpoints());
        }
        self.attached = Some(Attached { instance: place, set: set.clone(), ep0, enabled: false });
        Ok(())
    }

    /// Gives a prepared gadget the set's identity and binds it.
    fn bind(&self, place: usize, set: &DescriptorSet) -> Result<(), GadgetError> {
        let instance = &self.instances[place];
        let controller = &self.probe.controller;
        // The administrator may have bound it.
        self.configfs
            .unbind(&instance.name)
            .map_err(GadgetError::system(format!("unbind the gadget {}", instance.name)))?;
        binding::ensure_free(&self.configfs, controller)?;
        configfs::run(&self.configfs.identity(&instance.name, set))?;
        instance.drain();
        binding::bind(&self.configfs, &instance.name, controller)
    }

    fn do_detach(&mut self) -> Result<(), GadgetError> {
        if let Some(name) = self.inherited.take() {
            self.configfs.unbind(&name).map_err(GadgetError::system(format!("unbind the gadget {name}")))?;
        }
        let Some(attached) = &self.attached else { return Ok(()) };
        let instance = &self.instances[attached.instance];
        // Nobody is in the control file then: unbinding may wait for who is, for ever.
        let is_announced = self.probe.dfu_descriptor != Some(false);
        self.answerer.still(if is_announced { SETTLING } else { SETTLING_FOR_RESET });
        self.configfs
            .unbind(&instance.name)
            .map_err(GadgetError::system(format!("unbind the gadget {}", instance.name)))?;
        self.waiter.remove(instance.events.as_fd());
        self.answerer.forget();
        self.alarm.run(false);
        if let Some(bulk) = &mut self.bulk {
            bulk.detach();
        }
        if attached.enabled {
            self.due.push_back(DeviceEvent::Disable);
            self.cancelled = attached.ep0.has_request();
        }
        self.attached = None;
        self.waiter.waker().wake();
        Ok(())
    }

    /// Reads what the kernel has to say.
    fn pull(&mut self) {
        if let Some(result) = self.answerer.take()
            && let Some(attached) = &mut self.attached
        {
            attached.ep0.answered(result.map_err(|error| {
                // EIDRM, ESHUTDOWN, or what a controller ends an answer with that nobody wants any more, such as EOVERFLOW.
                log::debug!("an answer was not delivered: {error}");
                ControlError::Cancelled
            }));
        }
        let Some(attached) = &mut self.attached else { return };
        let pulled = attached.ep0.pull(&self.instances[attached.instance]);
        self.alarm.run(attached.ep0.is_overtaken());
        if attached.ep0.is_overtaken() && self.alarm.rang() {
            log::debug!("an answer that nobody waits for stays in the kernel: interrupted");
            self.answerer.retry();
        }
        match pulled {
            Ok(false) => {}
            Ok(true) => {
                if let Some(bulk) = &mut self.bulk {
                    bulk.disable();
                }
            }
            Err(Dead) => {
                let name = &self.instances[attached.instance].name;
                log::warn!("somebody took the gadget {name} out of configfs: the device is off the bus");
                if let Err(error) = self.do_detach() {
                    log::warn!("{error}");
                }
            }
        }
    }
}

/// Whether a set can be shown to a host by way of configfs.
pub(crate) fn check(set: &DescriptorSet) -> Result<(), GadgetError> {
    set.validate()?;
    let names = set.interfaces.iter().map(|interface| &interface.name);
    let mut strings = [&set.manufacturer, &set.product, &set.serial].into_iter().chain(names);
    if strings.any(|string| string.contains('\0')) {
        return Err(GadgetError::Nul);
    }
    Ok(())
}

impl Drop for Gadget {
    fn drop(&mut self) {
        if self.leave {
            self.answerer.let_go();
            return;
        }
        match self.do_detach() {
            Ok(()) => self.answerer.end(),
            Err(error) => {
                // Still bound: an answer may wait for the host, and is not to be waited for.
                log::warn!("{error}");
                self.answerer.let_go();
            }
        }
        // Before the files are closed: the kernel then has nothing to unbind.
        for instance in &self.instances {
            if let Err(error) = self.configfs.take_away(&instance.name) {
                log::warn!("{error}");
            }
        }
    }
}

impl std::fmt::Debug for Gadget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gadget").field("probe", &self.probe).finish_non_exhaustive()
    }
}
