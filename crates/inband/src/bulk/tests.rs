use std::io::Cursor;

use inband_bulk::{
    ChunkSet,
    wire::{Kind, message},
};
use inband_dfu::{
    host::InterfaceMode,
    wire::{FunctionalDescriptor, Request},
};
use inband_usb::{EndpointAddress, HostCompletion};

use super::*;

/// From one transfer that is taken to the next: no transfer takes so long that the host gives up for it.
const STEP: Duration = Duration::from_secs(100);
const PIECES: u32 = 200;

/// Asks for all of a file, and takes a piece every [`STEP`]. Its clock goes on while somebody waits.
#[derive(Default)]
struct Slow {
    now: Duration,
    made: u64,
    /// Transfers to it that have not ended, oldest first.
    outs: VecDeque<HostCompletion>,
    /// When it took the last one.
    took_at: Duration,
    asked: Option<(TransferId, usize)>,
    /// What it has to say.
    unsent: VecDeque<u8>,
    ended: VecDeque<HostCompletion>,
    taken: u32,
    aborted: bool,
}

impl HostDevice for Slow {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        self.made += 1;
        let id = TransferId(self.made);
        match transfer {
            HostTransfer::BulkOut { data, .. } => {
                let sent = HostCompletion { id, length: data.len(), data, result: Ok(()) };
                if self.made > 1 {
                    self.outs.push_back(sent);
                } else {
                    let exchange = sent.data[8..12].try_into().map(u32::from_le_bytes).unwrap();
                    let body = ChunkSet::all(PIECES).to_need(&[PIECE_LENGTH; PIECES as usize]);
                    self.unsent.extend(message(Kind::Need, exchange, 0, &body));
                    self.ended.push_back(sent);
                }
            }
            HostTransfer::BulkIn { length, .. } => self.asked = Some((id, length)),
            HostTransfer::ControlOut { setup, data } => {
                self.aborted = setup == Request::Abort.setup(0, 0, 0);
                self.ended.push_back(HostCompletion { id, length: 0, data, result: Ok(()) });
            }
            HostTransfer::ControlIn { .. } => panic!("nothing is asked"),
        }
        Ok(id)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        if let Some((id, length)) = self.asked.take_if(|(_, length)| *length <= self.unsent.len()) {
            let data = self.unsent.drain(..length).collect();
            return Some(HostCompletion { id, data, length, result: Ok(()) });
        }
        if self.now >= self.took_at + STEP
            && let Some(taken) = self.outs.pop_front()
        {
            self.took_at = self.now;
            self.taken += 1;
            return Some(taken);
        }
        self.ended.pop_front()
    }

    fn cancel(&mut self, id: TransferId) {
        self.asked.take_if(|(asked, _)| *asked == id);
        self.outs.retain(|sent| sent.id != id);
        let result = Err(HostError::Cancelled);
        self.ended.push_back(HostCompletion { id, data: Vec::new(), length: 0, result });
    }

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

/// A device that always takes a little does not hold a user for as long as it likes.
#[test]
fn a_slow_device_is_given_up_and_told() {
    let dfu =
        DfuInterface { number: 0, mode: InterfaceMode::Dfu, name: 0, functional: FunctionalDescriptor::OURS };
    let bulk = BulkInterface { number: 1, output: EndpointAddress(0x01), input: EndpointAddress(0x81) };
    let length = u64::from(PIECES * PIECE_LENGTH);
    let mut file = Cursor::new(vec![0; length as usize]);
    let (mut device, limits) = (Slow::default(), Limits::default());
    let end = exchange(
        &mut device,
        Interfaces { dfu, bulk },
        &Load::whole(length),
        &mut file,
        limits,
        &Cancel::default(),
        &mut |_| {},
    );
    assert!(matches!(end, Err(Stop::Device(DeviceError::Bulk(BulkError::TooSlow)))), "{end:?}");
    assert!(device.now >= limits.sending && device.now < limits.sending + STEP, "{:?}", device.now);
    // It was taking to the last: 7200 s, a piece every 100 s.
    assert!(device.taken >= 71 && device.aborted, "{}", device.taken);
}
