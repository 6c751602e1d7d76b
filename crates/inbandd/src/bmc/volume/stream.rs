//! The way of what was ejected: from the medium's pages to blocks for the worker.

use super::media::Pages;

/// Bytes up to the end of the head, which says how many there are in all (docs/spec/package.md, 3).
const HEAD: usize = 1024;
/// Of so many pages the return of one is awaited.
const AWAITED: usize = 4;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These bytes. The worker's return of them wakes us, or need not.
    Page { bytes: Vec<u8>, awaited: bool },
    /// Nothing before it is known how many there are.
    NotYet,
    /// There is no more, be it that nobody wrote it.
    End,
}

/// How many bytes are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The head has to be looked at.
    Unknown,
    /// It is being looked at.
    Asked,
    /// So many at most.
    Bytes(u64),
}

/// The pages, from the first on, up to the end that the head announces, or to the first block that nobody wrote.
pub(super) struct Stream {
    from: Pages,
    /// What follows the head in its page.
    rest: Vec<u8>,
    left: Left,
    pages: usize,
}

impl Stream {
    pub(super) const fn new(from: Pages) -> Self {
        Self { from, rest: Vec::new(), left: Left::Unknown, pages: 0 }
    }

    /// What the worker knows once it has the head: how long the package is, if it has one.
    pub(super) fn learn(&mut self, announced: Option<u64>) {
        if self.left == Left::Asked {
            self.left = Left::Bytes(announced.map_or(u64::MAX, |total| total.saturating_sub(HEAD as u64)));
        }
    }

    pub(super) fn next(&mut self) -> Next {
        match self.left {
            Left::Unknown => {
                let head = self.from.next().filter(|bytes| bytes.len() >= HEAD);
                let Some(mut bytes) = head else { return Next::End };
                self.rest = bytes.split_off(HEAD);
                self.left = Left::Asked;
                Next::Page { bytes, awaited: true }
            }
            Left::Asked => Next::NotYet,
            Left::Bytes(0) => Next::End,
            Left::Bytes(left) => {
                let rest = Some(std::mem::take(&mut self.rest)).filter(|rest| !rest.is_empty());
                let Some(mut bytes) = rest.or_else(|| self.from.next()) else { return Next::End };
                bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                self.left = Left::Bytes(left - bytes.len() as u64);
                self.pages += 1;
                Next::Page { bytes, awaited: self.pages.is_multiple_of(AWAITED) }
            }
        }
    }
}
