//! The host's power, as OpenBMC's services tell it (decision 0030): when the BMC has powered the host on.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use zbus::{
    Message,
    blocking::Connection,
    zvariant::{OwnedValue, Value},
};

use super::{Client, Link, Owner, Service, add_match, is_signal};
use crate::side::Waker;

/// The service, and its interface: they have one name.
const HOST: &str = "xyz.openbmc_project.State.Host";
const PATH: &str = "/xyz/openbmc_project/state/host0";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const CHANGED: &str = "PropertiesChanged";
const REQUESTED: &str = "RequestedHostTransition";
const CURRENT: &str = "CurrentHostState";
const CAUSE: &str = "RestartCause";
/// What a cause begins with that is the power restore policy.
const POLICY: &str = "xyz.openbmc_project.State.Host.RestartCause.PowerPolicy";
const ON: &str = "xyz.openbmc_project.State.Host.Transition.On";

/// What the host does, as its service says. A value that is not known is none that we want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    /// On its way to run.
    Starting,
    Running,
    Other,
}

impl State {
    fn new(text: &str) -> Self {
        match text.strip_prefix("xyz.openbmc_project.State.Host.HostState.") {
            Some("Off") => Self::Off,
            Some("Standby" | "TransitioningToRunning") => Self::Starting,
            Some("Running") => Self::Running,
            _ => Self::Other,
        }
    }
}

/// What is known of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// It may be able to ask for something itself.
    Alive,
    Off,
    /// The BMC was asked to power it on while it was off.
    Asked,
}

impl Host {
    const fn new(state: State) -> Self {
        match state {
            State::Off => Self::Off,
            State::Starting | State::Running | State::Other => Self::Alive,
        }
    }

    /// The BMC was asked for something.
    const fn requested(self, on: bool) -> Self {
        match (self, on) {
            (Self::Alive, _) => Self::Alive,
            (Self::Off | Self::Asked, true) => Self::Asked,
            (Self::Off | Self::Asked, false) => Self::Off,
        }
    }

    /// What it does now; and whether the BMC has powered it on.
    const fn becomes(self, state: State) -> (Self, bool) {
        match (self, state) {
            (Self::Asked, State::Off | State::Starting) => (Self::Asked, false),
            (Self::Asked, State::Running) => (Self::Alive, true),
            (Self::Alive | Self::Off | Self::Asked, state) => (Self::new(state), false),
        }
    }
}

/// Sees the host being powered on, until it is dropped.
#[derive(Debug)]
pub struct HostPower {
    powered_on: Arc<AtomicBool>,
    _link: Link,
}

impl HostPower {
    /// Watches the host's power. `wake` is called when it was powered on.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn start(wake: Waker) -> io::Result<Self> {
        let powered_on = Arc::default();
        let client = Watcher {
            service: Service::new(HOST),
            host: Host::Alive,
            by_policy: false,
            powered_on: Arc::clone(&powered_on),
            wake,
        };
        Ok(Self { powered_on, _link: Link::start(client)? })
    }

    /// Whether the BMC has powered the host on since the last question.
    #[must_use]
    pub fn poll(&self) -> bool {
        self.powered_on.swap(false, Ordering::AcqRel)
    }
}

struct Watcher {
    service: Service,
    host: Host,
    /// What the BMC asks for it asks for by the power restore policy, which a host can set by IPMI before it has the BMC restarted.
    by_policy: bool,
    powered_on: Arc<AtomicBool>,
    wake: Waker,
}

impl Watcher {
    /// Begins with what is. A host whose state cannot be learnt is taken for one that runs: what is asked for counts when it was seen off.
    fn look(&mut self, connection: &Connection) {
        let get = |name| {
            let reply = connection.call_method(Some(HOST), PATH, Some(PROPERTIES), "Get", &(HOST, name))?;
            let value = reply.body().deserialize::<OwnedValue>()?;
            Ok::<_, zbus::Error>(value.downcast_ref::<&str>()?.to_owned())
        };
        self.host = match get(CURRENT) {
            Ok(state) => Host::new(State::new(&state)),
            Err(error) => {
                log::warn!("event=host-power-unknown reason: {error}");
                Host::Alive
            }
        };
        self.by_policy = match get(CAUSE) {
            Ok(cause) => cause.starts_with(POLICY),
            // Who has no such policy has no such property.
            Err(zbus::Error::MethodError(..)) => false,
            Err(error) => {
                log::warn!("event=host-power-unknown reason: {error}");
                true
            }
        };
    }

    fn changed(&mut self, message: &Message) -> zbus::Result<()> {
        let body = message.body();
        let (interface, changed, _) = body.deserialize::<(&str, HashMap<&str, Value<'_>>, Vec<&str>)>()?;
        let text = |name| changed.get(name).and_then(|value| value.downcast_ref::<&str>().ok());
        if interface != HOST {
            return Ok(());
        }
        if let Some(cause) = text(CAUSE) {
            self.by_policy = cause.starts_with(POLICY);
        }
        if let Some(requested) = text(REQUESTED) {
            self.host = self.host.requested(requested == ON && !self.by_policy);
        }
        if let Some(state) = text(CURRENT) {
            let (host, powered_on) = self.host.becomes(State::new(state));
            self.host = host;
            if powered_on {
                self.powered_on.store(true, Ordering::Release);
                (self.wake)();
            }
        }
        Ok(())
    }
}

impl Client for Watcher {
    const NAME: &'static str = "host-power";

    fn begin(&mut self, connection: &Connection) -> zbus::Result<()> {
        self.service.begin(connection)?;
        let rule = format!(
            "type='signal',sender='{HOST}',path='{PATH}',interface='{PROPERTIES}',member='{CHANGED}',arg0='{HOST}'"
        );
        add_match(connection, &rule)?;
        if self.service.is_there() {
            self.look(connection);
        }
        Ok(())
    }

    fn take(&mut self, connection: &Connection, message: &Message) -> zbus::Result<()> {
        if self.service.follow(message) == Owner::Changed {
            self.host = Host::Alive;
            if self.service.is_there() {
                self.look(connection);
            }
        } else if self.service.sent(message)
            && is_signal(message, PROPERTIES, CHANGED)
            && let Err(error) = self.changed(message)
        {
            log::warn!("event=host-power-unknown reason: {error}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        /// The BMC was asked to power it on, or for something else.
        Asked(bool),
        Is(State),
    }

    /// How often the host was powered on by the BMC.
    fn count(mut host: Host, steps: &[Step]) -> u32 {
        let mut count = 0;
        for step in steps {
            match step {
                Step::Asked(on) => host = host.requested(*on),
                Step::Is(state) => {
                    let powered_on;
                    (host, powered_on) = host.becomes(*state);
                    count += u32::from(powered_on);
                }
            }
        }
        count
    }

    #[test]
    fn only_a_power_on_that_was_asked_for_while_it_was_off_counts() {
        use Host::{Alive, Off};
        use State::{Other, Running, Starting};
        use Step::{Asked, Is};
        let cases: &[(&str, Host, &[Step], u32)] = &[
            ("on", Off, &[Asked(true), Is(Running)], 1),
            ("on, step by step", Off, &[Asked(true), Is(State::Off), Is(Starting), Is(Running)], 1),
            ("off and on", Alive, &[Asked(false), Is(Other), Is(State::Off), Asked(true), Is(Running)], 1),
            ("twice", Off, &[Asked(true), Is(Running), Is(State::Off), Asked(true), Is(Running)], 2),
            ("by a button that asks nobody", Off, &[Is(Running)], 0),
            ("its own reset", Alive, &[Is(State::Off), Is(Running)], 0),
            ("a power cycle, which it can ask for", Alive, &[Asked(false), Is(State::Off), Is(Running)], 0),
            ("on, asked for while it runs", Alive, &[Asked(true), Is(State::Off), Is(Running)], 0),
            (
                "on, asked for while it goes off",
                Alive,
                &[Is(Other), Asked(true), Is(State::Off), Is(Running)],
                0,
            ),
            ("on, and its own reset", Off, &[Asked(true), Is(Running), Is(State::Off), Is(Running)], 1),
            ("thought better of", Off, &[Asked(true), Asked(false), Is(Running)], 0),
            ("it came to nothing", Off, &[Asked(true), Is(Starting), Is(Other), Is(Running)], 0),
        ];
        for (what, host, steps, times) in cases {
            assert_eq!(count(*host, steps), *times, "{what}");
        }
    }
}
