//! Sets of chunks, at their bounds.

use inband_bulk::{ChunkSet, wire::MAX_CHUNKS};

#[test]
fn no_set_has_what_there_is_not() {
    for count in [0, 1, 7, 8, 9, MAX_CHUNKS] {
        let mut set = ChunkSet::new(count);
        for chunk in [count, count + 1, count + 7, u32::MAX] {
            set.insert(chunk);
            assert!(!set.contains(chunk));
        }
        assert!(set.is_empty() && set.next(0).is_none(), "{count}");
        assert_eq!((set.count(), set.len()), (count, 0));
        let all = ChunkSet::all(count);
        assert_eq!((all.count(), all.len(), all.iter().count()), (count, count, count as usize));
        assert_eq!((all.next(count), all.next(u32::MAX)), (None, None));
    }
    assert_eq!(ChunkSet::all(u32::MAX), ChunkSet::all(MAX_CHUNKS), "no number makes a set grow");
}
