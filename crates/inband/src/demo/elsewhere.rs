//! `inband demo` where the daemon does not build.

use crate::{cancel::Cancel, cli::args::Demo, error::Error, output::Output};

/// The virtual BMC of the demo is inbandd, which needs Linux (sealed memory).
///
/// # Errors
/// [`Error::Usage`], always.
pub fn run(_: &Demo, _: &mut Output, _: &Cancel) -> Result<(), Error> {
    Err(Error::Usage("demo works on Linux only: the virtual BMC in it needs it".to_owned()))
}
