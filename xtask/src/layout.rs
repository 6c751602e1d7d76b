//! Where things are: the workspace and the target folder.

use std::env;
use std::path::{Path, PathBuf};

/// The top of the workspace.
pub(crate) fn workspace() -> &'static Path {
    // xtask lies directly under it.
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The folder cargo builds into.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) if !folder.is_empty() => workspace().join(folder),
        _ => workspace().join("target"),
    }
}
