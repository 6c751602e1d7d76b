//! The Inband firmware package, as `docs/spec/package.md` defines it: an ordinary tar whose first members
//! make every byte verifiable as it streams in.
//!
//! A BMC uses [`reader`]: bytes go in in any portions, and nothing comes out that has not been checked
//! against a signature. It takes its memory once and not in proportion to the package. The modules below it
//! are the format, each piece by itself: [`tar`], [`head`], [`signature`], [`index`], [`suffix`]. [`key`] and
//! [`policy`] say what this BMC accepts, [`refusal`] why something was not. [`openbmc`] reads firmware tars that
//! have no head, for a BMC on its way to Inband.
//!
//! A build machine uses `maker` (cargo feature of the same name, needs std): keys, packing, signing,
//! inspecting.
//!
//! The cargo feature `std` adds [`key`]'s readers of key directories. Everything else but `maker` is `no_std` +
//! alloc, does no I/O and knows no time.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod checked;
pub mod digest;
pub mod hashed;
pub mod head;
pub mod index;
pub mod key;
#[cfg(feature = "maker")]
pub mod maker;
pub mod openbmc;
pub mod policy;
pub mod reader;
pub mod refusal;
pub mod signature;
pub mod spans;
pub mod suffix;
pub mod tar;
mod wire;
mod zstd;

pub use checked::Checked;
pub use digest::{Digest, Hex, sha256};
pub use hashed::{Hashed, Hasher};
pub use head::Head;
pub use index::{Index, is_bcd};
pub use key::{KeyRing, PublicKey};
pub use policy::{Expected, Policy, Rule, Running};
pub use reader::{Chunks, Progress, Reader, Sink};
pub use refusal::Refusal;
pub use signature::{Kind, Scheme, Verifier};
pub use wire::{FieldError, is_str_byte};
