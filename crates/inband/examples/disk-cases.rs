//! The tester of `inband_volume::conformance` at the one disk on this machine's USB, whoever made that. No driver may have it (usb-storage is not
//! loaded, or let go of it), and what is on it is lost.
//!
//! ```text
//! disk-cases [--dummy] cases PREFIX [NAME...]
//! disk-cases [--dummy] faults PREFIX close|reset|COMMAND
//! disk-cases [--dummy] hostile PREFIX COMMANDS SEED
//! ```
//!
//! * `--dummy`: the disk is on `dummy_hcd`, by FunctionFS.
//! * `faults`: in the middle of commands this program lets go of the device, or it is reset through another file, as by another program; or the
//!   shell runs the command, which takes it off the bus and brings it back.
//! * `hostile`: so many commands; how long a good one took at most is printed.
//!
//! Prints `ok NAME` or `failed NAME REASON` for each case; exits with 1 if one failed.

use std::{
    env,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use inband::usb::{Bus as _, KernelBus, Place};
use inband_usb::{Direction, HostDevice};
use inband_volume::{
    bot::wire::{INTERFACE_CLASS, INTERFACE_PROTOCOL, INTERFACE_SUBCLASS},
    conformance::{Bench, Between, Opened, Outcome, hostile, run_cases, run_faults},
};

/// How long a disk may take to be there.
const ENUMERATION: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How the device leaves.
enum Way {
    Close,
    Reset,
    Command(String),
}

struct Kernel {
    between: Between,
    way: Way,
    place: Option<Place>,
}

fn find() -> Result<(Place, Opened<Box<dyn HostDevice>>), String> {
    let class = (INTERFACE_CLASS, INTERFACE_SUBCLASS, INTERFACE_PROTOCOL);
    let sightings = KernelBus.list().map_err(|error| error.to_string())?;
    let is_disk = |it: &inband::usb::InterfaceClass| (it.class, it.subclass, it.protocol) == class;
    let place =
        sightings.into_iter().find(|it| it.interfaces.iter().any(is_disk)).ok_or("there is no disk")?.place;
    let mut opened = KernelBus.open(&place).map_err(|error| error.to_string())?;
    let mut interfaces = opened.configuration.interfaces.iter();
    let interface =
        interfaces.find(|it| (it.class, it.subclass, it.protocol) == class).ok_or("no interface")?;
    let endpoint = |direction| {
        let found = interface.endpoints.iter().find(|endpoint| endpoint.address.direction() == direction);
        found.map(|endpoint| endpoint.address).ok_or("an endpoint is missing")
    };
    let (interface, output, input) = (interface.number, endpoint(Direction::Out)?, endpoint(Direction::In)?);
    opened.device.claim(interface).map_err(|error| error.to_string())?;
    Ok((place, Opened { usb: opened.device, interface, output, input }))
}

impl Bench for Kernel {
    type Usb = Box<dyn HostDevice>;

    fn between(&self) -> Between {
        self.between
    }

    fn open(&mut self) -> Result<Opened<Self::Usb>, String> {
        let until = Instant::now() + ENUMERATION;
        loop {
            match find() {
                Ok((place, disk)) => {
                    self.place = Some(place);
                    return Ok(disk);
                }
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn pull(&mut self) -> Result<bool, String> {
        match &self.way {
            Way::Close => Ok(false),
            Way::Reset => {
                let place = self.place.as_ref().ok_or("nothing was opened")?;
                let mut again = KernelBus.open(place).map_err(|error| error.to_string())?;
                again.device.reset().map(|()| true).map_err(|error| format!("the reset: {error}"))
            }
            Way::Command(command) => {
                let status = Command::new("sh").args(["-c", command]).status();
                let status = status.map_err(|error| format!("{command}: {error}"))?;
                if status.success() { Ok(true) } else { Err(format!("{command}: {status}")) }
            }
        }
    }
}

/// Prints what became of a case.
fn tell(name: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => println!("ok {name}"),
        Err(why) => println!("failed {name} {why}"),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut between = Between::NOTHING;
    if words.first() == Some(&"--dummy") {
        words.remove(0);
        between = Between { whole_index: false, keeps_a_packet: true };
    }
    let mut bench = Kernel { between, way: Way::Close, place: None };
    let passed = match words.as_slice() {
        ["cases", prefix, names @ ..] => {
            let wanted = |name: &str| names.is_empty() || names.contains(&name);
            run_cases(&mut bench, wanted, |name, outcome| tell(&format!("{prefix}-{name}"), outcome))
        }
        ["faults", prefix, way] => {
            bench.way = match *way {
                "close" => Way::Close,
                "reset" => Way::Reset,
                command => Way::Command(command.to_owned()),
            };
            run_faults(&mut bench, |name, outcome| tell(&format!("{prefix}-{name}"), outcome))
        }
        ["hostile", prefix, commands, seed] => match (commands.parse(), seed.parse()) {
            (Ok(commands), Ok(seed)) => {
                let outcome = hostile::run(&mut bench, commands, seed);
                let passed = outcome.is_ok();
                let outcome = outcome.map(|figures| println!("{figures:?}"));
                tell(&format!("{prefix}-hostile-{seed}"), outcome);
                passed
            }
            _ => return usage(),
        },
        _ => return usage(),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: disk-cases [--dummy] cases PREFIX [NAME...] | faults PREFIX close|reset|COMMAND | hostile PREFIX COMMANDS SEED"
    );
    ExitCode::FAILURE
}
