//! The reader in Python: tests/peers/package_reader.py.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use inband_package::Rule;
use inband_package::digest::Hex;
use inband_store::RegionPolicy;
use serde_json::{Value, json};

use crate::bases::Bmc;
use crate::ours::Verdict;

/// A verdict of the peer, and why.
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) why: String,
}

/// Has the peer judge all of these packages, in one process.
pub(crate) fn judge(options: &[&str], packages: &[(Bmc, Vec<u8>)]) -> Vec<Answer> {
    let message = |(bmc, package): &(Bmc, Vec<u8>)| {
        let policy = policy(bmc);
        let lengths = [policy.len() as u32, package.len() as u32];
        [&lengths.map(u32::to_le_bytes).concat(), policy.as_bytes(), package].concat()
    };
    ask(&[&["--batch"], options].concat(), packages.iter().map(message)).iter().map(answer).collect()
}

/// Kinds and ids of these keys, of those that the peer can use.
pub(crate) fn judge_keys(keys: &[String]) -> Vec<Option<(String, String)>> {
    let message = |key: &String| [&(key.len() as u32).to_le_bytes(), key.as_bytes()].concat();
    let answers = ask(&["--keys"], keys.iter().map(message));
    let key = |answer: &Value| Some((answer["kind"].as_str()?.into(), answer["id"].as_str()?.into()));
    answers.iter().map(key).collect()
}

/// One line of JSON for each message.
fn ask(arguments: &[&str], messages: impl ExactSizeIterator<Item = Vec<u8>> + Send) -> Vec<Value> {
    let mut peer = start(arguments);
    let mut input = peer.stdin.take().unwrap();
    let output = BufReader::new(peer.stdout.take().unwrap());
    let expected = messages.len();
    let answers: Vec<_> = std::thread::scope(|scope| {
        // If it has ended early, its own complaint is on standard error.
        scope.spawn(move || messages.into_iter().try_for_each(|message| input.write_all(&message)));
        output.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    });
    assert!(peer.wait().unwrap().success(), "the reader in Python has failed");
    assert_eq!(answers.len(), expected);
    answers
}

fn start(arguments: &[&str]) -> Child {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/package_reader.py");
    let mut command = Command::new("python3");
    // No traces of it in the tree.
    command.arg("-B").arg(program).args(arguments);
    match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => panic!("python3 does not start: {error}; `cargo xtask packages` installs it"),
    }
}

/// The policy as the peer reads it.
pub(crate) fn policy(bmc: &Bmc) -> String {
    let key = |(key, only): &(inband_package::PublicKey, Option<inband_package::Scheme>)| match only {
        Some(scheme) => json!({ "pem": key.to_pem().unwrap(), "schemes": [scheme.name()] }),
        None => json!({ "pem": key.to_pem().unwrap() }),
    };
    let regions = bmc.regions.iter().map(|region| {
        json!({
            "target": region.target,
            "name": region.member,
            "length": region.length,
            "policy": match region.policy {
                RegionPolicy::Replace => "replace",
                RegionPolicy::Preserve => "preserve",
                RegionPolicy::Refuse => "refuse",
            },
        })
    });
    json!({
        "machine": bmc.machine,
        "compatible": bmc.compatible,
        "max_length": bmc.max_length,
        "floor": bmc.floor,
        "running": {
            "version": bmc.running.version,
            "security_version": bmc.running.security_version,
            "bcd_device": bmc.running.bcd_device,
        },
        "refuse_same": bmc.same_version == Rule::Refuse,
        "refuse_downgrade": bmc.downgrade == Rule::Refuse,
        "expected": {
            "not_older": bmc.expected.not_older,
            "length": bmc.expected.length,
            "head": bmc.expected.head.map(|head| Hex(&head).to_string()),
        },
        "required": bmc.required.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        "keys": bmc.keys.iter().map(key).collect::<Vec<_>>(),
        "revoked": bmc.revoked.iter().map(|id| Hex(id).to_string()).collect::<Vec<_>>(),
        "regions": regions.collect::<Vec<_>>(),
    })
    .to_string()
}

fn answer(value: &Value) -> Answer {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let member = |member: &Value| (text(&member["name"]), text(&member["sha256"]));
    let members = value["members"].as_array().map(|members| members.iter().map(member).collect());
    let verdict = Verdict {
        name: text(&value["verdict"]),
        at: value["at"].as_u64().unwrap(),
        members: members.unwrap_or_default(),
    };
    Answer { verdict, why: text(&value["why"]) }
}
