//! Packages on the build machine and before an update: making, signing, checking, showing.

pub mod check;
mod files;
pub mod inspect;
pub mod keygen;
pub mod keys;
pub mod pack;
pub mod sign;
pub mod suffix;
pub mod verify;
