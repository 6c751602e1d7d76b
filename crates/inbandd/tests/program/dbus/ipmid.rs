//! A double of OpenBMC's ipmid (docs/spec/ipmi.md, 8): it takes hosts' requests as ipmid does, by channel, filter and privilege, and has the provider that
//! hands ours over. And the bridges that bring the requests.

use std::collections::HashMap;

use inband_ipmi::wire::{COMMAND, Code, NETFN, ORGANISATION};
use zbus::{
    blocking::{Connection, connection::Builder},
    message::Header,
    zvariant::{OwnedValue, Value},
};

use super::bus::Bus;

pub(super) const INBAND: &str = "xyz.openbmc_project.Inband";
pub(super) const PATH: &str = "/xyz/openbmc_project/inband";
pub(super) const INTERFACE: &str = "xyz.openbmc_project.Inband.Ipmi";
pub(super) const EXECUTE: &str = "Execute";

const NAME: &str = "xyz.openbmc_project.Ipmi.Host";
const SERVER_PATH: &str = "/xyz/openbmc_project/Ipmi";
const SERVER: &str = "xyz.openbmc_project.Ipmi.Server";
const CHANNELS: &str = "xyz.openbmc_project.Ipmi.Channel";

/// Destination unavailable: what ipmid answers to a sender without a channel, and the provider where there is no inbandd.
pub(super) const UNAVAILABLE: Code = Code(0xd3);

/// ipmid's channel_config.json, as far as it is wanted: name, number, medium, whether it has sessions.
const CONFIG: [(&str, u8, u8, bool); 5] = [
    ("ipmb", 0, 0x01, false),
    ("eth0", 1, 0x04, true),
    ("ipmi_kcs2", 14, 0x0c, false),
    ("ipmi_kcs3", 15, 0x0c, false),
    ("ipmi_users", 7, 0x0c, true),
];

/// What the system interface may ask for where it is restricted: get device id, and ours.
const ALLOWED: [(u8, u8); 2] = [(0x06, 0x01), (NETFN, COMMAND)];

/// What the provider looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Checks {
    /// The channel, as ours does.
    Channel,
    /// Nothing: all that ipmid hands it goes on to inbandd.
    Nothing,
}

pub(super) struct Ipmid(Connection);

impl Ipmid {
    pub(super) fn start(bus: &Bus, checks: Checks) -> Self {
        let connection = Builder::address(bus.address().as_str()).unwrap();
        let connection = connection.serve_at(SERVER_PATH, Server { checks }).unwrap().name(NAME).unwrap();
        Self(connection.build().unwrap())
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.0
    }

    /// Is ipmid no more, but stays on the bus.
    pub(super) fn give_up(self) -> Connection {
        assert!(self.0.release_name(NAME).unwrap());
        self.0
    }
}

struct Server {
    checks: Checks,
}

type Options = HashMap<String, OwnedValue>;

#[zbus::interface(name = "xyz.openbmc_project.Ipmi.Server")]
impl Server {
    #[zbus(name = "execute")]
    #[expect(clippy::too_many_arguments, reason = "ipmid's method has them")]
    async fn execute(
        &self,
        netfn: u8,
        lun: u8,
        command: u8,
        data: Vec<u8>,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &zbus::Connection,
    ) -> (u8, u8, u8, u8, Vec<u8>) {
        let channel = channel(bus, header.sender().unwrap().as_str()).await;
        let (code, data) = match channel {
            Some(channel) => self.route(bus, channel, &options, netfn, command, &data).await,
            None => (UNAVAILABLE.0, vec![]),
        };
        (netfn | 1, lun, command, code, data)
    }
}

impl Server {
    async fn route(
        &self,
        bus: &zbus::Connection,
        (number, medium, has_sessions): (u8, u8, bool),
        options: &Options,
        netfn: u8,
        command: u8,
        data: &[u8],
    ) -> (u8, Vec<u8>) {
        let privilege = if has_sessions {
            let privilege = options.get("privilege").and_then(|value| value.downcast_ref::<i32>().ok());
            privilege.and_then(|privilege| privilege.try_into().ok()).unwrap_or(0)
        } else {
            4
        };
        if number == 15 && !ALLOWED.contains(&(netfn, command)) {
            return (Code::PRIVILEGE.0, vec![]);
        }
        if netfn != NETFN {
            return (Code::INVALID_COMMAND.0, vec![]);
        }
        let Some((organisation, rest)) = data.split_first_chunk::<3>() else {
            return (Code::LENGTH.0, vec![]);
        };
        let (code, mut data) = if (*organisation, command) != (ORGANISATION, COMMAND) {
            (Code::INVALID_COMMAND.0, vec![])
        } else if privilege < 4 && self.checks == Checks::Channel {
            (Code::PRIVILEGE.0, vec![])
        } else {
            self.provider(bus, number, medium, privilege, rest).await
        };
        // In front of whatever is answered.
        data.splice(..0, *organisation);
        (code, data)
    }

    /// What contrib/openbmc/ipmi-provider does.
    async fn provider(
        &self,
        bus: &zbus::Connection,
        channel: u8,
        medium: u8,
        privilege: u8,
        data: &[u8],
    ) -> (u8, Vec<u8>) {
        if medium != 0x0c && self.checks == Checks::Channel {
            return (Code::PRIVILEGE.0, vec![]);
        }
        let request = (channel, medium, privilege, COMMAND, data);
        match bus.call_method(Some(INBAND), PATH, Some(INTERFACE), EXECUTE, &request).await {
            Ok(reply) => reply.body().deserialize().unwrap(),
            Err(_) => (UNAVAILABLE.0, vec![]),
        }
    }
}

/// The channel whose name the sender has.
async fn channel(bus: &zbus::Connection, sender: &str) -> Option<(u8, u8, bool)> {
    for (name, number, medium, has_sessions) in CONFIG {
        let dbus = "org.freedesktop.DBus";
        let name = format!("{CHANNELS}.{name}");
        let owner = bus.call_method(Some(dbus), "/", Some(dbus), "GetNameOwner", &name).await;
        if owner.is_ok_and(|owner| owner.body().deserialize::<String>().unwrap() == sender) {
            return Some((number, medium, has_sessions));
        }
    }
    None
}

/// What brings a host's requests to ipmid.
pub(super) struct Bridge {
    connection: Connection,
    options: HashMap<&'static str, Value<'static>>,
}

impl Bridge {
    fn new(bus: &Bus, channel: Option<&str>, privilege: Option<i32>) -> Self {
        let connection = bus.connect();
        if let Some(channel) = channel {
            connection.request_name(format!("{CHANNELS}.{channel}")).unwrap();
        }
        let options = privilege.map(|privilege| ("privilege", Value::from(privilege)));
        Self { connection, options: options.into_iter().collect() }
    }

    /// kcsbridge.
    pub(super) fn system(bus: &Bus) -> Self {
        Self::new(bus, Some("ipmi_kcs3"), None)
    }

    /// Another one.
    pub(super) fn second_system(bus: &Bus) -> Self {
        Self::new(bus, Some("ipmi_kcs2"), None)
    }

    /// netipmid, for an administrator.
    pub(super) fn lan(bus: &Bus) -> Self {
        Self::new(bus, Some("eth0"), Some(4))
    }

    /// ipmbbridge.
    pub(super) fn ipmb(bus: &Bus) -> Self {
        Self::new(bus, Some("ipmb"), None)
    }

    /// A system interface with users, of whom this is a plain one. There is no such thing; the daemon does not rely on that.
    pub(super) fn system_of_a_user(bus: &Bus) -> Self {
        Self::new(bus, Some("ipmi_users"), Some(2))
    }

    /// Somebody on the BMC whose name is no channel's.
    pub(super) fn nobody(bus: &Bus) -> Self {
        Self::new(bus, None, None)
    }

    /// Completion code, and what is behind it. As ipmid's replies have the organisation behind any completion code of that network function, it is cut off
    /// where there is nothing else.
    pub(super) fn execute(&self, netfn: u8, command: u8, data: &[u8]) -> (Code, Vec<u8>) {
        let request = (netfn, 0_u8, command, data, &self.options);
        let reply = self.connection.call_method(Some(NAME), SERVER_PATH, Some(SERVER), "execute", &request);
        let reply: (u8, u8, u8, u8, Vec<u8>) = reply.unwrap().body().deserialize().unwrap();
        assert_eq!((reply.0, reply.1, reply.2), (netfn | 1, 0, command));
        let data = if reply.4 == ORGANISATION { vec![] } else { reply.4 };
        (Code(reply.3), data)
    }
}
