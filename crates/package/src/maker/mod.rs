//! Making packages, on a build machine: keys, packing, signing, checking, inspecting.
//!
//! Packing and signing are separate steps, since release keys live elsewhere. [`pack()`] takes the list of
//! signers, because the head names them and is what they sign; it leaves zeros where the signatures belong.
//! Then [`sign()`] with a private key at hand, or [`signed_bytes_of`], a signer of any kind, and [`attach`].
//! [`diff()`] says what an update from one package to another costs.

mod compress;
mod diff;
mod error;
mod inspect;
mod key;
mod pack;
mod sign;

pub use diff::{Change, Cost, Diff, MemberDiff, diff};
pub use error::MakeError;
pub use inspect::{Inspection, Verified, inspect, verify};
pub use key::PrivateKey;
pub use pack::{Input, PackOptions, Packed, Source, pack};
pub use sign::{attach, missing, sign, signed_bytes_of};
