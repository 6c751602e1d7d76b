//! The program as a device of a QEMU guest: its sockets. What goes over them is tested in `crates/virtual`, and in a guest.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    process::Stdio,
};

use crate::home::{Home, good_config, signal};

/// Bytes of a hello with its header.
const HELLO: usize = 80;

/// What the one who connects is greeted with; then the program is ended.
fn greeting(usb: &str, connect: impl FnOnce(&Home) -> UnixStream) -> Home {
    let home = Home::with_store();
    home.configure(&good_config().replace("usbip:127.0.0.1:0", usb));
    let mut child = home
        .inbandd(&["--pcap", "bus.pcap"])
        .current_dir(home.path(""))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let started = log.find(|line| line.contains("event=started")).unwrap();
    // The path is that of the configuration's directory.
    let name = usb.split(':').next().unwrap();
    assert!(started.contains(&format!("usb={name}:{}", home.path("qemu.sock").display())), "{started}");
    let mut stream = connect(&home);
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello[..12], [0, 0, 0, 0, 68, 0, 0, 0, 0, 0, 0, 0]);
    assert!(hello[12..].starts_with(b"inband "));
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
    assert!(home.path("bus.pcap").metadata().unwrap().len() >= 24, "the header of a recording");
    home
}

#[test]
fn it_connects_to_the_socket_of_qemu_when_there_is_one() {
    greeting("usbredir:qemu.sock", |home| {
        let listener = UnixListener::bind(home.path("qemu.sock")).unwrap();
        drop(listener.accept().unwrap());
        // Again, after the first connection has ended.
        listener.accept().unwrap().0
    });
}

#[test]
fn it_listens_for_qemu() {
    let home = greeting("usbredir-listen:qemu.sock", |home| {
        let path = home.path("qemu.sock");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(path).unwrap()
    });
    assert!(!home.path("qemu.sock").exists());
}
