use inband_usb::descriptor::Interface;
use tempfile::TempDir;

use super::*;

fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 0x0001,
        device_version: 0x0123,
        manufacturer: "Maker".into(),
        product: "Thing".into(),
        serial: String::new(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 0,
            protocol: 0,
            name: String::new(),
            extra: Vec::new(),
            endpoints: Vec::new(),
        }],
    }
}

/// A folder in which configfs is played: what the kernel makes with a gadget is made by hand.
struct Fake {
    folder: TempDir,
    configfs: ConfigFs,
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configfs = ConfigFs::at(folder.path().to_owned(), "inband");
        Self { folder, configfs }
    }

    /// What the kernel makes with a gadget.
    fn kernel_makes(&self, name: &str) {
        for part in ["configs", "functions", "os_desc", "strings"] {
            fs::create_dir_all(self.path(name).join(part)).unwrap();
        }
        fs::write(self.path(name).join("UDC"), "\n").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, name: &str) {
        self.kernel_makes(name);
        run(&self.configfs.make(name, &Function::FunctionFs)).unwrap();
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }
}

#[test]
fn a_gadget_is_made_with_its_function_in_its_configuration() {
    let fake = Fake::new();
    fake.make("inband-0");
    assert!(fake.path("inband-0/functions/ffs.inband-0").is_dir());
    let link = fs::read_link(fake.path("inband-0/configs/c.1/ffs.inband-0")).unwrap();
    // Relative, the kernel would take it from where the process is.
    assert_eq!(link, fake.path("inband-0/functions/ffs.inband-0"));
    assert_eq!(fake.text("inband-0/configs/c.1/bmAttributes"), "0xc0\n");
    assert_eq!(fake.text("inband-0/configs/c.1/MaxPower"), "2\n");
    assert!(!fake.path("inband-0/max_speed").exists(), "older kernels have no such attribute");
    // Once more, as after a failure half-way, up to the link that is there.
    let again = fake.configfs.make("inband-0", &Function::FunctionFs);
    run(&again[..again.len() - 1]).unwrap();
}

#[test]
fn the_highest_speed_is_limited_where_the_kernel_can() {
    let fake = Fake::new();
    fake.kernel_makes("inband-0");
    fs::write(fake.path("inband-0/max_speed"), "super-speed-plus\n").unwrap();
    run(&fake.configfs.make("inband-0", &Function::FunctionFs)).unwrap();
    assert_eq!(fake.text("inband-0/max_speed"), "high-speed\n");
}

#[test]
fn windows_is_told_of_the_configuration_and_no_more_when_it_goes() {
    let fake = Fake::new();
    fake.make("inband-0");
    run(&fake.configfs.announce_microsoft("inband-0")).unwrap();
    assert_eq!(fake.text("inband-0/os_desc/use"), "1\n");
    assert_eq!(fake.text("inband-0/os_desc/b_vendor_code"), "0x4d\n");
    assert_eq!(fake.text("inband-0/os_desc/qw_sign"), "MSFT100");
    let link = fake.path("inband-0/os_desc/c.1");
    assert_eq!(fs::read_link(&link).unwrap(), fake.path("inband-0/configs/c.1"));
    let steps = fake.configfs.remove("inband-0");
    // A configuration that is linked to is not removed.
    assert_eq!(steps[0], Step::Unlink(link));
    // A kernel without these attributes: said, and the gadget is as it was.
    fs::remove_dir_all(fake.path("inband-0/os_desc")).unwrap();
    assert!(run(&fake.configfs.announce_microsoft("inband-0")).is_err());
}

#[test]
fn an_identity_is_written_and_recognised() {
    let fake = Fake::new();
    fake.make("inband-0");
    assert!(!fake.configfs.has_identity("inband-0", &set()));
    run(&fake.configfs.identity("inband-0", &set())).unwrap();
    assert_eq!(fake.text("inband-0/idVendor"), "0x1209\n");
    assert_eq!(fake.text("inband-0/bcdDevice"), "0x0123\n");
    assert_eq!(fake.text("inband-0/strings/0x409/product"), "Thing\n");
    assert_eq!(fake.text("inband-0/strings/0x409/serialnumber"), "\n");
    assert!(fake.configfs.has_identity("inband-0", &set()));
    let other = DescriptorSet { device_version: 0x0124, ..set() };
    assert!(!fake.configfs.has_identity("inband-0", &other));
    let other = DescriptorSet { serial: "1".into(), ..set() };
    assert!(!fake.configfs.has_identity("inband-0", &other));
}

/// Makes the kernel's disk, of a kernel with or without the attribute that came last.
fn with_disk(fake: &Fake, halts: bool, has_inquiry: bool) {
    fake.kernel_makes("inband-0");
    let unit = fake.path(&format!("{DISK}/lun.0"));
    fs::create_dir_all(&unit).unwrap();
    fs::write(unit.join("file"), "").unwrap();
    if has_inquiry {
        fs::write(unit.join("inquiry_string"), "\n").unwrap();
    }
    let inquiry = "INBAND  DISK            1   ".to_owned();
    run(&fake.configfs.make("inband-0", &Function::MassStorage { halts, inquiry })).unwrap();
}

const DISK: &str = "inband-0/functions/mass_storage.inband-0";

#[test]
fn the_kernels_disk_is_set_before_it_is_in_the_configuration() {
    let fake = Fake::new();
    with_disk(&fake, true, true);
    let unit = |file: &str| fake.text(&format!("{DISK}/lun.0/{file}"));
    assert_eq!(fake.text(&format!("{DISK}/stall")), "1\n");
    assert_eq!([unit("removable"), unit("nofua")], ["1\n", "1\n"]);
    // Of 28 characters: the end of a line would be one.
    assert_eq!(unit("inquiry_string"), "INBAND  DISK            1   ");
    let link = fs::read_link(fake.path("inband-0/configs/c.1/mass_storage.inband-0")).unwrap();
    assert_eq!(link, fake.path(DISK));
    // In a configuration, the kernel takes no other word about halting.
    let inquiry = String::new();
    let steps = fake.configfs.make("inband-0", &Function::MassStorage { halts: true, inquiry });
    assert!(matches!(steps.last(), Some(Step::Link { .. })));
}

#[test]
fn the_kernels_disk_of_an_old_kernel_names_itself_and_need_not_halt() {
    let fake = Fake::new();
    with_disk(&fake, false, false);
    assert_eq!(fake.text(&format!("{DISK}/stall")), "0\n");
    assert!(!fake.path(&format!("{DISK}/lun.0/inquiry_string")).exists());
}

#[test]
fn a_medium_comes_in_behind_its_write_protection_and_goes() {
    let fake = Fake::new();
    with_disk(&fake, true, true);
    let unit = |file: &str| fake.path(&format!("{DISK}/lun.0/{file}"));
    assert_eq!(fake.configfs.has_medium("inband-0"), Some(false));
    let steps = fake.configfs.insert("inband-0", "/proc/self/fd/9", true);
    let wanted =
        [Step::Write(unit("ro"), "1\n".into()), Step::Write(unit("file"), "/proc/self/fd/9\n".into())];
    assert_eq!(steps, wanted);
    run(&steps).unwrap();
    assert_eq!(fake.configfs.has_medium("inband-0"), Some(true));
    fake.configfs.eject("inband-0").run().unwrap();
    assert_eq!(fake.configfs.has_medium("inband-0"), Some(false));
    let writable = fake.configfs.insert("inband-0", "/proc/self/fd/9", false);
    assert_eq!(writable[0], Step::Write(unit("ro"), "0\n".into()));
    fs::remove_dir_all(fake.path("inband-0")).unwrap();
    assert_eq!(fake.configfs.has_medium("inband-0"), None);
}

#[test]
fn a_function_that_the_kernel_has_not_got_leaves_nothing() {
    let fake = Fake::new();
    // A folder that is nowhere says the same as a function that is unknown.
    let nowhere = ConfigFs::at(fake.path("nowhere"), "inband");
    let disk = Function::MassStorage { halts: true, inquiry: String::new() };
    for function in [Function::FunctionFs, disk] {
        let error = nowhere.create("inband-0", &function, GadgetError::NoAio).unwrap_err();
        assert!(matches!(error, GadgetError::NoAio), "{error}");
    }
    assert!(nowhere.ours().is_empty());
}

#[test]
fn what_is_tried_is_removed() {
    let fake = Fake::new();
    with_disk(&fake, true, true);
    assert!(fake.configfs.is_disk("inband-0"));
    assert!(fake.configfs.tries_functionfs("inband-0"));
    assert_eq!(list(&fake.path("inband-0/functions")), ["mass_storage.inband-0"]);
    assert!(!fake.configfs.tries_functionfs("inband-1"));
    assert!(!fake.configfs.is_disk("inband-1"));
}

#[test]
fn a_locked_gadget_is_locked_until_the_file_is_closed() {
    let fake = Fake::new();
    fake.make("inband-0");
    let lock = fake.configfs.lock("inband-0").unwrap();
    assert!(lock.is_some());
    assert!(fake.configfs.lock("inband-0").unwrap().is_none());
    drop(lock);
    assert!(fake.configfs.lock("inband-0").unwrap().is_some());
    assert_eq!(fake.configfs.lock("inband-1").unwrap_err(), Errno::NOENT);
}

#[test]
fn what_is_removed_is_removed_from_the_inside() {
    let fake = Fake::new();
    fake.make("inband-0");
    let path = |name: &str| fake.path("inband-0").join(name);
    fs::create_dir(path("configs/c.1/strings")).unwrap();
    fs::create_dir(path("configs/c.1/strings/0x409")).unwrap();
    assert_eq!(
        fake.configfs.remove("inband-0"),
        [
            Step::Unlink(path("configs/c.1/ffs.inband-0")),
            Step::Remove(path("configs/c.1/strings/0x409")),
            Step::Remove(path("configs/c.1")),
            Step::Remove(path("functions/ffs.inband-0")),
            Step::Remove(path("strings/0x409")),
            Step::Remove(fake.path("inband-0")),
        ]
    );
    // And what is not there is no failure.
    run(&fake.configfs.remove("inband-7")).unwrap();
}

#[test]
fn only_what_we_made_is_ours() {
    let fake = Fake::new();
    fake.make("inband-0");
    // While being made or removed.
    fake.kernel_makes("inband-12");
    for name in ["inband", "inband-", "inband-x", "inband-1x", "inband2-0", "vmedia", "g-inband-0"] {
        fake.kernel_makes(name);
    }
    fake.kernel_makes("inband-13");
    fs::create_dir(fake.path("inband-13/functions/mass_storage.inband-13")).unwrap();
    // A name like ours with a function of somebody's, alone or beside ours.
    fake.kernel_makes("inband-3");
    fs::create_dir(fake.path("inband-3/functions/mass_storage.0")).unwrap();
    fake.make("inband-4");
    fs::create_dir(fake.path("inband-4/functions/mass_storage.0")).unwrap();
    assert_eq!(fake.configfs.ours(), ["inband-0", "inband-12", "inband-13"]);
}

#[test]
fn a_name_that_anybody_has_is_not_free() {
    let fake = Fake::new();
    assert_eq!(fake.configfs.free_name(), "inband-0");
    fake.make("inband-0");
    fake.kernel_makes("inband-1");
    fs::create_dir(fake.path("inband-1/functions/mass_storage.0")).unwrap();
    assert_eq!(fake.configfs.free_name(), "inband-2");
}

#[test]
fn who_has_a_controller_is_read_from_all_gadgets() {
    let fake = Fake::new();
    fake.make("inband-0");
    fake.kernel_makes("vmedia");
    assert_eq!(fake.configfs.bound_to("1e6a0000.usb-vhub:p1"), None);
    assert_eq!(fake.configfs.controller("inband-0"), None);
    fake.configfs.bind("inband-0", "1e6a0000.usb-vhub:p1").unwrap();
    fs::write(fake.path("vmedia/UDC"), "1e6a0000.usb-vhub:p2\n").unwrap();
    assert_eq!(fake.configfs.bound_to("1e6a0000.usb-vhub:p1").as_deref(), Some("inband-0"));
    assert_eq!(fake.configfs.bound_to("1e6a0000.usb-vhub:p2").as_deref(), Some("vmedia"));
    fake.configfs.unbind("inband-0").unwrap();
    assert_eq!(fake.configfs.bound_to("1e6a0000.usb-vhub:p1"), None);
}

#[test]
fn configfs_is_found_where_it_is_mounted() {
    let fake = Fake::new();
    fs::create_dir(fake.path("usb_gadget")).unwrap();
    let path = fake.folder.path().display();
    let mounts =
        format!("proc /proc proc rw 0 0\nnone /nowhere configfs rw 0 0\nnone {path} configfs rw 0 0\n");
    let found = ConfigFs::find(&mounts, "inband").map(|configfs| configfs.root().to_owned());
    assert_eq!(found, Some(fake.path("usb_gadget")));
    assert!(ConfigFs::find("none /nowhere configfs rw 0 0\n", "inband").is_none());
    assert!(ConfigFs::find("", "inband").is_none());
}
