//! The bytes of the image.

use inband_volume::{
    fat::{Geometry, Image, MAX_PACKAGE, Marker, TEXT, Texts},
    scsi::BLOCK,
    sparse::Base,
};

use super::support::{GENERATION, MIB, README, STATUS, image};

fn block(image: &Image, lba: u32) -> [u8; BLOCK] {
    // Rubbish, which has to go.
    let mut block = [0xa5; BLOCK];
    image.block(lba.into(), &mut block);
    block
}

#[test]
fn the_boot_sector() {
    let mut sector = [0; BLOCK];
    let head = b"\xeb\x3c\x90MSWIN4.1\x00\x02\x08\x56\x00\x02\x00\x02\x00\x00\xf8\x85\x00\x20\x00\x40\x00\
        \x00\x00\x00\x00\x80\x21\x04\x00\x80\x00\x29\xfe\xca\xad\x0bBMCUPDATE  FAT16   \xcd\x18\xf4\xeb\xfd";
    sector[..head.len()].copy_from_slice(head);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(block(&image(64 * MIB, Marker::Ready), 0), sector);
    assert_eq!(Geometry::new(64 * MIB).unwrap().boot_sector(GENERATION), sector);
}

#[test]
fn the_first_fat_is_the_second() {
    let image = image(64 * MIB, Marker::Ready);
    let geometry = image.geometry();
    let mut fat = [0; BLOCK];
    // README.TXT has two clusters.
    let head = b"\xf8\xff\xff\xff\x03\x00\xff\xff\xff\xff\xff\xff";
    fat[..head.len()].copy_from_slice(head);
    for copy in 0..2 {
        let first = geometry.reserved() + copy * geometry.fat_blocks();
        assert_eq!(block(&image, first), fat);
        assert!((1..geometry.fat_blocks()).all(|lba| block(&image, first + lba) == [0; BLOCK]));
    }
    assert!((1..geometry.reserved()).all(|lba| block(&image, lba) == [0; BLOCK]));
}

#[test]
fn the_root_directory() {
    for (marker, name) in [
        (Marker::Ready, b"READY   TXT"),
        (Marker::Busy, b"BUSY    TXT"),
        (Marker::Pass, b"PASS    TXT"),
        (Marker::Fail, b"FAIL    TXT"),
    ] {
        let image = image(64 * MIB, marker);
        let mut root = Vec::new();
        for (name, attribute, cluster, size) in [
            (b"BMCUPDATE  ", 8, 0_u16, 0),
            (b"README  TXT", 1, 2, README.len() as u32 * 100),
            (b"STATUS  TXT", 1, 4, STATUS.len() as u32),
            (name, 1, 5, 8),
        ] {
            root.extend(name);
            root.extend([attribute, 0, 0, 0, 0, 0x21, 0, 0x21, 0, 0, 0, 0, 0, 0x21, 0]);
            root.extend(cluster.to_le_bytes());
            root.extend(u32::to_le_bytes(size));
        }
        root.resize(BLOCK, 0);
        let first = image.geometry().root();
        assert_eq!(block(&image, first)[..], root);
        assert!((1..32).all(|lba| block(&image, first + lba) == [0; BLOCK]));
        let mut text = [0; BLOCK];
        text[..STATUS.len()].copy_from_slice(STATUS.as_bytes());
        assert_eq!(block(&image, image.geometry().data() + 16), text);
    }
}

#[test]
fn a_text_that_is_empty_has_no_cluster_and_one_that_is_too_long_is_cut() {
    let texts =
        Texts { readme: vec![], status: vec![b'x'; 20_000], marker: Marker::Pass, verdict: vec![b'y'] };
    let image = Image::new(Geometry::new(MIB).unwrap(), 1, texts);
    let geometry = image.geometry();
    let root = block(&image, geometry.root());
    assert_eq!((&root[58..64], &root[90..96]), (&[0; 6][..], &[2, 0, 0, 0x40, 0, 0][..]));
    let fat = block(&image, geometry.reserved());
    assert_eq!(fat[4..14], *b"\x03\0\x04\0\x05\0\xff\xff\xff\xff");
    assert_eq!(block(&image, geometry.data() + (TEXT / BLOCK) as u32 - 1), [b'x'; BLOCK]);
    assert_eq!(block(&image, geometry.data() + (TEXT / BLOCK) as u32)[..2], *b"y\0");
    assert_eq!(block(&image, geometry.blocks() - 1), [0; BLOCK]);
    let mut beyond = [1; BLOCK];
    image.block(u64::MAX, &mut beyond);
    assert_eq!(beyond, [0; BLOCK]);
}

/// Every limit, in steps that are not even: what the specification says of all of them.
#[test]
fn geometries() {
    for max_size in (1..=MAX_PACKAGE).step_by(99_991).chain([1, MIB, 512 * MIB, MAX_PACKAGE]) {
        let geometry = Geometry::new(max_size).unwrap();
        assert_eq!(geometry.max_size(), max_size);
        assert!((4117..65_493).contains(&geometry.clusters()), "{geometry:?}");
        assert!([8, 16, 32, 64].contains(&geometry.cluster_blocks()));
        assert!(geometry.data().is_multiple_of(128) && geometry.blocks().is_multiple_of(128));
        assert!((1..=128).contains(&geometry.reserved()));
        assert!(geometry.fat_blocks() * 256 >= geometry.clusters() + 2);
        let data = u64::from(geometry.clusters()) * u64::from(geometry.cluster_blocks()) * 512;
        assert!(data >= 2 * u64::from(max_size) + 4 * u64::from(MIB));
        assert!(geometry.blocks() > 65_535);
    }
    assert_eq!(Geometry::new(0), None);
    assert_eq!(Geometry::new(MAX_PACKAGE + 1), None);
}

#[test]
fn the_table_of_the_specification() {
    let text = include_str!("../../../../../docs/spec/volume.md");
    let number = |cell: &str| cell.trim().replace(',', "").parse::<u32>().ok();
    let mut rows = 0;
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", max, cluster, clusters, fat, reserved, data, blocks, ""] = cells[..] else { continue };
        let (Some(max), Some(cluster)) = (max.strip_suffix(" MiB"), cluster.strip_suffix(" KiB")) else {
            continue;
        };
        let geometry = Geometry::new(number(max).unwrap() * MIB).unwrap();
        let ours = [
            geometry.cluster_blocks() / 2,
            geometry.clusters(),
            geometry.fat_blocks(),
            geometry.reserved(),
            geometry.data(),
            geometry.blocks(),
        ];
        let theirs = [cluster, clusters, fat, reserved, data, blocks].map(|cell| number(cell).unwrap());
        assert_eq!(ours, theirs, "{max} MiB");
        rows += 1;
    }
    assert_eq!(rows, 6);
}
