//! Keys, packages and a sink that the tests share.

use std::io::Cursor;
use std::sync::Arc;

use inband_package::digest::Digest;
use inband_package::index::MemberKind;
use inband_package::maker::{Input, PackOptions, PrivateKey, Source, pack, sign};
use inband_package::reader::Error;
use inband_package::{
    Checked, Head, Index, KeyRing, Kind, Policy, Progress, Reader, Refusal, Sink, Verifier,
};
use proptest::test_runner::Config as ProptestConfig;

/// Whether tests that try the same many times try some of it only: what `INBAND_TESTS=few` says, for slow processors.
fn few() -> bool {
    match std::env::var("INBAND_TESTS") {
        Ok(word) if word == "few" => true,
        Ok(word) => panic!("INBAND_TESTS is \"{word}\"; \"few\" is all it can be"),
        Err(_) => false,
    }
}

/// From one byte to the next that a test has a try at.
pub(crate) fn stride() -> usize {
    // A prime: it meets every place in a block, and every change of those that take turns.
    if few() { 37 } else { 1 }
}

/// How often a property is tried that is tried so often where there is time.
pub(crate) fn cases(all: u32) -> ProptestConfig {
    ProptestConfig::with_cases(if few() { all.div_ceil(8) } else { all })
}

/// The key that signs the tests' packages.
pub(crate) fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

/// A BMC's keys: the one above.
pub(crate) fn keys() -> KeyRing {
    KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap()
}

/// The policy of the BMC that the tests' packages are for.
pub(crate) fn policy() -> Policy {
    Policy { security_floor: 3, max_total_length: 64 << 20, ..Policy::for_machine("evb-ast2600".into()) }
}

pub(crate) fn options() -> PackOptions {
    PackOptions {
        machine: "evb-ast2600".into(),
        compatible: vec!["com.example.evb".into()],
        version: "2.14.0-rc1".into(),
        security_version: 3,
        bcd_device: 0x0214,
        targets: vec!["bmc".into()],
        mtime: 0,
        compression: None,
        signers: vec![key().public().unwrap().signature_entry()],
    }
}

pub(crate) fn image(name: &str, bytes: Vec<u8>) -> Input {
    Input { name: name.into(), kind: MemberKind::Image, target: 0, source: Source::Bytes(bytes) }
}

/// Packs and signs.
pub(crate) fn package_of(options: &PackOptions, inputs: &[Input]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    pack(options, inputs, &mut file).unwrap();
    sign(&mut file, &key()).unwrap();
    file.into_inner()
}

/// A package of a few kilobytes: three images, two of them of one length and one empty, and metadata.
pub(crate) fn small_package() -> Vec<u8> {
    let mut manifest = image("MANIFEST", b"purpose=bmc\n".to_vec());
    manifest.kind = MemberKind::Metadata;
    let inputs = [
        image("image-kernel", noise(700, 1)),
        image("image-rofs", noise(700, 2)),
        image("empty", Vec::new()),
        manifest,
    ];
    package_of(&options(), &inputs)
}

/// Bytes that look random and are always the same (xorshift64*).
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A call to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Begin(Box<Begun>),
    Chunk(usize, u64, Vec<u8>),
    End,
}

/// What the sink is told at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) head: Head,
    pub(crate) head_digest: Digest,
    pub(crate) index: Index,
    pub(crate) index_bytes: Vec<u8>,
}

/// Notes the calls, and fails at one if told so.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) calls: Vec<Call>,
    pub(crate) fail_at: Option<usize>,
}

/// The error of [`Notes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told;

impl Notes {
    fn note(&mut self, call: Call) -> Result<(), Told> {
        self.calls.push(call);
        if self.fail_at == Some(self.calls.len()) { Err(Told) } else { Ok(()) }
    }

    pub(crate) fn ended(&self) -> bool {
        self.calls.last() == Some(&Call::End)
    }
}

impl Sink for Notes {
    type Error = Told;

    fn begin(&mut self, head: &Head, digest: &Digest, index: &Arc<Index>, bytes: &[u8]) -> Result<(), Told> {
        let (head, index, index_bytes) = (head.clone(), Index::clone(index), bytes.to_vec());
        self.note(Call::Begin(Box::new(Begun { head, head_digest: *digest, index, index_bytes })))
    }

    fn chunk(&mut self, chunk: &Checked<'_>) -> Result<(), Told> {
        self.note(Call::Chunk(chunk.member(), chunk.offset(), chunk.bytes().to_vec()))
    }

    fn end(&mut self) -> Result<(), Told> {
        self.note(Call::End)
    }
}

/// Reads `pieces` one after another and ends the stream. The result holds the sink's calls and the refusal.
pub(crate) fn read_with<'a>(
    verifier: impl Verifier,
    policy: Policy,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Notes, Result<(), Refusal>) {
    let mut reader = Reader::new(verifier, policy);
    let mut notes = Notes::default();
    for piece in pieces {
        match reader.push(piece, &mut notes) {
            Ok(Progress::More) => assert!(!notes.ended()),
            Ok(Progress::Complete) => assert!(notes.ended()),
            Err(Error::Refused(refusal)) => return (notes, Err(refusal)),
            Err(other) => panic!("{other:?}"),
        }
    }
    let result = reader.finish();
    (notes, result)
}

/// Reads a package in one piece with the tests' keys and policy.
pub(crate) fn read(package: &[u8]) -> (Notes, Result<(), Refusal>) {
    read_with(keys(), policy(), [package])
}

/// The refusal of a package.
pub(crate) fn refusal(package: &[u8]) -> Refusal {
    let (_, result) = read(package);
    result.expect_err("a refusal")
}

/// Offsets of the tar headers of a package that the reader accepts, and behind them that of the end blocks.
pub(crate) fn header_offsets(package: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = 0;
    while package[at] != 0 {
        offsets.push(at);
        let digits = std::str::from_utf8(&package[at + 124..at + 135]).unwrap();
        let length = usize::from_str_radix(digits, 8).unwrap();
        at += 512 + length.next_multiple_of(512);
    }
    offsets.push(at);
    offsets
}

/// Changes the head of a package, keeps its header's mtime in step, and signs again.
pub(crate) fn with_head(package: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut package = package.to_vec();
    change(&mut package[512..1024]);
    resign(&mut package);
    package
}

/// Signs the head of a package whose first signature is at its usual place, whatever the head says.
pub(crate) fn resign(package: &mut [u8]) {
    let head: &[u8; 512] = package[512..1024].try_into().unwrap();
    let signature = key().sign(&inband_package::signature::signed_bytes(head));
    package[1536..1600].copy_from_slice(&signature);
}
