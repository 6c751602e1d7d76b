//! A disk that loses, tears and reorders what was not synchronised, with a file system that promises as little as it may:
//! what a power cut can leave under [`FileMedium`](crate::file::FileMedium), for tests.
//!
//! It has [`BLOCKS`] erase blocks of [`BLOCK_PAGES`] pages of [`PAGE`] bytes. Each call that changes something leaves an
//! [`Image`] in the history, if one is kept: one run of a program yields all its cut points, and [`Image::cuts`] the disks
//! that a cut there may leave ([`cut`]).

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use crate::file::{Open, System};

pub mod cut;

/// Bytes of a page, the unit that is written.
pub const PAGE: usize = 512;
/// Pages of an erase block.
pub const BLOCK_PAGES: usize = 8;
/// Erase blocks of the disk.
pub const BLOCKS: usize = 24;

/// A page of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    /// Never written: reads as 0 and takes no space.
    Hole,
    Bytes(Rc<[u8; PAGE]>),
    /// The disk says that it cannot read it.
    Unreadable,
}

/// The bytes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    length: u64,
    pages: Vec<Page>,
}

impl Content {
    fn set_length(&mut self, length: u64) {
        self.length = length;
        self.pages.resize(index(length.div_ceil(PAGE as u64)), Page::Hole);
    }

    /// Puts a page there. The length does not change: it is made durable for itself.
    fn set_page(&mut self, number: usize, page: Page) {
        if self.pages.len() <= number {
            self.pages.resize(number + 1, Page::Hole);
        }
        self.pages[number] = page;
    }

    fn page(&self, number: usize) -> &Page {
        self.pages.get(number).unwrap_or(&Page::Hole)
    }
}

/// A file, whatever its names.
#[derive(Clone, Debug, Default)]
struct Inode {
    /// As a power cut leaves it, with what is pending on top.
    durable: Rc<Content>,
    /// As reads see it.
    cached: Rc<Content>,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    File(usize),
}

/// What is done and not durable.
#[derive(Clone, Debug)]
enum Change {
    Page { inode: usize, number: usize, page: Page },
    Length { inode: usize, length: u64 },
    Made { path: PathBuf, entry: Entry },
    Removed { path: PathBuf },
    Renamed { from: PathBuf, to: PathBuf, entry: Entry },
}

impl Change {
    /// Whether synchronising this entry, which stands at `path`, makes the change durable.
    fn belongs_to(&self, path: &Path, entry: Entry) -> bool {
        match self {
            Self::Page { inode, .. } | Self::Length { inode, .. } => entry == Entry::File(*inode),
            Self::Made { path: name, .. } | Self::Removed { path: name } | Self::Renamed { to: name, .. } => {
                entry == Entry::Directory && name.parent() == Some(path)
            }
        }
    }
}

type Names = BTreeMap<PathBuf, Entry>;

/// The disk at one moment, with what the system has not written yet.
#[derive(Clone, Debug)]
pub struct Image {
    inodes: Vec<Inode>,
    /// As a power cut leaves them, with what is pending on top.
    durable: Names,
    /// As programs see them.
    names: Names,
    pending: Vec<Change>,
}

impl Image {
    /// A disk with nothing on it but the directory `/`.
    #[must_use]
    pub fn blank() -> Self {
        let names = Names::from([(PathBuf::from("/"), Entry::Directory)]);
        Self { inodes: Vec::new(), durable: names.clone(), names, pending: Vec::new() }
    }

    /// The bytes of a file as programs see them; `None` if it is missing or cannot be read.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<Vec<u8>> {
        let Some(Entry::File(inode)) = self.names.get(path) else { return None };
        let content = &self.inodes[*inode].cached;
        let mut bytes = vec![0; index(content.length)];
        read(content, &mut bytes, 0).ok()?;
        Some(bytes)
    }

    /// Makes one change durable.
    fn apply(&mut self, change: Change) {
        match change {
            Change::Page { inode, number, page } => {
                Rc::make_mut(&mut self.inodes[inode].durable).set_page(number, page);
            }
            Change::Length { inode, length } => {
                Rc::make_mut(&mut self.inodes[inode].durable).set_length(length);
            }
            Change::Made { path, entry } => {
                self.durable.insert(path, entry);
            }
            Change::Removed { path } => {
                self.durable.remove(&path);
            }
            Change::Renamed { from, to, entry } => {
                self.durable.remove(&from);
                self.durable.insert(to, entry);
            }
        }
    }

    /// Pages in use, by files that have a name or may get theirs back.
    fn used_pages(&self) -> usize {
        let named = |number: &usize| {
            let entry = Entry::File(*number);
            self.names.values().chain(self.durable.values()).any(|&other| other == entry)
        };
        let used = |content: &Content| content.pages.iter().filter(|&page| *page != Page::Hole).count();
        let inodes = (0..self.inodes.len()).filter(named).map(|number| &self.inodes[number]);
        inodes.map(|inode| used(&inode.cached).max(used(&inode.durable))).sum()
    }
}

/// A disk that a program works on; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    now: Image,
    /// Files whose lock is taken.
    locked: Vec<usize>,
    history: Vec<Image>,
    /// A page that goes bad when it is written, and nobody says so.
    rotten: Option<(PathBuf, usize)>,
}

impl State {
    /// Something was changed.
    fn done(&mut self) {
        self.history.push(self.now.clone());
    }
}

/// An open file of a [`Disk`], or directory.
#[derive(Debug)]
pub struct Handle {
    disk: Rc<RefCell<State>>,
    /// The name it was opened by.
    path: PathBuf,
    entry: Entry,
    locked: core::cell::Cell<bool>,
}

impl Disk {
    /// The disk goes on from this image: as after a crash of the program alone, or, behind [`Image::cuts`], of the machine.
    #[must_use]
    pub fn new(image: Image) -> Self {
        let history = vec![image.clone()];
        Self(Rc::new(RefCell::new(State { now: image, locked: Vec::new(), history, rotten: None })))
    }

    /// The disk as it is now.
    #[must_use]
    pub fn image(&self) -> Image {
        self.0.borrow().now.clone()
    }

    /// How many calls have changed something: the number of the last image in the history.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.borrow().history.len() - 1
    }

    /// The disk at the beginning, and after each call that changed something.
    #[must_use]
    pub fn history(&self) -> Vec<Image> {
        self.0.borrow().history.clone()
    }

    /// From now on this page of a file, counted from 0, takes one wrong bit whenever it is made durable.
    pub fn rot(&self, path: &Path, page: usize) {
        self.0.borrow_mut().rotten = Some((path.to_path_buf(), page));
    }

    fn open_entry(&self, path: &Path, entry: Entry) -> Handle {
        let locked = core::cell::Cell::new(false);
        Handle { disk: Rc::clone(&self.0), path: path.to_path_buf(), entry, locked }
    }
}

impl Handle {
    /// The number of the file; directories are not read and written.
    fn inode(&self) -> io::Result<usize> {
        match self.entry {
            Entry::File(inode) => Ok(inode),
            Entry::Directory => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.locked.get()
            && let Entry::File(inode) = self.entry
        {
            self.disk.borrow_mut().locked.retain(|&locked| locked != inode);
        }
    }
}

impl System for Disk {
    type File = Handle;

    fn is_directory(&self, path: &Path) -> bool {
        self.0.borrow().now.names.get(path) == Some(&Entry::Directory)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().ok_or(io::ErrorKind::AlreadyExists)?;
        if !self.is_directory(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut state = self.0.borrow_mut();
        if state.now.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let entry = Entry::Directory;
        state.now.names.insert(path.to_path_buf(), entry);
        state.now.pending.push(Change::Made { path: path.to_path_buf(), entry });
        state.done();
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Handle> {
        let mut there = self.0.borrow().now.names.get(path).copied();
        if how == Open::Replace && matches!(there, Some(Entry::File(_))) {
            let mut state = self.0.borrow_mut();
            state.now.names.remove(path);
            state.now.pending.push(Change::Removed { path: path.to_path_buf() });
            state.done();
            there = None;
        }
        let entry = match (there, how) {
            (Some(Entry::Directory), Open::Write | Open::Create) | (Some(_), Open::Replace) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Some(entry), Open::Read | Open::Write | Open::Create) => entry,
            (None, Open::Read | Open::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Open::Create | Open::Replace) => {
                if !path.parent().is_some_and(|parent| self.is_directory(parent)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let mut state = self.0.borrow_mut();
                let entry = Entry::File(state.now.inodes.len());
                state.now.inodes.push(Inode::default());
                state.now.names.insert(path.to_path_buf(), entry);
                state.now.pending.push(Change::Made { path: path.to_path_buf(), entry });
                state.done();
                entry
            }
        };
        Ok(self.open_entry(path, entry))
    }

    fn lock(&self, file: &Handle) -> io::Result<()> {
        let inode = file.inode()?;
        let mut state = self.0.borrow_mut();
        if state.locked.contains(&inode) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked.push(inode);
        file.locked.set(true);
        Ok(())
    }

    fn length(&self, file: &Handle) -> io::Result<u64> {
        let inode = file.inode()?;
        Ok(self.0.borrow().now.inodes[inode].cached.length)
    }

    fn set_length(&self, file: &Handle, length: u64) -> io::Result<()> {
        let inode = file.inode()?;
        let mut state = self.0.borrow_mut();
        Rc::make_mut(&mut state.now.inodes[inode].cached).set_length(length);
        state.now.pending.push(Change::Length { inode, length });
        state.done();
        Ok(())
    }

    fn read_at(&self, file: &Handle, to: &mut [u8], offset: u64) -> io::Result<()> {
        let inode = file.inode()?;
        read(&self.0.borrow().now.inodes[inode].cached, to, offset)
    }

    fn write_at(&self, file: &Handle, data: &[u8], offset: u64) -> io::Result<()> {
        let inode = file.inode()?;
        let mut state = self.0.borrow_mut();
        let image = &mut state.now;
        let (start, end) = (index(offset), index(offset) + data.len());
        let cached = Rc::make_mut(&mut image.inodes[inode].cached);
        for number in start / PAGE..end.div_ceil(PAGE) {
            let page_at = number * PAGE;
            let (from, to) = (start.max(page_at), end.min(page_at + PAGE));
            let mut bytes = match cached.page(number) {
                // Behind the end of the file, nothing that is there counts.
                _ if page_at as u64 >= cached.length => [0; PAGE],
                Page::Hole => [0; PAGE],
                Page::Bytes(bytes) => **bytes,
                // The system would have to read what is not written anew.
                Page::Unreadable if to - from < PAGE => return Err(io::Error::other("unreadable page")),
                Page::Unreadable => [0; PAGE],
            };
            bytes[from - page_at..to - page_at].copy_from_slice(&data[from - start..to - start]);
            let page = Page::Bytes(Rc::new(bytes));
            cached.set_page(number, page.clone());
            image.pending.push(Change::Page { inode, number, page });
        }
        if cached.length < end as u64 {
            cached.set_length(end as u64);
            image.pending.push(Change::Length { inode, length: end as u64 });
        }
        if image.used_pages() > BLOCKS * BLOCK_PAGES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.done();
        Ok(())
    }

    fn sync(&self, file: &Handle) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let rotten = state.rotten.clone().filter(|(path, _)| *path == file.path).map(|(_, page)| page);
        let pending = core::mem::take(&mut state.now.pending);
        let (mut synced, pending): (Vec<_>, _) =
            pending.into_iter().partition(|change| change.belongs_to(&file.path, file.entry));
        state.now.pending = pending;
        for change in &mut synced {
            if let Change::Page { number, page: Page::Bytes(bytes), .. } = change
                && rotten == Some(*number)
            {
                Rc::make_mut(bytes)[PAGE / 2] ^= 1;
            }
        }
        let changed = !synced.is_empty();
        synced.into_iter().for_each(|change| state.now.apply(change));
        if changed {
            state.done();
        }
        Ok(())
    }

    fn forget(&self, file: &Handle) {
        let mut state = self.0.borrow_mut();
        let waits = state.now.pending.iter().any(|change| change.belongs_to(&file.path, file.entry));
        if let Entry::File(inode) = file.entry
            && !waits
        {
            let inode = &mut state.now.inodes[inode];
            inode.cached = Rc::clone(&inode.durable);
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let entry = state.now.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.now.names.insert(to.to_path_buf(), entry);
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        state.now.pending.push(Change::Renamed { from, to, entry });
        state.done();
        Ok(())
    }
}

/// Fills `to` with the bytes of a file from `offset` on.
fn read(content: &Content, to: &mut [u8], offset: u64) -> io::Result<()> {
    let start = index(offset);
    if start + to.len() > index(content.length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut done = 0;
    while done < to.len() {
        let (number, inside) = ((start + done) / PAGE, (start + done) % PAGE);
        let length = (PAGE - inside).min(to.len() - done);
        let to = &mut to[done..done + length];
        match content.page(number) {
            Page::Hole => to.fill(0),
            Page::Bytes(bytes) => to.copy_from_slice(&bytes[inside..inside + length]),
            Page::Unreadable => return Err(io::Error::other("unreadable page")),
        }
        done += length;
    }
    Ok(())
}

/// Offsets of so small a disk fit.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests;
