//! A bus of a test's own, as strict as a system bus: dbus-daemon.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use zbus::{
    MatchRule,
    blocking::{Connection, MessageIterator, connection::Builder, fdo::DBusProxy},
    fdo::NameOwnerChanged,
    message::Type,
};

const POLICY: &str = include_str!("../../../../../contrib/openbmc/recipes-inband/inbandd/files/inband.conf");

/// What a system bus forbids and allows (dbus-daemon's own system.conf); behind it come the services' policies: ours, as we ship it, and one for those that
/// are doubled here.
const SYSTEM: &str = r#"
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow own_prefix="xyz.openbmc_project.Ipmi"/>
    <allow own="xyz.openbmc_project.State.Host"/>
    <allow send_destination="xyz.openbmc_project.Ipmi.Host"/>
    <allow send_destination="xyz.openbmc_project.State.Host" send_interface="org.freedesktop.DBus.Properties" send_member="Set"/>
  </policy>
"#;

/// A bus, until it is dropped.
pub(super) struct Bus {
    folder: TempDir,
    daemon: Child,
}

impl Bus {
    /// One on which whoever runs this test is both root and the daemon's user.
    pub(super) fn start() -> Self {
        Self::start_where_root_is(&me())
    }

    /// One on which root is somebody else.
    pub(super) fn start_where_root_is(root: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = POLICY
            .replace("user=\"root\"", &format!("user=\"{root}\""))
            .replace("user=\"inband\"", &format!("user=\"{}\"", me()));
        fs::write(folder.path().join("inband.conf"), policy).unwrap();
        let config = format!(
            "<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth>{SYSTEM}<include>inband.conf</include></busconfig>",
            folder.path().join("bus").display()
        );
        fs::write(folder.path().join("bus.conf"), config).unwrap();
        let daemon = daemon(&folder);
        Self { folder, daemon }
    }

    pub(super) fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    pub(super) fn connect(&self) -> Connection {
        Builder::address(self.address().as_str()).unwrap().build().unwrap()
    }

    /// Waits until somebody has this name.
    pub(super) fn wait_for(&self, name: &'static str) {
        self.wait(name, true);
    }

    /// Waits until nobody has it.
    pub(super) fn wait_until_gone(&self, name: &'static str) {
        self.wait(name, false);
    }

    fn wait(&self, name: &'static str, there: bool) {
        let connection = self.connect();
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .unwrap()
            .member("NameOwnerChanged")
            .unwrap()
            .arg(0, name)
            .unwrap()
            .build();
        let changes = MessageIterator::for_match_rule(rule, &connection, None).unwrap();
        let bus = DBusProxy::new(&connection).unwrap();
        if bus.name_has_owner(name.try_into().unwrap()).unwrap() == there {
            return;
        }
        for change in changes {
            let change = NameOwnerChanged::from_message(change.unwrap()).unwrap();
            if change.args().unwrap().new_owner().is_some() == there {
                return;
            }
        }
        panic!("the bus is gone");
    }

    /// Ends it, and everybody's connection.
    pub(super) fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    /// Another one at the same place.
    pub(super) fn restart(&mut self) {
        self.stop();
        self.daemon = daemon(&self.folder);
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The daemon, listening.
fn daemon(folder: &TempDir) -> Child {
    let mut command = Command::new("dbus-daemon");
    command.arg("--nofork").arg("--nopidfile").arg("--print-address=1");
    command.arg(format!("--config-file={}", folder.path().join("bus.conf").display()));
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
    assert!(!address.is_empty(), "dbus-daemon does not start");
    daemon
}

/// The user's number: dbus-daemon takes it for a name.
fn me() -> String {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}
