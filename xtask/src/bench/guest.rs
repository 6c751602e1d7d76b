//! Measurements in the kernel guest: what one told, and the picture of it.

use std::fs;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::vm::{self, Measure};
use crate::{Outcome, layout};

/// Runs `xtask/guest/NAME.bench.sh`, which finds these files in /guest/NAME; what it measured.
pub(super) fn measure<T: DeserializeOwned>(name: &str, how: Measure, files: &[PathBuf]) -> Outcome<Vec<T>> {
    vm::measure(name, how, files)?.iter().map(|line| parse(line)).collect()
}

/// What one of its lines tells.
pub(super) fn parse<T: DeserializeOwned>(line: &str) -> Outcome<T> {
    serde_json::from_str(line).map_err(|e| format!("the guest measured what is none: {e}: {line}"))
}

/// Replaces a picture of the documentation.
pub(super) fn draw(picture: &str, svg: &str) -> Outcome {
    let file = layout::workspace().join(picture);
    fs::write(&file, svg).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    println!("{picture} is new");
    Ok(())
}
