//! The bus on which the services of an OpenBMC speak with each other (decision 0030): a connection that is made anew when it breaks.
//!
//! zbus reads and writes in a thread of its own. Another one takes what comes, message by message, so that what was said first is done first, and never
//! more than one request is with the loop.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use zbus::{
    Message,
    blocking::{Connection, MessageIterator, connection::Builder},
    fdo,
    message::Type,
    names::{InterfaceName, MemberName},
    zvariant::DynamicType,
};

pub mod power;

/// From a connection that failed to the next one.
const AGAIN: Duration = Duration::from_secs(1);
/// How long what we ask of others may take. The services asked answer from memory.
const ANSWER: Duration = Duration::from_secs(3);

pub(crate) const BUS: &str = "org.freedesktop.DBus";
pub(crate) const BUS_PATH: &str = "/org/freedesktop/DBus";

/// What is done on a connection.
pub(crate) trait Client: Send + 'static {
    /// For the log.
    const NAME: &'static str;

    /// There is a connection: asks for the signals that are wanted, and for a name.
    fn begin(&mut self, connection: &Connection) -> zbus::Result<()>;

    /// A message has come, whoever sent it.
    fn take(&mut self, connection: &Connection, message: &Message) -> zbus::Result<()>;
}

/// Where the thread is.
#[derive(Debug)]
enum Joined {
    Not,
    On(Connection),
    /// And shall not be any more.
    Over,
}

#[derive(Debug)]
struct Shared {
    joined: Mutex<Joined>,
    over: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the thread is; `false` if it is to end.
    fn note(&self, joined: Joined) -> bool {
        let mut now = self.lock();
        let goes_on = !matches!(*now, Joined::Over);
        if goes_on {
            *now = joined;
        }
        goes_on
    }

    /// Waits before the next try; `false` if there is to be none.
    fn rest(&self) -> bool {
        let waits = |joined: &mut Joined| !matches!(joined, Joined::Over);
        let waited = self.over.wait_timeout_while(self.lock(), AGAIN, waits);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// A place on the bus. Dropping it leaves the bus and ends the thread.
#[derive(Debug)]
pub(crate) struct Link(Arc<Shared>);

impl Link {
    /// Joins the system bus, now and whenever it went away.
    pub(crate) fn start(client: impl Client) -> io::Result<Self> {
        let shared = Arc::new(Shared { joined: Mutex::new(Joined::Not), over: Condvar::new() });
        let link = Self(Arc::clone(&shared));
        thread::Builder::new().name("dbus".into()).spawn(move || run(&shared, client))?;
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let joined = std::mem::replace(&mut *self.0.lock(), Joined::Over);
        self.0.over.notify_all();
        if let Joined::On(connection) = joined {
            // What ends the thread's wait for messages.
            let _ = connection.close();
        }
    }
}

fn run<C: Client>(shared: &Shared, mut client: C) {
    let mut told = false;
    loop {
        match converse(shared, &mut client, &mut told) {
            Ok(()) => log::info!("event=dbus-gone for={}", C::NAME),
            // Once each time that it is gone, and not every second.
            Err(error) if !told => log::warn!("event=dbus-gone for={} reason: {error}", C::NAME),
            Err(error) => log::debug!("dbus: {error}"),
        }
        told = true;
        if !(shared.note(Joined::Not) && shared.rest()) {
            return;
        }
    }
}

/// One connection, until it is gone. That it was gone is no longer `told` when there is one again.
fn converse<C: Client>(shared: &Shared, client: &mut C, told: &mut bool) -> zbus::Result<()> {
    let connection = Builder::system()?.method_timeout(ANSWER).build()?;
    if !shared.note(Joined::On(connection.clone())) {
        return connection.close();
    }
    let messages = MessageIterator::from(&connection);
    client.begin(&connection)?;
    log::info!("event=dbus-connected for={}", C::NAME);
    *told = false;
    for message in messages {
        client.take(&connection, &message?)?;
    }
    Ok(())
}

/// A service by its well-known name, and who is behind it. What its connection sends has that name, and nobody else's can have it.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    owner: Option<String>,
}

/// What a message tells of a [`Service`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nothing.
    Same,
    /// Somebody else is behind it, or nobody.
    Changed,
}

impl Service {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, owner: None }
    }

    /// Whether there is one.
    pub(crate) const fn is_there(&self) -> bool {
        self.owner.is_some()
    }

    /// Follows it on this connection.
    pub(crate) fn begin(&mut self, connection: &Connection) -> zbus::Result<()> {
        let rule = format!(
            "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{}'",
            self.name
        );
        add_match(connection, &rule)?;
        let owner = connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetNameOwner", &self.name);
        self.owner = match owner {
            Ok(reply) => Some(reply.body().deserialize()?),
            Err(zbus::Error::MethodError(name, ..))
                if name == "org.freedesktop.DBus.Error.NameHasNoOwner" =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Looks at a message.
    pub(crate) fn follow(&mut self, message: &Message) -> Owner {
        if !is_signal(message, BUS, "NameOwnerChanged") || !is_from(message, BUS) {
            return Owner::Same;
        }
        let body = message.body();
        match body.deserialize::<(&str, &str, &str)>() {
            Ok((name, _, owner)) if name == self.name => {
                self.owner = Some(owner.to_owned()).filter(|owner| !owner.is_empty());
                Owner::Changed
            }
            _ => Owner::Same,
        }
    }

    /// Whether it sent this.
    pub(crate) fn sent(&self, message: &Message) -> bool {
        self.owner.as_deref().is_some_and(|owner| is_from(message, owner))
    }
}

/// Whether the bus says that this one sent it. Nobody can say that of himself.
fn is_from(message: &Message, sender: &str) -> bool {
    message.header().sender().is_some_and(|from| from.as_str() == sender)
}

/// Whether it is this signal.
pub(crate) fn is_signal(message: &Message, interface: &str, member: &str) -> bool {
    let header = message.header();
    message.message_type() == Type::Signal
        && header.interface().map(InterfaceName::as_str) == Some(interface)
        && header.member().map(MemberName::as_str) == Some(member)
}

/// Has the bus send us the signals that a rule describes.
pub(crate) fn add_match(connection: &Connection, rule: &str) -> zbus::Result<()> {
    connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "AddMatch", &rule).map(drop)
}

/// Answers a call, if the caller wants to hear.
pub(crate) fn answer<B>(
    connection: &Connection,
    call: &Message,
    answer: Result<B, fdo::Error>,
) -> zbus::Result<()>
where
    B: serde::Serialize + DynamicType,
{
    if call.primary_header().flags().contains(zbus::message::Flags::NoReplyExpected) {
        return Ok(());
    }
    match answer {
        Ok(body) => connection.reply(&call.header(), &body),
        Err(error) => connection.reply_dbus_error(&call.header(), error),
    }
}
