//! What making and checking packages costs, beside SHA-256 alone: `cargo xtask bench` makes the files and runs this.
//!
//! * `pack IMAGE...`: packs each image, without and with compression.
//! * `verify PACKAGE KEY`: checks a package as `inband verify` does.
//! * `chunks OLD NEW`: how much of an image is in another, by chunks and by blocks of a fixed length.
//!
//! Rounds are interleaved: what else the machine does meets all contestants alike. Processor time is this thread's,
//! from Linux.
#![allow(missing_docs)] // This is a program.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use inband_package::digest::{Digest, sha256};
use inband_package::index::MemberKind;
use inband_package::maker::{Input, PackOptions, PrivateKey, Source, inspect, pack, verify};
use inband_package::{KeyRing, Policy, PublicKey};
use sha2::{Digest as _, Sha256};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Rounds of one measurement; the median counts.
const ROUNDS: usize = 9;
/// Level of compression: that of `inband pack --compress`.
const LEVEL: i32 = 9;
/// Bytes read at a time where SHA-256 alone is measured: as verification reads.
const PIECE: usize = 1024 * 1024;

fn main() -> Outcome {
    // Cargo adds --bench.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        // `cargo test --all-targets` starts benchmarks too, and has nothing to measure.
        [] => Ok(()),
        ["pack", ref images @ ..] => images.iter().try_for_each(|image| bench_pack(Path::new(image))),
        ["verify", package, key] => bench_verify(Path::new(package), Path::new(key)),
        ["chunks", old, new] => bench_chunks(Path::new(old), Path::new(new)),
        _ => Err("pack IMAGE..., verify PACKAGE KEY, or chunks OLD NEW".into()),
    }
}

/// What a piece of work took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    /// Of the processor.
    cpu: Duration,
}

/// Runs each of the contestants once a round, and gives what each took in each round.
fn rounds<const N: usize>(mut contestants: [&mut dyn FnMut() -> Outcome; N]) -> Outcome<[Vec<Took>; N]> {
    let mut took = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (work, took) in contestants.iter_mut().zip(&mut took) {
            let (wall, cpu) = (Instant::now(), cpu_time()?);
            work()?;
            took.push(Took { wall: wall.elapsed(), cpu: cpu_time()? - cpu });
        }
    }
    Ok(took)
}

/// Time that this thread has had a processor.
fn cpu_time() -> Outcome<Duration> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = schedstat.split(' ').next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line: the rate, and how it stands to a peer's in the same rounds, if there is one.
fn show(name: &str, bytes: u64, took: &[Took], peer: Option<&[Took]>) {
    let rate = |time: fn(&Took) -> Duration| {
        median(took.iter().map(|took| bytes as f64 / 1e6 / time(took).as_secs_f64()))
    };
    let seconds = |time: fn(&Took) -> Duration| median(took.iter().map(|took| time(took).as_secs_f64()));
    let ratio = |peer: &[Took], time: fn(&Took) -> Duration| {
        let pairs = took.iter().zip(peer);
        100.0 * median(pairs.map(|(took, peer)| time(peer).as_secs_f64() / time(took).as_secs_f64()))
    };
    print!(
        "  {name:<28} {:>7.3} s, {:>5.0} MB/s; processor {:>7.3} s, {:>5.0} MB/s",
        seconds(|took| took.wall),
        rate(|took| took.wall),
        seconds(|took| took.cpu),
        rate(|took| took.cpu),
    );
    match peer {
        Some(peer) => println!(
            "; {:.0} % of SHA-256's rate, by processor time {:.0} %",
            ratio(peer, |took| took.wall),
            ratio(peer, |took| took.cpu)
        ),
        None => println!(),
    }
}

/// What helps SHA-256 on this machine.
fn hardware() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    let there = std::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    let there = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let there = false;
    if there { "SHA-256 by processor instructions" } else { "SHA-256 without processor instructions" }
}

fn heading(what: &str, path: &Path) -> Outcome<u64> {
    let bytes = fs::metadata(path)?.len();
    println!(
        "{what}, {}: {:.1} MiB, {}, {}, median of {ROUNDS} rounds",
        path.file_name().unwrap_or_default().display(),
        bytes as f64 / f64::from(1 << 20),
        std::env::consts::ARCH,
        hardware()
    );
    Ok(bytes)
}

/// SHA-256 of a file, as sha256sum(1) does it.
fn hash_file(path: &Path) -> Outcome {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    let mut hash = Sha256::new();
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    std::hint::black_box(hash.finalize());
    Ok(())
}

fn options(compression: Option<i32>) -> Outcome<PackOptions> {
    Ok(PackOptions {
        machine: "bench".into(),
        compatible: vec![],
        version: "1".into(),
        security_version: 0,
        bcd_device: 0,
        targets: vec!["bmc".into()],
        mtime: 0,
        compression,
        signers: vec![PrivateKey::from_seed(&[7; 32]).public()?.signature_entry()],
    })
}

fn image(path: &Path) -> Input {
    let source = Source::File(path.into());
    Input { name: "image-bmc".into(), kind: MemberKind::Image, target: 0, source }
}

fn bench_pack(path: &Path) -> Outcome {
    let bytes = heading("pack", path)?;
    let package = path.with_extension("tar");
    let packed = |compression| -> Outcome {
        let mut file = BufWriter::new(File::create(&package)?);
        pack(&options(compression)?, &[image(path)], &mut file)?;
        Ok(())
    };
    let took = rounds([&mut || hash_file(path), &mut || packed(None), &mut || packed(Some(LEVEL))])?;
    let [hash, plain, compressed] = &took;
    show("SHA-256 of the image", bytes, hash, None);
    show("pack", bytes, plain, Some(hash));
    show("pack, compressed", bytes, compressed, Some(hash));
    println!("  compression leaves {:.1} %", 100.0 * fs::metadata(&package)?.len() as f64 / bytes as f64);
    fs::remove_file(package)?;
    Ok(())
}

fn bench_verify(path: &Path, key: &Path) -> Outcome {
    let bytes = heading("verify", path)?;
    let key = PublicKey::from_pem(&fs::read_to_string(key)?)?;
    let keys = KeyRing::new(vec![key.kind()], vec![key])?;
    let machine = inspect(&mut File::open(path)?)?.head.machine;
    let memory = fs::read(path)?;
    let took = rounds([
        &mut || {
            std::hint::black_box(sha256(&memory));
            Ok(())
        },
        &mut || hash_file(path),
        &mut || {
            verify(&mut File::open(path)?, &keys, Policy::for_machine(machine.clone()))?;
            Ok(())
        },
    ])?;
    let [in_memory, hash, verified] = &took;
    show("SHA-256 in memory", bytes, in_memory, None);
    show("SHA-256 of the file", bytes, hash, None);
    show("verify", bytes, verified, Some(hash));
    Ok(())
}

fn bench_chunks(old: &Path, new: &Path) -> Outcome {
    let chunks = |path: &Path| -> Outcome<Vec<(Digest, usize)>> {
        let packed = pack(&options(None)?, &[image(path)], &mut io::sink())?;
        let chunks = packed.index.members.iter().flat_map(|member| &member.chunks);
        Ok(chunks.map(|chunk| (chunk.digest, chunk.length as usize)).collect())
    };
    let found = chunks(new)?;
    let mean = fs::metadata(new)?.len() as usize / found.len().max(1);
    share("chunks", &chunks(old)?, &found, mean);
    let (old, new) = (fs::read(old)?, fs::read(new)?);
    // In whole KiB, as anybody would choose it.
    for length in [4096, mean.next_multiple_of(1024)] {
        let blocks =
            |image: &[u8]| image.chunks(length).map(|block| (sha256(block), block.len())).collect::<Vec<_>>();
        share("fixed blocks", &blocks(&old), &blocks(&new), length);
    }
    Ok(())
}

/// Prints how many of the new pieces are among the old.
fn share(what: &str, old: &[(Digest, usize)], new: &[(Digest, usize)], mean: usize) {
    let old: HashSet<Digest> = old.iter().map(|(digest, _)| *digest).collect();
    let shared = new.iter().filter(|(digest, _)| old.contains(digest));
    let (count, bytes) = shared.fold((0, 0), |(count, bytes), (_, length)| (count + 1, bytes + length));
    let total: usize = new.iter().map(|(_, length)| length).sum();
    println!(
        "  {what:<13} of {mean:>6} bytes in the mean: {count:>5} of {:>5} shared, {:>5.1} %; by bytes {:>5.1} %",
        new.len(),
        100.0 * f64::from(count) / new.len() as f64,
        100.0 * bytes as f64 / total as f64
    );
}
