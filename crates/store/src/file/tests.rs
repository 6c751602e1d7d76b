use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use super::*;
use crate::disk::cut::{Cut, Detail, Name, Pages};
use crate::disk::{self, Disk, Image};
use crate::layout::{Layout, Region};
use crate::record::PairError;
use crate::store::{Firmware, Options, Store, StoreError};
use crate::text::Text;

const SLOT: u64 = 1 << 20;

fn directory() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("store");
    (parent, path)
}

fn create(path: &Path) -> FileMedium {
    let mut medium = FileMedium::create(path, SLOT).unwrap();
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 1 };
    Store::create(&mut medium, &firmware).unwrap();
    medium
}

fn layout() -> Layout {
    Layout::new(SLOT, vec![Region::new("bmc", "image", 0, SLOT)]).unwrap()
}

#[test]
fn a_new_store_takes_no_space_and_opens() {
    let (_parent, path) = directory();
    drop(create(&path));
    for name in ["slot-a.img", "slot-b.img"] {
        let metadata = fs::metadata(path.join(name)).unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (SLOT, 0), "{name}");
    }
    let medium = FileMedium::open(&path, SLOT).unwrap();
    let store = Store::open(medium, layout(), Options::default()).unwrap();
    assert_eq!(store.running(), Slot::A);
    assert_eq!(store.record().slot(Slot::A).version.as_str(), "1.0");
}

#[test]
fn bytes_come_back_and_stay_inside_the_slot() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    medium.write(Slot::B, SLOT - 3, b"end").unwrap();
    medium.sync(Slot::B).unwrap();
    let mut there = [0; 4];
    medium.read(Slot::B, SLOT - 4, &mut there).unwrap();
    assert_eq!(&there, b"\0end");
    medium.read(Slot::A, SLOT - 4, &mut there).unwrap();
    assert_eq!(there, [0; 4]);
    for offset in [SLOT - 3, SLOT, u64::MAX] {
        assert_eq!(medium.read(Slot::A, offset, &mut there).unwrap_err().kind, MediumErrorKind::OutOfRange);
        assert_eq!(medium.write(Slot::A, offset, b"four").unwrap_err().kind, MediumErrorKind::OutOfRange);
    }
    assert_eq!(fs::metadata(path.join("slot-a.img")).unwrap().len(), SLOT);
}

#[test]
fn records_and_indexes_are_replaced_whole() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    assert_eq!(medium.load_record(Place::Second), Ok(None));
    medium.save_record(Place::Second, b"a longer one").unwrap();
    medium.save_record(Place::Second, b"short").unwrap();
    assert_eq!(medium.load_record(Place::Second), Ok(Some(b"short".to_vec())));
    assert_eq!(medium.load_index(Slot::B), Ok(None));
    medium.save_index(Slot::B, b"index").unwrap();
    assert_eq!(medium.load_index(Slot::B), Ok(Some(b"index".to_vec())));
    assert_eq!(medium.load_index(Slot::A), Ok(None));
    let left_over = fs::read_dir(&path).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".new")
    });
    assert_eq!(left_over.count(), 0);
}

#[test]
fn the_journal_is_added_to_and_started_anew() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    for area in Place::ALL {
        medium.start_journal(area, b"one").unwrap();
        medium.append_journal(area, b"two").unwrap();
        assert_eq!(medium.load_journal(area), Ok(b"onetwo".to_vec()));
    }
    medium.start_journal(Place::First, b"new").unwrap();
    assert_eq!(fs::read(path.join("journal.0")).unwrap(), b"new");
    assert_eq!(fs::read(path.join("journal.1")).unwrap(), b"onetwo");
    // Without an area there is nothing to add to, and none is made on the way.
    fs::remove_file(path.join("journal.0")).unwrap();
    let error = medium.append_journal(Place::First, b"more").unwrap_err();
    assert!(error.message.contains("journal.0"), "{}", error.message);
    assert_eq!(medium.load_journal(Place::First), Ok(vec![]));
}

#[test]
fn an_endless_journal_is_not_read_to_its_end() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    fs::write(path.join("journal.1"), vec![0; 100_000]).unwrap();
    assert_eq!(medium.load_journal(Place::Second).unwrap().len(), AREA_LENGTH + 1);
}

#[test]
fn an_endless_record_is_not_read_to_its_end() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    File::create(path.join("record.1")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(medium.load_record(Place::Second).unwrap().map(|bytes| bytes.len()), Some(MAX_LENGTH + 1));
}

#[test]
fn one_inbandd_at_a_time() {
    let (_parent, path) = directory();
    let medium = create(&path);
    for error in [FileMedium::open(&path, SLOT).unwrap_err(), FileMedium::create(&path, SLOT).unwrap_err()] {
        assert_eq!(error.kind, MediumErrorKind::InUse);
        assert!(error.message.ends_with("is in use by another inbandd; stop that one first"), "{error}");
    }
    drop(medium);
    FileMedium::open(&path, SLOT).unwrap();
}

#[test]
fn a_store_is_not_initialised_twice() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    let firmware = Firmware { version: Text::cut("9"), bcd_device: 0, security_version: 0 };
    assert_eq!(Store::create(&mut medium, &firmware), Err(StoreError::Exists));
    // Not either when what is there cannot be read any more.
    fs::write(path.join("record.0"), b"rubbish").unwrap();
    assert_eq!(Store::create(&mut medium, &firmware), Err(StoreError::Exists));
}

#[test]
fn no_store_says_how_to_make_one() {
    let (_parent, path) = directory();
    let error = FileMedium::open(&path, SLOT).unwrap_err();
    assert_eq!(error.kind, MediumErrorKind::NotAStore);
    assert_eq!(error.message, format!("no store at {}; make one with `inbandd init`", path.display()));
    drop(create(&path));
    fs::remove_file(path.join("slot-b.img")).unwrap();
    let error = FileMedium::open(&path, SLOT).unwrap_err();
    assert_eq!(error.kind, MediumErrorKind::NotAStore);
    assert!(error.message.contains("slot-b.img is missing; make a store with `inbandd init`"), "{error}");
}

#[test]
fn a_slot_of_another_size_is_not_touched() {
    let (_parent, path) = directory();
    drop(create(&path));
    for attempt in [FileMedium::open(&path, SLOT * 2), FileMedium::create(&path, SLOT * 2)] {
        let error = attempt.unwrap_err();
        assert_eq!(error.kind, MediumErrorKind::NotAStore);
        assert!(error.message.contains("has 1048576 bytes, the configured slot size is 2097152"), "{error}");
    }
    assert_eq!(fs::metadata(path.join("slot-a.img")).unwrap().len(), SLOT);
}

#[test]
fn a_corrupt_store_says_so() {
    let (_parent, path) = directory();
    drop(create(&path));
    fs::write(path.join("record.0"), b"rubbish").unwrap();
    let medium = FileMedium::open(&path, SLOT).unwrap();
    let error = Store::open(medium, layout(), Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::Unusable(PairError::Corrupt { .. })), "{error}");
}

#[test]
fn what_the_system_refuses_names_the_path() {
    let (parent, path) = directory();
    // A file where the directory should be: refused to root as well.
    fs::write(parent.path().join("file"), b"").unwrap();
    let error = FileMedium::create(&parent.path().join("file/store"), SLOT).unwrap_err();
    assert_eq!(error.kind, MediumErrorKind::Io);
    assert!(error.message.contains("file/store"), "{error}");
    assert!(error.message.ends_with("choose a directory that this user may write to"), "{error}");

    let mut medium = create(&path);
    fs::create_dir(path.join("record.1.new")).unwrap();
    let error = medium.save_record(Place::Second, b"").unwrap_err();
    assert_eq!(error.kind, MediumErrorKind::Io);
    assert!(error.message.contains("record.1.new"), "{error}");
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    let error = |errno: rustix::io::Errno| io_error("cannot write", Path::new("/x"), &errno.into(), "look");
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::FBIG] {
        assert_eq!(error(errno).kind, MediumErrorKind::NoSpace);
        assert!(error(errno).message.ends_with("make room there"));
    }
    assert_eq!(error(rustix::io::Errno::IO).kind, MediumErrorKind::Io);
    assert!(error(rustix::io::Errno::IO).message.ends_with("look"));
}

#[test]
fn a_device_without_room_is_a_full_disk() {
    // Whatever is written to /dev/full fails as on a full disk.
    let (_parent, path) = directory();
    let mut medium = create(&path);
    let writable = |file: &str| OpenOptions::new().read(true).write(true).open(file);
    medium.slots[1] = writable("/dev/full").unwrap();
    assert_eq!(medium.write(Slot::B, 0, b"x").unwrap_err().kind, MediumErrorKind::NoSpace);

    let disk = Disk::new(Image::blank());
    let mut medium = FileMedium::create_on(disk.clone(), Path::new("/store"), 4096).unwrap();
    medium.save_record(Place::First, b"old").unwrap();
    let filler = disk.open(Path::new("/filler"), Open::Create).unwrap();
    disk.write_at(&filler, &[0; disk::PAGE * (disk::BLOCKS * disk::BLOCK_PAGES - 1)], 0).unwrap();
    assert_eq!(medium.save_record(Place::First, b"new").unwrap_err().kind, MediumErrorKind::NoSpace);
    assert_eq!(medium.load_record(Place::First), Ok(Some(b"old".to_vec())));
}

#[test]
fn the_directory_s_permissions_are_left_alone() {
    let (_parent, path) = directory();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    drop(create(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_is_its_user_s_alone() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    medium.save_record(Place::Second, b"").unwrap();
    medium.save_index(Slot::A, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for name in ["slot-a.img", "slot-b.img", "record.0", "record.1", "index-a", "lock"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}

/// Whether the kernel can read the beginning of a file without asking the disk.
#[cfg(target_os = "linux")]
fn is_cached(file: &File) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut byte = [0];
    preadv2(file, &mut [io::IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT) == Ok(1)
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_synchronised_is_read_from_the_disk() {
    let (_parent, path) = directory();
    let mut medium = create(&path);
    // A file system in memory, for one, has nowhere else to read from: try it by hand first.
    let probe = Native.open(&path.join("probe"), Open::Create).unwrap();
    probe.write_all_at(&[1; 8192], 0).unwrap();
    probe.sync_data().unwrap();
    let cached = is_cached(&probe);
    Native.forget(&probe);
    let can_forget = cached && !is_cached(&probe);

    medium.write(Slot::B, 0, &[1; 8192]).unwrap();
    assert_eq!(is_cached(medium.image(Slot::B)), cached);
    medium.sync(Slot::B).unwrap();
    assert!(!can_forget || !is_cached(medium.image(Slot::B)));
    let mut there = [0; 8192];
    medium.read(Slot::B, 0, &mut there).unwrap();
    assert_eq!(there, [1; 8192]);
}

/// A store on a simulated disk.
fn simulated() -> (Disk, FileMedium<Disk>) {
    let disk = Disk::new(Image::blank());
    let medium = FileMedium::create_on(disk.clone(), Path::new("/store"), 8192).unwrap();
    (disk, medium)
}

fn reopened(image: Image) -> (Disk, FileMedium<Disk>) {
    let disk = Disk::new(image);
    let medium = FileMedium::open_on(disk.clone(), Path::new("/store"), 8192).unwrap();
    (disk, medium)
}

#[test]
fn what_is_read_after_a_kill_survives_a_power_cut() {
    let (disk, mut medium) = simulated();
    medium.save_record(Place::First, b"old").unwrap();
    medium.save_record(Place::First, b"new").unwrap();
    // Killed between the rename and the synchronisation of the directory, then opened again.
    let history = disk.history();
    let (disk, mut medium) = reopened(history[disk.calls() - 1].clone());
    assert_eq!(medium.load_record(Place::First), Ok(Some(b"new".to_vec())));
    for (cut, image) in disk.image().cuts(Detail::Fine) {
        assert_eq!(image.file(Path::new("/store/record.0")), Some(b"new".to_vec()), "{cut:?}");
    }
}

#[test]
fn the_images_are_there_before_any_record() {
    let (disk, _medium) = simulated();
    for (cut, image) in disk.image().cuts(Detail::Fine) {
        for name in ["/store/slot-a.img", "/store/slot-b.img"] {
            assert_eq!(image.file(Path::new(name)).map(|bytes| bytes.len()), Some(8192), "{cut:?}");
        }
    }
}

#[test]
fn a_page_that_cannot_be_read_can_be_written() {
    let (disk, mut medium) = simulated();
    medium.write(Slot::B, 0, &[1; 8192]).unwrap();
    medium.sync(Slot::B).unwrap();
    medium.write(Slot::B, 4096, &[2; 1024]).unwrap();
    let cut = Cut { pages: Pages::Unreadable(0), lengths: true, names: vec![] };
    let (_disk, mut medium) = reopened(disk.image().after(&cut));
    assert!(medium.read(Slot::B, 4096, &mut [0]).is_err());
    medium.write(Slot::B, 4000, &[3; 200]).unwrap();
    let mut there = [0; 8192];
    medium.read(Slot::B, 0, &mut there).unwrap();
    assert!(there[..4000].iter().all(|&byte| byte == 1));
    assert!(there[4000..4200].iter().all(|&byte| byte == 3));
    assert!(there[4200..4608].iter().all(|&byte| byte == 0xff), "gone");
    assert!(there[4608..].iter().all(|&byte| byte == 1));
}

#[test]
fn a_left_over_temporary_file_may_be_the_record_itself() {
    let (disk, mut medium) = simulated();
    medium.save_record(Place::First, b"old").unwrap();
    // Cut behind the rename, on a file system that leaves both names.
    let history = disk.history();
    let cut = Cut { pages: Pages::All, lengths: true, names: vec![Name::Kept, Name::Both] };
    let (disk, mut medium) = reopened(history[disk.calls() - 1].after(&cut));
    assert_eq!(disk.image().file(Path::new("/store/record.0.new")), Some(b"old".to_vec()));
    medium.save_record(Place::First, b"new").unwrap();
    for image in disk.history() {
        for (cut, image) in image.cuts(Detail::Fine).filter(|(cut, _)| !cut.names.contains(&Name::Neither)) {
            let record = image.file(Path::new("/store/record.0")).unwrap_or_default();
            assert!(record == b"old" || record == b"new", "{cut:?}: {record:?}");
        }
    }
}

/// A store whose first area has nine entries, each of which was added before the next.
fn nine_entries() -> (Disk, FileMedium<Disk>) {
    let (disk, mut medium) = simulated();
    medium.start_journal(Place::First, &[1; 128]).unwrap();
    for entry in 2..=9 {
        medium.append_journal(Place::First, &[entry; 128]).unwrap();
    }
    (disk, medium)
}

#[test]
fn an_entry_that_was_added_survives_a_power_cut() {
    let (disk, _medium) = nine_entries();
    for (cut, image) in disk.image().cuts(Detail::Fine) {
        let area = image.file(Path::new("/store/journal.0"));
        assert_eq!(area.map(|bytes| bytes.len()), Some(9 * 128), "{cut:?}");
    }
}

#[test]
fn a_page_of_the_journal_that_cannot_be_read_costs_what_is_in_it() {
    let (disk, _medium) = nine_entries();
    // Cut before the ninth was synchronised, which stands alone in the third page.
    let cut = Cut { pages: Pages::Unreadable(0), lengths: true, names: vec![] };
    let (_disk, mut medium) = reopened(disk.history()[disk.calls() - 1].after(&cut));
    let area = medium.load_journal(Place::First).unwrap();
    assert_eq!(area.chunks(128).map(|entry| entry[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 0]);
}
