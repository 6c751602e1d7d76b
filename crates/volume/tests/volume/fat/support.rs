//! A volume in a file, for programs that know FAT.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use inband_volume::{
    fat::{Geometry, Image, Marker, Texts},
    scsi::BLOCK,
    sparse::{Base, PAGE, Sparse},
};

pub(crate) const MIB: u32 = 1 << 20;

pub(crate) const README: &str = "Copy a package to FIRMWARE.BIN, then eject the disk.\r\n";
pub(crate) const STATUS: &str = "SPEC=1\r\nSTATE=READY\r\nGENERATION=0BADCAFE\r\n";
pub(crate) const GENERATION: u32 = 0x0bad_cafe;

/// One whose README needs several blocks, and more than one cluster of the smallest.
pub(crate) fn image(max_size: u32, marker: Marker) -> Image {
    let texts = Texts {
        readme: README.repeat(100).into_bytes(),
        status: STATUS.into(),
        marker,
        verdict: b"SPEC=1\r\n".into(),
    };
    Image::new(Geometry::new(max_size).unwrap(), GENERATION, texts)
}

pub(crate) fn store(max_size: u32) -> Sparse<Image> {
    let image = image(max_size, Marker::Ready);
    let blocks = image.geometry().blocks().into();
    Sparse::new(image, blocks, usize::MAX).unwrap()
}

/// The image as a file with holes.
pub(crate) fn to_file(image: &Image, path: &Path) {
    let geometry = image.geometry();
    let mut file = File::create(path).unwrap();
    file.set_len(u64::from(geometry.blocks()) * BLOCK as u64).unwrap();
    let mut block = [0; BLOCK];
    // The texts lie in the first clusters.
    for lba in 0..u64::from(geometry.data() + 16 * geometry.cluster_blocks()) {
        image.block(lba, &mut block);
        if block != [0; BLOCK] {
            file.seek(SeekFrom::Start(lba * BLOCK as u64)).unwrap();
            file.write_all(&block).unwrap();
        }
    }
}

/// Runs a program that has to succeed: what it said.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).env("PATH", path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{program} {arguments:?}: {said}{output:?}");
    output.stdout
}

/// With the places where Debian has fsck.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// A file with a volume, which mtools write to as a host would: what they changed is what a host writes.
pub(crate) struct Drive {
    folder: tempfile::TempDir,
    seen: Vec<u8>,
}

pub(crate) type Write1 = (u64, [u8; BLOCK]);

impl Drive {
    pub(crate) fn new(max_size: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        to_file(&image(max_size, Marker::Ready), &folder.path().join("volume"));
        let mut drive = Self { folder, seen: Vec::new() };
        drive.seen = drive.bytes();
        drive
    }

    fn place(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }

    /// The begin of it: mtools take the first clusters that are free.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8 << 20];
        File::open(self.place("volume")).unwrap().read_exact(&mut bytes).unwrap();
        bytes
    }

    /// `mcopy`, to a name in the root.
    pub(crate) fn copy(&self, name: &str, bytes: &[u8]) {
        let source = self.place("source");
        std::fs::write(&source, bytes).unwrap();
        run("mcopy", &["-o", "-i", &self.place("volume"), &source, &format!("::{name}")]);
    }

    /// One of the mtools, with these arguments.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) {
        run(program, &[&["-i", &self.place("volume")], arguments].concat());
    }

    /// What fsck thinks of it.
    pub(crate) fn check(&self) {
        run("fsck.vfat", &["-n", &self.place("volume")]);
    }

    /// The blocks that changed since the last call.
    pub(crate) fn writes(&mut self) -> Vec<Write1> {
        let bytes = self.bytes();
        let mut writes = Vec::new();
        let parts = bytes.chunks_exact(PAGE).zip(self.seen.chunks_exact(PAGE));
        for (part, (now, before)) in (0..).zip(parts).filter(|(_, (now, before))| now != before) {
            let blocks = now.chunks_exact(BLOCK).zip(before.chunks_exact(BLOCK));
            let changed =
                (part * (PAGE / BLOCK) as u64..).zip(blocks).filter(|(_, (now, before))| now != before);
            writes.extend(changed.map(|(lba, (now, _))| (lba, now.try_into().unwrap())));
        }
        self.seen = bytes;
        writes
    }
}

pub(crate) fn write(store: &mut Sparse<Image>, writes: &[Write1]) {
    for (lba, block) in writes {
        store.write(*lba, block).unwrap();
    }
}

/// Numbers of writes of these blocks, sorted by a key; writes of one block stay in their order.
pub(crate) fn sorted<K: Ord>(blocks: &[u64], key: impl FnMut(&usize) -> K) -> Vec<usize> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(key);
    let mut of_block: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, lba) in blocks.iter().enumerate().rev() {
        of_block.entry(*lba).or_default().push(index);
    }
    order.iter().map(|index| of_block.get_mut(&blocks[*index]).unwrap().pop().unwrap()).collect()
}

/// A key for any number of writes, from a few random ones.
pub(crate) fn scatter(keys: &[u32], index: usize) -> u64 {
    let key = u64::from(keys[index % keys.len()]) ^ (index / keys.len()) as u64;
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How often something is tried that chance makes: as often as this variable says, else as usual, and an eighth of it on slow processors (`INBAND_TESTS=few`).
pub(crate) fn times(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(count) => count.parse().unwrap(),
        Err(_) if std::env::var("INBAND_TESTS").is_ok_and(|word| word == "few") => usual / 8,
        Err(_) => usual,
    }
}
