//! The examples of docs/spec/ipmi.md, whose bytes real ipmitool gets from a running inbandd in the guest suite `ipmi`: here, that they are what this crate has
//! for them, and that the suite has them all.

use std::{collections::BTreeSet, fs, path::Path};

use inband_ipmi::{
    command::{Capabilities, Command, Piece, Started, Status, check_acknowledged},
    wire::{Code, ORGANISATION},
};

/// A row.
struct Example {
    name: String,
    typed: Vec<u8>,
    printed: Printed,
}

enum Printed {
    Reply(Vec<u8>),
    Refusal(Code),
}

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A byte; one with a name, or any, stands for itself in nothing but its place.
fn byte(word: &str) -> u8 {
    let is_name = word.starts_with(|c: char| ('g'..='z').contains(&c));
    if word == ".." || is_name { 1 } else { u8::from_str_radix(word, 16).expect(word) }
}

fn examples() -> Vec<Example> {
    let text = read("docs/spec/ipmi.md");
    let rows = text.lines().filter_map(|line| {
        let columns: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
        let [name, _, typed, printed, ""] = columns[..] else { return None };
        let typed = typed.strip_prefix("`0x")?.strip_suffix('`')?;
        let printed = printed.trim_matches('`');
        let bytes = |words: &str| words.split(' ').map(|word| byte(word.trim_start_matches("0x"))).collect();
        Some(Example {
            name: name.into(),
            typed: bytes(typed),
            printed: match printed.strip_prefix("rsp=0x") {
                Some(code) => Printed::Refusal(Code(byte(code))),
                None if printed.is_empty() => Printed::Reply(vec![]),
                None => Printed::Reply(bytes(printed)),
            },
        })
    });
    rows.collect()
}

/// Those of the door handle: what is behind network function, command and organisation.
fn of_the_handle() -> Vec<(Example, Vec<u8>)> {
    let start = [&[0x2e, 0x49][..], &ORGANISATION].concat();
    let ours = examples().into_iter().filter_map(|example| {
        let data = example.typed.strip_prefix(&start[..])?.to_vec();
        Some((example, data))
    });
    ours.collect()
}

#[test]
fn every_subcommand_and_each_refusal_of_a_running_bmc_has_one() {
    let (mut subcommands, mut codes) = (BTreeSet::new(), BTreeSet::new());
    for (example, data) in of_the_handle() {
        match example.printed {
            Printed::Reply(_) => _ = subcommands.insert(data[0]),
            Printed::Refusal(code) => _ = codes.insert(code.0),
        }
    }
    assert_eq!(subcommands, (0..=7).collect());
    // No memory, and another channel, are not to be had by a host on the system interface.
    let others = [Code::OK, Code::NO_RESOURCES, Code::PRIVILEGE];
    let refusals: BTreeSet<u8> =
        Code::ALL.into_iter().filter(|code| !others.contains(code)).map(|code| code.0).collect();
    assert_eq!(codes, refusals);
}

#[test]
fn what_is_typed_is_a_request_or_is_refused_as_none() {
    for (Example { name, printed, .. }, data) in of_the_handle() {
        match (Command::decode(&data), printed) {
            (Ok(command), _) => assert_eq!(command.encode()[ORGANISATION.len()..], data, "{name}"),
            (Err(code), Printed::Refusal(printed)) => assert_eq!(code, printed, "{name}"),
            (Err(code), Printed::Reply(_)) => panic!("{name}: {code:?}"),
        }
    }
}

#[test]
fn what_is_printed_is_a_reply_to_it() {
    for (Example { name, printed, .. }, data) in of_the_handle() {
        let Printed::Reply(reply) = printed else { continue };
        let command = Command::decode(&data).unwrap();
        assert!(reply.starts_with(&ORGANISATION) && reply.len() <= 63, "{name}");
        let tag = command.tag().unwrap_or_default();
        let is_good = match command {
            Command::Capabilities => Capabilities::decode(&reply).map(drop),
            Command::Start { .. } => Started::decode(&reply, tag).map(drop),
            Command::Status => Status::decode(&reply).map(drop),
            Command::Info { item, offset } => Piece::decode(&reply, item, offset).map(drop),
            Command::Stop { .. }
            | Command::Activate { .. }
            | Command::Confirm { .. }
            | Command::Abort { .. } => check_acknowledged(&reply, tag),
        };
        assert!(is_good.is_ok(), "{name}: {is_good:?}");
    }
}

#[test]
fn the_guest_types_each() {
    let suite = read("xtask/guest/ipmi.suite.sh");
    let words: BTreeSet<&str> = suite.split_whitespace().map(|word| word.trim_end_matches(';')).collect();
    let mut names = BTreeSet::new();
    for Example { name, .. } in examples() {
        assert!(words.contains(&name[..]), "{name} is not tried");
        assert!(names.insert(name.clone()), "two are {name}");
    }
    assert!(names.len() > 40, "{names:?}");
}
