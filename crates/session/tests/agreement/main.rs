//! Ten thousand packages, right and wrong, read by us and by a reader in Python that was written from
//! docs/spec/package.md alone: the same verdict at the same byte, and the same contents.

// A test fails by panicking, in its helpers too.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod archive;
mod bases;
mod draft;
mod frames;
mod keys;
mod mutate;
mod ours;
mod peer;
mod public;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use inband_session::ResultCode;

use crate::bases::Bmc;
use crate::random::Random;

/// Packages to judge.
const PACKAGES: usize = 10_000;
/// Processes of the peer.
const PEERS: usize = 2;
/// How often each result has to be reached at least.
const OFTEN: usize = 40;

/// The package of this number: always the same.
fn package(number: usize) -> (Bmc, Vec<u8>) {
    let mut random = Random::new(number as u64);
    let random = &mut random;
    let frozen = random.once_in(12);
    let mut draft =
        if frozen { bases::frozen_draft(random.below(keys::FROZEN.len())) } else { bases::draft(random) };
    if !frozen && random.once_in(8) {
        // So many ways of a frame to be wrong have to be tried by themselves.
        let length = draft.members.len();
        draft.members[random.below(length)].chunks.push(frames::strange(random));
    }
    let mut bmc = Bmc::of(&draft, random);
    // One thing goes wrong, sometimes none, and sometimes more, so that the order of checks shows.
    let mut wrong = [0; 6];
    for _ in 0..*random.pick(&[0, 1, 1, 1, 1, 1, 1, 2, 2, 3]) {
        // What a frozen signature is of cannot be changed without breaking it.
        let first = if frozen { 3 } else { 0 };
        wrong[random.within(first, 5)] += if random.once_in(4) { 2 } else { 1 };
    }
    let [wrong_draft, wrong_index, wrong_head, wrong_signature, wrong_archive, wrong_bmc] = wrong;
    for _ in 0..wrong_draft {
        mutate::draft(&mut draft, random);
    }
    let mut index = draft.index();
    for _ in 0..wrong_index {
        mutate::index(&mut index, random);
    }
    let mut head = draft.head(&index);
    for _ in 0..wrong_head {
        mutate::head(&mut head, random);
    }
    let mut signatures = draft.signatures(&head);
    if wrong_signature > 0 {
        let entries: Vec<_> = draft.signers.iter().map(|signer| signer.entry()).collect();
        mutate::signatures(&mut signatures, &entries, random);
    }
    let archive = draft.archive(&head, &signatures, &index);
    bmc.expect(&archive.bytes, random);
    for _ in 0..wrong_bmc * 2 {
        mutate::bmc(&mut bmc, archive.bytes.len() as u64, random);
    }
    let bytes = if wrong_archive > 0 { archive::change(&archive, random) } else { archive.bytes };
    (bmc, bytes)
}

/// Pieces of any size, as a host may send them.
fn pieces(number: usize, mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut random = Random::new(!(number as u64));
    let most = *random.pick(&[64, 4096, 1 << 20]);
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(random.within(1, most).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

#[test]
fn ten_thousand_packages_are_judged_alike() {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let each = PACKAGES / PEERS;
    std::thread::scope(|scope| {
        let shards: Vec<_> =
            (0..PEERS).map(|shard| scope.spawn(move || compare(shard * each, each))).collect();
        for shard in shards {
            for reason in shard.join().unwrap() {
                *counts.entry(reason).or_default() += 1;
            }
        }
    });
    for ((name, why), count) in &counts {
        println!("{count:6} {name}: {why}");
    }
    for code in ResultCode::ALL.into_iter().filter(|code| matches!(code.code(), 16..=31 | 40 | 45)) {
        let of_code = counts.iter().filter(|((name, _), _)| name == code.name());
        let count: usize = of_code.map(|(_, count)| count).sum();
        assert!(count >= OFTEN, "{code} was reached {count} times only: the test proves little");
    }
    let accepted = counts[&("accepted".to_string(), String::new())];
    assert!(accepted >= PACKAGES / 10, "{accepted} packages were accepted");
}

/// Has these packages judged by both; the names of the results, and why.
fn compare(first: usize, count: usize) -> Vec<(String, String)> {
    let packages: Vec<_> = (first..first + count).map(package).collect();
    let answers = peer::judge(&[], &packages);
    let numbered = (first..).zip(packages.iter().zip(answers));
    let reasons = numbered.map(|(number, ((bmc, bytes), answer))| {
        let ours = ours::judge(bmc, pieces(number, bytes));
        if ours != answer.verdict {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
            fs::write(folder.join("disagreed.tar"), bytes).unwrap();
            fs::write(folder.join("disagreed.json"), peer::policy(bmc)).unwrap();
            panic!(
                "package {number} (disagreed.tar and .json in {}):\n  we say {ours:?}\n  the peer says {:?}: {}",
                folder.display(),
                answer.verdict,
                answer.why
            );
        }
        (ours.name, answer.why)
    });
    reasons.collect()
}

/// The package that the frozen signature of this number is of.
fn frozen_package(number: usize) -> (Bmc, Vec<u8>) {
    let draft = bases::frozen_draft(number);
    let index = draft.index();
    let head = draft.head(&index);
    let archive = draft.archive(&head, &draft.signatures(&head), &index);
    (Bmc::of(&draft, &mut Random::new(0)), archive.bytes)
}

#[test]
fn of_a_signature_one_form_is_accepted() {
    let packages: Vec<_> = (0..keys::FROZEN.len()).map(frozen_package).collect();
    for (number, ((bmc, bytes), answer)) in packages.iter().zip(peer::judge(&[], &packages)).enumerate() {
        let expected = if number < keys::GOOD { "accepted" } else { "bad-signature" };
        assert_eq!(ours::judge(bmc, [&bytes[..]]).name, expected, "ours, of {number}");
        assert_eq!(answer.verdict.name, expected, "the peer's, of {number}: {}", answer.why);
    }
}

#[test]
fn openssl_thinks_the_same_of_signatures() {
    // Few: each signature is another process. Of the frozen ones those that are not made for a laxer rule than ours.
    let some = (0..PACKAGES).map(package).take(150);
    let packages: Vec<_> = (0..keys::RSA).map(frozen_package).chain(some).collect();
    for ((bmc, bytes), answer) in packages.iter().zip(peer::judge(&["--openssl"], &packages)) {
        assert_eq!(ours::judge(bmc, [&bytes[..]]), answer.verdict, "{}", answer.why);
    }
}
