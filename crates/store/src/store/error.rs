//! What a store refuses or fails at.

use inband_package::Refusal;

use crate::boot::NothingBootable;
use crate::medium::MediumError;
use crate::record::{PairError, Slot};

/// What a store refuses or fails at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no record, or no valid one.
    #[error(transparent)]
    Unusable(#[from] PairError),
    /// The medium holds a store already.
    #[error("there is a store already; remove it first if it is to be initialised anew")]
    Exists,
    /// The layout was made for slots of another length.
    #[error("the layout is for slots of {layout} bytes, those of the store have {medium}")]
    SlotLength {
        /// The layout's, in bytes.
        layout: u64,
        /// The medium's, in bytes.
        medium: u64,
    },
    /// There is nothing to boot.
    #[error(transparent)]
    NothingBootable(#[from] NothingBootable),
    /// The record could not be read or written.
    #[error("the store's record: {0}")]
    Record(#[source] MediumError),
    /// A slot, or the index beside it, could not be written.
    #[error("writing the slot: {0}")]
    Write(#[source] MediumError),
    /// A slot could not be read.
    #[error("reading the slot: {0}")]
    Read(#[source] MediumError),
    /// The package does not suit the layout.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A slot does not hold what was written to it.
    #[error("slot {slot}: {what} at offset {offset} is not what was written", slot = .slot.name())]
    Mismatch {
        /// The slot.
        slot: Slot,
        /// Offset in the slot, in bytes, of the chunk or tail.
        offset: u64,
        /// What should stand there.
        what: &'static str,
    },
    /// The running slot is not confirmed yet.
    #[error("the running firmware is not confirmed yet")]
    OnTrial,
    /// The running slot is not on trial, so there is nothing to confirm.
    #[error("the running firmware is not on trial")]
    NotOnTrial,
    /// A method was called out of order: a fault of the caller's.
    #[error("out of order: {0}")]
    Order(&'static str),
}
