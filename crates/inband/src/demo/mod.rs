//! `inband demo`: a virtual BMC in this process, updated and attacked over USB/IP on loopback.

mod armed;
mod packages;
mod report;
mod scratch;
mod virtual_bmc;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use inband_dfu::host::InterfaceMode;
use inband_package::{Kind, Rule};
use inband_session::{DoorPolicy, ResultCode};
use inband_store::{Firmware, RegionPolicy, text::Text};
use inbandd::config::{
    Activation, Bulk, Config, Conformance, Dfu, Doors, Gadget, Identity, Ipmi, KeyFormat, Limits, Openbmc,
    Policy, Region, SignatureKind, Signatures, Store, Trial, Usb, When,
};

pub use scratch::Scratch;
pub use virtual_bmc::VirtualBmc;

use self::{
    packages::{Forgery, Good, LEAST, Release, images},
    report::Report,
};
use crate::{
    bmc::Bmc,
    cancel::Cancel,
    cli::args::Demo,
    commands::facts::Facts,
    error::Error,
    find::Scope,
    follow::{Expected, follow},
    output::Output,
    package::keys::public_half,
    text::{bytes, seconds},
    update::{
        self, Contents, Payload, Plan,
        door::Wish,
        enter::{self, BACK_LIMIT},
        event::{Event, Listener},
        show::Show,
    },
    usb::UsbipBus,
};

/// The vendor id of the virtual BMC: the Linux Foundation's, as OpenBMC gadgets use it.
const VENDOR: u16 = 0x1d6b;
/// idProduct at run-time.
const PRODUCT: u16 = 0x0104;
/// idProduct in DFU mode.
const DFU_PRODUCT: u16 = 0x0105;
/// Room in the slot behind what the package needs.
const SPARE: u64 = 1 << 20;
/// How long the restart into the new firmware may take.
const RESTART_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks whether the new firmware is confirmed.
const CONFIRM_POLL: Duration = Duration::from_millis(5);

/// Runs the demo.
///
/// # Errors
/// [`Error::Demo`] if a verdict was not the expected one; any other if it could not be run to its end.
pub fn run(args: &Demo, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    let start = Instant::now();
    let scratch = Scratch::new()?;
    let mut report = Report::new(output);

    report.step("A package and a virtual BMC");
    let good = match (&args.package, &args.key) {
        (Some(package), Some(key)) => Good::open(package, key, cancel)?,
        _ => Good::make(&scratch, u64::from(args.size) << 20, cancel)?,
    };
    report.line(format_args!(
        "package: version {}, security version {}, {}, signed with {}; ready after {}",
        good.contents.index.version,
        good.contents.index.security_version,
        bytes(good.length()),
        good.contents.head.signatures.iter().map(|entry| entry.scheme.name()).collect::<Vec<_>>().join(", "),
        seconds(start.elapsed())
    ));
    let config = configuration(&scratch, &good)?;
    let bmc = VirtualBmc::start(config.clone())?;
    let server = bmc.server();
    report.line(format_args!(
        "BMC: serves USB/IP on {server}; this process is its host, without root and without a driver"
    ));
    let bus = UsbipBus::new(server.clone());
    let scope = Scope { bus: &bus, name: format!("at {server}"), hint: String::new() };

    let mut stage = Stage { scope: &scope, report: &mut report, cancel };
    stage.first_update(&good)?;
    stage.update("By DFU, all of it", "by DFU, all of it", &good, Wish::Dfu)?;
    let mut runs = None;
    if args.package.is_none() {
        let changed = good.next(&scratch, Release::SmallChange, cancel)?;
        stage.update(
            "By bulk, a small change",
            "by bulk, 64 KiB of the image changed",
            &changed,
            Wish::Bulk,
        )?;
        let new = good.next(&scratch, Release::AllNew, cancel)?;
        stage.interrupted(&new)?;
        runs = Some(new);
    } else {
        stage.update("By bulk, once more", "by bulk, what is there already", &good, Wish::Bulk)?;
    }
    attacks(&scope, &scratch, &good, &mut report, cancel)?;
    drop(bmc);
    armed::run(config, &scratch, runs.as_ref().unwrap_or(&good), &mut report, cancel)?;
    report.finish(start.elapsed())
}

/// Where updates are shown.
struct Stage<'a, 'b> {
    scope: &'a Scope<'a>,
    report: &'a mut Report<'b>,
    cancel: &'a Cancel,
}

impl Stage<'_, '_> {
    /// DETACH, update, restart, with a look at the BMC before and after each.
    fn first_update(&mut self, good: &Good) -> Result<(), Error> {
        self.report.step("At run time");
        let mut bmc = self.scope.one(None)?;
        self.report.descriptors(&bmc);
        self.report.slots(&facts(&mut bmc)?);

        self.report.step("DETACH");
        let (bmc, after) = enter::dfu_mode(self.scope.bus, bmc, self.cancel)?;
        self.report.line(format_args!("back on the bus in DFU mode after {}", seconds(after)));
        self.report.descriptors(&bmc);

        self.report.step("By bulk, all of it");
        self.send("by bulk, all of it", good, bmc, Wish::Bulk, None)?;

        self.report.step("After the restart");
        let mut bmc = self.scope.one(None)?;
        self.report.descriptors(&bmc);
        let now = confirmed(&mut bmc, self.cancel)?;
        self.report.slots(&now);
        self.runs(good, &now);
        Ok(())
    }

    /// One more update, and what runs then.
    fn update(&mut self, title: &str, what: &str, good: &Good, door: Wish) -> Result<(), Error> {
        self.report.step(title);
        let bmc = self.scope.one(None)?;
        self.send(what, good, bmc, door, None)?;
        self.now_runs(good)
    }

    /// An update that is stopped half-way, and made anew.
    fn interrupted(&mut self, good: &Good) -> Result<(), Error> {
        self.report.step("By bulk, stopped half-way and made anew");
        let bmc = self.scope.one(None)?;
        self.send("by bulk, stopped half-way", good, bmc, Wish::Bulk, Some(good.length() / 2))?;
        let bmc = self.scope.one(None)?;
        self.send("by bulk, the rest", good, bmc, Wish::Bulk, None)?;
        self.now_runs(good)
    }

    /// Sends a package, until so many bytes are gone, and waits until it runs.
    fn send(
        &mut self,
        what: &str,
        good: &Good,
        bmc: Bmc,
        door: Wish,
        stop_at: Option<u64>,
    ) -> Result<(), Error> {
        let plan = Plan {
            package: good.path.clone(),
            keys: None,
            wait: Some(RESTART_LIMIT),
            same_version: Rule::Accept,
            downgrade: Rule::Accept,
            door,
            is_chosen: false,
            dry_run: false,
        };
        let contents = Contents::Package(Box::new(good.contents.clone()));
        let stop = Cancel::default();
        let cancel = if stop_at.is_some() { &stop } else { self.cancel };
        let show = Show::bar_only(self.report.output());
        let mut watch = Watch { stop_at, stop: stop.clone(), ..Watch::all_of_it(show, self.cancel) };
        let result = update::deliver(self.scope.bus, &plan, &contents, bmc, &mut watch, cancel);
        let seen = watch.into_seen();
        self.cancel.check()?;
        self.report.update(what, good.length(), &seen);
        let expected = if stop_at.is_some() { ResultCode::Aborted } else { ResultCode::Ok };
        let seen = match &result {
            Err(Error::Aborted { .. }) if stop_at.is_some() => ResultCode::Aborted.name(),
            other => verdict_name(other)?,
        };
        self.report.verdict(what, expected.name(), seen);
        Ok(())
    }

    fn now_runs(&mut self, good: &Good) -> Result<(), Error> {
        let mut bmc = self.scope.one(None)?;
        let now = confirmed(&mut bmc, self.cancel)?;
        self.runs(good, &now);
        Ok(())
    }

    fn runs(&mut self, good: &Good, now: &Facts) {
        self.report.verdict("what runs", &good.contents.index.version, now.version(now.running));
    }
}

/// The status once the BMC has confirmed what it runs, which it does by itself; until then it takes no other package.
fn confirmed(bmc: &mut Bmc, cancel: &Cancel) -> Result<Facts, Error> {
    let start = Instant::now();
    loop {
        let facts = facts(bmc)?;
        if !facts.on_trial || start.elapsed() >= RESTART_LIMIT {
            return Ok(facts);
        }
        cancel.check()?;
        thread::sleep(CONFIRM_POLL);
    }
}

/// Sends what no BMC should take. The host's own check is left out: the BMC has to refuse by itself.
fn attacks(
    scope: &Scope<'_>,
    scratch: &Scratch,
    good: &Good,
    report: &mut Report<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    report.step("What it refuses");
    let attacks = [
        ("tampered: one bit of the image changed", ResultCode::BadChunk, Forgery::tampered(good)),
        ("truncated: the first half", ResultCode::Truncated, Some(Forgery::truncated(good))),
        ("for another board", ResultCode::WrongMachine, Some(Forgery::wrong_machine(scratch, good)?)),
        ("signed by a stranger", ResultCode::UnknownKey, Some(Forgery::other_key(scratch, good)?)),
        (
            "downgrade: below the security floor",
            ResultCode::OldSecurityVersion,
            Forgery::downgrade(scratch, good)?,
        ),
    ];
    for (what, expected, forgery) in attacks {
        let Some(forgery) = forgery else {
            report.line(format_args!("{what}: cannot be made of this package"));
            continue;
        };
        let mut bmc = scope.one(None)?;
        let before = facts(&mut bmc)?;
        let follow_up = Expected::from(&bmc, InterfaceMode::Runtime);
        let mut read = forgery.open()?;
        let payload = Payload { read: &mut read, total: forgery.length, path: &forgery.path };
        let result = update::transfer(scope.bus, bmc, payload, &mut Silent, cancel);
        let result = result.map(|(bmc, _)| update::end(scope.bus, bmc));
        let seen = verdict_name(&result)?;
        let mut bmc = follow(scope.bus, &follow_up, BACK_LIMIT, cancel)?;
        let after = facts(&mut bmc)?;
        report.refusal(what, seen, &after);
        report.verdict(what, expected.name(), seen);
        let alive =
            |facts: &Facts| format!("{} runs, slot {} next", facts.version(facts.running), facts.boots_next);
        if alive(&before) != alive(&after) {
            report.verdict("the BMC after that", &alive(&before), &alive(&after));
        }
    }
    Ok(())
}

/// The BMC's result by name; an error that is none of its results ends the demo.
fn verdict_name(result: &Result<(), Error>) -> Result<&'static str, Error> {
    match result {
        Ok(()) => Ok(ResultCode::Ok.name()),
        Err(Error::Refused { code, .. }) => Ok(code.name()),
        Err(Error::Cancelled | Error::Aborted { .. }) => Err(Error::Cancelled),
        Err(other) => Err(Error::System {
            action: "go on with the demo",
            source: std::io::Error::other(other.to_string()),
        }),
    }
}

fn facts(bmc: &mut Bmc) -> Result<Facts, Error> {
    Facts::read(bmc).map_err(|source| bmc.failure("read the status", source))
}

/// Shows the update and remembers what happened. Stops it when so many bytes are gone.
struct Watch<'a> {
    show: Show<'a>,
    seen: Vec<Event>,
    stop_at: Option<u64>,
    stop: Cancel,
    /// What the user wants.
    cancel: &'a Cancel,
}

impl<'a> Watch<'a> {
    /// Stops nothing but where the user wants it.
    fn all_of_it(show: Show<'a>, cancel: &'a Cancel) -> Self {
        Self { show, seen: Vec::new(), stop_at: None, stop: Cancel::default(), cancel }
    }

    fn into_seen(self) -> Vec<Event> {
        self.seen
    }
}

impl Listener for Watch<'_> {
    fn event(&mut self, event: &Event) {
        let sent = if let Event::Progress { sent, .. } = event { *sent } else { 0 };
        if self.stop_at.is_some_and(|at| sent >= at) || self.cancel.is_requested() {
            self.stop.request();
        }
        // The last word on how far it came is enough.
        if matches!((event, self.seen.last()), (Event::Progress { .. }, Some(Event::Progress { .. }))) {
            self.seen.pop();
        }
        self.seen.push(event.clone());
        self.show.event(event);
    }
}

/// Shows nothing: five refusals with progress each would only be long.
struct Silent;

impl Listener for Silent {
    fn event(&mut self, _: &Event) {}
}

/// The configuration of a BMC that takes this package, with its key and its store in place.
fn configuration(scratch: &Scratch, good: &Good) -> Result<Config, Error> {
    let failed = |source| Error::File { path: scratch.folder().to_owned(), action: "write to", source };
    let keys = scratch.path("keys");
    fs::create_dir(&keys).map_err(failed)?;
    let key = public_half(&good.key, &good.path)?;
    let required = match key.kind() {
        Kind::P384 => SignatureKind::P384,
        Kind::Rsa => SignatureKind::Rsa,
        // Of ML-DSA there are no keys yet.
        Kind::Ed25519 | Kind::MlDsa => SignatureKind::Ed25519,
    };
    let pem = key.to_pem().map_err(|error| Error::key(&good.path, error))?;
    fs::write(keys.join("release.pem"), pem).map_err(failed)?;
    let mut regions = Vec::new();
    let mut offset = 0_u64;
    for image in images(&good.contents) {
        // Regions begin where flash can be erased.
        let size = image.length.next_multiple_of(64 * 1024).max(64 * 1024);
        let target = good.contents.index.targets.get(usize::from(image.target));
        let named = Region::new(&image.name, offset, size);
        regions.push(Region {
            target: target.cloned().unwrap_or_default(),
            // Whatever the package brings, this BMC is made for it.
            policy: Some(RegionPolicy::Replace),
            ..named
        });
        offset = offset.saturating_add(size);
    }
    let config = Config {
        machine: good.contents.head.machine.clone(),
        usb: Usb::Usbip(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        identity: Identity {
            vendor_id: VENDOR,
            product_id: PRODUCT,
            dfu_product_id: DFU_PRODUCT,
            volume_product_id: None,
            serial: "DEMO-0001".to_owned(),
            manufacturer: "Inband".to_owned(),
            product: "virtual BMC".to_owned(),
            busid: "1-1".to_owned(),
        },
        signatures: Signatures { keys, format: KeyFormat::Inband, required: vec![required] },
        policy: Policy::default(),
        store: Store {
            path: scratch.path("store"),
            slot_size: offset.saturating_add(SPARE),
            max_package: good.length().max(LEAST),
        },
        regions,
        doors: Doors {
            dfu: Dfu { policy: DoorPolicy::Always, conformance: Conformance::Lenient },
            bulk: Bulk::default(),
            ..Doors::default()
        },
        activation: Activation { when: When::Immediate, ..Activation::default() },
        trial: Trial::default(),
        control: None,
        gadget: Gadget::default(),
        openbmc: Openbmc::default(),
        limits: Limits::default(),
        ipmi: Ipmi::default(),
    };
    let refused = |error: inbandd::Error| Error::System {
        action: "make the virtual BMC's store",
        source: std::io::Error::other(error.to_string()),
    };
    config.check().map_err(|error| refused(error.into()))?;
    let firmware = Firmware {
        version: Text::cut("1.0.0"),
        bcd_device: 0x0100,
        security_version: good.contents.index.security_version.saturating_sub(1),
    };
    inbandd::open::init(&config, &firmware).map_err(refused)?;
    Ok(config)
}
