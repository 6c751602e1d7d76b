//! Drives the DFU host sequence over an opened device.

use std::{collections::VecDeque, io, time::Duration};

use inband_dfu::host::{self, Ahead, Block, DfuInterface, End, Error as DfuError, Limits, Next, Step};
use inband_dfu::wire::{DETACH_TIMEOUT_MS, Request};
use inband_usb::{HostCompletion, HostDevice, HostError, HostTransfer, TransferId};

use crate::{cancel::Cancel, usb::CONTROL_TIMEOUT};

/// Longest wait between two looks at whether the user wants to stop.
const SLICE: Duration = Duration::from_millis(100);

/// Why a sequence ended early.
#[derive(Debug)]
pub enum Stop {
    /// The device, or USB.
    Dfu(DfuError),
    /// The file.
    Read(io::Error),
    /// The user. The device was sent DFU_ABORT.
    Cancelled {
        /// It had been given the last byte already.
        handed_over: bool,
    },
}

impl From<DfuError> for Stop {
    fn from(error: DfuError) -> Self {
        Self::Dfu(error)
    }
}

/// Sends DETACH. The device leaves the bus; this handle of it is then of no more use.
///
/// # Errors
/// [`Stop::Dfu`] with a refusal if the door is shut.
pub fn detach(device: &mut dyn HostDevice, interface: &DfuInterface, cancel: &Cancel) -> Result<(), Stop> {
    let mut step = host::detach(interface);
    loop {
        step = match step {
            Step::Detached { bus_reset } => {
                if bus_reset {
                    // Whatever it answers: what counts is whether the device comes back in DFU mode.
                    let _ = device.reset();
                }
                return Ok(());
            }
            other => advance(device, other, cancel)?,
        };
    }
}

/// What is sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Download {
    /// Bytes in all.
    pub total: u64,
    /// Send a block ahead of the status of the one before. Only for a device that says it allows that.
    pub ahead: bool,
}

/// Brings a device in DFU mode to dfuIDLE and sends it a file, block by block. `fill` fills the buffer with the
/// next bytes of the file; `sent` is told how many bytes the device has taken.
///
/// # Errors
/// See [`Stop`].
pub fn download(
    device: &mut dyn HostDevice,
    interface: &DfuInterface,
    Download { total, ahead }: Download,
    cancel: &Cancel,
    mut fill: impl FnMut(&mut [u8]) -> io::Result<()>,
    mut sent: impl FnMut(u64),
) -> Result<End, Stop> {
    let mut handed_over = false;
    let result = (|| {
        let mut step = host::open(device.now(), interface, Limits::default());
        loop {
            step = match step {
                Step::Ready(ready) if ahead => {
                    let ahead = ready.download_ahead(device.now(), total)?;
                    blocks_ahead(device, ahead, cancel, &mut fill, &mut sent, &mut handed_over)?
                }
                Step::Ready(ready) => ready.download(device.now(), total)?,
                Step::Block(block) => {
                    sent(block.sent());
                    handed_over = block.sent().saturating_add(block.length() as u64) == total;
                    next_block(device, block, &mut fill)?
                }
                Step::Downloaded(end) => {
                    sent(total);
                    return Ok(end);
                }
                other => advance(device, other, cancel)?,
            };
        }
    })();
    match result {
        Err(Stop::Cancelled { .. }) => {
            abort(device, interface);
            Err(Stop::Cancelled { handed_over })
        }
        Err(Stop::Read(error)) => {
            abort(device, interface);
            Err(Stop::Read(error))
        }
        other => other,
    }
}

fn next_block(
    device: &mut dyn HostDevice,
    block: Block,
    fill: &mut impl FnMut(&mut [u8]) -> io::Result<()>,
) -> Result<Step, Stop> {
    let mut data = vec![0; block.length()];
    fill(&mut data).map_err(Stop::Read)?;
    Ok(block.send(device.now(), data)?)
}

/// Sends all blocks, two at a time. When this returns nothing is in flight but what a silent device was given up with.
fn blocks_ahead(
    device: &mut dyn HostDevice,
    mut ahead: Ahead,
    cancel: &Cancel,
    fill: &mut impl FnMut(&mut [u8]) -> io::Result<()>,
    sent: &mut impl FnMut(u64),
    handed_over: &mut bool,
) -> Result<Step, Stop> {
    let mut flight = VecDeque::new();
    let result = (|| {
        sent(0);
        loop {
            *handed_over = ahead.is_given();
            match ahead.next(device.now())? {
                Next::Block(length) => {
                    let mut data = vec![0; length];
                    fill(&mut data).map_err(Stop::Read)?;
                    let transfer = ahead.block(data)?;
                    flight.push_back(submit(device, transfer)?);
                }
                Next::Submit(transfer) => flight.push_back(submit(device, transfer)?),
                Next::Collect => {
                    let Some(&id) = flight.front() else {
                        return Err(DfuError::Misuse("nothing is in flight").into());
                    };
                    let deadline = device.now().saturating_add(CONTROL_TIMEOUT);
                    let completion = collect(device, id, deadline, cancel)?;
                    flight.pop_front();
                    let before = ahead.sent();
                    ahead.handle(device.now(), completion.data, completion.result)?;
                    if ahead.sent() > before {
                        sent(ahead.sent());
                    }
                }
                Next::Wait(time) => wait(device, time, cancel)?,
                Next::Over(step) => return Ok(step),
            }
        }
    })();
    // What is on its way still ends by itself, and means nothing any more. A device that is silent is not waited for once for each.
    let deadline = device.now().saturating_add(CONTROL_TIMEOUT);
    for id in flight {
        let _: Result<HostCompletion, Stop> = collect(device, id, deadline, &Cancel::default());
    }
    result
}

fn submit(device: &mut dyn HostDevice, transfer: host::Transfer) -> Result<TransferId, Stop> {
    device.submit(HostTransfer::from(transfer)).map_err(|error| {
        Stop::Dfu(match error {
            HostError::Gone => DfuError::Gone,
            other => DfuError::Usb(other),
        })
    })
}

/// Waits for the end of a transfer; one that has not ended at the deadline is cancelled, and its end is that.
fn collect(
    device: &mut dyn HostDevice,
    id: TransferId,
    deadline: Duration,
    cancel: &Cancel,
) -> Result<HostCompletion, Stop> {
    loop {
        while let Some(completion) = device.poll() {
            // Another one than the oldest is late from an earlier request.
            if completion.id == id {
                return Ok(completion);
            }
        }
        if cancel.is_requested() {
            return Err(Stop::Cancelled { handed_over: false });
        }
        let left = deadline.saturating_sub(device.now());
        if left.is_zero() {
            device.cancel(id);
            return Ok(HostCompletion { id, data: Vec::new(), length: 0, result: Err(HostError::Cancelled) });
        }
        device.wait(left.min(SLICE));
    }
}

/// Brings a device in DFU mode to dfuIDLE and asks it to leave; a device that takes no DETACH there leaves at a bus reset
/// (DFU 1.1, A.2.3). What goes wrong changes nothing any more.
pub fn leave(device: &mut dyn HostDevice, interface: &DfuInterface) {
    if make_ready(device, interface, &Cancel::default()).is_err() {
        return;
    }
    let setup = Request::Detach.setup(interface.number, DETACH_TIMEOUT_MS, 0);
    if device.control_out(setup, Vec::new(), CONTROL_TIMEOUT) == Err(HostError::Stall) {
        let _ = device.reset();
    }
}

/// Brings a device in DFU mode to dfuIDLE.
///
/// # Errors
/// See [`Stop`].
pub fn make_ready(
    device: &mut dyn HostDevice,
    interface: &DfuInterface,
    cancel: &Cancel,
) -> Result<(), Stop> {
    let mut step = host::open(device.now(), interface, Limits::default());
    while !matches!(step, Step::Ready(_)) {
        step = advance(device, step, cancel)?;
    }
    Ok(())
}

/// Does what a step that needs nothing from the caller asks for.
fn advance(device: &mut dyn HostDevice, step: Step, cancel: &Cancel) -> Result<Step, Stop> {
    match step {
        Step::Request(transfer, expect) => {
            if cancel.is_requested() {
                return Err(Stop::Cancelled { handed_over: false });
            }
            let reply = device.run(HostTransfer::from(transfer), CONTROL_TIMEOUT);
            let now = device.now();
            Ok(match &reply {
                Ok(completion) => expect.handle(now, Ok(&completion.data))?,
                Err(error) => expect.handle(now, Err(error.clone()))?,
            })
        }
        Step::Wait(time, pause) => {
            wait(device, time, cancel)?;
            Ok(pause.resume())
        }
        Step::Detached { .. } | Step::Ready(_) | Step::Block(_) | Step::Downloaded(_) => {
            Err(DfuError::Misuse("the sequence came to a step of another sequence").into())
        }
    }
}

fn wait(device: &mut dyn HostDevice, time: Duration, cancel: &Cancel) -> Result<(), Stop> {
    let end = device.now().saturating_add(time);
    loop {
        if cancel.is_requested() {
            return Err(Stop::Cancelled { handed_over: false });
        }
        let left = end.saturating_sub(device.now());
        if left.is_zero() {
            return Ok(());
        }
        device.wait(left.min(SLICE));
    }
}

/// Sends DFU_ABORT.
///
/// # Errors
/// [`HostError::Stall`] from a device that has nothing to end, or does not let it be ended any more.
pub fn request_abort(device: &mut dyn HostDevice, interface: &DfuInterface) -> Result<(), HostError> {
    device.control_out(Request::Abort.setup(interface.number, 0, 0), Vec::new(), CONTROL_TIMEOUT)
}

/// Tells the device that the download is over. What it answers changes nothing any more.
fn abort(device: &mut dyn HostDevice, interface: &DfuInterface) {
    let _: Result<(), HostError> = request_abort(device, interface);
}

#[cfg(test)]
mod tests {
    use inband_dfu::{
        host::InterfaceMode,
        wire::{FunctionalDescriptor, State, Status, StatusReply},
    };
    use inband_usb::{Direction, EndpointAddress};

    use super::*;

    /// Takes blocks, and from one of its requests on answers nothing any more. Its clock goes on while somebody waits.
    #[derive(Default)]
    struct Silent {
        answers: usize,
        made: u64,
        now: Duration,
        state: u8,
        ended: VecDeque<HostCompletion>,
    }

    impl HostDevice for Silent {
        fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
            self.made += 1;
            let id = TransferId(self.made);
            if self.made > self.answers as u64 {
                return Ok(id);
            }
            let data = match transfer {
                HostTransfer::ControlIn { setup } => {
                    assert_eq!(setup.direction(), Direction::In);
                    let state = State::from_number(self.state).unwrap();
                    StatusReply { status: Status::Ok, poll_timeout_ms: 1, state, string: 0 }
                        .to_bytes()
                        .to_vec()
                }
                HostTransfer::ControlOut { data, .. } => {
                    self.state = State::DfuDnloadIdle as u8;
                    data
                }
                _ => panic!(),
            };
            self.ended.push_back(HostCompletion { id, length: data.len(), data, result: Ok(()) });
            Ok(id)
        }

        fn poll(&mut self) -> Option<HostCompletion> {
            self.ended.pop_front()
        }

        fn cancel(&mut self, _: TransferId) {}

        fn claim(&mut self, _: u8) -> Result<(), HostError> {
            Ok(())
        }

        fn clear_halt(&mut self, _: EndpointAddress) -> Result<(), HostError> {
            Ok(())
        }

        fn reset(&mut self) -> Result<(), HostError> {
            Ok(())
        }

        fn wait(&mut self, limit: Duration) {
            self.now += limit;
        }

        fn now(&self) -> Duration {
            self.now
        }
    }

    /// A device that falls silent with two blocks in flight is not waited for once for each of their transfers.
    #[test]
    fn a_silent_device_is_given_up_in_the_time_of_two_transfers() {
        let interface = DfuInterface {
            number: 0,
            mode: InterfaceMode::Dfu,
            name: 0,
            functional: FunctionalDescriptor::OURS,
        };
        // GETSTATUS, the first block and its status; then silence with two blocks and two GETSTATUS in flight.
        let mut device = Silent { answers: 3, state: State::DfuIdle as u8, ..Silent::default() };
        let sent = Download { total: 8 * 4096, ahead: true };
        let end = download(&mut device, &interface, sent, &Cancel::default(), |_| Ok(()), |_| {});
        assert!(matches!(end, Err(Stop::Dfu(DfuError::NoAnswer(Request::Dnload)))), "{end:?}");
        assert_eq!(device.made, 7);
        assert!(device.now <= 2 * CONTROL_TIMEOUT, "{:?}", device.now);
    }
}
