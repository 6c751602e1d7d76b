//! Bulk transfers of all gadgets of one process, in one AIO queue.

use std::{collections::VecDeque, os::fd::AsFd as _};

use inband_usb::{Completion, Direction, EndpointAddress, SubmitError, TransferError};
use rustix::io::Errno;

use crate::{
    instance::Instance,
    sys::aio::{Ended, Queue},
};

/// Most transfers in flight on one endpoint.
const PER_ENDPOINT: usize = 16;
/// Most transfers in flight at all. The system gives 65,536 away (fs.aio-max-nr).
const DEPTH: usize = PER_ENDPOINT * 16;

/// Names a transfer in the kernel's hands.
struct Tag {
    /// Which attachment it belongs to.
    attachment: u64,
    endpoint: EndpointAddress,
    /// Position among the endpoint's transfers.
    sequence: u64,
    /// Why it was asked to end.
    ending: Option<TransferError>,
}

/// One endpoint of what is attached, or was and has transfers to come home.
struct Pipe {
    attachment: u64,
    endpoint: EndpointAddress,
    /// Sequence of the next transfer submitted.
    next: u64,
    /// In flight or ended, in order of submission.
    order: VecDeque<Slot>,
    /// To be halted once its transfers have left: an IN endpoint with data to send cannot be. Some controllers keep the last packet of a
    /// transfer that has ended until the host takes it, and say EAGAIN so long. What is submitted meanwhile waits behind the halt.
    halt_due: bool,
}

impl Pipe {
    /// Whether all there is waits behind a halt.
    fn is_idle(&self) -> bool {
        self.order.iter().all(|slot| slot.waiting.is_some())
    }

    /// Ends the transfers that wait behind a halt, which there is none any more.
    fn end_waiting(&mut self, why: TransferError) {
        self.halt_due = false;
        let endpoint = self.endpoint;
        for slot in &mut self.order {
            slot.ended = slot.ended.take().or_else(|| {
                let buffer = slot.waiting.take()?;
                Some(Completion { endpoint, buffer, length: 0, result: Err(why) })
            });
        }
    }
}

/// A transfer in order. They can end out of order: the kernel hands them on by way of a work queue, which older kernels run with
/// several workers, and one that cannot even begin ends at once.
struct Slot {
    sequence: u64,
    /// It is not in the kernel's hands yet: a halt comes first.
    waiting: Option<Vec<u8>>,
    ended: Option<Completion>,
}

/// See the module.
pub(crate) struct Bulk {
    queue: Queue<Tag>,
    /// The attachment there is, or that will be next.
    attachment: u64,
    pipes: Vec<Pipe>,
    /// A transfer of the attachment has failed, and that was told: a host could have it told again and again.
    told: bool,
}

impl Bulk {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { queue: Queue::new(DEPTH)?, attachment: 0, pipes: Vec::new(), told: false })
    }

    pub(crate) fn event(&self) -> std::os::fd::BorrowedFd<'_> {
        self.queue.event()
    }

    /// Something is attached that has these endpoints.
    pub(crate) fn attach(&mut self, endpoints: impl Iterator<Item = EndpointAddress>) {
        let attachment = self.attachment;
        let pipe = |endpoint| Pipe { attachment, endpoint, next: 0, order: VecDeque::new(), halt_due: false };
        self.pipes.extend(endpoints.map(pipe));
        self.told = false;
    }

    /// It is no longer. Its transfers end.
    pub(crate) fn detach(&mut self) {
        self.disable();
        self.attachment += 1;
        self.forget_old();
    }

    /// Forgets pipes of attachments that have ended whose transfers are home.
    fn forget_old(&mut self) {
        let attachment = self.attachment;
        self.pipes.retain(|pipe| pipe.attachment == attachment || !pipe.order.is_empty());
    }

    /// The pipe at a position of the set that is attached.
    fn pipe(&mut self, index: usize) -> Option<&mut Pipe> {
        let attachment = self.attachment;
        self.pipes.iter_mut().filter(|pipe| pipe.attachment == attachment).nth(index)
    }

    /// The host disabled the endpoints, or enabled them anew. The kernel has ended the transfers there were; one that was
    /// submitted a moment later, for what was before, is ended here.
    pub(crate) fn disable(&mut self) {
        let attachment = self.attachment;
        for pipe in &mut self.pipes {
            pipe.end_waiting(TransferError::Disabled);
        }
        self.end(|tag| tag.attachment == attachment, TransferError::Disabled);
    }

    /// Takes an endpoint's transfers back, and a halt that was to come behind some.
    pub(crate) fn cancel(&mut self, endpoint: EndpointAddress) {
        let attachment = self.attachment;
        let mut pipes = self.pipes.iter_mut();
        if let Some(pipe) = pipes.find(|pipe| (pipe.attachment, pipe.endpoint) == (attachment, endpoint)) {
            pipe.end_waiting(TransferError::Cancelled);
        }
        self.end(|tag| tag.attachment == attachment && tag.endpoint == endpoint, TransferError::Cancelled);
    }

    fn end(&mut self, fits: impl Fn(&Tag) -> bool, why: TransferError) {
        for tag in self.queue.tags_mut().filter(|tag| fits(tag)) {
            tag.ending = Some(why);
        }
        self.queue.cancel(fits);
    }

    /// Whether transfers are still in the kernel's hands, be they of what was attached before: its endpoints may have the same names.
    pub(crate) fn is_busy(&self) -> bool {
        self.queue.tags().next().is_some()
    }

    /// Whether a halt waits for the controller, which will not tell when it may be tried again.
    pub(crate) fn is_halting(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.attachment == self.attachment && pipe.halt_due && pipe.is_idle())
    }

    /// Whether something has ended that the kernel does not know of: nothing ends a wait for it.
    pub(crate) fn has_ended(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.order.front().is_some_and(|slot| slot.ended.is_some()))
    }

    /// Submits to the endpoint at a position of the set.
    pub(crate) fn submit(
        &mut self,
        instance: &Instance,
        index: usize,
        buffer: Vec<u8>,
    ) -> Result<(), SubmitError> {
        let attachment = self.attachment;
        let (Some(pipe), Some(file)) = (self.pipe(index), instance.endpoints.get(index)) else {
            return Err(SubmitError::NoEndpoint(buffer));
        };
        if pipe.order.len() >= PER_ENDPOINT {
            return Err(SubmitError::Full(buffer));
        }
        let (endpoint, sequence) = (pipe.endpoint, pipe.next);
        if pipe.halt_due {
            pipe.next += 1;
            pipe.order.push_back(Slot { sequence, waiting: Some(buffer), ended: None });
            return Ok(());
        }
        let tag = Tag { attachment, endpoint, sequence, ending: None };
        match self.queue.submit(file.as_fd(), endpoint.direction(), buffer, tag) {
            Ok(()) => {
                if let Some(pipe) = self.pipe(index) {
                    pipe.next += 1;
                    pipe.order.push_back(Slot { sequence, waiting: None, ended: None });
                }
                Ok(())
            }
            Err((buffer, Errno::AGAIN)) => Err(SubmitError::Full(buffer)),
            Err((buffer, error)) => {
                log::debug!("submitting to endpoint {:#04x}: {error}", endpoint.0);
                Err(SubmitError::Disabled(buffer))
            }
        }
    }

    /// Halts the endpoint at a position of the set: now, or when its data has left.
    pub(crate) fn halt(&mut self, instance: &Instance, index: usize) {
        let Some(pipe) = self.pipe(index) else { return };
        match pipe.endpoint.direction() {
            Direction::In => {
                pipe.halt_due = true;
                self.try_halts(instance);
            }
            Direction::Out => _ = instance.halt(index, Direction::Out),
        }
    }

    /// Halts what may be halted now, and hands the kernel what waited behind.
    fn try_halts(&mut self, instance: &Instance) {
        let Self { queue, attachment, pipes, .. } = self;
        let attached = pipes.iter_mut().filter(|pipe| pipe.attachment == *attachment);
        for (index, pipe) in attached.enumerate() {
            if !pipe.halt_due || !pipe.is_idle() || !instance.halt(index, pipe.endpoint.direction()) {
                continue;
            }
            pipe.halt_due = false;
            let Some(file) = instance.endpoints.get(index) else { continue };
            let (attachment, endpoint) = (pipe.attachment, pipe.endpoint);
            for slot in &mut pipe.order {
                let Some(buffer) = slot.waiting.take() else { continue };
                let tag = Tag { attachment, endpoint, sequence: slot.sequence, ending: None };
                if let Err((buffer, error)) = queue.submit(file.as_fd(), endpoint.direction(), buffer, tag) {
                    log::debug!("submitting to endpoint {:#04x} behind a halt: {error}", endpoint.0);
                    let result = Err(TransferError::Disabled);
                    slot.ended = Some(Completion { endpoint, buffer, length: 0, result });
                }
            }
        }
    }

    /// Hands out what has come home, in order for each endpoint. `instance` is what is attached.
    pub(crate) fn reap(&mut self, instance: Option<&Instance>, mut each: impl FnMut(Completion)) {
        let Self { queue, pipes, told, .. } = self;
        queue.reap(|ended| {
            let (its, sequence) = (ended.tag.attachment, ended.tag.sequence);
            let completion = complete(ended, told);
            let pipe =
                pipes.iter_mut().find(|pipe| pipe.attachment == its && pipe.endpoint == completion.endpoint);
            let Some(pipe) = pipe else { return };
            if let Some(slot) = pipe.order.iter_mut().find(|slot| slot.sequence == sequence) {
                slot.ended = Some(completion);
            }
            hand_out(pipe, &mut each);
        });
        if let Some(instance) = instance {
            self.try_halts(instance);
        }
        self.pipes.iter_mut().for_each(|pipe| hand_out(pipe, &mut each));
        self.forget_old();
    }
}

/// What has ended and has nothing before it that has not.
fn hand_out(pipe: &mut Pipe, each: &mut impl FnMut(Completion)) {
    while let Some(completion) = pipe.order.front_mut().and_then(|slot| slot.ended.take()) {
        pipe.order.pop_front();
        each(completion);
    }
}

/// What the kernel's result means. A failure is told in the log unless one was.
fn complete(ended: Ended<Tag>, told: &mut bool) -> Completion {
    let Ended { tag, buffer, result } = ended;
    let (length, result) = match result {
        Ok(length) => (length, Ok(())),
        Err(Errno::OVERFLOW) => (0, Err(TransferError::Overflow)),
        Err(error) => {
            // ESHUTDOWN when the endpoint was disabled; ECONNRESET when we asked for it; EAGAIN when it was not yet enabled.
            let expected = [Errno::SHUTDOWN, Errno::CONNRESET, Errno::AGAIN, Errno::NODEV, Errno::INTR];
            let why = if expected.contains(&error) {
                TransferError::Disabled
            } else {
                if !std::mem::replace(told, true) {
                    log::warn!("a transfer on endpoint {:#04x} failed: {error}", tag.endpoint.0);
                }
                TransferError::Failed
            };
            // If the kernel says that the endpoint was disabled, so it was, whatever else was asked for.
            let asked = if error == Errno::SHUTDOWN { None } else { tag.ending };
            (0, Err(asked.unwrap_or(why)))
        }
    };
    Completion { endpoint: tag.endpoint, buffer, length, result }
}
