//! The model's disk (volume.md, 9), as far as a session sees it.

use std::time::Duration;

use inband_session::{Door, DoorPolicy, ResultCode};

use super::{
    machine::{Machine, seconds},
    usb::OnBus,
};
use crate::disk_host::{NO_MEDIUM, Sense, WRITE_PROTECTED};

/// What is in the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drive {
    Refused,
    /// Nobody's yet: `other` files, or none; a name that is a command from then on.
    Ready {
        other: bool,
        command: Option<(Duration, Trigger)>,
    },
    /// The session's.
    Receiving {
        content: Content,
        command: Option<(Duration, Trigger)>,
    },
    /// Nothing, since then.
    Judging(Duration),
    /// Nothing, until then.
    Gap(Duration, Medium),
    /// What tells of an end, until then: a good one?
    Told(Duration, bool),
}

/// What comes next into the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// One for a package.
    Fresh,
    Verdict(bool),
    /// One for a package, if the door is to stay open behind an update.
    AfterUpdate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Take,
    Forget,
}

/// What of a package there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// With its last block.
    pub(super) whole: bool,
    /// With a signature that is none.
    pub(super) forged: bool,
}

/// How long the drive is empty between two media.
pub(super) const GAP: Duration = Duration::from_millis(2500);
/// How long a name has to stand there before it is taken for a command.
const COMMAND: Duration = seconds(2);

impl Drive {
    pub(super) const READY: Self = Self::Ready { other: false, command: None };

    /// Whether it tells of an end, or is about to.
    pub(super) const fn tells(self) -> bool {
        matches!(self, Self::Told(..) | Self::Gap(_, Medium::Verdict(_) | Medium::AfterUpdate))
    }
}

impl Machine {
    /// The disk was there for one update, or in another profile than is configured.
    pub(super) fn is_once(&self) -> bool {
        self.policy(Door::Volume) == DoorPolicy::Armed || self.fat != self.configured.fat
    }

    /// Nobody is to come in by the disk any more.
    pub(super) fn hide_disk(&mut self) {
        self.disarm(Door::Volume);
        let once = self.is_once();
        self.fat = self.configured.fat;
        if once && matches!(self.bus, OnBus::Disk(_)) {
            self.leave(Door::Volume);
            self.show_run_time();
        }
    }

    /// Somebody wants the disk to be there, in this profile or as it is.
    pub(super) fn show_disk(&mut self, fat: Option<bool>) {
        let fits = fat.is_none_or(|fat| fat == self.fat);
        self.spared = false;
        match &mut self.bus {
            OnBus::Dfu(_) => {}
            OnBus::Disk(drive) if fits => match drive {
                Drive::Told(..) => *drive = Drive::Gap(self.now + GAP, Medium::Fresh),
                Drive::Gap(at, _) => *drive = Drive::Gap(*at, Medium::Fresh),
                Drive::Refused | Drive::Ready { .. } | Drive::Receiving { .. } | Drive::Judging(_) => {}
            },
            OnBus::Disk(_) | OnBus::Bare | OnBus::Nothing => {
                self.fat = fat.unwrap_or(self.configured.fat);
                self.show_run_time();
            }
        }
    }

    pub(super) fn end_update(&mut self) {
        if self.is_once() {
            self.fat = self.configured.fat;
            self.leave(Door::Volume);
            self.show_run_time();
        } else {
            self.bus = OnBus::Disk(Drive::READY);
            self.look_at_disk();
        }
    }

    /// What was written is the BMC's now. Whether there was anything.
    pub(super) fn commit(&mut self) -> bool {
        let receives = matches!(self.bus, OnBus::Disk(Drive::Receiving { .. }));
        if receives {
            self.take_disk();
        }
        receives
    }

    pub(super) fn take_disk(&mut self) {
        if let OnBus::Disk(Drive::Receiving { content, .. }) = self.bus {
            self.bus = OnBus::Disk(Drive::Judging(self.now));
            let hole = (!content.whole).then_some(ResultCode::Incomplete);
            let objection = self.objection(content.forged);
            // A file is walked to its end before anything in it is read; a raw disk is read up to its first hole.
            let verdict = if self.fat { hole.or(objection) } else { objection.or(hole) };
            self.judge(verdict.unwrap_or(ResultCode::Ok));
        }
    }

    // The disk. `None`: it is not there.

    pub(super) fn write_package(&mut self, content: Content) -> Option<Result<(), Sense>> {
        let content = match self.writable()? {
            Err(sense) => return Some(Err(sense)),
            Ok(Some(before)) => Content { whole: before.whole || content.whole, ..content },
            Ok(None) => {
                self.begin(Door::Volume);
                content
            }
        };
        self.progress();
        self.bus = OnBus::Disk(Drive::Receiving { content, command: None });
        Some(Ok(()))
    }

    /// Other files, or other blocks, where there is a package.
    pub(super) fn write_other(&mut self) -> Option<Result<(), Sense>> {
        match self.writable()? {
            Err(sense) => return Some(Err(sense)),
            Ok(Some(_)) => self.progress(),
            Ok(None) => self.bus = OnBus::Disk(Drive::Ready { other: true, command: None }),
        }
        Some(Ok(()))
    }

    pub(super) fn write_command(&mut self, trigger: Trigger) -> Option<Result<(), Sense>> {
        let at = Some((self.now + COMMAND, trigger));
        match self.writable()? {
            Err(sense) => return Some(Err(sense)),
            Ok(Some(content)) => {
                self.progress();
                self.bus = OnBus::Disk(Drive::Receiving { content, command: at });
            }
            Ok(None) => self.bus = OnBus::Disk(Drive::Ready { other: true, command: at }),
        }
        Some(Ok(()))
    }

    /// What of a package is there already, or why nothing may be written.
    fn writable(&self) -> Option<Result<Option<Content>, Sense>> {
        let OnBus::Disk(drive) = self.bus else { return None };
        Some(match drive {
            Drive::Ready { .. } => Ok(None),
            Drive::Receiving { content, .. } => Ok(Some(content)),
            Drive::Refused | Drive::Told(..) => Err(WRITE_PROTECTED),
            Drive::Judging(_) | Drive::Gap(..) => Err(NO_MEDIUM),
        })
    }

    pub(super) fn eject(&mut self) -> Option<Result<(), Sense>> {
        let OnBus::Disk(drive) = self.bus else { return None };
        match drive {
            Drive::Judging(_) | Drive::Gap(..) => {}
            Drive::Receiving { .. } => self.take_disk(),
            Drive::Refused | Drive::Ready { .. } | Drive::Told(..) => {
                if let (Drive::Told(..), Some(at)) = (drive, &mut self.restart_at) {
                    *at = self.now + GAP;
                }
                self.bus = OnBus::Disk(Drive::Gap(self.now + GAP, Medium::AfterUpdate));
            }
        }
        Some(Ok(()))
    }
}
