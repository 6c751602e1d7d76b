//! What a tester asks of a disk from the host's side, over whatever joins the two: the cases of the USB-IF's mass storage tests as far as public
//! sources tell of them ("TD" and a number), and what else docs/spec/disk.md promises a host.
//!
//! [`run_cases`] is for any disk of at least [`BLOCKS`] blocks that may be written, whose contents are of no value; [`run_faults`] takes it off the
//! bus in the middle of commands; [`hostile::run`] is a host without manners. Nobody else may use the interface meanwhile, the
//! operating system's driver least of all.

mod cases;
mod faults;
pub mod hostile;
mod session;
pub mod thirteen;

use alloc::string::String;

use inband_usb::{EndpointAddress, HostDevice};

pub use session::Session;

/// Blocks that the disk has at least.
pub const BLOCKS: u32 = 256;

/// A disk that was opened, its interface claimed.
#[derive(Debug)]
pub struct Opened<U> {
    /// The device.
    pub usb: U,
    /// bInterfaceNumber.
    pub interface: u8,
    /// The OUT endpoint.
    pub output: EndpointAddress,
    /// The IN endpoint.
    pub input: EndpointAddress,
}

/// A way to a disk.
pub trait Bench {
    /// The host's side.
    type Usb: HostDevice;

    /// Whether a request's wIndex reaches the device as it was sent. FunctionFS passes on its low byte only.
    fn passes_whole_index(&self) -> bool {
        true
    }

    /// Opens the disk; waits for it, if it is to be there soon.
    ///
    /// # Errors
    /// There is none.
    fn open(&mut self) -> Result<Opened<Self::Usb>, String>;

    /// Takes the device off the bus, or resets it, while a host has it open and transfers are in flight. Behind it
    /// [`open`](Self::open) has to find it again.
    ///
    /// # Errors
    /// That cannot be done.
    fn pull(&mut self) -> Result<(), String>;
}

/// What became of a case: what was expected, and what came instead.
pub type Outcome = Result<(), String>;

/// Runs all cases that are wanted by name, and tells what became of each; whether all passed. Behind one that failed the disk is opened anew.
pub fn run_cases<B: Bench>(
    bench: &mut B,
    wanted: impl Fn(&str) -> bool,
    mut tell: impl FnMut(&str, Outcome),
) -> bool {
    let whole_index = bench.passes_whole_index();
    let mut opened = None;
    let mut passed = true;
    for (name, case) in cases::all::<B::Usb>().into_iter().filter(|(name, _)| wanted(name)) {
        let outcome = take(&mut opened, bench).and_then(|mut disk| {
            let mut session = Session::new(&mut disk, whole_index);
            session.ready()?;
            case(&mut session)?;
            // Whatever it was about, the next command works.
            session.works()?;
            opened = Some(disk);
            Ok(())
        });
        passed &= outcome.is_ok();
        tell(name, outcome);
    }
    passed
}

fn take<B: Bench>(opened: &mut Option<Opened<B::Usb>>, bench: &mut B) -> Result<Opened<B::Usb>, String> {
    match opened.take() {
        Some(disk) => Ok(disk),
        None => bench.open(),
    }
}

/// Pulls the device in each step of each kind of command: what is in flight ends, and the next host finds a disk that works. Whether all passed.
pub fn run_faults<B: Bench>(bench: &mut B, mut tell: impl FnMut(&str, Outcome)) -> bool {
    let whole_index = bench.passes_whole_index();
    let mut passed = true;
    for (name, fault) in faults::all::<B::Usb>() {
        let outcome = faults::run(bench, fault, whole_index);
        passed &= outcome.is_ok();
        tell(name, outcome);
    }
    passed
}
