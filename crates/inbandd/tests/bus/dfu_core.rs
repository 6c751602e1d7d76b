//! dfu-core, a host that we did not write, updates a whole BMC with real packages.

use std::cell::RefCell;

use dfu_core::{
    DfuIo, DfuProtocol, functional_descriptor::FunctionalDescriptor, memory_layout::MemoryLayout,
    synchronous::DfuSync,
};
use inband_dfu::{table::Mode, wire};
use inband_session::{ResultCode, SessionState};
use inband_store::Slot;
use inband_usb::{HostDevice as _, HostError, Setup};
use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{Bench, SLOT, Setting, to_idle},
    host::TIMEOUT,
    package::Package,
};

/// A device opened on the bus, as dfu-core wants it.
struct Io {
    host: RefCell<MemoryHost>,
    descriptor: FunctionalDescriptor,
    protocol: DfuProtocol<MemoryLayout>,
}

#[derive(Debug)]
#[allow(dead_code)] // shown by assertions that fail
enum IoError {
    Dfu(dfu_core::Error),
    Std(std::io::Error),
    Usb(HostError),
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

impl From<HostError> for IoError {
    fn from(error: HostError) -> Self {
        Self::Usb(error)
    }
}

impl DfuIo for Io {
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
        // dfu-core leaves the direction to its transports.
        let setup = Setup { request_type: request_type | 0x80, request, value, index: 0, length };
        let reply = self.host.borrow_mut().control_in(setup, TIMEOUT)?;
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
        self.host.borrow_mut().control_out(setup, buffer.to_vec(), TIMEOUT)?;
        Ok(buffer.len())
    }

    fn usb_reset(self) -> Result<(), IoError> {
        Ok(self.host.into_inner().reset()?)
    }

    fn protocol(&self) -> &DfuProtocol<MemoryLayout> {
        &self.protocol
    }

    fn functional_descriptor(&self) -> &FunctionalDescriptor {
        &self.descriptor
    }
}

fn dfu_core(host: MemoryHost) -> DfuSync<Io, IoError> {
    let bytes = wire::FunctionalDescriptor::OURS.to_bytes();
    let descriptor = FunctionalDescriptor::from_bytes(&bytes).unwrap().unwrap();
    let protocol = DfuProtocol::new("bmc", descriptor.dfu_version).unwrap();
    DfuSync::new(Io { host: RefCell::new(host), descriptor, protocol })
}

#[test]
fn it_detaches_a_bmc_and_updates_it() {
    let bench = Bench::with(Setting { mode: Mode::Lenient, ..Setting::default() });
    dfu_core(bench.claim()).detach().unwrap();
    bench.wait_attached();
    assert!(bench.in_dfu_mode());
    let package = Package::new(0x0200, 60_000);
    dfu_core(bench.claim()).download_from_slice(&package.bytes()).unwrap();
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
}

#[test]
fn it_is_told_of_a_bad_package_and_can_send_a_good_one() {
    let bench = Bench::new();
    let mut tampered = Package::new(0x0200, 60_000).bytes();
    tampered[40_000] ^= 1;
    drop(bench.enter_dfu());
    assert!(dfu_core(bench.claim()).download_from_slice(&tampered).is_err());
    bench.assert_session(SessionState::Failed, ResultCode::BadChunk);
    bench.assert_factory_runs();

    // It does not clear what it left.
    let mut host = bench.claim();
    to_idle(&mut host);
    dfu_core(host).download_from_slice(&Package::new(0x0201, 50_000).bytes()).unwrap();
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}
