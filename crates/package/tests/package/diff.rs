//! What an update from one package to another costs.

use inband_package::index::MemberKind;
use inband_package::maker::{Change, Cost, Diff, Input, PackOptions, diff, inspect};
use inband_package::{Head, Index};
use proptest::prelude::*;

use crate::common::{cases, image, noise, options, package_of};

/// Head and index of a package with these members.
fn packed(options: &PackOptions, inputs: &[Input]) -> (Head, Index) {
    let package = package_of(options, inputs);
    let found = inspect(&mut package.as_slice()).unwrap();
    assert_eq!(found.fault, None);
    (found.head, found.index.unwrap())
}

fn compare(old: &[Input], new: &[Input]) -> Diff {
    let (head, index) = packed(&options(), new);
    diff(&packed(&options(), old).1, &head, &index)
}

fn metadata(name: &str, bytes: &[u8]) -> Input {
    Input { kind: MemberKind::Metadata, ..image(name, bytes.to_vec()) }
}

#[test]
fn the_same_package_costs_no_chunk() {
    let inputs = [image("a", noise(500_000, 1)), image("b", noise(90_000, 2)), image("empty", Vec::new())];
    let same = compare(&inputs, &inputs);
    let total = same.total();
    assert_eq!((total.length, total.shared, total.new_bytes()), (590_000, 590_000, 0));
    assert_eq!((total.sent, total.flash), (0, 0));
    assert_eq!(total.chunks, total.shared_chunks);
    assert!(same.members.iter().all(|member| member.change == Change::Same));
    let (head, _) = packed(&options(), &inputs);
    assert_eq!(same.offer, 512 + 64 + u64::from(head.index_length));
    assert_eq!(same.needed(), same.offer);
    assert_eq!(same.whole, head.total_length);
}

#[test]
fn a_chunk_is_shared_wherever_it_was_and_changes_flash_where_it_was_not() {
    let (one, other) = (noise(300_000, 1), noise(300_000, 2));
    // Two images change places: nothing to send, everything to write.
    let old = [image("a", one.clone()), image("b", other.clone())];
    let swapped = compare(&old, &[image("a", other.clone()), image("b", one.clone())]).total();
    assert_eq!((swapped.new_bytes(), swapped.sent, swapped.flash), (0, 0, 600_000));
    // Something in front of one: what follows is shared, and moves.
    let shifted = [&b"new"[..], &one].concat();
    let longer = compare(&old[..1], &[image("a", shifted)]).total();
    assert!(longer.new_bytes() <= 128 * 1024 && longer.sent == longer.new_bytes(), "{longer:?}");
    assert_eq!(longer.flash, 300_003);
    // The last byte: only the last chunk is new, and only there flash changes.
    let mut end = one.clone();
    *end.last_mut().unwrap() ^= 1;
    let changed = compare(&old[..1], &[image("a", end)]);
    let total = changed.total();
    assert_eq!((total.chunks - total.shared_chunks, total.flash), (1, total.new_bytes()));
    assert_eq!(changed.members[0].change, Change::Changed);
}

#[test]
fn what_the_new_package_holds_twice_is_sent_once() {
    let twice = compare(
        &[image("old", noise(1000, 9))],
        &[image("a", noise(200_000, 1)), image("b", noise(200_000, 1))],
    );
    let total = twice.total();
    assert_eq!((total.new_bytes(), total.sent, total.flash), (400_000, 200_000, 400_000));
    assert_eq!(twice.members[0].change, Change::Added);
    assert_eq!(twice.gone, ["old"]);
}

#[test]
fn metadata_is_sent_each_time_and_never_written() {
    let old = [metadata("MANIFEST", b"one"), metadata("note", b"x"), image("a", noise(1000, 1))];
    let new = [metadata("MANIFEST", b"two"), metadata("note", b"x"), image("a", noise(1000, 1))];
    let found = compare(&old, &new);
    let changes: Vec<_> = found.members.iter().map(|member| member.change).collect();
    assert_eq!(changes, [Change::Changed, Change::Same, Change::Same]);
    let expected = Cost { chunks: 1, length: 3, sent: 3, ..Cost::default() };
    assert_eq!(found.members[0].cost, expected);
    // What was metadata is not in flash, so an image of the same bytes is new; and it is another member.
    let image_now = compare(&old, &[image("MANIFEST", b"one".to_vec()), image("a", noise(1000, 1))]);
    assert_eq!(image_now.members[0].change, Change::Added);
    assert_eq!(image_now.members[0].cost.sent, 3);
    assert_eq!(image_now.gone, ["MANIFEST", "note"]);
}

#[test]
fn compression_changes_what_is_sent_and_nothing_else() {
    let inputs = [image("a", vec![7; 300_000])];
    let compressed = PackOptions { compression: Some(3), ..options() };
    let (head, index) = packed(&compressed, &inputs);
    let (_, plain) = packed(&options(), &inputs);
    let same = diff(&plain, &head, &index);
    assert_eq!((same.total().sent, same.total().flash), (0, 0));
    let (_, other) = packed(&options(), &[image("a", noise(1000, 1))]);
    let total = diff(&other, &head, &index).total();
    assert_eq!(total.new_bytes(), 300_000);
    assert!(0 < total.sent && total.sent < 1000, "{total:?}");
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn the_numbers_add_up(
        old in proptest::collection::vec((0_usize..200_000, 0_u64..3), 1..4),
        new in proptest::collection::vec((0_usize..200_000, 0_u64..3), 1..4),
    ) {
        let inputs = |images: &[(usize, u64)]| -> Vec<_> {
            images.iter().enumerate().map(|(n, (length, seed))| image(&format!("m{n}"), noise(*length, *seed))).collect()
        };
        let found = compare(&inputs(&old), &inputs(&new));
        let length: usize = new.iter().map(|(length, _)| length).sum();
        let total = found.total();
        prop_assert_eq!(total.length, length as u64);
        prop_assert_eq!(total.shared + total.new_bytes(), total.length);
        prop_assert!(total.sent <= total.new_bytes() && total.new_bytes() <= total.flash && total.flash <= total.length);
        prop_assert!(total.shared_chunks <= total.chunks);
        prop_assert!(found.needed() <= found.whole);
    }
}
