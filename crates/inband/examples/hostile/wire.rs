//! Requests of any shape to a device of this kernel, by nusb: libusb stops at 4096 bytes, the kernel does not.

use std::{
    future::{Future, IntoFuture},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use inband_usb::{Direction, Recipient, RequestType, Setup};
use nusb::{
    Device, DeviceInfo, Interface, MaybeFuture as _,
    transfer::{self, ControlIn, ControlOut, ControlType, TransferError},
};

use crate::target::{Outcome, ensure};

/// How long a request may take. A device that lets one wait this long has not answered.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
/// How long a device may take to show itself, also on a busy machine.
const ENUMERATION: Duration = Duration::from_secs(20);
/// Between two looks at what is on the bus.
const LOOK: Duration = Duration::from_millis(20);

/// What a request ended with; for IN the bytes that came.
pub(crate) type Reply = Result<Vec<u8>, TransferError>;

/// Which descriptor set a device shows: bInterfaceProtocol of its DFU interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    RunTime,
    Dfu,
}

/// A request that is on its way.
pub(crate) struct InFlight {
    future: Pin<Box<dyn Future<Output = Reply> + Send>>,
    deadline: Instant,
}

/// Wakes the thread that waits for a reply.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl InFlight {
    /// Waits for its end. It has a limit of its own; but usbfs says that a device is gone before it has given all transfers
    /// back, and nusb 0.2.9 then listens no more: those would never end.
    pub(crate) fn finish(mut self) -> Reply {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(reply) = self.future.as_mut().poll(&mut context) {
                return reply;
            }
            let left = (self.deadline + Duration::from_secs(1)).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TransferError::Disconnected);
            }
            thread::park_timeout(left);
        }
    }
}

/// The DFU device on this machine's USB with its DFU interface claimed.
pub(crate) struct Opened {
    pub(crate) mode: Mode,
    pub(crate) device: Device,
    interface: Interface,
    id: nusb::DeviceId,
    path: PathBuf,
}

impl Opened {
    /// Opens the device that is there, in whichever mode, or comes in a moment.
    pub(crate) fn any() -> Outcome<Self> {
        Self::open(|_| true)
    }

    /// The same for a mode.
    pub(crate) fn in_mode(mode: Mode) -> Outcome<Self> {
        Self::open(|found| found == mode)
    }

    fn open(wanted: impl Fn(Mode) -> bool) -> Outcome<Self> {
        let deadline = Instant::now() + ENUMERATION;
        let mut last = "nothing is there".to_owned();
        while Instant::now() < deadline {
            for (info, mode) in devices()? {
                if !wanted(mode) {
                    last = format!("it is in the other mode: {mode:?}");
                    continue;
                }
                // It may be about to leave, or has just come.
                let opened = info.open().wait().and_then(|device| {
                    let interface = device.claim_interface(0).wait()?;
                    Ok(Self { mode, device, interface, id: info.id(), path: info.sysfs_path().to_owned() })
                });
                match opened {
                    Ok(opened) => return Ok(opened),
                    Err(error) => last = error.to_string(),
                }
            }
            thread::sleep(LOOK);
        }
        Err(format!("no device to open: {last}"))
    }

    /// Waits until the bus no longer has this device.
    pub(crate) fn wait_gone(self) -> Outcome {
        let deadline = Instant::now() + ENUMERATION;
        while devices()?.iter().any(|(info, _)| info.id() == self.id) {
            if Instant::now() > deadline {
                return Err("the device does not leave the bus".into());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Sends a request and does not wait for it; `data` is exactly wLength bytes long if its direction is OUT. After
    /// `limit` the kernel takes it back, whatever stage it is in.
    pub(crate) fn send(&self, setup: Setup, data: &[u8], limit: Duration) -> InFlight {
        let control_type = match setup.kind() {
            RequestType::Class => ControlType::Class,
            RequestType::Vendor => ControlType::Vendor,
            // The reserved one nusb does not know.
            RequestType::Standard | RequestType::Reserved => ControlType::Standard,
        };
        let recipient = match setup.recipient() {
            Recipient::Device => transfer::Recipient::Device,
            Recipient::Interface => transfer::Recipient::Interface,
            Recipient::Endpoint => transfer::Recipient::Endpoint,
            Recipient::Other | Recipient::Reserved(_) => transfer::Recipient::Other,
        };
        let Setup { request, value, index, length, .. } = setup;
        let future: Pin<Box<dyn Future<Output = Reply> + Send>> = match setup.direction() {
            Direction::In => {
                let control = ControlIn { control_type, recipient, request, value, index, length };
                Box::pin(self.interface.control_in(control, limit).into_future())
            }
            Direction::Out => {
                let control = ControlOut { control_type, recipient, request, value, index, data };
                Box::pin(self.interface.control_out(control, limit).map_ok(|()| Vec::new()).into_future())
            }
        };
        InFlight { future, deadline: Instant::now() + limit }
    }

    /// Makes a request.
    pub(crate) fn ask(&self, setup: Setup, data: &[u8]) -> Reply {
        self.send(setup, data, LIMIT).finish()
    }

    /// Makes a request with rubbish for its data stage.
    pub(crate) fn ask_with_rubbish(&self, setup: Setup) -> Reply {
        self.ask(setup, &rubbish(setup.length.into()))
    }

    /// SET_INTERFACE with alternate setting 0.
    pub(crate) fn set_interface(&self) -> Outcome {
        self.interface.set_alt_setting(0).wait().map_err(|e| format!("SET_INTERFACE: {e}"))
    }

    /// The port of the hub that it is on, in sysfs.
    pub(crate) fn port(&self) -> Outcome<PathBuf> {
        self.path.join("port").canonicalize().map_err(|e| format!("the port of the device: {e}"))
    }

    /// Lets go of the interface.
    pub(crate) fn into_device(self) -> Device {
        self.device
    }

    /// Resets the port. nusb wants the device to be opened again then.
    pub(crate) fn reset(self) -> Outcome {
        match self.into_device().reset().wait() {
            // It came back with other descriptors, or left.
            Err(error) if error.kind() == nusb::ErrorKind::Disconnected => Ok(()),
            other => other.map_err(|e| format!("a bus reset: {e}")),
        }
    }

    /// What a second program can do beside the one that has claimed the interface.
    pub(crate) fn second_program(&self) -> Outcome {
        let (info, _) =
            devices()?.into_iter().find(|(it, _)| it.id() == self.id).ok_or("the device is gone")?;
        let second = info.open().wait().map_err(|e| format!("a second program: {e}"))?;
        let claimed = second.claim_interface(0).wait().map(drop).map_err(|e| e.kind());
        ensure(claimed == Err(nusb::ErrorKind::Busy), || format!("a second claim: {claimed:?}"))?;
        let (control_type, recipient) = (ControlType::Class, transfer::Recipient::Device);
        for request in 0..7 {
            let abort = ControlOut { control_type, recipient, request, value: 0, index: 0, data: &[] };
            let reply = second.control_out(abort, LIMIT).wait();
            ensure(reply == Err(TransferError::Stall), || format!("a second program's request: {reply:?}"))?;
        }
        Ok(())
    }
}

/// The file of usbfs of the DFU device that is there.
pub(crate) fn node() -> Outcome<PathBuf> {
    let (info, _) = devices()?.into_iter().next().ok_or("no device is there")?;
    Ok(format!("/dev/bus/usb/{:03}/{:03}", info.busnum(), info.device_address()).into())
}

/// The DFU devices there are.
fn devices() -> Outcome<Vec<(DeviceInfo, Mode)>> {
    let all = nusb::list_devices().wait().map_err(|e| format!("no list of devices: {e}"))?;
    Ok(all
        .filter_map(|info| {
            let dfu = info.interfaces().find(|it| (it.class(), it.subclass()) == (0xfe, 0x01))?;
            let mode = if dfu.protocol() == 2 { Mode::Dfu } else { Mode::RunTime };
            Some((info, mode))
        })
        .collect())
}

/// Bytes that are nothing.
pub(crate) fn rubbish(length: usize) -> Vec<u8> {
    vec![0x5a; length]
}
