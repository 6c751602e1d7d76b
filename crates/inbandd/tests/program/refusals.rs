//! What `inbandd` does not start with, and says so.

use std::{
    fs,
    net::TcpListener,
    process::{Output, Stdio},
};

use inband_package::{Hex, maker::PrivateKey};

use crate::{
    home::{Home, Running, contents, errors, good_config},
    package::key,
};

/// Asserts that the run ends with this code and one line that has these words in it, none of them twice.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let errors = errors(output);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for word in words {
        assert_eq!(errors.matches(word).count(), 1, "\"{word}\" is to be there once: {errors}");
    }
    let temporary = std::env::temp_dir();
    assert!(errors.matches(temporary.to_str().unwrap()).count() <= 1, "a path is told twice: {errors}");
}

/// Asserts that a run and a check are both refused, in the same words.
#[track_caller]
fn assert_both_refused(home: &Home, code: i32, words: &[&str]) {
    let run = home.inbandd(&[]).output().unwrap();
    assert_refused(&run, code, words);
    let before = contents(&home.path(""));
    let check = home.inbandd(&["check"]).output().unwrap();
    assert_refused(&check, code, words);
    assert!(contents(&home.path("")) == before, "a check changes nothing");
    let bare = |output| errors(output).replace("<3>", "inbandd: error: ");
    assert_eq!(bare(&run), bare(&check));
}

#[test]
fn a_configuration_that_is_missing() {
    let home = Home::new();
    fs::remove_file(home.path("inbandd.toml")).unwrap();
    let path = home.path("inbandd.toml");
    let words = [path.to_str().unwrap(), "cannot read the configuration", "No such file", "--config FILE"];
    assert_both_refused(&home, 3, &words);
}

#[test]
fn a_configuration_that_is_a_directory() {
    let home = Home::new();
    fs::remove_file(home.path("inbandd.toml")).unwrap();
    fs::create_dir(home.path("inbandd.toml")).unwrap();
    assert_both_refused(&home, 3, &["cannot read the configuration", "directory"]);
}

#[test]
fn a_configuration_with_a_mistake_in_it() {
    let good = good_config();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let long = format!("machine = \"{}\"", "x".repeat(49));
    let cases: Vec<(String, &[&str])> = vec![
        // No TOML, unknown keys, wrong types, missing keys. The parser says where.
        (replaced("machine =", "machine"), &["not valid", "line 1"]),
        (format!("colour = 1\n{good}"), &["unknown field `colour`", "line 1"]),
        (format!("{good}\n[door]\n"), &["unknown field `door`"]),
        (
            format!("{good}\n[doors.dfu]\npolicy = \"alwys\"\n"),
            &["line 23", "\"alwys\"", "\"always\"", "\"armed\"", "\"off\""],
        ),
        (format!("{good}\n[doors.dfu]\npolcy = \"off\"\n"), &["unknown field `polcy`"]),
        (format!("{good}\n[doors.ipmi]\n"), &["unknown field `ipmi`"]),
        (format!("{good}\n[doors]\npower_on = \"qemu\"\n"), &["doors.power_on", "ipmi.channel"]),
        (format!("{good}\n[doors]\narm_by = [\"reset\"]\n"), &["`reset`", "`power-on`"]),
        (
            format!("{good}\n[doors.volume]\npolicy = \"always\"\n"),
            &["doors.volume.policy = \"always\"", "identity.volume_product_id"],
        ),
        (
            format!(
                "{}\n[doors.volume]\npolicy = \"armed\"\n",
                replaced("product_id = 1", "product_id = 1\nvolume_product_id = 3")
                    .replace("[store]", "[store]\nmax_package = 1073741824")
            ),
            &["store.max_package", "doors.volume.profile", "\"raw\""],
        ),
        (
            replaced("product_id = 1", "product_id = 1\nvolume_product_id = 2"),
            &["identity.volume_product_id has to differ"],
        ),
        (format!("{good}\n[doors.dfu]\nconformance = \"lax\"\n"), &["`lax`", "`lenient`"]),
        (
            format!("{good}\n[doors]\ndfu.policy = \"off\"\nbulk.policy = \"armed\"\n"),
            &["doors.bulk.policy = \"armed\"", "doors.dfu.policy"],
        ),
        (
            format!("{good}\n[doors]\ndfu.conformance = \"strict\"\nbulk.policy = \"always\"\n"),
            &["doors.bulk.policy = \"always\"", "doors.dfu.conformance"],
        ),
        (format!("{good}\n[activation]\nwhen = \"now\"\n"), &["`now`", "`immediate`"]),
        (format!("{good}\n[limits]\nsessions = 1\n"), &["unknown field `sessions`", "`sessions_per_day`"]),
        (format!("{good}\n[limits]\nrefusals = -1\n"), &["expected u32"]),
        (replaced("serial = \"PROGRAM-1\"", ""), &["missing field `serial`"]),
        (replaced("serial =", "serail ="), &["unknown field `serail`"]),
        (replaced("product_id = 1", "product_id = \"1\""), &["expected u16"]),
        (replaced("product_id = 1", "product_id = 65536"), &["expected u16"]),
        (replaced("slot_size = 262144", "slot_size = -1"), &["expected u64"]),
        (replaced("keys = \"keys\"", "keys = \"keys\"\nrequired = [\"md5\"]"), &["`md5`", "`ed25519`"]),
        // Values.
        (replaced("usbip:127.0.0.1:0", "usbip:0.0.0.0:3240"), &["0.0.0.0:3240", "loopback"]),
        (replaced("usbip:127.0.0.1:0", "usbip:192.0.2.1:3240"), &["192.0.2.1:3240", "loopback"]),
        (replaced("usbip:127.0.0.1:0", "usbip:[::]:3240"), &["[::]:3240", "loopback"]),
        (replaced("usbip:127.0.0.1:0", "usbip:localhost"), &["\"localhost\"", "ADDRESS:PORT"]),
        (
            replaced("usbip:127.0.0.1:0", "usbredir"),
            &[
                "\"usbredir\"",
                "\"gadget\"",
                "usbip:127.0.0.1:3240",
                "usbredir:SOCKET",
                "usbredir-listen:SOCKET",
            ],
        ),
        (replaced("usbip:127.0.0.1:0", "usbredir:"), &["\"usbredir:\"", "has to name a socket"]),
        (
            replaced("usbip:127.0.0.1:0", "usbredir-listen:"),
            &["\"usbredir-listen:\"", "has to name a socket"],
        ),
        (replaced("usbip:127.0.0.1:0", "gadget"), &["\"gadget\"", "activation.restart_command"]),
        (format!("{good}\n[gadget]\nname = \"a/b\"\n"), &["gadget.name", "\"a/b\""]),
        (format!("{good}\n[gadget]\nname = \"\"\n"), &["gadget.name", "1 to 24"]),
        (format!("{good}\n[gadget]\nudc = \"../udc\"\n"), &["gadget.udc", "/sys/class/udc"]),
        (format!("{good}\n[gadget]\nstalls = \"no\"\n"), &["line 23", "expected a boolean"]),
        (format!("{good}\n[gadget]\nboot = \"id\"\n"), &["unknown field `boot`"]),
        (replaced("machine = \"test-board\"", "machine = \"\""), &["machine", "1 to 48"]),
        (replaced("machine = \"test-board\"", "machine = \"my board\""), &["my board", "1 to 48"]),
        (replaced("machine = \"test-board\"", &long), &["1 to 48"]),
        (replaced("dfu_product_id = 2", "dfu_product_id = 1"), &["identity.dfu_product_id", "differ"]),
        (replaced("serial = \"PROGRAM-1\"", "serial = \"\""), &["identity.serial", "1 to 64"]),
        (replaced("serial = \"PROGRAM-1\"", "serial = \"a\\u001bb\""), &["identity.serial", "printable"]),
        (replaced("serial =", "busid = \"1 1\"\nserial ="), &["identity.busid", "like 1-1"]),
        (
            replaced("keys = \"keys\"", "keys = \"keys\"\nrequired = []"),
            &["signatures.required", "never taken"],
        ),
        (replaced("slot_size = 262144", "slot_size = 65535"), &["store.slot_size", "65536"]),
        (replaced("slot_size = 262144", "slot_size = 262144\nmax_package = 0"), &["store.max_package"]),
        (
            replaced("slot_size = 262144", "slot_size = 262144\nmax_package = 1073741825"),
            &["store.max_package", "1 to 1073741824"],
        ),
        (format!("{good}\n[trial]\nboots = 0\n"), &["trial.boots"]),
        (format!("{good}\n[trial]\nboots = 256\n"), &["expected u8"]),
        (format!("{good}\n[trial]\nhelth = [\"/bin/true\"]\n"), &["unknown field `helth`"]),
        (format!("{good}\n[trial]\nhealth = [\"true\"]\n"), &["trial.health", "whole path"]),
        (format!("{good}\n[trial]\nhealth = \"/bin/true\"\n"), &["expected a sequence"]),
        (format!("{good}\n[trial]\ndeadline_s = 0\n"), &["trial.deadline_s", "1 to 86400"]),
        (format!("{good}\n[trial]\nretry_s = 301\n"), &["trial.retry_s", "300"]),
        (
            format!("{good}\n[activation]\nrestart_command = [\"reboot\"]\n"),
            &["activation.restart_command", "whole path"],
        ),
        (format!("region = []\n{}", good.split("[[region]]").next().unwrap()), &["[[region]]"]),
        (good.split("[[region]]").next().unwrap().into(), &["missing field `region`"]),
        (replaced("size = 262144\n\n[[", "size = 131072\n\n[["), &["image-bmc", "131072"]),
        (
            format!("{good}\n[[region]]\nmember = \"more\"\noffset = 1000\nsize = 1\n"),
            &["\"image-bmc\"", "\"more\"", "overlap"],
        ),
        (
            format!("{good}\n[[region]]\ntarget = \"bios\"\nmember = \"rom\"\noffset = 1000\nsize = 1\n"),
            &["\"image-bmc\"", "\"rom\"", "overlap"],
        ),
        (format!("{good}policy = \"keep\"\n"), &["line 21", "\"keep\"", "\"preserve\""]),
        (format!("{good}policy = \"preserve\"\n"), &["no region with the policy replace"]),
        (format!("{good}target = \"\"\n"), &["region.target", "1 to 16"]),
        (format!("{good}target = \"a-name-too-long-x\"\n"), &["region.target", "1 to 16"]),
        (replaced("member = \"image-bmc\"", "member = \"image bmc\""), &["region.member", "1 to 99"]),
        (format!("{good}[policy]\nsame_version = \"never\"\n"), &["\"never\"", "\"refuse\""]),
        (format!("{good}[policy]\ndowngrade = true\n"), &["expected a string"]),
        (format!("{good}[policy]\nfloor = 0\n"), &["unknown field `floor`"]),
        (format!("{good}[policy]\ncompatible = [\"a b\"]\n"), &["policy.compatible", "\"a b\""]),
    ];
    let home = Home::with_store();
    for (text, words) in cases {
        home.configure(&text);
        assert_both_refused(&home, 3, words);
        let init = home.inbandd(&["init"]).output().unwrap();
        assert_refused(&init, 3, words);
    }
}

#[test]
fn keys_that_are_missing_or_wrong() {
    let home = Home::with_store();
    let pem = fs::read_to_string(home.path("keys/system.pem")).unwrap();

    fs::write(home.path("keys/second.pem"), "no key").unwrap();
    assert_both_refused(&home, 4, &["second.pem", "is not the PEM file of"]);

    let private = key().to_pem().unwrap().to_string();
    fs::write(home.path("keys/second.pem"), private).unwrap();
    assert_both_refused(&home, 4, &["second.pem", "is not the PEM file of"]);

    fs::write(home.path("keys/second.pem"), "x".repeat(70_000)).unwrap();
    assert_both_refused(&home, 4, &["second.pem", "longer than 65536 bytes"]);

    fs::write(home.path("keys/second.pem"), [0xff, 0xfe]).unwrap();
    assert_both_refused(&home, 4, &["second.pem"]);

    fs::remove_file(home.path("keys/second.pem")).unwrap();
    fs::create_dir(home.path("keys/second.pem")).unwrap();
    assert_both_refused(&home, 4, &["second.pem", "directory"]);
    fs::remove_dir(home.path("keys/second.pem")).unwrap();

    fs::rename(home.path("keys/system.pem"), home.path("keys/system.key")).unwrap();
    assert_both_refused(&home, 4, &["there is no ed25519 key", "inband keygen"]);

    fs::remove_dir_all(home.path("keys")).unwrap();
    assert_both_refused(&home, 4, &["No such file", "put the public keys"]);

    fs::create_dir(home.path("keys")).unwrap();
    let other = PrivateKey::from_seed(&[9; 32]).public().unwrap().to_pem().unwrap();
    fs::write(home.path("keys/a.pem"), pem).unwrap();
    fs::write(home.path("keys/b.pem"), other).unwrap();
    let check = home.inbandd(&["check"]).output().unwrap();
    assert_eq!(String::from_utf8(check.stdout).unwrap().matches("key: ed25519").count(), 2);

    let revoked = key().public().unwrap();
    fs::write(home.path("keys/revoked"), format!("# lost\n{}\n", Hex(revoked.id()))).unwrap();
    fs::remove_file(home.path("keys/b.pem")).unwrap();
    assert_both_refused(&home, 4, &["there is no ed25519 key"]);
    fs::write(home.path("keys/revoked"), "not a key id\n").unwrap();
    assert_both_refused(&home, 4, &["keys/revoked"]);
}

#[test]
fn openbmcs_development_key() {
    // Its private half is public: who has it could sign anything.
    let pem = include_str!("../../../inband/tests/data/openbmc-development.pem");
    let home = Home::with_store();
    fs::write(home.path("keys/vendor.pem"), pem).unwrap();
    assert_both_refused(&home, 4, &["a48ae977", "development key"]);
    fs::remove_file(home.path("keys/vendor.pem")).unwrap();

    let good = fs::read_to_string(home.path("inbandd.toml")).unwrap();
    home.configure(
        &good.replace("keys = \"keys\"", "keys = \"activation\"\nformat = \"openbmc\"\nrequired = [\"rsa\"]"),
    );
    let folder = home.path("activation/OpenBMC");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hashfunc"), "HashType=RSA-SHA256\n").unwrap();
    fs::write(folder.join("publickey"), pem).unwrap();
    assert_both_refused(&home, 4, &["a48ae977", "development key"]);
}

#[test]
fn required_kinds_and_the_layout_of_the_key_directory_are_configured() {
    let home = Home::with_store();
    let good = fs::read_to_string(home.path("inbandd.toml")).unwrap();
    for kind in ["p384", "rsa"] {
        home.configure(
            &good.replace("keys = \"keys\"", &format!("keys = \"keys\"\nrequired = [\"{kind}\"]")),
        );
        assert_both_refused(&home, 4, &[&format!("no {kind} key")]);
    }
    home.configure(
        &good.replace("keys = \"keys\"", "keys = \"activation\"\nformat = \"openbmc\"\nrequired = [\"rsa\"]"),
    );
    let folder = home.path("activation/vendor");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hashfunc"), "HashType=RSA-SHA256\n").unwrap();
    assert_both_refused(&home, 4, &["vendor/publickey"]);
    let pem = include_str!("../../../package/tests/package/frozen-v1/rsa-4096.pem");
    fs::write(folder.join("publickey"), pem).unwrap();
    let check = home.inbandd(&["check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    assert_eq!(String::from_utf8(check.stdout).unwrap().matches("key: rsa").count(), 1);
}

#[test]
fn a_store_that_is_missing() {
    let home = Home::new();
    assert_both_refused(&home, 5, &["no store at", "inbandd init"]);
    fs::create_dir(home.path("store")).unwrap();
    let run = home.inbandd(&[]).output().unwrap();
    assert_refused(&run, 5, &["slot-a.img is missing", "inbandd init"]);
}

#[test]
fn a_store_without_a_record() {
    let home = Home::with_store();
    for name in ["record.0", "record.1"] {
        let _ = fs::remove_file(home.path("store").join(name));
    }
    assert_both_refused(&home, 5, &["no record", "inbandd init"]);
}

#[test]
fn a_store_with_a_record_that_cannot_be_read() {
    let home = Home::with_store();
    for name in ["record.0", "record.1"] {
        fs::write(home.path("store").join(name), "rubbish").unwrap();
    }
    assert_both_refused(
        &home,
        5,
        &["the store in", "no valid record", "restore one from a backup", "inbandd init"],
    );

    let home = Home::with_store();
    let _ = fs::remove_file(home.path("store/record.0"));
    fs::create_dir(home.path("store/record.0")).unwrap();
    assert_both_refused(&home, 5, &["record.0", "directory", "check that"]);
}

#[test]
fn a_store_with_an_image_that_cannot_be_opened() {
    let home = Home::with_store();
    fs::remove_file(home.path("store/slot-b.img")).unwrap();
    assert_both_refused(&home, 5, &["slot-b.img is missing", "inbandd init"]);
    fs::create_dir(home.path("store/slot-b.img")).unwrap();
    assert_both_refused(&home, 5, &["slot-b.img", "directory"]);
}

#[test]
fn a_store_of_another_size() {
    let home = Home::with_store();
    home.configure(&good_config().replace("262144", "131072"));
    assert_both_refused(&home, 5, &["slot-a.img", "262144", "131072", "inbandd init"]);
}

#[test]
fn a_store_that_cannot_be_made() {
    let home = Home::new();
    fs::write(home.path("store"), "a file").unwrap();
    let init = home.inbandd(&["init"]).output().unwrap();
    assert_refused(&init, 5, &["cannot create", "choose a directory"]);
    assert_both_refused(&home, 5, &["no store at", "inbandd init"]);
}

#[test]
fn a_store_that_is_in_use() {
    let home = Home::with_store();
    let running = home.start();
    let words = ["in use by another inbandd", "stop that one first"];
    assert_both_refused(&home, 5, &words);
    let init = home.inbandd(&["init"]).output().unwrap();
    assert_refused(&init, 5, &words);
    drop(running);
    // Killed or not, nothing of the lock is left.
    drop(home.start());
}

#[test]
fn a_store_with_nothing_to_boot() {
    use inband_store::{
        Medium as _, SlotState,
        file::FileMedium,
        record::{Place, Record},
    };

    let home = Home::with_store();
    {
        let mut medium = FileMedium::open(&home.path("store"), crate::home::SLOT as u64).unwrap();
        let mut record = Record::parse(&medium.load_record(Place::First).unwrap().unwrap()).unwrap();
        record.slots[0].state = SlotState::Invalid;
        record.sequence += 1;
        medium.save_record(Place::Second, &record.encode()).unwrap();
    }
    assert_both_refused(&home, 5, &["the store in", "neither slot holds a bootable firmware"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_cannot_be() {
    let home = Home::with_store();
    let long = format!("usbredir:{}", "x".repeat(120));
    fs::write(home.path("file"), "").unwrap();
    for (usb, words) in [
        (
            "usbredir-listen:missing/qemu.sock",
            ["missing/qemu.sock", "cannot listen there", "make its directory"],
        ),
        ("usbredir-listen:file", ["cannot listen there", "in use", "choose another path"]),
        (&long, ["no socket can have that path", "too long", "choose a shorter path"]),
    ] {
        home.configure(&good_config().replace("usbip:127.0.0.1:0", usb));
        let run = home.inbandd(&[]).output().unwrap();
        assert_refused(&run, 6, &words);
        assert_refused(&run, 6, &["usb in the configuration"]);
    }
    assert!(home.path("file").exists());
}

#[test]
fn a_port_that_is_in_use() {
    let home = Home::with_store();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    home.configure(&good_config().replace("127.0.0.1:0", &address.to_string()));
    let run = home.inbandd(&[]).output().unwrap();
    assert_refused(&run, 6, &["cannot listen on", "in use", "stop the program", "usb in the configuration"]);
    // The store is free again, and the port was the only thing wrong.
    drop(taken);
    drop(home.start());
}

#[test]
fn an_address_that_is_not_there() {
    let home = Home::with_store();
    // A loopback address of the other family, which the bind refuses or not; a name that is none is refused before.
    home.configure(&good_config().replace("127.0.0.1:0", "127.0.0.1:99999"));
    assert_both_refused(&home, 3, &["\"127.0.0.1:99999\"", "ADDRESS:PORT"]);
}

#[test]
fn a_recording_that_cannot_be_written() {
    let home = Home::with_store();
    let path = home.path("missing/bus.pcap");
    let run = home.inbandd(&["--pcap", path.to_str().unwrap()]).output().unwrap();
    assert_refused(&run, 1, &["bus.pcap", "No such file", "choose another file"]);
}

#[test]
fn a_start_that_fails_is_no_boot() {
    let home = Home::with_store();
    let before = contents(&home.path("store"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    home.configure(&good_config().replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string()));
    for _ in 0..5 {
        assert_eq!(home.inbandd(&[]).stderr(Stdio::null()).status().unwrap().code(), Some(6));
    }
    assert!(contents(&home.path("store")) == before);
}

#[test]
fn errors_have_a_priority_for_the_journal() {
    let home = Home::new();
    let run = home.inbandd(&[]).output().unwrap();
    assert!(errors(&run).starts_with("<3>"), "{}", errors(&run));
    let check = home.inbandd(&["check"]).output().unwrap();
    assert!(errors(&check).starts_with("inbandd: error: "), "{}", errors(&check));
    let home = Home::with_store();
    let running: Running = home.start();
    assert!(running.first_lines.iter().all(|line| line.starts_with("<6>")), "{:?}", running.first_lines);
}
