//! `cargo xtask record`: what hosts write onto the volume, recorded in the kernel guest by `xtask/guest/*.record.sh`, becomes
//! `crates/volume/tests/volume/fat/traces`.

use std::fs;
use std::process::Command;

use serde::Deserialize;

use crate::task::{self, Task};
use crate::{Outcome, layout, program, vm};

const TASKS: &[Task] = &[
    Task {
        name: "edk2",
        about: "the UEFI shell: copied, with APPLY.CMD; deleted, copied and renamed; copied over",
        run: || record("edk2"),
    },
    Task {
        name: "linux",
        about: "Linux: mounted, with flush, renamed, copied over, with APPLY.CMD, without a sync; mtools: copied, copied over, renamed",
        run: || record("linux"),
    },
];

/// Where traces are; what they are is in README.md there.
const TRACES: &str = "crates/volume/tests/volume/fat/traces";

/// `cargo xtask record [--list] [TASK]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    task::command(args, TASKS, |_, _| Ok(()))
}

/// What the guest tells of a disk.
#[derive(Deserialize)]
struct Told {
    /// The disk, and the name of the trace.
    trace: String,
    /// Who wrote.
    host: String,
    /// The commands.
    did: String,
}

fn record(name: &str) -> Outcome {
    let recorded = vm::record(name)?;
    for line in &recorded.told {
        let told: Told = serde_json::from_str(line)
            .map_err(|e| format!("the guest told what is no trace: {e}: {line}"))?;
        let mut trace = Command::new(recorded.program("trace")?);
        trace.arg("text").arg(recorded.log(&told.trace)).arg(&told.host).arg(&told.did);
        let file = layout::workspace().join(TRACES).join(&told.trace);
        fs::write(&file, program::output(&mut trace)?)
            .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        println!("  {TRACES}/{} is new", told.trace);
    }
    Ok(())
}
