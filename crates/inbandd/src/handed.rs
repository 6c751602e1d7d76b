//! Files that a service manager keeps for the daemon from one process to the next, as sd_listen_fds(3) has them.

use std::{
    env,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use rustix::io::{FdFlags, fcntl_setfd};

/// The number of the first file that is handed over.
const FIRST: RawFd = 3;
/// Files that are taken at most.
const MOST: usize = 256;

/// A file and the name it was kept under.
pub type Named = (String, OwnedFd);

/// The files that this process was handed. To be called once, before any file is opened.
#[must_use]
pub fn files() -> Vec<Named> {
    let text = |name| env::var(name).unwrap_or_default();
    names(&text("LISTEN_PID"), &text("LISTEN_FDS"), &text("LISTEN_FDNAMES"), &std::process::id().to_string())
        .into_iter()
        .zip(FIRST..)
        .filter_map(|(name, number)| Some((name, take(number)?)))
        .collect()
}

/// The names of the files, by what the environment says; none for another process than `own`.
fn names(of: &str, count: &str, names: &str, own: &str) -> Vec<String> {
    let count = count.parse().ok().filter(|&count: &usize| of == own && count <= MOST).unwrap_or(0);
    let mut names = names.split(':').map(str::to_owned);
    (0..count).map(|_| names.next().unwrap_or_default()).collect()
}

/// Takes an open file by its number.
#[expect(unsafe_code, reason = "a file that was handed over is known by its number alone")]
fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the service manager opened this number for this process and for nobody else in it: LISTEN_PID names us. Nothing
    // was opened before, and the numbers are taken once.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    // A program that the daemon starts must not hold it: the device stays on the bus as long as somebody does.
    match fcntl_setfd(&file, FdFlags::CLOEXEC) {
        Ok(()) => Some(file),
        Err(error) => {
            log::warn!("file {number}, which was handed over, cannot be used: {error}");
            std::mem::forget(file);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_environment() {
        assert_eq!(names("7", "2", "inband-0.ep0:inband-0.set", "7"), ["inband-0.ep0", "inband-0.set"]);
        assert_eq!(names("7", "3", "one", "7"), ["one", "", ""]);
        assert_eq!(names("7", "1", "one:two", "7"), ["one"]);
    }

    #[test]
    fn what_is_for_another_process_or_no_number_is_nothing() {
        for (of, count) in
            [("8", "1"), ("", "1"), ("7", ""), ("7", "-1"), ("7", "257"), ("7", "99999999999999999999")]
        {
            assert_eq!(names(of, count, "one", "7"), Vec::<String>::new(), "{of} {count}");
        }
    }
}
