//! The trait.

use std::task::Poll;

use inband_usb::{
    ControlError, DescriptorSet, DeviceBackend, DeviceEvent, Direction, EndpointAddress, Recipient,
    RequestType, Setup, SubmitError, chapter9::request, descriptor::BULK_PACKET_SIZE,
};

use super::{Attached, Gadget};
use crate::{
    GadgetError,
    answer::Answer,
    ep0::{Change, Request},
};

/// The answer to GET_STATUS of an interface (USB 2.0, 9.4.5): all reserved.
const INTERFACE_STATUS: [u8; 2] = [0; 2];

impl Attached {
    /// The position of an endpoint among the set's.
    fn index(&self, endpoint: EndpointAddress) -> Option<usize> {
        self.set.endpoints().position(|it| it == endpoint)
    }

    /// A request as the set names things: the kernel gives the number of an endpoint's file.
    fn translate(&self, mut setup: Setup) -> Setup {
        if setup.recipient() == Recipient::Endpoint {
            let file = usize::from(setup.index & 0xff);
            let endpoint = file.checked_sub(1).and_then(|index| self.set.endpoints().nth(index));
            setup.index = endpoint.map_or(0, |endpoint| endpoint.0.into());
        }
        setup
    }
}

impl Gadget {
    /// The next change that is the function's.
    fn next_change(&mut self) -> Option<DeviceEvent> {
        loop {
            let busy = self.bulk.as_ref().is_some_and(super::Bulk::is_busy);
            let attached = self.attached.as_mut()?;
            let own = match attached.ep0.peek()? {
                // First the transfers of before come home.
                Change::Enable if busy => return None,
                Change::Setup(setup) => match setup.kind() {
                    RequestType::Class | RequestType::Vendor => None,
                    RequestType::Standard | RequestType::Reserved => Some(setup),
                },
                Change::Enable | Change::Disable | Change::Suspend | Change::Resume => None,
            };
            if let Some(setup) = own {
                self.answer_own(setup);
                continue;
            }
            return Some(match attached.ep0.next()? {
                Change::Enable => {
                    attached.enabled = true;
                    DeviceEvent::Enable
                }
                Change::Disable => {
                    attached.enabled = false;
                    DeviceEvent::Disable
                }
                Change::Suspend => DeviceEvent::Suspend,
                Change::Resume => DeviceEvent::Resume,
                Change::Setup(setup) => DeviceEvent::Setup(attached.translate(setup)),
            });
        }
    }

    /// A standard request that the kernel leaves to the function. Of these GET_STATUS has an answer.
    fn answer_own(&mut self, setup: Setup) {
        let Some(attached) = &mut self.attached else { return };
        let instance = &self.instances[attached.instance];
        attached.ep0.take_own();
        let status = setup.kind() == RequestType::Standard
            && setup.request == request::GET_STATUS
            && setup.request_type == 0x81
            && setup.length > 0;
        if status {
            let length = INTERFACE_STATUS.len().min(setup.length.into());
            self.answerer.start(&instance.ep0, Answer::Data(INTERFACE_STATUS[..length].to_vec()));
        } else {
            attached.ep0.refuse_own(instance, setup.direction());
        }
    }

    /// The request the function may answer, as far as is known by now.
    fn held(&self) -> Result<Setup, ControlError> {
        if self.cancelled {
            return Err(ControlError::Cancelled);
        }
        match self.attached.as_ref().map(|attached| &attached.ep0.request) {
            Some(Request::Held(setup)) => Ok(*setup),
            Some(Request::Cancelled | Request::Own { cancelled: true }) => Err(ControlError::Cancelled),
            Some(
                Request::None
                | Request::Answering { .. }
                | Request::Answered(_)
                | Request::Own { cancelled: false },
            )
            | None => Err(ControlError::Misuse),
        }
    }

    fn refuse(&mut self, setup: Setup) -> Result<(), ControlError> {
        let Some(attached) = &mut self.attached else { return Err(ControlError::Misuse) };
        attached.ep0.refuse(&self.instances[attached.instance], setup)
    }

    fn misuse(&mut self, setup: Setup) -> ControlError {
        // Too late is all the same.
        let _ = self.refuse(setup);
        ControlError::Misuse
    }

    fn answer(&mut self, answer: Answer, read: bool) {
        let Some(attached) = &mut self.attached else { return };
        attached.ep0.request = Request::Answering { read };
        self.answerer.start(&self.instances[attached.instance].ep0, answer);
    }

    /// Reads what the kernel has to say, outside of `poll_event`: the next wait must not go on over it.
    fn look(&mut self) {
        self.pull();
        let queued = self.attached.as_ref().is_some_and(|attached| attached.ep0.peek().is_some());
        if queued || !self.due.is_empty() {
            self.waiter.waker().wake();
        }
    }
}

impl DeviceBackend for Gadget {
    type Error = GadgetError;

    fn attach(&mut self, descriptors: &DescriptorSet) -> Result<(), GadgetError> {
        self.do_attach(descriptors)
    }

    fn detach(&mut self) -> Result<(), GadgetError> {
        self.do_detach()
    }

    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, GadgetError> {
        // Once for all that there is: what comes meanwhile ends the next wait, and until then every transfer and halt looks for itself.
        if self.due.is_empty() && !self.looked {
            self.looked = true;
            self.pull();
            if let Some(bulk) = &mut self.bulk {
                let attached = self.attached.as_ref().map(|attached| &self.instances[attached.instance]);
                if bulk.is_halting() {
                    // Each time is a try.
                    self.halting.rang();
                }
                bulk.reap(attached, |completion| self.due.push_back(DeviceEvent::Complete(completion)));
                self.halting.run(bulk.is_halting());
            }
        }
        match self.due.pop_front() {
            Some(event) => {
                if event == DeviceEvent::Disable {
                    self.cancelled = false;
                }
                Ok(Some(event))
            }
            None => {
                let change = self.next_change();
                self.looked = change.is_some();
                Ok(change)
            }
        }
    }

    fn control_read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, ControlError>> {
        self.look();
        if let Some(attached) = &mut self.attached {
            match &attached.ep0.request {
                Request::Answering { read: true } => return Poll::Pending,
                Request::Answered(result) => {
                    let result = result.as_ref().map_err(|error| *error).and_then(|data| {
                        let place = buffer.get_mut(..data.len()).ok_or(ControlError::Misuse)?;
                        place.copy_from_slice(data);
                        Ok(data.len())
                    });
                    attached.ep0.request = Request::None;
                    return Poll::Ready(result);
                }
                _ => {}
            }
        }
        let setup = match self.held() {
            Ok(setup) => setup,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let length = usize::from(setup.length);
        let answer = match setup.direction() {
            Direction::In if length == 0 => Answer::Data(Vec::new()),
            Direction::Out if length <= buffer.len() => Answer::Take(length),
            Direction::In | Direction::Out => return Poll::Ready(Err(self.misuse(setup))),
        };
        self.answer(answer, true);
        Poll::Pending
    }

    fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError> {
        self.look();
        let setup = self.held()?;
        let length = usize::from(setup.length);
        if length == 0 || setup.direction() == Direction::Out || data.len() > length {
            return Err(self.misuse(setup));
        }
        self.answer(Answer::Data(data.to_vec()), false);
        Ok(())
    }

    fn control_stall(&mut self) -> Result<(), ControlError> {
        self.look();
        let setup = self.held()?;
        self.refuse(setup)
    }

    fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError> {
        // A transfer is for the state the function knows of: one that has ended meanwhile is looked for.
        self.look();
        let (Some(attached), Some(bulk)) = (&self.attached, &mut self.bulk) else {
            return Err(SubmitError::Disabled(buffer));
        };
        if !attached.enabled || !attached.ep0.is_settled() {
            return Err(SubmitError::Disabled(buffer));
        }
        let Some(index) = attached.index(endpoint) else { return Err(SubmitError::NoEndpoint(buffer)) };
        let whole = !buffer.is_empty() && buffer.len().is_multiple_of(usize::from(BULK_PACKET_SIZE));
        if endpoint.direction() == Direction::Out && !whole {
            return Err(SubmitError::BadLength(buffer));
        }
        bulk.submit(&self.instances[attached.instance], index, buffer)
    }

    fn cancel(&mut self, endpoint: EndpointAddress) {
        if let Some(bulk) = &mut self.bulk {
            bulk.cancel(endpoint);
            if bulk.has_ended() {
                self.waiter.waker().wake();
            }
        }
    }

    fn set_halt(&mut self, endpoint: EndpointAddress) {
        self.look();
        let (Some(attached), Some(bulk)) = (&self.attached, &mut self.bulk) else { return };
        if attached.enabled
            && attached.ep0.is_settled()
            && let Some(index) = attached.index(endpoint)
        {
            bulk.halt(&self.instances[attached.instance], index);
            self.halting.run(bulk.is_halting());
            if bulk.has_ended() {
                self.waiter.waker().wake();
            }
        }
    }
}
