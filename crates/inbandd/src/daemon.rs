//! The loop: waits for the USB side, the worker and the clock, and lets the answering half act.

#[cfg(target_os = "linux")]
use std::hash::{BuildHasher as _, RandomState};
#[cfg(feature = "virtual")]
use std::{net::SocketAddr, path::Path};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use inband_dfu::{descriptors::Identity, table::Mode};
#[cfg(target_os = "linux")]
use inband_ipmi::standalone::Standalone;
use inband_session::{Config as SessionConfig, Door, DoorPolicy, Limits, Session, start, trial};
use inband_store::{StoreError, text::Text};
use inband_volume::bot::Halts;

#[cfg(all(target_os = "linux", feature = "dbus"))]
use crate::dbus::power::HostPower;
#[cfg(feature = "virtual")]
use crate::side::Usbip;
#[cfg(all(target_os = "linux", feature = "virtual"))]
use crate::side::Usbredir;
use crate::{
    bmc::{ArmedOptions, Bmc, DiskKind, Fault, Health, IpmiOptions, Options, VolumeOptions},
    built,
    config::{ArmBy, Config, Conformance, PowerOn, When, WhileReceiving},
    error::Error,
    memory::{self, MEMINFO},
    open,
    programs::Programs,
    side::{Side, Waker},
    worker::Thread,
};
#[cfg(target_os = "linux")]
use crate::{
    command::{Answer, Summary},
    control::{Control, Request},
    handed::Named,
    ipmi::{Channel, Event},
    notify::Notify,
    serving::Serving,
    side::{Lent, Udc},
};

/// The longest wait of the loop. Nothing depends on it; a missed wake-up would cost no more.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A BMC on a USB side, until it is stopped.
pub struct Daemon<S: Side> {
    side: S,
    bmc: Bmc<S::Backend, Thread>,
    stop: Arc<AtomicBool>,
    started: Instant,
    #[cfg(target_os = "linux")]
    service: Service,
}

/// Those on the BMC that the daemon speaks with.
#[cfg(target_os = "linux")]
#[derive(Default)]
struct Service {
    control: Option<Control>,
    ipmi: Option<Channel>,
    #[cfg(feature = "dbus")]
    host_power: Option<HostPower>,
    /// Answers what the handler of the door handle does not.
    standalone: Standalone,
    /// The command whose answer is not known yet.
    asked: Option<Request>,
    notify: Option<Notify>,
    /// What it was told last.
    told: Option<Summary>,
}

#[cfg(target_os = "linux")]
impl Service {
    /// A report, with what only the channels know.
    fn complete(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Report(report) => {
                let answers = self.ipmi.as_ref().map(Channel::answers).unwrap_or_default();
                Answer::Report(Box::new(report.with_ipmi(answers)))
            }
            answer => answer,
        }
    }
}

/// Ends [`Daemon::run`] from another thread.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    /// The daemon leaves the bus and returns.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        (self.waker)();
    }
}

#[cfg(feature = "virtual")]
impl Daemon<Usbip> {
    /// Starts a virtual BMC that is served over USB/IP. `pcap` names a file that records all USB transfers.
    ///
    /// # Errors
    /// Keys, store or USB side cannot be had.
    pub fn on_usbip(config: &Config, pcap: Option<&Path>) -> Result<Self, Error> {
        Self::start(config, |_| Usbip::open(config, pcap))
    }

    /// The address that USB/IP is served on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.side.address()
    }
}

#[cfg(all(target_os = "linux", feature = "virtual"))]
impl Daemon<Usbredir> {
    /// Starts a virtual BMC that is a USB device of a QEMU guest. `pcap` names a file that records all USB transfers.
    ///
    /// # Errors
    /// Keys, store or USB side cannot be had.
    pub fn on_usbredir(config: &Config, pcap: Option<&Path>) -> Result<Self, Error> {
        Self::start(config, |_| Usbredir::open(config, pcap))
    }
}

#[cfg(target_os = "linux")]
impl Daemon<Udc> {
    /// Starts the BMC that this machine is, on its USB device controller. `handed` are files that an earlier process, or a helper,
    /// left with `notify`, the service manager. Where they are of no use it forgets them, so that the next start begins
    /// from nothing.
    ///
    /// # Errors
    /// Keys, store or controller cannot be had.
    pub fn on_gadget(config: &Config, handed: Vec<Named>, notify: Option<&Notify>) -> Result<Self, Error> {
        let names: Vec<_> = handed.iter().map(|(name, _)| name.clone()).collect();
        let forget = |wanted: &dyn Fn(&String) -> bool| {
            for name in names.iter().filter(|name| !wanted(name)) {
                notify.inspect(|notify| notify.forget(name));
            }
        };
        Self::start(config, |identity| match Udc::open(config, identity, handed) {
            Ok((side, gadget)) => {
                let used: Vec<_> = gadget.files().into_iter().map(|(name, _)| name).collect();
                forget(&|name| used.contains(name));
                Ok((side, gadget))
            }
            Err(error) => {
                forget(&|_| false);
                Err(error)
            }
        })
    }
}

#[cfg(target_os = "linux")]
impl Daemon<Lent> {
    /// Starts the BMC that this machine is, with the kernel's disk on its USB device controller and nothing else: for kernels that have no FunctionFS.
    ///
    /// # Errors
    /// Keys, store, controller or disk cannot be had.
    pub fn on_kernel_disk(config: &Config) -> Result<Self, Error> {
        Self::start(config, |_| Lent::open(config))
    }
}

impl<S: Side> Daemon<S> {
    /// Starts a BMC: opens keys and store, has the boot loader decide where that is the daemon's to do, and shows the device.
    /// `open` opens the USB side; it gets what the device calls itself before that.
    fn start(
        config: &Config,
        open: impl FnOnce(&Identity) -> Result<(S, S::Backend), Error>,
    ) -> Result<Self, Error> {
        built::with_all_of(config)?;
        let keys = open::keys(config)?;
        let mut store = open::store(config)?;
        let record = store.record();
        let identity = open::identity(config, record.slot(store.running()), record.slot(record.choice));
        let (side, backend) = open(&identity)?;
        let lender = side.lender();
        let unless_lent = |policy| if lender.is_some() { DoorPolicy::Off } else { policy };
        let dfu = unless_lent(config.doors.dfu.policy);
        let bulk = unless_lent(config.doors.bulk_policy(side.has_bulk_endpoints()));
        let volume = config.doors.volume_policy(side.has_bulk_endpoints());
        if volume != config.doors.volume.policy {
            log::warn!(
                "event=volume-unavailable reason: the kernel has no CONFIG_AIO; the device shows its DFU interface alone"
            );
        }
        let disk = lender.map_or_else(
            || DiskKind::Own(if side.can_halt() { Halts::Use } else { Halts::Avoid }),
            DiskKind::Lent,
        );
        let waker = side.waker();
        #[cfg(target_os = "linux")]
        let service = Service {
            control: control(config, &waker)?,
            ipmi: ipmi(config, &waker)?,
            #[cfg(feature = "dbus")]
            host_power: host_power(config, &waker)?,
            ..Service::default()
        };

        // Not before all that can fail without it: a start that fails is no boot that a trial has used up.
        let unusable = |error: StoreError| Error::store(&config.store.path, error);
        open::boot(config, &mut store)?;
        start::recover(&mut store).map_err(unusable)?;
        if store.levels().is_none() {
            log::warn!(
                "event=journal-lost: the next update writes all of its slot, and budgets begin anew with an hour's worth"
            );
        }
        let pipeline = open::pipeline(config, store, keys)?;
        let view = pipeline.view();
        let wake = Arc::clone(&waker);
        let worker = Thread::start(pipeline, move || wake())
            .map_err(|error| Error::System { what: "cannot start the worker thread", error })?;
        let session = Session::new(
            SessionConfig {
                machine: Text::cut(&config.machine),
                doors: Door::ALL.map(|door| match door {
                    Door::Dfu => dfu,
                    Door::Bulk => bulk,
                    Door::Volume => volume,
                    Door::Ipmi => DoorPolicy::Off,
                }),
                limits: Limits { refusals: config.limits.refusals, ..Limits::default() },
                // In the other mode such a block is an error, as in the letter of DFU 1.1.
                takes_ahead: config.doors.dfu.conformance == Conformance::Lenient,
            },
            view,
        );
        let runner = Box::new(Programs::new(move || waker()));
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let health = Health {
            command: config.trial.health.clone(),
            limits: trial::Limits {
                deadline: seconds(config.trial.deadline_s),
                retry: seconds(config.trial.retry_s),
            },
        };
        let names = config.clone();
        let options = Options {
            mode: match config.doors.dfu.conformance {
                Conformance::Lenient => Mode::Lenient,
                Conformance::Strict => Mode::Strict,
            },
            bulk: bulk != DoorPolicy::Off,
            volume: config
                .identity
                .volume_product_id
                .zip(open::disk_profile(config))
                .filter(|_| volume != DoorPolicy::Off)
                .map(|(product_id, profile)| VolumeOptions {
                    product_id,
                    serial: open::disk_serial(config),
                    profile,
                    fat: open::geometry(config),
                    max_package: config.store.max_package,
                    disk,
                    available: Arc::new(|| memory::available(MEMINFO.as_ref())),
                }),
            ipmi: config.ipmi.channel.as_ref().map(|_| IpmiOptions {
                command: config.ipmi.command,
                holds: seconds(config.ipmi.start_holds_s.into()),
                opens: config.doors.arm_by.contains(&ArmBy::Ipmi),
                activates: config.ipmi.activate,
                confirms: config.ipmi.confirm,
                max_package: config.store.max_package,
            }),
            armed: ArmedOptions {
                time: (config.doors.armed_for_s != 0).then(|| seconds(config.doors.armed_for_s)),
                power_on: config.doors.arm_by.contains(&ArmBy::PowerOn).then_some(config.doors.power_on),
            },
            while_shut: config.doors.while_shut,
            activate: config.activation.when == When::Immediate,
            hold_restart: config.activation.while_receiving == WhileReceiving::Hold,
            identity: Box::new(move |view| {
                let record = &view.record;
                open::identity(&names, record.slot(view.running), record.slot(record.choice))
            }),
            health: Some(health).filter(|health| !health.command.is_empty()),
            restart: config.activation.restart_command.clone(),
            runner,
        };
        let bmc = Bmc::new(backend, worker, session, options);
        let stop = Arc::new(AtomicBool::new(false));
        let mut daemon = Self {
            side,
            bmc,
            stop,
            started: Instant::now(),
            #[cfg(target_os = "linux")]
            service,
        };
        let running = daemon.bmc.session().store().running;
        let firmware = *daemon.bmc.session().store().record.slot(running);
        log::info!(
            "event=started machine={} slot={} version={} usb={}",
            config.machine,
            running.name(),
            firmware.version,
            daemon.side
        );
        daemon.bmc.attach(Duration::ZERO).map_err(fault)?;
        Ok(daemon)
    }

    /// What ends [`run`](Self::run).
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: Arc::clone(&self.stop), waker: self.side.waker() }
    }

    /// Has a service manager told how the daemon stands.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_notify(mut self, notify: Option<Notify>) -> Self {
        self.service.notify = notify;
        self
    }

    /// Serves until stopped, then leaves the bus.
    ///
    /// # Errors
    /// The USB side or the worker is gone; or the device is about to be taken away.
    pub fn run(mut self) -> Result<(), Error> {
        #[cfg(target_os = "linux")]
        let _serving = match Serving::begin() {
            Ok(serving) => serving,
            Err(error) => {
                self.side.end(self.bmc.into_backend()).map_err(|error| fault(Fault::Backend(error)))?;
                return Err(error);
            }
        };
        #[cfg(target_os = "linux")]
        if let Some(notify) = &mut self.service.notify {
            notify.ready();
        }
        while !self.stop.load(Ordering::Acquire) {
            let started = self.started;
            let clock = || started.elapsed();
            #[cfg(target_os = "linux")]
            self.take_commands(clock())?;
            #[cfg(target_os = "linux")]
            self.take_ipmi(clock())?;
            #[cfg(all(target_os = "linux", feature = "dbus"))]
            self.look_at_host_power(clock())?;
            let due = self.bmc.step(clock).map_err(fault)?;
            #[cfg(target_os = "linux")]
            let due = [due, self.tell_service(clock())].into_iter().flatten().min();
            let limit = due.map_or(LONGEST_WAIT, |due| due.saturating_sub(clock()).min(LONGEST_WAIT));
            self.side.wait(limit);
        }
        #[cfg(target_os = "linux")]
        if let Some(notify) = &self.service.notify {
            notify.stopping();
        }
        log::info!("event=stopped");
        self.side.end(self.bmc.into_backend()).map_err(|error| fault(Fault::Backend(error)))
    }

    /// Commands from the control socket.
    #[cfg(target_os = "linux")]
    fn take_commands(&mut self, now: Duration) -> Result<(), Error> {
        let Some(control) = &self.service.control else { return Ok(()) };
        while let Some(request) = control.poll() {
            match self.bmc.ask(now, request.ask).map_err(fault)? {
                Some(answer) => request.answer(self.service.complete(answer)),
                None => self.service.asked = Some(request),
            }
        }
        Ok(())
    }

    /// What the channel of IPMI tells.
    #[cfg(target_os = "linux")]
    fn take_ipmi(&mut self, now: Duration) -> Result<(), Error> {
        let Service { ipmi: Some(channel), standalone, .. } = &mut self.service else { return Ok(()) };
        while let Some(event) = channel.poll() {
            match event {
                Event::Asked(asked) => {
                    let random = RandomState::new().hash_one(now) as u32;
                    let reply =
                        self.bmc.ipmi(now, asked.origin(), &asked.request(), random).map_err(fault)?;
                    let reply = reply.unwrap_or_else(|| standalone.handle(&asked.request()));
                    asked.answer(reply);
                }
                Event::HostReset => {
                    self.bmc.host_powered_on(now, PowerOn::Qemu).map_err(fault)?;
                }
            }
        }
        Ok(())
    }

    /// What the bus tells of the host's power.
    #[cfg(all(target_os = "linux", feature = "dbus"))]
    fn look_at_host_power(&mut self, now: Duration) -> Result<(), Error> {
        if self.service.host_power.as_ref().is_some_and(HostPower::poll) {
            self.bmc.host_powered_on(now, PowerOn::Dbus).map_err(fault)?;
        }
        Ok(())
    }

    /// Answers that were waited for, and what the service manager wants to hear. Returns when it wants to hear more.
    #[cfg(target_os = "linux")]
    fn tell_service(&mut self, now: Duration) -> Option<Duration> {
        if let Some(answer) = self.bmc.poll_answer()
            && let Some(request) = self.service.asked.take()
        {
            request.answer(answer);
        }
        let notify = self.service.notify.as_mut()?;
        let summary = Summary::new(self.bmc.session());
        if self.service.told != Some(summary) && notify.status(&summary.to_string()) {
            self.service.told = Some(summary);
        }
        notify.alive(now)
    }
}

/// The control socket that the configuration asks for.
#[cfg(target_os = "linux")]
fn control(config: &Config, waker: &Waker) -> Result<Option<Control>, Error> {
    let Some(path) = &config.control else { return Ok(None) };
    let wake = Arc::clone(waker);
    let control =
        Control::start(path, move || wake()).map_err(|error| Error::Listen { path: path.clone(), error })?;
    Ok(Some(control))
}

/// The channel of IPMI that the configuration asks for.
#[cfg(target_os = "linux")]
fn ipmi(config: &Config, waker: &Waker) -> Result<Option<Channel>, Error> {
    let Some(channel) = &config.ipmi.channel else { return Ok(None) };
    Channel::start(channel, Arc::clone(waker))
        .map(Some)
        .map_err(|error| Error::System { what: "cannot serve ipmi.channel", error })
}

/// What watches the host's power, where the configuration asks for it.
#[cfg(all(target_os = "linux", feature = "dbus"))]
fn host_power(config: &Config, waker: &Waker) -> Result<Option<HostPower>, Error> {
    let wanted = config.doors.arm_by.contains(&ArmBy::PowerOn) && config.doors.power_on == PowerOn::Dbus;
    let started = wanted.then(|| HostPower::start(Arc::clone(waker))).transpose();
    started.map_err(|error| Error::System {
        what: "cannot start the thread that watches the host's power",
        error,
    })
}

fn fault<E: std::fmt::Display>(fault: Fault<E>) -> Error {
    match fault {
        Fault::Backend(error) => Error::Usb { what: "the USB side".into(), message: error.to_string() },
        Fault::Worker => Error::Worker,
    }
}
