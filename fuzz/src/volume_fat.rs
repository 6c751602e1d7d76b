//! A hostile host against the volume: any bytes in its FATs and root directory, files that are right and wrong, trigger files, and time.
//!
//! The first byte: 255 a volume with larger clusters. Then the script; a byte, modulo 10, says what comes. Numbers are of two bytes, but where something else is said.
//!
//! * 0: an entry of the root directory: its number modulo 512, a byte for the name and its case, one for the attributes, its first cluster, four bytes for the size.
//! * 1: an entry of a FAT: a byte, bit 0 the copy; the cluster; what follows it.
//! * 2: a chain in both FATs: its first cluster, a byte for how many, a byte for how far they lie apart, with a sign.
//! * 3: bytes in such clusters, of such a chain modulo 16.
//! * 4: a whole file: as 2 and 3, then a byte for how many bytes are missing in the last cluster, and one for the number of the entry.
//! * 5: one byte of a block before the data: the block, the place, the byte.
//! * 6: a block of the volume. 7: two bytes of the geometry in the boot sector: a byte for the place, the bytes.
//! * 8: so many eighths of a second pass, a byte. 9: the entry with the number of a byte goes.
//!
//! What is watched and what is found has to be what a simple reader finds, which reads all of it, and in another way.

use std::time::Duration;

use inband_volume::{
    fat::{Image, LONGEST, QUIET, Trigger, Watch},
    scsi::BLOCK,
    sparse::Sparse,
    testing::{FatHost, package_on},
};

const NAMES: [&[u8; 11]; 8] = [
    b"FIRMWAREBIN",
    b"APPLY   CMD",
    b"CANCEL  CMD",
    b"\xe5IRMWAREBIN",
    b"\x00PPLY   CMD",
    b"FIRMWA~1BIN",
    b"FIRMWAREBIN",
    b"APPLY   CMD",
];

/// A label, or a part of a long name.
const LABEL: u8 = 8;

pub(crate) fn run(input: &[u8]) {
    let mut script = Script(input);
    let max_size = if script.byte() == 255 { 140 << 20 } else { 1 << 20 };
    let host = FatHost::new(max_size).expect("a volume of that size");
    let mut host = Host { watch: Watch::new(host.geometry()), host, now: Duration::ZERO, seen: [None; 2] };
    while let Some((&step, rest)) = script.0.split_first() {
        script.0 = rest;
        host.step(step, &mut script);
        host.check_watch();
    }
    let store = &host.host.store;
    let wanted = package_on(store.base(), |lba| {
        let mut block = [0; BLOCK];
        (store.is_written(lba) && store.read(lba, &mut block).is_ok()).then_some(block)
    });
    match host.host.open() {
        Ok(contents) => {
            let bytes = contents.slices().collect::<Vec<_>>().concat();
            assert_eq!(bytes.len(), contents.size() as usize, "not as long as it says");
            let taken = contents.into_iter().collect::<Vec<_>>().concat();
            assert!(taken == bytes, "other bytes when taken away");
            assert!(wanted == Some(bytes), "other bytes, or of what should be refused");
        }
        Err(refused) => assert!(wanted.is_none(), "{refused}"),
    }
}

struct Host {
    host: FatHost,
    watch: Watch,
    now: Duration,
    /// Since when CANCEL.CMD and APPLY.CMD are there.
    seen: [Option<Duration>; 2],
}

impl Host {
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let geometry = *self.host.geometry();
        // Where it was, or somewhere else outside of the root directory.
        let mut written = 0;
        match step % 10 {
            0 => {
                let (number, name, attributes) = (script.word(), script.byte(), script.byte());
                let (cluster, low) = (script.word(), script.word());
                let size = u32::from(script.word()) << 16 | u32::from(low);
                let mut bytes = *NAMES[usize::from(name % 8)];
                if name & 0x80 != 0 {
                    bytes.make_ascii_lowercase();
                }
                written = self.host.entry(u32::from(number % 512), &bytes, attributes, cluster, size);
            }
            1 => {
                let (copy, cluster, next) = (script.byte(), script.word(), script.word());
                let cluster = u32::from(cluster) % (geometry.fat_blocks() * 256);
                self.host.link_in(u32::from(copy & 1), cluster as u16, next);
            }
            2 => {
                let clusters = self.clusters(script, 256);
                self.host.chain(&clusters);
            }
            3 => {
                let clusters = self.clusters(script, 16);
                let length = clusters.len() * geometry.cluster_blocks() as usize * BLOCK;
                self.host.fill(&clusters, &contents(clusters.len(), length));
            }
            4 => {
                let clusters = self.clusters(script, 16);
                let length = clusters.len() * geometry.cluster_blocks() as usize * BLOCK;
                let length = length.saturating_sub(usize::from(script.byte()) * 16);
                let bytes = contents(clusters.len() + 1, length);
                let number = u32::from(script.byte());
                self.host.file(number, NAMES[0], &clusters, &bytes);
                written = geometry.root() + number / 16;
            }
            5 => {
                let (lba, at) =
                    (u32::from(script.word()) % geometry.data(), usize::from(script.word()) % BLOCK);
                self.host.change(lba, at, &[script.byte()]);
                written = lba;
            }
            6 => {
                let lba = u32::from(script.word());
                self.host.change(lba, 0, &[1]);
                written = lba;
            }
            7 => {
                let at = 11 + usize::from(script.byte() % 24);
                self.host.change(0, at, &script.word().to_le_bytes());
            }
            8 => {
                self.now += Duration::from_millis(125) * u32::from(script.byte());
                return;
            }
            _ => {
                written = self.host.entry(script.byte().into(), NAMES[3], 0, 0, 0);
            }
        }
        self.watch.handle_write(&self.host.store, written.into(), 1, self.now);
        if !(geometry.root()..geometry.data()).contains(&written) {
            return;
        }
        let names = names(&self.host.store);
        for (seen, name) in self.seen.iter_mut().zip([NAMES[2], NAMES[1]]) {
            let is_there = names.iter().any(|entry| is(entry, name));
            *seen = seen.or(Some(self.now)).filter(|_| is_there);
        }
        assert_eq!(self.watch.has_firmware(), names.iter().any(|entry| is(entry, NAMES[0])));
    }

    fn check_watch(&self) {
        let last = self.watch.last_write();
        let is_due = |since: Duration| self.now >= last + QUIET || self.now >= since + LONGEST;
        let wanted = match self.seen {
            [Some(since), _] => is_due(since).then_some(Trigger::Cancel),
            [None, Some(since)] => is_due(since).then_some(Trigger::Apply),
            [None, None] => None,
        };
        assert_eq!(self.watch.poll(self.now), wanted);
        assert_eq!(self.watch.poll_timeout().is_some_and(|due| due <= self.now), wanted.is_some());
    }

    /// Clusters that there are, at even distances, and at most so many.
    fn clusters(&self, script: &mut Script<'_>, most: i32) -> Vec<u16> {
        let (first, count, distance) = (script.word(), script.byte(), script.byte());
        let all = self.host.geometry().clusters() as i32;
        let place = |n: i32| ((i32::from(first) + n * i32::from(distance as i8)).rem_euclid(all) + 2) as u16;
        (0..i32::from(count) % most).map(place).collect()
    }
}

/// Blocks that are all different.
fn contents(seed: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes.chunks_mut(BLOCK).enumerate().for_each(|(n, block)| block.fill((n * 7 + seed) as u8));
    bytes
}

fn is(entry: &[u8; 32], name: &[u8; 11]) -> bool {
    entry[..11].eq_ignore_ascii_case(name)
}

fn blocks(store: &Sparse<Image>, lba: u32, count: u32) -> Vec<u8> {
    let mut bytes = vec![0; count as usize * BLOCK];
    store.read(lba.into(), &mut bytes).expect("blocks that are there");
    bytes
}

/// The entries of the root directory that name something.
fn names(store: &Sparse<Image>) -> Vec<[u8; 32]> {
    let root = blocks(store, store.base().geometry().root(), 32);
    let entries = root.chunks_exact(32).map(|entry| entry.try_into().expect("32 bytes"));
    entries.filter(|entry: &[u8; 32]| entry[0] != 0 && entry[11] & LABEL == 0).collect()
}

/// What is left of the input; zeros behind it.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}
