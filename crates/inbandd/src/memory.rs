//! How much memory the machine has left.

use std::{fs, io, path::Path, sync::Arc};

/// Where the kernel tells.
pub const MEMINFO: &str = "/proc/meminfo";

/// Tells how many bytes can be taken.
pub type Available = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// Bytes that can be taken without a machine that swaps or kills: MemAvailable (proc_meminfo(5)).
///
/// # Errors
/// The file cannot be read, or does not say.
pub fn available(meminfo: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(meminfo)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.and_then(|kib| kib.checked_mul(1024))
        .ok_or_else(|| io::Error::other(format!("{} has no MemAvailable", meminfo.display())))
}

/// The number, or 0 and an error in the log: what cannot be known is not there.
pub fn or_none(available: io::Result<u64>) -> u64 {
    available.unwrap_or_else(|error| {
        log::error!("how much memory is available cannot be known: {error}");
        0
    })
}

/// Gives the system what was freed. The allocator keeps memory that lies below anything still in use, and a disk has buffers that were made after what
/// a host wrote: without this a package that was taken, or refused, would go on counting as memory in use, and the next one would find none.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "malloc_trim(3) has no safe form")]
pub fn give_back() {
    // SAFETY: it takes a number, and may be called by any thread at any time (malloc_trim(3), "MT-Safe").
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn give_back() {}
