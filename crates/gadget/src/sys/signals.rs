//! The signal mask of a thread.
#![allow(unsafe_code, reason = "rustix offers no signal mask")]

use std::{mem::MaybeUninit, ptr};

/// Keeps every signal away from the calling thread.
pub(crate) fn block_all() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes the set it is given; pthread_sigmask reads it, and takes a null pointer for the old mask.
    // Neither keeps a pointer.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}
