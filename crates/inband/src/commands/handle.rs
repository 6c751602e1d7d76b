//! `inband start`, `stop`, `abort`, `activate` and `confirm`: the door handle (docs/spec/ipmi.md).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use inband_ipmi::{
    command::{Capabilities, Door, FLAG_STARTED, Profile, Started, Wishes},
    wire::Code,
};
use inband_session::{self as session, SessionState};
use serde::Serialize;

use crate::{
    cancel::Cancel,
    cli::{
        args::{DoorName, ProfileName, Start, Stop},
        values::Nonce,
    },
    error::Error,
    ipmi::{Client, Ipmi, IpmiError},
    output::Output,
    text::counted,
    update::{
        contents_of,
        event::{Event, Listener},
        show::Show,
    },
};

/// How often it is asked whether a confirmation is in the BMC's store, which takes one write.
const CONFIRM_LOOKS: u8 = 50;
/// Between two of these.
const CONFIRM_POLL: Duration = Duration::from_millis(200);

/// Which BMC was asked.
#[derive(Serialize)]
struct Which {
    path: String,
    machine: String,
}

impl Which {
    /// Before anything is done: behind it the BMC may be restarting.
    fn of(client: &mut Client) -> Result<Self, Error> {
        let machine = client.machine().map_err(|source| client.failure("ask which board it is", source))?;
        Ok(Self { path: client.place().to_string(), machine })
    }
}

#[derive(Serialize)]
struct StartedFacts {
    #[serde(flatten)]
    bmc: Which,
    door: &'static str,
    profile: Option<&'static str>,
    nonce: String,
    holds_s: u16,
}

#[derive(Serialize)]
struct StoppedFacts {
    #[serde(flatten)]
    bmc: Which,
    nonce: String,
    commit: bool,
    /// How the session stands behind it; `None` where the BMC does not tell.
    state: Option<&'static str>,
}

#[derive(Serialize)]
struct AbortedFacts {
    #[serde(flatten)]
    bmc: Which,
    /// As in [`StoppedFacts`].
    state: Option<&'static str>,
}

/// Opens a door; where it is for a command, until that has ended.
///
/// # Errors
/// [`Error::Ipmi`]; [`Error::Lacks`] for an option that the BMC does not understand; [`Error::Usage`]; those of the package and of the command.
pub fn start(ipmi: Ipmi, args: &Start, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    if args.profile.is_some() && !matches!(args.door, Some(DoorName::Volume) | None) {
        return Err(Error::Usage("--profile is the disk's: `inband start volume --profile ...`".to_owned()));
    }
    let client = &mut ipmi.client?;
    let capabilities = capabilities(client)?;
    let door = match args.door {
        Some(DoorName::Dfu) => Door::Dfu,
        Some(DoorName::Bulk) => Door::Bulk,
        Some(DoorName::Volume) => Door::Volume(profile(capabilities, args.profile)),
        None if args.profile.is_some() => Door::Volume(profile(capabilities, args.profile)),
        None => fastest(capabilities, Profile::Fat).unwrap_or(Door::Dfu),
    };
    let wishes = wishes(args, cancel)?;
    understood(client, capabilities, &wishes)?;
    let bmc = Which::of(client)?;
    let started = client.start(door, wishes).map_err(|source| client.failure("open a door", source))?;
    let Started { nonce, holds_s } = started;
    let nonce = Nonce(nonce).to_string();
    let (name, profile) = names(door);
    let what = profile.map_or_else(String::new, |profile| format!(" ({profile})"));
    let told = format!("started: {name}{what}, nonce {nonce}, holds {}", counted(holds_s.into(), "second"));
    output.json("started", &StartedFacts { bmc, door: name, profile, nonce, holds_s });
    if let Some((program, arguments)) = args.command.split_first() {
        // The standard output is the command's.
        output.note(told);
        let ended = run(program, arguments);
        shut(client, started, &mut Show::new(output));
        return ended;
    }
    output.text(told);
    output.note("next: send the package; `inband stop` shuts the door, `inband status` shows how it goes");
    Ok(())
}

fn run(program: &OsString, arguments: &[OsString]) -> Result<(), Error> {
    let status = Command::new(program).args(arguments).status();
    let program = PathBuf::from(program);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Command { program, status }),
        Err(source) => Err(Error::File { path: program, action: "run", source }),
    }
}

/// Shuts the door that a start opened, if its session has not done that already. That it cannot be shut is told, and no reason for what came by it to
/// have failed: it shuts by itself.
pub fn shut(client: &mut Client, started: Started, listener: &mut dyn Listener) {
    let still_open = |reason| Event::StillOpen { reason, holds_s: started.holds_s };
    let event = match client.stop(started.nonce, false) {
        Ok(()) | Err(IpmiError::Refused(Code::WRONG_NONCE | Code::NOTHING) | IpmiError::Unknown(_)) => {
            match state_behind(client) {
                Some(state) if state.is_at_work() => still_open(goes_on(state)),
                Some(_) => Event::Shut,
                None => still_open("the BMC does not tell how it stands".to_owned()),
            }
        }
        Err(error) => still_open(client.failure("shut the door", error).to_string()),
    };
    listener.event(&event);
}

/// What the BMC can do.
///
/// # Errors
/// [`Error::Ipmi`].
pub fn capabilities(client: &mut Client) -> Result<Capabilities, Error> {
    client.capabilities().map_err(|source| client.failure("ask what the BMC can do", source))
}

/// The fastest door that the BMC has; of its disk this profile, if it has that.
#[must_use]
pub fn fastest(capabilities: Capabilities, wanted: Profile) -> Option<Door> {
    let has = |door: session::Door| capabilities.has_door(door.index());
    if has(session::Door::Bulk) {
        Some(Door::Bulk)
    } else if has(session::Door::Dfu) {
        Some(Door::Dfu)
    } else {
        let profile = if capabilities.has_profile(wanted) { wanted } else { Profile::Raw };
        has(session::Door::Volume).then_some(Door::Volume(profile))
    }
}

const fn profile(capabilities: Capabilities, named: Option<ProfileName>) -> Profile {
    match named {
        Some(ProfileName::Fat) => Profile::Fat,
        Some(ProfileName::Raw) => Profile::Raw,
        None if capabilities.has_profile(Profile::Fat) => Profile::Fat,
        None => Profile::Raw,
    }
}

/// A door and what its disk holds, by name.
#[must_use]
pub const fn names(door: Door) -> (&'static str, Option<&'static str>) {
    match door {
        Door::Dfu => (session::Door::Dfu.name(), None),
        Door::Bulk => (session::Door::Bulk.name(), None),
        Door::Volume(Profile::Fat) => (session::Door::Volume.name(), Some("fat")),
        Door::Volume(Profile::Raw) => (session::Door::Volume.name(), Some("raw")),
    }
}

fn wishes(args: &Start, cancel: &Cancel) -> Result<Wishes, Error> {
    let package = match &args.package {
        Some(path) => wishes_of(path, cancel)?,
        None => Wishes { length: args.length, ..Wishes::default() },
    };
    Ok(Wishes { no_downgrade: args.no_downgrade, defer_activation: args.defer, ..package })
}

/// That it is this package and no other.
fn wishes_of(path: &Path, cancel: &Cancel) -> Result<Wishes, Error> {
    contents_of(path, cancel)?.wishes().ok_or_else(|| {
        Error::Usage("a firmware tar without a head cannot be announced: leave --package away".to_owned())
    })
}

/// Whether the BMC understands all that is wished for: one that does not would refuse it without saying what.
fn understood(client: &Client, capabilities: Capabilities, wishes: &Wishes) -> Result<(), Error> {
    let options = [
        (Wishes::NO_DOWNGRADE, "option --no-downgrade of a start"),
        (Wishes::DEFER_ACTIVATION, "option --defer of a start"),
        (Wishes::LENGTH, "option of a start for the length of a package"),
        (Wishes::HEAD, "option of a start for the head of a package"),
    ];
    let lacking = wishes.bits() & !capabilities.options;
    match options.into_iter().find(|(bit, _)| lacking & bit != 0) {
        Some((_, what)) => Err(Error::Lacks { place: client.place().clone(), what }),
        None => Ok(()),
    }
}

/// Shuts the door of a start: of the one in force, unless another one is named.
///
/// # Errors
/// [`Error::Ipmi`].
pub fn stop(client: &mut Client, args: &Stop, output: &mut Output) -> Result<(), Error> {
    let bmc = Which::of(client)?;
    let nonce = match args.nonce {
        Some(Nonce(nonce)) => nonce,
        None => in_force(client).map_err(|source| client.failure("stop a start", source))?,
    };
    let action = if args.commit { "have judged what came in" } else { "stop that start" };
    client.stop(nonce, args.commit).map_err(|source| client.failure(action, source))?;
    let nonce = Nonce(nonce).to_string();
    let state = state_behind(client);
    let then = match state {
        _ if args.commit => "what came in is judged".to_owned(),
        Some(state) if state.is_at_work() => goes_on(state),
        Some(_) => "the door is as it was before".to_owned(),
        None => "the start is over".to_owned(),
    };
    output.text(format_args!("stopped: {then} (nonce {nonce})"));
    let state = state.map(SessionState::name);
    output.json("stopped", &StoppedFacts { bmc, nonce, commit: args.commit, state });
    Ok(())
}

/// How the session stands behind what was done; `None` where the BMC does not tell.
fn state_behind(client: &mut Client) -> Option<SessionState> {
    client.outcome().ok().and_then(|status| SessionState::from_number(status.state))
}

/// What an end of the start does not end.
fn goes_on(state: SessionState) -> String {
    format!("the start is over, and the session goes on ({}): its door shuts behind it", state.name())
}

fn in_force(client: &mut Client) -> Result<u32, IpmiError> {
    let status = client.status()?;
    if status.flags & FLAG_STARTED == 0 { Err(IpmiError::Refused(Code::NOTHING)) } else { Ok(status.nonce) }
}

/// Drops the session and the start that there are.
///
/// # Errors
/// [`Error::Ipmi`].
pub fn abort(client: &mut Client, output: &mut Output) -> Result<(), Error> {
    let bmc = Which::of(client)?;
    client.abort().map_err(|source| client.failure("abort", source))?;
    let state = state_behind(client);
    let then = match state {
        Some(state) if state.is_at_work() => goes_on(state),
        Some(_) => "no session is at work, and no start in force".to_owned(),
        None => "the start is over, and the session that could still be ended".to_owned(),
    };
    output.text(format_args!("aborted: {then}"));
    let state = state.map(SessionState::name);
    output.json("aborted", &AbortedFacts { bmc, state });
    Ok(())
}

/// Restarts the BMC into staged firmware.
///
/// # Errors
/// [`Error::Ipmi`].
pub fn activate(client: &mut Client, output: &mut Output) -> Result<(), Error> {
    let bmc = Which::of(client)?;
    client.activate().map_err(|source| client.failure("activate the staged firmware", source))?;
    output.text("activating: the BMC restarts into the staged firmware");
    output.json("activating", &bmc);
    Ok(())
}

/// Says that the firmware on trial is good, and waits until the BMC has that in its store.
///
/// # Errors
/// [`Error::Ipmi`]; [`Error::NotConfirmed`]; [`Error::Cancelled`].
pub fn confirm(client: &mut Client, output: &mut Output) -> Result<(), Error> {
    let bmc = Which::of(client)?;
    client.confirm().map_err(|source| client.failure("confirm the running firmware", source))?;
    for _ in 0..CONFIRM_LOOKS {
        let status = client.status().map_err(|source| client.failure("read the status", source))?;
        if status.state != SessionState::PendingConfirm.number() {
            break;
        }
        client.pause(CONFIRM_POLL);
    }
    match state_behind(client) {
        Some(SessionState::Done) => {
            output.text("confirmed: the running firmware stays");
            output.json("confirmed", &bmc);
            Ok(())
        }
        state => Err(Error::NotConfirmed {
            place: client.place().clone(),
            state: state.map_or("not told", SessionState::name),
        }),
    }
}

#[cfg(test)]
mod tests;
