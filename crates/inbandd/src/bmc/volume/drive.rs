//! The drive of our own disk.

use std::{mem, time::Duration};

use inband_volume::{
    fat::{Image, Trigger, Watch},
    scsi::{BLOCK, Event, Fault, Medium, State},
    sparse::{Base, Sparse},
};

use super::{
    media::{Media, Out, Profile, SPARE, waits},
    notice::{FirstBlock, Notice},
};
use crate::{
    memory::{self, Available},
    worker::Discarded,
};

/// Bytes of memory taken from one look at the machine's to the next.
const CHECK: u64 = 1 << 20;

/// What is in the drive.
enum Inside {
    Nothing,
    /// A medium that waits for a package.
    Fresh {
        store: Store,
        touched: bool,
    },
    /// What tells of the end of a session.
    Verdict(Box<dyn Base + Send>),
}

/// What was written, by its profile.
enum Store {
    Raw(Sparse<FirstBlock>),
    Fat(Box<Volume>),
}

/// A volume, and the look at what is written to it.
struct Volume {
    store: Sparse<Image>,
    watch: Watch,
}

impl Store {
    fn read(&self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        match self {
            Self::Raw(store) => store.read(lba, buffer),
            Self::Fat(volume) => volume.store.read(lba, buffer),
        }
    }

    fn needs(&self, lba: u64, length: usize) -> u64 {
        match self {
            Self::Raw(store) => store.needs(lba, length),
            Self::Fat(volume) => volume.store.needs(lba, length),
        }
    }

    fn write(&mut self, lba: u64, data: &[u8], now: Duration) -> Result<(), Fault> {
        match self {
            Self::Raw(store) => store.write(lba, data),
            Self::Fat(volume) => {
                let Volume { store, watch } = &mut **volume;
                store.write(lba, data)?;
                watch.handle_write(store, lba, (data.len() / BLOCK) as u64, now);
                Ok(())
            }
        }
    }

    /// Whether what is written is for a session.
    const fn begins(&self) -> bool {
        match self {
            Self::Raw(_) => true,
            Self::Fat(volume) => volume.watch.has_firmware(),
        }
    }

    const fn watch(&self) -> Option<&Watch> {
        match self {
            Self::Raw(_) => None,
            Self::Fat(volume) => Some(&volume.watch),
        }
    }

    /// What nobody wants.
    fn discarded(self) -> Discarded {
        match self {
            Self::Raw(store) => Discarded::new(store.seal().into_pages()),
            Self::Fat(volume) => Discarded::new(volume.store.seal().into_pages()),
        }
    }

    /// What nobody can write to any more.
    fn out(self, asked: bool) -> Out {
        match self {
            Self::Raw(store) => Out::Raw(Box::new(store.seal().into_run())),
            Self::Fat(volume) => Out::Volume { store: Box::new(volume.store.seal()), asked },
        }
    }
}

/// The drive.
pub(super) struct Drive {
    profile: Profile,
    /// Bytes of memory for what is written to a medium.
    room: u64,
    available: Available,
    inside: Inside,
    /// Number of the medium; no other one had it since the daemon started.
    generation: u32,
    now: Duration,
    /// No session may begin: nothing may be written to a medium that is as it came.
    shut: bool,
    /// Bytes of memory that may still be taken before the machine's is looked at.
    checked: u64,
    /// Bytes written since that was asked last.
    written: u64,
    /// What is written is for a session, whatever is written next.
    begun: bool,
    out: Option<Out>,
}

impl Drive {
    /// An empty drive for media that may take so many bytes of memory.
    pub(super) const fn new(profile: Profile, room: u64, available: Available) -> Self {
        Self {
            profile,
            room,
            available,
            inside: Inside::Nothing,
            generation: 0,
            now: Duration::ZERO,
            shut: false,
            checked: 0,
            written: 0,
            begun: false,
            out: None,
        }
    }

    fn blocks(&self) -> u64 {
        match self.profile {
            Profile::Raw => self.room / BLOCK as u64,
            Profile::Fat(geometry) => geometry.blocks().into(),
        }
    }

    fn store(&self, generation: u32, notice: &Notice) -> Result<Store, Fault> {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        Ok(match self.profile {
            Profile::Raw => Store::Raw(Sparse::new(notice.first_block(), self.blocks(), room)?),
            Profile::Fat(geometry) => {
                let image = notice.volume(geometry, generation);
                let store = Sparse::new(image, self.blocks(), room)?;
                Store::Fat(Box::new(Volume { store, watch: Watch::new(&geometry) }))
            }
        })
    }

    /// Whether the machine has so many bytes of memory for what is written. Others take memory as well, while a host takes its time.
    fn check(&mut self, needed: u64) -> Result<(), Fault> {
        if needed > self.checked {
            let ahead = CHECK.max(needed);
            if memory::or_none((self.available)()) < ahead.saturating_add(SPARE) {
                return Err(Fault::NoSpace);
            }
            self.checked = ahead;
        }
        self.checked -= needed;
        Ok(())
    }

    /// When a name in the root directory has been there for long enough.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.watch()?.poll_timeout()
    }

    const fn watch(&self) -> Option<&Watch> {
        match &self.inside {
            Inside::Fresh { store, .. } => store.watch(),
            Inside::Nothing | Inside::Verdict(_) => None,
        }
    }

    fn empty(&mut self) -> Inside {
        self.checked = 0;
        mem::replace(&mut self.inside, Inside::Nothing)
    }
}

impl Media for Drive {
    fn insert(&mut self, generation: u32, notice: &Notice) -> Result<(), Fault> {
        self.remove();
        self.inside = if waits(notice.marker) {
            Inside::Fresh { store: self.store(generation, notice)?, touched: false }
        } else {
            Inside::Verdict(match self.profile {
                Profile::Raw => Box::new(notice.first_block()),
                Profile::Fat(geometry) => Box::new(notice.volume(geometry, generation)),
            })
        };
        self.generation = generation;
        Ok(())
    }

    fn remove(&mut self) -> Option<Discarded> {
        (self.written, self.begun) = (0, false);
        match self.empty() {
            Inside::Nothing | Inside::Verdict(_) | Inside::Fresh { touched: false, .. } => None,
            Inside::Fresh { store, touched: true } => Some(store.discarded()),
        }
    }

    fn take(&mut self) {
        if !self.is_untouched() && !self.has_verdict() {
            self.notice(Event::Ejected);
        }
    }

    fn is_untouched(&self) -> bool {
        matches!(self.inside, Inside::Fresh { touched: false, .. })
    }

    fn has_verdict(&self) -> bool {
        matches!(self.inside, Inside::Verdict(_))
    }

    fn guard(&mut self, now: Duration, shut: bool) -> bool {
        self.now = now;
        mem::replace(&mut self.shut, shut) != shut
    }

    fn look(&mut self, now: Duration) -> (u64, Option<Out>) {
        let trigger = self.watch().and_then(|watch| watch.poll(now));
        self.begun |= matches!(&self.inside, Inside::Fresh { store, .. } if store.begins());
        let written = if self.begun { mem::take(&mut self.written) } else { 0 };
        if let Some(trigger) = trigger
            && let Inside::Fresh { store, .. } = self.empty()
        {
            self.out = Some(match trigger {
                Trigger::Apply => store.out(true),
                Trigger::Cancel => Out::Cancelled(store.discarded()),
            });
        }
        (written, self.out.take())
    }
}

impl Medium for Drive {
    fn state(&self) -> State {
        let write_protected = match self.inside {
            Inside::Nothing => return State::Absent,
            Inside::Fresh { touched, .. } => self.shut && !touched,
            Inside::Verdict(_) => true,
        };
        State::Present { blocks: self.blocks(), write_protected, insertion: self.generation }
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        match &self.inside {
            Inside::Nothing => Err(Fault::Absent),
            Inside::Fresh { store, .. } => store.read(lba, buffer),
            Inside::Verdict(image) => {
                (lba..).zip(buffer.chunks_exact_mut(BLOCK)).for_each(|(lba, block)| image.block(lba, block));
                Ok(())
            }
        }
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        // Not as many bytes as come: one block takes a page, and one that is written again takes nothing.
        let needed = match &self.inside {
            Inside::Fresh { store, .. } => store.needs(lba, data.len()),
            Inside::Nothing | Inside::Verdict(_) => 0,
        };
        self.check(needed)?;
        match &mut self.inside {
            Inside::Nothing => Err(Fault::Absent),
            Inside::Verdict(_) => Err(Fault::WriteProtected),
            Inside::Fresh { store, touched } => {
                store.write(lba, data, self.now)?;
                *touched = true;
                self.written += data.len() as u64;
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn notice(&mut self, event: Event) {
        if event != Event::Ejected {
            return;
        }
        self.out = match self.empty() {
            Inside::Nothing => None,
            Inside::Fresh { touched: false, .. } => Some(Out::Untouched),
            Inside::Fresh { store, touched: true } => Some(store.out(false)),
            Inside::Verdict(_) => Some(Out::Verdict),
        };
    }
}
