//! The guest's kernels: the newest of a series that Debian has for this release, unpacked into a cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debs::{self, PARTIAL};
use crate::{Outcome, packages, program};

/// A series of kernels that a suite can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Series {
    /// Debian bookworm's own: its FunctionFS takes no DFU descriptor yet.
    V6_1,
    /// From bookworm's security archive: FunctionFS takes a DFU descriptor since that version.
    V6_12,
}

impl Series {
    /// The series of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::V6_1, Self::V6_12].into_iter().find(|series| series.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// A pattern that only the names of its packages match, as apt-cache takes it.
    const fn pattern(self) -> &'static str {
        match self {
            Self::V6_1 => r"^linux-image-6\.1\.[0-9]+-[0-9]+-amd64$",
            Self::V6_12 => r"^linux-image-6\.12\..*deb12-amd64$",
        }
    }
}

/// An unpacked kernel package.
pub(super) struct Kernel {
    /// The kernel QEMU loads.
    pub(super) image: PathBuf,
    /// What it calls itself, as in `uname -r`.
    pub(super) release: String,
    /// `lib/modules/RELEASE` of the package, with the files depmod writes.
    pub(super) modules: PathBuf,
    /// What it was built with.
    pub(super) config: PathBuf,
}

/// Finds the newest kernel of a series in `cache`, or brings it there.
pub(super) fn fetch(cache: &Path, series: Series) -> Outcome<Kernel> {
    let package = match newest(series.pattern()) {
        Ok(package) => package,
        // Without package lists (no network yet, not root) a kernel of an earlier run serves as well.
        Err(why) => newest_of(cached(cache, series)).ok_or(why)?,
    };
    let folder = cache.join(&package);
    if !folder.is_dir() {
        debs::unpack(&[&package], &folder, list_modules)
            .map_err(|e| format!("cannot get the guest's kernel: {e}"))?;
    }
    open(&folder)
}

fn open(folder: &Path) -> Outcome<Kernel> {
    let incomplete = || format!("{} is not a whole kernel: delete it and try again", folder.display());
    let release = fs::read_dir(folder.join("lib/modules"))
        .ok()
        .and_then(|mut entries| entries.next()?.ok()?.file_name().into_string().ok())
        .ok_or_else(incomplete)?;
    let image = folder.join(format!("boot/vmlinuz-{release}"));
    let modules = folder.join("lib/modules").join(&release);
    let config = folder.join(format!("boot/config-{release}"));
    if image.is_file() { Ok(Kernel { image, release, modules, config }) } else { Err(incomplete()) }
}

/// The name of the newest package there is; asks for new package lists if the machine has none.
fn newest(pattern: &str) -> Outcome<String> {
    let search = || -> Outcome<Option<String>> {
        let found = program::output(Command::new("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(newest_of(found.lines().filter_map(|line| line.split_whitespace().next()).map(String::from)))
    };
    if let Some(package) = search()? {
        return Ok(package);
    }
    packages::update_lists()?;
    search()?.ok_or_else(|| {
        format!("no Debian package matches {pattern}: is this Debian 12 with its security archive?")
    })
}

/// Kernels of a series from earlier runs.
fn cached(cache: &Path, series: Series) -> impl Iterator<Item = String> {
    let start = format!("linux-image-{}.", series.name());
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(move |name| name.starts_with(&start) && !name.ends_with(PARTIAL))
}

/// The highest version, comparing the numbers in the names as numbers.
fn newest_of(names: impl Iterator<Item = String>) -> Option<String> {
    names.max_by_key(|name| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    })
}

/// Debian's package leaves modules.dep to its installation scripts.
fn list_modules(folder: &Path) -> Outcome {
    let depmod = program::find("depmod").ok_or("depmod is missing: cargo xtask packages")?;
    program::run(Command::new(depmod).arg("--basedir").arg(folder).arg(&open(folder)?.release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_known_by_its_name() {
        assert_eq!(Series::named("6.1"), Some(Series::V6_1));
        assert_eq!(Series::named("6.12"), Some(Series::V6_12));
        assert_eq!(Series::named("6.10"), None);
    }

    #[test]
    fn a_kernel_of_another_series_is_no_cached_one() {
        let cache = std::env::temp_dir().join(format!("inband-xtask-kernels-{}", std::process::id()));
        for name in ["linux-image-6.1.0-9-amd64", "linux-image-6.12.9+deb12-amd64"] {
            fs::create_dir_all(cache.join(name)).unwrap();
        }
        let found: Vec<String> = cached(&cache, Series::V6_1).collect();
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(found, ["linux-image-6.1.0-9-amd64"]);
    }

    #[test]
    fn the_newest_version_is_by_number() {
        let names = [
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.20+deb12-amd64",
        ];
        assert_eq!(newest_of(names.map(String::from).into_iter()).as_deref(), Some(names[1]));
        assert_eq!(newest_of(std::iter::empty()), None);
    }
}
