//! Plain DFU in the kernel guest.

use crate::{Outcome, vm};

pub(super) fn run() -> Outcome {
    for line in vm::measure("dfu")? {
        println!("{line}");
    }
    Ok(())
}
