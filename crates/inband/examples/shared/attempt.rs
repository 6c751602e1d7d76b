//! A scenario of a tester, which fails by panicking.

use std::panic::{self, AssertUnwindSafe};

/// Runs it.
///
/// # Errors
/// It has panicked: what it said, in one line.
pub(crate) fn attempt(scenario: impl FnOnce()) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(scenario)).map_err(|reason| {
        let text = reason.downcast_ref::<String>().map(String::as_str);
        text.or(reason.downcast_ref::<&str>().copied()).unwrap_or("a panic").replace('\n', " ")
    })
}
