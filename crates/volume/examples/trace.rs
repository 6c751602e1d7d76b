//! What `cargo xtask record` needs: a volume and packages to record with, and the text of what was recorded.
//!
//! * `trace image FILE`: the volume before anybody writes.
//! * `trace packages FOLDER`: the packages, as `fw1` and `fw2`.
//! * `trace text LOG LINE...`: prints the trace of a log of QEMU's `blklogwrites`, with these lines at its head.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use inband_volume::{
    scsi::BLOCK,
    sparse::Base as _,
    testing::{
        FatHost,
        trace::{MAX_SIZE, PACKAGES, Trace, package},
    },
};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["image", file] => image(Path::new(file)),
        ["packages", folder] => {
            for (number, (seed, length)) in PACKAGES.into_iter().enumerate() {
                fs::write(Path::new(folder).join(format!("fw{}", number + 1)), package(seed, length))?;
            }
            Ok(())
        }
        ["text", log, ..] => {
            print!("{}", Trace::from_log(&fs::read(log)?)?.to_text(&args[2..])?);
            Ok(())
        }
        _ => Err("image FILE, packages FOLDER, or text LOG LINE...".into()),
    }
}

/// A file with holes where there is nothing.
fn image(path: &Path) -> Outcome {
    let host = FatHost::new(MAX_SIZE).ok_or("no memory")?;
    let blocks = u64::from(host.geometry().blocks());
    let mut file = File::create(path)?;
    file.set_len(blocks * BLOCK as u64)?;
    let mut block = [0; BLOCK];
    for lba in 0..blocks {
        host.store.base().block(lba, &mut block);
        if block != [0; BLOCK] {
            file.seek(SeekFrom::Start(lba * BLOCK as u64))?;
            file.write_all(&block)?;
        }
    }
    Ok(())
}
