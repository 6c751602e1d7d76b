//! Commands that look at BMCs.

pub mod attach;
pub mod detach;
pub mod disk;
pub mod facts;
pub mod list;
pub mod log;
pub mod status;
