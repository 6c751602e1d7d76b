//! Commands that look at BMCs, and those of the door handle.

pub mod attach;
pub mod detach;
pub mod disk;
pub mod facts;
pub mod handle;
pub mod list;
pub mod log;
pub mod status;
