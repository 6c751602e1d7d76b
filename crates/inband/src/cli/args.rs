//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use super::values::{Bcd, NamedFile, UsbIds};
use crate::{
    output::Verbosity,
    usb::{Selector, Server},
};

const EXAMPLES: &str = "\
Examples:
  inband list                    every BMC in reach, its firmware and its state
  inband update bmc.tar          send firmware; the BMC checks and stages it
  inband update bmc.tar --wait   ... and wait until the BMC runs it
  inband status                  what runs, what boots next, how the last update ended
  inband --usbip 127.0.0.1 list  a BMC served over USB/IP: no root, no driver
  inband demo                    a virtual BMC, updated and attacked, anywhere

`inband help COMMAND` says more about a command.

Exit codes: 0 done, 2 wrong command line, 3 no device, 4 more than one device, 5 no permission, 6 package refused, \
7 file error, 8 door shut, 9 BMC busy, 10 device lost or timeout, 11 protocol broken, 12 device held by another program, \
13 rolled back, 14 cancelled, 15 BMC could not store it, 16 key missing or wrong, 1 anything else.";

/// Where help shows the options that every command has: behind its own.
const GLOBAL: &str = "Options of every command";

/// Updates the firmware of a BMC from its host, over USB.
#[derive(Debug, Parser)]
#[command(name = "inband", version, after_help = EXAMPLES, disable_help_subcommand = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = GLOBAL)]
pub struct Global {
    /// Reach devices through a USB/IP server instead of this machine's USB (port 3240 unless given)
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub usbip: Option<Server>,

    /// Which device: its serial number, or its path as `inband list` shows it, such as usb:1-2.3
    #[arg(long, short, global = true, value_name = "SELECTOR")]
    pub device: Option<Selector>,

    /// Print JSON, one object a line, each with a field "event"
    #[arg(long, global = true)]
    pub json: bool,

    /// Print results and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more about what is done
    #[arg(long, short, global = true, action = ArgAction::SetTrue)]
    pub verbose: bool,
}

impl Global {
    /// How much to say.
    pub const fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List every BMC in reach, its firmware and its state
    #[command(after_help = "\
Examples:
  inband list
  inband list --all              also other DFU devices, and why they are left out
  inband list --json | jq -r .serial")]
    List(List),

    /// Send a firmware package to a BMC
    #[command(after_help = "\
What happens: the package is checked here, the BMC is asked to enter DFU mode (DETACH), followed until it is back on \
the bus, and sent the package; it checks every byte against the signatures before it keeps it. At the end the firmware is \
staged: it runs once the BMC restarts. A refused or interrupted update leaves the running firmware as it was; just \
repeat it. Ctrl-C ends it cleanly.

Examples:
  inband update bmc.tar
  inband update bmc.tar --key release.pub  check the signature before sending, too
  inband update bmc.tar --dry-run          say what would be done
  inband update bmc.tar --wait             wait until the BMC runs it
  inband update bmc.tar --device usb:1-2   one of several BMCs")]
    Update(Update),

    /// Show slots, versions, doors and the result of the last update
    #[command(after_help = "\
The exit code is 0 whatever the last result was; `inband status --json` has it in the field \"result\".

Examples:
  inband status
  inband status --json | jq -r .result")]
    Status,

    /// Ask a BMC to enter DFU mode, for another tool
    #[command(after_help = "\
The BMC leaves DFU mode by itself when nothing is sent to it for a minute.

Example:
  inband detach && dfu-util -D bmc.tar")]
    Detach,

    /// Show the BMC's record of past updates, newest first
    #[command(after_help = "\
The BMC keeps its last 16 records. An update that was staged and confirmed has two of them.

Examples:
  inband log
  inband log --json | jq -r .result")]
    Log,

    /// Make a key pair to sign packages with
    #[command(after_help = "\
Writes PREFIX.key (keep it secret) and PREFIX.pub (goes to the BMC, into its directory of system keys, as PREFIX.pem). \
The keys are PEM as openssl(1) reads and writes them: `openssl genpkey -algorithm ed25519` makes one just as well.

Example:
  inband keygen --out release")]
    Keygen(Keygen),

    /// Make a package of image files
    #[command(after_help = "\
Examples:
  inband pack --machine example-board --version 2.4.0 --security-version 3 \\
      --member image-bmc=obmc.static.mtd --key release.key --out bmc.tar
  inband pack ... --metadata MANIFEST=MANIFEST --dfu-suffix 1d6b:0104 --out bmc.tar
  inband pack ... --signer release.pub --out bmc.tar
                         then `inband sign`, where the private key is

The name of a member is the name of a region in the BMC's configuration. --dfu-suffix takes the vendor and product id the \
BMC shows at run time.")]
    Pack(Pack),

    /// Sign a package that was packed for a key
    #[command(after_help = "\
The package is changed in place; a DFU suffix is brought up to date. A key that is not in a file signs elsewhere: write \
out the bytes to sign, and attach the signature when it is back.

Examples:
  inband sign bmc.tar --key release.key
  inband sign bmc.tar --bytes to-sign.bin
  openssl pkeyutl -sign -rawin -inkey release.key -in to-sign.bin -out signature.bin
  inband sign bmc.tar --signature signature.bin --signer release.pub")]
    Sign(Sign),

    /// Check a package as a BMC would, every byte of it
    #[command(after_help = "\
Examples:
  inband verify bmc.tar --key release.pub
  inband verify bmc.tar --keys /etc/inband/keys
  inband verify bmc.tar                    all but the signature")]
    Verify(Verify),

    /// Show what is in a package
    #[command(after_help = "\
Examples:
  inband inspect bmc.tar
  inband inspect bmc.tar --json | jq -r .version")]
    Inspect(Inspect),

    /// Update and attack a virtual BMC, without hardware and without root
    #[command(after_help = "\
Starts a BMC in this process, served over USB/IP on a loopback port, updates it through real USB requests, then tries a \
tampered, a truncated, a wrong-machine, a stranger's and a downgrade package. Exit code 20 if any verdict is not the \
expected one.

Examples:
  inband demo
  inband demo --size 4
  inband demo --package bmc.tar --key release.key")]
    Demo(Demo),

    /// Attach a BMC served over USB/IP to this machine's kernel (Linux, root)
    #[command(after_help = "\
Needs the module vhci_hcd (modprobe vhci-hcd). Other tools, such as dfu-util, then see the BMC as if it were plugged in.

Examples:
  inband --usbip 127.0.0.1 attach
  inband --usbip 127.0.0.1 attach --keep   attach it again after each DETACH, too")]
    Attach(Attach),

    /// Print a completion script for a shell
    #[command(after_help = "\
Example:
  inband completions bash > /etc/bash_completion.d/inband")]
    Completions(Completions),

    /// Write the manual pages into a directory
    Man(Man),
}

#[derive(Args, Debug)]
pub struct List {
    /// Show DFU devices that are no BMC of this kind too, and devices that could not be opened
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct Update {
    /// The package
    #[arg(value_hint = ValueHint::FilePath)]
    pub firmware: PathBuf,

    #[command(flatten)]
    pub keys: Keys,

    /// Wait until the BMC is back with the new firmware running, so many seconds at most (300 unless given)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "300")]
    pub wait: Option<u64>,

    /// Say what would be done, and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

/// Public keys to check signatures with.
#[derive(Args, Debug, Default)]
pub struct Keys {
    /// A public key (PEM) whose signature counts; may be given more than once
    #[arg(long = "key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// A directory of public keys, *.pem and *.pub
    #[arg(long = "keys", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Keygen {
    /// Where to write the keys: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

#[derive(Args, Debug)]
pub struct Pack {
    /// The board the package is for
    #[arg(long)]
    pub machine: String,

    /// The version, for people (not this program's)
    #[arg(long = "version", value_name = "VERSION")]
    pub firmware_version: String,

    /// The security version: a BMC refuses packages below its floor
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub security_version: u32,

    /// bcdDevice: what USB shows once this firmware is staged, such as 2.40
    #[arg(long, value_name = "BCD", default_value = "0.00")]
    pub bcd_device: Bcd,

    /// A compatible name; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub compatible: Vec<String>,

    /// An image and the region it goes to; may be given more than once, order kept
    #[arg(long = "member", value_name = "NAME=FILE", required = true)]
    pub members: Vec<NamedFile>,

    /// A member that is checked but not written; may be given more than once, order kept
    #[arg(long, value_name = "NAME=FILE")]
    pub metadata: Vec<NamedFile>,

    /// The time in the tar headers, seconds since 1970
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub mtime: u64,

    /// Sign with this private key (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "signer")]
    pub key: Option<PathBuf>,

    /// The public key (PEM) of who will sign later
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "key")]
    pub signer: Option<PathBuf>,

    /// Append a DFU suffix with these ids, hexadecimal: those the BMC shows at run time
    #[arg(long, value_name = "VID:PID")]
    pub dfu_suffix: Option<UsbIds>,

    /// The package to write
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["key", "bytes", "signature"]))]
pub struct Sign {
    /// The package
    #[arg(value_hint = ValueHint::FilePath)]
    pub package: PathBuf,

    /// Sign with this private key (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,

    /// Write the bytes to be signed into a file, and sign nothing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub bytes: Option<PathBuf>,

    /// Attach this signature (64 bytes), made elsewhere
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "signer")]
    pub signature: Option<PathBuf>,

    /// The public key (PEM) of who made the signature
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "signature")]
    pub signer: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Verify {
    /// The package
    #[arg(value_hint = ValueHint::FilePath)]
    pub package: PathBuf,

    #[command(flatten)]
    pub keys: Keys,

    /// The board it has to be for
    #[arg(long)]
    pub machine: Option<String>,
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// The package
    #[arg(value_hint = ValueHint::FilePath)]
    pub package: PathBuf,
}

#[derive(Args, Debug)]
pub struct Demo {
    /// Size of the package that is made, MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=256), conflicts_with = "package")]
    pub size: u32,

    /// Use this package instead of making one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "key")]
    pub package: Option<PathBuf>,

    /// The private key (PEM) the package was signed with
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "package")]
    pub key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Attach {
    /// The server's name for the device; not needed if it serves one only
    pub busid: Option<String>,

    /// Stay, and attach the device again each time it comes back
    #[arg(long)]
    pub keep: bool,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// The directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}
