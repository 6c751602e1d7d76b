//! Which kernel modules the guest gets.

use std::collections::BTreeSet;

use crate::Outcome;

/// What the guest can load, with the modules these need: the virtual host controllers, of which `init` loads vhci_hcd and
/// a suite that wants it dummy_hcd, the controllers that QEMU has, the gadget stack, with a function that is none of ours, and what a host
/// does with disks and with its BMC.
pub(super) const WANTED: &[&str] = &[
    "configfs",
    "dummy_hcd",
    "ehci_pci",
    "ipmi_devintf",
    "ipmi_si",
    "libcomposite",
    "loop",
    "nls_ascii",
    "nls_cp437",
    "nls_utf8",
    "sd_mod",
    "sg",
    "usb_f_fs",
    "usb_f_mass_storage",
    "usb_storage",
    "usbtest",
    "vfat",
    "vhci_hcd",
    "xhci_pci",
];

/// What the Debian guest needs to reach its root.
pub(super) const DISK: &[&str] = &["overlay", "squashfs", "virtio_blk", "virtio_pci"];

/// The files of the wanted modules and of all they depend on, relative to the modules' folder. A wanted module
/// that is built into the kernel needs no file.
///
/// `dep` and `builtin` are the texts of `modules.dep` (as depmod writes it: `file: file file ...`, already
/// transitive) and `modules.builtin`.
pub(super) fn select(wanted: &[&str], dep: &str, builtin: &str) -> Outcome<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for module in wanted {
        let entry =
            dep.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| name(file) == *module);
        match entry {
            Some((file, needs)) => {
                files.insert(file.to_string());
                files.extend(needs.split_whitespace().map(String::from));
            }
            None if builtin.lines().any(|file| name(file) == *module) => {}
            None => return Err(format!("this kernel has no module {module}")),
        }
    }
    Ok(files)
}

/// A module's name from its file's: `kernel/drivers/usb/usbip/vhci-hcd.ko.xz` is `vhci_hcd`.
fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/usb/usb-core.ko.xz: kernel/usb/usb-common.ko.xz
kernel/usb/usb-common.ko.xz:
kernel/usbip/vhci-hcd.ko.xz: kernel/usbip/usbip-core.ko.xz kernel/usb/usb-core.ko.xz kernel/usb/usb-common.ko.xz
kernel/usbip/usbip-core.ko.xz: kernel/usb/usb-core.ko.xz kernel/usb/usb-common.ko.xz
kernel/net/other.ko.xz:
";

    #[test]
    fn a_module_comes_with_all_it_needs_and_nothing_else() {
        let files = select(&["vhci_hcd"], DEP, "").unwrap();
        assert_eq!(files.len(), 4);
        assert!(!files.iter().any(|file| file.contains("other")));
    }

    #[test]
    fn a_module_in_the_kernel_needs_no_file() {
        assert_eq!(select(&["loop"], DEP, "kernel/drivers/block/loop.ko\n").unwrap(), BTreeSet::new());
    }

    #[test]
    fn a_module_that_is_nowhere_is_an_error() {
        assert!(select(&["floppy"], DEP, "").unwrap_err().contains("floppy"));
    }
}
