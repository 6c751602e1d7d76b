//! A compiler that builds for the BMC's processors, and its standard library from source.
//!
//! The machine's own toolchain has a standard library for the machine only. Debian has a compiler with that library's
//! source, for its browsers; cargo builds the library for any processor with it (`-Zbuild-std`). It is unpacked beside
//! the machine's own and never installed.

use std::path::PathBuf;
use std::process::Command;

use crate::program::{self, cargo};
use crate::{Outcome, debs, layout, packages};

/// A processor and system that a program is built for.
pub(super) struct Target {
    /// The compiler's name for it.
    pub(super) triple: &'static str,
    /// The standard library it is built with.
    pub(super) library: Library,
    /// What it stands for.
    pub(super) about: &'static str,
}

/// What is built of the standard library.
#[derive(Clone, Copy)]
pub(super) struct Library {
    /// Its crates, with commas between them.
    pub(super) crates: &'static str,
    /// Its features, in the same way. Those it has by default are not among them.
    pub(super) features: &'static str,
}

/// Where the libraries of ARMv7 are, for qemu.
const ARMV7_LIBRARIES: &str = "/usr/arm-linux-gnueabihf";

/// An unpacked compiler.
pub(super) struct Toolchain {
    root: PathBuf,
}

impl Toolchain {
    /// Finds the compiler in the target folder, or brings it there.
    pub(super) fn fetch() -> Outcome<Self> {
        let root = folder().join("toolchain");
        if !root.is_dir() {
            bring(&root).map_err(|e| format!("cannot get the compiler for other processors: {e}"))?;
        }
        let toolchain = Self { root };
        let version =
            program::output(toolchain.with_compiler(&mut Command::new(toolchain.rustc())).arg("-V"))
                .map_err(|e| format!("{e}; delete {} and try again", toolchain.root.display()))?;
        println!("{}", version.trim());
        Ok(toolchain)
    }

    /// A cargo command for a target. Its output is in [`built`].
    pub(super) fn cargo(&self, subcommand: &str, target: &Target) -> Command {
        let mut command = cargo(&[subcommand, "--target", target.triple]);
        let Library { crates, features } = target.library;
        command.arg(format!("-Zbuild-std={crates}")).arg(format!("-Zbuild-std-features={features}"));
        command.env("CARGO_TARGET_DIR", folder());
        // -Z is for nightly compilers, and for those who ask for it by this name.
        command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", self.rustc());
        // The names are needed to tell the crates apart, and everything is built once if it is built the same way.
        command.env("CARGO_PROFILE_BMC_STRIP", "none");
        let armv7 = "CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF";
        // Thumb-2: every ARMv7 with Linux has it, and code is a quarter smaller than with ARM's own instructions. What is in
        // RUSTFLAGS, for the machine, would take its place.
        command.env(format!("{armv7}_RUSTFLAGS"), "-Ctarget-feature=+thumb-mode").env_remove("RUSTFLAGS");
        command.env(format!("{armv7}_LINKER"), "arm-linux-gnueabihf-gcc");
        command.env(format!("{armv7}_RUNNER"), format!("qemu-arm-static -L {ARMV7_LIBRARIES}"));
        self.with_compiler(&mut command);
        command
    }

    fn rustc(&self) -> PathBuf {
        self.root.join("usr/bin/rustc")
    }

    /// The compiler's libraries lie where no system looks for them.
    fn with_compiler<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu"))
    }
}

/// A program for ARMv7, run by qemu.
pub(super) fn armv7(program: &PathBuf) -> Command {
    let mut command = Command::new("qemu-arm-static");
    command.args(["-L", ARMV7_LIBRARIES]).arg(program);
    command
}

/// Where this compiler builds.
pub(super) fn folder() -> PathBuf {
    layout::target().join("arm")
}

/// A program that was built.
pub(super) fn built(target: &Target, profile: &str, program: &str) -> PathBuf {
    folder().join(target.triple).join(profile).join(program)
}

/// The compiler, its libraries (whose packages have a version in their names), and the source of std.
fn bring(root: &std::path::Path) -> Outcome {
    const COMPILER: [&str; 3] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src"];
    let driver = match dependency("libstd-rust-web-dev", "libstd-rust-web-") {
        Ok(driver) => driver,
        Err(why) => {
            packages::update_lists().map_err(|how| format!("{why}; {how}"))?;
            dependency("libstd-rust-web-dev", "libstd-rust-web-")?
        }
    };
    let llvm = dependency(&driver, "libllvm")?;
    debs::unpack(&[&COMPILER[..], &[&driver, &llvm]].concat(), root, |_| Ok(()))
}

/// The package a package depends on whose name starts like this.
fn dependency(package: &str, start: &str) -> Outcome<String> {
    let about = program::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]))?;
    find_dependency(&about, start).map(String::from).ok_or_else(|| {
        format!("Debian's {package} needs no {start}*: is this Debian 12, amd64, with its security archive?")
    })
}

fn find_dependency<'a>(about: &'a str, start: &str) -> Option<&'a str> {
    let depends = about.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    depends.split(", ").filter_map(|one| one.split(' ').next()).find(|name| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_found_by_the_start_of_its_name() {
        let about = "Package: libstd-rust-web-1.96\n\
                     Depends: libc6 (>= 2.34), libllvm22, libstdc++6 (>= 11)\n";
        assert_eq!(find_dependency(about, "libllvm"), Some("libllvm22"));
        assert_eq!(find_dependency(about, "libstd"), Some("libstdc++6"));
        assert_eq!(find_dependency(about, "libgcc"), None);
        assert_eq!(find_dependency("Package: x\n", "lib"), None);
    }
}
