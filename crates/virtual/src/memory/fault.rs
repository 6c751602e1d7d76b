//! Faults to order: what happens to which transfer at which step.

use std::time::Duration;

use inband_usb::{Setup, chapter9::request};

/// Where in a transfer a fault happens.
///
/// A step the transfer does not have (the data stage of a request without data, or of one that is stalled; more bytes than it
/// moves) happens when it is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before the device learns of it: a lost SETUP, the bulk transfer not begun.
    Setup,
    /// After so many bytes of the data stage; for bulk rounded down to whole packets of 512.
    Data(usize),
    /// When all data has moved and the device has answered, but the host does not know yet.
    Status,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The cable is pulled, and stays out until [`Bus::plug`](super::Bus::plug).
    Unplug,
    /// A bus reset, by whoever: the device is disabled and configured again, all transfers end as cancelled.
    Reset,
    /// The transfer goes no further; it is for the host to give it up.
    Drop,
    /// A control transfer ends as cancelled and this request takes its place; a bulk transfer goes on beside it. Nobody gets the answer.
    NewSetup(Setup, Vec<u8>),
    /// The transfer goes on after this time.
    Delay(Duration),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The transfer it happens to, in the order all hosts together submit them, from 0. Of several faults for one transfer only the
    /// first counts.
    pub transfer: u64,
    /// Where.
    pub step: Step,
    /// What.
    pub action: Action,
}

/// The faults of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    faults: Vec<Fault>,
}

impl FaultPlan {
    /// These faults.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect() }
    }

    /// So many faults of every kind among the first `transfers` transfers, the same for the same arguments.
    #[must_use]
    pub fn random(seed: u64, count: usize, transfers: u64) -> Self {
        let mut random = Random(seed);
        Self::new((0..count).map(|_| Fault {
            transfer: random.below(transfers),
            step: match random.below(3) {
                0 => Step::Setup,
                1 => Step::Data(random.below(4097) as usize),
                _ => Step::Status,
            },
            action: match random.below(5) {
                0 => Action::Unplug,
                1 => Action::Reset,
                2 => Action::Drop,
                3 => random.request(),
                _ => Action::Delay(Duration::from_millis(1 + random.below(5000))),
            },
        }))
    }

    /// All of them.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The fault of a transfer.
    pub(super) fn of(&self, transfer: u64) -> Option<Fault> {
        self.faults.iter().find(|fault| fault.transfer == transfer).cloned()
    }
}

/// SplitMix64: enough for test plans, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// GET_STATUS, or something near a class request to the first interface.
    fn request(&mut self) -> Action {
        if self.below(3) == 0 {
            let setup =
                Setup { request_type: 0x80, request: request::GET_STATUS, value: 0, index: 0, length: 2 };
            return Action::NewSetup(setup, Vec::new());
        }
        let to_host = self.below(2) == 0;
        let length = self.below(65) as u16;
        let setup = Setup {
            request_type: if to_host { 0xa1 } else { 0x21 },
            request: self.below(8) as u8,
            value: self.below(4) as u16,
            index: 0,
            length,
        };
        let data = if to_host { 0 } else { length };
        Action::NewSetup(setup, (0..data).map(|_| self.next() as u8).collect())
    }
}
