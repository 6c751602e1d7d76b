//! Every request there is, to a device at run time whose doors are shut: what descriptors.md, dfu.md and session.md name is answered, and what a gadget's kernel
//! answers by itself, to the length that it may have; all else is stalled, and nothing changes.

use std::time::{Duration, Instant};

use inband_dfu::wire::{Request, State};
use inband_usb::Setup;
use nusb::MaybeFuture as _;

use crate::{
    target::{Outcome, ensure, ensure_stall},
    usbfs::{Raw, Reply},
    wire::{LIMIT, Mode, Opened, node},
};

/// Which pairs of bRequest and bmRequestType.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// Those whose sum is a multiple of 4, and all with a number that means something; each length once, with one or the other wValue and wIndex.
    Quarter,
    /// All of them, each length with each wValue and wIndex.
    All,
}

impl Pairs {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "quarter" => Some(Self::Quarter),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

const LENGTHS: [u16; 4] = [0, 1, 4096, 65_535];
/// wValue and wIndex.
const NUMBERS: [(u16, u16); 4] = [(0, 0), (0, 0xffff), (0xffff, 0), (0xffff, 0xffff)];
/// bRequest of all that descriptors, DFU, the vendor request and Microsoft's know.
const KNOWN: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x49, 0x4d];

/// What may become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Exactly so many bytes, or as many of them as were asked for.
    Bytes(usize),
    /// So many at most, or STALL: the kernel of a gadget, or its controller, answers what it takes for a request that it knows.
    AtMost(usize),
    Stall,
    /// It changes address, configuration or interface: one by one, below.
    Apart,
}

fn expected(setup: Setup) -> Expected {
    let Setup { request_type, request, value, index, length } = setup;
    match (request_type, request) {
        // SET_ADDRESS, SET_CONFIGURATION, SET_INTERFACE.
        (0x00, 5 | 9) | (0x01, 11) => Expected::Apart,
        // GET_STATUS, GET_CONFIGURATION, GET_INTERFACE.
        (0x80..=0x82, 0) => Expected::AtMost(2),
        (0x80, 8) | (0x81, 10) => Expected::AtMost(1),
        // CLEAR_FEATURE, SET_FEATURE.
        (0x00..=0x02, 1 | 3) => Expected::AtMost(0),
        // GETSTATUS, GETSTATE, and the status page.
        (0xa1, 3) if index == 0 && length > 0 => Expected::Bytes(6),
        (0xa1, 5) if index == 0 && length > 0 => Expected::Bytes(1),
        (0xc1, 0x49) if (value, index) == (0, 0) && length > 0 => Expected::Bytes(58),
        _ => Expected::Stall,
    }
}

#[derive(Default)]
struct Count {
    answered: u32,
    stalled: u32,
    /// This kernel did not let it out.
    kept: u32,
}

pub(crate) fn run(pairs: Pairs) -> Outcome {
    let opened = Opened::in_mode(Mode::RunTime)?;
    let before = opened.page()?;
    shut(&opened)?;
    drop(opened);
    let start = Instant::now();
    let raw = Raw::open(&node()?).map_err(|e| format!("usbfs: {e}"))?;
    let mut count = Count::default();
    for (request_type, request) in (0..=255_u8).flat_map(|one| (0..=255_u8).map(move |other| (one, other))) {
        let is_asked =
            pairs == Pairs::All || request_type.wrapping_add(request) % 4 == 0 || KNOWN.contains(&request);
        if is_asked {
            one_pair(&raw, pairs, request_type, request, &mut count)?;
        }
    }
    drop(raw);
    let Count { answered, stalled, kept } = count;
    let seconds = start.elapsed().as_secs();
    println!(
        "{answered} requests were answered, {stalled} stalled, {kept} kept back by this kernel, in {seconds} s"
    );
    let opened = Opened::in_mode(Mode::RunTime)?;
    ensure(opened.page()? == before, || "something has changed".into())?;
    shut(&opened)?;
    one_by_one(opened)
}

fn one_pair(raw: &Raw, pairs: Pairs, request_type: u8, request: u8, count: &mut Count) -> Outcome {
    let turn = usize::from(request_type / 4) + usize::from(request);
    for (place, length) in LENGTHS.into_iter().enumerate() {
        for (number, (value, index)) in NUMBERS.into_iter().enumerate() {
            let known = KNOWN.contains(&request);
            if pairs == Pairs::Quarter && !known && number != (place + turn) % NUMBERS.len() {
                continue;
            }
            let setup = Setup { request_type, request, value, index, length };
            let expected = expected(setup);
            if expected == Expected::Apart {
                continue;
            }
            let reply = raw.ask(setup, LIMIT).map_err(|e| format!("{setup:x?}: {e}"))?;
            let fits = match (expected, reply) {
                (_, Reply::NotSent) | (Expected::Stall | Expected::AtMost(_), Reply::Stall) => true,
                (Expected::Bytes(bytes), Reply::Bytes(came)) => came == bytes.min(length.into()),
                // Of OUT requests that are taken, what was sent.
                (Expected::AtMost(most), Reply::Bytes(came)) => came <= most || request_type & 0x80 == 0,
                (Expected::Bytes(_), Reply::Stall) | (Expected::Stall | Expected::Apart, _) => false,
            };
            ensure(fits, || format!("{setup:x?} is answered with {reply:?}, not {expected:?}"))?;
            match reply {
                Reply::Bytes(_) => count.answered += 1,
                Reply::Stall => count.stalled += 1,
                Reply::NotSent => count.kept += 1,
            }
        }
    }
    Ok(())
}

/// appIDLE, and DETACH is refused.
fn shut(opened: &Opened) -> Outcome {
    let detach = Request::Detach.setup(0, 1000, 0);
    ensure_stall(detach, &opened.ask(detach, &[]))?;
    let state = opened.state()?;
    ensure(state == State::AppIdle, || format!("it is in {state}"))
}

/// Requests that change address, configuration or interface. An address is given by the host's kernel, with a reset of the port: a request for another one
/// behind its back would leave a device that nobody can speak to, and so USB has it.
fn one_by_one(opened: Opened) -> Outcome {
    for _ in 0..3 {
        opened.set_interface()?;
        shut(&opened)?;
    }
    let device = opened.into_device();
    for configuration in [0, 1, 0, 1] {
        device.set_configuration(configuration).wait().map_err(|e| format!("SET_CONFIGURATION: {e}"))?;
    }
    drop(device);
    let opened = Opened::in_mode(Mode::RunTime)?;
    shut(&opened)?;
    // A reset gives it an address, and a configuration. USB/IP carries none, and says so by doing nothing.
    opened.reset()?;
    std::thread::sleep(Duration::from_millis(100));
    shut(&Opened::in_mode(Mode::RunTime)?)
}
