//! What is taken is the store as it was at the trigger, whatever its host does before, meanwhile and afterwards: hosts made of random numbers, on a disk.
//!
//! `INBAND_SCHEDULES` says how many there are (`cargo xtask soak schedules`: a million).

use std::collections::HashMap;

use inband_volume::{
    bot::{Intent, Target as _},
    fat::{Image, open},
    scsi::{BLOCK, Disk, Event, Fault, Medium, Sense, State},
    sparse::{PAGE, Sealed, Sparse},
    testing::{FatHost, package_on, trace::package},
};

use super::support::{MIB, times};
use crate::support::{IDENTITY, cdb10, run};

const NAME: &[u8; 11] = b"FIRMWAREBIN";

/// Numbers that a seed makes (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        (1..list.len()).for_each(|end| list.swap(end, self.below(end + 1)));
    }
}

/// A drive as a BMC has it: the store of its medium goes to whoever judges it, and then there is none.
struct Drive {
    medium: Option<Sparse<Image>>,
    insertion: u32,
    taken: Option<Sealed<Image>>,
}

impl Drive {
    fn insert(&mut self) {
        self.medium = Some(FatHost::new(MIB).unwrap().store);
        self.insertion += 1;
    }

    fn take(&mut self) {
        self.taken = self.medium.take().map(Sparse::seal);
    }
}

impl Medium for Drive {
    fn state(&self) -> State {
        self.medium.as_ref().map_or(State::Absent, |store| State::Present {
            blocks: store.blocks(),
            write_protected: false,
            insertion: self.insertion,
        })
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.medium.as_ref().ok_or(Fault::Absent)?.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        self.medium.as_mut().ok_or(Fault::Absent)?.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn notice(&mut self, event: Event) {
        if event == Event::Ejected {
            self.take();
        }
    }
}

type Write = (u64, Vec<u8>);

/// What a host means to write: one package or two, one over the other, in some order, not all of it, and other things.
fn plan(random: &mut Random) -> Vec<Write> {
    let mut host = FatHost::new(MIB).unwrap();
    let geometry = *host.geometry();
    let mut writes = Vec::new();
    let mut old: Vec<u16> = Vec::new();
    for _ in 0..=random.below(2) {
        let first = 18 + random.below(20) as u16;
        let mut clusters: Vec<u16> = (first..).take(1 + random.below(24)).collect();
        match random.below(4) {
            0 => clusters.reverse(),
            1 => random.shuffle(&mut clusters),
            2 => clusters.iter_mut().for_each(|cluster| *cluster = *cluster * 4 - 3 * first),
            _ => {}
        }
        let bytes = package(random.0, clusters.len() * 4096 - random.below(4096));
        old.iter().for_each(|cluster| host.link(*cluster, 0));
        host.file(20, NAME, &clusters, &bytes);
        // Whole clusters, or what of them has bytes of the file; some at once.
        let mut round: Vec<(u32, u32)> = Vec::new();
        let at_once = 1 + random.below(6);
        for run in clusters.chunk_by(|one, next| one + 1 == *next).flat_map(|run| run.chunks(at_once)) {
            round.push((geometry.data() + u32::from(run[0] - 2) * 8, run.len() as u32 * 8));
        }
        let fats = [geometry.reserved(), geometry.reserved() + geometry.fat_blocks()];
        round.extend(fats.map(|fat| (fat, 1)));
        round.push((geometry.root() + 1, 1));
        random.shuffle(&mut round);
        if random.one_in(3) {
            round.remove(random.below(round.len()));
        }
        for (lba, blocks) in round {
            for _ in 0..=usize::from(random.one_in(8)) {
                let mut data = vec![0; blocks as usize * BLOCK];
                host.store.read(lba.into(), &mut data).unwrap();
                writes.push((lba.into(), data));
            }
        }
        old = clusters;
    }
    for _ in 0..random.below(4) {
        let at = random.below(writes.len() + 1);
        writes.insert(at, other(random, &host));
    }
    writes
}

/// What has nothing to do with the package; or would rather not have.
fn other(random: &mut Random, host: &FatHost) -> Write {
    let geometry = host.geometry();
    let (lba, at) = match random.below(8) {
        // The boot sector: its state, its geometry.
        0..3 => (0, 37),
        3 if random.one_in(3) => (0, 11 + random.below(25)),
        // A FAT, or the directory with the package.
        4 if random.one_in(2) => {
            (geometry.reserved() + random.below(2) as u32 * geometry.fat_blocks(), random.below(BLOCK))
        }
        5 if random.one_in(2) => (geometry.root() + 1, random.below(BLOCK)),
        // Bytes of the package.
        6 => (geometry.data() + random.below(800) as u32, random.below(BLOCK)),
        _ => (geometry.data() + 8000 + random.below(60_000) as u32, 0),
    };
    let mut block = [0; BLOCK];
    host.store.read(lba.into(), &mut block).unwrap();
    block[at] ^= 1 << random.below(8);
    (lba.into(), block.to_vec())
}

struct Host {
    disk: Disk<Drive>,
    /// What it has written on the first medium.
    blocks: HashMap<u64, [u8; BLOCK]>,
}

impl Host {
    fn new() -> Self {
        let mut drive = Drive { medium: None, insertion: 0, taken: None };
        drive.insert();
        let mut disk = Disk::new(IDENTITY, drive);
        assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::RESET));
        Self { disk, blocks: HashMap::new() }
    }

    /// A WRITE, in pieces; before that number of them the BMC takes the medium.
    fn write(
        &mut self,
        random: &mut Random,
        (lba, data): &Write,
        stop_at: Option<usize>,
    ) -> Result<(), Sense> {
        let command = cdb10(0x2a, *lba as u32, (data.len() / BLOCK) as u16);
        let mut cdb = [0; 16];
        cdb[..10].copy_from_slice(&command);
        let Ok(Intent::Out(_)) = self.disk.begin(&cdb, 10) else { return Err(self.disk.sense()) };
        let piece = BLOCK * (1 + random.below(32));
        for (number, (lba, piece)) in (*lba..).step_by(piece / BLOCK).zip(data.chunks(piece)).enumerate() {
            if stop_at == Some(number) {
                self.disk.medium_mut().take();
            }
            let Ok(()) = self.disk.write(piece) else { return Err(self.disk.sense()) };
            let blocks = piece.chunks_exact(BLOCK).map(|block| block.try_into().unwrap());
            self.blocks.extend((lba..).zip(blocks));
        }
        self.disk.end().map_err(|_| self.disk.sense())
    }

    /// It goes on as if nothing were: to the same places, and elsewhere.
    fn go_on(&mut self, random: &mut Random, writes: &[Write]) {
        let (lba, data) = &writes[random.below(writes.len())];
        let other = data.iter().map(|byte| !byte).collect();
        assert_eq!(self.write(random, &(*lba, other), None), Err(Sense::NO_MEDIUM));
        let read = run(&mut self.disk, &cdb10(0x28, *lba as u32, 1), &[]);
        assert_eq!(read, Err(Sense::NO_MEDIUM));
    }
}

/// One host: whether there was a package.
fn schedule(seed: u64) -> bool {
    let mut random = Random::new(seed);
    let writes = plan(&mut random);
    let mut host = Host::new();
    let before = if random.one_in(2) { writes.len() } else { random.below(writes.len() + 1) };
    for write in &writes[..before] {
        assert_eq!(host.write(&mut random, write, None), Ok(()), "{seed}");
    }
    // The trigger: the host ejects; the BMC stops between two commands; or in the middle of a WRITE, whose rest is lost.
    match random.below(3) {
        0 => assert_eq!(run(&mut host.disk, &[0x1b, 0, 0, 0, 2, 0], &[]), Ok(Vec::new())),
        1 => host.disk.medium_mut().take(),
        _ => {
            let write = writes[random.below(writes.len())].clone();
            let stop_at = random.below(4);
            if host.write(&mut random, &write, Some(stop_at)).is_ok() {
                // It had fewer pieces.
                host.disk.medium_mut().take();
            }
        }
    }
    let store = host.disk.medium_mut().taken.take().unwrap();
    let blocks = host.blocks.clone();
    let wanted = package_on(store.base(), |lba| blocks.get(&lba).copied());

    host.go_on(&mut random, &writes);
    let contents = open(store);
    host.go_on(&mut random, &writes);
    let Ok(contents) = contents else {
        assert!(wanted.is_none(), "{seed}: {contents:?}");
        return false;
    };
    let wanted = wanted.unwrap_or_default();
    assert!(contents.slices().collect::<Vec<_>>().concat() == wanted, "{seed}: not what was there");
    // Where whole pages of it lie in memory.
    let pages: Vec<*const u8> =
        contents.slices().filter(|slice| slice.len() == PAGE).map(<[u8]>::as_ptr).collect();
    let (mut staged, mut moved) = (Vec::new(), Vec::new());
    let insert_at = random.below(2 * wanted.len());
    for piece in contents {
        if host.disk.medium().medium.is_none() {
            host.go_on(&mut random, &writes);
        } else {
            // On the next medium it may do as it likes.
            let _ = host.write(&mut random, &writes[0], None);
        }
        if staged.len() >= insert_at && host.disk.medium().insertion == 1 {
            host.disk.medium_mut().insert();
        }
        moved.extend(Some(piece.as_ptr()).filter(|_| piece.len() == PAGE));
        staged.extend(piece);
    }
    assert!(staged == wanted, "{seed}: other bytes were staged");
    // The store has given them away, and whoever has read one frees it.
    assert_eq!(moved, pages, "{seed}: copied");
    true
}

#[test]
fn what_is_staged_is_what_was_there_at_the_trigger() {
    let count = times("INBAND_SCHEDULES", 100_000);
    let found = (0..count).filter(|seed| schedule(*seed)).count() as u64;
    println!("{count} schedules, {found} with a package");
    assert!(found > count / 5 && found < count - count / 5, "{found} of {count} have a package");
}
