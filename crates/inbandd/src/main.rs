//! `inbandd`: the BMC's side of Inband.

use std::{path::PathBuf, process::ExitCode};

use inband_package::{Hex, is_bcd};
use inband_session::{Door, DoorPolicy};
use inband_store::{Firmware, boot, text::Text};
use inbandd::{
    Config, Daemon, Error, built,
    command::{Ask, AskedBy},
    config::{ArmBy, IpmiChannel, PowerOn, Usb, VolumeProfile, WhileShut},
    logger, open,
    side::Side,
};
use lexopt::prelude::*;
use log::LevelFilter;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

const HELP: &str = "\
Takes signed firmware from the host and puts it into the slot that does not run.

Usage: inbandd [OPTIONS]          run until SIGTERM or SIGINT
       inbandd check [OPTIONS]    check configuration, keys and store; change nothing
       inbandd init [OPTIONS]     make the store: slot a good and running, slot b empty
       inbandd prepare [OPTIONS]  as root, for a service manager that keeps files: make the gadget
                                  ready for an inbandd that runs as the store's owner

To a running inbandd, by the control socket of its configuration:
       inbandd status             how it stands
       inbandd arm DOOR           let the door open at the host's next knock (dfu, bulk), or
                                  show the disk for one update (volume)
       inbandd host-powered-on    the BMC has powered the host on: arm what the configuration says
       inbandd disarm DOOR        take that back
       inbandd activate           restart the BMC into what is staged
       inbandd confirm            the firmware on trial is healthy
       inbandd commit             take what was copied onto the disk, as if the host had ejected it
       inbandd abort              end the update that is coming in
       inbandd restart            restart the BMC

Options:
  -c, --config FILE             configuration [default: /etc/inband/inbandd.toml]
      --pcap FILE               run: record all USB transfers, for Wireshark
      --firmware-version TEXT   init: version of the firmware in slot a [default: factory]
      --bcd-device NUMBER       init: its bcdDevice, such as 0x0100 [default: 0x0100]
      --security-version NUMBER init: its security version, the floor to begin with [default: 0]
      --asked-by host|bmc       restart: who wants it; a trial's boot that the host ends does
                                not count [default: bmc]
      --for SECONDS             arm: until then, if nobody comes; 0: until somebody has come
                                [default: doors.armed_for_s of the configuration]
      --json                    to a running inbandd: answer as JSON
  -v, --verbose                 more log lines
  -q, --quiet                   only warnings and errors
  -h, --help                    this text
  -V, --version                 version of inbandd

Log lines go to standard error. Exit codes: 0 ended by a signal, or all is well; 2 command line;
3 configuration; 4 keys; 5 store; 6 USB side; 7 no inbandd to ask; 8 door is off; 9 busy;
10 nothing to do that to; 1 anything else.
";

enum Task {
    Run,
    Check,
    Init,
    Prepare,
    Ask(Ask),
}

struct Arguments {
    task: Task,
    config: PathBuf,
    pcap: Option<PathBuf>,
    firmware: Firmware,
    level: LevelFilter,
    json: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inbandd: error: {error}");
            return error.exit_code().into();
        }
    };
    let service = match arguments.task {
        Task::Run | Task::Prepare => true,
        Task::Check | Task::Init | Task::Ask(_) => false,
    };
    logger::init(arguments.level, service);
    match carry_out(&arguments) {
        Ok(code) => code,
        Err(error) => {
            log::error!("{error}");
            error.exit_code().into()
        }
    }
}

fn arguments() -> Result<Option<Arguments>, Error> {
    let usage = |error: lexopt::Error| Error::Usage(error.to_string());
    let mut arguments = Arguments {
        task: Task::Run,
        config: "/etc/inband/inbandd.toml".into(),
        pcap: None,
        firmware: Firmware { version: Text::cut("factory"), bcd_device: 0x0100, security_version: 0 },
        level: LevelFilter::Info,
        json: false,
    };
    let mut named = false;
    // An option for another task than the one that is carried out, if there is one.
    let (mut of_run, mut of_init, mut of_ask, mut of_restart, mut of_arm) = (None, None, None, None, None);
    let (mut asked_by, mut seconds) = (AskedBy::Bmc, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Value(task) if !named => {
                named = true;
                arguments.task = match task.to_str() {
                    Some("check") => Task::Check,
                    Some("init") => Task::Init,
                    Some("prepare") => Task::Prepare,
                    Some("status") => Task::Ask(Ask::Status),
                    Some("arm") => Task::Ask(Ask::Arm(door(&mut parser)?)),
                    Some("host-powered-on") => Task::Ask(Ask::HostPoweredOn),
                    Some("disarm") => Task::Ask(Ask::Disarm(door(&mut parser)?)),
                    Some("activate") => Task::Ask(Ask::Activate),
                    Some("confirm") => Task::Ask(Ask::Confirm),
                    Some("commit") => Task::Ask(Ask::Commit),
                    Some("abort") => Task::Ask(Ask::Abort),
                    Some("restart") => Task::Ask(Ask::Restart(AskedBy::Bmc)),
                    _ => return Err(Error::Usage(format!("{} is no command", task.to_string_lossy()))),
                };
            }
            Short('c') | Long("config") => arguments.config = parser.value().map_err(usage)?.into(),
            Long("pcap") => {
                of_run = Some("--pcap");
                arguments.pcap = Some(parser.value().map_err(usage)?.into());
            }
            Long("firmware-version") => {
                of_init = Some("--firmware-version");
                let text = parser.value().and_then(ValueExt::string).map_err(usage)?;
                arguments.firmware.version = Text::new(&text).ok_or_else(|| {
                    Error::Usage(format!(
                        "--firmware-version {text:?}: 48 of A-Z a-z 0-9 . _ - + : ~ @ / at most"
                    ))
                })?;
            }
            Long("bcd-device") => {
                of_init = Some("--bcd-device");
                let number = number(&mut parser)?;
                arguments.firmware.bcd_device =
                    u16::try_from(number).ok().filter(|number| is_bcd(*number)).ok_or_else(|| {
                        Error::Usage(format!(
                            "--bcd-device {number} ({number:#06x}) is not BCD: four digits, each 0 to 9"
                        ))
                    })?;
            }
            Long("security-version") => {
                of_init = Some("--security-version");
                arguments.firmware.security_version = number(&mut parser)?;
            }
            Long("asked-by") => {
                of_restart = Some("--asked-by");
                asked_by = match parser.value().map_err(usage)?.to_str() {
                    Some("host") => AskedBy::Host,
                    Some("bmc") => AskedBy::Bmc,
                    _ => return Err(Error::Usage("--asked-by takes host or bmc".into())),
                };
            }
            Long("for") => {
                of_arm = Some("--for");
                seconds = Some(number(&mut parser)?);
            }
            Long("json") => {
                of_ask = Some("--json");
                arguments.json = true;
            }
            Short('v') | Long("verbose") => arguments.level = LevelFilter::Debug,
            Short('q') | Long("quiet") => arguments.level = LevelFilter::Warn,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Short('V') | Long("version") => {
                println!("inbandd {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    let misplaced = match &mut arguments.task {
        Task::Run => of_init.or(of_ask).or(of_restart).or(of_arm),
        Task::Check | Task::Prepare => of_run.or(of_init).or(of_ask).or(of_restart).or(of_arm),
        Task::Init => of_run.or(of_ask).or(of_restart).or(of_arm),
        Task::Ask(Ask::Restart(by)) => {
            *by = asked_by;
            of_run.or(of_init).or(of_arm)
        }
        Task::Ask(ask) => {
            if let (Ask::Arm(door), Some(seconds)) = (*ask, seconds) {
                (*ask, of_arm) = (Ask::ArmFor(door, seconds), None);
            }
            of_run.or(of_init).or(of_restart).or(of_arm)
        }
    };
    match misplaced {
        Some(option) => Err(Error::Usage(format!("{option} has no meaning here"))),
        None => Ok(Some(arguments)),
    }
}

/// A number in decimal, or in hexadecimal behind 0x.
fn number(parser: &mut lexopt::Parser) -> Result<u32, Error> {
    let text = parser.value().and_then(ValueExt::string).map_err(|error| Error::Usage(error.to_string()))?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| Error::Usage(format!("{text:?} is no number such as 256 or 0x0100")))
}

/// The name of a door, behind its command.
fn door(parser: &mut lexopt::Parser) -> Result<Door, Error> {
    let name = parser.value().map_err(|error| Error::Usage(error.to_string()))?;
    let door = Door::ALL.into_iter().find(|door| Some(door.name()) == name.to_str());
    door.ok_or_else(|| Error::Usage(format!("{} is no door", name.to_string_lossy())))
}

fn carry_out(arguments: &Arguments) -> Result<ExitCode, Error> {
    let config = Config::load(&arguments.config)?;
    let done = match arguments.task {
        Task::Run => run(&config, arguments),
        Task::Check => check(&config),
        Task::Prepare => prepare(&config),
        Task::Ask(question) => return ask(&config, question, arguments.json),
        Task::Init => {
            open::init(&config, &arguments.firmware)?;
            println!("{}: made, slot a runs {}", config.store.path.display(), arguments.firmware.version);
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Asks a running daemon.
#[cfg(target_os = "linux")]
fn ask(config: &Config, question: Ask, json: bool) -> Result<ExitCode, Error> {
    let Some(path) = &config.control else {
        return Err(Error::Ask("the configuration names no control socket; set control = \"PATH\"".into()));
    };
    let (code, line, text) = inbandd::control::ask(path, question).map_err(|error| {
        Error::Ask(format!(
            "no inbandd answers at {}: {error}; is one running, and may you ask it?",
            path.display()
        ))
    })?;
    if json {
        println!("{line}");
    } else if code == 0 {
        print!("{text}");
    } else {
        log::error!("{}", text.trim_end());
    }
    Ok(code.into())
}

/// There is no socket of that kind.
#[cfg(not(target_os = "linux"))]
fn ask(_config: &Config, _question: Ask, _json: bool) -> Result<ExitCode, Error> {
    Err(Error::Ask("commands to a running inbandd are for Linux".into()))
}

fn run(config: &Config, arguments: &Arguments) -> Result<(), Error> {
    match config.usb {
        Usb::Usbip(_) => run_usbip(config, arguments),
        Usb::Usbredir(_) | Usb::UsbredirListen(_) => run_usbredir(config, arguments),
        Usb::Gadget if arguments.pcap.is_some() => {
            Err(Error::Usage("--pcap: only a virtual BMC records its transfers; a kernel has usbmon".into()))
        }
        Usb::Gadget => run_gadget(config),
    }
}

#[cfg(feature = "virtual")]
fn run_usbip(config: &Config, arguments: &Arguments) -> Result<(), Error> {
    let outside = Outside::new()?;
    outside.serve(Daemon::on_usbip(config, arguments.pcap.as_deref())?)
}

#[cfg(not(feature = "virtual"))]
fn run_usbip(_: &Config, _: &Arguments) -> Result<(), Error> {
    Err(Error::NotBuilt("usb"))
}

#[cfg(all(target_os = "linux", feature = "virtual"))]
fn run_usbredir(config: &Config, arguments: &Arguments) -> Result<(), Error> {
    let outside = Outside::new()?;
    outside.serve(Daemon::on_usbredir(config, arguments.pcap.as_deref())?)
}

#[cfg(not(all(target_os = "linux", feature = "virtual")))]
fn run_usbredir(_: &Config, _: &Arguments) -> Result<(), Error> {
    Err(Error::NotBuilt("usb"))
}

#[cfg(target_os = "linux")]
fn run_gadget(config: &Config) -> Result<(), Error> {
    let handed = inbandd::handed::files();
    let outside = Outside::new()?;
    match Daemon::on_gadget(config, handed, outside.notify.as_ref()) {
        Err(Error::NoFunctionFs { .. }) if config.doors.volume.policy != DoorPolicy::Off => {
            if config.doors.volume.profile != VolumeProfile::Raw {
                let message = "the kernel has no FunctionFS (CONFIG_USB_CONFIGFS_F_FS), and with the kernel's own disk there is no profile but one: set \
                               doors.volume.profile = \"raw\"";
                return Err(Error::Usb { what: config.usb.to_string(), message: message.into() });
            }
            outside.serve(Daemon::on_kernel_disk(config)?)
        }
        daemon => outside.serve(daemon?),
    }
}

#[cfg(not(target_os = "linux"))]
fn run_gadget(_: &Config) -> Result<(), Error> {
    Err(Error::NotBuilt("usb"))
}

#[cfg(target_os = "linux")]
fn prepare(config: &Config) -> Result<(), Error> {
    let no_use = |why: &str| Error::Usage(format!("prepare: {why}"));
    if config.usb != Usb::Gadget {
        return Err(no_use("the configuration has no usb = \"gadget\""));
    }
    let outside = Outside::new()?;
    let Some(notify) = &outside.notify else {
        return Err(no_use("NOTIFY_SOCKET names no service manager that could keep the gadget's files"));
    };
    match inbandd::side::prepare(config, notify)? {
        Some(found) => log::info!("event=gadget-prepared {found}"),
        None => log::info!("event=gadget-prepared before"),
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn prepare(_: &Config) -> Result<(), Error> {
    Err(Error::Usage("prepare: gadgets are for Linux".into()))
}

/// Those who started the daemon and will end it.
struct Outside {
    signals: Signals,
    #[cfg(target_os = "linux")]
    notify: Option<inbandd::notify::Notify>,
}

impl Outside {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            signals: Signals::new([SIGTERM, SIGINT])
                .map_err(|error| Error::System { what: "cannot listen for signals", error })?,
            #[cfg(target_os = "linux")]
            notify: inbandd::notify::Notify::from_environment()
                .map_err(|error| Error::System { what: "cannot reach the service manager", error })?,
        })
    }

    /// Runs the daemon until one of the signals comes.
    fn serve<S: Side>(mut self, daemon: Daemon<S>) -> Result<(), Error> {
        #[cfg(target_os = "linux")]
        let daemon = daemon.with_notify(self.notify);
        let stopper = daemon.stopper();
        std::thread::spawn(move || {
            if self.signals.forever().next().is_some() {
                stopper.stop();
            }
        });
        daemon.run()
    }
}

/// Who may arm a door, and what a host sees until then.
fn arming(config: &Config) -> String {
    let mut by = "inbandd arm".to_owned();
    for arms in &config.doors.arm_by {
        by += match (arms, config.doors.power_on) {
            (ArmBy::Ipmi, _) => ", a start by IPMI",
            (ArmBy::PowerOn, PowerOn::Command) => ", inbandd host-powered-on",
            (ArmBy::PowerOn, PowerOn::Dbus) => ", D-Bus (the BMC powered the host on)",
            (ArmBy::PowerOn, PowerOn::Qemu) => ", QEMU (its guest was reset; for trying out)",
        };
    }
    let seen = match config.doors.while_shut {
        WhileShut::Dfu => "the run-time DFU interface",
        WhileShut::Nothing => "nothing",
    };
    format!("armed by: {by}; while every door is shut the host sees {seen}")
}

/// What is to be said of a channel whose device is not there. It may come: a start of the daemon does not fail by that.
fn absent(channel: &IpmiChannel) -> &'static str {
    match channel {
        IpmiChannel::Device(_, path) if !path.exists() => {
            ", which is not there; inbandd tries it each second"
        }
        IpmiChannel::Device(..) | IpmiChannel::Dbus | IpmiChannel::Qemu(_) | IpmiChannel::QemuListen(_) => "",
    }
}

fn check(config: &Config) -> Result<(), Error> {
    built::with_all_of(config)?;
    for (key, command) in config.commands() {
        if let Some(program) = command.first() {
            open::program(key, program)?;
        }
    }
    let keys = open::keys(config)?;
    let store = open::store(config)?;
    let running = store.running();
    if let Err(error) = boot::decide(store.record()) {
        return Err(Error::store(&config.store.path, error.into()));
    }
    #[cfg(target_os = "linux")]
    let found = match config.usb {
        Usb::Usbip(_) | Usb::Usbredir(_) | Usb::UsbredirListen(_) => None,
        Usb::Gadget => Some(inbandd::side::probe(config)?),
    };
    println!("configuration: good, machine {}, {}", config.machine, config.usb);
    #[cfg(target_os = "linux")]
    let endpoints = found.as_ref().is_none_or(|found| found.aio);
    #[cfg(not(target_os = "linux"))]
    let endpoints = true;
    #[cfg(target_os = "linux")]
    if let Some(found) = found {
        println!("usb: {found}");
    }
    let bulk = config.doors.bulk_policy(endpoints);
    let volume = config.doors.volume_policy(endpoints);
    // No kernel says how many endpoints its controller has.
    let if_it_can = |policy, when| match (&config.usb, policy) {
        (Usb::Gadget, DoorPolicy::Always | DoorPolicy::Armed) => {
            format!(
                " if the controller has two bulk endpoints left, which is tried when {when} (`inbandd status` knows)"
            )
        }
        _ => String::new(),
    };
    println!(
        "doors: dfu {}, bulk {}{}, volume {}{}{}",
        config.doors.dfu.policy.name(),
        bulk.name(),
        if_it_can(bulk, "DFU mode is entered"),
        volume.name(),
        match (volume, config.doors.volume.profile) {
            (DoorPolicy::Off, _) => "",
            (DoorPolicy::Always | DoorPolicy::Armed, VolumeProfile::Fat) => " (fat)",
            (DoorPolicy::Always | DoorPolicy::Armed, VolumeProfile::Raw) => " (raw)",
        },
        if_it_can(volume, "the disk is shown")
    );
    println!("{}", arming(config));
    if let Some(channel) = &config.ipmi.channel {
        println!("ipmi: {channel}{}", absent(channel));
    }
    for key in keys.keys() {
        println!("key: {} {}", key.kind(), Hex(key.id()));
    }
    println!(
        "store: slot {} runs {}, security floor {}",
        running.name(),
        store.record().slot(running).version,
        store.record().floor
    );
    Ok(())
}
