//! A USB bus in memory: one device, its hosts, a clock that is moved by hand and faults at every step.
//!
//! [`Bus::new`] makes the bus and its [`MemoryDevice`]. Once the device is attached and the bus has enumerated it, [`Bus::open`]
//! gives a [`MemoryHost`]; several may be open at once, as programs may on a real host. When the device leaves, its hosts
//! are gone for good, and [`Bus::open`] shows whatever is attached next.
//!
//! # Time
//! The clock is virtual and moves only
//! * in [`HostDevice::wait`], [`Bus::advance`] and [`Bus::run_until`], straight to the next thing that is due, and
//! * by the time a transfer takes at high speed: one microframe (125 µs) for each 13 packets of 512 bytes, at least one.
//!
//! Nothing depends on the real clock, so every run of a test is the same.
//!
//! # Who runs the device
//! One thread runs both sides: while the host waits, the bus calls the *pump*, a function that lets the device's side take its
//! events and says when it wants to run next at the latest. Without a pump the waiting host just sees time pass, and the
//! test runs the device by itself. The pump may use the device and the bus in any way; waiting inside the pump does not
//! call it again.
//!
//! Handles may be used from several threads, one at a time: time does not wait for a thread.
//!
//! # Limits
//! Control transfers of any wLength pass, up to 65,535 bytes; kernels refuse or cut those of more than 4096 bytes, so cores are tested
//! against more than gets through there.

mod bulk;
mod control;
mod device;
mod fault;
mod host;
mod state;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use inband_usb::{DescriptorSet, DeviceEvent, HostError, TransferError};
#[cfg(doc)]
use inband_usb::{DeviceBackend, HostDevice};

pub use device::{MemoryDevice, MemoryError};
pub use fault::{Action, Fault, FaultPlan, Step};
pub use host::MemoryHost;
use state::State;

/// The device's side: takes the time, returns when it wants to be called next, if nothing happens before.
type Pump = Box<dyn FnMut(Duration) -> Option<Duration> + Send>;

/// Smallest step of the clock when the pump wants to be called again at once.
const TICK: Duration = Duration::from_micros(100);
/// How often the pump may act at one moment before the clock moves on regardless.
const MAX_ACTS_AT_ONCE: u32 = 10_000;

/// A handle on the bus: the cable, the port and the clock.
#[derive(Clone)]
pub struct Bus {
    state: Arc<Mutex<State>>,
    /// Apart from the state, which the pump's device holds on to.
    pump: Arc<Mutex<Option<Pump>>>,
}

impl Bus {
    /// A bus with the cable plugged in and the device not attached.
    #[must_use]
    pub fn new() -> (Self, MemoryDevice) {
        let state = Arc::new(Mutex::new(State::new()));
        let device = MemoryDevice::new(Arc::clone(&state));
        (Self { state, pump: Arc::default() }, device)
    }

    /// Sets the function that runs the device's side whenever time may pass. It is called with the time and returns when it wants to
    /// be called again at the latest; `None` if there is nothing it waits for but the host.
    pub fn set_pump(&self, pump: impl FnMut(Duration) -> Option<Duration> + Send + 'static) {
        *lock(&self.pump) = Some(Box::new(pump));
    }

    /// Drops the pump and all it holds: the device, too, if it was moved in there.
    pub fn clear_pump(&self) {
        let pump = lock(&self.pump).take();
        // Outside of the lock: what is dropped may use the bus.
        drop(pump);
    }

    /// The time since the bus was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Lets time pass for both sides.
    pub fn advance(&self, time: Duration) {
        self.run_until(time, || false);
    }

    /// Lets time pass until the condition holds, at most this long. Returns whether it holds.
    pub fn run_until(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = self.now().saturating_add(limit);
        let mut acts = 0;
        loop {
            self.state().tick();
            let before = self.state().changes;
            if condition() {
                return true;
            }
            let wish = self.run_pump();
            self.state().tick();
            if condition() {
                return true;
            }
            let mut state = self.state();
            let acted = state.changes != before;
            if state.now > deadline {
                return false;
            }
            if acted && acts < MAX_ACTS_AT_ONCE {
                acts += 1;
                continue;
            }
            if state.now == deadline {
                return false;
            }
            acts = 0;
            let wish = if acted { Some(state.now) } else { wish };
            let wish = wish.map(|time| time.max(state.now + TICK));
            let next = [state.next_timer(), wish].into_iter().flatten().fold(deadline, Duration::min);
            state.now = state.now.max(next);
        }
    }

    /// Whether the host sees a device: attached, plugged in and enumerated.
    #[must_use]
    pub fn attached(&self) -> bool {
        self.state().present
    }

    /// How many devices the host has seen come: grows with each enumeration after an attach or a plug, not with a reset.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// The descriptors of the device the host sees.
    #[must_use]
    pub fn descriptors(&self) -> Option<DescriptorSet> {
        let state = self.state();
        state.set.clone().filter(|_| state.present)
    }

    /// Opens the device the host sees.
    ///
    /// # Errors
    /// [`HostError::Gone`] if there is none.
    pub fn open(&self) -> Result<MemoryHost, HostError> {
        MemoryHost::open(self)
    }

    /// From now on the device's controller has so many endpoints besides endpoint 0; without a word, as many as anybody wants.
    pub fn limit_endpoints(&self, count: usize) {
        lock(&self.state).endpoints = count;
    }

    /// From now on transfers that the device takes back come home as if their endpoint had been disabled, as with the kernel's driver of
    /// ASPEED's `aspeed_udc`.
    pub fn cancel_as_disabled(&self) {
        lock(&self.state).cancelled = TransferError::Disabled;
    }

    /// Pulls the cable. The device stays attached and is there again after [`plug`](Self::plug).
    pub fn unplug(&self) {
        self.state().unplug();
    }

    /// Plugs the cable in.
    pub fn plug(&self) {
        self.state().plug();
    }

    /// Resets the bus and configures the device again, as the host's kernel may at any time: transfers of all hosts end as cancelled.
    pub fn reset(&self) {
        self.state().bus_reset();
    }

    /// Tells the device that the bus went idle.
    pub fn suspend(&self) {
        self.state().notify(DeviceEvent::Suspend);
    }

    /// Tells the device that the bus is busy again.
    pub fn resume(&self) {
        self.state().notify(DeviceEvent::Resume);
    }

    /// How long it takes from attaching to the host seeing the device; 100 ms at first (USB 2.0, 7.1.7.3).
    pub fn set_enumeration_time(&self, time: Duration) {
        self.state().enumeration_time = time;
    }

    /// Replaces the plan of faults and starts to count transfers from 0.
    pub fn set_faults(&self, plan: FaultPlan) {
        let mut state = self.state();
        state.faults = plan;
        state.transfers = 0;
    }

    /// How many transfers hosts have submitted since the start or the last [`set_faults`](Self::set_faults).
    #[must_use]
    pub fn transfers(&self) -> u64 {
        self.state().transfers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Calls the pump, which is out of its place meanwhile.
    fn run_pump(&self) -> Option<Duration> {
        let mut pump = lock(&self.pump).take()?;
        let now = self.now();
        let wish = pump(now);
        let mut place = lock(&self.pump);
        if place.is_none() {
            *place = Some(pump);
        } else {
            // The pump has set another one. What it holds may use the bus when it is dropped.
            drop(place);
            drop(pump);
        }
        wish
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("state", &*self.state()).finish_non_exhaustive()
    }
}

/// Locks, also after a panic of another test's thread: every change of the state is complete when the lock is released.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
