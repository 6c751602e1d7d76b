//! The drive, and the media that the host finds in it (docs/spec/volume-raw.md).

use std::fmt::Write as _;

use inband_volume::{
    scsi::{BLOCK, Event, Fault, Medium, State},
    sparse::{Base, PAGE, Sealed, Sparse},
};

use crate::memory::{self, Available};

/// Bytes that a host may write beyond the largest package.
const SPARE: u64 = 8 << 20;
/// Bytes written from one look at the machine's memory to the next.
const CHECK: u64 = 1 << 20;

/// What stands in the first block while nobody has written there; behind it there are zeros.
#[derive(Debug)]
pub(super) struct Text(Box<[u8; BLOCK]>);

/// A key and its value.
pub(super) type Line = (&'static str, String);

impl Text {
    /// Lines of KEY=VALUE, filled up with spaces.
    pub(super) fn new(lines: &[Line]) -> Self {
        let mut text = String::new();
        for (key, value) in lines {
            // A String takes everything.
            let _ = write!(text, "{key}={value}\r\n");
        }
        let mut block = Box::new([b' '; BLOCK]);
        let length = text.len().min(BLOCK);
        block[..length].copy_from_slice(&text.as_bytes()[..length]);
        block[BLOCK - 2..].copy_from_slice(b"\r\n");
        Self(block)
    }
}

impl Base for Text {
    fn block(&self, lba: u64, block: &mut [u8]) {
        block.fill(0);
        if lba == 0 {
            block.copy_from_slice(&*self.0);
        }
    }
}

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

/// What the host has ejected.
#[derive(Debug)]
pub(super) enum Ejected {
    /// A medium that nothing was written to.
    Untouched,
    /// One with something on it. Nobody else has it any more.
    Written(Sealed<Text>),
    /// What told of the end of a session.
    Verdict,
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
    /// Bytes that may still be written before the memory is looked at.
    checked: u64,
    /// Bytes written since that was asked last.
    written: u64,
    ejected: Option<Ejected>,
}

impl Drive {
    /// An empty drive for media that hold a package of so many bytes and more.
    ///
    /// # Errors
    /// There is not the memory for one: bytes that there are, and that there have to be.
    pub(super) fn new(max_package: u64, available: Available) -> Result<Self, (u64, u64)> {
        let room = max_package.saturating_add(SPARE).next_multiple_of(PAGE as u64);
        let there = memory::or_none(available());
        if there < room {
            return Err((there, room));
        }
        Ok(Self {
            room,
            available,
            inside: Inside::Nothing,
            generation: 0,
            shut: false,
            checked: 0,
            written: 0,
            ejected: None,
        })
    }

    /// Puts a medium in that waits for a package; until somebody writes there it has this text. What was there is gone.
    ///
    /// # Errors
    /// [`Fault::NoSpace`]; the drive is empty then.
    pub(super) fn insert_fresh(&mut self, generation: u32, text: Text) -> Result<(), Fault> {
        self.remove();
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let store = Sparse::new(text, self.room / BLOCK as u64, room)?;
        self.inside = Inside::Fresh { store, touched: false };
        self.generation = generation;
        Ok(())
    }

    /// Puts a medium in that cannot be written to.
    pub(super) fn insert_verdict(&mut self, generation: u32, text: Text) {
        self.remove();
        self.inside = Inside::Verdict(text);
        self.generation = generation;
    }

    /// Takes out what is there, with all that is on it.
    pub(super) fn remove(&mut self) {
        self.inside = Inside::Nothing;
        self.checked = 0;
    }

    /// Whether a medium is there that nobody has written to.
    pub(super) const fn is_untouched(&self) -> bool {
        matches!(self.inside, Inside::Fresh { touched: false, .. })
    }

    /// Whether what is there tells of the end of a session.
    pub(super) const fn has_verdict(&self) -> bool {
        matches!(self.inside, Inside::Verdict(_))
    }

    /// Says whether no session may begin. Returns whether that is new.
    pub(super) const fn set_shut(&mut self, shut: bool) -> bool {
        let new = self.shut != shut;
        self.shut = shut;
        new
    }

    /// Bytes written since this was asked last.
    pub(super) const fn take_written(&mut self) -> u64 {
        std::mem::replace(&mut self.written, 0)
    }

    /// What the host has ejected.
    pub(super) const fn take_ejected(&mut self) -> Option<Ejected> {
        self.ejected.take()
    }

    /// Whether the machine has the memory for what is written. Others take memory as well, while a host takes its time.
    fn check(&mut self, length: u64) -> Result<(), Fault> {
        if length > self.checked {
            let ahead = CHECK.max(length);
            if memory::or_none((self.available)()) < ahead.saturating_add(SPARE) {
                return Err(Fault::NoSpace);
            }
            self.checked = ahead;
        }
        self.checked -= length;
        Ok(())
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
        self.check(data.len() as u64)?;
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
            Inside::Fresh { store, touched: true } => Some(Ejected::Written(store.seal())),
            Inside::Verdict(_) => Some(Ejected::Verdict),
        };
        self.remove();
    }
}
