//! What Linux and macOS have in common.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _};

/// Nobody but the owner may read the file that is made.
pub(crate) fn owner_only(options: &mut OpenOptions) {
    options.mode(0o600);
}
