//! The same BMC with its door shut: an update opens it by IPMI, and shuts it behind itself.

use inband_package::Rule;
use inband_session::DoorPolicy;
use inbandd::config::{Activation, Config, Dfu, Doors, Ipmi as IpmiConfig, IpmiChannel, When};

use super::{Good, Report, Scratch, Silent, VirtualBmc, Watch, facts, verdict_name};
use crate::{
    cancel::Cancel,
    commands::facts::Facts,
    error::Error,
    find::Scope,
    ipmi::{Channel, Ipmi},
    update::{self, Plan, door::Wish, handle::Handle, show::Show},
    usb::UsbipBus,
};

/// Shows it, with a package that the BMC takes.
pub(super) fn run(
    config: Config,
    scratch: &Scratch,
    good: &Good,
    report: &mut Report<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    report.step("A door that is shut");
    let socket = scratch.path("ipmi");
    let config = Config {
        doors: Doors { dfu: Dfu { policy: DoorPolicy::Armed, ..config.doors.dfu }, ..config.doors },
        activation: Activation { when: When::Reboot, ..config.activation },
        ipmi: IpmiConfig { channel: Some(IpmiChannel::QemuListen(socket.clone())), ..config.ipmi },
        ..config
    };
    let command = config.ipmi.command;
    let bmc = VirtualBmc::start(config)?;
    let server = bmc.server();
    let bus = UsbipBus::new(server.clone());
    let scope = Scope { bus: &bus, name: format!("at {server}"), hint: String::new() };
    let channel = Channel::Qemu(socket);
    report.line("the same BMC, started again: doors.dfu.policy is \"armed\", and it answers IPMI commands");

    let armed = Armed { scope: &scope, good, cancel };
    let refused = armed.update(Handle::default(), &mut Silent);
    report.line("an update without IPMI: the door is shut, and stays so");
    report.verdict("a shut door, without IPMI", "door-shut", verdict_name(&refused)?);

    let ipmi = || Ipmi::open(Some(&channel), true, command, cancel);
    let what = "by IPMI and bulk, what is there already";
    let mut watch = Watch::all_of_it(Show::bar_only(report.output()), cancel);
    let updated = armed.update(Handle::new(ipmi())?, &mut watch);
    let seen = watch.into_seen();
    cancel.check()?;
    report.update(what, good.length(), &seen);
    report.verdict(what, "ok", verdict_name(&updated)?);

    let mut client = ipmi().client?;
    let told = client.report().map_err(|source| client.failure("read the status", source))?;
    let told = Facts::by_ipmi(client.place(), &told);
    let start = if told.start.is_some() { "a start is in force" } else { "no start is in force" };
    report.line(format_args!("status by IPMI: {}, {start}, door dfu {}", told.state.name(), told.doors.dfu));
    report.line(format_args!("by hand that is: ipmitool raw 0x2e {command:#04x} 0xcf 0xc2 0x00 0x03"));
    report.verdict("what IPMI says then", "staged", told.state.name());
    let mut bmc = scope.one(None)?;
    report.verdict("the door behind it", "shut", facts(&mut bmc)?.doors.dfu);
    Ok(())
}

struct Armed<'a> {
    scope: &'a Scope<'a>,
    good: &'a Good,
    cancel: &'a Cancel,
}

impl Armed<'_> {
    fn update(&self, mut handle: Handle, listener: &mut dyn update::event::Listener) -> Result<(), Error> {
        let plan = Plan {
            package: self.good.path.clone(),
            keys: None,
            wait: None,
            same_version: Rule::Accept,
            downgrade: Rule::Accept,
            door: Wish::Fastest,
            is_chosen: false,
            dry_run: false,
        };
        let find = |wish| self.scope.target(None, wish);
        update::make(self.scope.bus, plan, find, &mut handle, listener, self.cancel).map(drop)
    }
}
