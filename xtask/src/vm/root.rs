//! The guest's root: busybox, the programs of the host with the libraries they need, udev, the modules, the
//! scripts of `xtask/guest`, packed as an initial RAM disk.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::kernel::Kernel;
use super::{modules, suite};
use crate::{Outcome, layout, program};

/// Programs of the host that the guest gets, under the path they have here.
const PROGRAMS: &[&str] =
    &["busybox", "dfu-suffix", "dfu-util", "lsusb", "openssl", "tar", "udevadm", "usbip"];

/// Other files the guest gets, under the path they have here. libusb learns of devices from udevd alone, and
/// udevd passes events on only with rules to hand them to.
const FILES: &[&str] = &["/usr/lib/udev/rules.d/50-udev-default.rules"];

/// Files of the tree besides the scripts, for /guest: the udev rules we ship, and what makes a tar as OpenBMC does.
const SHARED: [&str; 2] = ["contrib/udev/70-inband.rules", "crates/package/tests/openbmc/make-tar.sh"];

/// Builds the RAM disk in `folder` and returns its file.
pub(super) fn build(folder: &Path, kernel: &Kernel, binaries: &[PathBuf]) -> Outcome<PathBuf> {
    let root = Root { top: folder.join("root") };
    root.lay_out().map_err(|e| format!("cannot make {}: {e}", root.top.display()))?;
    for name in PROGRAMS {
        let file = program::find(name).ok_or_else(|| format!("{name} is missing: cargo xtask packages"))?;
        root.add_program(&file, &file)?;
    }
    for binary in binaries {
        let name = binary.file_name().ok_or("a binary has no name")?;
        root.add_program(binary, &Path::new("/usr/bin").join(name))?;
    }
    for file in FILES {
        root.add(Path::new(file), Path::new(file))?;
    }
    root.add_modules(kernel)?;
    root.add_scripts()?;
    let initrd = folder.join(format!("initrd-{}", kernel.release));
    root.pack(&initrd)?;
    Ok(initrd)
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
    fn add_modules(&self, kernel: &Kernel) -> Outcome {
        let read = |name: &str| {
            let file = kernel.modules.join(name);
            fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))
        };
        let folder = Path::new("/usr/lib/modules").join(&kernel.release);
        for file in modules::select(modules::WANTED, &read("modules.dep")?, &read("modules.builtin")?)? {
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

    /// Copies the scripts, and what they share with the rest of the tree, to /guest; `init` is the kernel's first program.
    fn add_scripts(&self) -> Outcome {
        for file in SHARED.map(Path::new) {
            let name = file.file_name().ok_or("a file has no name")?;
            self.add(&layout::workspace().join(file), &Path::new("/guest").join(name))?;
        }
        let folder = suite::scripts();
        let entries = fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
        for file in entries.flatten().map(|entry| entry.path()) {
            let Some(name) = file.file_name() else { continue };
            let to = if name == "init" { PathBuf::from("/init") } else { Path::new("/guest").join(name) };
            self.add(&file, &to)?;
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
