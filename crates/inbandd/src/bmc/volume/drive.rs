//! The drive of our own disk.

use std::time::Duration;

use inband_volume::{
    scsi::{BLOCK, Event, Fault, Medium, State},
    sparse::{Base as _, Sparse},
};

use super::media::{Ejected, Media, SPARE, Text};
use crate::memory::{self, Available};

/// Bytes of memory taken from one look at the machine's to the next.
const CHECK: u64 = 1 << 20;

/// What is in the drive.
#[derive(Debug)]
enum Inside {
    Nothing,
    /// A medium for a package.
    Fresh {
        store: Sparse<Text>,
        touched: bool,
    },
    /// What tells of the end of a session.
    Verdict(Text),
}

/// The drive.
pub(super) struct Drive {
    /// Bytes of a medium, and of the memory for it.
    room: u64,
    available: Available,
    inside: Inside,
    /// Number of the medium; no other one had it since the daemon started.
    generation: u32,
    /// No session may begin: nothing may be written.
    shut: bool,
    /// Bytes of memory that may still be taken before the machine's is looked at.
    checked: u64,
    /// Bytes written since that was asked last.
    written: u64,
    ejected: Option<Ejected>,
}

impl Drive {
    /// An empty drive for media of so many bytes.
    pub(super) const fn new(room: u64, available: Available) -> Self {
        Self {
            room,
            available,
            inside: Inside::Nothing,
            generation: 0,
            shut: false,
            checked: 0,
            written: 0,
            ejected: None,
        }
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
}

impl Media for Drive {
    fn insert_fresh(&mut self, generation: u32, text: Text) -> Result<(), Fault> {
        self.remove();
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let store = Sparse::new(text, self.room / BLOCK as u64, room)?;
        self.inside = Inside::Fresh { store, touched: false };
        self.generation = generation;
        Ok(())
    }

    fn insert_verdict(&mut self, generation: u32, text: Text) {
        self.remove();
        self.inside = Inside::Verdict(text);
        self.generation = generation;
    }

    fn remove(&mut self) {
        self.inside = Inside::Nothing;
        self.checked = 0;
    }

    fn is_untouched(&self) -> bool {
        matches!(self.inside, Inside::Fresh { touched: false, .. })
    }

    fn has_verdict(&self) -> bool {
        matches!(self.inside, Inside::Verdict(_))
    }

    fn set_shut(&mut self, shut: bool) -> bool {
        let new = self.shut != shut;
        self.shut = shut;
        new
    }

    fn look(&mut self, _: Duration) -> (u64, Option<Ejected>) {
        (std::mem::replace(&mut self.written, 0), self.ejected.take())
    }
}

impl Medium for Drive {
    fn state(&self) -> State {
        let write_protected = match self.inside {
            Inside::Nothing => return State::Absent,
            Inside::Fresh { .. } => self.shut,
            Inside::Verdict(_) => true,
        };
        State::Present { blocks: self.room / BLOCK as u64, write_protected, insertion: self.generation }
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        match &self.inside {
            Inside::Nothing => Err(Fault::Absent),
            Inside::Fresh { store, .. } => store.read(lba, buffer),
            Inside::Verdict(text) => {
                (lba..).zip(buffer.chunks_exact_mut(BLOCK)).for_each(|(lba, block)| text.block(lba, block));
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
                store.write(lba, data)?;
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
        self.ejected = match std::mem::replace(&mut self.inside, Inside::Nothing) {
            Inside::Nothing => None,
            Inside::Fresh { touched: false, .. } => Some(Ejected::Untouched),
            Inside::Fresh { store, touched: true } => {
                Some(Ejected::Written(Box::new(store.seal().into_run())))
            }
            Inside::Verdict(_) => Some(Ejected::Verdict),
        };
        self.remove();
    }
}
