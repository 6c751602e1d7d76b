//! The signal mask of a thread, and the one signal that gets through to it.
#![allow(unsafe_code, reason = "rustix offers no signals")]

use std::{
    io,
    mem::{self, MaybeUninit},
    os::unix::thread::JoinHandleExt as _,
    ptr,
    thread::JoinHandle,
};

/// A signal that does nothing but end a wait in the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Interrupt {
    number: libc::c_int,
}

extern "C" fn nothing(_: libc::c_int) {}

impl Interrupt {
    /// Takes the first of the real-time signals for it, in the whole process. Not the last: qemu, which runs the tests of
    /// other processors, keeps the last two to itself and says nothing.
    pub(crate) fn new() -> io::Result<Self> {
        let number = libc::SIGRTMIN();
        // SAFETY: all zeros is a sigaction, without flags: no SA_RESTART. sigemptyset writes its mask; sigaction reads it, and
        // takes a null pointer for the old one. Neither keeps a pointer. The handler does nothing at all.
        let set = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(number, &raw const action, ptr::null_mut())
        };
        if set == 0 { Ok(Self { number }) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends it to a thread.
    pub(crate) fn send<T>(self, thread: &JoinHandle<T>) {
        // SAFETY: a thread that was not joined has its number still, also if it has ended.
        let _ = unsafe { libc::pthread_kill(thread.as_pthread_t(), self.number) };
    }
}

/// Keeps every signal but this one away from the calling thread.
pub(crate) fn block_all_but(interrupt: Interrupt) {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes the set it is given, sigdelset changes it; pthread_sigmask reads it, and takes a null pointer for the
    // old mask. None keeps a pointer.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigdelset(all.as_mut_ptr(), interrupt.number);
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}
