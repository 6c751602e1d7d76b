//! A USB device on a real controller: [`Gadget`] is a [`DeviceBackend`](inband_usb::DeviceBackend) over Linux's configfs and FunctionFS.
//!
//! For each descriptor set a gadget of its own is [prepared](Gadget::prepare), with its own FunctionFS instance; attaching binds the
//! one that fits to the controller, so that a device changes its descriptors within milliseconds. Events of the
//! control endpoint, bulk transfers and wake-ups are waited for with one epoll ([`Waiter`]).
//!
//! What a function should know of this backend:
//! * wIndex of a request to an interface is the interface's number in the set, whatever number the host sees, and its high byte is
//!   lost. Of a request to an endpoint it is the set's address of an endpoint with the controller's number: FunctionFS does not say the
//!   direction where both have the same number.
//! * A request for or with more than 4096 bytes never arrives: the kernel stalls it, or cuts wLength to 4096.
//! * Interface names of more than 126 bytes of UTF-8 are cut by the kernel; longer strings of the device are refused.
//! * On a controller that cannot stall ([`Probe::stalls`]) a request that is refused gets no answer.
//! * The device is one of high speed, also on a controller that can do more.
//!
//! A kernel without FunctionFS may have a disk of its own to lend: [`mass_storage`].
//!
//! What kernels are known to do wrong is in docs/kernels.md.
#![cfg(target_os = "linux")]

mod alarm;
mod answer;
mod binding;
mod bulk;
mod codec;
mod configfs;
mod ep0;
mod error;
mod gadget;
mod instance;
mod leftovers;
pub mod mass_storage;
mod probe;
mod sys;
mod wait;

pub use error::GadgetError;
pub use gadget::{Gadget, Options};
pub use probe::{Controller, Probe};
pub use wait::{Waiter, Waker};
