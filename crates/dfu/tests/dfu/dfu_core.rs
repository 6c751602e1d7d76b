//! dfu-core, an independent host implementation, against our device.

use std::cell::RefCell;

use dfu_core::{
    DfuIo, DfuProtocol, functional_descriptor::FunctionalDescriptor, memory_layout::MemoryLayout,
    synchronous::DfuSync,
};
use inband_dfu::{
    device::Door,
    table::Mode,
    wire::{self, State, Status},
};
use inband_usb::Setup;

use crate::bench::{Bench, Stalled};

/// What its transports do: they set the direction bit themselves.
struct Io<'a> {
    bench: &'a RefCell<Bench>,
    descriptor: FunctionalDescriptor,
    protocol: DfuProtocol<MemoryLayout>,
}

#[derive(Debug)]
#[allow(dead_code)] // shown by assertions that fail
enum IoError {
    Dfu(dfu_core::Error),
    Std(std::io::Error),
    Stall,
}

impl From<dfu_core::Error> for IoError {
    fn from(error: dfu_core::Error) -> Self {
        Self::Dfu(error)
    }
}

impl From<std::io::Error> for IoError {
    fn from(error: std::io::Error) -> Self {
        Self::Std(error)
    }
}

impl From<Stalled> for IoError {
    fn from(Stalled: Stalled) -> Self {
        Self::Stall
    }
}

impl DfuIo for Io<'_> {
    type Read = usize;
    type Write = usize;
    type Reset = ();
    type Error = IoError;
    type MemoryLayout = MemoryLayout;

    fn read_control(
        &self,
        request_type: u8,
        request: u8,
        value: u16,
        buffer: &mut [u8],
    ) -> Result<usize, IoError> {
        let length = buffer.len().try_into().unwrap();
        let setup = Setup { request_type: request_type | 0x80, request, value, index: 0, length };
        let reply = self.bench.borrow_mut().control_in(setup)?;
        buffer[..reply.len()].copy_from_slice(&reply);
        Ok(reply.len())
    }

    fn write_control(
        &self,
        request_type: u8,
        request: u8,
        value: u16,
        buffer: &[u8],
    ) -> Result<usize, IoError> {
        let length = buffer.len().try_into().unwrap();
        let setup = Setup { request_type, request, value, index: 0, length };
        self.bench.borrow_mut().control_out(setup, buffer)?;
        Ok(buffer.len())
    }

    fn usb_reset(self) -> Result<(), IoError> {
        self.bench.borrow_mut().bus_reset();
        Ok(())
    }

    fn protocol(&self) -> &DfuProtocol<MemoryLayout> {
        &self.protocol
    }

    fn functional_descriptor(&self) -> &FunctionalDescriptor {
        &self.descriptor
    }
}

fn host(bench: &RefCell<Bench>) -> DfuSync<Io<'_>, IoError> {
    let bytes = wire::FunctionalDescriptor::OURS.to_bytes();
    let descriptor = FunctionalDescriptor::from_bytes(&bytes).unwrap().unwrap();
    let protocol = DfuProtocol::new("firmware", descriptor.dfu_version).unwrap();
    DfuSync::new(Io { bench, descriptor, protocol })
}

#[test]
fn it_reads_our_descriptor() {
    let bench = RefCell::new(Bench::new(Mode::Lenient));
    let host = host(&bench);
    assert!(host.will_detach() && host.manifestation_tolerant());
}

#[test]
fn it_detaches_and_downloads() {
    for mode in [Mode::Lenient, Mode::Strict] {
        let bench = RefCell::new(Bench::new(mode));
        host(&bench).detach().unwrap();
        assert_eq!(bench.borrow().device.state(), State::DfuIdle);
        let image = bench.borrow().image.clone();
        assert!(host(&bench).download_from_slice(&image).unwrap().is_some());
        assert!(bench.borrow().installed.as_ref() == Some(&image));
    }
}

/// It asks at once after each block, and then waits as it is told; only the lenient mode answers in its own time too.
#[test]
fn it_waits_for_a_busy_device() {
    let bench = RefCell::new(Bench::lenient());
    bench.borrow_mut().busy_polls = 1;
    let image = bench.borrow().image.clone();
    host(&bench).download_from_slice(&image).unwrap();
    assert!(bench.borrow().installed.as_ref() == Some(&image));
}

#[test]
fn it_recovers_from_an_error() {
    let bench = RefCell::new(Bench::reach(Mode::Lenient, State::DfuError));
    let image = bench.borrow().image.clone();
    host(&bench).download_from_slice(&image).unwrap();
    assert!(bench.borrow().installed.as_ref() == Some(&image));
}

#[test]
fn it_fails_on_bad_images_and_a_shut_door() {
    let bench = RefCell::new(Bench::lenient());
    let image = bench.borrow().image.clone();
    let mut wrong = image.clone();
    wrong[9000] ^= 0x80;
    let longer = [&image[..], &[0]].concat();
    for (file, status) in
        [(&wrong[..], Status::ErrVerify), (&longer, Status::ErrAddress), (&image[..9000], Status::ErrNotDone)]
    {
        assert!(host(&bench).download_from_slice(file).is_err());
        let mut bench = bench.borrow_mut();
        bench.assert_status(State::DfuError, status);
        assert_eq!(bench.installed, None);
    }
    bench.borrow_mut().device.set_door(Door::Refused(Status::ErrVendor));
    assert!(host(&bench).download_from_slice(&image).is_err());
    bench.borrow_mut().device.set_door(Door::Open);
    host(&bench).download_from_slice(&image).unwrap();
    assert!(bench.borrow().installed.as_ref() == Some(&image));
}
