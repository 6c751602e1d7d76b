//! OpenBMC's ipmid by D-Bus (docs/spec/ipmi.md, 8): a provider in it hands over what hosts ask for.

use std::num::NonZeroU32;

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
use crate::dbus::{BUS, BUS_PATH, Client, Service, answer};

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
    /// Number of a question to the bus behind a request that was not answered in time: what comes before its answer was sent before it, has waited, and is
    /// not done behind its host's back.
    late: Option<NonZeroU32>,
}

impl Provider {
    pub(super) const fn new(line: Line) -> Self {
        Self { line, ipmid: Service::new("xyz.openbmc_project.Ipmi.Host"), late: None }
    }

    /// Does what is called for. `mark` asks the bus the question of [`late`](Self::late).
    fn execute(
        &mut self,
        call: &zbus::Message,
        mark: impl FnOnce() -> zbus::Result<NonZeroU32>,
    ) -> Result<(u8, Vec<u8>), fdo::Error> {
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
            log::debug!("event=ipmi-refused channel={channel} medium={medium} privilege={privilege}");
        }
        // The subcommand and the rest of it. Longer ones are nobody's, and are not copied.
        if data.len() > 1 + BODY {
            let code = if origin == Origin::System { Code::LENGTH } else { Code::PRIVILEGE };
            return Ok((code.0, vec![]));
        }
        let busy = || fdo::Error::Timeout("inbandd is busy".into());
        if self.late.is_some() {
            return Err(busy());
        }
        let data = [&ORGANISATION, data].concat();
        // Our own network function is even.
        let reply =
            Message::new(NETFN << 2, command, &data).and_then(|message| self.line.ask(origin, message));
        let Some(Reply { code, mut data }) = reply else {
            self.late = Some(mark()?);
            return Err(busy());
        };
        // ipmid puts the organisation in front itself.
        if data.starts_with(&ORGANISATION) {
            data.drain(..ORGANISATION.len());
        }
        Ok((code.0, data))
    }

    /// Looks whether this is the bus's answer.
    fn heard(&mut self, reply: &zbus::Message) {
        if reply.header().reply_serial() == self.late {
            self.late = None;
        }
    }
}

/// Asks the bus for something, whose answer comes behind all that it has for us now; the number of that.
fn mark(connection: &Connection) -> zbus::Result<NonZeroU32> {
    let call = zbus::Message::method_call(BUS_PATH, "GetId")?.destination(BUS)?.interface(BUS)?.build(&())?;
    connection.send(&call)?;
    Ok(call.primary_header().serial_num())
}

impl Client for Provider {
    const NAME: &'static str = "ipmi";

    fn begin(&mut self, connection: &Connection) -> zbus::Result<()> {
        self.late = None;
        self.ipmid.begin(connection)?;
        // Last: from here on there are requests.
        connection.request_name_with_flags(NAME, RequestNameFlags::DoNotQueue.into()).map(drop)
    }

    fn take(&mut self, connection: &Connection, message: &zbus::Message) -> zbus::Result<()> {
        match message.message_type() {
            Type::MethodCall => answer(connection, message, self.execute(message, || mark(connection))),
            Type::Signal => {
                self.ipmid.follow(message);
                Ok(())
            }
            Type::MethodReturn | Type::Error => {
                self.heard(message);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use inband_ipmi::{command::Command, wire::COMMAND};

    use super::*;
    use crate::{dbus::Owner, ipmi::Channel};

    const IPMID: &str = ":1.7";

    fn call() -> zbus::Message {
        let call = zbus::Message::method_call(PATH, EXECUTE).unwrap().sender(IPMID).unwrap();
        let data = &Command::Status.encode()[ORGANISATION.len()..];
        call.interface(INTERFACE).unwrap().build(&(15_u8, 12_u8, 4_u8, COMMAND, data)).unwrap()
    }

    #[test]
    fn what_came_while_a_request_waited_in_vain_is_not_done_later() {
        // The loop hears that there is a request, and never answers.
        let asked = Arc::new(AtomicU32::new(0));
        let heard = Arc::clone(&asked);
        let wake = Arc::new(move || {
            heard.fetch_add(1, Ordering::SeqCst);
        });
        let (_channel, mut line) = Channel::with_line(wake).unwrap();
        line.patience = Duration::from_millis(10);
        let mut provider = Provider::new(line);
        let owner = zbus::Message::signal(BUS_PATH, BUS, "NameOwnerChanged").unwrap().sender(BUS).unwrap();
        let owner = owner.build(&("xyz.openbmc_project.Ipmi.Host", "", IPMID)).unwrap();
        assert_eq!(provider.ipmid.follow(&owner), Owner::Changed);

        let question = zbus::Message::method_call(BUS_PATH, "GetId").unwrap().build(&()).unwrap();
        let other = zbus::Message::method_call(BUS_PATH, "GetId").unwrap().build(&()).unwrap();
        let number = question.primary_header().serial_num();
        let late = |result| matches!(result, Err(fdo::Error::Timeout(_)));
        assert!(late(provider.execute(&call(), || Ok(number))));
        for _ in 0..3 {
            assert!(late(provider.execute(&call(), || panic!("asked already"))));
            provider.heard(&zbus::Message::method_return(&other.header()).unwrap().build(&"id").unwrap());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // The bus's answer is behind them. What comes then is new.
        provider.heard(&zbus::Message::method_return(&question.header()).unwrap().build(&"id").unwrap());
        assert!(late(provider.execute(&call(), || Ok(number))));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
