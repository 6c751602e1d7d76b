//! `cargo xtask bench`: measurements. A task prints what it measured and nothing else.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{fs, io};

use crate::program::{self, cargo};
use crate::task::{self, Task};
use crate::{Outcome, layout};

mod bulk;
mod copy;
mod delta;
mod dfu;
mod disk;
mod figures;
mod guest;
mod ipmi;
mod lab;
mod plot;
mod tree;
mod usbredir;
mod wire;

use lab::Lab;
use tree::Tree;

const TASKS: &[Task] = &[
    Task { name: "size", about: "the daemon as built for a BMC, on disk", run: size },
    Task { name: "memory", about: "the daemon's peak memory, for a small and a large package", run: memory },
    Task { name: "pack", about: "packing images of 128 MiB, beside SHA-256", run: pack },
    Task { name: "verify", about: "checking a package of 128 MiB, beside SHA-256", run: verify },
    Task { name: "chunks", about: "what two squashfs images share when a program has changed", run: chunks },
    Task {
        name: "bulk",
        about: "the bulk door on a gadget controller in the guest, beside the two limits it has, and plain DFU",
        run: bulk::run,
    },
    Task {
        name: "bulk-counted",
        about: "the same, by a clock that counts instructions: what the BMC's work is beside hashing",
        run: bulk::run_counted,
    },
    Task {
        name: "copy",
        about: "updates of 8 and 32 MiB by copy to the disk in the guest, both profiles, beside bulk, plain DFU and dfu-util",
        run: copy::run,
    },
    Task { name: "copy-large", about: "the same with 128 MiB", run: copy::run_large },
    Task {
        name: "delta",
        about: "updates of a squashfs image over a model of a high-speed wire: all, a small change, nothing new, the rest",
        run: delta::run,
    },
    Task {
        name: "disk-usbredir",
        about: "a disk over usbredir: a copy in the UEFI shell, writes and reads in Linux, the slowest answer",
        run: usbredir::run,
    },
    Task {
        name: "dfu",
        about: "plain DFU by stock dfu-util and by our host, on a gadget controller in the guest",
        run: dfu::run,
    },
    Task {
        name: "dfu-counted",
        about: "the same, by a clock that counts instructions: the same on every machine",
        run: dfu::run_counted,
    },
    Task {
        name: "disk",
        about: "the USB disk on a gadget controller in the guest, beside the kernel's own target",
        run: disk::run,
    },
    Task {
        name: "disk-counted",
        about: "the same, by a clock that counts instructions: the same on every machine",
        run: disk::run_counted,
    },
    Task {
        name: "ipmi",
        about: "status by IPMI while 128 MiB come in over USB/IP and are verified: the slowest answer",
        run: ipmi::run,
    },
    Task { name: "speed", about: "plain DFU over USB/IP on loopback, by our host", run: speed },
    Task { name: "walk", about: "the walk over a FAT volume, in the shapes that cost most", run: walk },
];

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;
/// KiB of memory that inbandd may have in use, besides what it stages.
const MOST_KIB: u64 = 8 << 10;
/// Runs of one measurement; the median counts.
const RUNS: usize = 5;

/// `cargo xtask bench [--list] [TASK]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    task::command(args, TASKS, |_, _| Ok(()))
}

/// The size of inbandd with the `bmc` profile and without the virtual backends.
fn size() -> Outcome {
    program::run(&mut cargo(&[
        "build",
        "--profile",
        "bmc",
        "--package",
        "inbandd",
        "--no-default-features",
    ]))?;
    let file = layout::target().join("bmc/inbandd");
    let bytes = fs::metadata(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?.len();
    println!("inbandd, {ARCH}: {bytes} bytes");
    Ok(())
}

/// Peak resident memory of inbandd in an update, a process of its own for each package; fails if it is too much. Packages
/// are not staged: they go into the slot as they come.
fn memory() -> Outcome {
    let lab = Lab::new()?;
    let mut peaks = Vec::new();
    for mib in [8, 128] {
        let package = lab.package(mib)?;
        let bmc = lab.bmc()?;
        let start = bmc.peak_kib()?;
        lab.update(&bmc, &package)?;
        let peak = bmc.peak_kib()?;
        println!(
            "inbandd, {ARCH}, {mib} MiB package over USB/IP: peak {peak} KiB resident ({start} KiB at the start)"
        );
        peaks.push(peak);
    }
    if let [small, large] = peaks[..] {
        println!("ratio: {:.3}", large as f64 / small as f64);
    }
    match peaks.into_iter().max() {
        Some(peak) if peak > MOST_KIB => Err(format!("{peak} KiB are more than the {MOST_KIB} it may have")),
        _ => Ok(()),
    }
}

/// Time of the data phase, from the first byte to the verdict, into an empty slot.
fn speed() -> Outcome {
    const PACKAGE_MIB: u64 = 32;
    let lab = Lab::new()?;
    let package = lab.package(PACKAGE_MIB)?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        times.push(lab.update(&lab.bmc()?, &package)?);
    }
    times.sort_unstable();
    let rate = |ms: u64| PACKAGE_MIB as f64 * MIB as f64 / 1e6 / (ms.max(1) as f64 / 1e3);
    let (fastest, slowest) = (times[0], times[RUNS - 1]);
    let median = times[RUNS / 2];
    println!(
        "inband update, plain DFU over USB/IP, {PACKAGE_MIB} MiB, {ARCH}: median {median} ms, {:.1} MB/s \
         (of {RUNS}: {:.1} to {:.1} MB/s)",
        rate(median),
        rate(slowest),
        rate(fastest)
    );
    Ok(())
}

/// MiB of the images that packing and verifying are measured with.
const IMAGE_MIB: u64 = 128;

/// Packing an image that nothing compresses, one as OpenBMC has, and one that compresses well.
fn pack() -> Outcome {
    let folder = folder("bench-pack")?;
    let random = folder.join("random");
    lab::random(&random, IMAGE_MIB)?;
    let tree = Tree::copy(folder.join("tree"))?;
    let squashfs = folder.join("squashfs");
    tree.image(tree::OPENBMC, &squashfs)?;
    let programs = folder.join("uncompressed");
    program::run(Command::new("tar").arg("--create").arg("--file").arg(&programs).arg(folder.join("tree")))?;
    for image in [&squashfs, &programs] {
        fill(image).map_err(|e| format!("cannot write to {}: {e}", image.display()))?;
    }
    rates(|command| command.arg("pack").args([&random, &squashfs, &programs]))
}

/// Repeats what is in a file until it is as long as the images are.
fn fill(file: &Path) -> io::Result<()> {
    let bytes = fs::read(file)?;
    let length = (IMAGE_MIB * MIB) as usize;
    fs::write(file, bytes.iter().copied().cycle().take(length).collect::<Vec<u8>>())
}

/// Verifying in this process, then the programs: `inband verify` and openssl(1).
fn verify() -> Outcome {
    let lab = Lab::new()?;
    let package = lab.package(IMAGE_MIB)?;
    rates(|command| command.arg("verify").arg(&package).arg(lab.key()))?;
    let mut contestants = [lab.verify(&package), lab.openssl(&package)];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..RUNS {
        for (command, times) in contestants.iter_mut().zip(&mut times) {
            let start = Instant::now();
            program::output(command)?;
            times.push(start.elapsed().as_millis());
        }
    }
    for (name, times) in ["inband verify", "openssl dgst -sha256"].iter().zip(&mut times) {
        times.sort_unstable();
        println!("  {name:<28} {} ms, the whole program, median of {RUNS}", times[RUNS / 2]);
    }
    Ok(())
}

/// How squashfs compresses: OpenBMC's default first, then what it can be told to.
const COMPRESSIONS: [&str; 2] = [tree::OPENBMC, "zstd"];
/// Programs that change, one at a time.
const PROGRAMS: usize = 5;

/// Builds an image, changes a program, builds again, and compares.
fn chunks() -> Outcome {
    let folder = folder("bench-chunks")?;
    let root = folder.join("tree");
    let tree = Tree::copy(root.clone())?;
    let (old, new) = (folder.join("old"), folder.join("new"));
    let failed = |path: &Path| format!("cannot change {}", path.display());
    for compression in COMPRESSIONS {
        tree.image(compression, &old)?;
        for program in tree.programs(PROGRAMS)? {
            let before = fs::read(&program).map_err(|e| format!("{}: {e}", failed(&program)))?;
            let change =
                |bytes: &[u8]| fs::write(&program, bytes).map_err(|e| format!("{}: {e}", failed(&program)));
            change(&tree::next_version(&before))?;
            tree.image(compression, &new)?;
            change(&before)?;
            let name = program.strip_prefix(&root).unwrap_or(&program).display();
            println!("squashfs, {compression}, {name} of {} bytes changed:", before.len());
            rates(|command| command.arg("chunks").args([&old, &new]))?;
        }
    }
    Ok(())
}

/// What a trigger costs before a byte of the package is looked at.
fn walk() -> Outcome {
    let mut command = cargo(&["bench", "--quiet", "--package", "inband-volume", "--bench", "walk"]);
    print!("{}", program::output(command.args(["--", "8", "32", "128"]))?);
    Ok(())
}

/// An empty folder of this name in the target folder.
fn folder(name: &str) -> Outcome<PathBuf> {
    let folder = layout::target().join(name);
    let failed = |e: io::Error| format!("cannot make {}: {e}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed)?;
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

/// Runs the benchmark of the packages' library.
fn rates(args: impl FnOnce(&mut Command) -> &mut Command) -> Outcome {
    let mut command = cargo(&["bench", "--quiet", "--package", "inband-package", "--bench", "rates"]);
    args(command.arg("--"));
    print!("{}", program::output(&mut command)?);
    Ok(())
}
