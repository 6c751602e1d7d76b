//! The thirteen cases (BOT 6.7; docs/spec/disk.md, 4.3).

/// What the CBW says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Hn.
    Nothing,
    /// Hi: so many bytes.
    In(u32),
    /// Ho: so many bytes.
    Out(u32),
}

/// What the command means to move, in bytes; or that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Dn.
    Nothing,
    /// Di.
    In(u32),
    /// Do.
    Out(u32),
    /// It fails before it moves anything.
    Refused,
}

/// How a command is to end on a device that halts IN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The case's number; 0 for a command that is refused.
    pub case: u8,
    /// bCSWStatus.
    pub status: u8,
    /// dCSWDataResidue.
    pub residue: u32,
    /// How many bytes come of those that were meant.
    pub sent: u32,
    /// How many bytes are written.
    pub taken: u32,
}

/// How a command is to end.
#[must_use]
pub fn ends(host: Expects, device: Means) -> Ends {
    let end = |case, status, residue, sent, taken| Ends { case, status, residue, sent, taken };
    match (host, device) {
        (Expects::Nothing, Means::Refused) => end(0, 1, 0, 0, 0),
        (Expects::In(h) | Expects::Out(h), Means::Refused) => end(0, 1, h, 0, 0),
        (Expects::Nothing, Means::Nothing) => end(1, 0, 0, 0, 0),
        (Expects::Nothing, Means::In(_)) => end(2, 2, 0, 0, 0),
        (Expects::Nothing, Means::Out(_)) => end(3, 2, 0, 0, 0),
        (Expects::In(h), Means::Nothing) => end(4, 0, h, 0, 0),
        (Expects::In(h), Means::In(d)) if h > d => end(5, 0, h - d, d, 0),
        (Expects::In(h), Means::In(d)) if h == d => end(6, 0, 0, d, 0),
        (Expects::In(h), Means::In(_)) => end(7, 2, 0, h, 0),
        (Expects::In(h), Means::Out(_)) => end(8, 2, h, 0, 0),
        (Expects::Out(h), Means::Nothing) => end(9, 0, h, 0, 0),
        (Expects::Out(_), Means::In(_)) => end(10, 2, 0, 0, 0),
        (Expects::Out(h), Means::Out(d)) if h > d => end(11, 0, h - d, 0, d),
        (Expects::Out(h), Means::Out(d)) if h == d => end(12, 0, 0, 0, d),
        (Expects::Out(_), Means::Out(_)) => end(13, 2, 0, 0, 0),
    }
}
