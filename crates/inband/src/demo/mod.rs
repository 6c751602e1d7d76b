//! `inband demo`.

use crate::{cancel::Cancel, cli::args::Demo, error::Error, output::Output};

/// Runs the demo.
///
/// # Errors
/// [`Error::Demo`].
pub fn run(_: &Demo, _: &mut Output, _: &Cancel) -> Result<(), Error> {
    Err(Error::Demo { failed: 0, all: 0 })
}
