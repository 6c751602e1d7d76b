//! A BMC that no host sees while its doors are shut, over USB/IP.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use inband_dfu::host::End;
use inband_session::SessionState;
use inband_virtual::usbip::{self, BusId};

use crate::{
    home::{Home, good_config},
    host::{detach, download},
    package::Package,
    remote::open,
};

const RUN_TIME: u16 = 1;
const DFU: u16 = 2;

fn is_there(server: SocketAddr) -> bool {
    let listed = !usbip::list(server).unwrap().is_empty();
    let opens = usbip::open(server, &BusId::new("1-1").unwrap()).is_ok();
    assert!(listed || !opens, "what is not listed can be opened");
    listed
}

#[track_caller]
fn wait_gone(server: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_there(server) {
        assert!(Instant::now() < deadline, "the device stays");
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask(home: &Home, arguments: &[&str]) -> String {
    let output = home.inbandd(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_host_sees_the_device_while_a_door_is_armed_and_for_its_update() {
    let home = Home::with_store();
    let config = format!(
        "control = \"control\"\n{}\n[doors]\ndfu.policy = \"armed\"\nwhile_shut = \"nothing\"\n",
        good_config()
    );
    home.configure(&config);
    let running = home.start();
    assert!(!is_there(running.address));
    assert!(ask(&home, &["status", "--json"]).contains("\"hidden\":true"));

    ask(&home, &["arm", "dfu"]);
    drop(open(running.address, RUN_TIME));
    ask(&home, &["disarm", "dfu"]);
    wait_gone(running.address);

    ask(&home, &["arm", "dfu", "--for", "1"]);
    wait_gone(running.address);
    assert!(ask(&home, &["status"]).contains("door dfu: shut\n"));

    ask(&home, &["arm", "dfu"]);
    detach(&mut open(running.address, RUN_TIME)).unwrap();
    let package = Package::new(0x0200, 1000);
    assert_eq!(download(&mut open(running.address, DFU), &package.bytes(), |_, _| {}), Ok(End::Idle));
    wait_gone(running.address);
    let state = format!("\"state\":\"{}\"", SessionState::Staged);
    assert!(ask(&home, &["status", "--json"]).contains(&state));

    // Armed for the daemon that was.
    ask(&home, &["arm", "dfu"]);
    drop(running);
    let running = home.start();
    assert!(!is_there(running.address));
}
