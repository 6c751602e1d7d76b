//! A root file system to make images of: the files of this machine's basic Debian packages.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, program};

/// Priorities of the packages: what every Debian has.
const PRIORITIES: [&str; 3] = ["required", "important", "standard"];
/// What no firmware carries.
const LEFT_OUT: [&str; 4] = ["/usr/share/doc/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/man/"];
/// Where programs are.
const PROGRAMS: [&str; 2] = ["usr/bin", "usr/sbin"];

/// The compression of OpenBMC's images.
pub(super) const OPENBMC: &str = "xz";

/// Makes three images `squashfs-0` to `-2` in a folder, of which each has one program more changed.
pub(super) fn versions(folder: &Path) -> Outcome<[PathBuf; 3]> {
    let tree = Tree::copy(folder.join("tree"))?;
    let images = ["squashfs-0", "squashfs-1", "squashfs-2"].map(|name| folder.join(name));
    tree.image(OPENBMC, &images[0])?;
    for (program, image) in tree.programs(2)?.iter().zip(&images[1..]) {
        let failed = |e: io::Error| format!("cannot change {}: {e}", program.display());
        let bytes = fs::read(program).map_err(failed)?;
        fs::write(program, next_version(&bytes)).map_err(failed)?;
        tree.image(OPENBMC, image)?;
    }
    Ok(images)
}

/// A copy of these files.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// Copies the files to a folder that is not there yet.
    pub(super) fn copy(to: PathBuf) -> Outcome<Self> {
        let listed = program::output(Command::new("dpkg-query").args([
            "--show",
            "--showformat",
            "${Priority} ${binary:Package}\n",
        ]))?;
        let packages = listed.lines().filter_map(|line| line.split_once(' '));
        let packages = packages.filter(|(priority, _)| PRIORITIES.contains(priority)).map(|(_, name)| name);
        let files = program::output(Command::new("dpkg-query").arg("--listfiles").args(packages))?;
        let tree = Self(to);
        // What else dpkg-query prints are remarks about diverted files.
        for file in files.lines().filter(|line| line.starts_with('/')) {
            if !LEFT_OUT.iter().any(|folder| file.starts_with(folder)) {
                tree.take(Path::new(file)).map_err(|e| format!("cannot copy {file}: {e}"))?;
            }
        }
        Ok(tree)
    }

    /// Copies one file; folders come with what is in them.
    fn take(&self, file: &Path) -> io::Result<()> {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return Ok(()) };
        // Packages still name /bin, where that is a link to /usr/bin. A file that was removed is nobody's loss.
        let Ok(folder) = folder.canonicalize() else { return Ok(()) };
        let file = folder.join(name);
        let Ok(kind) = file.symlink_metadata().map(|metadata| metadata.file_type()) else { return Ok(()) };
        if kind.is_dir() {
            return Ok(());
        }
        let folder = self.0.join(folder.strip_prefix("/").unwrap_or(&folder));
        fs::create_dir_all(&folder)?;
        let to = folder.join(name);
        match kind.is_symlink() {
            // Two packages may list the same link.
            true if to.symlink_metadata().is_ok() => Ok(()),
            true => symlink(fs::read_link(file)?, to),
            false => fs::copy(file, to).map(drop),
        }
    }

    /// A squashfs image as OpenBMC's build makes it, times aside: same tree, same image.
    pub(super) fn image(&self, compression: &str, to: &Path) -> Outcome {
        let mut command = Command::new("mksquashfs");
        command.arg(&self.0).arg(to).args(["-noappend", "-comp", compression]);
        command.args(["-mkfs-time", "0", "-all-time", "0", "-all-root", "-no-progress", "-quiet"]);
        program::output(&mut command).map(drop)
    }

    /// `count` programs from all over the image: evenly spaced among all, in the order that squashfs keeps.
    pub(super) fn programs(&self, count: usize) -> Outcome<Vec<PathBuf>> {
        let mut programs = Vec::new();
        for folder in PROGRAMS {
            let path = self.0.join(folder);
            let entries = fs::read_dir(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
            programs.extend(files.filter(|file| is_binary(file)));
        }
        programs.sort();
        let places = (0..count).map(|number| (2 * number + 1) * programs.len() / (2 * count));
        Ok(places.filter_map(|place| programs.get(place).cloned()).collect())
    }
}

/// Whether this is a file with an executable program for this machine, and no link to one.
fn is_binary(file: &Path) -> bool {
    let regular = file.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    regular && fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"\x7FELF"))
}

/// The next version of a program: changed all over, as a rebuild with another compiler or other addresses is, and a
/// twentieth longer. No block of 128 KiB, which is what squashfs compresses, stays what it was.
pub(super) fn next_version(program: &[u8]) -> Vec<u8> {
    let mut next = program.to_vec();
    next.iter_mut().step_by(256).for_each(|byte| *byte ^= 0x55);
    next.extend_from_within(..next.len() / 20);
    next
}
