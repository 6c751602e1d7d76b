use std::os::unix::fs::symlink;

use super::*;

/// A tree as sysfs has it: a USB device at port 1-2.3 with a disk and a partition, and a disk that is no BMC's.
fn sysfs(model: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let make = |path: &str, files: &[(&str, &str)]| {
        let folder = root.path().join(path);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
        folder
    };
    let usb = "devices/usb1/1-2/1-2.3";
    make(usb, &[("idVendor", "1209"), ("busnum", "1"), ("devpath", "2.3"), ("serial", "0123456789ABCDEF")]);
    let lun = format!("{usb}/1-2.3:1.1/host0/target0:0:0/0:0:0:0");
    let device = make(&lun, &[("vendor", "INBAND  "), ("model", model)]);
    let disk = make(&format!("{lun}/block/sda"), &[("dev", "8:0")]);
    symlink(device, disk.join("device")).unwrap();
    let partition = make(&format!("{lun}/block/sda/sda1"), &[("dev", "8:1"), ("partition", "1")]);

    let lun = "devices/ata1/host1/target1:0:0/1:0:0:0";
    let device = make(lun, &[("vendor", "INBAND  "), ("model", "FIRMWARE RAW    ")]);
    let other = make(&format!("{lun}/block/sdb"), &[("dev", "8:16")]);
    symlink(device, other.join("device")).unwrap();

    let class = make("class/block", &[]);
    for (name, folder) in [("sda", disk), ("sda1", partition), ("sdb", other)] {
        symlink(folder, class.join(name)).unwrap();
    }
    root
}

#[test]
fn a_disk_is_found_by_what_it_says_and_with_the_place_of_its_device() {
    for (model, profile) in [("FIRMWARE RAW    ", Profile::Raw), ("FIRMWARE FAT    ", Profile::Fat)] {
        let root = sysfs(model);
        let found = in_sysfs(&root.path().join("class/block")).unwrap();
        let [Found { disk, folder, number }] = &found[..] else { panic!("{}", found.len()) };
        assert_eq!((disk.place.to_string(), disk.profile), ("usb:1-2.3".to_owned(), profile));
        assert_eq!(disk.serial.as_deref(), Some("0123456789ABCDEF"));
        assert_eq!((disk.file.as_path(), &**number), (Path::new("/dev/sda"), "8:0"));
        assert!(folder.ends_with("1-2.3:1.1/host0/target0:0:0/0:0:0:0/block/sda"));
    }
    let root = sysfs("MEMORY DISK     ");
    assert!(in_sysfs(&root.path().join("class/block")).unwrap().is_empty());
    assert!(in_sysfs(&root.path().join("nowhere")).unwrap().is_empty());
}

#[test]
fn a_mount_is_found_also_of_a_partition_and_of_no_other_disk() {
    let mounts =
        "proc /proc proc rw 0 0\n/dev/sdab /other vfat rw 0 0\n/dev/sda1 /mnt/stick\\040one vfat rw 0 0\n";
    assert_eq!(mounted_at(mounts, Path::new("/dev/sda")).as_deref(), Some("/mnt/stick\\040one"));
    assert_eq!(mounted_at(mounts, Path::new("/dev/sdab")).as_deref(), Some("/other"));
    assert_eq!(mounted_at(mounts, Path::new("/dev/sdb")), None);
}

#[test]
fn a_piece_is_aligned_for_direct_io() {
    let mut buffer = Vec::new();
    let piece = aligned(&mut buffer);
    assert_eq!((piece.len(), piece.as_ptr().align_offset(ALIGNMENT)), (PIECE, 0));
}

#[test]
fn the_kernel_s_errors_are_those_of_devices() {
    let error = |number| host_error(&io::Error::from_raw_os_error(number));
    assert_eq!(error(libc::EBUSY), HostError::Busy);
    assert_eq!(error(libc::EACCES), HostError::Permission);
    for number in [libc::ENODEV, libc::ENXIO, libc::ENOENT] {
        assert_eq!(error(number), HostError::Gone);
    }
    assert!(matches!(error(libc::EIO), HostError::Other(_)));
}
