//! The loop: waits for the USB side, the worker and the clock, and lets the answering half act.

use std::{
    fs::File,
    io::{self, BufWriter},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use inband_dfu::table::Mode;
use inband_session::{Config as SessionConfig, Door, DoorPolicy, Limits, Session, start, trial};
use inband_store::{StoreError, text::Text};
use inband_virtual::usbip::{Port, Server, ServerError, Waker};

use crate::{
    bmc::{Bmc, Fault, Health, Options},
    config::{Config, Conformance, Usb, When},
    error::Error,
    open,
    programs::Programs,
    worker::Thread,
};
#[cfg(target_os = "linux")]
use crate::{
    command::Report,
    control::{Control, Request},
    notify::Notify,
};

/// The longest wait of the loop. Nothing depends on it; a missed wake-up would cost no more.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A virtual BMC on a USB/IP port, until it is stopped.
pub struct Daemon {
    server: Server,
    bmc: Bmc<Port, Thread>,
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
    /// The command whose answer is not known yet.
    asked: Option<Request>,
    notify: Option<Notify>,
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
        self.waker.wake();
    }
}

impl Daemon {
    /// Starts a virtual BMC: opens keys and store, lets the virtual boot loader decide, and shows the device. `pcap` names a file
    /// that records all USB transfers.
    ///
    /// # Errors
    /// Keys, store or USB side cannot be had.
    pub fn start(config: &Config, pcap: Option<&Path>) -> Result<Self, Error> {
        let keys = open::keys(config)?;
        let mut store = open::store(config)?;
        let Usb::Usbip(address) = config.usb;
        let server = Server::bind(address).map_err(|error| unavailable(config, &error))?;
        if let Some(path) = pcap {
            record(&server, path).map_err(|error| Error::Record { path: path.to_owned(), error })?;
        }
        let port = server.port(&config.identity.busid).map_err(|error| unavailable(config, &error))?;
        #[cfg(target_os = "linux")]
        let service = Service { control: control(config, &server)?, ..Service::default() };

        // Not before all that can fail without it: a start that fails is no boot that a trial has used up.
        let unusable = |error: StoreError| Error::store(&config.store.path, error);
        store.boot().map_err(unusable)?;
        start::recover(&mut store).map_err(unusable)?;
        if store.levels().is_none() {
            log::warn!(
                "event=journal-lost: the next update writes all of its slot, and budgets begin anew with an hour's worth"
            );
        }
        let pipeline = open::pipeline(config, store, keys)?;
        let view = pipeline.view();
        let waker = server.waker();
        let worker = Thread::start(pipeline, move || waker.wake())
            .map_err(|error| Error::System { what: "cannot start the worker thread", error })?;
        let session = Session::new(
            SessionConfig {
                machine: Text::cut(&config.machine),
                doors: Door::ALL.map(|door| match door {
                    Door::Dfu => config.doors.dfu.policy,
                    Door::Bulk | Door::Volume | Door::Ipmi => DoorPolicy::Off,
                }),
                limits: Limits { refusals: config.limits.refusals, ..Limits::default() },
            },
            view,
        );
        let waker = server.waker();
        let runner = Box::new(Programs::new(move || waker.wake()));
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
            activate: config.activation.when == When::Immediate,
            identity: Box::new(move |view| {
                let record = &view.record;
                open::identity(&names, record.slot(view.running), record.slot(record.choice))
            }),
            health: Some(health).filter(|health| !health.command.is_empty()),
            restart: config.activation.restart_command.clone(),
            runner,
        };
        let bmc = Bmc::new(port, worker, session, options);
        let stop = Arc::new(AtomicBool::new(false));
        let mut daemon = Self {
            server,
            bmc,
            stop,
            started: Instant::now(),
            #[cfg(target_os = "linux")]
            service,
        };
        let running = daemon.bmc.session().store().running;
        let firmware = *daemon.bmc.session().store().record.slot(running);
        log::info!(
            "event=started machine={} slot={} version={} usb=usbip:{} busid={}",
            config.machine,
            running.name(),
            firmware.version,
            daemon.address(),
            config.identity.busid
        );
        daemon.bmc.attach(Duration::ZERO).map_err(fault)?;
        Ok(daemon)
    }

    /// The address that USB/IP is served on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What ends [`run`](Self::run).
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: Arc::clone(&self.stop), waker: self.server.waker() }
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
    /// The USB side or the worker is gone.
    pub fn run(mut self) -> Result<(), Error> {
        #[cfg(target_os = "linux")]
        if let Some(notify) = &mut self.service.notify {
            notify.ready();
        }
        while !self.stop.load(Ordering::Acquire) {
            let started = self.started;
            let clock = || started.elapsed();
            #[cfg(target_os = "linux")]
            self.take_commands(clock())?;
            let due = self.bmc.step(clock).map_err(fault)?;
            #[cfg(target_os = "linux")]
            let due = [due, self.tell_service(clock())].into_iter().flatten().min();
            let limit = due.map_or(LONGEST_WAIT, |due| due.saturating_sub(clock()).min(LONGEST_WAIT));
            self.server.wait(limit);
        }
        #[cfg(target_os = "linux")]
        if let Some(notify) = &self.service.notify {
            notify.stopping();
        }
        log::info!("event=stopped");
        self.bmc.detach().map_err(fault)
    }

    /// Commands from the control socket.
    #[cfg(target_os = "linux")]
    fn take_commands(&mut self, now: Duration) -> Result<(), Error> {
        let Some(control) = &self.service.control else { return Ok(()) };
        while let Some(request) = control.poll() {
            match self.bmc.ask(now, request.ask).map_err(fault)? {
                Some(answer) => request.answer(answer),
                None => self.service.asked = Some(request),
            }
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
        notify.status(&Report::new(self.bmc.session(), now).line());
        notify.alive(now)
    }
}

/// The control socket that the configuration asks for.
#[cfg(target_os = "linux")]
fn control(config: &Config, server: &Server) -> Result<Option<Control>, Error> {
    let Some(path) = &config.control else { return Ok(None) };
    let waker = server.waker();
    let control = Control::start(path, move || waker.wake())
        .map_err(|error| Error::Listen { path: path.clone(), error })?;
    Ok(Some(control))
}

/// Records all transfers in a file.
fn record(server: &Server, path: &Path) -> io::Result<()> {
    match server.tap(BufWriter::new(File::create(path)?)) {
        Err(ServerError::Tap(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
        Ok(()) => Ok(()),
    }
}

/// The USB side that the configuration asks for is not to be had.
fn unavailable(config: &Config, error: &ServerError) -> Error {
    let advice = match error {
        ServerError::Listen { source, .. } => match source.kind() {
            io::ErrorKind::AddrInUse => "stop the program that uses the port, or choose another one",
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose another address",
        },
        ServerError::NotLoopback(_) => "choose 127.0.0.1 or [::1]",
        ServerError::BusId(_)
        | ServerError::PortTaken(_)
        | ServerError::Descriptors(_)
        | ServerError::Tap(_) => "correct the configuration",
    };
    Error::Usb {
        what: config.usb.to_string(),
        message: format!("{error}; {advice} (usb in the configuration)"),
    }
}

fn fault<E: std::fmt::Display>(fault: Fault<E>) -> Error {
    match fault {
        Fault::Backend(error) => Error::Usb { what: "the USB side".into(), message: error.to_string() },
        Fault::Worker => Error::Worker,
    }
}
