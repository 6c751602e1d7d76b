//! The way of what was ejected: from the medium's pages to blocks for the worker.

use inband_session::ResultCode;

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

/// The pages, from the first on.
pub(super) struct Stream {
    from: Pages,
    /// The result of a package that goes on where there is no more.
    lacking: ResultCode,
    /// What follows the head in its page.
    rest: Vec<u8>,
    left: Left,
    pages: usize,
}

impl Stream {
    /// Of a medium: up to the end that the head announces, or to the first block that nobody wrote.
    pub(super) const fn of_medium(from: Pages) -> Self {
        let (lacking, left) = (ResultCode::Incomplete, Left::Unknown);
        Self { from, lacking, rest: Vec::new(), left, pages: 0 }
    }

    /// Of a file: all of it.
    pub(super) const fn of_file(from: Pages) -> Self {
        let (lacking, left) = (ResultCode::Truncated, Left::Bytes(u64::MAX));
        Self { from, lacking, rest: Vec::new(), left, pages: 0 }
    }

    /// The result of a package that goes on where there is no more.
    pub(super) const fn lacking(&self) -> ResultCode {
        self.lacking
    }

    /// How many went through behind the head.
    pub(super) const fn pages(&self) -> usize {
        self.pages
    }

    /// What did not.
    pub(super) fn into_pages(self) -> Pages {
        self.from
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
