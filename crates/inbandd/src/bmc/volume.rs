//! The volume door (docs/spec/volume.md, volume-raw.md): a disk beside the run-time DFU interface, and the way of what is written there.
//!
//! A WRITE is a copy into memory and nothing else. What the host ejects changes hands by ownership: from then on nothing that it sends
//! can reach those bytes, and they go to the worker a page at a time, as fast as it takes them.

use std::{fmt::Display, sync::Arc, time::Duration};

use inband_dfu::{
    descriptors::{self, Identity},
    wire::State,
};
use inband_session::{By, Door, DoorPolicy, HostEnd, Progress, ResultCode, SessionState};
use inband_store::Identity as Package;
use inband_usb::{Completion, DescriptorSet, DeviceBackend, Direction, EndpointAddress, Setup};
use inband_volume::{
    bot::{Device, Function, Limits, Phase, wire},
    fat::Geometry,
    scsi::{Disk, Sense},
};

use super::{BACKLOG, Bmc, Fault};
use crate::{
    command::Answers,
    memory::Available,
    worker::{Command, GIVEN_BACK, Worker},
};

mod drive;
mod lent;
mod media;
mod notice;
mod out;
mod shown;
mod stream;

use drive::Drive;
use lent::Lent;
pub use lent::{Lender, Look};
use media::{Media, room};
pub use media::{Pages, Profile};
pub use shown::DiskKind;
use shown::Shown;
pub(crate) use shown::inquiry;
use stream::{Next, Stream};

/// The endpoints; other numbers than those of the bulk interface, so that nothing of one set is taken for the other's.
const OUT: EndpointAddress = EndpointAddress(0x02);
const IN: EndpointAddress = EndpointAddress(0x82);
/// bInterfaceNumber, behind the DFU interface.
const INTERFACE: u8 = 1;
/// How long the drive is empty between two media: Windows overlooks a change within a second.
pub(super) const GAP: Duration = Duration::from_millis(2500);
/// How long a host may be gone before it is taken for one that does not come back.
pub(super) const GRACE: Duration = Duration::from_secs(60);
/// How long a host may leave a verdict in the drive before a medium for a package takes its place.
pub(super) const VERDICT_TIME: Duration = Duration::from_secs(10 * 60);
/// How long a host may leave the verdict on staged firmware in the drive before the BMC restarts, where it does so at once.
pub(super) const ACTIVATE_AFTER: Duration = Duration::from_secs(60);
/// From a medium that there was no memory for to the next try.
pub(super) const FILL_AGAIN: Duration = Duration::from_secs(60);
/// What a host gets that has written something and no package by then: it may be in the middle of a copy.
pub(super) const SPARED: Duration = Duration::from_secs(5 * 60);
/// Pages handed to the worker that it has not taken, at most: 256 KiB.
const PAGES: usize = 16;

/// What is configured about the disk.
pub struct VolumeOptions {
    /// idProduct of the run-time set with the disk.
    pub product_id: u16,
    /// Serial number of the disk; iSerialNumber is the same, as 16 hexadecimal digits in upper case.
    pub serial: u64,
    /// How packages lie on it, unless somebody asks for another way.
    pub profile: Profile,
    /// How large its filesystem is; `None` where there cannot be one.
    pub fat: Option<Geometry>,
    /// Bytes of the largest package.
    pub max_package: u64,
    /// Who serves it.
    pub disk: DiskKind,
    /// How much memory there is.
    pub available: Available,
}

/// The run-time descriptors, with the disk and its product id or without.
pub(crate) fn runtime(identity: &Identity, disk: Option<u16>) -> DescriptorSet {
    let mut set = descriptors::runtime(identity);
    if let Some(product_id) = disk {
        set.product_id = product_id;
        set.interfaces.push(wire::interface(OUT, IN));
    }
    set
}

/// Whether an endpoint is the disk's.
pub(super) fn owns(endpoint: EndpointAddress) -> bool {
    endpoint == OUT || endpoint == IN
}

/// What is put into the drive next.
#[derive(Debug)]
enum Due {
    /// A medium for a package.
    Fresh,
    /// What tells of the end of a session, with this result.
    Verdict(ResultCode),
    /// The host has read what it was to read, or had the time for it: a medium for a package, or the end of the door.
    AfterVerdict,
}

/// The disk, while it is shown, and what is about to happen to it.
#[derive(Default)]
pub(super) struct Volume {
    disk: Option<Shown>,
    /// The disk could not be shown when that was tried last.
    refused: bool,
    /// When what is to be answered came, while it is not.
    arrived: Option<Duration>,
    answers: Answers,
    /// The profile that was asked for, in the place of the configuration's.
    chosen: Option<Profile>,
    /// The number of the last medium.
    generation: u32,
    /// What is put into the drive next, and when.
    due: Option<(Duration, Due)>,
    /// Since when the drive is empty, while the package is judged.
    emptied: Option<Duration>,
    /// When the host, which has gone, is taken for one that does not come back.
    gone: Option<Duration>,
    /// When the BMC restarts, whether or not the verdict was ejected.
    activate: Option<Duration>,
    /// What the host has ejected, on its way to the worker.
    stream: Option<Stream>,
    /// The session's package, once it is known to be authentic.
    package: Option<Package>,
    /// What exactly was wrong with the volume.
    detail: Option<&'static str>,
    /// The door's time was over once already, and somebody had written something.
    spared: bool,
}

impl Volume {
    /// How fast the commands were answered.
    pub(super) const fn answers(&self) -> Answers {
        self.answers
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let disk = self.disk.as_ref().and_then(Shown::poll_timeout);
        let due = self.due.as_ref().map(|(at, _)| *at);
        [disk, due, self.gone, self.activate].into_iter().flatten().min()
    }

    /// The BMC restarts: what the verdict was about has no time left to wait for.
    pub(super) const fn forget_activation(&mut self) {
        self.activate = None;
    }

    pub(super) fn handle_enable(&mut self) {
        self.gone = None;
        self.arrived = None;
        if let Some(disk) = self.own() {
            disk.handle_enable();
        }
    }

    pub(super) fn handle_disable(&mut self, now: Duration) {
        self.arrived = None;
        if let Some(disk) = self.own() {
            disk.handle_disable();
        }
        if self.disk.is_some() {
            self.gone = Some(now.saturating_add(GRACE));
        }
    }

    /// Answers a class request to the disk; returns false for any other.
    pub(super) fn handle_setup(&mut self, backend: &mut impl DeviceBackend, setup: &Setup) -> bool {
        self.own().is_some_and(|disk| disk.handle_setup(backend, setup))
    }

    /// The disk on our endpoints.
    const fn own(&mut self) -> Option<&mut Function<Disk<Drive>>> {
        match &mut self.disk {
            Some(disk) => disk.own(),
            None => None,
        }
    }

    fn media(&mut self) -> Option<&mut dyn Media> {
        self.disk.as_mut().map(Shown::media)
    }
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    // On and off the bus.

    /// The run-time set is about to appear. Returns the product id of the one with the disk, if that is the one.
    pub(super) fn open_volume(&mut self, now: Duration) -> Option<u16> {
        let options = self.options.volume.as_ref()?;
        // Tried each time: what has the endpoints, or the memory, may be gone.
        if self.volume.refused {
            self.session.reinstate(Door::Volume);
        }
        if !self.session.open(Door::Volume) {
            return None;
        }
        let product_id = options.product_id;
        match room(options.max_package, &options.available) {
            Ok(room) => {
                self.volume.disk = self.make_disk(now, room);
                Some(product_id)
            }
            Err((there, needed)) => {
                self.do_without_volume(&format_args!(
                    "a package takes {needed} bytes of memory, and there are {there} (MemAvailable)"
                ));
                None
            }
        }
    }

    /// The disk, with its first medium: that is in before the host's power on, so that it is no change of media.
    fn make_disk(&mut self, now: Duration, room: u64) -> Option<Shown> {
        let (profile, options) = (self.profile()?, self.options.volume.as_ref()?);
        match &options.disk {
            DiskKind::Own(halts) => {
                let (identity, halts) = (inquiry(profile, options.serial), *halts);
                let mut drive = Drive::new(profile, room, Available::clone(&options.available));
                self.fill(&mut drive, now);
                let device = Device::new(INTERFACE, halts, Limits::default(), Disk::new(identity, drive));
                Some(Shown::Own(Box::new(Function::new(device, OUT, IN))))
            }
            DiskKind::Lent(lender) => {
                let mut lent = Lent::new(Arc::clone(lender), room);
                self.fill(&mut lent, now);
                Some(Shown::Lent(lent))
            }
        }
    }

    /// Whether the disk is shown for one update at a time.
    fn is_once(&self) -> bool {
        self.session.policy(Door::Volume) == DoorPolicy::Armed
    }

    /// Whether the disk is not ours: then there is no other set than the one with it.
    pub(super) fn volume_is_lent(&self) -> bool {
        self.options.volume.as_ref().is_some_and(|options| matches!(options.disk, DiskKind::Lent(_)))
    }

    /// The set with the disk is on the bus.
    pub(super) fn volume_is_there(&mut self) {
        if self.volume.refused {
            self.volume.refused = false;
            log::info!("event=volume-available: the disk is shown again");
        }
    }

    /// The set with the disk cannot be shown. The run-time DFU interface needs no endpoints and no memory.
    pub(super) fn do_without_volume(&mut self, reason: &dyn Display) {
        self.close_volume();
        self.session.withdraw(Door::Volume);
        // Once: a host could have it told again and again.
        if !self.volume.refused {
            self.volume.refused = true;
            let rest = if self.volume_is_lent() {
                "there is nothing on the bus until `inbandd arm volume` has it tried again. The disk takes memory for the largest package: free it, or \
                 lower store.max_package"
            } else {
                "the device shows its DFU interface alone, and tries again whenever it comes back to run time. The disk takes two bulk endpoints and \
                 memory for the largest package: free them, lower store.max_package, or set doors.volume.policy = \"off\""
            };
            log::warn!("event=volume-unavailable reason: {reason}; {rest}");
        }
    }

    /// The device leaves the bus, and the disk with it. Whether the door is left as well is another thing: a run-time set that takes the
    /// place of another does not undo what somebody armed.
    pub(super) fn close_volume(&mut self) {
        // What waits for the host to read a verdict does not wait longer because the disk has gone.
        let Volume { refused, answers, generation, activate, chosen, .. } = self.volume;
        self.volume = Volume { refused, answers, generation, activate, chosen, ..Volume::default() };
    }

    /// Somebody has armed the door, with this profile or the one of the configuration: at run time the disk is shown at once. One that is there
    /// stays, unless another profile was asked for in so many words; what it tells, or is about to tell, of an update before makes room.
    pub(super) fn show_volume(
        &mut self,
        now: Duration,
        profile: Option<Profile>,
    ) -> Result<(), Fault<B::Error>> {
        let fits = profile.is_none_or(|profile| self.profile() == Some(profile));
        let shown = self.options.volume.is_none() || self.volume.disk.is_some() && fits;
        self.volume.spared = false;
        if let Some(media) = self.volume.media().filter(|media| shown && media.has_verdict()) {
            media.remove();
            self.volume.due = Some((now.saturating_add(GAP), Due::Fresh));
        } else if let Some((_, due @ (Due::Verdict(_) | Due::AfterVerdict))) =
            self.volume.due.as_mut().filter(|_| shown)
        {
            // The end of the door would follow, and nobody had come in by it.
            *due = Due::Fresh;
        }
        if shown || self.dfu.state() != State::AppIdle {
            return Ok(());
        }
        self.volume.chosen = profile;
        self.show_runtime(now)
    }

    /// How packages lie on the disk, if there is one.
    fn profile(&self) -> Option<Profile> {
        self.volume.chosen.or(self.options.volume.as_ref().map(|options| options.profile))
    }

    /// Goes back to the profile of the configuration. Returns whether that is another one.
    pub(super) fn forget_profile(&mut self) -> bool {
        let chosen = self.volume.chosen.take();
        chosen.is_some() && chosen != self.profile()
    }

    /// That is taken back.
    pub(super) fn hide_volume(&mut self, now: Duration, by: By) -> Result<(), Fault<B::Error>> {
        let goes = self.is_once() | self.forget_profile();
        self.session.shut(Door::Volume, by);
        if goes && self.volume.disk.is_some() { self.leave_volume(now) } else { Ok(()) }
    }

    /// The door was open for one update, or in another profile than is configured, and that is over.
    fn leave_volume(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        self.session.leave(Door::Volume);
        self.show_runtime(now)
    }

    // Media.

    /// Why nothing may be written, if so.
    fn volume_refusal(&self, now: Duration) -> Option<ResultCode> {
        if self.is_by(Door::Volume) && self.session.state() == SessionState::Receiving {
            return None;
        }
        let behind = (self.worker.backlog() >= BACKLOG).then_some(ResultCode::Busy);
        self.session.may_begin(Door::Volume, now).err().or(behind)
    }

    /// Lets the host write, or not. A medium that is as it came is another one then, so that the host looks at it anew.
    fn guard_medium(&mut self, now: Duration) {
        let refusal = self.volume_refusal(now);
        if let Some(media) = self.volume.media()
            && media.guard(now, refusal.is_some())
            && media.is_untouched()
        {
            self.insert_fresh(now);
        }
    }

    fn insert_fresh(&mut self, now: Duration) {
        if let Some(mut disk) = self.volume.disk.take() {
            self.fill(disk.media(), now);
            self.volume.disk = Some(disk);
        }
    }

    /// Puts a medium in that waits for a package.
    fn fill(&mut self, media: &mut dyn Media, now: Duration) {
        self.volume.generation = self.volume.generation.wrapping_add(1);
        let refusal = self.volume_refusal(now);
        media.guard(now, refusal.is_some());
        let notice = self.waiting_notice(refusal);
        if media.insert(self.volume.generation, &notice).is_err() {
            log::error!("event=volume-empty: there is no memory for a medium; tried again in a minute");
            self.volume.due = Some((now.saturating_add(FILL_AGAIN), Due::Fresh));
        }
    }

    /// Puts the medium in that tells of the end of a session.
    fn insert_verdict(&mut self, now: Duration, code: ResultCode) {
        self.volume.generation = self.volume.generation.wrapping_add(1);
        let (notice, generation) = (self.verdict_notice(now, code), self.volume.generation);
        if let Some(media) = self.volume.media() {
            // That one takes no memory.
            _ = media.insert(generation, &notice);
            self.volume.due = Some((now.saturating_add(VERDICT_TIME), Due::AfterVerdict));
        }
    }

    // Endpoints.

    /// A transfer of the disk's has come home. `since` is when the loop was last free for it.
    pub(super) fn handle_disk_completion(
        &mut self,
        now: Duration,
        since: Duration,
        completion: Completion,
    ) -> Result<(), Fault<B::Error>> {
        self.guard_medium(now);
        let Some(disk) = self.volume.own() else { return Ok(()) };
        let from_host = completion.endpoint.direction() == Direction::Out;
        let is_command = from_host && disk.device().phase() == Phase::Command;
        disk.handle_complete(now, completion);
        let told = is_command && disk.device().target().sense() == Sense::WRITE_PROTECTED;
        if from_host {
            self.volume.arrived = Some(since);
        }
        if told && self.volume_refusal(now).is_some() {
            // Only to be told in the audit log, which folds repeats.
            _ = self.session.first_byte(Door::Volume, now);
        }
        self.look_at_media(now)
    }

    /// Does with the endpoints what the disk wants. To be called when no event of the USB side waits. Returns whether there is something for the
    /// worker that there was not.
    pub(super) fn drive_volume(&mut self, clock: impl Fn() -> Duration) -> Result<bool, Fault<B::Error>> {
        if self.volume.disk.is_none() {
            return Ok(false);
        }
        let now = clock();
        let streamed = self.volume.stream.is_some();
        self.guard_medium(now);
        // While the control pipe is another one's; a time that is due must not stay so meanwhile.
        let held = self.receiving.is_some();
        if let Some(disk) = self.volume.own().filter(|_| held) {
            disk.handle_timeout(now);
        } else if let Some(disk) = self.volume.own() {
            disk.drive(now, &mut self.backend);
            match disk.device().phase() {
                Phase::Status => {
                    if let Some(arrived) = self.volume.arrived.take() {
                        self.volume.answers.add(clock().saturating_sub(arrived));
                    }
                }
                // The next of what the host sends, or what it takes, is the host's time.
                Phase::Off | Phase::Command | Phase::DataIn | Phase::DataOut | Phase::Wedged => {
                    self.volume.arrived = None;
                }
            }
        }
        self.look_at_media(now)?;
        Ok(!streamed && self.volume.stream.is_some())
    }

    // The worker.

    /// Does what is due. Returns whether there was anything.
    pub(super) fn handle_volume(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        let busy = self.feed_worker()?;
        if self.volume.gone.is_some_and(|at| at <= now) {
            self.volume.gone = None;
            self.host_is_gone(now)?;
        }
        if self.volume.activate.is_some_and(|at| at <= now) {
            self.volume.activate = None;
            if self.activates && self.session.state() == SessionState::Staged {
                self.restart(now)?;
                return Ok(true);
            }
        }
        if let Some((_, due)) = self.volume.due.take_if(|(at, _)| *at <= now) {
            // By now all that was on the last one is home.
            self.worker.send(Command::GiveMemoryBack)?;
            match due {
                Due::AfterVerdict if self.is_once() | self.forget_profile() => self.leave_volume(now)?,
                Due::Fresh | Due::AfterVerdict => self.insert_fresh(now),
                Due::Verdict(code) => self.insert_verdict(now, code),
            }
            return Ok(true);
        }
        Ok(busy)
    }

    /// Hands over what was ejected, as far as the worker takes it.
    fn feed_worker(&mut self) -> Result<bool, Fault<B::Error>> {
        let mut busy = false;
        while let (Some(stream), Some(session)) = (&mut self.volume.stream, self.current) {
            if self.queued >= PAGES {
                break;
            }
            match stream.next() {
                Next::Page { bytes, awaited } => {
                    self.queued += 1;
                    let is_many = stream.pages() > 0 && stream.pages().is_multiple_of(GIVEN_BACK);
                    self.worker.send(Command::Data { session, bytes, awaited })?;
                    if is_many {
                        self.worker.send(Command::GiveMemoryBack)?;
                    }
                }
                Next::NotYet => break,
                Next::End => {
                    let lacking = stream.lacking();
                    let rest = self.volume.stream.take();
                    // Behind all that can be wrong with what is there.
                    self.worker.send(Command::EndOfFile { session, lacking })?;
                    self.discard(rest.into_iter().flat_map(Stream::into_pages))?;
                }
            }
            busy = true;
        }
        Ok(busy)
    }

    /// What the pipeline knows of the package.
    pub(super) fn volume_taken(&mut self, progress: &Progress) {
        self.volume.package = progress.accepted.or(self.volume.package);
        if let Some(stream) = &mut self.volume.stream {
            stream.learn(progress.announced);
        }
    }

    /// All of the package is there and good so far.
    pub(super) fn finish_volume(&mut self, progress: &Progress) -> Result<(), Fault<B::Error>> {
        self.session.report(progress);
        self.volume_taken(progress);
        Ok(self.worker.send(Command::Finish { session: progress.session })?)
    }

    // Ends.

    /// The session is over: what is in the drive goes, and what tells of the end comes.
    pub(super) fn conclude_volume(&mut self, now: Duration, code: ResultCode) -> Result<(), Fault<B::Error>> {
        self.allow_removal();
        self.drop_written()?;
        let Volume { disk: Some(_), due, emptied, activate, .. } = &mut self.volume else { return Ok(()) };
        let at = emptied.take().unwrap_or(now).saturating_add(GAP).max(now);
        *due = Some(match code {
            // Who is gone reads nothing, and misses nothing; whoever comes next finds a medium to write to.
            ResultCode::Disconnected => (now, Due::Fresh),
            code => (at, Due::Verdict(code)),
        });
        *activate = (code == ResultCode::Ok && self.activates).then(|| at.saturating_add(ACTIVATE_AFTER));
        Ok(())
    }

    /// Whatever a host has written goes, whether it was ejected or is in the drive, which is empty then.
    pub(super) fn drop_written(&mut self) -> Result<(), Fault<B::Error>> {
        if let Some(stream) = self.volume.stream.take() {
            self.discard(stream.into_pages())?;
        }
        if let Some(written) = self.volume.media().and_then(|media| media.remove()) {
            self.worker.send(Command::Discard(written))?;
        }
        Ok(())
    }

    /// Whatever the host has said: the medium is out, or about to be.
    fn allow_removal(&mut self) {
        if let Some(disk) = self.volume.own() {
            disk.target_mut().allow();
        }
    }

    /// Whether the host is told of the end of a session, or is about to be.
    pub(super) fn volume_tells(&mut self) -> bool {
        let due = matches!(self.volume.due, Some((_, Due::Verdict(_) | Due::AfterVerdict)));
        due || self.volume.media().is_some_and(|media| media.has_verdict())
    }

    /// Whether somebody has written something, and no package, when the door's time is over. That counts once.
    pub(super) fn spares_volume(&mut self) -> bool {
        let waits = self.volume.due.is_some();
        let written = self.volume.media().is_some_and(|media| !waits && !media.is_untouched());
        let spared = std::mem::replace(&mut self.volume.spared, written);
        written && !spared
    }

    /// The host has been gone for too long.
    fn host_is_gone(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        if self.is_by(Door::Volume) && self.session.host_ended(HostEnd::Disconnected) {
            return self.end_current(now, ResultCode::Disconnected);
        }
        if self.volume.media().is_some_and(|media| media.has_verdict()) {
            self.volume.due = Some((now, Due::AfterVerdict));
        }
        Ok(())
    }
}
