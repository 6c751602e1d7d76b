//! What becomes of a medium that the host has done with (docs/spec/volume.md, 4 to 6).

use std::time::Duration;

use inband_session::{Door, HostEnd, ResultCode, SessionState};
use inband_usb::DeviceBackend;
use inband_volume::{
    fat::{self, Image, Refused, Unopened},
    sparse::Sealed,
};

use super::{
    Bmc, Due, Fault, GAP,
    media::{Out, Pages},
    stream::Stream,
};
use crate::worker::{Command, Discarded, Worker};

/// What the host is told of a volume without a package that can be looked at.
const fn result(refused: &Refused) -> ResultCode {
    match refused {
        Refused::NoFile => ResultCode::NoFile,
        Refused::Incomplete(_) => ResultCode::Incomplete,
        Refused::Reformatted | Refused::Duplicate | Refused::Corrupt(_) => ResultCode::BadVolume,
        Refused::TooLarge { .. } => ResultCode::TooLarge,
        Refused::NoMemory => ResultCode::NoSpace,
    }
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// What the host has done to the medium.
    pub(super) fn look_at_media(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let Some(media) = self.volume.media() else { return Ok(()) };
        let (written, out) = media.look(now);
        if written > 0 {
            self.take_written(now, written)?;
        }
        match out {
            None => {}
            Some(Out::Untouched) => self.follow(now),
            Some(Out::Verdict) => {
                self.follow(now);
                if self.volume.activate.is_some() {
                    self.volume.activate = Some(now.saturating_add(GAP));
                }
            }
            Some(Out::Raw(pages)) => self.take_over(now, Stream::of_medium(pages))?,
            Some(Out::Volume { store, asked }) => self.walk(now, *store, asked)?,
            Some(Out::Cancelled(written)) => {
                self.worker.send(Command::Discard(written))?;
                self.allow_removal();
                self.volume.due = Some((now.saturating_add(GAP), Due::Fresh));
                if self.is_by(Door::Volume) && self.session.host_ended(HostEnd::Aborted) {
                    self.end_current(now, ResultCode::Aborted)?;
                }
            }
        }
        Ok(())
    }

    /// There is nothing to tell of the medium that went.
    fn follow(&mut self, now: Duration) {
        self.volume.due = Some((now.saturating_add(GAP), Due::AfterVerdict));
    }

    /// So many bytes of a session's were written; the first ones begin it.
    fn take_written(&mut self, now: Duration, bytes: u64) -> Result<(), Fault<B::Error>> {
        if self.is_by(Door::Volume) || self.begin_volume(now)? {
            self.session.progress(bytes, now);
        }
        Ok(())
    }

    /// Begins a session. If that may not be the host is told, and what is in the drive goes.
    fn begin_volume(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        self.forget_last();
        self.volume.package = None;
        self.volume.detail = None;
        let door = Door::Volume;
        match self.begin_by(door, now) {
            Ok((session, expected)) => {
                self.worker.send(Command::Begin { session, door, now, expected })?;
                Ok(true)
            }
            // Nothing was written that may not be; whatever has changed since, the medium is not the package's.
            Err(code) => {
                self.conclude_volume(now, code)?;
                Ok(false)
            }
        }
    }

    /// The one look at the filesystem.
    fn walk(&mut self, now: Duration, store: Sealed<Image>, asked: bool) -> Result<(), Fault<B::Error>> {
        self.allow_removal();
        let opened = fat::open(store);
        if !self.is_by(Door::Volume) {
            // Somebody mounted it and ejected it, and that was all.
            let nothing =
                !asked && opened.as_ref().is_err_and(|unopened| unopened.refused == Refused::NoFile);
            if nothing {
                self.follow(now);
            }
            if nothing || !self.begin_volume(now)? {
                return match opened {
                    Ok(contents) => self.discard(contents.into_iter()),
                    Err(unopened) => self.discard(unopened.store.into_pages()),
                };
            }
        }
        match opened {
            Ok(contents) => {
                let pages: Pages = Box::new(contents.into_iter());
                self.take_over(now, Stream::of_file(pages))
            }
            Err(unopened) => {
                let Unopened { refused, store } = *unopened;
                let (session, code) = (self.session.id(), result(&refused));
                self.volume.detail = refused.detail();
                self.audit.warn(
                    now,
                    format_args!("event=volume-refused session={session} result={code} reason: {refused}"),
                );
                _ = self.session.verdict(session, Err(code), now);
                self.end_current(now, code)?;
                self.discard(store.into_pages())
            }
        }
    }

    /// What was written is the BMC's.
    fn take_over(&mut self, now: Duration, stream: Stream) -> Result<(), Fault<B::Error>> {
        let session = self.session.id();
        if !self.is_by(Door::Volume) || self.session.handover(session).is_err() {
            return self.discard(stream.into_pages());
        }
        log::info!("event=volume-ejected session={session}");
        self.volume.emptied = Some(now);
        self.volume.stream = Some(stream);
        Ok(())
    }

    /// Drops what a host wrote, where nobody waits for an answer.
    pub(super) fn discard(
        &mut self,
        pages: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> Result<(), Fault<B::Error>> {
        // Those of a disk that is not ours come from a file; they are not read to be dropped.
        if self.volume_is_lent() {
            return Ok(());
        }
        Ok(self.worker.send(Command::Discard(Discarded::new(pages)))?)
    }

    /// Somebody on the BMC wants what was copied to be taken, as if the host had ejected it. Returns whether there is a copy.
    pub(in super::super) fn commit_volume(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        if !self.is_by(Door::Volume) || self.session.state() != SessionState::Receiving {
            return Ok(false);
        }
        self.allow_removal();
        if let Some(media) = self.volume.media() {
            media.take();
        }
        self.look_at_media(now)?;
        Ok(true)
    }
}
