//! Our own programs, in the guests and beside them.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::program::{self, cargo};
use crate::{Outcome, layout};

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Profile {
    /// Quickly.
    Guest,
    /// As users have them, for what is measured.
    Release,
}

impl Profile {
    pub(super) const ALL: [Self; 2] = [Self::Guest, Self::Release];

    /// What cargo calls it, and the folder it builds into.
    const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Release => "release",
        }
    }

    /// Where programs are, and examples.
    fn folders(self) -> [PathBuf; 2] {
        let programs = layout::target().join(self.name());
        let examples = programs.join("examples");
        [programs, examples]
    }

    /// Where one is that was built.
    pub(super) fn find(self, name: &str) -> Outcome<PathBuf> {
        let found = self.folders().into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
        found.ok_or_else(|| format!("{name} is none of the suite's binaries"))
    }

    /// A PATH of them, and then this machine's.
    pub(super) fn path(self) -> Outcome<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        // Where those who make file systems are, which is not in everybody's.
        let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        env::join_paths(self.folders().into_iter().chain(env::split_paths(&path)).chain(system))
            .map_err(|e| format!("there is no PATH: {e}"))
    }

    /// Builds programs, by their names in a suite's head, and returns where they are.
    pub(super) fn build(self, names: &BTreeSet<&str>) -> Outcome<Vec<PathBuf>> {
        // The features that examples' tests ask for are none of a program's: each is built by itself.
        let (mut programs, mut examples) = (Vec::new(), Vec::new());
        for name in names {
            match name.strip_prefix("example:").and_then(|example| example.split_once('/')) {
                Some((package, example)) => examples.extend(["--package", package, "--example", example]),
                None => programs.extend(["--package", name]),
            }
        }
        for what in [programs, examples].iter().filter(|what| !what.is_empty()) {
            program::run(cargo(&["build", "--profile", self.name()]).args(what))?;
        }
        names.iter().map(|name| self.find(name.rsplit('/').next().unwrap_or(name))).collect()
    }
}
