//! What the walk over a FAT volume takes, of a package as large as it may be, in the shapes that cost most: `cargo xtask bench walk` runs this with the
//! sizes, in MiB.
#![allow(missing_docs)] // This is a program.

use std::error::Error;
use std::time::{Duration, Instant};

use inband_volume::{
    fat::{Corrupt, Missing, Refused, open},
    testing::{FatHost, trace::package},
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Rounds of one measurement; the median counts.
const ROUNDS: usize = 5;

/// How the clusters of the package lie.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    InOrder,
    Backwards,
    /// The first page of the volume, that in its middle, the second.
    Alternating,
    /// Without any order.
    Scattered,
    /// In order, and the FATs differ at the last.
    Copies,
    /// Two clusters, one behind the other, for ever.
    Circle,
}

const SHAPES: [(Shape, &str); 6] = [
    (Shape::InOrder, "in order"),
    (Shape::Backwards, "backwards: no two clusters in order"),
    (Shape::Alternating, "another page of 16 KiB with each cluster"),
    (Shape::Scattered, "without any order"),
    (Shape::Copies, "in order, the FATs differ at the last cluster: refused"),
    (Shape::Circle, "a circle of two clusters: refused"),
];

fn main() -> Outcome {
    // Cargo adds --bench.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let sizes: Vec<u32> = args.iter().map(|mib| mib.parse()).collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        // `cargo test --all-targets` starts benchmarks too, and has nothing to measure.
        return Ok(());
    }
    let columns: Vec<String> = sizes.iter().map(|mib| format!("{mib} MiB, us")).collect();
    println!("| the clusters | {} |\n|---{}|", columns.join(" | "), "|---".repeat(sizes.len()));
    for (shape, what) in SHAPES {
        let mut line = format!("| {what} |");
        for mib in &sizes {
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                times.push(measure(shape, mib << 20)?);
            }
            times.sort_unstable();
            let us = |time: Duration| time.as_micros();
            line += &format!(" {} ({} to {}) |", us(times[ROUNDS / 2]), us(times[0]), us(times[ROUNDS - 1]));
        }
        println!("{line}");
    }
    Ok(())
}

/// The time of one walk.
fn measure(shape: Shape, size: u32) -> Outcome<Duration> {
    let mut host = FatHost::new(size).ok_or("no memory")?;
    let bytes = package(1, size as usize);
    let cluster_bytes = host.geometry().cluster_blocks() * 512;
    let clusters = clusters(shape, (size / cluster_bytes) as u16);
    if shape == Shape::Circle {
        host.fill(&clusters, &bytes[..2 * cluster_bytes as usize]);
        host.entry(20, b"FIRMWAREBIN", 0x20, clusters[0], size);
        host.link(clusters[0], clusters[1]);
        host.link(clusters[1], clusters[0]);
    } else {
        host.file(20, b"FIRMWAREBIN", &clusters, &bytes);
    }
    let last = clusters[clusters.len() - 1];
    if shape == Shape::Copies {
        host.link_in(1, last, 0xfff8);
    }
    drop(bytes);
    let start = Instant::now();
    let found = open(host.store.seal());
    // What it gives back is dropped by others.
    let time = start.elapsed();
    let found = found.map_err(|unopened| unopened.refused);
    let is_right = match (shape, found) {
        (Shape::Circle, Err(Refused::Corrupt(Corrupt::Endless))) => true,
        (Shape::Copies, Err(Refused::Incomplete(Missing::Copy { cluster }))) => cluster == last,
        (_, Ok(contents)) => contents.size() == size,
        _ => false,
    };
    if is_right { Ok(time) } else { Err("the walk found something else".into()) }
}

/// So many clusters, behind the texts of the image, from the beginning of a page on.
fn clusters(shape: Shape, count: u16) -> Vec<u16> {
    const FIRST: u16 = 18;
    let mut clusters: Vec<u16> = (FIRST..FIRST + count).collect();
    match shape {
        Shape::InOrder | Shape::Copies => {}
        Shape::Backwards => clusters.reverse(),
        Shape::Alternating => {
            // At least a page of 4 clusters apart.
            let half = count / 2;
            clusters = (0..half).flat_map(|n| [FIRST + n, FIRST + half + n]).collect();
        }
        Shape::Scattered => clusters.sort_by_key(|cluster| cluster.wrapping_mul(40_503).rotate_left(7)),
        Shape::Circle => clusters.truncate(2),
    }
    clusters
}
