//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use inband_package::Kind;

use super::values::{Bcd, NamedFile, NewKey, Nonce, Signer, UsbIds, byte, kind};
use crate::{
    ipmi::Channel,
    output::Verbosity,
    usb::{Selector, Server},
};

const EXAMPLES: &str = "\
Examples:
  inband list                    every BMC in reach, its firmware and its state
  inband update bmc.tar          send firmware; the BMC checks and stages it
  inband update bmc.tar --wait   ... and wait until the BMC runs it
  inband status                  what runs, what boots next, how the last update ended
  inband start                   open a door that is shut, by IPMI; `inband stop` shuts it
  inband --usbip 127.0.0.1 list  a BMC served over USB/IP: no root, no driver
  inband demo                    a virtual BMC, updated and attacked, anywhere

`inband help COMMAND` says more about a command.

Exit codes: 0 done, 2 wrong command line, 3 no device, 4 more than one device, 5 no permission, 6 package refused, \
7 file error, 8 door shut, 9 BMC busy, 10 device lost or timeout, 11 protocol broken, 12 device held by another program, \
13 rolled back, 14 cancelled, 15 BMC could not store it, 16 key missing or wrong, 17 nothing to do that to, 18 not allowed or not known \
there, 1 anything else.";

/// Where help shows the options that every command has: behind its own.
const GLOBAL: &str = "Options of every command";

/// Updates the firmware of a BMC from its host, over USB and IPMI.
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

    /// The way of IPMI commands: a device file, qemu:SOCKET of a virtual BMC, or none. Unless given, /dev/ipmi0, where it is needed; with
    /// --usbip none
    #[arg(long, global = true, value_name = "CHANNEL")]
    pub ipmi: Option<Channel>,

    /// The IPMI command that the BMC listens to, of network function 2Eh (ipmi.command in its configuration)
    #[arg(long, global = true, value_name = "NUMBER", default_value = "0x49", value_parser = byte)]
    pub ipmi_command: u8,

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
repeat it. Ctrl-C ends it cleanly. Where the BMC runs the package's version already, nothing is sent and the exit code is 0.

The package goes through the fastest door that is open, and it is said which and why. By `bulk` the BMC is offered the list of \
chunks, says which it lacks, and is sent those: a small change, or the rest of an update that was interrupted, takes a moment. If it \
leaves the bus in the middle, it is waited for (120 s, up to 8 times), and offered the package again. By `dfu` all of the package is sent; every \
BMC has that door. A firmware tar without a head, where the BMC takes such, is sent whole and checked by the BMC alone.

By `volume` the package is written to the USB disk that the BMC shows (profile raw, Linux only) and ejected; the disk that comes back says what came of it. That door is taken by \
itself only of a BMC that has nothing but its disk on the bus. Such a BMC tells its board and the version that runs, and no more: --no-downgrade does not go with it, and \
whether a package is up to date, or runs (--wait), is told by the version alone. A disk that is mounted, or that another program has open, is left alone. It takes root, or the \
group that disks belong to. Ctrl-C ejects the disk, which ends the session.

Where the door is shut and the BMC lets a host open it by IPMI (`armed`, see `inband help start`), a start opens it, for this package alone where the BMC can tell, and it is shut \
again in the end, however that is; a BMC that hides is waited for on the bus, but not one that --device names. If the device is lost behind the last byte, IPMI tells what came of it, and with --wait whether it runs. \
Without IPMI somebody on the BMC has to open it: `inbandd arm`.

--dry-run asks the BMC nothing that changes anything there, so it does not know what the BMC lacks: that it says only in a session, \
which is recorded and counted. What is told are the door, the bytes that go over the wire at least and at most, those that the slot is written with at \
most, what the BMC has received of this very package before, and every refusal that can be known from the package and from what the BMC \
says of itself: another board, a security version below its floor, a door that is shut, a trial that is under way, a wait that is due. Not known before the \
update are signatures by keys that were not given with --keys, regions, and what the BMC's own policy says.

Examples:
  inband update bmc.tar
  inband update bmc.tar --keys release.pub check the signatures before sending, too
  inband update bmc.tar --dry-run          say what would be done, and do nothing
  inband update bmc.tar --door dfu         all of it, by control transfers
  inband update bmc.tar --door volume      all of it, by the BMC's disk
  inband update bmc.tar --wait             wait until the BMC runs it
  inband update bmc.tar --allow-same       ... also if it runs already
  inband update bmc.tar --no-downgrade     ... unless it is older than what runs
  inband update bmc.tar --device usb:1-2   one of several BMCs")]
    Update(Update),

    /// Show slots, versions, doors and the result of the last update
    #[command(after_help = "\
The BMC is asked by USB, and by IPMI what only that tells: whether a start is in force, and how far a verification has come. Where USB shows no BMC, because its \
doors are shut and hidden or its link is off, IPMI tells all of it. Which of them told is said. The exit code is 0 whatever the last result was; \
`inband status --json` has it in the field \"result\".

Examples:
  inband status
  inband status --ipmi none                by USB alone
  inband status --json | jq -r .result")]
    Status,

    /// Open a door of a BMC that keeps it shut, by IPMI
    #[command(after_help = "\
For other tools: `inband update` does it by itself. The door is open for one update, until `inband stop`, or until nothing has come in for as long as is said. \
What is printed is a nonce, which names this start: `inband status` tells it, so that a script knows its own. One start is in force at a time.

With a COMMAND behind `--` the start is for that: it is run once the door is open, and when it has ended, the door is shut, if that start is in force still. The exit code is the \
COMMAND's; 7 where it cannot be run, 1 where a signal ended it, and it is not run where the door stays shut. Ctrl-C is the COMMAND's to heed; a second one, or a terminal that is lost, ends `inband` at once, and the door shuts by itself when the start's time is over.

Where the BMC answers by an interface of its own, beside that of the machine's other IPMI, it is a second device: --ipmi /dev/ipmi1.

`dfu` is for dfu-util, fwupd and all others that know DFU; `bulk` opens that and what `inband update` prefers; `volume` is a disk. Unless given, it is bulk, if the BMC \
has it, or else dfu, or else volume. With --package the BMC takes that package and no other.

Examples:
  inband start -- dfu-util -D bmc.tar
  inband start volume                      a disk to copy FIRMWARE.BIN to, and to eject
  inband start volume --profile raw        ... or to write with dd
  inband start --package bmc.tar --no-downgrade
  inband start --json | jq -r .nonce")]
    Start(Start),

    /// Shut the door that a start opened, by IPMI
    #[command(after_help = "\
What has come in so far is dropped, unless the BMC has all of it: then it goes on. With --commit it is judged, as behind an eject: that is for `volume`; over dfu and \
bulk a package says itself where it ends. There, and where nothing came in, the door is shut all the same and the exit code is 17.

Without --nonce it is the start in force that ends, whoever made it; where there is none the exit code is 17.

Examples:
  inband stop
  inband stop --nonce 1f2e3d4c             the start that printed this
  inband stop --commit                     all is copied: judge it")]
    Stop(Stop),

    /// Drop the session and the start that there are, whoever's they are, by IPMI
    #[command(after_help = "\
For what somebody left behind: the running firmware is as it was. What the BMC has all of goes on, which is said, and its door shuts behind it; where there is nothing to drop the exit code is 17.

Example:
  inband abort")]
    Abort,

    /// Restart the BMC into staged firmware, by IPMI
    #[command(after_help = "\
The BMC's configuration says whether a host may (ipmi.activate); if not, the exit code is 18. Where nothing is staged it is 17.

Example:
  inband update bmc.tar && inband activate")]
    Activate,

    /// Say that the firmware on trial is good, by IPMI
    #[command(after_help = "\
The BMC's configuration says whether a host may (ipmi.confirm); if not, the exit code is 18. Where nothing is on trial it is 17. \
It ends when the BMC has stored it; if that takes more than ten seconds, with 10.

Example:
  inband confirm")]
    Confirm,

    /// Ask a BMC to enter DFU mode, for another tool
    #[command(after_help = "\
The BMC leaves DFU mode by itself when nothing is sent to it for a minute.

Example:
  inband detach && dfu-util -D bmc.tar")]
    Detach,

    /// Show the BMC's record of past updates
    #[command(after_help = "\
The BMC keeps its last 16 records. An update has up to four of them: staged, on trial, unhealthy, and confirmed or rolled back. The oldest \
comes first; with --json the newest. Where USB shows no BMC, IPMI tells it.

Examples:
  inband log
  inband log --json | jq -r .result")]
    Log,

    /// Make a key pair to sign packages with
    #[command(after_help = "\
Writes PREFIX.key (keep it secret) and PREFIX.pub (goes to the BMC, into its directory of system keys, as PREFIX.pem). \
The keys are PEM as openssl(1) reads and writes them: `openssl genpkey -algorithm ed25519` makes one just as well. RSA keys come \
from openssl(1) or from an HSM, and sign there: see `inband help sign`.

Examples:
  inband keygen --out release
  inband keygen --kind p384 --out release-p384")]
    Keygen(Keygen),

    /// Make a package of image files
    #[command(after_help = "\
Examples:
  inband pack --machine example-board --version 2.4.0 --security-version 3 \\
      --member image-bmc=obmc.static.mtd --key release.key --out bmc.tar
  inband pack ... --metadata MANIFEST=MANIFEST --dfu-suffix 1d6b:0104 --out bmc.tar
  inband pack ... --unsigned hsm.pem:rsa-pss-sha384 --out bmc.tar
                         then `inband sign`, where the key is
  inband pack ... --key release.key --unsigned hsm.pem --out bmc.tar
                         one signature now, one later

The name of a member is the name of a region in the BMC's configuration. --dfu-suffix takes the vendor and product id the \
BMC shows at run time. A package is for one to three signers, each with another kind of key: the BMC says which kinds it requires.")]
    Pack(Pack),

    /// Sign a package that was packed for a key
    #[command(after_help = "\
The package is replaced by a signed copy once that is complete; a DFU suffix is brought up to date. A key that is not in a file \
signs elsewhere: print the bytes to sign (528, as they are, to be hashed by the signer as its scheme says), and attach the signature \
when it is back. It is verified first, and goes where it belongs. Which signatures are missing is told each time, by --print-bytes with the commands of \
openssl(1) that make them.

Examples:
  inband sign bmc.tar --key release.key
  inband sign bmc.tar --print-bytes --out to-sign.bin
  openssl dgst -sha384 -sign p384.key -out signature.bin to-sign.bin
  inband sign bmc.tar --attach signature.bin --keys p384.pub")]
    Sign(Sign),

    /// Check a package as a BMC would, every byte of it
    #[command(after_help = "\
Examples:
  inband verify bmc.tar --keys release.pub
  inband verify bmc.tar --keys /etc/inband/keys --require ed25519,rsa
  inband verify bmc.tar                    all but the signatures")]
    Verify(Verify),

    /// Show what is in a package, or what an update to it would cost
    #[command(after_help = "\
--diff supposes a BMC whose target slot holds OLD. Bytes are of chunks, so as they are stored; `shared` are chunks that OLD has in any of \
its images, at whatever place; `sent` is what a transfer of needed chunks sends; `flash` is what changes in place. Signatures \
are not verified: `inband verify` does that.

Examples:
  inband inspect bmc.tar
  inband inspect bmc.tar --json | jq -r .version
  inband inspect --diff bmc-1.0.tar bmc-1.1.tar")]
    Inspect(Inspect),

    /// Update and attack a virtual BMC, without hardware and without root
    #[command(after_help = "\
Starts a BMC in this process, served over USB/IP on a loopback port, and updates it through real USB requests: by bulk and by \
DFU, with a small change, and with an update that is stopped half-way and made anew. Then tries a \
tampered, a truncated, a wrong-machine, a stranger's and a downgrade package, and opens a door that is shut by IPMI. Exit code 20 if any verdict is not the \
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

    /// Send the package also if the BMC runs its version already
    #[arg(long)]
    pub allow_same: bool,

    /// Send nothing that is older than what the BMC runs (by security version, then bcdDevice)
    #[arg(long)]
    pub no_downgrade: bool,

    /// Go through this door, or not at all. Unless given, the fastest that is open: bulk before dfu, and volume where there is nothing else
    #[arg(long, value_name = "DOOR")]
    pub door: Option<DoorName>,

    /// Say what would be done, and do nothing. Over bulk that has a least and a most: what a BMC lacks of a package it says only when the
    /// update has begun
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Start {
    /// The door
    pub door: Option<DoorName>,

    /// What the disk holds. Unless given, fat, if the BMC has it
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<ProfileName>,

    /// Have the BMC refuse what is older than what it runs
    #[arg(long)]
    pub no_downgrade: bool,

    /// Have the BMC wait with staged firmware until somebody asks for it, whatever its configuration says
    #[arg(long)]
    pub defer: bool,

    /// Have the BMC refuse all but this package, by the length and the digest of its head
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub package: Option<PathBuf>,

    /// Have the BMC refuse all but packages of so many bytes
    #[arg(long, value_name = "BYTES", conflicts_with = "package")]
    pub length: Option<u32>,

    /// Run this while the door is open, and shut it then
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Stop {
    /// Have what came in judged, and not dropped
    #[arg(long)]
    pub commit: bool,

    /// Of the start that is to end, as it was printed
    #[arg(long, value_name = "NONCE")]
    pub nonce: Option<Nonce>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileName {
    /// A filesystem, for FIRMWARE.BIN
    Fat,
    /// The package itself, from the first block on
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoorName {
    /// Control transfers, all of the package
    Dfu,
    /// Bulk transfers, of what the BMC lacks
    Bulk,
    /// The BMC's USB disk
    Volume,
}

/// Public keys to check signatures with.
#[derive(Args, Debug, Default)]
pub struct Keys {
    /// Public keys whose signatures count: a PEM file, or a directory as a BMC has it (*.pem and `revoked`, or OpenBMC's
    /// /etc/activationdata); may be given more than once
    #[arg(long, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub keys: Vec<PathBuf>,

    /// Kinds of signature that the package must have, all of them and no other, as a BMC's configuration lists them: such as
    /// ed25519,p384,rsa. Unless given, those that the package announces, at least one
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind, requires = "keys")]
    pub require: Vec<Kind>,
}

#[derive(Args, Debug)]
pub struct Keygen {
    /// The kind of key: ed25519 or p384
    #[arg(long, value_name = "KIND", default_value = "ed25519")]
    pub kind: NewKey,

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

    /// bcdDevice: what USB shows once this firmware is staged, such as 2.40 or 0x0240
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

    /// Compress the chunks of images with Zstandard, at this level (1 to 22; 9 unless given), where that saves a tenth. Only
    /// Inband reads such a package; other update paths of the BMC refuse it
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "9",
        value_parser = clap::value_parser!(i32).range(1..=22))]
    pub compress: Option<i32>,

    /// Sign with this private key (PEM, Ed25519 or P-384); may be given more than once
    #[arg(long = "key", value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "unsigned")]
    pub keys: Vec<PathBuf>,

    /// Leave the place of a signature empty, by the private half of this public key (PEM), which signs later. An RSA key signs by
    /// SCHEME: rsa-pss-sha256 (unless given), -sha384, -sha512, or rsa-pkcs1-sha256, -sha384, -sha512. May be given more than
    /// once
    #[arg(long, value_name = "FILE[:SCHEME]")]
    pub unsigned: Vec<Signer>,

    /// Append a DFU suffix with these ids, hexadecimal: those the BMC shows at run time
    #[arg(long, value_name = "VID:PID")]
    pub dfu_suffix: Option<UsbIds>,

    /// The package to write
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["key", "print_bytes", "attach"]))]
pub struct Sign {
    /// The package
    #[arg(value_hint = ValueHint::FilePath)]
    pub package: PathBuf,

    /// Sign with this private key (PEM, Ed25519 or P-384)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,

    /// Print the 528 bytes that every signer of the package signs, as they are, and sign nothing
    #[arg(long)]
    pub print_bytes: bool,

    /// Write them into this file, and not to standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "print_bytes", conflicts_with_all = ["key", "attach"])]
    pub out: Option<PathBuf>,

    /// Attach this signature, made elsewhere: the bare bytes, or DER of P-384
    #[arg(long, value_name = "SIGNATURE", value_hint = ValueHint::FilePath, requires = "keys")]
    pub attach: Option<PathBuf>,

    /// Public keys of which one has made the signature: a PEM file, or a directory of *.pem; may be given more than once
    #[arg(long, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath, requires = "attach", conflicts_with_all = ["key", "print_bytes"])]
    pub keys: Vec<PathBuf>,
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

    /// Say what an update from this package would cost
    #[arg(long, value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub diff: Option<PathBuf>,
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
