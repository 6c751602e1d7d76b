//! The package format as a whole: made, read, changed, and compared with tools that we did not write.

mod common;
mod frozen;
mod head;
mod index;
mod maker;
mod order;
mod peers;
mod whole;
