//! OpenBMC's ipmid by D-Bus (docs/spec/ipmi.md, 8): a provider in it hands over what hosts ask for.

use inband_ipmi::{
    Origin,
    wire::{BODY, Code, Message, NETFN, ORGANISATION, Reply},
};
use zbus::{
    blocking::Connection,
    fdo::{self, RequestNameFlags},
    message::Type,
    names::{InterfaceName, MemberName},
};

use super::Line;
use crate::dbus::{Client, Service, answer};

const NAME: &str = "xyz.openbmc_project.Inband";
const PATH: &str = "/xyz/openbmc_project/inband";
const INTERFACE: &str = "xyz.openbmc_project.Inband.Ipmi";
const EXECUTE: &str = "Execute";

/// Channel medium type of the system interface (IPMI 6.5).
const SYSTEM_INTERFACE: u8 = 0x0c;
/// Privilege level of an administrator (IPMI 6.8). On the system interface everybody is one.
const ADMINISTRATOR: u8 = 4;

/// The provider's other end.
pub(super) struct Provider {
    line: Line,
    ipmid: Service,
}

impl Provider {
    pub(super) const fn new(line: Line) -> Self {
        Self { line, ipmid: Service::new("xyz.openbmc_project.Ipmi.Host") }
    }

    fn execute(&mut self, call: &zbus::Message) -> Result<(u8, Vec<u8>), fdo::Error> {
        let header = call.header();
        if !self.ipmid.sent(call) {
            return Err(fdo::Error::AccessDenied("only ipmid may ask".into()));
        }
        let member = (header.interface().map(InterfaceName::as_str), header.member().map(MemberName::as_str));
        if header.path().map(|path| path.as_str()) != Some(PATH)
            || !matches!(member, (Some(INTERFACE) | None, Some(EXECUTE)))
        {
            return Err(fdo::Error::UnknownMethod(format!("{PATH} has {INTERFACE}.{EXECUTE}")));
        }
        let body = call.body();
        let (channel, medium, privilege, command, data) = body
            .deserialize::<(u8, u8, u8, u8, &[u8])>()
            .map_err(|error| fdo::Error::InvalidArgs(format!("{EXECUTE} takes yyyyay: {error}")))?;
        let origin = match (medium, privilege) {
            (SYSTEM_INTERFACE, ADMINISTRATOR) => Origin::System,
            _ => Origin::Other,
        };
        if origin == Origin::Other {
            log::warn!("event=ipmi-refused channel={channel} medium={medium} privilege={privilege}");
        }
        // The subcommand and the rest of it. Longer ones are nobody's, and are not copied.
        if data.len() > 1 + BODY {
            let code = if origin == Origin::System { Code::LENGTH } else { Code::PRIVILEGE };
            return Ok((code.0, vec![]));
        }
        let data = [&ORGANISATION, data].concat();
        // Our own network function is even.
        let reply =
            Message::new(NETFN << 2, command, &data).and_then(|message| self.line.ask(origin, message));
        let Reply { code, mut data } = reply.ok_or_else(|| fdo::Error::Timeout("inbandd is busy".into()))?;
        // ipmid puts the organisation in front itself.
        if data.starts_with(&ORGANISATION) {
            data.drain(..ORGANISATION.len());
        }
        Ok((code.0, data))
    }
}

impl Client for Provider {
    const NAME: &'static str = "ipmi";

    fn begin(&mut self, connection: &Connection) -> zbus::Result<()> {
        self.ipmid.begin(connection)?;
        // Last: from here on there are requests.
        connection.request_name_with_flags(NAME, RequestNameFlags::DoNotQueue.into()).map(drop)
    }

    fn take(&mut self, connection: &Connection, message: &zbus::Message) -> zbus::Result<()> {
        match message.message_type() {
            Type::MethodCall => answer(connection, message, self.execute(message)),
            Type::Signal => {
                self.ipmid.follow(message);
                Ok(())
            }
            Type::MethodReturn | Type::Error => Ok(()),
        }
    }
}
