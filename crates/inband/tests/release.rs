//! Releases whose keys are elsewhere: packed, signed and attached in separate steps, by openssl(1) and by a token.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs,
    ops::Range,
    os::unix::fs::{PermissionsExt, symlink},
    process::Stdio,
};

use support::{
    Bench, command, run, spawn,
    token::{PIN, Token},
};

/// Schemes, and the key that `openssl genpkey` makes for each.
const SCHEMES: [(&str, &[&str]); 9] = [
    ("ed25519", &["-algorithm", "ed25519"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("rsa-pss-sha256", RSA_3072),
    ("rsa-pss-sha384", RSA_3072),
    ("rsa-pss-sha512", RSA_3072),
    ("rsa-pkcs1-sha256", RSA_3072),
    ("rsa-pkcs1-sha384", RSA_3072),
    ("rsa-pkcs1-sha512", RSA_3072),
    ("rsa-pss-sha512", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]),
];
const RSA_3072: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];

/// Makes `NAME.key` and `NAME.pub` with openssl(1).
fn openssl_key(bench: &Bench, name: &str, arguments: &[&str]) {
    let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
    bench.run("openssl", &[&["genpkey", "-out", &private], arguments].concat());
    bench.run("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
}

/// The file `message`, signed with `NAME.key` into the file `signature` by the very command that the program names.
fn sign_by_advice(bench: &Bench, package: &str, name: &str, scheme: &str) {
    let message = bench.arg("message");
    let told = run(["sign", package, "--print-bytes", "--out", &message]).expect(0).err;
    let mut lines = told.lines().skip_while(|line| !line.starts_with(&format!("missing: {scheme} by key ")));
    let command = lines.nth(1).unwrap_or_else(|| panic!("no command for {scheme} in {told}"));
    let words: Vec<_> = command
        .split_whitespace()
        .map(|word| match word {
            "KEY" => format!("{name}.key"),
            "SIGNATURE" => "signature".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    bench.run(words[0], &words[1..]);
}

/// Where the signatures stand in a package: the bytes of each, in order.
fn places(package: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    while package[at] != 0 {
        let name = package[at..at + 100].split(|byte| *byte == 0).next().unwrap();
        let length = std::str::from_utf8(&package[at + 124..at + 135]).unwrap();
        let length = usize::from_str_radix(length, 8).unwrap();
        if name.ends_with(b".sig") {
            places.push(at + 512..at + 512 + length);
        }
        at += 512 + length.next_multiple_of(512);
    }
    places
}

/// Names of the schemes in a list of signatures.
fn schemes(signatures: &serde_json::Value) -> Vec<&str> {
    signatures.as_array().unwrap().iter().map(|one| one["scheme"].as_str().unwrap()).collect()
}

#[test]
fn signatures_of_every_scheme_are_made_by_openssl_and_attached() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    let (package, public) = (bench.arg("fw.tar"), bench.arg("hsm.pub"));
    let (signature, wrong) = (bench.arg("signature"), bench.arg("wrong"));
    let mut made: &[&str] = &[];
    for (scheme, arguments) in SCHEMES {
        if arguments != made {
            openssl_key(&bench, "hsm", arguments);
            made = arguments;
        }
        let signer = format!("{public}:{scheme}");
        bench.pack("fw.tar", "image.bin", &["--unsigned", &signer, "--dfu-suffix", "1d6b:0104"]).expect(0);
        let before = fs::read(&package).unwrap();
        let inspected = run(["inspect", &package, "--json"]).expect(0).event("inspected");
        assert_eq!(inspected["signatures"][0]["scheme"], scheme);
        assert_eq!(inspected["signatures"][0]["signed"], false);
        let unsigned = run(["verify", &package, "--keys", &public, "--json"]).expect(6).event("error");
        assert_eq!(unsigned["result"], "bad-signature");
        let message = unsigned["message"].as_str().unwrap();
        assert!(message.contains(&format!("not signed yet: {scheme} by key")), "{message}");

        sign_by_advice(&bench, &package, "hsm", scheme);
        // A changed signature, and none, are not attached.
        let bytes = fs::read(&signature).unwrap();
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        for refused in [&changed[..], &bytes[1..], &[&bytes[..], &[0]].concat(), &[], &[0; 9000]] {
            fs::write(&wrong, refused).unwrap();
            run(["sign", &package, "--attach", &wrong, "--keys", &public]).expect(16);
            assert_eq!(fs::read(&package).unwrap(), before, "{scheme}");
        }

        let signed = run(["sign", &package, "--attach", &signature, "--keys", &public, "--json"]).expect(0);
        let signed = signed.event("signed");
        assert_eq!((&signed["what"], &signed["missing"]), (&"attached".into(), &serde_json::json!([])));
        let verified = run(["verify", &package, "--keys", &public, "--json"]).expect(0).event("verified");
        assert_eq!(verified["signature_verified"], true);
        assert_eq!(schemes(&verified["signatures"]), [scheme]);

        // But for the signature and the suffix's checksum, which covers it, every byte is as it was.
        let mut after = fs::read(&package).unwrap();
        let suffix = after.len() - 4..;
        let [place] = places(&after).try_into().unwrap();
        for range in [place, suffix.start..after.len()] {
            assert_ne!(after[range.clone()], before[range.clone()], "{scheme}");
            after[range.clone()].copy_from_slice(&before[range]);
        }
        assert_eq!(after, before, "{scheme}");

        // Attaching it again changes nothing.
        let once = fs::read(&package).unwrap();
        run(["sign", &package, "--attach", &signature, "--keys", &public]).expect(0);
        assert_eq!(fs::read(&package).unwrap(), once);
    }
}

#[test]
fn a_token_signs_in_every_scheme() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    let token = Token::new(&bench);
    token.make_key("rsa:3072", "01", "rsa.pem");
    token.make_key("EC:secp384r1", "02", "p384.pem");
    token.make_key("EC:edwards25519", "03", "ed25519.pem");
    let package = bench.arg("fw.tar");
    let mut p384_lengths = Vec::new();
    // Signatures of P-384 are drawn: with s in either half of its range.
    for scheme in SCHEMES.iter().map(|(scheme, _)| *scheme).chain(["p384"; 5]) {
        let (id, public) = match scheme {
            "ed25519" => ("03", bench.arg("ed25519.pem")),
            "p384" => ("02", bench.arg("p384.pem")),
            _ => ("01", bench.arg("rsa.pem")),
        };
        bench.pack("fw.tar", "image.bin", &["--unsigned", &format!("{public}:{scheme}")]).expect(0);
        run(["sign", &package, "--print-bytes", "--out", &bench.arg("message")]).expect(0);
        token.sign(scheme, id);
        if scheme == "p384" {
            p384_lengths.push(fs::metadata(bench.path("signature")).unwrap().len());
        }
        run(["sign", &package, "--attach", &bench.arg("signature"), "--keys", &public]).expect(0);
        run(["verify", &package, "--keys", &public]).expect(0);
    }
    // Bare, where openssl(1) writes DER.
    assert_eq!(p384_lengths, [96; 6]);
}

#[test]
fn the_commands_of_the_manual_work() {
    let bench = Bench::new();
    let token = Token::new(&bench);
    let text = include_str!("../../../docs/releasing.md");
    let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(commands.len() > 15, "{commands:?}");
    fs::remove_file(bench.path("release.key")).unwrap();
    fs::remove_file(bench.path("release.pub")).unwrap();
    // The last release, by another key: the first thing the manual makes is a key.
    bench.keygen("last");
    bench.image("obmc.static.mtd", 300_000, 5);
    bench
        .pack("my-board-1.0.tar", "obmc.static.mtd", &["--key", &bench.arg("last.key"), "--version", "1.0"])
        .expect(0);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_inband")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-e", "-u", "-c", &commands.join("\n")]).current_dir(bench.folder());
    shell.env("PATH", path).env("MODULE", token.module).env("PIN", PIN);
    shell.env("SOFTHSM2_CONF", bench.path("softhsm2.conf"));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn(&mut shell).wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "out: {out}\nerr: {err}");
    assert!(out.contains("my-board-1.1.tar: attached, nothing missing"), "{out}");
    assert!(out.contains("my-board-1.1.tar: good\n"), "{out}");
}

#[test]
fn the_bytes_to_sign_go_where_they_are_wanted() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    bench.pack("fw.tar", "image.bin", &["--unsigned", &bench.arg("release.pub")]).expect(0);
    let package = bench.arg("fw.tar");
    let mut print = command(["sign", &package, "--print-bytes"]);
    print.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let printed = spawn(&mut print).wait_with_output().unwrap();
    assert!(printed.status.success());
    let file = fs::read(&package).unwrap();
    assert_eq!(printed.stdout, [&b"inband/head/v1\0\0"[..], &file[512..1024]].concat());

    let text = run(["sign", &package, "--print-bytes", "--out", &bench.arg("bytes")]).expect(0);
    assert_eq!(text.out, "");
    assert_eq!(fs::read(bench.path("bytes")).unwrap(), printed.stdout);
    let event = run(["sign", &package, "--print-bytes", "--json"]).expect(0).event("to-sign");
    let digits: String = printed.stdout.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(event["bytes"], digits);
    assert_eq!(schemes(&event["missing"]), ["ed25519"]);
}

#[test]
fn a_pipe_is_not_replaced_by_a_file() {
    let bench = Bench::new();
    bench.package("fw.tar", 10_000);
    let pipe = bench.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink(&pipe, bench.path("link")).unwrap();
    for out in ["pipe", "link"] {
        let refused =
            run(["sign", &bench.arg("fw.tar"), "--print-bytes", "--out", &bench.arg(out)]).expect(7);
        assert!(refused.err.contains("it is no file"), "{}", refused.err);
        assert!(!fs::metadata(bench.path(out)).unwrap().is_file());
    }
    assert!(fs::symlink_metadata(bench.path("link")).unwrap().is_symlink());
}

#[test]
fn several_signers_sign_in_any_order_and_all_of_them_are_asked_for() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    openssl_key(&bench, "rsa", RSA_3072);
    run(["keygen", "--kind", "p384", "--out", &bench.arg("p384")]).expect(0);
    let keys = ["release.pub", "p384.pub", "rsa.pub"].map(|name| bench.arg(name));
    let digest = |name: &str, more: &[&str]| {
        let mut packed =
            bench.pack(name, "image.bin", &[more, &["--json"]].concat()).expect(0).event("packed");
        (packed["digest"].take(), packed)
    };
    let (first, packed) = digest(
        "fw.tar",
        &["--unsigned", &keys[2], "--unsigned", &keys[1], "--key", &bench.arg("release.key")],
    );
    assert_eq!(packed["signed"], false);
    assert_eq!(schemes(&packed["signatures"]), ["ed25519", "p384", "rsa-pss-sha256"]);
    assert_eq!(schemes(&packed["missing"]), ["p384", "rsa-pss-sha256"]);
    // It is the same package whoever of them signs at once.
    let all = ["--unsigned", &keys[0], "--unsigned", &keys[1], "--unsigned", &keys[2]];
    assert_eq!(digest("other.tar", &all).0, first);

    let package = bench.arg("fw.tar");
    let every = ["--keys", &keys[0], "--keys", &keys[1], "--keys", &keys[2]];
    let verify = |more: &[&str]| run([&["verify", &package, "--json"], &every[..], more].concat());
    sign_by_advice(&bench, &package, "rsa", "rsa-pss-sha256");
    let sign = ["sign", &package, "--json", "--attach", &bench.arg("signature")];
    let signed = run([&sign, &every[..]].concat()).expect(0).event("signed");
    assert_eq!(schemes(&signed["missing"]), ["p384"]);
    let told = run(["verify", &package]).expect(0).out;
    assert!(told.contains("not signed yet") && told.contains(": MISSING\n"), "{told}");
    assert_eq!(verify(&[]).expect(6).event("error")["result"], "bad-signature");
    let signed = run(["sign", &package, "--json", "--key", &bench.arg("p384.key")]).expect(0).event("signed");
    assert_eq!(signed["missing"], serde_json::json!([]));

    verify(&[]).expect(0);
    verify(&["--require", "rsa,ed25519,p384"]).expect(0);
    // A kind that is not required is refused as a BMC would, and so is one that is missing.
    assert_eq!(verify(&["--require", "rsa,ed25519"]).expect(6).event("error")["result"], "unknown-key");
    run(["verify", &package, "--keys", &keys[0], "--require", "p384"]).expect(16);
    run(["verify", &package, "--keys", &keys[0], "--require", "ml-dsa"]).expect(2);
    run(["verify", &package, "--require", "p384"]).expect(2);
    let unknown = run(["verify", &package, "--keys", &keys[0], "--json"]).expect(6).event("error");
    assert_eq!(unknown["result"], "unknown-key");
    bench.package("one.tar", 50_000);
    let one = bench.arg("one.tar");
    run([&["verify", &one], &every[..]].concat()).expect(0);
    let missing = run([&["verify", &one, "--json", "--require", "ed25519,p384"], &every[..]].concat());
    assert_eq!(missing.expect(6).event("error")["result"], "unknown-key");
}

#[test]
fn a_package_is_for_one_key_of_a_kind_and_keys_for_their_schemes() {
    let bench = Bench::new();
    bench.image("image.bin", 1000, 1);
    bench.keygen("other");
    let release = bench.arg("release.pub");
    let pack = |more: &[&str], code| bench.pack("fw.tar", "image.bin", more).expect(code).err;
    pack(&["--unsigned", &release, "--unsigned", &bench.arg("other.pub")], 2);
    pack(&["--unsigned", &release, "--key", &bench.arg("other.key")], 2);
    pack(&["--unsigned", &format!("{release}:p384")], 16);
    let told = pack(&["--unsigned", &format!("{release}:rsa-pss-sha1")], 2);
    assert!(told.contains("rsa-pkcs1-sha512"), "{told}");
    pack(&["--unsigned", &bench.arg("release.key")], 16);
    assert!(!bench.path("fw.tar").exists());
}

#[test]
fn a_signature_goes_to_nobody_else_and_to_no_other_package() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    bench.keygen("other");
    let (public, other) = (bench.arg("release.pub"), bench.arg("other.pub"));
    bench.pack("fw.tar", "image.bin", &["--unsigned", &public]).expect(0);
    let (package, signature) = (bench.arg("fw.tar"), bench.arg("signature"));
    let unsigned = fs::read(&package).unwrap();
    let attach =
        |package: &str, key: &str| run(["sign", package, "--attach", &signature, "--keys", key, "--json"]);
    sign_by_advice(&bench, &package, "other", "ed25519");
    // By a stranger, offered as his own and as the signer's.
    let told = attach(&package, &other).expect(16).event("error");
    assert!(told["message"].as_str().unwrap().contains("other signers"), "{told}");
    attach(&package, &public).expect(16);
    run(["sign", &package, "--key", &bench.arg("other.key")]).expect(16);
    assert_eq!(fs::read(&package).unwrap(), unsigned);

    sign_by_advice(&bench, &package, "release", "ed25519");
    // Another head: the signature is not of it.
    bench.pack("next.tar", "image.bin", &["--unsigned", &public, "--version", "9"]).expect(0);
    attach(&bench.arg("next.tar"), &public).expect(16);
    // The same head, but not what it promises: nothing is signed, nor printed to be signed.
    for (name, at, result) in
        [("chunk.tar", unsigned.len() / 2, "bad-chunk"), ("end.tar", unsigned.len() - 1, "bad-archive")]
    {
        let mut changed = unsigned.clone();
        changed[at] ^= 1;
        fs::write(bench.path(name), &changed).unwrap();
        let name = bench.arg(name);
        assert_eq!(attach(&name, &public).expect(6).event("error")["result"], result);
        run(["sign", &name, "--key", &bench.arg("release.key")]).expect(6);
        run(["sign", &name, "--print-bytes", "--out", &bench.arg("never")]).expect(6);
        assert!(!bench.path("never").exists());
        assert_eq!(fs::read(&name).unwrap(), changed);
    }
    attach(&package, &public).expect(0);
    run(["verify", &package, "--keys", &public]).expect(0);
    let left = fs::read_dir(bench.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".part")));
}

#[test]
fn signing_keeps_links_and_permissions() {
    let bench = Bench::new();
    bench.image("image.bin", 1000, 1);
    bench.pack("fw.tar", "image.bin", &["--unsigned", &bench.arg("release.pub")]).expect(0);
    fs::set_permissions(bench.path("fw.tar"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("fw.tar", bench.path("link.tar")).unwrap();
    run(["sign", &bench.arg("link.tar"), "--key", &bench.arg("release.key")]).expect(0);
    assert!(bench.path("link.tar").symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::metadata(bench.path("fw.tar")).unwrap().permissions().mode() & 0o777, 0o640);
    run(["verify", &bench.arg("fw.tar"), "--keys", &bench.arg("release.pub")]).expect(0);
}

#[test]
fn keys_of_p384_are_made_and_sign() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    let kind =
        run(["keygen", "--kind", "p384", "--out", &bench.arg("p384"), "--json"]).expect(0).event("keys");
    assert_eq!(kind["kind"], "p384");
    let mode = fs::metadata(bench.path("p384.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    bench.pack("fw.tar", "image.bin", &["--key", &bench.arg("p384.key")]).expect(0);
    run(["verify", &bench.arg("fw.tar"), "--keys", &bench.arg("p384.pub")]).expect(0);
    // openssl(1) reads both halves, and finds that they belong together.
    let public = bench.run("openssl", &["pkey", "-in", "p384.key", "-pubout"]);
    assert_eq!(public, fs::read(bench.path("p384.pub")).unwrap());
}

#[test]
fn rsa_keys_sign_elsewhere_and_the_program_says_how() {
    let bench = Bench::new();
    bench.image("image.bin", 1000, 1);
    openssl_key(&bench, "rsa", RSA_3072);
    let told = run(["keygen", "--kind", "rsa", "--out", &bench.arg("new")]).expect(2).err;
    assert!(told.contains("openssl genpkey"), "{told}");
    assert!(!bench.path("new.key").exists());
    let key = bench.arg("rsa.key");
    let told = bench.pack("fw.tar", "image.bin", &["--key", &key]).expect(16).err;
    assert!(told.contains("--unsigned") && told.contains("openssl dgst -sign"), "{told}");
    bench.pack("fw.tar", "image.bin", &["--unsigned", &bench.arg("rsa.pub")]).expect(0);
    let told = run(["sign", &bench.arg("fw.tar"), "--key", &key]).expect(16).err;
    assert!(told.contains("--print-bytes") && told.contains("--attach"), "{told}");
}

#[test]
fn a_directory_is_read_as_a_bmc_reads_it() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    bench.package("fw.tar", 50_000);
    let (package, keys) = (bench.arg("fw.tar"), bench.arg("keys"));
    let verify = || run(["verify", &package, "--keys", &keys, "--json"]);
    fs::create_dir_all(bench.path("keys/folder")).unwrap();
    let told = verify().expect(16).event("error");
    assert!(told["message"].as_str().unwrap().contains("*.pem"), "{told}");
    fs::copy(bench.path("release.pub"), bench.path("keys/release.pem")).unwrap();
    verify().expect(0);
    bench.keygen("next");
    fs::copy(bench.path("next.pub"), bench.path("keys/next.pem")).unwrap();
    verify().expect(0);

    let id = verify().expect(0).event("verified")["signatures"][0]["key_id"].as_str().unwrap().to_owned();
    fs::write(bench.path("keys/revoked"), format!("{id} # lost\n")).unwrap();
    let told = verify().expect(6).event("error");
    assert_eq!(told["result"], "unknown-key");
    assert!(told["message"].as_str().unwrap().contains("revoked"), "{told}");
    // Also where the same key is named once more, and where its signature is to be attached.
    run(["verify", &package, "--keys", &keys, "--keys", &bench.arg("release.pub")]).expect(6);
    sign_by_hand(&bench, &package);
    run(["sign", &package, "--attach", &bench.arg("signature"), "--keys", &keys]).expect(16);
    fs::remove_file(bench.path("keys/next.pem")).unwrap();
    let told = verify().expect(16).event("error");
    assert!(told["message"].as_str().unwrap().contains("revoked"), "{told}");
    fs::write(bench.path("keys/revoked"), "junk\n").unwrap();
    verify().expect(16);
    fs::remove_file(bench.path("keys/revoked")).unwrap();
    // One file that is no key is enough, whatever it is called.
    fs::write(bench.path("keys/\u{1b}[2J.pem"), "junk\n").unwrap();
    let told = run(["verify", &package, "--keys", &keys]).expect(16).err;
    assert!(told.contains("\\u{1b}[2J.pem"), "{told:?}");

    // OpenBMC's: a folder for each key, which is for one scheme.
    openssl_key(&bench, "rsa", RSA_3072);
    let openbmc = bench.arg("activationdata");
    fs::create_dir_all(bench.path("activationdata/vendor")).unwrap();
    fs::copy(bench.path("rsa.pub"), bench.path("activationdata/vendor/publickey")).unwrap();
    run(["verify", &package, "--keys", &openbmc]).expect(16);
    fs::write(bench.path("activationdata/vendor/hashfunc"), "HashType=RSA-SHA512\n").unwrap();
    for (scheme, code) in [("rsa-pkcs1-sha512", 0), ("rsa-pkcs1-sha256", 6), ("rsa-pss-sha512", 6)] {
        let signer = format!("{}:{scheme}", bench.arg("rsa.pub"));
        bench.pack("rsa.tar", "image.bin", &["--unsigned", &signer]).expect(0);
        let package = bench.arg("rsa.tar");
        sign_by_advice(&bench, &package, "rsa", scheme);
        run(["sign", &package, "--attach", &bench.arg("signature"), "--keys", &bench.arg("rsa.pub")])
            .expect(0);
        run(["verify", &package, "--keys", &openbmc, "--require", "rsa"]).expect(code);
    }
}

#[test]
fn openbmc_s_development_key_is_refused_wherever_it_is_named() {
    let bench = Bench::new();
    bench.image("image.bin", 1000, 1);
    let key = bench.arg("keys/development.pem");
    fs::create_dir(bench.path("keys")).unwrap();
    fs::write(&key, include_str!("data/openbmc-development.pem")).unwrap();
    fs::copy(bench.path("release.pub"), bench.path("keys/release.pem")).unwrap();
    bench.package("fw.tar", 1000);
    let package = bench.arg("fw.tar");
    let refused = |told: String| assert!(told.contains("development key"), "{told}");
    refused(run(["verify", &package, "--keys", &key]).expect(16).err);
    refused(run(["verify", &package, "--keys", &bench.arg("keys")]).expect(16).err);
    refused(run(["update", &package, "--keys", &bench.arg("keys")]).expect(16).err);
    refused(run(["sign", &package, "--attach", &package, "--keys", &bench.arg("keys")]).expect(16).err);
    refused(bench.pack("new.tar", "image.bin", &["--unsigned", &key]).expect(16).err);
}

/// Signs a package that is signed already, with `release.key`.
fn sign_by_hand(bench: &Bench, package: &str) {
    run(["sign", package, "--print-bytes", "--out", &bench.arg("message")]).expect(0);
    let sign = ["pkeyutl", "-sign", "-inkey", "release.key", "-rawin", "-in", "message", "-out", "signature"];
    bench.run("openssl", &sign);
}
