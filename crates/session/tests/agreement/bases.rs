//! Packages that are right, and the policies of BMCs that take them.

use inband_package::key::KeyId;
use inband_package::{Expected, Kind, PublicKey, Rule, Running, Scheme, sha256};
use inband_store::{Region, RegionPolicy};

use crate::draft::{Chunk, Draft, Member};
use crate::frames;
use crate::keys::{self, FROZEN, Signer};
use crate::random::Random;

/// What a BMC accepts.
#[derive(Clone)]
pub(crate) struct Bmc {
    pub(crate) machine: String,
    pub(crate) max_length: u64,
    pub(crate) compatible: Vec<String>,
    pub(crate) floor: u32,
    pub(crate) running: Running,
    pub(crate) same_version: Rule,
    pub(crate) downgrade: Rule,
    pub(crate) expected: Expected,
    pub(crate) required: Vec<Kind>,
    pub(crate) keys: Vec<(PublicKey, Option<Scheme>)>,
    pub(crate) revoked: Vec<KeyId>,
    /// Their offsets mean nothing here.
    pub(crate) regions: Vec<Region>,
}

const IMAGES: [&str; 5] = ["image-u-boot", "image-kernel", "image-rofs", "image-rwfs", "image-bmc"];
const METADATA: [&str; 4] = ["MANIFEST", "publickey", "keys/next.pem", "a.b_c-d+e:f~g@h"];

pub(crate) fn draft(random: &mut Random) -> Draft {
    let signers: &[usize] = match random.below(10) {
        0 => &[2],
        1 => &[0, 2],
        2 => &[3, 1],
        3 => &[1],
        _ => &[0],
    };
    let mut draft = plain_draft(signers.iter().map(|number| Signer::Key(*number)).collect());
    if random.once_in(4) {
        draft.mtime = *random.pick(&[1, 1_700_000_000, (1 << 33) - 1]);
    }
    for _ in 0..random.below(3) {
        let length = random.within(1, 48);
        draft.compatible.push(text(random, length));
    }
    let length = random.within(1, 48);
    draft.version = text(random, length);
    draft.security_version = random.within(3, 5) as u32;
    if random.once_in(4) {
        draft.targets.push(b"second".to_vec());
    }
    let first = random.below(IMAGES.len());
    for number in 0..random.within(1, 3) {
        let name = IMAGES[(first + number) % IMAGES.len()];
        let mut member = Member::new(name, 0, chunks(random));
        member.target = random.below(draft.targets.len()) as u8;
        draft.members.push(member);
    }
    for name in &METADATA[..random.below(3)] {
        let at = random.below(draft.members.len() + 1);
        let name = if random.once_in(2) { name } else { METADATA[3 - at % 2] };
        if draft.members.iter().all(|member| member.name != name.as_bytes()) {
            draft.members.insert(at, Member::new(name, 1, chunks(random)));
        }
    }
    draft
}

/// The draft that the frozen signatures are of: never change it, or what it is made of.
pub(crate) fn frozen_draft(number: usize) -> Draft {
    let mut draft = plain_draft(vec![Signer::Frozen(&FROZEN[number])]);
    draft.members.push(Member::new("image-bmc", 0, vec![Chunk::plain(b"firmware".to_vec())]));
    draft
}

fn plain_draft(signers: Vec<Signer>) -> Draft {
    Draft {
        mtime: 0,
        machine: b"evb-ast2600".to_vec(),
        signers,
        index_machine: b"evb-ast2600".to_vec(),
        compatible: Vec::new(),
        version: b"2.14.0-rc1".to_vec(),
        security_version: 3,
        bcd_device: 0x0214,
        targets: vec![b"bmc".to_vec()],
        members: Vec::new(),
    }
}

/// A *str* of this length.
pub(crate) fn text(random: &mut Random, length: usize) -> Vec<u8> {
    const CHARACTERS: &[u8] = b"ABCXYZabcxyz0189._-+:~@/";
    (0..length).map(|_| *random.pick(CHARACTERS)).collect()
}

fn chunks(random: &mut Random) -> Vec<Chunk> {
    (0..random.below(4)).map(|_| chunk(random)).collect()
}

fn chunk(random: &mut Random) -> Chunk {
    if random.once_in(4) {
        return frames::good(random);
    }
    let most = if random.once_in(60) { 20_000 } else { 900 };
    let length = random.within(1, most);
    // Whole blocks have no padding.
    let length = if random.once_in(8) { length.next_multiple_of(512) } else { length };
    Chunk::plain(random.bytes(length))
}

impl Bmc {
    /// One that takes this draft.
    pub(crate) fn of(draft: &Draft, random: &mut Random) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut required: Vec<Kind> = draft.signers.iter().map(|signer| signer.entry().kind()).collect();
        required.sort();
        let mut regions = Vec::new();
        for member in draft.members.iter().filter(|member| member.kind == 0) {
            let length: u64 = member.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
            let spare = random.below(2) as u64 * 512;
            let target = text(&draft.targets[usize::from(member.target)]);
            let mut region = Region::new(&target, &text(&member.name), 0, (length + spare).max(1));
            // One at least has to be replaced.
            let preserve = !regions.is_empty() && random.once_in(4);
            region.policy = if preserve { RegionPolicy::Preserve } else { RegionPolicy::Replace };
            regions.push(region);
        }
        for target in &draft.targets {
            // A package may name a target and bring nothing for it, if the BMC has that target.
            let target = text(target);
            if regions.iter().all(|region| region.target != target) {
                let policy = RegionPolicy::Preserve;
                let member = format!("other-{target}");
                regions.push(Region { policy, ..Region::new(&target, &member, 0, 512) });
            }
        }
        let compatible = match draft.compatible.first() {
            Some(name) if random.once_in(2) => vec!["com.example.other".into(), text(name)],
            _ => Vec::new(),
        };
        let refused = |no: bool| if no { Rule::Refuse } else { Rule::Accept };
        let running = Running {
            version: if random.once_in(2) { text(&draft.version) } else { "1.0".into() },
            security_version: draft.security_version - random.below(2) as u32,
            bcd_device: *random.pick(&[draft.bcd_device - 1, draft.bcd_device, draft.bcd_device + 1]),
        };
        Self {
            machine: text(&draft.machine),
            max_length: 64 << 20,
            compatible,
            floor: draft.security_version - random.below(3) as u32,
            same_version: refused(running.version.as_bytes() != draft.version && random.once_in(2)),
            downgrade: refused(
                (running.security_version, running.bcd_device) <= (draft.security_version, draft.bcd_device)
                    && random.once_in(2),
            ),
            expected: Expected::ANYTHING,
            running,
            required,
            keys: keys::all().into_iter().map(|key| (key, None)).collect(),
            revoked: Vec::new(),
            regions,
        }
    }

    /// Somebody has said what comes, more or less: this archive.
    pub(crate) fn expect(&mut self, archive: &[u8], random: &mut Random) {
        let refuses = self.downgrade == Rule::Refuse;
        self.expected = Expected {
            not_older: refuses && random.once_in(2),
            length: random.once_in(16).then_some(archive.len() as u64),
            head: random.once_in(16).then(|| sha256(&archive[512..1024])),
        };
    }
}
