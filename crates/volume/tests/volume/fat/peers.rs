//! What other programs make of the volume.

use inband_volume::{
    fat::{MAX_PACKAGE, Marker, open},
    sparse::PAGE,
    testing::trace::package,
};

use super::support::{Drive, MIB, README, STATUS, image, run, store, to_file, write};

/// The largest limits with 4, 8 and 16 KiB clusters, and what comes behind them.
const EDGES: [u32; 6] = [132_022_272, 132_022_273, 266_141_696, 266_141_697, 534_413_312, 534_413_313];

#[test]
fn fsck_finds_nothing_and_mtools_read_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let name = path.to_str().unwrap();
    for max_size in [1, MIB, 32 * MIB, 64 * MIB, 512 * MIB, MAX_PACKAGE].into_iter().chain(EDGES) {
        for (marker, file) in [
            (Marker::Ready, "READY.TXT"),
            (Marker::Busy, "BUSY.TXT"),
            (Marker::Pass, "PASS.TXT"),
            (Marker::Fail, "FAIL.TXT"),
        ] {
            let image = image(max_size, marker);
            to_file(&image, &path);
            let said = run("fsck.vfat", &["-n", name]);
            let said = String::from_utf8(said).unwrap();
            // fsck counts the label as a file.
            assert!(said.contains(": 4 files, "), "{said}");
            assert!(said.contains(&format!("/{} clusters", image.geometry().clusters())), "{said}");
            let listed = String::from_utf8(run("mdir", &["-b", "-i", name, "::"])).unwrap();
            assert_eq!(
                listed.lines().collect::<Vec<_>>(),
                ["::/README.TXT", "::/STATUS.TXT", &format!("::/{file}")]
            );
            assert_eq!(run("mtype", &["-i", name, "::README.TXT"]), README.repeat(100).as_bytes());
            assert_eq!(run("mtype", &["-i", name, "::STATUS.TXT"]), STATUS.as_bytes());
            let label = String::from_utf8(run("mlabel", &["-s", "-i", name, "::"])).unwrap();
            assert!(label.contains("BMCUPDATE"), "{label}");
        }
    }
}

#[test]
fn the_edges_are_where_the_clusters_change() {
    let sizes = EDGES.map(|max_size| image(max_size, Marker::Ready).geometry().cluster_blocks());
    assert_eq!(sizes, [8, 16, 16, 32, 32, 64]);
}

/// With each size of cluster: a file that mtools wrote is what the walk finds.
#[test]
fn what_mcopy_writes_is_found() {
    for (max_size, length) in
        [(MIB, MIB as usize), (MIB, 1), (140 * MIB, 700_001), (270 * MIB, 16_384), (600 * MIB, 2_000_000)]
    {
        let mut drive = Drive::new(max_size);
        let bytes = package(length as u64, length);
        drive.copy("firmware.bin", &bytes);
        drive.check();
        let mut store = store(max_size);
        write(&mut store, &drive.writes());
        let contents = open(store.seal()).unwrap();
        assert_eq!(contents.size() as usize, length);
        assert!(contents.slices().all(|slice| !slice.is_empty() && slice.len() <= PAGE));
        assert_eq!(contents.slices().collect::<Vec<_>>().concat(), bytes);
        let mut part = vec![0; 70_000];
        for offset in [0, 1, 511, length / 3, length - 1, length].map(|offset| offset.min(length)) {
            let count = contents.read_at(offset as u32, &mut part);
            assert_eq!(part[..count], bytes[offset..length.min(offset + 70_000)]);
        }
        assert_eq!(contents.read_at(u32::MAX, &mut part), 0);
        assert_eq!(contents.into_iter().collect::<Vec<_>>().concat(), bytes);
    }
}

/// Twice the largest package: an old one and its successor.
#[test]
fn two_of_the_largest_have_room() {
    let drive = Drive::new(20 * MIB);
    drive.copy("FIRMWARE.BIN", &package(1, 20 * MIB as usize));
    drive.copy("FIRMWARE.NEW", &package(2, 20 * MIB as usize));
    drive.tool("mdel", &["::FIRMWARE.BIN"]);
    drive.tool("mren", &["::FIRMWARE.NEW", "::FIRMWARE.BIN"]);
    drive.check();
}
