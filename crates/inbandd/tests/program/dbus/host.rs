//! A double of what has the host's power on OpenBMC, and the administrator who asks it for something.

use zbus::{
    blocking::{Connection, connection::Builder},
    zvariant::Value,
};

use super::bus::Bus;

const NAME: &str = "xyz.openbmc_project.State.Host";
const PATH: &str = "/xyz/openbmc_project/state/host0";

pub(super) struct Host {
    service: Connection,
    administrator: Connection,
}

impl Host {
    /// With its state, such as `Off`.
    pub(super) fn start(bus: &Bus, state: &str) -> Self {
        Self::new(bus, state, |service| service.name(NAME).unwrap())
    }

    /// Somebody who says the same without being the service.
    pub(super) fn nameless(bus: &Bus) -> Self {
        Self::new(bus, "Off", |service| service)
    }

    fn new(bus: &Bus, state: &str, named: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Self {
        let host =
            State { requested: transition("Off"), current: self::state(state), cause: cause("Unknown") };
        let service = Builder::address(bus.address().as_str()).unwrap().serve_at(PATH, host).unwrap();
        Self { service: named(service).build().unwrap(), administrator: bus.connect() }
    }

    /// Somebody asks the BMC for a transition, such as `On`.
    pub(super) fn ask(&self, wanted: &str) {
        let properties = "org.freedesktop.DBus.Properties";
        let value = Value::from(transition(wanted));
        let request = (NAME, "RequestedHostTransition", value);
        self.administrator.call_method(Some(NAME), PATH, Some(properties), "Set", &request).unwrap();
    }

    /// It is to be known why the host starts next.
    pub(super) fn starts_by(&self, why: &str) {
        let interface = self.service.object_server().interface::<_, State>(PATH).unwrap();
        let mut host = interface.get_mut();
        host.cause = cause(why);
        zbus::block_on(host.restart_cause_changed(interface.signal_emitter())).unwrap();
    }

    /// The host's state changes.
    pub(super) fn becomes(&self, state: &str) {
        let interface = self.service.object_server().interface::<_, State>(PATH).unwrap();
        let mut host = interface.get_mut();
        host.current = self::state(state);
        zbus::block_on(host.current_host_state_changed(interface.signal_emitter())).unwrap();
    }
}

fn transition(name: &str) -> String {
    format!("xyz.openbmc_project.State.Host.Transition.{name}")
}

fn state(name: &str) -> String {
    format!("xyz.openbmc_project.State.Host.HostState.{name}")
}

fn cause(name: &str) -> String {
    format!("xyz.openbmc_project.State.Host.RestartCause.{name}")
}

struct State {
    requested: String,
    current: String,
    cause: String,
}

#[zbus::interface(name = "xyz.openbmc_project.State.Host")]
impl State {
    #[zbus(property)]
    fn requested_host_transition(&self) -> &str {
        &self.requested
    }

    #[zbus(property)]
    fn set_requested_host_transition(&mut self, value: String) {
        self.requested = value;
    }

    #[zbus(property)]
    fn current_host_state(&self) -> &str {
        &self.current
    }

    #[zbus(property)]
    fn restart_cause(&self) -> &str {
        &self.cause
    }
}
