//! What a power cut leaves of what was not durable.
//!
//! Nothing, everything, each part that was written first or last, each page alone, all but one page; pages torn in the
//! middle, pages of rubbish and pages that cannot be read; whole erase blocks of rubbish, even where they held bytes that were
//! durable, as long as all of the block is one file's. Lengths and names survive or not, each for itself: a name without
//! its bytes, the new name without the end of the old one, and neither.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use super::{BLOCK_PAGES, Change, Entry, Image, Inode, Names, PAGE, Page};

/// How much of what a cut may leave is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Each kind of loss once or twice, in one kind of thing at a time.
    Coarse,
    /// Each kind of loss in each place, in every combination.
    Fine,
}

/// What becomes of the pages that were pending, numbered from 0 in the order in which they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All are lost.
    None,
    /// All are kept.
    All,
    /// Only that many are kept, those that were written first.
    First(usize),
    /// Only those from this one on are kept.
    From(usize),
    /// Only this one is kept.
    Only(usize),
    /// Only this one is lost.
    Without(usize),
    /// This one is half new and half old; those before it are kept, those behind it lost.
    TornEnd(usize),
    /// This one is half old and half new; all others are kept.
    Torn(usize),
    /// This one is rubbish; all others are kept.
    Rubbish(usize),
    /// This one cannot be read; those before it are kept, those behind it lost.
    Unreadable(usize),
    /// The whole erase block that this one lies in is lost; all others are kept.
    BlockLost(usize),
    /// The whole erase block that this one lies in is rubbish; all others are kept.
    BlockRubbish(usize),
}

/// What becomes of a name that was made, taken away or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// As it was before.
    Lost,
    /// As it is now.
    Kept,
    /// A renamed file has both names.
    Both,
    /// A renamed file has none.
    Neither,
}

/// What one power cut does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// To pages.
    pub pages: Pages,
    /// Whether new lengths are kept.
    pub lengths: bool,
    /// To each pending change of a name, oldest first.
    pub names: Vec<Name>,
}

impl Image {
    /// The disks that a power cut may leave here, each with what the cut did.
    pub fn cuts(&self, detail: Detail) -> impl Iterator<Item = (Cut, Self)> {
        self.losses(detail).into_iter().map(|cut| {
            let image = self.after(&cut);
            (cut, image)
        })
    }

    /// What a cut can do here: every combination of what it does to pages, lengths and names, or one of these at a time.
    fn losses(&self, detail: Detail) -> Vec<Cut> {
        let pages: Vec<_> = self.pending_pages().collect();
        let pages = page_losses(&pages, detail);
        let has_length = self.pending.iter().any(|change| matches!(change, Change::Length { .. }));
        let lengths: &[bool] = if has_length { &[true, false] } else { &[true] };
        let names = name_losses(self.pending.iter().filter_map(fates).collect());
        let all = pages.iter().flat_map(|&pages| {
            let names = &names;
            let of = move |&lengths: &bool| {
                names.iter().map(move |names| Cut { pages, lengths, names: names.clone() })
            };
            lengths.iter().flat_map(of)
        });
        let is_kept = |cut: &Cut| {
            [cut.pages == Pages::All, cut.lengths, cut.names.iter().all(|&name| name == Name::Kept)]
        };
        let one_at_a_time = |cut: &Cut| is_kept(cut).iter().filter(|&&kept| kept).count() >= 2;
        match detail {
            Detail::Fine => all.collect(),
            Detail::Coarse => all.filter(one_at_a_time).collect(),
        }
    }

    /// File and number of each pending page, in the order in which they were written.
    fn pending_pages(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pending.iter().filter_map(|change| match change {
            Change::Page { inode, number, .. } => Some((*inode, *number)),
            Change::Length { .. } | Change::Made { .. } | Change::Removed { .. } | Change::Renamed { .. } => {
                None
            }
        })
    }

    /// The disk that this cut leaves.
    #[must_use]
    pub fn after(&self, cut: &Cut) -> Self {
        let mut image = self.clone();
        let pending = core::mem::take(&mut image.pending);
        let blocks: Vec<_> = self.pending_pages().map(block).collect();
        let mut names = cut.names.iter();
        let mut number = 0;
        for change in pending {
            match change {
                Change::Page { .. } => {
                    image.lose_page(change, number, cut.pages, &blocks);
                    number += 1;
                }
                Change::Length { .. } if cut.lengths => image.apply(change),
                Change::Length { .. } => {}
                Change::Made { .. } | Change::Removed { .. } | Change::Renamed { .. } => {
                    image.lose_name(change, names.next().copied().unwrap_or(Name::Lost));
                }
            }
        }
        if let Pages::BlockRubbish(number) = cut.pages {
            image.spoil_block(blocks[number]);
        }
        image.drop_orphans();
        for inode in &mut image.inodes {
            inode.cached = Rc::clone(&inode.durable);
        }
        image.names = image.durable.clone();
        image
    }

    fn lose_page(&mut self, change: Change, number: usize, pages: Pages, blocks: &[(usize, usize)]) {
        let same_block = |other: usize| blocks[number] == blocks[other];
        let keep = match pages {
            Pages::None => false,
            Pages::All | Pages::BlockRubbish(_) => true,
            Pages::First(count) => number < count,
            Pages::From(first) => number >= first,
            Pages::Only(kept) => number == kept,
            Pages::Without(lost) => number != lost,
            Pages::BlockLost(of) => !same_block(of),
            Pages::TornEnd(at) | Pages::Unreadable(at) if number > at => false,
            Pages::TornEnd(at) | Pages::Torn(at) | Pages::Rubbish(at) | Pages::Unreadable(at) => {
                if number == at {
                    return self.spoil_page(change, pages);
                }
                true
            }
        };
        if keep {
            self.apply(change);
        }
    }

    /// Makes a page durable, but not as it should be.
    fn spoil_page(&mut self, change: Change, pages: Pages) {
        let Change::Page { inode, number, page: new } = change else { return };
        let old = self.inodes[inode].durable.page(number).clone();
        let half = |first: &Page, second: &Page| {
            let mut bytes = bytes_of(first);
            bytes[PAGE / 2..].copy_from_slice(&bytes_of(second)[PAGE / 2..]);
            Page::Bytes(Rc::new(bytes))
        };
        let page = match pages {
            Pages::TornEnd(_) => half(&new, &old),
            Pages::Torn(_) => half(&old, &new),
            Pages::Unreadable(_) => Page::Unreadable,
            _ => rubbish(),
        };
        self.apply(Change::Page { inode, number, page });
    }

    fn spoil_block(&mut self, (inode, block): (usize, usize)) {
        let content = Rc::make_mut(&mut self.inodes[inode].durable);
        let in_block = content.pages.iter_mut().skip(block * BLOCK_PAGES).take(BLOCK_PAGES);
        in_block.for_each(|page| *page = rubbish());
    }

    fn lose_name(&mut self, change: Change, fate: Name) {
        match (change, fate) {
            (_, Name::Lost) => {}
            (Change::Renamed { from, to, entry }, Name::Both) => {
                self.durable.insert(from, entry);
                self.durable.insert(to, entry);
            }
            (Change::Renamed { from, to, .. }, Name::Neither) => {
                self.durable.remove(&from);
                self.durable.remove(&to);
            }
            (change, Name::Kept | Name::Both | Name::Neither) => self.apply(change),
        }
    }

    /// Forgets what no name leads to any more.
    fn drop_orphans(&mut self) {
        // A path sorts behind the directories that it leads through, so one that lost its own loses all below it.
        let mut reachable = Names::new();
        for (path, entry) in core::mem::take(&mut self.durable) {
            let inside = |parent| reachable.get(parent) == Some(&Entry::Directory);
            if path.parent().is_none_or(inside) {
                reachable.insert(path, entry);
            }
        }
        let mut inodes: Vec<Inode> = Vec::new();
        let mut moved = vec![None; self.inodes.len()];
        for entry in reachable.values_mut() {
            if let Entry::File(number) = entry {
                let to = *moved[*number].get_or_insert_with(|| {
                    inodes.push(self.inodes[*number].clone());
                    inodes.len() - 1
                });
                *number = to;
            }
        }
        self.inodes = inodes;
        self.durable = reachable;
    }
}

/// The erase block of a file that a page lies in. Files share none.
fn block((inode, page): (usize, usize)) -> (usize, usize) {
    (inode, page / BLOCK_PAGES)
}

/// What a cut may do to a name; `None` for a change of something else.
fn fates(change: &Change) -> Option<&'static [Name]> {
    match change {
        Change::Page { .. } | Change::Length { .. } => None,
        Change::Made { .. } | Change::Removed { .. } => Some(&[Name::Lost, Name::Kept]),
        Change::Renamed { .. } => Some(&[Name::Lost, Name::Kept, Name::Both, Name::Neither]),
    }
}

/// What a cut may do to names with these fates: every combination, as long as they are few; else all that were changed first,
/// each alone, all but one.
fn name_losses(fates: Vec<&[Name]>) -> Vec<Vec<Name>> {
    let count = fates.len();
    if count <= FEW_NAMES {
        let mut losses = vec![Vec::new()];
        for fates in fates {
            let longer = |names: &Vec<Name>| {
                let longer = fates.iter().map(|fate| [names.as_slice(), &[*fate]].concat());
                longer.collect::<Vec<_>>()
            };
            losses = losses.iter().flat_map(longer).collect();
        }
        return losses;
    }
    let kept = |keep: &dyn Fn(usize) -> bool| {
        let fate = |at| if keep(at) { Name::Kept } else { Name::Lost };
        (0..count).map(fate).collect::<Vec<_>>()
    };
    let mut losses: Vec<_> = (0..=count).map(|first| kept(&|at| at < first)).collect();
    losses.extend((0..count).flat_map(|one| [kept(&|at| at == one), kept(&|at| at != one)]));
    losses
}

/// Changes of names that are combined in every way.
const FEW_NAMES: usize = 5;

/// What a cut may do to these pages.
fn page_losses(pages: &[(usize, usize)], detail: Detail) -> Vec<Pages> {
    let count = pages.len();
    if count == 0 {
        return vec![Pages::All];
    }
    let mut losses = vec![Pages::None, Pages::All];
    let (last, middle) = (count - 1, count / 2);
    match detail {
        Detail::Coarse => {
            losses.extend([Pages::TornEnd(middle), Pages::Rubbish(last), Pages::Unreadable(middle)]);
            if count > 1 {
                losses.extend([Pages::First(middle), Pages::From(middle), Pages::BlockRubbish(last)]);
            }
        }
        Detail::Fine => {
            losses.extend((1..count).flat_map(|at| [Pages::First(at), Pages::From(at)]));
            losses.extend((0..count).flat_map(|at| {
                [Pages::TornEnd(at), Pages::Torn(at), Pages::Rubbish(at), Pages::Unreadable(at)]
            }));
            if count > 2 {
                losses.extend((0..count).flat_map(|at| [Pages::Only(at), Pages::Without(at)]));
            }
            let mut blocks = Vec::new();
            for (at, &page) in pages.iter().enumerate() {
                if !blocks.contains(&block(page)) {
                    blocks.push(block(page));
                    losses.extend([Pages::BlockLost(at), Pages::BlockRubbish(at)]);
                }
            }
        }
    }
    losses
}

fn bytes_of(page: &Page) -> [u8; PAGE] {
    match page {
        Page::Hole | Page::Unreadable => [0; PAGE],
        Page::Bytes(bytes) => **bytes,
    }
}

/// Neither what was there nor what was to be there.
fn rubbish() -> Page {
    let mut bytes = [0; PAGE];
    for (byte, at) in bytes.iter_mut().zip(0_u8..=u8::MAX) {
        *byte = at.wrapping_mul(113).wrapping_add(29);
    }
    Page::Bytes(Rc::new(bytes))
}
