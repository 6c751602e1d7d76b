//! Signatures of every scheme by openssl(1), as release engineers make them (docs/spec/package.md, 9), and the
//! forms and keys that are refused.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use inband_package::key::{KeyError, KeyHalf};
use inband_package::maker::{
    MakeError, PackOptions, PrivateKey, attach, pack, sign, signed_bytes_of, verify,
};
use inband_package::signature::{Hash, RsaPadding};
use inband_package::{KeyRing, Kind, PublicKey, Refusal, Scheme};

use crate::common::{header_offsets, image, options, policy, read_with, stride};
use crate::programs::{run, run_for_text};

/// The order n of P-384 (SP 800-186, 3.2.1.4).
const P384_ORDER: [u8; 48] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC7, 0x63, 0x4D, 0x81, 0xF4, 0x37, 0x2D, 0xDF, 0x58, 0x1A,
    0x0D, 0xB2, 0x48, 0xB0, 0xA7, 0x7A, 0xEC, 0xEC, 0x19, 0x6A, 0xCC, 0xC5, 0x29, 0x73,
];

/// Arguments of `openssl genpkey` for a key of this kind.
const KEYS: [(Kind, &[&str]); 4] = [
    (Kind::Ed25519, &["-algorithm", "ed25519"]),
    (Kind::P384, &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    (Kind::Rsa, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
    (Kind::Rsa, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]),
];

/// Makes `key.pem` and gives its public half.
fn make_key(folder: &Path, arguments: &[&str]) -> PublicKey {
    run(folder, "openssl", &[&["genpkey", "-out", "key.pem"], arguments].concat());
    PublicKey::from_pem(&run_for_text(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout"])).unwrap()
}

/// Signs the file `message` with `key.pem`, by the commands of docs/spec/package.md.
fn sign_with_openssl(folder: &Path, scheme: Scheme) -> Vec<u8> {
    let digest = |hash, more: &[&str]| {
        let hash = match hash {
            Hash::Sha256 => "-sha256",
            Hash::Sha384 => "-sha384",
            Hash::Sha512 => "-sha512",
        };
        run(folder, "openssl", &[&["dgst", hash, "-sign", "key.pem"], more, &["message"]].concat())
    };
    match scheme {
        Scheme::Ed25519 => {
            run(folder, "openssl", &["pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "message"])
        }
        Scheme::P384 => digest(Hash::Sha384, &[]),
        Scheme::Rsa(RsaPadding::Pkcs1, hash) => digest(hash, &[]),
        Scheme::Rsa(RsaPadding::Pss, hash) => {
            digest(hash, &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"])
        }
        Scheme::MlDsa => unreachable!("openssl(1) does not have it yet"),
    }
}

/// A small package for these signers, without signatures.
fn unsigned(signers: &[&PublicKey]) -> Cursor<Vec<u8>> {
    let signers = signers.iter().map(|key| key.signature_entry()).collect();
    let options = PackOptions { signers, ..options() };
    let mut file = Cursor::new(Vec::new());
    pack(&options, &[image("image-bmc", b"firmware".to_vec())], &mut file).unwrap();
    file
}

/// A package signed by openssl(1) with a new key, and the ring that accepts it.
fn package_by_openssl(key_arguments: &[&str], scheme: Scheme) -> (Vec<u8>, KeyRing) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = make_key(folder, key_arguments).only_for(scheme).unwrap();
    let mut file = unsigned(&[&key]);
    fs::write(folder.join("message"), signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap()).unwrap();
    attach(&mut file, &key, &sign_with_openssl(folder, scheme)).unwrap();
    (file.into_inner(), KeyRing::new(vec![key.kind()], vec![key]).unwrap())
}

#[test]
fn signatures_of_every_scheme_are_attached_and_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (kind, arguments) in KEYS {
        let key = make_key(folder, arguments);
        assert_eq!(key.kind(), kind);
        for scheme in Scheme::ALL.into_iter().filter(|scheme| scheme.kind() == kind) {
            let key = key.clone().only_for(scheme).unwrap();
            let mut file = unsigned(&[&key]);
            let message = signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap();
            fs::write(folder.join("message"), message).unwrap();
            let signature = sign_with_openssl(folder, scheme);

            // What does not verify leaves the package as it was.
            let before = file.get_ref().clone();
            let mut wrong = signature.clone();
            *wrong.last_mut().unwrap() ^= 1;
            for wrong in [&wrong[..], &signature[1..], &[&signature[..], &[0]].concat(), &[]] {
                let error = attach(&mut file, &key, wrong).unwrap_err();
                let expected = *key.id();
                assert!(
                    matches!(error, MakeError::WrongSignature { id, scheme: found } if id == expected && found == scheme),
                    "{error}"
                );
            }
            assert_eq!(*file.get_ref(), before);

            attach(&mut file, &key, &signature).unwrap();
            let package = file.into_inner();
            assert_eq!(package.len(), before.len());
            let ring = KeyRing::new(vec![kind], vec![key]).unwrap();
            verify(&mut Cursor::new(&package), &ring, policy()).unwrap();
        }
    }
}

#[test]
fn a_signature_of_another_scheme_is_not_attached() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = make_key(folder, KEYS[2].1);
    let rsa = || Scheme::ALL.into_iter().filter(|scheme| scheme.kind() == Kind::Rsa);
    for packed in rsa() {
        let key = key.clone().only_for(packed).unwrap();
        let mut file = unsigned(&[&key]);
        fs::write(folder.join("message"), signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap())
            .unwrap();
        for signed in rsa() {
            let result = attach(&mut file, &key, &sign_with_openssl(folder, signed));
            assert_eq!(result.is_ok(), signed == packed, "packed for {packed}, signed {signed}");
        }
    }
    // The right padding and hash, but another salt or another mask.
    let key = key.only_for(Scheme::from_name("rsa-pss-sha384").unwrap()).unwrap();
    let mut file = unsigned(&[&key]);
    fs::write(folder.join("message"), signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap()).unwrap();
    for (option, good) in [
        ("rsa_pss_saltlen:48", true),
        ("rsa_pss_saltlen:47", false),
        ("rsa_pss_saltlen:49", false),
        ("rsa_pss_saltlen:0", false),
        ("rsa_pss_saltlen:max", false),
        ("rsa_mgf1_md:sha256", false),
    ] {
        let salt = if option.contains("salt") { option } else { "rsa_pss_saltlen:digest" };
        let sign = ["dgst", "-sha384", "-sign", "key.pem", "-sigopt", "rsa_padding_mode:pss"];
        let more = ["-sigopt", salt, "-sigopt", option, "message"];
        let signature = run(folder, "openssl", &[&sign[..], &more].concat());
        assert_eq!(attach(&mut file, &key, &signature).is_ok(), good, "{option}");
    }
}

#[test]
fn any_single_byte_of_a_package_of_any_kind_changed_is_refused() {
    let schemes = ["ed25519", "p384", "rsa-pss-sha256", "rsa-pkcs1-sha512"]
        .map(|name| Scheme::from_name(name).unwrap());
    std::thread::scope(|threads| {
        for ((_, arguments), scheme) in KEYS.into_iter().zip(schemes) {
            threads.spawn(move || {
                let (package, ring) = package_by_openssl(arguments, scheme);
                assert_eq!(read_with(&ring, policy(), [&package[..]]).1, Ok(()));
                for at in (0..package.len()).step_by(stride()) {
                    let mut changed = package.clone();
                    changed[at] ^= [0x01, 0x80, 0xFF][at % 3];
                    let (notes, result) = read_with(&ring, policy(), [&changed[..]]);
                    assert!(result.is_err() && !notes.ended(), "{scheme}: byte {at}");
                    // Nothing of a package whose signature is wrong has any effect.
                    if at < header_offsets(&package)[2] {
                        assert_eq!(notes.calls, [], "{scheme}: byte {at}");
                    }
                }
            });
        }
    });
}

#[test]
fn every_bit_of_a_signature_counts() {
    let schemes = ["ed25519", "p384", "rsa-pss-sha384", "rsa-pkcs1-sha256"]
        .map(|name| Scheme::from_name(name).unwrap());
    for ((_, arguments), scheme) in KEYS.into_iter().zip(schemes) {
        let (package, ring) = package_by_openssl(arguments, scheme);
        let start = header_offsets(&package)[1] + 512;
        let length = usize::from(ring.keys()[0].signature_length());
        for bit in (0..8 * length).step_by(stride()) {
            let mut changed = package.clone();
            changed[start + bit / 8] ^= 1 << (bit % 8);
            let result = read_with(&ring, policy(), [&changed[..]]).1;
            assert_eq!(result, Err(Refusal::BadSignature { kind: scheme.kind() }), "{scheme}: bit {bit}");
        }
    }
}

/// `a + b` or `a - b` of numbers with the most significant byte first; the carry is lost.
fn combine(a: &[u8], b: &[u8], add: bool) -> Vec<u8> {
    assert_eq!(a.len(), b.len());
    let mut out = vec![0; a.len()];
    let mut carry = 0;
    for at in (0..a.len()).rev() {
        let (a, b) = (i16::from(a[at]), i16::from(b[at]));
        let sum = if add { a + b + carry } else { a - b - carry };
        out[at] = (sum & 0xFF) as u8;
        carry = i16::from(!(0..256).contains(&sum));
    }
    out
}

fn p384_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::p384_from_number(&[0x21; 48]).unwrap())
}

#[test]
fn a_p384_signature_with_the_other_s_is_refused_but_attached_as_it_must_be() {
    let key = p384_key().public().unwrap();
    let ring = KeyRing::new(vec![Kind::P384], vec![key.clone()]).unwrap();
    let mut file = unsigned(&[&key]);
    sign(&mut file, p384_key()).unwrap();
    let package = file.into_inner();
    assert_eq!(read_with(&ring, policy(), [&package[..]]).1, Ok(()));
    let (r, s) = package[1536..1632].split_at(48);
    let other = [r, &combine(&P384_ORDER, s, false)].concat();
    let refused = Err(Refusal::BadSignature { kind: Kind::P384 });

    let mut changed = package.clone();
    changed[1536..1632].copy_from_slice(&other);
    assert_eq!(read_with(&ring, policy(), [&changed[..]]).1, refused);
    // Zero, and numbers that are not below the order.
    for wrong in [
        [r, &[0; 48]].concat(),
        [&[0; 48], s].concat(),
        [r, &P384_ORDER].concat(),
        [&P384_ORDER, s].concat(),
        [r, &[0xFF; 48]].concat(),
    ] {
        changed[1536..1632].copy_from_slice(&wrong);
        assert_eq!(read_with(&ring, policy(), [&changed[..]]).1, refused);
    }

    let mut file = unsigned(&[&key]);
    attach(&mut file, &key, &other).unwrap();
    assert_eq!(file.into_inner(), package);
}

#[test]
fn p384_signatures_by_openssl_become_the_one_form() {
    // openssl(1) draws numbers: both halves of the range come, and lengths of DER from 102 to 104.
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = make_key(folder, KEYS[1].1);
    let ring = KeyRing::new(vec![Kind::P384], vec![key.clone()]).unwrap();
    let mut file = unsigned(&[&key]);
    fs::write(folder.join("message"), signed_bytes_of(&mut Cursor::new(file.get_ref())).unwrap()).unwrap();
    let mut high = 0;
    for _ in 0..32 {
        let der = sign_with_openssl(folder, Scheme::P384);
        // SEQUENCE, its length, INTEGER, its length, r; s stands at the end.
        let r_length = usize::from(der[3]);
        let s = &der[4 + r_length + 2..];
        let s = &s[s.len().saturating_sub(48)..];
        attach(&mut file, &key, &der).unwrap();
        let written = &file.get_ref()[1584..1632];
        assert!(written[0] < 0x80);
        if s != &written[written.len() - s.len()..] {
            high += 1;
        }
        assert_eq!(read_with(&ring, policy(), [file.get_ref().as_slice()]).1, Ok(()));
    }
    assert!((1..32).contains(&high), "{high} of 32 in the upper half");
}

#[test]
fn openssl_verifies_our_p384_signatures_and_reads_our_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("key.pem"), p384_key().to_pem().unwrap().as_bytes()).unwrap();
    let public = p384_key().public().unwrap();
    let theirs = run_for_text(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout"]);
    assert_eq!(theirs, public.to_pem().unwrap());
    fs::write(folder.join("public.pem"), theirs).unwrap();

    let mut file = unsigned(&[&public]);
    sign(&mut file, p384_key()).unwrap();
    let package = file.into_inner();
    fs::write(folder.join("message"), signed_bytes_of(&mut package.as_slice()).unwrap()).unwrap();
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap();
        let sign: &[u8] = if bytes[start] >= 0x80 { &[0] } else { &[] };
        let number = [sign, &bytes[start..]].concat();
        [&[2, number.len() as u8], &number[..]].concat()
    };
    let numbers = [integer(&package[1536..1584]), integer(&package[1584..1632])].concat();
    fs::write(folder.join("signature"), [&[0x30, numbers.len() as u8], &numbers[..]].concat()).unwrap();
    let verify = ["dgst", "-sha384", "-verify", "public.pem", "-signature", "signature", "message"];
    run(folder, "openssl", &verify);

    // And the other way: their key signs with us.
    make_key(folder, KEYS[1].1);
    let theirs = PrivateKey::from_pem(&fs::read_to_string(folder.join("key.pem")).unwrap()).unwrap();
    let public = theirs.public().unwrap();
    let expected = run_for_text(folder, "openssl", &["pkey", "-in", "key.pem", "-pubout"]);
    assert_eq!(public.to_pem().unwrap(), expected);
    let again = PrivateKey::from_pem(&theirs.to_pem().unwrap()).unwrap();
    assert_eq!(again.public().unwrap(), public);
    let mut file = unsigned(&[&public]);
    sign(&mut file, &theirs).unwrap();
    let ring = KeyRing::new(vec![Kind::P384], vec![public]).unwrap();
    verify_in(&file.into_inner(), &ring);
}

fn verify_in(package: &[u8], ring: &KeyRing) {
    verify(&mut Cursor::new(package), ring, policy()).unwrap();
}

#[test]
fn an_rsa_signature_plus_its_modulus_is_refused() {
    // It verifies wherever the number is reduced before it is raised: the same signature in a second form.
    let key = PublicKey::from_pem(include_str!("frozen-v1/rsa-3072.pem")).unwrap();
    let signature = include_bytes!("frozen-v1/rsa-pss-sha256.sig");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("public.pem"), key.to_pem().unwrap()).unwrap();
    let modulus =
        run_for_text(folder.path(), "openssl", &["rsa", "-pubin", "-in", "public.pem", "-noout", "-modulus"]);
    let digits = modulus.trim().strip_prefix("Modulus=").unwrap();
    let modulus: Vec<u8> =
        (0..384).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
    let more = combine(signature, &modulus, true);
    assert!(more > modulus, "the sum does not fit: this signature shows nothing");
    assert_eq!(crate::frozen::verdict(&key, signature), Ok(()));
    assert_eq!(crate::frozen::verdict(&key, &more), Err(Refusal::BadSignature { kind: Kind::Rsa }));
    assert_eq!(crate::frozen::verdict(&key, &modulus), Err(Refusal::BadSignature { kind: Kind::Rsa }));
}

#[test]
fn other_keys_are_not_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refused = |genpkey: &[&str], pkey: &[&str]| {
        run(folder, "openssl", &[&["genpkey", "-out", "key.pem"], genpkey].concat());
        let pem = run_for_text(folder, "openssl", &[&["pkey", "-in", "key.pem", "-pubout"], pkey].concat());
        let private = PrivateKey::from_pem(&fs::read_to_string(folder.join("key.pem")).unwrap());
        (PublicKey::from_pem(&pem).unwrap_err(), private.map(drop))
    };
    let rsa = |options: &[&str]| {
        let options = options.iter().flat_map(|option| ["-pkeyopt", *option]);
        let arguments: Vec<_> = ["-algorithm", "RSA"].into_iter().chain(options).collect();
        refused(&arguments, &[])
    };
    // An RSA key signs elsewhere, whatever its length.
    assert_eq!(rsa(&["rsa_keygen_bits:2048"]), (KeyError::Rsa, Err(KeyError::RsaPrivate)));
    assert_eq!(rsa(&["rsa_keygen_bits:3064"]).0, KeyError::Rsa);
    assert_eq!(rsa(&["rsa_keygen_bits:3072", "rsa_keygen_pubexp:3"]).0, KeyError::Rsa);
    let (public, private) = (KeyError::Pem(KeyHalf::Public), KeyError::Pem(KeyHalf::Private));
    let curve = |name: &str| {
        ["-algorithm".to_owned(), "EC".to_owned(), "-pkeyopt".to_owned(), format!("ec_paramgen_curve:{name}")]
    };
    for name in ["P-256", "P-521", "brainpoolP384r1"] {
        let arguments = curve(name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        assert_eq!(refused(&arguments, &[]), (public, Err(private)), "{name}");
    }
    assert_eq!(refused(&["-algorithm", "X25519"], &[]), (public, Err(private)));
    assert_eq!(refused(&["-algorithm", "ed448"], &[]), (public, Err(private)));
    let pss = ["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:3072"];
    assert_eq!(refused(&pss, &[]), (public, Err(private)));
    // The right key in another form would be the same key by another name.
    let compressed = ["-ec_conv_form", "compressed"];
    assert_eq!(refused(KEYS[1].1, &compressed), (public, Ok(())));
    let explicit = ["-ec_param_enc", "explicit"];
    assert_eq!(refused(KEYS[1].1, &explicit), (public, Ok(())));
}

#[test]
fn a_key_is_for_schemes_of_its_kind() {
    let key = p384_key().public().unwrap();
    let scheme = Scheme::Rsa(RsaPadding::Pss, Hash::Sha384);
    let error = key.clone().only_for(scheme).unwrap_err();
    assert_eq!(error, KeyError::Scheme { kind: Kind::P384, scheme });
    assert_eq!(error.to_string(), "rsa-pss-sha384 signatures need another kind of key than this p384 key");
    assert_eq!(key.clone().only_for(Scheme::P384).unwrap().scheme(), Scheme::P384);
    assert_eq!(key.signature_length(), 96);
    assert!(PrivateKey::p384_from_number(&[0; 48]).is_none());
    assert!(PrivateKey::p384_from_number(&P384_ORDER).is_none());
}
