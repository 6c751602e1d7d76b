//! Whatever is done to a tar: what comes out are the signed images, byte for byte, or nothing.

use std::sync::OnceLock;

use inband_package::Refusal;
use inband_package::openbmc::Error;
use proptest::prelude::*;

use super::kit::{Members, Release};
use super::{FOUR, MACHINE, Outcome, four, images, raw, read};
use crate::common::{cases, stride};

fn small() -> &'static (Vec<u8>, Outcome) {
    static SMALL: OnceLock<(Vec<u8>, Outcome)> = OnceLock::new();
    SMALL.get_or_init(|| {
        let tar = Release::new(MACHINE, "1.0", &images(&["image-bmc"], 700, 1)).tar();
        let outcome = read(raw(&["image-bmc"]), &tar).unwrap();
        (tar, outcome)
    })
}

#[test]
fn every_byte_of_a_tar_matters() {
    let (tar, _) = small();
    for at in (0..tar.len()).step_by(stride()) {
        let mut changed = tar.clone();
        changed[at] ^= 1 << (at % 8);
        let refused = read(raw(&["image-bmc"]), &changed);
        assert!(matches!(refused, Err(Error::Refused(_))), "byte {at}: {refused:?}");
    }
}

#[test]
fn every_cut_of_a_tar_is_seen() {
    let (tar, outcome) = small();
    let content = tar.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = content.next_multiple_of(512) + 1024;
    // All that is near a block's end, and some of the rest.
    let near = |length: &usize| matches!(length % 512, 0 | 1 | 511) || length.is_multiple_of(31);
    for length in (0..tar.len()).filter(near) {
        let cut = read(raw(&["image-bmc"]), &tar[..length]);
        if length < end {
            let truncated = Refusal::Truncated { received: length as u64, total: None };
            assert_eq!(cut, Err(truncated.into()), "{length}");
        } else {
            // Zeros of the last record, which carry nothing.
            assert_eq!(cut.as_ref(), Ok(outcome), "{length}");
        }
    }
    for behind in [&[1; 16][..], &[0; 10_240], b"0123456789abcdef"] {
        let longer = read(raw(&["image-bmc"]), &[tar, behind].concat());
        let trailing = Refusal::TrailingBytes { offset: end as u64 };
        assert_eq!(longer, Err(trailing.into()));
    }
}

/// What is done to the members of a tar. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Change {
    Remove(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    SwapContents(usize, usize),
    Rename(usize, usize),
    FromOther(usize),
    FromOtherUnder(usize, usize),
    Flip(usize, usize, u8),
    Cut(usize, usize),
    Extend(usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let member = || 0..13_usize;
    prop_oneof![
        member().prop_map(Change::Remove),
        (member(), member()).prop_map(|(one, other)| Change::Repeat(one, other)),
        (member(), member()).prop_map(|(one, other)| Change::Swap(one, other)),
        (member(), member()).prop_map(|(one, other)| Change::SwapContents(one, other)),
        (member(), member()).prop_map(|(one, other)| Change::Rename(one, other)),
        member().prop_map(Change::FromOther),
        (member(), member()).prop_map(|(one, other)| Change::FromOtherUnder(one, other)),
        (member(), any::<usize>(), 1..=255_u8).prop_map(|(one, at, bits)| Change::Flip(one, at, bits)),
        (member(), any::<usize>()).prop_map(|(one, at)| Change::Cut(one, at)),
        (member(), any::<u8>()).prop_map(|(one, byte)| Change::Extend(one, byte)),
    ]
}

fn apply(tar: &mut Members, other: &Members, change: &Change) {
    let count = tar.0.len();
    if count == 0 {
        return;
    }
    match *change {
        Change::Remove(one) => _ = tar.0.remove(one % count),
        Change::Repeat(one, place) => {
            let member = tar.0[one % count].clone();
            tar.0.insert(place % count, member);
        }
        Change::Swap(one, two) => tar.0.swap(one % count, two % count),
        Change::SwapContents(one, two) => {
            let (one, two) = (one % count, two % count);
            let content = tar.0[one].1.clone();
            tar.0[one].1 = std::mem::replace(&mut tar.0[two].1, content);
        }
        Change::Rename(one, two) => tar.0[one % count].0 = other.0[two % other.0.len()].0.clone(),
        Change::FromOther(one) => {
            let name = tar.0[one % count].0.clone();
            tar.0[one % count].1 = other.content(&name).to_vec();
        }
        Change::FromOtherUnder(one, two) => {
            tar.0[one % count].1 = other.0[two % other.0.len()].1.clone();
        }
        Change::Flip(one, at, bits) => {
            let content = &mut tar.0[one % count].1;
            let length = content.len();
            if let Some(byte) = content.get_mut(at % length.max(1)) {
                *byte ^= bits;
            }
        }
        Change::Cut(one, at) => {
            let content = &mut tar.0[one % count].1;
            content.truncate(at % (content.len() + 1));
        }
        Change::Extend(one, byte) => tar.0[one % count].1.push(byte),
    }
}

fn releases() -> &'static [(Members, Outcome); 2] {
    static RELEASES: OnceLock<[(Members, Outcome); 2]> = OnceLock::new();
    RELEASES.get_or_init(|| {
        [("1.0", 1), ("2.0", 2)].map(|(version, seed)| {
            let tar = four(version, seed).tar();
            (Members::of(&tar), read(raw(&FOUR), &tar).unwrap())
        })
    })
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn what_comes_out_of_a_changed_tar_is_one_release_or_nothing(
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let [(old, old_outcome), (new, new_outcome)] = releases();
        let mut tar = new.clone();
        for change in &changes {
            apply(&mut tar, old, change);
        }
        match read(raw(&FOUR), &tar.bytes()) {
            Ok(outcome) => prop_assert!(outcome == *new_outcome || outcome == *old_outcome),
            Err(Error::Refused(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn what_comes_out_of_changed_bytes_is_the_release_or_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        cut in 1..5000_usize,
    ) {
        let (tar, outcome) = small();
        let mut changed = tar.clone();
        for (at, bits) in changes {
            changed[at.index(tar.len())] ^= bits;
        }
        match super::read_with(super::ring(), raw(&["image-bmc"]), changed.chunks(cut)) {
            Ok(found) => prop_assert!(found == *outcome && changed == *tar),
            Err(Error::Refused(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
