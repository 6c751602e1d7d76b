//! Packages on the build machine and before an update: making, signing, checking, showing.

pub mod check;
mod diff;
mod files;
pub mod inspect;
pub mod keygen;
pub mod keys;
pub mod pack;
pub mod sign;
mod signatures;
pub mod suffix;
pub mod verify;
