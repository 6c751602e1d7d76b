//! Ctrl-C: asks the work under way to end cleanly.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A request to stop, shared by whoever makes it and whoever does the work. The work looks at it between two steps, at
/// least ten times a second.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Becomes true at SIGINT or SIGTERM. A second signal ends the process at once, with the exit code of a
    /// cancelled command.
    ///
    /// # Errors
    /// If the operating system does not let the signals be caught.
    pub fn on_signals() -> io::Result<Self> {
        let cancel = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: the first handler sees the flag as it was before this signal.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                i32::from(crate::error::CANCELLED),
                Arc::clone(&cancel.0),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&cancel.0))?;
        }
        Ok(cancel)
    }

    /// Asks for the end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked for the end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if somebody asked for the end.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn check(&self) -> Result<(), crate::Error> {
        if self.is_requested() { Err(crate::Error::Cancelled) } else { Ok(()) }
    }
}
