//! Linux's IPMI driver.

use std::{
    fs::File,
    io, thread,
    time::{Duration, Instant},
};

use inband_ipmi::wire::{Code, Reply, Request};

use super::sys::{self, Received};
use crate::ipmi::{Answer, Link, LinkError};

/// A device file such as `/dev/ipmi0`.
pub(super) struct Device {
    file: File,
    start: Instant,
}

impl Device {
    pub(super) fn new(file: File) -> Self {
        Self { file, start: Instant::now() }
    }
}

impl Link for Device {
    fn send(&mut self, number: u8, request: &Request<'_>) -> Result<(), LinkError> {
        sys::send(&self.file, number.into(), request).map_err(failed)
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<Answer>, LinkError> {
        if !sys::wait(&self.file, wait).map_err(failed)? {
            return Ok(None);
        }
        let Some(Received { number, netfn, command, data }) = sys::receive(&self.file).map_err(failed)?
        else {
            return Ok(None);
        };
        // What we did not send is answered to nobody.
        let Ok(number) = u8::try_from(number) else { return Ok(None) };
        let (&code, data) = data.split_first().ok_or(LinkError::Broken("it has no completion code"))?;
        let reply = Reply { code: Code(code), data: data.to_vec() };
        Ok(Some(Answer { number, netfn, command, reply }))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

fn failed(error: io::Error) -> LinkError {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => LinkError::Length,
        // The driver, or the BMC behind it, went away, or has not come.
        Some(libc::ENODEV | libc::ENXIO | libc::EAGAIN | libc::EBUSY) => LinkError::Lost(error),
        _ => LinkError::System(error),
    }
}
