//! The configurations that integrators start from are configurations.
#![allow(clippy::expect_used)] // A test fails by panicking.

use std::path::Path;

use inbandd::Config;

#[test]
fn the_examples_are_read() {
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib");
    for example in ["inbandd-virtual.toml", "openbmc/recipes-inband/inbandd/files/inbandd.toml"] {
        Config::load(&contrib.join(example)).expect(example);
    }
}
