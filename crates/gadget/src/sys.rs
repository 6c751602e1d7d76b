//! What no safe crate offers: Linux's asynchronous I/O, and a thread's signal mask.

pub(crate) mod aio;
pub(crate) mod signals;
