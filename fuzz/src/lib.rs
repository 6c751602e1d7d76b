//! Fuzz targets as plain functions.
//!
//! A target takes any bytes and must not panic, hang, or take memory without bound. It checks what it can besides:
//! that what was written reads back the same, that two paths to one result agree.
//!
//! To add one: a file in this folder with `pub(crate) fn run(input: &[u8])`, its line in [`TARGETS`], and at least one
//! input in `fuzz/corpus/NAME/` (`cargo xtask fuzz NAME --keep` adds those that reach new code). `tests/replay.rs`
//! runs every committed input.

// A finding is a panic.
#![allow(clippy::expect_used, clippy::panic)]

mod bulk_device;
mod bulk_host;
mod connected;
mod dfu_ahead;
mod dfu_host;
mod dfu_sequence;
mod dfu_suffix;
mod first_block;
mod host_enumeration;
mod ipmi;
mod openbmc_manifest;
mod package_head;
mod package_index;
mod package_key;
mod package_openbmc;
mod package_stream;
mod package_tar;
mod status;
mod store;
mod store_have;
mod store_journal;
mod usbip_client;
mod usbip_server;
mod usbredir;
mod volume_bot;
mod volume_fat;

/// A target's name, which is also the name of its corpus folder, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("bulk_device", bulk_device::run),
    ("bulk_host", bulk_host::run),
    ("dfu_ahead", dfu_ahead::run),
    ("dfu_host", dfu_host::run),
    ("dfu_sequence", dfu_sequence::run),
    ("dfu_suffix", dfu_suffix::run),
    ("first_block", first_block::run),
    ("host_enumeration", host_enumeration::run),
    ("ipmi", ipmi::run),
    ("openbmc_manifest", openbmc_manifest::run),
    ("package_head", package_head::run),
    ("package_index", package_index::run),
    ("package_key", package_key::run),
    ("package_openbmc", package_openbmc::run),
    ("package_stream", package_stream::run),
    ("package_tar", package_tar::run),
    ("usbip_client", usbip_client::run),
    ("usbip_server", usbip_server::run),
    ("usbredir", usbredir::run),
    ("status_page", status::run),
    ("store_have", store_have::run),
    ("store_journal", store_journal::run),
    ("store_record", store::run),
    ("volume_bot", volume_bot::run),
    ("volume_fat", volume_fat::run),
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
