//! OpenBMC's own keys, layouts and tars: everything as a BMC of today has it, and the program.

use std::fs;

use inband_dfu::{
    host::{End, Error},
    wire::Status,
};
use inband_session::{ResultCode, SessionState};
use inband_store::Slot;

use self::kit::{Key, Release, zstd};
use crate::{
    home::{Home, errors},
    host::{detach, download, status},
    package::{MACHINE, Package, noise},
    remote::open,
};

// The other tests of tars use more of it.
#[allow(dead_code)]
#[path = "../../../package/tests/openbmc/kit.rs"]
mod kit;

/// Where the kit finds its script, from this crate's folder.
const MAKE_TAR: &str = "../package/tests/openbmc/make-tar.sh";

const KIB: usize = 1024;
/// Bytes of a slot.
const SLOT: usize = 1024 * KIB;

/// The layout *mmc*: boot partition and root file system come compressed.
fn config() -> String {
    let region = |member: &str, offset: usize, size: usize, more: &str| {
        format!("\n[[region]]\nmember = \"{member}\"\noffset = {offset}\nsize = {size}\n{more}\n")
    };
    let mut text = format!(
        "machine = \"{MACHINE}\"\nusb = \"usbip:127.0.0.1:0\"\n\n\
         [identity]\nvendor_id = 0x1209\nproduct_id = 1\ndfu_product_id = 2\nserial = \"PROGRAM-1\"\n\n\
         [signatures]\nkeys = \"activationdata\"\nformat = \"openbmc\"\nrequired = [\"rsa\"]\n\n\
         [openbmc]\naccept_unindexed = true\n\n\
         [store]\npath = \"store\"\nslot_size = {SLOT}\n"
    );
    text += &region("image-u-boot", 0, 64 * KIB, "policy = \"preserve\"");
    text += &region("image-kernel", 64 * KIB, 192 * KIB, "encoding = \"zstd\"");
    text += &region("image-rofs", 256 * KIB, 512 * KIB, "encoding = \"zstd\"");
    text += &region("image-rwfs", 768 * KIB, 256 * KIB, "");
    text
}

fn home() -> Home {
    let home = Home::new();
    for (name, key) in [("GA", Key::System), ("Next", Key::OtherSystem)] {
        let folder = home.path("activationdata").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("publickey"), key.public_pem()).unwrap();
        fs::write(folder.join("hashfunc"), "HashType=RSA-SHA256\n").unwrap();
    }
    home.configure(&config());
    home
}

/// Kernel, rofs, and the release they are in.
fn release() -> (Vec<u8>, Vec<u8>, Release) {
    let kernel = [noise(60 * KIB, 1), vec![0; 100 * KIB]].concat();
    let rofs = [noise(100 * KIB, 2), vec![7; 300 * KIB]].concat();
    let images = [
        ("image-u-boot", noise(60 * KIB, 3)),
        ("image-kernel", zstd(&kernel, &["-3"])),
        ("image-rofs", zstd(&rofs, &["-3"])),
        ("image-rwfs", noise(10 * KIB, 4)),
    ];
    (kernel, rofs, Release::new(MACHINE, "2.14.0", &images))
}

#[test]
fn a_tar_for_mmc_goes_through_sealed_memory_into_the_regions_that_are_replaced() {
    let home = home();
    let output = home.inbandd(&["init"]).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let check = home.inbandd(&["check"]).output().unwrap();
    assert!(check.status.success(), "{}", errors(&check));
    let (kernel, rofs, release) = release();
    let tar = release.tar();
    // A file of another kind than what the layout says, and one that only has a head of ours.
    let mut bad = release.clone();
    bad.images[1].1 = kernel[..1000].to_vec();
    let bad = bad.tar();
    for (file, result, told) in [
        (bad, ResultCode::BadEncoding, Status::ErrFile),
        (Package::new(1, 1000).bytes(), ResultCode::UnknownKey, Status::ErrVerify),
    ] {
        let running = home.start();
        detach(&mut open(running.address, 1)).unwrap();
        match download(&mut open(running.address, 2), &file, |_, _| {}) {
            Err(Error::Refused { status, .. }) => assert_eq!(status, Some(told)),
            other => panic!("{other:?}"),
        }
        let page = status(&mut open(running.address, 2)).unwrap();
        assert_eq!((page.state, page.result()), (SessionState::Failed, Some(result)));
        assert_eq!((page.boots_next, page.received > 0), (Slot::A, true));
    }
    let running = home.start();
    detach(&mut open(running.address, 1)).unwrap();
    assert_eq!(download(&mut open(running.address, 2), &tar, |_, _| {}), Ok(End::Idle));
    let page = status(&mut open(running.address, 1)).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Staged, Some(ResultCode::Ok)));
    assert_eq!((page.boots_next, page.bcd_device[1]), (Slot::B, 0x0214));

    // Compressed in the tar, plain in the slot; boot loader and settings are left as they are.
    let slot = home.slot(Slot::B);
    let region = |from: usize, to: usize| &slot[from * KIB..to * KIB];
    let filled = |image: &[u8], length: usize| {
        let mut image = image.to_vec();
        image.resize(length * KIB, 0xFF);
        image
    };
    assert!(region(64, 256) == filled(&kernel, 192));
    assert!(region(256, 768) == filled(&rofs, 512));
    let untouched = home.slot(Slot::A);
    assert!(region(0, 64) == &untouched[..64 * KIB] && region(768, 1024) == &untouched[768 * KIB..]);

    running.signal("TERM");
    let (code, lines) = running.wait();
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line.contains("version=2.14.0")), "the log names it: {lines:?}");
}

#[test]
fn configurations_that_no_tar_could_be_for() {
    let good = config();
    for (from, to, words) in [
        ("required = [\"rsa\"]", "required = [\"ed25519\"]", "required = [\"rsa\"]"),
        ("required = [\"rsa\"]", "required = [\"rsa\", \"p384\"]", "required = [\"rsa\"]"),
        ("policy = \"preserve\"", "", "\"refuse\" for image-u-boot"),
        (
            "policy = \"preserve\"",
            "target = \"spl\"\npolicy = \"replace\"",
            "\"replace\" for image-u-boot of spl",
        ),
        (
            "policy = \"preserve\"",
            "target = \"spl\"\npolicy = \"preserve\"",
            "those of no OpenBMC firmware tar",
        ),
        ("image-kernel", "image-fit", "image-fit, which no"),
        ("encoding = \"zstd\"", "encoding = \"xz\"", "`xz`"),
        ("accept_unindexed = true", "accept_unindexed = 1", "boolean"),
        ("accept_unindexed", "accept", "unknown field `accept`"),
    ] {
        assert!(good.contains(from), "{from}");
        let home = home();
        home.configure(&good.replacen(from, to, 1));
        let check = home.inbandd(&["check"]).output().unwrap();
        assert_eq!(check.status.code(), Some(3), "{to}");
        assert!(errors(&check).contains(words), "{words}: {}", errors(&check));
    }
}
