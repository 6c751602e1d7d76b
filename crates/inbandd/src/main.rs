//! `inbandd`: the BMC's side of Inband.

use std::{path::PathBuf, process::ExitCode};

use inband_package::{Hex, is_bcd};
use inband_store::{Firmware, boot, text::Text};
use inbandd::{Config, Error, logger, open};
use lexopt::prelude::*;
use log::LevelFilter;

const HELP: &str = "\
Takes signed firmware from the host and puts it into the slot that does not run.

Usage: inbandd [OPTIONS]          run until SIGTERM or SIGINT
       inbandd check [OPTIONS]    check configuration, keys and store; change nothing
       inbandd init [OPTIONS]     make the store: slot a good and running, slot b empty

Options:
  -c, --config FILE             configuration [default: /etc/inband/inbandd.toml]
      --pcap FILE               run: record all USB transfers, for Wireshark
      --firmware-version TEXT   init: version of the firmware in slot a [default: factory]
      --bcd-device NUMBER       init: its bcdDevice, such as 0x0100 [default: 0x0100]
      --security-version NUMBER init: its security version, the floor to begin with [default: 0]
  -v, --verbose                 more log lines
  -q, --quiet                   only warnings and errors
  -h, --help                    this text
  -V, --version                 version of inbandd

Log lines go to standard error. Exit codes: 0 ended by a signal, or all is well; 2 command line;
3 configuration; 4 keys; 5 store; 6 USB side; 1 anything else.
";

enum Task {
    Run,
    Check,
    Init,
}

struct Arguments {
    task: Task,
    config: PathBuf,
    pcap: Option<PathBuf>,
    firmware: Firmware,
    level: LevelFilter,
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
        Task::Run => true,
        Task::Check | Task::Init => false,
    };
    logger::init(arguments.level, service);
    match carry_out(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
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
    };
    let mut named = false;
    // An option for another task than the one that is carried out, if there is one.
    let (mut of_run, mut of_init) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Value(task) if !named => {
                named = true;
                arguments.task = match task.to_str() {
                    Some("check") => Task::Check,
                    Some("init") => Task::Init,
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
    let misplaced = match arguments.task {
        Task::Run => of_init,
        Task::Check => of_run.or(of_init),
        Task::Init => of_run,
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

fn carry_out(arguments: &Arguments) -> Result<(), Error> {
    let config = Config::load(&arguments.config)?;
    match arguments.task {
        Task::Run => run(&config, arguments),
        Task::Check => check(&config),
        Task::Init => {
            open::init(&config, &arguments.firmware)?;
            println!("{}: made, slot a runs {}", config.store.path.display(), arguments.firmware.version);
            Ok(())
        }
    }
}

#[cfg(feature = "virtual")]
fn run(config: &Config, arguments: &Arguments) -> Result<(), Error> {
    use inbandd::Daemon;
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
    };

    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Error::System { what: "cannot listen for signals", error })?;
    let daemon = Daemon::start(config, arguments.pcap.as_deref())?;
    let stopper = daemon.stopper();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            stopper.stop();
        }
    });
    daemon.run()
}

/// There is no USB side but the virtual one so far.
#[cfg(not(feature = "virtual"))]
fn run(config: &Config, arguments: &Arguments) -> Result<(), Error> {
    if arguments.pcap.is_some() {
        return Err(Error::Usage("--pcap: this inbandd has no virtual USB side that could record".into()));
    }
    let message = "this inbandd was built without it; build it with --features virtual".into();
    Err(Error::Usb { what: config.usb.to_string(), message })
}

fn check(config: &Config) -> Result<(), Error> {
    let keys = open::keys(config)?;
    let store = open::store(config)?;
    let running = store.running();
    if let Err(error) = boot::decide(store.record()) {
        return Err(Error::store(&config.store.path, error.into()));
    }
    println!("configuration: good, machine {}, {}", config.machine, config.usb);
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
