//! The indexes that lie beside the slots, as a disk may hold them: whatever they say, an update leaves the package, reads nothing but regions that
//! are replaced, and no place of the running slot more than once for a chunk.

use std::sync::Arc;

use inband_package::digest::sha256;
use inband_package::index::{Chunk, Encoding, Index, Member, MemberKind};
use inband_package::{Checked, Digest};
use inband_store::memory::MemoryMedium;
use inband_store::text::Text;
use inband_store::{
    ChunkHint, Ending, Firmware, Found, Layout, Levels, Medium as _, Options, Region, RegionPolicy, Slot,
    Store,
};

const SLOT: usize = 256;
const HEAD: Digest = [7; 32];
/// Offset and length of the regions that are replaced; between them lies one that is preserved.
const KERNEL: (u64, u64) = (0, 100);
const SETTINGS: (u64, u64) = (100, 50);
const ROFS: (u64, u64) = (150, 100);
/// Bytes of a chunk.
const PIECE: usize = 20;

/// The first byte says how long the running slot's index is, in 256ths of the rest; the other slot's follows. The slots hold the package's own
/// bytes, so that what is claimed is often so.
pub(crate) fn run(input: &[u8]) {
    let Some((&share, rest)) = input.split_first() else { return };
    let (of_running, of_target) = rest.split_at(rest.len() * usize::from(share) / 256);
    let images = [image(1, 80), image(2, 100)];
    let index = index(&images);
    let mut medium = MemoryMedium::new(SLOT);
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 1 };
    Store::create(&mut medium, &firmware).expect("a medium without faults");
    let settings = SETTINGS.0 as usize..ROFS.0 as usize;
    let mut slot = vec![0xee; SLOT];
    slot[..80].copy_from_slice(&images[0]);
    slot[ROFS.0 as usize..][..60].copy_from_slice(&images[1][40..]);
    for (which, stored) in [(Slot::A, of_running), (Slot::B, of_target)] {
        medium.fill(which, &slot);
        medium.save_index(which, stored).expect("a medium without faults");
    }
    medium.forget_operations();

    let mut store = Store::open(medium, layout(), Options::default()).expect("a valid record");
    store.begin(1, 1, 1, Levels::FULL).expect("nothing else is open");
    let bytes = index.encode().expect("an index that keeps the rules");
    store
        .prepare(&Arc::new(index.clone()), &bytes, &HEAD, Levels::FULL)
        .expect("an index that suits the layout");
    let hints = store.chunk_hints().collect::<Vec<_>>();
    let wanted = chunks(&index, &images);
    assert_eq!(hints.len(), wanted.len());
    for (number, hint) in (0..).zip(&hints) {
        bring(&mut store, &wanted, number, *hint);
    }
    for (which, offset, length) in store.medium().reads() {
        let inside = |(start, room): (u64, u64)| *offset >= start && offset + *length as u64 <= start + room;
        assert!(inside(KERNEL) || inside(ROFS), "{length} bytes at {offset} of {which:?}");
    }
    let of_running = store.medium().reads().iter().filter(|(which, ..)| *which == Slot::A).count();
    assert!(of_running <= wanted.len());
    store.finish(Ending { state: 5, result: 1 }).expect("a slot that holds the package");
    let written = store.medium().slot(Slot::B);
    assert_eq!((&written[..80], &written[ROFS.0 as usize..250]), (&images[0][..], &images[1][..]));
    assert_eq!(&written[settings.clone()], &slot[settings]);
    assert_eq!(store.medium().slot(Slot::A), slot);
}

/// What a chunk is to be, where it belongs, and its bytes.
type Wanted<'a> = ((usize, usize, u64), &'a Chunk, &'a [u8]);

fn bring(store: &mut Store<MemoryMedium>, wanted: &[Wanted<'_>], number: u32, hint: ChunkHint) {
    loop {
        match store.find_chunk(number).expect("a medium without faults") {
            Found::There => return,
            Found::Missing => {
                let (place, chunk, bytes) = wanted[number as usize];
                let chunk = Checked::new(place, chunk, bytes).expect("the chunk's own bytes");
                return store.write_chunk(&chunk).expect("a medium without faults");
            }
            Found::Behind(original) => {
                assert_eq!(hint, ChunkHint::Said);
                bring(store, wanted, original, ChunkHint::Missing);
            }
        }
    }
}

/// Bytes of which every third piece is the same in all images.
fn image(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| if at / PIECE % 3 == 1 { 0x5a } else { seed.wrapping_mul(31) ^ at as u8 }).collect()
}

fn index(images: &[Vec<u8>]) -> Index {
    let chunk = |bytes: &[u8]| Chunk {
        encoding: Encoding::Plain,
        length: u32::try_from(bytes.len()).expect("a small chunk"),
        digest: sha256(bytes),
    };
    let member = |(name, bytes): (&str, &Vec<u8>)| Member {
        name: name.to_owned(),
        kind: MemberKind::Image,
        target: 0,
        length: bytes.len() as u64,
        chunks: bytes.chunks(PIECE).map(chunk).collect(),
    };
    Index {
        machine: "board".to_owned(),
        compatible: vec![],
        version: "2.0".to_owned(),
        security_version: 1,
        bcd_device: 0x0200,
        targets: vec!["bmc".to_owned()],
        members: ["kernel", "rofs"].into_iter().zip(images).map(member).collect(),
    }
}

fn chunks<'a>(index: &'a Index, images: &'a [Vec<u8>]) -> Vec<Wanted<'a>> {
    let members = index.members.iter().zip(images).enumerate();
    let chunks = members.flat_map(|(member, (entry, image))| {
        let placed = entry.chunks_with_offsets().zip(image.chunks(PIECE)).enumerate();
        placed.map(move |(number, ((offset, chunk), bytes))| ((member, number, offset), chunk, bytes))
    });
    chunks.collect()
}

fn layout() -> Layout {
    let region = |member: &str, (offset, length), policy| Region {
        target: "bmc".to_owned(),
        member: member.to_owned(),
        offset,
        length,
        policy,
    };
    let regions = vec![
        region("kernel", KERNEL, RegionPolicy::Replace),
        region("settings", SETTINGS, RegionPolicy::Preserve),
        region("rofs", ROFS, RegionPolicy::Replace),
    ];
    Layout::new(SLOT as u64, regions).expect("regions that fill the slot")
}
