//! The command line: reads it, does what it says, tells the end.

#[expect(
    missing_docs,
    reason = "a doc comment there is a text of --help, and the types that hold options need none"
)]
pub mod args;
pub mod values;

use std::{ffi::OsString, fs, path::Path, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, error::ErrorKind};
use inband_package::Rule;
use serde::Serialize;

use crate::{
    cancel::Cancel,
    commands::{self, handle},
    error::Error,
    find::Scope,
    ipmi::Ipmi,
    logger,
    output::{Output, Verbosity},
    package::{self, keys::PublicKeys},
    update::{self, Done, Plan, door::Wish, handle::Handle, show::Show},
    usb::{Bus, KernelBus, UsbipBus},
};
use args::{Cli, Command, DoorName, Global, Update};

#[derive(Serialize)]
struct Failure {
    error: &'static str,
    exit: u8,
    message: String,
    result: Option<&'static str>,
    result_code: Option<u16>,
    advice: Option<String>,
}

/// Runs the program: arguments in, exit code out (docs/spec/results.md, 2).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing more can be said if standard error is closed too.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            };
        }
    };
    if cli.global.verbosity() == Verbosity::Verbose {
        logger::init();
    }
    let mut output = Output::standard(cli.global.json, cli.global.verbosity());
    ExitCode::from(run(&cli, &mut output))
}

/// Does what was asked for and tells how it ended: the exit code.
pub fn run(cli: &Cli, output: &mut Output) -> u8 {
    let result = dispatch(cli, output).and_then(|()| output.finish().map_err(Error::Output));
    match result {
        Ok(()) => 0,
        Err(error) => {
            tell(&error, output);
            error.exit_code()
        }
    }
}

fn tell(error: &Error, output: &mut Output) {
    let advice = error.advice();
    output.error(format_args!("inband: {error}"));
    if let Some(advice) = &advice {
        output.error(format_args!("  help: {advice}"));
    }
    output.json(
        "error",
        &Failure {
            error: error.name(),
            exit: error.exit_code(),
            message: error.to_string(),
            result: error.result().map(|result| result.name()),
            result_code: error.result().map(|result| result.code()),
            advice,
        },
    );
}

fn dispatch(cli: &Cli, output: &mut Output) -> Result<(), Error> {
    let cancel = Cancel::on_signals()
        .map_err(|source| Error::System { action: "catch the signals of Ctrl-C", source })?;
    let selector = cli.global.device.as_ref();
    match &cli.command {
        Command::List(list) => {
            with_scope(&cli.global, |scope| commands::list::run(scope, selector, list.all, output))
        }
        Command::Status => with_scope(&cli.global, |scope| {
            commands::status::run(scope, selector, ipmi(&cli.global, &cancel), output)
        }),
        Command::Start(args) => handle::start(ipmi(&cli.global, &cancel), args, output, &cancel),
        Command::Stop(args) => handle::stop(&mut ipmi(&cli.global, &cancel).client?, args, output),
        Command::Abort => handle::abort(&mut ipmi(&cli.global, &cancel).client?, output),
        Command::Activate => handle::activate(&mut ipmi(&cli.global, &cancel).client?, output),
        Command::Confirm => handle::confirm(&mut ipmi(&cli.global, &cancel).client?, output),
        Command::Log => with_scope(&cli.global, |scope| {
            commands::log::run(scope, selector, ipmi(&cli.global, &cancel), output)
        }),
        Command::Detach => {
            with_scope(&cli.global, |scope| commands::detach::run(scope, selector, output, &cancel))
        }
        Command::Update(args) => {
            with_scope(&cli.global, |scope| update(scope, &cli.global, args, output, &cancel))
        }
        Command::Keygen(args) => package::keygen::run(args, output),
        Command::Pack(args) => package::pack::run(args, output, &cancel),
        Command::Sign(args) => package::sign::run(args, output, &cancel),
        Command::Verify(args) => package::verify::run(args, output, &cancel),
        Command::Inspect(args) => package::inspect::run(args, output),
        Command::Demo(args) => crate::demo::run(args, output, &cancel),
        Command::Attach(args) => commands::attach::run(args, cli.global.usbip.as_ref(), output, &cancel),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "inband", &mut script);
            output.raw(&script);
            Ok(())
        }
        Command::Man(args) => man(&args.directory),
    }
}

/// The way of IPMI commands that the user means.
fn ipmi(global: &Global, cancel: &Cancel) -> Ipmi {
    Ipmi::open(global.ipmi.as_ref(), global.usbip.is_some(), global.ipmi_command, cancel)
}

/// The bus the user means, and how to speak of it.
fn with_scope<T>(global: &Global, act: impl FnOnce(&Scope<'_>) -> T) -> T {
    let (bus, name, hint): (Box<dyn Bus>, _, _) = match &global.usbip {
        Some(server) => (
            Box::new(UsbipBus::new(server.clone())),
            format!("at the USB/IP server {server}"),
            "is inbandd up, does it listen there, and does no other client have the device?".to_owned(),
        ),
        None => (
            Box::new(KernelBus),
            "on USB".to_owned(),
            "is the BMC up, its USB link on, and inbandd running there? One whose doors are shut may hide: `inbandd arm` there. For one served over USB/IP use --usbip HOST"
                .to_owned(),
        ),
    };
    act(&Scope { bus: &*bus, name, hint })
}

fn update(
    scope: &Scope<'_>,
    global: &Global,
    args: &Update,
    output: &mut Output,
    cancel: &Cancel,
) -> Result<(), Error> {
    let keys = PublicKeys::load(&args.keys.keys, &args.keys.require)?;
    let plan = Plan {
        package: args.firmware.clone(),
        keys: keys.as_ref(),
        wait: args.wait.map(Duration::from_secs),
        same_version: if args.allow_same { Rule::Accept } else { Rule::Refuse },
        downgrade: if args.no_downgrade { Rule::Refuse } else { Rule::Accept },
        door: match args.door {
            None => Wish::Fastest,
            Some(DoorName::Dfu) => Wish::Dfu,
            Some(DoorName::Bulk) => Wish::Bulk,
            Some(DoorName::Volume) => Wish::Volume,
        },
        is_chosen: global.device.is_some(),
        dry_run: args.dry_run,
    };
    let find = |wish| scope.target(global.device.as_ref(), wish);
    let mut handle = Handle::new(ipmi(global, cancel))?;
    if plan.dry_run {
        let mut show = Show::new(output);
        let prepared = update::prepare(scope.bus, &plan, find, &mut handle, &mut show, cancel)?;
        drop(show);
        if let Some(prepared) = prepared {
            update::dry_run::run(&plan, &prepared, output);
        }
        return Ok(());
    }
    let done = update::make(scope.bus, plan, find, &mut handle, &mut Show::new(output), cancel)?;
    if done == Done::Staged {
        output.note("next: restart the BMC to run it, if it does not do so by itself (`inband activate`, where a host may); `inband status` shows what runs");
    }
    Ok(())
}

/// Writes `inband.1` and one page for each command.
fn man(directory: &Path) -> Result<(), Error> {
    let failed =
        |source| Error::File { path: directory.to_owned(), action: "write the manual pages to", source };
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}
