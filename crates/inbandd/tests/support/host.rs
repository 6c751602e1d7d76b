//! A host program: the DFU host sequence over an opened device, and the vendor request.

use std::time::Duration;

use inband_dfu::host::{self, DfuInterface, End, Error, Limits, Step, find_dfu_interface};
use inband_session::status::{self, StatusPage};
use inband_usb::{
    HostDevice, HostError, HostTransfer, Setup,
    chapter9::request,
    descriptor::{CONFIGURATION, parse_configuration},
};

/// How long the tests' host waits for one transfer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// The DFU interface, found as any host finds it.
pub(crate) fn interface(host: &mut impl HostDevice) -> Result<DfuInterface, HostError> {
    let setup = Setup {
        request_type: 0x80,
        request: request::GET_DESCRIPTOR,
        value: u16::from(CONFIGURATION) << 8,
        index: 0,
        length: 255,
    };
    let bytes = host.control_in(setup, TIMEOUT)?;
    let configuration = parse_configuration(&bytes).expect("a configuration that can be read");
    Ok(find_dfu_interface(&configuration, None).expect("a DFU interface"))
}

/// Sends DETACH.
pub(crate) fn detach(host: &mut impl HostDevice) -> Result<(), Error> {
    let interface = interface(host).map_err(Error::Usb)?;
    let mut step = host::detach(&interface);
    loop {
        step = match step {
            Step::Detached { bus_reset } => {
                assert!(!bus_reset, "the device detaches by itself");
                return Ok(());
            }
            other => advance(host, other)?,
        };
    }
}

/// Sends a file to a device in DFU mode. `before_block` is told, before each block, how many bytes the device has taken.
pub(crate) fn download<H: HostDevice>(
    host: &mut H,
    file: &[u8],
    mut before_block: impl FnMut(&mut H, u64),
) -> Result<End, Error> {
    let interface = interface(host).map_err(Error::Usb)?;
    let mut step = host::open(host.now(), &interface, Limits::default());
    loop {
        step = match step {
            Step::Ready(ready) => ready.download(host.now(), file.len() as u64)?,
            Step::Block(block) => {
                before_block(host, block.sent());
                let start = usize::try_from(block.sent()).unwrap();
                let data = file[start..start + block.length()].to_vec();
                block.send(host.now(), data)?
            }
            Step::Downloaded(end) => return Ok(end),
            other => advance(host, other)?,
        };
    }
}

/// Does what a step that needs nothing from the caller asks for.
fn advance(host: &mut impl HostDevice, step: Step) -> Result<Step, Error> {
    match step {
        Step::Request(transfer, expect) => {
            let reply = host.run(HostTransfer::from(transfer), TIMEOUT);
            let now = host.now();
            match &reply {
                Ok(completion) => expect.handle(now, Ok(&completion.data)),
                Err(error) => expect.handle(now, Err(error.clone())),
            }
        }
        Step::Wait(time, pause) => {
            let end = host.now() + time;
            loop {
                let left = end.saturating_sub(host.now());
                if left.is_zero() {
                    return Ok(pause.resume());
                }
                host.wait(left);
            }
        }
        Step::Detached { .. } | Step::Ready(_) | Step::Block(_) | Step::Downloaded(_) => {
            panic!("a step of another sequence: {step:?}")
        }
    }
}

/// The vendor request for a page, as docs/spec/session.md, 5, has it.
pub(crate) const fn page_setup(page: u16) -> Setup {
    Setup { request_type: 0xc1, request: status::REQUEST, value: page, index: 0, length: 64 }
}

/// The status page.
pub(crate) fn status(host: &mut impl HostDevice) -> Result<StatusPage, HostError> {
    let page = host.control_in(page_setup(status::STATUS_PAGE), TIMEOUT)?;
    Ok(StatusPage::decode(&page).expect("a status page"))
}
