//! A virtual BMC for the program to find, on a loopback port.

use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, ChildStdout, Stdio},
    sync::PoisonError,
};

use inband::demo::VirtualBmc;
use inband_package::Rule;
use inband_session::DoorPolicy;
use inband_store::{Firmware, text::Text};
use inbandd::config::{
    Activation, ArmBy, Bulk, Config, Conformance, Dfu, Doors, Gadget, Identity, Ipmi, IpmiChannel, KeyFormat,
    Limits, Openbmc, Policy, Region, SignatureKind, Signatures, Store, Trial, Usb, When, WhileShut,
};

use super::{Bench, MACHINE, Run, STARTING, command, run, slow, spawn};

/// Bytes of a slot and of its only region.
const SLOT: u64 = 32 << 20;
/// One that is free.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The floor to begin with.
pub(crate) const FLOOR: u32 = 2;

/// A BMC that accepts `release.pub` of a bench.
pub(crate) struct Bmc {
    /// Stops when dropped.
    daemon: Option<VirtualBmc>,
    config: Config,
    /// `--usbip` argument.
    pub(crate) address: String,
}

/// What can differ.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) door: DoorPolicy,
    /// Of the door `bulk`; without a word it opens wherever it can.
    pub(crate) bulk: Option<DoorPolicy>,
    pub(crate) activate: When,
    pub(crate) conformance: Conformance,
    pub(crate) same_version: Rule,
    /// What decides about new firmware, in a second.
    pub(crate) health: Option<&'static str>,
    /// Firmware tars without a head are taken, from whoever has the RSA key `release.pub`; there is no floor then.
    pub(crate) unindexed: bool,
    /// It answers IPMI commands at the socket `ipmi` of the bench; a host may activate and confirm.
    pub(crate) ipmi: Option<MayHosts>,
    /// Seconds for which a start holds.
    pub(crate) start_holds_s: u16,
    /// What is on the bus while the doors are shut.
    pub(crate) while_shut: WhileShut,
}

/// What a host may do by IPMI, besides asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayHosts {
    /// Open doors.
    Open,
    /// Likewise, and activate and confirm.
    All,
    /// Nothing.
    Nothing,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            door: DoorPolicy::Always,
            bulk: None,
            activate: When::Reboot,
            conformance: Conformance::Lenient,
            same_version: Rule::Accept,
            health: None,
            unindexed: false,
            ipmi: None,
            start_holds_s: 900,
            while_shut: WhileShut::Dfu,
        }
    }
}

impl Bmc {
    pub(crate) fn start(bench: &Bench, kind: Kind) -> Self {
        Self::init(bench, kind);
        let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        Self::serve(configuration(bench.folder(), kind, ANY_PORT))
    }

    /// Makes a new store for it.
    pub(crate) fn init(bench: &Bench, kind: Kind) {
        let keys = bench.path("keys");
        fs::create_dir_all(&keys).expect("the folder is writable");
        fs::copy(bench.path("release.pub"), keys.join("release.pem")).expect("the key is there");
        let security_version = if kind.unindexed { 0 } else { FLOOR };
        let firmware = Firmware { version: Text::cut("1.0.0"), bcd_device: 0x0100, security_version };
        let config = configuration(bench.folder(), kind, ANY_PORT);
        let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        inbandd::open::init(&config, &firmware).expect("a new store");
    }

    /// Serves, at this address, a BMC whose store is in the folder of a bench.
    pub(crate) fn serve_at(folder: &Path, kind: Kind, address: SocketAddr) -> Self {
        Self::serve(configuration(folder, kind, address))
    }

    fn serve(config: Config) -> Self {
        let daemon = VirtualBmc::start(config.clone()).expect("the daemon starts");
        let address = daemon.server().to_string();
        Self { daemon: Some(daemon), config, address }
    }

    /// Stops the daemon and starts it again, on the same store; the address changes.
    pub(crate) fn restart(mut self) -> Self {
        let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        drop(self.daemon.take());
        Self::serve(self.config)
    }

    /// Runs the program against this BMC.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(["--usbip", &self.address].iter().chain(arguments))
    }

    /// The same, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        command(["--usbip", &self.address].iter().chain(arguments))
    }

    /// An update to `fw.tar` over a slow wire, of which the BMC has taken more than so many bytes, and the events that follow.
    pub(crate) fn update_under_way(
        &self,
        bench: &Bench,
        options: &[&str],
        bytes: u64,
    ) -> (Child, Lines<BufReader<ChildStdout>>, slow::Wire) {
        let package = bench.arg("fw.tar");
        let wire = slow::Wire::to(&self.address);
        let mut update = vec!["--usbip", &wire.address, "update", &package, "--json"];
        update.extend(options);
        let mut child = spawn(command(update).stdout(Stdio::piped()));
        let mut lines = BufReader::new(child.stdout.take().expect("the output is a pipe")).lines();
        assert!(lines.any(|line| {
            let event: serde_json::Value =
                serde_json::from_str(&line.unwrap_or_default()).unwrap_or_default();
            event["event"] == "progress" && event["sent"].as_u64() > Some(bytes)
        }));
        (child, lines, wire)
    }

    /// Runs the program against this BMC, by its IPMI as well.
    pub(crate) fn with_ipmi(&self, bench: &Bench, arguments: &[&str]) -> Run {
        let ipmi = ipmi_of(bench);
        self.run(&[&["--ipmi", &ipmi], arguments].concat())
    }

    /// The status as JSON.
    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        self.run(&["status", "--json"]).expect(0).event("status")
    }
}

/// The channel to the BMC of a bench, as an argument.
pub(crate) fn ipmi_of(bench: &Bench) -> String {
    format!("qemu:{}", bench.arg("ipmi"))
}

fn configuration(folder: &Path, kind: Kind, address: SocketAddr) -> Config {
    let required = if kind.unindexed { SignatureKind::Rsa } else { SignatureKind::Ed25519 };
    Config {
        machine: MACHINE.into(),
        usb: Usb::Usbip(address),
        identity: Identity {
            vendor_id: 0x1d6b,
            product_id: 0x0104,
            dfu_product_id: 0x0105,
            volume_product_id: None,
            serial: "TEST-1".into(),
            manufacturer: "Inband".into(),
            product: "BMC".into(),
            busid: "1-1".into(),
        },
        signatures: Signatures {
            keys: folder.join("keys"),
            format: KeyFormat::Inband,
            required: vec![required],
        },
        policy: Policy { same_version: kind.same_version, ..Policy::default() },
        store: Store { path: folder.join("store"), slot_size: SLOT, max_package: 2 * SLOT },
        regions: vec![Region::new("image-bmc", 0, SLOT)],
        doors: Doors {
            dfu: Dfu { policy: kind.door, conformance: kind.conformance },
            bulk: Bulk { policy: kind.bulk },
            arm_by: if kind.ipmi == Some(MayHosts::Nothing) { Vec::new() } else { vec![ArmBy::Ipmi] },
            while_shut: kind.while_shut,
            ..Doors::default()
        },
        activation: Activation { when: kind.activate, ..Activation::default() },
        trial: Trial {
            health: kind.health.map(String::from).into_iter().collect(),
            // Where a host may confirm there is time to.
            deadline_s: if kind.ipmi == Some(MayHosts::All) { 60 } else { 1 },
            retry_s: 1,
            ..Trial::default()
        },
        control: None,
        gadget: Gadget::default(),
        openbmc: Openbmc { accept_unindexed: kind.unindexed },
        limits: Limits::default(),
        ipmi: Ipmi {
            channel: kind.ipmi.map(|_| IpmiChannel::QemuListen(folder.join("ipmi"))),
            activate: kind.ipmi == Some(MayHosts::All),
            confirm: kind.ipmi == Some(MayHosts::All),
            start_holds_s: kind.start_holds_s,
            ..Ipmi::default()
        },
    }
}
