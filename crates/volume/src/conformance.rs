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

/// What lies between host and device, as far as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// A request's wIndex reaches the device as it was sent. FunctionFS passes on its low byte only.
    pub whole_index: bool,
    /// The controller calls a packet to the host sent before the host has taken it, and keeps it over Reset Recovery, as `dummy_hcd` does with up to
    /// 64 bytes.
    pub keeps_a_packet: bool,
}

impl Between {
    /// Nothing that shows.
    pub const NOTHING: Self = Self { whole_index: true, keeps_a_packet: false };
}

/// A way to a disk.
pub trait Bench {
    /// The host's side.
    type Usb: HostDevice;

    /// What lies between.
    fn between(&self) -> Between {
        Between::NOTHING
    }

    /// Opens the disk; waits for it, if it is to be there soon.
    ///
    /// # Errors
    /// There is none.
    fn open(&mut self) -> Result<Opened<Self::Usb>, String>;

    /// Takes the device off the bus, or resets it, while a host has it open and transfers are in flight. Behind it
    /// [`open`](Self::open) has to find it again. Whether the device has begun anew; else nothing has happened to it but that its host is gone, and
    /// the next one begins with Reset Recovery.
    ///
    /// # Errors
    /// That cannot be done.
    fn pull(&mut self) -> Result<bool, String>;
}

/// What became of a case: what was expected, and what came instead.
pub type Outcome = Result<(), String>;

/// Runs all cases that are wanted by name, and tells what became of each; whether all passed. Behind one that failed the disk is opened anew.
pub fn run_cases<B: Bench>(
    bench: &mut B,
    wanted: impl Fn(&str) -> bool,
    mut tell: impl FnMut(&str, Outcome),
) -> bool {
    let between = bench.between();
    let mut opened = None;
    let mut passed = true;
    for (name, case) in cases::all::<B::Usb>().into_iter().filter(|(name, _)| wanted(name)) {
        let outcome = take(&mut opened, bench).and_then(|mut disk| {
            let mut session = Session::new(&mut disk, between);
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

/// The disk that is open, or one that nobody knows what the host before was at with.
fn take<B: Bench>(opened: &mut Option<Opened<B::Usb>>, bench: &mut B) -> Result<Opened<B::Usb>, String> {
    if let Some(disk) = opened.take() {
        return Ok(disk);
    }
    let mut disk = bench.open()?;
    Session::new(&mut disk, bench.between()).recover()?;
    Ok(disk)
}

/// Pulls the device in each step of each kind of command: what is in flight ends, and the next host finds a disk that works. Whether all passed.
pub fn run_faults<B: Bench>(bench: &mut B, mut tell: impl FnMut(&str, Outcome)) -> bool {
    let mut passed = true;
    for (name, fault) in faults::all::<B::Usb>() {
        let outcome = faults::run(bench, fault);
        passed &= outcome.is_ok();
        tell(name, outcome);
    }
    passed
}
