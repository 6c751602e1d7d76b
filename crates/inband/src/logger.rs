//! `--verbose`: what the layers below log, on standard error.

use log::{LevelFilter, Log, Metadata, Record};

use crate::text::shown_line;

/// Writes lines to standard error.
struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Log lines quote devices and servers, which may say anything.
        eprintln!("{} {}: {}", record.level(), record.target(), shown_line(&record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Begins to show log lines; a second call changes nothing.
pub fn init() {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}
