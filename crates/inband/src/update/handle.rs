//! Opens the door for an update where it is shut, by IPMI (docs/spec/ipmi.md), and shuts it again.

use std::{
    thread,
    time::{Duration, Instant},
};

use inband_ipmi::command::{Capabilities, Door, Profile, Started, Wishes};
use inband_package::Rule;
use inband_session::{self as session, DoorState, ResultCode, SessionState};
use inband_store::Slot;

use super::{
    Contents, Plan, STATUS_POLL, VERIFY_LIMIT,
    door::Wish,
    event::{Event, Listener},
};
use crate::{
    cancel::Cancel,
    cli::values::Nonce,
    commands::{
        facts::version_in,
        handle::{capabilities, fastest, names, shut},
    },
    error::Error,
    ipmi::{Client, Ipmi, Report},
    usb::Place,
};

/// The door handle, which an update asks only where a door is shut. By default there is none.
#[derive(Default)]
pub struct Handle {
    way: Way,
    opened: Option<Opened>,
}

/// The way of IPMI commands.
#[derive(Default)]
enum Way {
    /// None is to be used.
    #[default]
    Absent,
    /// There is none: why, to be told where one is wanted.
    Failed(String),
    /// To a BMC.
    Open {
        client: Client,
        /// The user named it: then a failure is one, and not a reason to do without.
        named: bool,
    },
}

/// What a BMC answers to whether a start would open a door.
enum Answer {
    Yes(Offer),
    /// Why not.
    No(&'static str),
}

/// A start of ours.
struct Opened {
    started: Started,
    /// The session that there was before.
    session: u32,
    /// What ran before.
    running: Slot,
}

/// A door that a start would open.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// The door.
    pub door: Door,
    options: u8,
}

impl Offer {
    /// Which target to look for behind the start, and which door to take.
    #[must_use]
    pub const fn wish(self, wish: Wish) -> Wish {
        match self.door {
            Door::Volume(_) => Wish::Volume,
            Door::Dfu | Door::Bulk => wish,
        }
    }

    /// Whether a start opens it.
    #[must_use]
    pub const fn opens(self, door: session::Door) -> bool {
        match self.door {
            Door::Dfu => matches!(door, session::Door::Dfu),
            Door::Bulk => matches!(door, session::Door::Dfu | session::Door::Bulk),
            Door::Volume(_) => matches!(door, session::Door::Volume),
        }
    }

    /// The door's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        names(self.door).0
    }

    /// What is asked for with it, as far as the BMC understands: it is only for what else might come by the door.
    fn wishes(self, plan: &Plan<'_>, contents: &Contents) -> Wishes {
        let knows = |bit| self.options & bit != 0;
        let Wishes { length, head, .. } = contents.wishes().unwrap_or_default();
        Wishes {
            no_downgrade: plan.downgrade == Rule::Refuse && knows(Wishes::NO_DOWNGRADE),
            defer_activation: false,
            length: length.filter(|_| knows(Wishes::LENGTH)),
            head: head.filter(|_| knows(Wishes::HEAD)),
        }
    }
}

impl Handle {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The channel that the user named cannot be had.
    pub fn new(ipmi: Ipmi) -> Result<Self, Error> {
        let way = match ipmi.client {
            Ok(client) => Way::Open { client, named: ipmi.named },
            Err(error) if ipmi.named => return Err(error),
            Err(error) => Way::Failed(error.to_string()),
        };
        Ok(Self { way, opened: None })
    }

    /// Whether a start would open the door that is wished for, of the BMC that is this board, if that is known. `None`, which is told, where it
    /// would not.
    ///
    /// # Errors
    /// Those of asking, where the user named the channel.
    pub fn offer(
        &mut self,
        wish: Wish,
        machine: Option<&str>,
        listener: &mut dyn Listener,
    ) -> Result<Option<Offer>, Error> {
        let reason = match &mut self.way {
            Way::Absent => return Ok(None),
            Way::Failed(reason) => reason.clone(),
            Way::Open { client, named } => match ask(client, wish, machine) {
                Ok(Answer::Yes(offer)) => return Ok(Some(offer)),
                Ok(Answer::No(reason)) => reason.to_owned(),
                Err(error) if *named || matches!(error, Error::Cancelled) => return Err(error),
                Err(error) => error.to_string(),
            },
        };
        listener.event(&Event::NotOpened { reason });
        Ok(None)
    }

    /// How the BMC stands.
    ///
    /// # Errors
    /// [`Error::Ipmi`].
    pub fn report(&mut self) -> Result<(Place, Report), Error> {
        let client = self.client()?;
        let report = client.report().map_err(|source| client.failure("read the status", source))?;
        Ok((client.place().clone(), report))
    }

    /// Opens the door.
    ///
    /// # Errors
    /// [`Error::Ipmi`].
    pub fn open(
        &mut self,
        offer: Offer,
        plan: &Plan<'_>,
        contents: &Contents,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let client = self.client()?;
        let before = client.report().map_err(|source| client.failure("read the status", source))?;
        let (machine, before) = (before.machine, before.page);
        let started = client.start(offer.door, offer.wishes(plan, contents));
        let started = started.map_err(|source| client.failure("open the door", source))?;
        let path = client.place().to_string();
        self.opened = Some(Opened { started, session: before.session, running: before.running });
        listener.event(&Event::Opened {
            path,
            machine,
            door: offer.name(),
            nonce: Nonce(started.nonce).to_string(),
            holds_s: started.holds_s,
        });
        Ok(())
    }

    /// Whether it has opened a door.
    #[must_use]
    pub const fn has_opened(&self) -> bool {
        self.opened.is_some()
    }

    /// Shuts the door, if it was opened.
    pub fn close(&mut self, listener: &mut dyn Listener) {
        if let (Some(opened), Way::Open { client, .. }) = (&self.opened, &mut self.way) {
            shut(client, opened.started, listener);
        }
    }

    /// What has come of an update whose device was lost: its BMC may tell by IPMI.
    ///
    /// # Errors
    /// [`Error::Refused`] with the BMC's result; `lost`, where it does not tell.
    pub fn verdict(
        &mut self,
        contents: &Contents,
        lost: Error,
        listener: &mut dyn Listener,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let (Some(opened), Way::Open { client, .. }) = (&self.opened, &mut self.way) else {
            return Err(lost);
        };
        let start = Instant::now();
        loop {
            let Ok(Report { page, firmware, status, .. }) = client.report() else { return Err(lost) };
            // A daemon that began anew knows no nonce.
            let is_ours = matches!(status.nonce, 0) || status.nonce == opened.started.nonce;
            if !is_ours || page.session == opened.session || !contents.is_session_of(&page) {
                return Err(lost);
            }
            let place = client.place().clone();
            match (page.state, page.result()) {
                (SessionState::Handover | SessionState::Verifying, _) if start.elapsed() < VERIFY_LIMIT => {}
                (SessionState::Receiving, _) | (_, Some(ResultCode::None)) => return Err(lost),
                (_, Some(ResultCode::Ok)) => {
                    let version = version_in(&firmware, page.boots_next);
                    listener.event(&Event::Staged { slot: Some(page.boots_next.name()), version });
                    return Ok(());
                }
                (_, Some(code)) => return Err(Error::Refused { place, code }),
                (_, None) => return Err(Error::UnknownResult { place, number: page.result_code }),
            }
            cancel.check()?;
            thread::sleep(STATUS_POLL);
        }
    }

    /// Waits until the BMC runs what was staged, where USB will not show it.
    ///
    /// # Errors
    /// [`Error::NotActivated`], [`Error::Refused`], [`Error::Cancelled`].
    pub fn wait_for_activation(
        &mut self,
        limit: Duration,
        listener: &mut dyn Listener,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let (Some(opened), Way::Open { client, .. }) = (&self.opened, &mut self.way) else { return Ok(()) };
        listener.event(&Event::WaitActivation);
        let start = Instant::now();
        let place = client.place().clone();
        while start.elapsed() < limit {
            // A BMC that restarts does not answer.
            if let Ok(Report { page, firmware, .. }) = client.report() {
                match page.state {
                    SessionState::PendingConfirm | SessionState::Done if page.running != opened.running => {
                        listener.event(&Event::Activated {
                            slot: Some(page.running.name()),
                            version: version_in(&firmware, page.running),
                            on_trial: page.on_trial,
                        });
                        return Ok(());
                    }
                    SessionState::RolledBack => {
                        let code = page.result().unwrap_or(ResultCode::RolledBack);
                        return Err(Error::Refused { place, code });
                    }
                    _ => {}
                }
            }
            cancel.check()?;
            thread::sleep(STATUS_POLL);
        }
        Err(Error::NotActivated { place, seconds: limit.as_secs() })
    }

    /// The client of an offer.
    fn client(&mut self) -> Result<&mut Client, Error> {
        match &mut self.way {
            Way::Open { client, .. } => Ok(client),
            Way::Absent | Way::Failed(_) => Err(Error::Usage("no start was offered".to_owned())),
        }
    }
}

/// The door that a start would open, or why none.
fn ask(client: &mut Client, wish: Wish, machine: Option<&str>) -> Result<Answer, Error> {
    let able = capabilities(client)?;
    if !able.may_open() {
        return Ok(Answer::No("the BMC does not let a host open doors"));
    }
    if let Some(machine) = machine {
        let told = client.machine().map_err(|source| client.failure("ask which board it is", source))?;
        if told != machine {
            return Ok(Answer::No("IPMI leads to another BMC than USB"));
        }
    }
    let has = |door: session::Door| able.has_door(door.index());
    let door = match wish {
        Wish::Dfu => has(session::Door::Dfu).then_some(Door::Dfu),
        Wish::Bulk => has(session::Door::Bulk).then_some(Door::Bulk),
        Wish::Volume => has(session::Door::Volume).then_some(Door::Volume(Profile::Raw)),
        Wish::Fastest => fastest(able, Profile::Raw),
    };
    let door = door.filter(|door| *door != Door::Volume(Profile::Raw) || able.has_profile(Profile::Raw));
    let Some(offer) = door.map(|door| Offer { door, options: able.options }) else {
        return Ok(Answer::No("the door is off, or its disk has no profile raw"));
    };
    if session::Door::ALL.into_iter().any(|door| offer.opens(door) && is_shut(able, door)) {
        Ok(Answer::Yes(offer))
    } else {
        Ok(Answer::No("the BMC says that the door is not shut"))
    }
}

fn is_shut(able: Capabilities, door: session::Door) -> bool {
    able.door_state(door.index()) == DoorState::Shut.number()
}

#[cfg(test)]
mod tests;
