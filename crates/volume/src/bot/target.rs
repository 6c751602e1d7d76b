//! What carries out the commands.

/// What a command means to move, its checks having passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing (Dn).
    Nothing,
    /// So many bytes to the host (Di), at least 1.
    In(u64),
    /// So many bytes from the host (Do), at least 1.
    Out(u64),
}

/// The command has failed; the target keeps the sense data. Its status is 01h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// One logical unit, as the transport sees it.
///
/// # Legal call sequences
/// [`begin`](Self::begin). If it answers [`Intent::In`], [`read`](Self::read) as often as it takes to move so many bytes, or fewer; if it answers
/// [`Intent::Out`], [`write`](Self::write) likewise, all but the last a multiple of 512 bytes. None of them follows one that failed, and then nothing
/// else does. Otherwise one of these closes the command: [`end`](Self::end) if as many bytes have moved as was said, [`cut`](Self::cut),
/// [`abandon`](Self::abandon).
///
/// [`reset`](Self::reset) comes at any time and ends what was under way; so does `begin`, behind a reset of the endpoints.
///
/// Every call returns at once: what takes time is bounded by the length of a buffer. A command without data has its effect with `end`, so one
/// that the transport abandons has none.
pub trait Target {
    /// A command: the CDB, 16 bytes, zeros behind the first `length` that the host has sent.
    ///
    /// # Errors
    /// The command is refused, and nothing has changed.
    fn begin(&mut self, cdb: &[u8; 16], length: usize) -> Result<Intent, Refused>;

    /// Fills the buffer with the next bytes for the host.
    ///
    /// # Errors
    /// The rest cannot be had.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Refused>;

    /// Takes the next bytes from the host.
    ///
    /// # Errors
    /// The command fails, and takes no more.
    fn write(&mut self, data: &[u8]) -> Result<(), Refused>;

    /// All data has moved.
    ///
    /// # Errors
    /// The command fails in the end.
    fn end(&mut self) -> Result<(), Refused>;

    /// The host ended its data too early: the command fails.
    fn cut(&mut self);

    /// Host and command disagree about the data, or the wire has failed: the command is not carried out, or not to its end.
    fn abandon(&mut self);

    /// Bus reset, SET_CONFIGURATION, unplug, or the transport's own reset.
    fn reset(&mut self);
}
