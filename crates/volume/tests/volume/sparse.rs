//! What a host has written.

use inband_volume::{
    scsi::{BLOCK, Fault},
    sparse::{Base, Blank, PAGE, Sparse},
};
use proptest::{collection::vec, prelude::*};

struct Numbered;

impl Base for Numbered {
    fn block(&self, lba: u64, block: &mut [u8]) {
        block.fill(lba as u8 ^ 0xff);
    }
}

const BLOCKS: u64 = 200;

#[test]
fn what_is_beyond_the_end_is_neither_read_nor_written() {
    let mut store = Sparse::new(Blank, 3, PAGE).unwrap();
    let mut block = [0; BLOCK];
    assert_eq!(store.read(3, &mut block), Err(Fault::Unreadable));
    assert_eq!(store.write(2, &[0; 2 * BLOCK]), Err(Fault::Unwritable));
    assert_eq!(store.write(u64::MAX, &block), Err(Fault::Unwritable));
    assert_eq!(store.write(0, &[0; 100]), Err(Fault::Unwritable));
    assert!(!store.is_written(2) && !store.is_written(u64::MAX));
}

#[test]
fn a_write_that_finds_no_room_writes_nothing_and_what_was_there_may_be_written_again() {
    let mut store = Sparse::new(Blank, BLOCKS, PAGE).unwrap();
    store.write(0, &[1; PAGE]).unwrap();
    assert_eq!(store.write(31, &[2; 2 * BLOCK]), Err(Fault::NoSpace));
    assert!(!store.is_written(32));
    let mut block = [0; BLOCK];
    store.read(31, &mut block).unwrap();
    assert_eq!(block, [1; BLOCK]);
    assert_eq!(store.write(31, &[3; BLOCK]), Ok(()));
    // Nor does it take any of the room there is.
    let mut store = Sparse::new(Blank, BLOCKS, 2 * PAGE).unwrap();
    assert_eq!(store.write(0, &[1; 3 * PAGE]), Err(Fault::NoSpace));
    assert_eq!(store.write(96, &[1; 2 * PAGE]), Ok(()));
}

#[test]
fn a_write_takes_whole_pages_and_says_so_before() {
    let mut store = Sparse::new(Blank, BLOCKS, usize::MAX).unwrap();
    let page = PAGE as u64;
    assert_eq!(
        [store.needs(0, BLOCK), store.needs(31, 2 * BLOCK), store.needs(0, 3 * PAGE)],
        [page, 2 * page, 3 * page]
    );
    store.write(32, &[1; BLOCK]).unwrap();
    assert_eq!(
        [store.needs(33, BLOCK), store.needs(31, 2 * BLOCK), store.needs(0, 3 * PAGE)],
        [0, page, 2 * page]
    );
    assert_eq!([store.needs(BLOCKS, BLOCK), store.needs(u64::MAX, BLOCK), store.needs(0, 0)], [0; 3]);
}

#[test]
fn what_changes_hands_ends_where_nothing_was_written() {
    let blocks = |written: &[(u64, usize)]| {
        let mut store = Sparse::new(Blank, BLOCKS, usize::MAX).unwrap();
        for (lba, count) in written {
            store.write(*lba, &vec![*lba as u8 + 1; count * BLOCK]).unwrap();
        }
        store.seal().into_run().map(|part| part.len() / BLOCK).collect::<Vec<_>>()
    };
    assert_eq!(blocks(&[]), []);
    assert_eq!(blocks(&[(1, 40)]), []);
    assert_eq!(blocks(&[(0, 3), (4, 60)]), [3]);
    assert_eq!(blocks(&[(0, 32), (64, 32)]), [32]);
    assert_eq!(blocks(&[(30, 70), (0, 31)]), [32, 32, 32, 4]);
    assert_eq!(blocks(&[(0, BLOCKS as usize)]), [32, 32, 32, 32, 32, 32, 8]);
}

#[test]
fn a_page_that_is_taken_whole_is_gone_and_a_part_is_copied() {
    let mut store = Sparse::new(Blank, BLOCKS, usize::MAX).unwrap();
    store.write(30, &[1; 36 * BLOCK]).unwrap();
    let mut sealed = store.seal();
    assert_eq!(sealed.written(30, 36), [1; 2 * BLOCK]);
    assert_eq!(sealed.take(30, 36), [1; 2 * BLOCK]);
    assert_eq!(sealed.take(33, 35), [1; 31 * BLOCK]);
    assert_eq!(sealed.take(32, 35), [1; PAGE]);
    assert!(sealed.written(32, 1).is_empty() && sealed.take(32, 1).is_empty());
    assert_eq!(sealed.take(64, 36), [1; 2 * BLOCK]);
    assert_eq!(sealed.written(30, 36), [1; 2 * BLOCK]);
    assert!(sealed.written(u64::MAX, 1).is_empty() && sealed.take(BLOCKS, 9).is_empty());
    assert_eq!(sealed.blocks(), BLOCKS);
}

proptest! {
    #[test]
    fn every_block_is_what_was_written_last_or_the_base(writes in vec((0..BLOCKS, 1..80_u64, any::<u8>()), 0..20)) {
        let mut store = Sparse::new(Numbered, BLOCKS, usize::MAX).unwrap();
        let mut model = [None; BLOCKS as usize];
        for (lba, count, byte) in writes {
            let count = count.min(BLOCKS - lba);
            store.write(lba, &vec![byte; count as usize * BLOCK]).unwrap();
            model[lba as usize..(lba + count) as usize].fill(Some(byte));
        }
        let mut all = vec![0; BLOCKS as usize * BLOCK];
        store.read(0, &mut all).unwrap();
        for (lba, (block, model)) in (0..).zip(all.chunks_exact(BLOCK).zip(model)) {
            prop_assert_eq!(store.is_written(lba), model.is_some());
            let want = model.unwrap_or(lba as u8 ^ 0xff);
            prop_assert!(block.iter().all(|byte| *byte == want));
        }
        let run = model.iter().take_while(|block| block.is_some()).count() * BLOCK;
        prop_assert!(store.seal().into_run().flatten().eq(all[..run].iter().copied()));
    }
}
