//! The device's side of the bus.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
};

use inband_usb::{
    ControlError, DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, SubmitError,
    descriptor::DescriptorError,
};

use super::{lock, state::State};

/// The device on a [`Bus`](super::Bus). Dropping it detaches, as the end of a process does.
#[derive(Debug)]
pub struct MemoryDevice {
    state: Arc<Mutex<State>>,
}

/// Why the device cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Attached with descriptors no host could read.
    #[error("the descriptors cannot be used: {0}")]
    Descriptors(#[from] DescriptorError),
    /// Attached with more endpoints than the controller has ([`Bus::limit_endpoints`](super::Bus::limit_endpoints)).
    #[error("the set has {wanted} endpoints, the controller {there}")]
    Endpoints {
        /// Those of the set.
        wanted: usize,
        /// Those of the controller.
        there: usize,
    },
}

impl MemoryDevice {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self { state }
    }
}

impl Drop for MemoryDevice {
    fn drop(&mut self) {
        lock(&self.state).detach();
    }
}

impl DeviceBackend for MemoryDevice {
    type Error = MemoryError;

    fn attach(&mut self, descriptors: &DescriptorSet) -> Result<(), MemoryError> {
        descriptors.validate()?;
        let mut state = lock(&self.state);
        let wanted = descriptors.endpoints().count();
        if wanted > state.endpoints {
            return Err(MemoryError::Endpoints { wanted, there: state.endpoints });
        }
        state.attach(descriptors.clone());
        Ok(())
    }

    fn detach(&mut self) -> Result<(), MemoryError> {
        lock(&self.state).detach();
        Ok(())
    }

    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, MemoryError> {
        Ok(lock(&self.state).poll_event())
    }

    fn control_read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, ControlError>> {
        lock(&self.state).control_read(buffer)
    }

    fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError> {
        lock(&self.state).control_write(data)
    }

    fn control_stall(&mut self) -> Result<(), ControlError> {
        lock(&self.state).control_stall()
    }

    fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError> {
        lock(&self.state).device_submit(endpoint, buffer)
    }

    fn cancel(&mut self, endpoint: EndpointAddress) {
        lock(&self.state).device_cancel(endpoint);
    }

    fn set_halt(&mut self, endpoint: EndpointAddress) {
        lock(&self.state).set_halt(endpoint);
    }
}
