//! What making and checking packages costs, beside SHA-256 alone: `cargo xtask bench` makes the files and runs this.
//!
//! * `pack IMAGE...`: packs each image, without and with compression.
//! * `verify PACKAGE KEY`: checks a package as `inband verify` does.
//! * `chunks OLD NEW`: how much of an image is in another, by chunks and by blocks of a fixed length.
//!
//! Rounds are interleaved: what else the machine does meets all contestants alike. Processor time counts besides the
//! clock's, for machines that are not alone.
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
const ROUNDS: usize = 5;
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
    /// Of all processors together.
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

/// Processor time of this process so far, all threads together.
#[cfg(unix)]
fn cpu_time() -> Outcome<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

#[cfg(not(unix))]
fn cpu_time() -> Outcome<Duration> {
    Err("processor time is known on Unix only".into())
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
    let packed = |path: &Path| -> Outcome<Vec<Piece>> {
        let packed = pack(&options(None)?, &[image(path)], &mut io::sink())?;
        let chunks = packed.index.members.iter().flat_map(|member| member.chunks_with_offsets());
        Ok(chunks
            .map(|(offset, chunk)| Piece { offset, length: chunk.length.into(), digest: chunk.digest })
            .collect())
    };
    let (old_chunks, new_chunks) = (packed(old)?, packed(new)?);
    let (old, new) = (fs::read(old)?, fs::read(new)?);
    // The superblock holds lengths and offsets: it differs always.
    let pairs = old.iter().zip(&new).skip(SUPERBLOCK);
    let change = SUPERBLOCK + pairs.take_while(|(old, new)| old == new).count();
    println!("  {} bytes, equal up to {:.0} %", new.len(), 100.0 * change as f64 / new.len() as f64);
    share("chunks", &old_chunks, &new_chunks, change);
    let mean = new.len() / new_chunks.len().max(1);
    // In whole KiB, as anybody would choose it.
    for length in [4096, mean.next_multiple_of(1024)] {
        let name = format!("blocks of {} KiB", length / 1024);
        share(&name, &blocks(&old, length), &blocks(&new, length), change);
    }
    Ok(())
}

/// Bytes of a squashfs image's superblock.
const SUPERBLOCK: usize = 96;

/// A piece of an image.
struct Piece {
    offset: u64,
    length: u64,
    digest: Digest,
}

fn blocks(image: &[u8], length: usize) -> Vec<Piece> {
    let blocks = image.chunks(length).zip((0..).step_by(length));
    blocks
        .map(|(block, offset)| Piece { offset, length: block.len() as u64, digest: sha256(block) })
        .collect()
}

/// Prints how many of the new pieces are among the old: of all, and of those that end behind the first change.
fn share(what: &str, old: &[Piece], new: &[Piece], change: usize) {
    let old: HashSet<Digest> = old.iter().map(|piece| piece.digest).collect();
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let shared = |pieces: &[&Piece]| {
        let shared: Vec<_> = pieces.iter().filter(|piece| old.contains(&piece.digest)).collect();
        (shared.len() as u64, shared.iter().map(|piece| piece.length).sum::<u64>())
    };
    let all: Vec<&Piece> = new.iter().collect();
    let behind: Vec<&Piece> =
        new.iter().filter(|piece| piece.offset.saturating_add(piece.length) > change as u64).collect();
    let (count, bytes) = shared(&all);
    let (count_behind, _) = shared(&behind);
    println!(
        "  {what:<17} {count:>5} of {:>5} shared, {:>5.1} %, by bytes {:>5.1} %; behind the change {:>5.1} %",
        all.len(),
        percent(count, all.len() as u64),
        percent(bytes, all.iter().map(|piece| piece.length).sum()),
        percent(count_behind, behind.len() as u64),
    );
}
