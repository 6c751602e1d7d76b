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
use inband_session::{Config as SessionConfig, Door, DoorPolicy, Limits, Session, StoreView, start};
use inband_store::{StoreError, text::Text};
use inband_virtual::usbip::{Port, Server, ServerError, Waker};

use crate::{
    bmc::{Bmc, Fault, Options},
    config::{Config, Conformance, Usb, When},
    error::Error,
    open,
    worker::Thread,
};

/// The longest wait of the loop. Nothing depends on it; a missed wake-up would cost no more.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A virtual BMC on a USB/IP port, until it is stopped.
pub struct Daemon {
    server: Server,
    bmc: Bmc<Port, Thread>,
    stop: Arc<AtomicBool>,
    started: Instant,
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

        // Not before all that can fail without it: a start that fails is no boot that a trial has used up.
        let unusable = |error: StoreError| Error::store(&config.store.path, error);
        store.boot().map_err(unusable)?;
        start::recover(&mut store).map_err(unusable)?;
        let view = StoreView::of(&store);
        let pipeline = open::pipeline(config, store, keys);
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
                limits: Limits::default(),
            },
            view,
        );
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
        };
        let bmc = Bmc::new(port, worker, session, options);
        let stop = Arc::new(AtomicBool::new(false));
        let mut daemon = Self { server, bmc, stop, started: Instant::now() };
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

    /// Serves until stopped, then leaves the bus.
    ///
    /// # Errors
    /// The USB side or the worker is gone.
    pub fn run(mut self) -> Result<(), Error> {
        while !self.stop.load(Ordering::Acquire) {
            let clock = || self.started.elapsed();
            let due = self.bmc.step(clock).map_err(fault)?;
            let limit = due.map_or(LONGEST_WAIT, |due| due.saturating_sub(clock()).min(LONGEST_WAIT));
            self.server.wait(limit);
        }
        log::info!("event=stopped");
        self.bmc.detach().map_err(fault)
    }
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
