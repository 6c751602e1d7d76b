//! The store's journal, as a disk may hold it.

use std::sync::Arc;

use inband_package::Index;
use inband_package::digest::sha256;
use inband_package::index::{Chunk, Encoding, Member, MemberKind};
use inband_store::journal::{AREA_LENGTH, Area, ENTRY_LENGTH};
use inband_store::memory::MemoryMedium;
use inband_store::record::Place;
use inband_store::text::Text;
use inband_store::{Ending, Firmware, Found, Layout, Levels, Options, Region, RegionPolicy, Store};

const SLOT: u64 = 64;
const HEAD: [u8; 32] = [7; 32];
const IMAGE: [u8; 60] = [0x5a; 60];

/// The first byte says how many entries the first area has, and whether they speak of the index that is written again;
/// the areas follow, as they are and with their checksums put right.
pub(crate) fn run(input: &[u8]) {
    let Some((&shape, areas)) = input.split_first() else { return };
    let cut = (usize::from(shape & 0x7f) * ENTRY_LENGTH).min(areas.len());
    let (first, second) = areas.split_at(cut);
    go_on([first.to_vec(), second.to_vec()]);
    let index = sha256(&index().encode().expect("an index that keeps the rules"));
    go_on([first, second].map(|area| sealed(area, (shape & 0x80 != 0).then_some(&index))));
}

/// The area with the right magic, checksums and reserved bytes, and sequence numbers that leave room for more.
fn sealed(area: &[u8], index: Option<&[u8; 32]>) -> Vec<u8> {
    let mut area = area[..area.len().min(2 * AREA_LENGTH)].to_vec();
    for entry in area.chunks_exact_mut(ENTRY_LENGTH) {
        entry[..4].copy_from_slice(b"IBJ1");
        entry[4] &= 3;
        entry[5] &= 1;
        entry[15] = 0;
        entry[80..96].fill(0);
        if let Some(index) = index {
            entry[4] |= 1;
            entry[48..80].copy_from_slice(index);
        }
        let checksum = sha256(&entry[..96]);
        entry[96..].copy_from_slice(&checksum);
    }
    area
}

fn index() -> Index {
    let chunk = |bytes: &[u8]| Chunk {
        encoding: Encoding::Plain,
        length: u32::try_from(bytes.len()).expect("a small chunk"),
        digest: sha256(bytes),
    };
    let member = Member {
        name: "image".to_owned(),
        kind: MemberKind::Image,
        target: 0,
        length: IMAGE.len() as u64,
        chunks: IMAGE.chunks(20).map(chunk).collect(),
    };
    Index {
        machine: "board".to_owned(),
        compatible: vec![],
        version: "2.0".to_owned(),
        security_version: 1,
        bcd_device: 0x0200,
        targets: vec!["bmc".to_owned()],
        members: vec![member],
    }
}

fn open(medium: MemoryMedium) -> Store<MemoryMedium> {
    let region = Region {
        target: "bmc".to_owned(),
        member: "image".to_owned(),
        offset: 0,
        length: SLOT,
        policy: RegionPolicy::Replace,
    };
    let layout = Layout::new(SLOT, vec![region]).expect("a region that fills the slot");
    Store::open(medium, layout, Options { mark_every: 1, ..Options::default() }).expect("a valid record")
}

/// A store whose other slot is being written finds this journal, and finishes the slot.
fn go_on(areas: [Vec<u8>; 2]) {
    let newest = areas.each_ref().map(|area| Area::read(area).newest.map(|entry| entry.sequence));
    let full = newest.iter().flatten().any(|sequence| *sequence > u64::MAX >> 8);
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 1 };
    let mut medium = MemoryMedium::new(IMAGE.len() + 4);
    Store::create(&mut medium, &firmware).expect("a medium without faults");
    let index = Arc::new(index());
    let bytes = index.encode().expect("an index that keeps the rules");
    let begin = |store: &mut Store<MemoryMedium>, id, levels| {
        store.begin(id, 1, 1, levels).expect("nothing else is open");
        store.prepare(&index, &bytes, &HEAD, levels).expect("an index that suits the layout");
    };
    let mut store = open(medium);
    begin(&mut store, 1, Levels::FULL);

    let mut medium = store.into_medium();
    for (place, area) in Place::ALL.into_iter().zip(areas) {
        medium.set_journal(place, area);
    }
    let mut store = open(medium);
    assert!(store.levels().is_none() || newest.iter().any(Option::is_some));
    let levels = Levels { sessions: 3, rewrites: 4 };
    begin(&mut store, 2, levels);
    assert_eq!(store.levels(), Some(levels));
    for number in 0..3 {
        let found = store.find_chunk(number).expect("a medium without faults");
        assert_ne!(found, Found::There, "nothing was ever written");
    }
    for (number, data) in IMAGE.chunks(20).enumerate() {
        store.write(0, 20 * number as u64, data).expect("bytes of the member");
    }
    let mut store = open(store.into_medium());
    if !full {
        assert_eq!(store.levels(), Some(levels), "what was written down is read again");
    }
    begin(&mut store, 3, levels);
    store.write(0, 0, &IMAGE).expect("bytes of the member");
    store.finish(Ending { state: 5, result: 1 }).expect("a slot that holds the member");
}
