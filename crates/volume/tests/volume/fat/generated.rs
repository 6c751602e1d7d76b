//! What nobody here could record: macOS and Windows, as others have told of them.

use inband_volume::{
    scsi::BLOCK,
    testing::{
        FatHost,
        trace::{Trace, package},
    },
};

use super::support::MIB;

/// The largest package of the volume, in bytes.
pub(crate) const MAX_SIZE: u32 = 8 * MIB;

const CLUSTER: usize = 4096;
/// Attributes: hidden, system, folder, and what was changed.
const HIDDEN: u8 = 0x02;
const SYSTEM: u8 = 0x04;
const FOLDER: u8 = 0x10;
const ARCHIVE: u8 = 0x20;

/// A host with a cache: what it changes it writes when it is told to.
struct Cache {
    host: FatHost,
    trace: Trace,
    /// The root entry that is free next.
    entry: u32,
}

impl Cache {
    fn new(files: Vec<Vec<u8>>) -> Self {
        let host = FatHost::new(MAX_SIZE).unwrap();
        Self { host, trace: Trace { files, writes: Vec::new() }, entry: 4 }
    }

    /// One WRITE.
    fn write(&mut self, lba: u32, blocks: u32) {
        let mut data = vec![0; blocks as usize * BLOCK];
        self.host.store.read(lba.into(), &mut data).unwrap();
        self.trace.writes.push((lba.into(), data));
    }

    fn write_root(&mut self) {
        self.write(self.host.geometry().root(), self.entry.div_ceil(16));
    }

    /// The first blocks of a copy of the FAT.
    fn write_fat(&mut self, copy: u32, blocks: u32) {
        let geometry = self.host.geometry();
        self.write(geometry.reserved() + copy * geometry.fat_blocks(), blocks);
    }

    fn lba(&self, cluster: u16) -> u32 {
        self.host.geometry().data() + (u32::from(cluster) - 2) * (CLUSTER / BLOCK) as u32
    }

    fn write_fats(&mut self, blocks: u32) {
        self.write_fat(0, blocks);
        self.write_fat(1, blocks);
    }

    fn write_cluster(&mut self, cluster: u16) {
        self.write(self.lba(cluster), (CLUSTER / BLOCK) as u32);
    }

    /// A name in the root, with the parts of the long one in front of it; the number of its entry.
    fn name(&mut self, long: &str, short: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> u32 {
        let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let text: Vec<u16> = long.encode_utf16().chain([0]).collect();
        for (index, part) in text.chunks(13).enumerate().rev() {
            let last = if (index + 1) * 13 >= text.len() { 0x40 } else { 0 };
            let mut entry = [0xff; 32];
            entry[0] = (index as u8 + 1) | last;
            (entry[11], entry[12], entry[13]) = (0x0f, 0, sum);
            entry[26..28].fill(0);
            let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
            for (place, unit) in places.zip(part) {
                entry[place..place + 2].copy_from_slice(&unit.to_le_bytes());
            }
            let root = self.host.geometry().root();
            self.host.change(root + self.entry / 16, self.entry as usize % 16 * 32, &entry);
            self.entry += 1;
        }
        self.host.entry(self.entry, short, attributes, cluster, size);
        self.entry += 1;
        self.entry - 1
    }

    /// A folder of one cluster in the root.
    fn folder(&mut self, long: &str, short: &[u8; 11], attributes: u8, cluster: u16) {
        self.name(long, short, attributes | FOLDER, cluster, 0);
        self.host.chain(&[cluster]);
        for (number, name, own) in [(0, b".          ", cluster), (1, b"..         ", 0)] {
            self.in_folder(cluster, number, name, FOLDER, own, 0);
        }
    }

    fn in_folder(
        &mut self,
        folder: u16,
        number: usize,
        name: &[u8; 11],
        attributes: u8,
        cluster: u16,
        size: u32,
    ) {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[26..28].copy_from_slice(&cluster.to_le_bytes());
        entry[28..].copy_from_slice(&size.to_le_bytes());
        self.host.change(self.lba(folder), number * 32, &entry);
    }

    /// A small file in a folder: one cluster.
    fn file_in(&mut self, folder: u16, number: usize, name: &[u8; 11], cluster: u16, bytes: &[u8]) {
        self.in_folder(folder, number, name, ARCHIVE, cluster, bytes.len() as u32);
        self.host.fill(&[cluster], bytes);
        self.host.chain(&[cluster]);
    }
}

/// Runs of clusters that follow each other, as one list.
fn clusters(runs: &[(u16, usize)]) -> Vec<u16> {
    runs.iter().flat_map(|(first, count)| (*first..).take(*count)).collect()
}

/// macOS: folders of its own and `._FIRMWARE.BIN` beside it; the entry with its size and both FATs before the data; pieces of 1 MiB by four writers,
/// each in WRITEs of 128 KiB; the indexer writes meanwhile.
pub(crate) fn macos() -> Trace {
    const PIECE: usize = 1 << 20;
    const WRITE: usize = 128 << 10;
    let bytes = package(31, 5 * PIECE + 70_001);
    let mut cache = Cache::new(vec![bytes.clone()]);
    cache.folder(".fseventsd", b"FSEVEN~1   ", HIDDEN, 10);
    cache.write_cluster(10);
    cache.write_root();
    cache.file_in(10, 2, b"FSEVEN~1   ", 11, b"6f2c1e6a-0b61-4a39-9d0b-5f8f6f5a7a10");
    cache.write_cluster(11);
    cache.write_cluster(10);
    cache.folder(".Spotlight-V100", b"SPOTLI~1   ", HIDDEN, 12);
    cache.write_root();
    cache.write_cluster(12);
    cache.folder(".Trashes", b"TRASHE~1   ", HIDDEN, 13);
    cache.write_root();
    cache.write_cluster(13);
    cache.write_fats(1);

    let double = cache.name("._FIRMWARE.BIN", b"_FIRMW~1BIN", ARCHIVE | HIDDEN, 0, 0);
    let entry = cache.name("FIRMWARE.BIN", b"FIRMWAREBIN", ARCHIVE, 0, 0);
    cache.write_root();
    // In two runs: a cluster of the indexer's lies between.
    let runs = clusters(&[(20, 600), (621, bytes.len().div_ceil(CLUSTER) - 600)]);
    cache.host.file(entry, b"FIRMWAREBIN", &runs, &bytes);
    cache.write_root();
    cache.write_fats(8);
    cache.host.file(double, b"_FIRMW~1BIN", &[14], &package(32, CLUSTER));
    cache.write_root();
    cache.write_cluster(14);

    // What each writer has still to write, in order.
    let mut writers: [Vec<(u32, u32)>; 4] = Default::default();
    let data = cache.host.geometry().data();
    for (number, piece) in runs.chunks(PIECE / CLUSTER).enumerate() {
        for part in piece.chunk_by(|one, next| one + 1 == *next) {
            for part in part.chunks(WRITE / CLUSTER) {
                let lba = data + (u32::from(part[0]) - 2) * 8;
                writers[number % 4].push((lba, part.len() as u32 * 8));
            }
        }
    }
    let (mut state, mut count) = (1_u32, 0);
    while writers.iter().any(|writer| !writer.is_empty()) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let writer = &mut writers[(state >> 16) as usize % 4];
        if !writer.is_empty() {
            let (lba, blocks) = writer.remove(0);
            cache.write(lba, blocks);
        }
        count += 1;
        if count % 9 == 0 {
            cache.file_in(12, 2, b"STORE   DB ", 620, &package(count, 3000));
            cache.write_cluster(620);
            cache.write_cluster(12);
        }
    }
    // Times; and attributes that came with the file.
    let root = cache.host.geometry().root();
    cache.host.change(root + entry / 16, entry as usize % 16 * 32 + 22, &[0x77, 0x5d, 0x77, 0x5d]);
    cache.write_root();
    cache.host.fill(&[14], &package(33, CLUSTER));
    cache.write_cluster(14);
    cache.write_fats(8);
    cache.write_root();
    cache.trace
}

/// Windows: `System Volume Information`; the entry with its size before the data, which comes in order in WRITEs of 64 KiB; one FAT behind half of it, the
/// other behind the rest, and with the unmount the last 128 KiB. A second package is copied over the first, and gets its clusters.
pub(crate) fn windows(packages: Vec<Vec<u8>>) -> Trace {
    const WRITE: u32 = 128;
    let mut cache = Cache::new(packages.clone());
    // Mounted, and so maybe not in order.
    cache.host.link(1, 0x7fff);
    cache.write_fats(1);
    cache.folder("System Volume Information", b"SYSTEM~1   ", HIDDEN | SYSTEM, 10);
    cache.write_root();
    cache.file_in(
        10,
        2,
        b"WPSETT~1DAT",
        11,
        &[0x0c, 0, 0, 0, 0x6a, 0x1f, 0x2b, 0xd7, 0x4c, 0x3e, 0x91, 0x05],
    );
    cache.write_cluster(10);
    let guid: Vec<u8> =
        "{3E21F4A0-8D1B-4A5E-9A77-0C2D51B1E6F3}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    cache.file_in(10, 3, b"INDEXE~1   ", 12, &guid);
    cache.write_cluster(11);
    cache.write_cluster(12);
    cache.write_cluster(10);
    cache.write_fats(1);

    let entry = cache.name("FIRMWARE.BIN", b"FIRMWAREBIN", ARCHIVE, 0, 0);
    let fat = cache.host.geometry().fat_blocks().min(4);
    for bytes in packages {
        cache.write_root();
        let runs = clusters(&[(20, bytes.len().div_ceil(CLUSTER))]);
        // What the one before had is free.
        (20..1000).for_each(|cluster| cache.host.link(cluster, 0));
        cache.host.file(entry, b"FIRMWAREBIN", &runs, &bytes);
        cache.write_root();
        let (first, blocks) = (cache.lba(20), bytes.len().div_ceil(BLOCK) as u32);
        let (late, half) = (blocks - 2 * WRITE, blocks / 2 / WRITE * WRITE);
        let write = |cache: &mut Cache, from: u32, to: u32| {
            let starts = (from..to).step_by(WRITE as usize);
            starts.for_each(|at| cache.write(first + at, WRITE.min(to - at)));
        };
        write(&mut cache, 0, half);
        cache.write_fat(0, fat);
        write(&mut cache, half, late);
        cache.write_fat(1, fat);
        // With the unmount; or by itself, after a while.
        write(&mut cache, late, blocks);
        cache.write_root();
    }
    cache.host.link(1, 0xffff);
    cache.write_fats(1);
    cache.trace
}
