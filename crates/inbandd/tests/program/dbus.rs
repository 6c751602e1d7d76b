//! The door handle by D-Bus, on a real bus: hosts' requests come to a double of ipmid, whose provider hands them to the program.

mod bus;
mod host;
mod ipmid;

use std::thread;

use inband_ipmi::{
    command::{Command, FLAG_STARTED, Wishes},
    wire::{COMMAND, Code, NETFN, ORGANISATION},
};
use inband_session::SessionState;
use zbus::fdo;

use self::{
    bus::Bus,
    host::Host,
    ipmid::{Bridge, Checks, EXECUTE, INBAND, INTERFACE, Ipmid, PATH},
};
use crate::{
    disk_host::Disk,
    home::{Home, Running},
    ipmi::{Ipmi, RAW, WITH_DISK, home},
    package::Package,
    remote::open,
};

/// The program, with a place on the bus.
fn start(home: &Home, bus: &Bus) -> Running {
    let running = Running::start(home.inbandd(&[]).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()));
    bus.wait_for(INBAND);
    running
}

impl Ipmi for Bridge {
    fn ask(&mut self, netfn: u8, command: u8, data: &[u8]) -> (Code, Vec<u8>) {
        self.execute(netfn, command, data)
    }
}

#[test]
fn a_host_starts_copies_stops_and_asks_until_it_is_staged() {
    let (home, bus) = (home("dbus"), Bus::start());
    let running = start(&home, &bus);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut host = Bridge::system(&bus);
    let nonce = host.start(1, RAW);
    let mut disk = Disk::open(open(running.address, WITH_DISK));
    disk.copy(&Package::new(0x0200, 200_000).bytes());
    assert_eq!(host.status().state, SessionState::Receiving.number());
    assert_eq!(host.command(&Command::Stop { tag: 2, nonce, commit: true }).0, Code::OK);
    let staged = host.until_staged();
    assert_eq!((staged.nonce, staged.result), (nonce, 1));
}

#[test]
fn a_host_changes_its_mind() {
    let (home, bus) = (home("dbus"), Bus::start());
    let running = start(&home, &bus);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut host = Bridge::system(&bus);
    assert_eq!(host.command(&Command::Abort { tag: 1 }).0, Code::NOTHING);
    host.start(2, RAW);
    let mut disk = Disk::open(open(running.address, WITH_DISK));
    disk.copy(&Package::new(0x0200, 200_000).bytes());
    assert_eq!(host.command(&Command::Abort { tag: 3 }).0, Code::OK);
    let after = host.status();
    assert_eq!(after.state, SessionState::Aborted.number(), "{after:?}");
    assert_eq!(after.flags & FLAG_STARTED, 0, "{after:?}");
}

#[test]
fn lan_and_ipmb_are_refused_by_the_provider_and_again_by_the_daemon() {
    let (home, bus) = (home("dbus"), Bus::start());
    let _running = start(&home, &bus);
    for checks in [Checks::Channel, Checks::Nothing] {
        let ipmid = Ipmid::start(&bus, checks);
        for mut bridge in [Bridge::lan(&bus), Bridge::ipmb(&bus), Bridge::system_of_a_user(&bus)] {
            let start = Command::Start { tag: 1, door: RAW, wishes: Wishes::default() };
            for command in [start, Command::Status, Command::Abort { tag: 2 }] {
                // Refused, and nothing else said.
                assert_eq!(bridge.command(&command), (Code::PRIVILEGE, vec![]), "{command:?}");
            }
            assert_eq!(bridge.execute(NETFN, COMMAND, &[]).0, Code::LENGTH);
        }
        let now = Bridge::system(&bus).status();
        assert_eq!((now.nonce, now.flags & FLAG_STARTED), (0, 0), "{now:?}");
        drop(ipmid);
    }
}

#[test]
fn ipmid_keeps_from_us_what_is_not_ours() {
    let (home, bus) = (home("dbus"), Bus::start());
    let _running = start(&home, &bus);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    let host = Bridge::system(&bus);
    // Not on its list; another command; another organisation; nobody's channel.
    assert_eq!(host.execute(0x06, 0x02, &[]).0, Code::PRIVILEGE);
    assert_eq!(host.execute(NETFN, 0x80, &ORGANISATION).0, Code::PRIVILEGE);
    assert_eq!(host.execute(NETFN, COMMAND, &[1, 2, 3, 3]).0, Code::INVALID_COMMAND);
    assert_eq!(Bridge::nobody(&bus).execute(NETFN, COMMAND, &[]).0, ipmid::UNAVAILABLE);
}

#[test]
fn only_ipmid_may_ask() {
    let (home, bus) = (home("dbus"), Bus::start());
    let _running = start(&home, &bus);
    let request = (15_u8, 0x0c_u8, 4_u8, COMMAND, Command::Status.encode()[3..].to_vec());
    let denied = |error: zbus::Error| matches!(error.into(), fdo::Error::AccessDenied(_));
    let other = bus.connect();
    let asked = || other.call_method(Some(INBAND), PATH, Some(INTERFACE), EXECUTE, &request);
    // Before there is one, while there is one, and when it was.
    assert!(asked().is_err_and(denied));
    let ipmid = Ipmid::start(&bus, Checks::Channel);
    assert!(asked().is_err_and(denied));
    assert_eq!(Bridge::system(&bus).status().nonce, 0);
    let was = ipmid.give_up();
    assert!(was.call_method(Some(INBAND), PATH, Some(INTERFACE), EXECUTE, &request).is_err_and(denied));
    // And who comes after it.
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    assert_eq!(Bridge::system(&bus).status().nonce, 0);
}

#[test]
fn the_policy_keeps_out_whoever_is_not_root() {
    // Where root, whose requests it lets pass, is somebody else.
    let bus = Bus::start_where_root_is("nobody");
    let home = home("dbus");
    let _running = start(&home, &bus);
    let request = (15_u8, 0x0c_u8, 4_u8, COMMAND, vec![3_u8]);
    let refused = bus.connect().call_method(Some(INBAND), PATH, Some(INTERFACE), EXECUTE, &request);
    let error = fdo::Error::from(refused.unwrap_err());
    // The bus says it, not the daemon.
    assert!(
        matches!(&error, fdo::Error::AccessDenied(why) if why.contains("Rejected send message")),
        "{error}"
    );
}

#[test]
fn what_is_ill_formed_is_refused_and_harms_nothing() {
    let (home, bus) = (home("dbus"), Bus::start());
    let _running = start(&home, &bus);
    let ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut host = Bridge::system(&bus);
    let provider = ipmid.connection();
    let data = vec![3_u8];
    let call = |path, interface, member| {
        let reply = provider.call_method(
            Some(INBAND),
            path,
            Some(interface),
            member,
            &(15_u8, 12_u8, 4_u8, COMMAND, &data),
        );
        fdo::Error::from(reply.unwrap_err())
    };
    for (path, interface, member) in [
        ("/", INTERFACE, EXECUTE),
        (PATH, "xyz.openbmc_project.Inband.Other", EXECUTE),
        (PATH, INTERFACE, "execute"),
        (PATH, "org.freedesktop.DBus.Properties", "GetAll"),
    ] {
        let error = call(path, interface, member);
        assert!(matches!(error, fdo::Error::UnknownMethod(_)), "{path} {interface} {member}: {error}");
    }
    let execute =
        |error: zbus::Result<zbus::Message>| matches!(error.unwrap_err().into(), fdo::Error::InvalidArgs(_));
    let call = |body: &dyn Fn() -> zbus::Result<zbus::Message>| assert!(execute(body()));
    call(&|| provider.call_method(Some(INBAND), PATH, Some(INTERFACE), EXECUTE, &()));
    call(&|| {
        provider.call_method(Some(INBAND), PATH, Some(INTERFACE), EXECUTE, &(15_u8, 12_u8, 4_u8, COMMAND))
    });
    call(&|| {
        provider.call_method(
            Some(INBAND),
            PATH,
            Some(INTERFACE),
            EXECUTE,
            &(15_u32, 12_u8, 4_u8, COMMAND, &data),
        )
    });
    call(&|| {
        provider.call_method(
            Some(INBAND),
            PATH,
            Some(INTERFACE),
            EXECUTE,
            &(15_u8, 12_u8, 4_u8, COMMAND, "text"),
        )
    });
    call(&|| {
        provider.call_method(
            Some(INBAND),
            PATH,
            Some(INTERFACE),
            EXECUTE,
            &(15_u8, 12_u8, 4_u8, COMMAND, &data, 0_u8),
        )
    });
    assert_eq!(host.status().nonce, 0);
}

#[test]
fn a_payload_may_have_any_length() {
    let (home, bus) = (home("dbus"), Bus::start());
    let _running = start(&home, &bus);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut host = Bridge::system(&bus);
    // Status is its number and nothing else.
    for length in [0, 2, 58, 59, 60, 64, 65, 255, 65_535] {
        let data = [&ORGANISATION, &vec![3; length][..]].concat();
        assert_eq!(host.execute(NETFN, COMMAND, &data), (Code::LENGTH, vec![]), "{length} bytes");
    }
    assert_eq!(host.status().nonce, 0);
}

#[test]
fn either_side_may_begin_anew() {
    let (home, mut bus) = (home("dbus"), Bus::start());
    let running = start(&home, &bus);
    let ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut host = Bridge::system(&bus);
    host.start(1, RAW);
    // The daemon: meanwhile there is nobody behind the provider, and afterwards no start is in force.
    drop(running);
    bus.wait_until_gone(INBAND);
    assert_eq!(host.command(&Command::Status).0, ipmid::UNAVAILABLE);
    let _running = start(&home, &bus);
    assert_eq!(host.status().nonce, 0);
    let nonce = host.start(1, RAW);
    // The bus, and with it everybody's connection: what the daemon knows stays.
    drop((ipmid, host));
    bus.restart();
    bus.wait_for(INBAND);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    assert_eq!(Bridge::system(&bus).status().nonce, nonce);
}

#[test]
fn two_hosts_at_once_get_each_their_answer() {
    let (home, bus) = (home("dbus"), Bus::start());
    let _running = start(&home, &bus);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut one = Bridge::system(&bus);
    let mut other = Bridge::second_system(&bus);
    let item = |bridge: &mut Bridge, item: u8| {
        for _ in 0..200 {
            let (code, data) = bridge.command(&Command::Info { item, offset: 0 });
            assert_eq!((code, data[3]), (Code::OK, item));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| item(&mut one, 0));
        scope.spawn(|| item(&mut other, 4));
    });
}

#[test]
fn a_daemon_is_there_before_its_bus() {
    let (home, mut bus) = (home("dbus"), Bus::start());
    bus.stop();
    let mut running = Running::start(home.inbandd(&[]).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()));
    running.wait_for("event=dbus-gone for=ipmi");
    bus.restart();
    bus.wait_for(INBAND);
    // That it goes away again is said again.
    running.until("event=dbus-connected for=ipmi");
    bus.stop();
    running.until("event=dbus-gone for=ipmi");
    bus.restart();
    bus.wait_for(INBAND);
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    assert_eq!(Bridge::system(&bus).status().nonce, 0);
}

#[test]
fn the_doors_are_armed_when_the_bmc_has_powered_the_host_on() {
    let (home, mut bus) = (home("dbus"), Bus::start());
    let config = std::fs::read_to_string(home.path("inbandd.toml")).unwrap();
    let config = config.replace("[doors]", "[doors]\narm_by = [\"power-on\"]\npower_on = \"dbus\"");
    home.configure(&config);
    let host = Host::start(&bus, "Running");
    let mut running = start(&home, &bus);
    running.wait_for("event=dbus-connected for=host-power");
    let _ipmid = Ipmid::start(&bus, Checks::Channel);
    let mut bridge = Bridge::system(&bus);
    let before = bridge.status().door_states;
    // Its own reset, a power cycle, and a start by a button.
    for asked in [None, Some("Reboot"), Some("Off")] {
        if let Some(transition) = asked {
            host.ask(transition);
        }
        host.becomes("Off");
        host.becomes("Running");
    }
    // Somebody without the name says that it is off, and it is asked on while it runs.
    Host::nameless(&bus).becomes("Off");
    host.ask("On");
    host.becomes("Running");
    // By the power restore policy, which the host may have set.
    host.becomes("Off");
    host.starts_by("PowerPolicyAlwaysOn");
    host.ask("On");
    host.becomes("Running");
    // Nothing of that has armed a door.
    assert_eq!(bridge.status().door_states, before);
    // And a power-on.
    host.becomes("Off");
    host.starts_by("RemoteCommand");
    host.ask("On");
    host.becomes("TransitioningToRunning");
    host.becomes("Running");
    let mut said = running.until("event=door-armed");
    assert!(said.last().unwrap().contains("by=power-on"), "{said:?}");
    assert_ne!(bridge.status().door_states, before);
    // It says this behind all that it heard.
    bus.stop();
    said.extend(running.until("event=dbus-gone for=host-power"));
    running.signal("TERM");
    let (code, rest) = running.wait();
    assert_eq!(code, Some(0));
    said.extend(rest);
    assert_eq!(said.iter().filter(|line| line.contains("event=host-powered-on")).count(), 1, "{said:?}");
}
