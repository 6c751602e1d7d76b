//! The guest's RAM disk. The bare guest's is all of its root: busybox, the programs of the host with the libraries they
//! need, udev, the modules, the scripts of `xtask/guest`. The Debian guest's has what is put over the disk (see `debian`): our
//! own programs, the modules, the scripts; and what does that.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::kernel::Kernel;
use super::suite::Kind;
use super::{modules, suite};
use crate::{Outcome, layout, program};

/// Programs of the host that the guest gets, under the path they have here.
const PROGRAMS: &[&str] = &[
    "bash",
    "busybox",
    "dfu-suffix",
    "dfu-util",
    "eject",
    "fsck.vfat",
    "ipmitool",
    "iscsi-test-cu",
    "lsusb",
    "mcopy",
    "mkfs.vfat",
    "mren",
    "openssl",
    "perl",
    "sg_inq",
    "sg_modes",
    "sg_opcodes",
    "sg_prevent",
    "sg_raw",
    "sg_readcap",
    "sg_requests",
    "sg_start",
    "sg_sync",
    "sg_turs",
    "sg_verify",
    "sg_vpd",
    "tar",
    "udevadm",
    "usbip",
];

/// Other files the guest gets, under the path they have here. libusb learns of devices from udevd alone, and
/// udevd passes events on only with rules to hand them to. mtools does nothing without a code page.
const FILES: &[&str] = &[
    "/usr/lib/udev/rules.d/50-udev-default.rules",
    "/usr/lib/x86_64-linux-gnu/gconv/IBM850.so",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
];

/// Files of the tree besides the scripts, for /guest: the rules, the units and the files for fwupd that we ship, and what makes a tar as
/// OpenBMC does.
const SHARED: [&str; 11] = [
    "contrib/fwupd/bmc.metainfo.xml",
    "contrib/fwupd/inband.quirk",
    "contrib/systemd/inband-restart.path",
    "contrib/systemd/inband-restart.service",
    "contrib/systemd/inband.sysusers",
    "contrib/systemd/inbandd-release.service",
    "contrib/systemd/inbandd-release.timer",
    "contrib/systemd/inbandd.service",
    "contrib/udev/70-inband.rules",
    "crates/package/tests/openbmc/make-tar.sh",
    "examples/copy-update.sh",
];

/// What the Debian guest's systemd finds in /etc besides Debian's own.
const CONFIGURATION: [(&str, &str); 5] = [
    // Without an id it would take each boot for the first, and ask for a time zone and the like.
    ("machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("hostname", "guest\n"),
    // Gadgets are made in configfs; their controller, dummy_hcd, is for a suite to load.
    ("modules-load.d/guest.conf", "configfs\nvhci-hcd\n"),
    // Of all that is there at boot, udevd is to see what a suite asks about: to see everything takes it longer than all the rest.
    (
        "systemd/system/systemd-udev-trigger.service.d/guest.conf",
        "[Service]\nExecStart=\nExecStart=udevadm trigger --action=add \\\n  --subsystem-match=block --subsystem-match=misc --subsystem-match=net --subsystem-match=udc --subsystem-match=usb\n",
    ),
    // What a suite starts is its own to end: nothing of it is to wait for a minute and a half.
    ("systemd/system.conf.d/guest.conf", "[Manager]\nDefaultTimeoutStopSec=10\n"),
];

/// Units of Debian's that only take time in a guest: nobody logs in, there is no network to refresh anything from, and nothing
/// uses these file systems and modules.
const MASKED: [&str; 26] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fwupd-refresh.timer",
    "getty.target",
    "ldconfig.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "run-lock.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "tmp.mount",
];

/// A suite, and files that it wants.
pub(super) type Own<'a> = (&'a str, Vec<PathBuf>);

/// Builds the RAM disk of a kind of guest in `folder` and returns its file. A suite's own files go to a folder of its name in /guest.
pub(super) fn build(
    folder: &Path,
    kind: Kind,
    kernel: &Kernel,
    binaries: &[PathBuf],
    own: &[Own<'_>],
) -> Outcome<PathBuf> {
    let top = folder.join("root");
    let root = Root { top: top.clone() };
    root.lay_out().map_err(|e| format!("cannot make {}: {e}", top.display()))?;
    match kind {
        Kind::Bare => {
            for name in PROGRAMS {
                root.add_host_program(name)?;
            }
            for file in FILES {
                root.add(Path::new(file), Path::new(file))?;
            }
            root.add_modules(modules::WANTED, kernel)?;
            for binary in binaries {
                root.add_program(binary, &path_of_ours(binary)?)?;
            }
            root.add_scripts(own)?;
            root.add(&suite::scripts().join("init"), Path::new("/init"))?;
        }
        Kind::Debian => {
            root.add_host_program("busybox")?;
            root.add_modules(modules::DISK, kernel)?;
            root.add(&suite::scripts().join("debian/init"), Path::new("/init"))?;
            let upper = Root { top: top.join("upper") };
            upper.merge_lib().map_err(|e| format!("cannot make {}: {e}", upper.top.display()))?;
            upper.add_modules(modules::WANTED, kernel)?;
            // Without this machine's libraries: Debian has its own, and newer ones.
            for binary in binaries {
                upper.add(binary, &path_of_ours(binary)?)?;
            }
            upper.add_scripts(own)?;
            upper.configure().map_err(|e| format!("cannot make {}: {e}", upper.top.display()))?;
        }
    }
    let initrd = folder.join(format!("initrd-{}-{}", kind.name(), kernel.release));
    root.pack(&initrd)?;
    Ok(initrd)
}

/// Where the guest has one of our own programs.
fn path_of_ours(binary: &Path) -> Outcome<PathBuf> {
    Ok(Path::new("/usr/bin").join(binary.file_name().ok_or("a binary has no name")?))
}

/// The folder that becomes the guest's root.
struct Root {
    top: PathBuf,
}

impl Root {
    /// An empty root with the folders and links of a merged /usr, as on the host.
    fn lay_out(&self) -> std::io::Result<()> {
        if self.top.exists() {
            fs::remove_dir_all(&self.top)?;
        }
        for folder in [
            "usr/bin",
            "usr/sbin",
            "usr/lib/systemd",
            "usr/lib64",
            "dev",
            "etc",
            "proc",
            "run",
            "sys",
            "tmp",
            "var",
        ] {
            fs::create_dir_all(self.top.join(folder))?;
        }
        for folder in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{folder}"), self.top.join(folder))?;
        }
        symlink("/run", self.top.join("var/run"))?;
        // udevadm is the daemon too when it is called so.
        symlink("/usr/bin/udevadm", self.top.join("usr/lib/systemd/systemd-udevd"))
    }

    /// Copies a file of the host to a path of the guest.
    fn add(&self, file: &Path, to: &Path) -> Outcome {
        let to = self.top.join(to.strip_prefix("/").unwrap_or(to));
        let copy = || -> std::io::Result<()> {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(file, &to).map(drop)
        };
        copy().map_err(|e| format!("cannot copy {} to {}: {e}", file.display(), to.display()))
    }

    /// Copies a program that this machine has to the same path.
    fn add_host_program(&self, name: &str) -> Outcome {
        let file = program::find(name).ok_or_else(|| format!("{name} is missing: cargo xtask packages"))?;
        self.add_program(&file, &file)
    }

    /// Copies a program and the shared libraries it needs.
    fn add_program(&self, file: &Path, to: &Path) -> Outcome {
        self.add(file, to)?;
        // ldd fails for a static program, which needs none.
        let libraries = program::output(Command::new("ldd").arg(file)).unwrap_or_default();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new) {
            self.add(library, library)?;
        }
        Ok(())
    }

    /// Copies the modules the guest can load, unpacked: busybox cannot read .ko.xz.
    fn add_modules(&self, wanted: &[&str], kernel: &Kernel) -> Outcome {
        let read = |name: &str| {
            let file = kernel.modules.join(name);
            fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))
        };
        let folder = Path::new("/usr/lib/modules").join(&kernel.release);
        for file in modules::select(wanted, &read("modules.dep")?, &read("modules.builtin")?)? {
            let to = folder.join(&file);
            self.add(&kernel.modules.join(&file), &to)?;
            if to.extension().is_some_and(|ending| ending == "xz") {
                let packed = self.top.join(to.strip_prefix("/").unwrap_or(&to));
                program::output(Command::new("xz").args(["--decompress", "--force"]).arg(packed))?;
            }
        }
        let depmod = program::find("depmod").ok_or("depmod is missing: cargo xtask packages")?;
        // It warns of lists that the guest has no use for.
        program::output(Command::new(depmod).arg("--basedir").arg(&self.top).arg(&kernel.release)).map(drop)
    }

    /// Copies the scripts, what they share with the rest of the tree, and other files that they want, to /guest.
    fn add_scripts(&self, own: &[Own<'_>]) -> Outcome {
        let shared = SHARED.map(|file| layout::workspace().join(file)).to_vec();
        for (folder, files) in own.iter().chain([&("", shared)]) {
            for file in files {
                let name = file.file_name().ok_or("a file has no name")?;
                self.add(file, &Path::new("/guest").join(folder).join(name))?;
            }
        }
        for folder in ["", "debian"] {
            let scripts = suite::scripts().join(folder);
            let entries =
                fs::read_dir(&scripts).map_err(|e| format!("cannot read {}: {e}", scripts.display()))?;
            for file in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
                let Some(name) = file.file_name() else { continue };
                self.add(&file, &Path::new("/guest").join(folder).join(name))?;
            }
        }
        Ok(())
    }

    /// /lib of a merged /usr, where depmod looks, as the Debian below has it.
    fn merge_lib(&self) -> std::io::Result<()> {
        fs::create_dir_all(&self.top)?;
        symlink("usr/lib", self.top.join("lib"))
    }

    /// Lays out /etc of the Debian guest.
    fn configure(&self) -> std::io::Result<()> {
        let etc = self.top.join("etc");
        for (name, text) in CONFIGURATION {
            let file = etc.join(name);
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(file, text)?;
        }
        let units = etc.join("systemd/system");
        fs::create_dir_all(units.join("multi-user.target.wants"))?;
        symlink("/guest/debian/suite.service", units.join("suite.service"))?;
        symlink("../suite.service", units.join("multi-user.target.wants/suite.service"))?;
        symlink("/lib/systemd/system/multi-user.target", units.join("default.target"))?;
        for unit in MASKED {
            symlink("/dev/null", units.join(unit))?;
        }
        Ok(())
    }

    /// Packs the root. Not compressed: the emulated processor would take longer to unpack it than to read it.
    fn pack(&self, initrd: &Path) -> Outcome {
        let file = File::create(initrd).map_err(|e| format!("cannot write {}: {e}", initrd.display()))?;
        let status = Command::new("sh")
            .args(["-c", "find . | LC_ALL=C sort | cpio --create --format=newc --owner=+0:+0 --quiet"])
            .current_dir(&self.top)
            .stdin(Stdio::null())
            .stdout(file)
            .status()
            .map_err(|e| format!("cannot run sh: {e}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("packing {} ended with {status}", initrd.display()))
        }
    }
}
