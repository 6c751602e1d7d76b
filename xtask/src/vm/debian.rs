//! The second kind of guest: a Debian root with systemd, udevd, D-Bus and fwupd. It is a read-only disk that is made once and kept;
//! what changes from run to run comes in the RAM disk (see `root`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Outcome, packages, program};

/// The guest's release. fwupd is the same version in bookworm, where it sees no USB device: built with libusb before 1.0.27, it finds
/// the netlink address that it wants taken by its own libusb (fwupd pull request 10422).
const RELEASE: &str = "trixie";

/// The release that this machine has, whose archives have the guest's too.
const OWN_RELEASE: &str = "bookworm";

/// What the guest has beyond Debian's essential packages.
const PACKAGES: &[&str] = &[
    "dbus",
    "dfu-util",
    "eject",
    "fwupd",
    "jcat",
    "kmod",
    "openssl",
    "polkitd",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
    "udisks2",
    "usbip",
    "usbutils",
];

/// Somebody who is not root, as in the bare guest.
const HOOK: &str = r#"chroot "$1" useradd --no-create-home --gid operator --groups plugdev operator"#;

/// What nobody reads in the guest.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"];

/// How often the archive is asked for all of it, and how long it is left alone between: a mirror may be half way through an update of
/// itself.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(20);

/// Finds the disk in `cache`, or makes it there. It is made again only if what it is made of has changed.
pub(super) fn disk(cache: &Path) -> Outcome<PathBuf> {
    let disk = cache.join("debian.squashfs");
    let recipe = cache.join("debian.recipe");
    let wanted = format!("{RELEASE} {PACKAGES:?} {HOOK} {LEFT_OUT:?}\n");
    let made_of = fs::read_to_string(&recipe).unwrap_or_default();
    if disk.is_file() && made_of == wanted {
        return Ok(disk);
    }
    println!("  making the Debian guest's disk, which is kept: some minutes");
    make(&disk).map_err(|e| format!("cannot make the Debian guest: {e}"))?;
    fs::write(&recipe, wanted).map_err(|e| format!("cannot write {}: {e}", recipe.display()))?;
    Ok(disk)
}

/// Makes the disk from this machine's own package sources. It appears under its name only when it is whole.
fn make(disk: &Path) -> Outcome {
    let partial = disk.with_extension("partial");
    // bash for pipefail. Not compressed: the emulated processor would take longer to unpack it than to read it.
    let mut command = Command::new("bash");
    command.args([
        "-c",
        r#"set -o pipefail; disk=$1; shift
        mmdebstrap "$@" | mksquashfs - "$disk" -tar -noappend -noI -noD -noF -noX -no-progress -quiet"#,
    ]);
    command.arg("mmdebstrap").arg(&partial);
    // Each as a line of apt.conf, which wants quotes and takes `::` for a name.
    command.args(packages::OPTIONS.map(|option| format!("--aptopt={}", option.replace('=', " \"") + "\"")));
    command.arg("--variant=essential").arg(format!("--include={}", PACKAGES.join(",")));
    command.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    command.arg("--dpkgopt=force-unsafe-io").arg(format!("--customize-hook={HOOK}"));
    command.args([RELEASE, "-"]).args(sources()?);
    program::run_up_to(ATTEMPTS, PAUSE, &mut command)?;
    fs::rename(&partial, disk).map_err(|e| format!("cannot rename {}: {e}", partial.display()))
}

/// Debian's archives of this machine with the guest's release in them, each as a line of a sources.list; of what else is configured
/// nothing.
fn sources() -> Outcome<Vec<String>> {
    let find = || -> Outcome<Vec<String>> {
        let format = "$(ORIGIN) $(CODENAME) deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
        let targets = program::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        Ok(parse(&targets))
    };
    let mut lines = find()?;
    if lines.is_empty() {
        packages::update_lists()?;
        lines = find()?;
    }
    if lines.is_empty() { Err(format!("apt knows no archive of Debian {OWN_RELEASE}")) } else { Ok(lines) }
}

/// The lines of the targets that are Debian's, for the guest's release.
fn parse(targets: &str) -> Vec<String> {
    let lines = targets.lines().filter_map(|line| line.strip_prefix("Debian ")?.strip_prefix(OWN_RELEASE));
    // What is left of the code name: bookworm-security, bookworm-updates.
    let mut lines: Vec<String> =
        lines.filter_map(|line| Some(line.split_once(' ')?.1.replace(OWN_RELEASE, RELEASE))).collect();
    lines.sort();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_of_debian_alone_are_taken_for_the_guests_release() {
        let targets = "\
Debian bookworm deb http://deb.example/debian/ bookworm main
Debian bookworm-security deb http://deb.example/debian-security/ bookworm-security main
Debian bookworm deb http://deb.example/debian/ bookworm main
Somebody stable deb http://somebody.example/apt/ stable main
";
        assert_eq!(
            parse(targets),
            [
                "deb http://deb.example/debian-security/ trixie-security main",
                "deb http://deb.example/debian/ trixie main",
            ]
        );
    }
}
