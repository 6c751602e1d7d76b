//! The device as DFU knows it: its states, how to get there, and what has to work whatever came before.

use std::{
    thread,
    time::{Duration, Instant},
};

use inband::{
    bmc::{Bmc, Recognised},
    cancel::Cancel,
    dfu,
    usb::{Bus as _, KernelBus},
};
use inband_dfu::{
    host::End,
    wire::{Request, State, Status, StatusReply},
};
use inband_session::{
    ResultCode, SessionState,
    status::{self, StatusPage},
};
use inband_store::SlotState;
use inband_usb::Setup;
use nusb::transfer::TransferError;

use crate::wire::{Mode, Opened, Reply};

/// What failed, in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// wTransferSize.
pub(crate) const BLOCK: usize = 4096;
/// How long a device may be busy, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The device under attack.
pub(crate) struct Target {
    /// A package that it takes.
    pub(crate) package: Vec<u8>,
    /// Whether a reset of the port reaches it.
    pub(crate) bus_reset: bool,
    opened: Option<Opened>,
}

/// Fails with `what` unless it is so.
pub(crate) fn ensure(so: bool, what: impl FnOnce() -> String) -> Outcome {
    if so { Ok(()) } else { Err(what()) }
}

/// The reply is STALL.
pub(crate) fn ensure_stall(setup: Setup, reply: &Reply) -> Outcome {
    ensure(*reply == Err(TransferError::Stall), || {
        let reply = match reply {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(error) => error.to_string(),
        };
        format!("{setup:x?} is answered with {reply}, not STALL")
    })
}

impl Target {
    pub(crate) fn new(package: Vec<u8>, bus_reset: bool) -> Outcome<Self> {
        ensure(package.len() > 2 * BLOCK, || "a package of some blocks is needed".into())?;
        Ok(Self { package, bus_reset, opened: None })
    }

    /// Lets go of the device.
    pub(crate) fn close(&mut self) {
        self.opened = None;
    }

    /// The device, in whichever mode and state it is.
    pub(crate) fn opened(&mut self) -> Outcome<&Opened> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => Opened::any()?,
        };
        Ok(self.opened.insert(opened))
    }

    /// Takes the device, in whichever mode and state it is.
    pub(crate) fn take(&mut self) -> Outcome<Opened> {
        match self.opened.take() {
            Some(opened) => Ok(opened),
            None => Opened::any(),
        }
    }

    /// Gives back what was taken, or what came in its place.
    pub(crate) fn put(&mut self, opened: Opened) {
        self.opened = Some(opened);
    }

    /// The device in appIDLE.
    pub(crate) fn run_time(&mut self) -> Outcome<&Opened> {
        let opened = self.live()?;
        let opened = if opened.mode == Mode::Dfu {
            opened.to_idle()?;
            detach(opened)?;
            Opened::in_mode(Mode::RunTime)?
        } else {
            opened
        };
        Ok(self.opened.insert(opened))
    }

    /// The device in dfuIDLE.
    pub(crate) fn idle(&mut self) -> Outcome<&Opened> {
        let opened = self.live()?;
        let opened = if opened.mode == Mode::RunTime {
            detach(opened)?;
            Opened::in_mode(Mode::Dfu)?
        } else {
            opened
        };
        opened.to_idle()?;
        Ok(self.opened.insert(opened))
    }

    /// The device, opened anew if what was opened has left: behind an accepted package it does so by itself.
    fn live(&mut self) -> Outcome<Opened> {
        match self.opened.take() {
            Some(opened) if opened.status().is_ok() => Ok(opened),
            _ => Opened::any(),
        }
    }

    /// The device in a state of DFU mode that a host can bring it to and that stays.
    pub(crate) fn reach(&mut self, state: State) -> Outcome<&Opened> {
        let package = self.package.clone();
        let first = &package[..BLOCK];
        let opened = self.idle()?;
        match state {
            State::DfuIdle => {}
            State::DfuDnloadSync => opened.dnload(0, first)?,
            State::DfuDnbusy => {
                // All that is left is the verdict, for which the whole package is read back.
                opened.send_all(&package)?;
                opened.status()?;
                return self.opened();
            }
            State::DfuDnloadIdle => opened.block(0, first)?,
            State::DfuManifestSync | State::DfuManifest => {
                let next = opened.download(0, &package)?;
                opened.dnload(next, &[])?;
                if state == State::DfuManifest {
                    opened.status()?;
                    return self.opened();
                }
            }
            State::DfuError => {
                let upload = Request::Upload.setup(0, 0, 64);
                ensure_stall(upload, &opened.ask(upload, &[]))?;
            }
            State::AppIdle | State::AppDetach | State::DfuManifestWaitReset | State::DfuUploadIdle => {
                return Err(format!("{state} is not to be had"));
            }
        }
        let found = opened.state()?;
        ensure(found == state, || format!("on the way to {state} the device came to {found}"))?;
        self.opened()
    }

    /// What has to work behind everything: dfuIDLE, a first block that is checked and taken, an end of the session; and no
    /// slot has come to harm.
    pub(crate) fn works(&mut self) -> Outcome {
        let first = self.package[..BLOCK].to_vec();
        let opened = self.idle()?;
        opened.block(0, &first)?;
        opened.command(Request::Abort)?;
        opened.expect(State::DfuIdle, Status::Ok)?;
        let page = opened.page()?;
        let running = usize::from(page.running.number());
        ensure(page.slots[running] == SlotState::Good, || "the running slot is not good any more".into())?;
        ensure((page.state, page.result()) == (SessionState::Aborted, Some(ResultCode::Aborted)), || {
            format!("the session is {:?}, {:?}", page.state, page.result())
        })
    }

    /// The whole package, by the host's own sequence; then the device is back in run time.
    pub(crate) fn update(&mut self) -> Outcome {
        self.idle()?;
        self.close();
        let sightings = KernelBus.list().map_err(|e| e.to_string())?;
        let found = sightings.into_iter().find(|it| it.is_dfu()).ok_or("the device is gone")?;
        let mut bmc = match Bmc::open(&KernelBus, &found.place).map_err(|e| e.to_string())? {
            Recognised::Bmc(bmc) => bmc,
            Recognised::Foreign { reason, .. } => return Err(reason),
        };
        let interface = *bmc.interface();
        let mut rest = &self.package[..];
        let fill = |buffer: &mut [u8]| {
            let (block, behind) = rest.split_at(buffer.len());
            buffer.copy_from_slice(block);
            rest = behind;
            Ok(())
        };
        let ahead = bmc.status().map_err(|e| e.to_string())?.takes_ahead;
        let sent = dfu::Download { total: self.package.len() as u64, ahead };
        let end = dfu::download(bmc.device(), &interface, sent, &Cancel::default(), fill, |_| {});
        ensure(matches!(end, Ok(End::Idle)), || format!("the package is not taken: {end:?}"))?;
        let page = bmc.status().map_err(|e| e.to_string())?;
        ensure((page.state, page.result()) == (SessionState::Staged, Some(ResultCode::Ok)), || {
            format!("the session is {:?}, {:?}", page.state, page.result())
        })?;
        dfu::leave(bmc.device(), &interface);
        drop(bmc);
        self.opened = Some(Opened::in_mode(Mode::RunTime)?);
        Ok(())
    }
}

/// DETACH, and the device leaves.
pub(crate) fn detach(opened: Opened) -> Outcome {
    opened.command(Request::Detach)?;
    opened.wait_gone()
}

impl Opened {
    /// A request without data.
    pub(crate) fn command(&self, request: Request) -> Outcome {
        let value = if request == Request::Detach { 1000 } else { 0 };
        self.ask(request.setup(0, value, 0), &[]).map(drop).map_err(|e| format!("{request}: {e}"))
    }

    pub(crate) fn status(&self) -> Outcome<StatusReply> {
        let reply = self.ask(Request::GetStatus.setup(0, 0, 6), &[]);
        let bytes = reply.map_err(|e| format!("{}: {e}", Request::GetStatus))?;
        StatusReply::parse(&bytes).map_err(|e| format!("{}: {e}: {bytes:x?}", Request::GetStatus))
    }

    pub(crate) fn state(&self) -> Outcome<State> {
        let reply = self.ask(Request::GetState.setup(0, 0, 1), &[]);
        let bytes = reply.map_err(|e| format!("{}: {e}", Request::GetState))?;
        match bytes[..] {
            [number] => State::from_number(number).ok_or_else(|| format!("there is no state {number}")),
            _ => Err(format!("GETSTATE answers {} bytes", bytes.len())),
        }
    }

    /// The same right behind a request that was taken back: the gadget may have to refuse the one that follows (docs/kernels.md,
    /// Habits of FunctionFS).
    pub(crate) fn state_behind_a_cut(&self) -> Outcome<State> {
        self.state().or_else(|_| self.state())
    }

    /// GETSTATUS says exactly this.
    pub(crate) fn expect(&self, state: State, status: Status) -> Outcome {
        let found = self.status()?;
        ensure((found.state, found.status) == (state, status), || {
            format!("{} with {}, not {state} with {status}", found.state, found.status)
        })
    }

    /// DNLOAD, and nothing else.
    pub(crate) fn dnload(&self, number: u16, data: &[u8]) -> Outcome {
        let setup = Request::Dnload.setup(0, number, data.len() as u16);
        self.ask(setup, data).map(drop).map_err(|e| format!("block {number} of {} bytes: {e}", data.len()))
    }

    /// A block that is taken.
    pub(crate) fn block(&self, number: u16, data: &[u8]) -> Outcome {
        self.dnload(number, data)?;
        let reply = self.settle()?;
        ensure((reply.state, reply.status) == (State::DfuDnloadIdle, Status::Ok), || {
            format!("behind block {number} {} with {}", reply.state, reply.status)
        })
    }

    /// Blocks that are all taken, from this number on; returns the number behind them.
    pub(crate) fn download(&self, first: u16, data: &[u8]) -> Outcome<u16> {
        let mut number = first;
        for block in data.chunks(BLOCK) {
            self.block(number, block)?;
            number = number.wrapping_add(1);
        }
        Ok(number)
    }

    /// Blocks of which the last one is not asked about.
    pub(crate) fn send_all(&self, data: &[u8]) -> Outcome {
        let (start, last) = data.split_at((data.len() - 1) / BLOCK * BLOCK);
        let number = self.download(0, start)?;
        self.dnload(number, last)
    }

    /// GETSTATUS until the device is no longer at work on a block or on the manifestation.
    pub(crate) fn settle(&self) -> Outcome<StatusReply> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.status()?;
            let busy = matches!(
                reply.state,
                State::DfuDnloadSync | State::DfuDnbusy | State::DfuManifestSync | State::DfuManifest
            );
            if !busy || Instant::now() > deadline {
                return Ok(reply);
            }
            thread::sleep(Duration::from_millis(reply.poll_timeout_ms.into()));
        }
    }

    /// Brings a device in DFU mode to dfuIDLE.
    pub(crate) fn to_idle(&self) -> Outcome {
        for _ in 0..4 {
            let reply = self.settle()?;
            match reply.state {
                State::DfuIdle if reply.status == Status::Ok => return Ok(()),
                State::DfuError => self.command(Request::ClrStatus)?,
                _ => self.command(Request::Abort)?,
            }
        }
        Err(format!("it does not come to {}: {:?}", State::DfuIdle, self.status()?))
    }

    /// Page 0 of the vendor request.
    pub(crate) fn page(&self) -> Outcome<StatusPage> {
        let setup = Setup { request_type: 0xc1, request: status::REQUEST, value: 0, index: 0, length: 64 };
        let bytes = self.ask(setup, &[]).map_err(|e| format!("the status page: {e}"))?;
        StatusPage::decode(&bytes).map_err(|e| format!("the status page: {e}"))
    }
}
