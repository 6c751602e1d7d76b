//! How large a program is, crate by crate, from its symbol table.

use std::collections::BTreeMap;

/// What is not in a Rust crate: the C library's start-up code, and arithmetic the processor lacks.
const NO_CRATE: &str = "(no crate)";
/// The parts of the standard library; a function of theirs that is made for one of our types counts for that type's crate.
const STD: [&str; 4] = ["alloc", "core", "compiler_builtins", "std"];

/// Bytes of code and data by crate, largest first. `symbols` is what nm(1) prints with `--print-size --demangle`.
pub(super) fn by_crate(symbols: &str) -> Vec<(&str, u64)> {
    let mut crates = BTreeMap::new();
    // Two names of one place are one place.
    let mut seen = BTreeMap::new();
    for line in symbols.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some(address), Some(size), Some(kind), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(size) = u64::from_str_radix(size, 16) else { continue };
        // Memory that is all zero at the start is not in the file.
        if matches!(kind, "b" | "B") || seen.insert(address, ()).is_some() {
            continue;
        }
        *crates.entry(crate_of(name)).or_default() += size;
    }
    let mut crates: Vec<_> = crates.into_iter().collect();
    crates.sort_unstable_by_key(|&(_, size)| std::cmp::Reverse(size));
    crates
}

/// The crate a symbol is there for: the first in its name that is not the standard library's, else `std`.
fn crate_of(symbol: &str) -> &str {
    let mut std = false;
    for path in symbol.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        // `a::b` where nothing is before the a; a path goes on with `::<` behind a generic type.
        let Some((root, _)) = path.split_once("::") else { continue };
        if root.is_empty() {
            continue;
        }
        if !STD.contains(&root) {
            return root;
        }
        std = true;
    }
    if std { "std" } else { NO_CRATE }
}

/// A number with commas between groups of three digits, as the documentation has it.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (693_992, "693,992"), (1 << 20, "1,048,576")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_symbol_belongs_to_the_first_crate_that_is_not_std() {
        for (symbol, crate_name) in [
            ("inband_dfu::device::Device::handle_setup", "inband_dfu"),
            ("<inband_usb::setup::Setup as core::fmt::Debug>::fmt", "inband_usb"),
            ("core::ptr::drop_in_place::<alloc::vec::Vec<toml::Value>>", "toml"),
            ("<alloc::vec::Vec<u8> as core::fmt::Debug>::fmt", "std"),
            ("<&mut [u8] as std::io::Write>::write", "std"),
            ("<std::io::Error>::new::<&str>", "std"),
            ("__aeabi_uldivmod", NO_CRATE),
            ("main", NO_CRATE),
        ] {
            assert_eq!(crate_of(symbol), crate_name, "{symbol}");
        }
    }

    #[test]
    fn sizes_are_added_up_and_a_place_counts_once() {
        let symbols = "\
00010000 00000010 t inband_usb::a
00010010 00000020 T core::fmt::write
00010010 00000020 T core::fmt::write_too
00020000 00001000 b inband_usb::BUFFER
00010030 00000008 r <inband_usb::b as core::fmt::Debug>::fmt
         w __gmon_start__
";
        assert_eq!(by_crate(symbols), [("std", 0x20), ("inband_usb", 0x18)]);
    }
}
