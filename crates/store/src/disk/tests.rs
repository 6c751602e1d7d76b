use std::collections::BTreeSet;

use super::cut::{Cut, Detail, Name, Pages};
use super::*;

const ROOT: &str = "/";
const FILE: &str = "/file";

fn sync(disk: &Disk, path: &str) {
    disk.sync(&disk.open(Path::new(path), Open::Read).unwrap()).unwrap();
}

fn put(disk: &Disk, path: &str, bytes: &[u8]) {
    let file = disk.open(Path::new(path), Open::Replace).unwrap();
    disk.write_at(&file, bytes, 0).unwrap();
}

/// What the cuts at this moment leave of a file.
fn left(disk: &Disk, path: &str, detail: Detail) -> BTreeSet<Option<Vec<u8>>> {
    disk.image().cuts(detail).map(|(_, image)| image.file(Path::new(path))).collect()
}

#[test]
fn what_is_synchronised_survives_and_nothing_else_is_sure() {
    let disk = Disk::new(Image::blank());
    put(&disk, FILE, b"new");
    // Neither the name nor the bytes nor their number.
    let without_bytes = [None, Some(Vec::new()), Some(vec![0; 3]), Some(b"new".to_vec())];
    assert!(left(&disk, FILE, Detail::Fine).is_superset(&BTreeSet::from(without_bytes)));
    sync(&disk, FILE);
    assert_eq!(left(&disk, FILE, Detail::Fine), BTreeSet::from([None, Some(b"new".to_vec())]));
    sync(&disk, ROOT);
    assert_eq!(left(&disk, FILE, Detail::Fine), BTreeSet::from([Some(b"new".to_vec())]));
    assert_eq!(disk.calls(), 4, "made, written and its two synchronisations");
}

#[test]
fn a_rename_is_whole_but_says_nothing_about_the_bytes() {
    let disk = Disk::new(Image::blank());
    put(&disk, FILE, b"old");
    sync(&disk, FILE);
    sync(&disk, ROOT);
    put(&disk, "/file.new", b"new");
    disk.rename(Path::new("/file.new"), Path::new(FILE)).unwrap();
    let there = left(&disk, FILE, Detail::Fine);
    for bytes in [&b"old"[..], b"new", b""] {
        assert!(there.contains(&Some(bytes.to_vec())), "{there:?}");
    }
    sync(&disk, FILE);
    let there = left(&disk, FILE, Detail::Fine);
    assert_eq!(there, BTreeSet::from([None, Some(b"old".to_vec()), Some(b"new".to_vec())]));
}

#[test]
fn pages_are_lost_in_every_order() {
    let disk = Disk::new(Image::blank());
    put(&disk, FILE, &[1; 3 * PAGE]);
    sync(&disk, FILE);
    sync(&disk, ROOT);
    let file = disk.open(Path::new(FILE), Open::Write).unwrap();
    for page in 0..3 {
        disk.write_at(&file, &[2; PAGE], page * PAGE as u64).unwrap();
    }
    let first_bytes = |bytes: Option<Vec<u8>>| {
        let bytes = bytes?;
        Some([bytes[0], bytes[PAGE], bytes[2 * PAGE]])
    };
    let there: BTreeSet<_> = left(&disk, FILE, Detail::Fine).into_iter().filter_map(first_bytes).collect();
    for bits in 0..8_u8 {
        let kept = [0, 1, 2].map(|page| if bits >> page & 1 == 1 { 2 } else { 1 });
        assert!(there.contains(&kept), "{kept:?} in {there:?}");
    }
    // Reads see all of it until then.
    assert_eq!(disk.image().file(Path::new(FILE)), Some(vec![2; 3 * PAGE]));
    // Torn, and not to be read.
    let names = Vec::new();
    let torn = disk.image().after(&Cut { pages: Pages::TornEnd(0), lengths: true, names: names.clone() });
    let bytes = torn.file(Path::new(FILE)).unwrap();
    assert_eq!((bytes[0], bytes[PAGE / 2], bytes[PAGE]), (2, 1, 1));
    let unreadable = disk.image().after(&Cut { pages: Pages::Unreadable(1), lengths: true, names });
    assert_eq!(unreadable.file(Path::new(FILE)), None);
    let disk = Disk::new(unreadable);
    let file = disk.open(Path::new(FILE), Open::Write).unwrap();
    disk.read_at(&file, &mut [0; PAGE], 0).unwrap();
    assert!(disk.write_at(&file, &[3], PAGE as u64).is_err(), "the rest of the page is not known");
    disk.write_at(&file, &[3; PAGE], PAGE as u64).unwrap();
    assert!(disk.image().file(Path::new(FILE)).is_some());
}

#[test]
fn a_directory_that_is_lost_takes_its_files_along() {
    let disk = Disk::new(Image::blank());
    disk.make_directory(Path::new("/d")).unwrap();
    put(&disk, "/d/file", b"x");
    sync(&disk, "/d/file");
    sync(&disk, "/d");
    let cut = |fate| Cut { pages: Pages::All, lengths: true, names: vec![fate] };
    assert_eq!(disk.image().after(&cut(Name::Lost)).file(Path::new("/d/file")), None);
    assert_eq!(disk.image().after(&cut(Name::Kept)).file(Path::new("/d/file")), Some(b"x".to_vec()));
}

#[test]
fn the_disk_has_192_pages_and_no_more() {
    let disk = Disk::new(Image::blank());
    put(&disk, FILE, &[1; PAGE * BLOCKS * BLOCK_PAGES]);
    let file = disk.open(Path::new("/more"), Open::Create).unwrap();
    let error = disk.write_at(&file, b"x", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_rotten_page_shows_once_the_cache_is_gone() {
    let disk = Disk::new(Image::blank());
    disk.rot(Path::new(FILE), 0);
    put(&disk, FILE, &[0; PAGE]);
    sync(&disk, FILE);
    assert_eq!(disk.image().file(Path::new(FILE)), Some(vec![0; PAGE]));
    disk.forget(&disk.open(Path::new(FILE), Open::Read).unwrap());
    assert_ne!(disk.image().file(Path::new(FILE)), Some(vec![0; PAGE]));
}
