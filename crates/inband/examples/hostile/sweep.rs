//! Every request there is, to a device at run time whose doors are shut: what descriptors.md, dfu.md and session.md name is answered, and what a gadget's kernel
//! answers by itself, to the length that it may have; all else is stalled, and nothing changes.

use std::time::Instant;

use inband_dfu::wire::{Request, State};
use inband_usb::{Recipient, RequestType, Setup};
use nusb::MaybeFuture as _;

use crate::{
    target::{Outcome, PATIENCE, ensure, ensure_stall},
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

/// So many are answered at least: GETSTATUS and GETSTATE with each wValue, and the status page, in each length but 0.
const ANSWERED: u32 = (2 + 2 + 1) * 3;

/// What may become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Exactly so many bytes, or as many of them as were asked for.
    Bytes(usize),
    /// So many at most, or STALL: the kernel of a gadget, or its controller, answers what it takes for a request that it knows.
    AtMost(usize),
    Stall,
    /// Nothing: this kernel does not let it out.
    NotSent,
    /// It changes address, configuration or interface: one by one, below.
    Apart,
}

fn expected(setup: Setup) -> Expected {
    let Setup { request_type, request, value, index, length } = setup;
    match (request_type, request) {
        // SET_ADDRESS, SET_CONFIGURATION, SET_INTERFACE.
        (0x00, 5 | 9) | (0x01, 11) => Expected::Apart,
        _ if is_kept_back(setup) => Expected::NotSent,
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

/// What usbfs looks at: whether there is the interface, or the endpoint, that the low byte of wIndex names, unless the request is a vendor's.
fn is_kept_back(setup: Setup) -> bool {
    let is_vendors = setup.kind() == RequestType::Vendor;
    let names_one = matches!(setup.recipient(), Recipient::Interface | Recipient::Endpoint);
    !is_vendors && names_one && setup.index & 0xff != 0
}

#[derive(Default)]
struct Count {
    answered: u32,
    stalled: u32,
    not_sent: u32,
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
    let Count { answered, stalled, not_sent } = count;
    let seconds = start.elapsed().as_secs();
    println!(
        "{answered} requests were answered, {stalled} stalled, {not_sent} kept back by this kernel, in {seconds} s"
    );
    ensure(answered >= ANSWERED && stalled > not_sent, || "those are too few".into())?;
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
                (Expected::NotSent, Reply::NotSent)
                | (Expected::Stall | Expected::AtMost(_), Reply::Stall) => true,
                (Expected::Bytes(bytes), Reply::Bytes(came)) => came == bytes.min(length.into()),
                // Of OUT requests that are taken, what was sent.
                (Expected::AtMost(most), Reply::Bytes(came)) => came <= most || request_type & 0x80 == 0,
                (Expected::Bytes(_), Reply::Stall)
                | (_, Reply::NotSent)
                | (Expected::Stall | Expected::NotSent | Expected::Apart, _) => false,
            };
            ensure(fits, || format!("{setup:x?} is answered with {reply:?}, not {expected:?}"))?;
            match reply {
                Reply::Bytes(_) => count.answered += 1,
                Reply::Stall => count.stalled += 1,
                Reply::NotSent => count.not_sent += 1,
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
    shut(&answering()?)
}

/// The device, when it answers: behind a reset it may refuse what comes before its program has seen that.
fn answering() -> Outcome<Opened> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened = Opened::in_mode(Mode::RunTime)?;
        match opened.state() {
            Err(_) if Instant::now() < deadline => {}
            answer => return answer.map(|_| opened),
        }
    }
}
