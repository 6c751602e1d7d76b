//! A virtual BMC in a thread of this process, served over USB/IP on a loopback port.

use std::{
    io,
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use inbandd::{Config, Daemon, Stopper};

use crate::{error::Error, usb::Server};

/// A running virtual BMC; it stops when it is dropped.
pub struct VirtualBmc {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), inbandd::Error>>>,
}

impl VirtualBmc {
    /// Starts a BMC and waits until it serves.
    ///
    /// # Errors
    /// [`Error::System`] with what inbandd says.
    pub fn start(config: Config) -> Result<Self, Error> {
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("virtual-bmc".to_owned())
            .spawn(move || {
                let daemon = match Daemon::on_usbip(&config, None) {
                    Ok(daemon) => daemon,
                    Err(error) => return Err(error),
                };
                // If nobody listens any more the daemon is stopped anyway.
                let _ = tell.send((daemon.address(), daemon.stopper()));
                daemon.run()
            })
            .map_err(failed)?;
        match told.recv() {
            Ok((address, stopper)) => Ok(Self { address, stopper, thread: Some(thread) }),
            Err(_) => Err(ended(thread)),
        }
    }

    /// Where it serves.
    #[must_use]
    pub fn server(&self) -> Server {
        Server { host: self.address.ip().to_string(), port: self.address.port() }
    }
}

impl Drop for VirtualBmc {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // What it could still say concerns nobody any more.
            let _ = thread.join();
        }
    }
}

/// Why the daemon has not come up.
fn ended(thread: JoinHandle<Result<(), inbandd::Error>>) -> Error {
    match thread.join() {
        Ok(Err(error)) => failed(io::Error::other(error.to_string())),
        Ok(Ok(())) => failed(io::Error::other("it ended at once")),
        Err(_) => failed(io::Error::other("it panicked")),
    }
}

const fn failed(source: io::Error) -> Error {
    Error::System { action: "start the virtual BMC", source }
}
