//! Trigger files.

use std::time::Duration;

use inband_volume::{
    fat::{LONGEST, QUIET, ROOT_BLOCKS, Trigger, Watch},
    testing::FatHost,
};

use super::support::MIB;

const APPLY: &[u8; 11] = b"APPLY   CMD";
const CANCEL: &[u8; 11] = b"CANCEL  CMD";
const FIRMWARE: &[u8; 11] = b"FIRMWAREBIN";
const FREE: &[u8; 11] = b"\xe5PPLY   CMD";

/// A host, and what the watch hears of it.
struct Watched {
    host: FatHost,
    watch: Watch,
    now: Duration,
}

impl Watched {
    fn new() -> Self {
        let host = FatHost::new(MIB).unwrap();
        let watch = Watch::new(host.geometry());
        Self { host, watch, now: Duration::from_secs(1000) }
    }

    fn entry(&mut self, number: u32, name: &[u8; 11], attributes: u8) {
        let lba = self.host.entry(number, name, attributes, 0, 0);
        self.watch.handle_write(&self.host.store, lba.into(), 1, self.now);
    }

    /// Another block.
    fn write(&mut self) {
        let lba = self.host.geometry().blocks() - 1;
        self.host.change(lba, 0, &[1]);
        self.watch.handle_write(&self.host.store, lba.into(), 1, self.now);
    }

    fn after(&mut self, time: Duration) -> Option<Trigger> {
        self.now += time;
        self.watch.poll(self.now)
    }

    fn due_in(&self) -> Option<Duration> {
        self.watch.poll_timeout().map(|at| at - self.now)
    }
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_name_counts_when_nothing_was_written_for_a_while() {
    for (name, trigger) in
        [(APPLY, Trigger::Apply), (CANCEL, Trigger::Cancel), (b"apply   cmd", Trigger::Apply)]
    {
        let mut it = Watched::new();
        assert_eq!((it.after(LONGEST), it.due_in()), (None, None));
        it.entry(511, name, 0x20);
        assert_eq!(it.due_in(), Some(QUIET));
        assert_eq!(it.after(QUIET - MOMENT), None);
        it.write();
        assert_eq!(it.after(QUIET - MOMENT), None);
        assert_eq!(it.after(MOMENT), Some(trigger));
    }
}

#[test]
fn a_host_that_does_not_stop_writing_is_waited_for_so_long_and_no_longer() {
    let mut it = Watched::new();
    it.entry(4, APPLY, 0x20);
    for _ in 0..59 {
        assert_eq!(it.after(Duration::from_secs(1)), None);
        // Writes of the name itself as well.
        it.entry(4, APPLY, 0x20);
    }
    assert_eq!(it.due_in(), Some(Duration::from_secs(1)));
    assert_eq!(it.after(Duration::from_secs(1)), Some(Trigger::Apply));
}

#[test]
fn a_name_that_goes_is_forgotten() {
    let mut it = Watched::new();
    it.entry(4, APPLY, 0x20);
    assert_eq!(it.after(QUIET - MOMENT), None);
    it.entry(4, FREE, 0x20);
    assert_eq!((it.after(LONGEST), it.due_in()), (None, None));
    // And begins anew when it comes again.
    it.entry(4, APPLY, 0x20);
    for _ in 0..59 {
        assert_eq!(it.after(Duration::from_secs(1)), None);
        it.write();
    }
    assert_eq!(it.after(QUIET), Some(Trigger::Apply));
}

#[test]
fn a_name_that_moves_to_another_block_stays() {
    let mut it = Watched::new();
    it.entry(4, APPLY, 0x20);
    it.entry(40, APPLY, 0x20);
    it.entry(4, FREE, 0x20);
    assert_eq!(it.after(QUIET), Some(Trigger::Apply));
}

#[test]
fn cancel_goes_before_apply() {
    let mut it = Watched::new();
    it.entry(4, APPLY, 0x20);
    assert_eq!(it.after(MOMENT), None);
    it.entry(100, CANCEL, 0x20);
    assert_eq!(it.after(QUIET), Some(Trigger::Cancel));
}

#[test]
fn labels_and_parts_of_long_names_are_no_names() {
    let mut it = Watched::new();
    it.entry(4, APPLY, 0x08);
    it.entry(5, CANCEL, 0x0f);
    it.entry(6, FIRMWARE, 0x0f);
    it.entry(7, b"APPLY~1 CMD", 0x20);
    assert_eq!((it.after(LONGEST), it.watch.has_firmware()), (None, false));
    it.entry(6, FIRMWARE, 0x20);
    assert_eq!((it.after(LONGEST), it.watch.has_firmware()), (None, true));
    it.entry(6, FREE, 0x20);
    assert!(!it.watch.has_firmware());
}

#[test]
fn only_the_root_is_looked_at() {
    let mut it = Watched::new();
    let (root, now) = (it.host.geometry().root(), it.now);
    for lba in [root - 1, root + ROOT_BLOCKS] {
        it.host.change(lba, 64, APPLY);
        it.watch.handle_write(&it.host.store, lba.into(), 1, now);
    }
    assert_eq!(it.watch.poll_timeout(), None);
    // One WRITE over the end of the root and more: the blocks that are the root's.
    it.host.entry(511, APPLY, 0x20, 0, 0);
    it.watch.handle_write(&it.host.store, (root + 31).into(), 64, now);
    assert_eq!(it.watch.poll_timeout(), Some(now + QUIET));
    it.watch.handle_write(&it.host.store, u64::MAX, u64::MAX, now);
    assert_eq!(it.watch.last_write(), now);
}
