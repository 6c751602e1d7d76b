//! The volume door (docs/spec/volume-raw.md): a disk beside the run-time DFU interface, and the way of what is written there.
//!
//! A WRITE is a copy into memory and nothing else. What the host ejects changes hands by ownership: from then on nothing that it sends
//! can reach those bytes, and they go to the worker a page at a time, as fast as it takes them.

use std::{fmt::Display, sync::Arc, time::Duration};

use inband_dfu::{
    descriptors::{self, Identity},
    wire::State,
};
use inband_package::Hex;
use inband_session::{Door, HostEnd, Progress, ResultCode, SessionState};
use inband_store::Identity as Package;
use inband_usb::{Completion, DescriptorSet, DeviceBackend, Direction, EndpointAddress, Setup};
use inband_volume::{
    bot::{Device, Function, Limits, Phase, wire},
    scsi::{Disk, Sense},
};

use super::{BACKLOG, Bmc, Fault};
use crate::{
    command::Answers,
    memory::Available,
    worker::{Command, Worker},
};

mod drive;
mod lent;
mod media;
mod shown;
mod stream;

use drive::Drive;
use lent::Lent;
pub use lent::{Lender, Look};
pub use media::Pages;
use media::{Ejected, Line, Media, Text, room};
pub use shown::DiskKind;
use shown::Shown;
pub(crate) use shown::inquiry;
use stream::{Next, Stream};

/// The endpoints; other numbers than those of the bulk interface, so that nothing of one set is taken for the other's.
const OUT: EndpointAddress = EndpointAddress(0x02);
const IN: EndpointAddress = EndpointAddress(0x82);
/// bInterfaceNumber, behind the DFU interface.
const INTERFACE: u8 = 1;
/// What the first block says that it is.
const SPEC: &str = "INBAND-RAW-1";
/// How long the drive is empty between two media: Windows overlooks a change within a second.
const GAP: Duration = Duration::from_millis(2500);
/// How long a host may be gone before it is taken for one that does not come back.
const GRACE: Duration = Duration::from_secs(60);
/// How long a host may leave a verdict in the drive before a medium for a package takes its place.
const VERDICT_TIME: Duration = Duration::from_secs(10 * 60);
/// How long a host may leave the verdict on staged firmware in the drive before the BMC restarts, where it does so at once.
const ACTIVATE_AFTER: Duration = Duration::from_secs(60);
/// From a medium that there was no memory for to the next try.
const FILL_AGAIN: Duration = Duration::from_secs(60);
/// Pages handed to the worker that it has not taken, at most: 256 KiB.
const PAGES: usize = 16;

/// What is configured about the disk.
pub struct VolumeOptions {
    /// idProduct of the run-time set with the disk.
    pub product_id: u16,
    /// Serial number of the disk; iSerialNumber is the same, as 16 hexadecimal digits in upper case.
    pub serial: u64,
    /// Bytes of the largest package.
    pub max_package: u64,
    /// Who serves it.
    pub disk: DiskKind,
    /// The disk is shown for one update at a time: the door's policy is `armed`.
    pub once: bool,
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

/// The first lines of the first block, with a result if there is one to tell of.
fn first_lines(state: &str, code: Option<ResultCode>) -> Vec<Line> {
    let mut lines = vec![("SPEC", SPEC.to_owned()), ("STATE", state.to_owned())];
    if let Some(code) = code {
        lines.extend([("RESULT", code.to_string()), ("CODE", code.code().to_string())]);
    }
    lines
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
        let options = self.options.volume.as_ref()?;
        match &options.disk {
            DiskKind::Own(halts) => {
                let (identity, halts) = (inquiry(options.serial), *halts);
                let mut drive = Drive::new(room, Available::clone(&options.available));
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

    /// The device leaves the bus, and the disk with it.
    pub(super) fn close_volume(&mut self) {
        // What waits for the host to read a verdict does not wait longer because the disk has gone.
        let Volume { refused, answers, generation, activate, .. } = self.volume;
        self.volume = Volume { refused, answers, generation, activate, ..Volume::default() };
        self.session.leave(Door::Volume);
    }

    /// Somebody on the BMC has armed the door: at run time the disk is shown at once.
    pub(super) fn show_volume(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let shown = self.options.volume.is_none() || self.volume.disk.is_some();
        if shown || self.dfu.state() != State::AppIdle { Ok(()) } else { self.show_runtime(now) }
    }

    /// Somebody on the BMC has taken that back.
    pub(super) fn hide_volume(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let once = self.options.volume.as_ref().is_some_and(|options| options.once);
        if once && self.volume.disk.is_some() { self.show_runtime(now) } else { Ok(()) }
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
            && media.set_shut(refusal.is_some())
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
        media.set_shut(refusal.is_some());
        if media.insert_fresh(self.volume.generation, self.waiting_text(refusal)).is_err() {
            log::error!("event=volume-empty: there is no memory for a medium; tried again in a minute");
            self.volume.due = Some((now.saturating_add(FILL_AGAIN), Due::Fresh));
        }
    }

    /// Puts the medium in that tells of the end of a session.
    fn insert_verdict(&mut self, now: Duration, code: ResultCode) {
        self.volume.generation = self.volume.generation.wrapping_add(1);
        let text = self.verdict_text(now, code);
        let generation = self.volume.generation;
        if let Some(media) = self.volume.media() {
            media.insert_verdict(generation, text);
            self.volume.due = Some((now.saturating_add(VERDICT_TIME), Due::AfterVerdict));
        }
    }

    /// The first block of a medium that waits for a package.
    fn waiting_text(&self, refusal: Option<ResultCode>) -> Text {
        let (state, next) = match refusal {
            None => ("READY", "write the package from the first block on, then eject"),
            Some(_) => ("REFUSED", "wait until there is another medium"),
        };
        let mut lines = first_lines(state, refusal);
        lines.extend(self.machine_lines());
        lines.push(self.generation_line());
        if let Some(options) = self.options.volume.as_ref().filter(|_| refusal.is_none()) {
            lines.push(("MAX_SIZE", options.max_package.to_string()));
        }
        lines.push(("NEXT", next.to_owned()));
        Text::new(&lines)
    }

    /// The first block of the medium that tells of a session's end.
    fn verdict_text(&self, now: Duration, code: ResultCode) -> Text {
        let mut lines = first_lines(if code == ResultCode::Ok { "PASS" } else { "FAIL" }, Some(code));
        lines.push(("SESSION", self.session.id().to_string()));
        lines.extend(self.machine_lines());
        // What the host claims is not repeated to it before signatures have verified.
        let head = self.session.status(now).head;
        let (version, head) = self
            .volume
            .package
            .map_or_else(Default::default, |package| (package.version.to_string(), Hex(&head).to_string()));
        lines.extend([("VERSION", version), ("HEAD", head), self.generation_line()]);
        lines.push(("NEXT", "eject".to_owned()));
        Text::new(&lines)
    }

    fn machine_lines(&self) -> [Line; 2] {
        let view = self.session.store();
        let version = view.record.slot(view.running).version;
        [("MACHINE", self.session.machine().to_string()), ("RUNNING", version.to_string())]
    }

    fn generation_line(&self) -> Line {
        ("GENERATION", format!("{:08X}", self.volume.generation))
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
        if self.receiving.is_some() {
            // The control pipe is another one's; a time that is due must not stay so meanwhile.
            if let Some(disk) = self.volume.own() {
                disk.handle_timeout(now);
            }
            return Ok(false);
        }
        let streamed = self.volume.stream.is_some();
        self.guard_medium(now);
        if let Some(disk) = self.volume.own() {
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

    /// What the host has done to the medium.
    fn look_at_media(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let Some(media) = self.volume.media() else { return Ok(()) };
        let (written, ejected) = media.look(now);
        if written > 0 {
            self.take_written(now, written)?;
        }
        match ejected {
            None => {}
            Some(Ejected::Untouched) => {
                self.volume.due = Some((now.saturating_add(GAP), Due::AfterVerdict));
            }
            Some(Ejected::Verdict) => {
                self.volume.due = Some((now.saturating_add(GAP), Due::AfterVerdict));
                if self.volume.activate.is_some() {
                    self.volume.activate = Some(now.saturating_add(GAP));
                }
            }
            Some(Ejected::Written(pages)) => {
                let id = self.session.id();
                if self.is_by(Door::Volume) && self.session.handover(id).is_ok() {
                    log::info!("event=volume-ejected session={id}");
                    self.volume.emptied = Some(now);
                    self.volume.stream = Some(Stream::new(pages));
                }
            }
        }
        Ok(())
    }

    /// So many bytes were written; the first ones begin a session.
    fn take_written(&mut self, now: Duration, bytes: u64) -> Result<(), Fault<B::Error>> {
        if !self.is_by(Door::Volume) {
            self.current = None;
            self.volume.package = None;
            match self.session.first_byte(Door::Volume, now) {
                Ok(session) => {
                    self.current = Some(session);
                    self.worker.send(Command::Begin { session, door: Door::Volume, now })?;
                }
                // Nothing was written that may not be; whatever has changed since, the medium is not the package's.
                Err(code) => {
                    self.conclude_volume(now, code);
                    return Ok(());
                }
            }
        }
        self.session.progress(bytes, now);
        Ok(())
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
            if self.session.state() == SessionState::Staged {
                self.restart(now)?;
                return Ok(true);
            }
        }
        if let Some((_, due)) = self.volume.due.take_if(|(at, _)| *at <= now) {
            // By now all that was on the last one is home.
            self.worker.send(Command::GiveMemoryBack)?;
            match due {
                Due::AfterVerdict if self.options.volume.as_ref().is_some_and(|options| options.once) => {
                    self.show_runtime(now)?;
                }
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
                    self.worker.send(Command::Data { session, bytes, awaited })?;
                }
                Next::NotYet => break,
                Next::End => {
                    self.volume.stream = None;
                    // Behind all that can be wrong with what is there.
                    let lacking = ResultCode::Incomplete;
                    self.worker.send(Command::EndOfFile { session, lacking })?;
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
    pub(super) fn conclude_volume(&mut self, now: Duration, code: ResultCode) {
        let Volume { disk, due, emptied, stream, activate, .. } = &mut self.volume;
        *stream = None;
        let Some(disk) = disk else { return };
        if let Some(disk) = disk.own() {
            disk.target_mut().allow();
        }
        disk.media().remove();
        let at = emptied.take().unwrap_or(now).saturating_add(GAP).max(now);
        *due = Some(match code {
            // Who is gone reads nothing, and misses nothing; whoever comes next finds a medium to write to.
            ResultCode::Disconnected => (now, Due::Fresh),
            code => (at, Due::Verdict(code)),
        });
        *activate =
            (code == ResultCode::Ok && self.options.activate).then(|| at.saturating_add(ACTIVATE_AFTER));
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
