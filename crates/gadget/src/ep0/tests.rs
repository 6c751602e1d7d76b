use std::cell::RefCell;

use super::*;

/// FunctionFS's side of the control file, as f_fs.c has it: a queue of four events with its rules of what drops what, a request that
/// waits or was cancelled, and the eventfd.
#[derive(Default)]
struct Kernel {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    queue: Vec<u8>,
    setup: [u8; 8],
    state: SetupState,
    counted: u64,
    /// Refusals that reached a request, by their direction.
    refused: Vec<Direction>,
    /// What happens just before the count is read once more, after so many times.
    later: Vec<(u32, u8)>,
    /// The controller cannot stall: I/O the wrong way is the end.
    no_stalls: bool,
    /// Errors to give before anything else.
    errors: Vec<Errno>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SetupState {
    #[default]
    None,
    Pending,
    Cancelled,
}

const BIND: u8 = 0;
const UNBIND: u8 = 1;
const ENABLE: u8 = 2;
const DISABLE: u8 = 3;
const SETUP: u8 = 4;
const SUSPEND: u8 = 5;
const RESUME: u8 = 6;

const IN: [u8; 8] = [0xa1, 3, 0, 0, 0, 0, 6, 0];
const OUT: [u8; 8] = [0x21, 1, 0, 0, 0, 0, 64, 0];

impl Inner {
    /// `__ffs_event_add`.
    fn add(&mut self, event: u8) {
        if self.state == SetupState::Pending {
            self.state = SetupState::Cancelled;
        }
        match event {
            SUSPEND | SETUP => self.queue.retain(|it| *it != event),
            RESUME => self.queue.retain(|it| *it != RESUME && *it != SUSPEND),
            _ => self.queue.retain(|it| *it == RESUME || *it == SUSPEND),
        }
        self.queue.push(event);
        self.counted += 1;
    }
}

impl Kernel {
    fn add(&self, event: u8) {
        self.inner.borrow_mut().add(event);
    }

    fn setup(&self, setup: [u8; 8]) {
        self.inner.borrow_mut().setup = setup;
        self.add(SETUP);
    }

    fn state(&self) -> SetupState {
        self.inner.borrow().state
    }
}

impl ControlFile for Kernel {
    fn count(&self) -> u64 {
        let mut inner = self.inner.borrow_mut();
        let mut due = Vec::new();
        inner.later.retain_mut(|(after, event)| {
            if *after == 0 {
                due.push(*event);
                return false;
            }
            *after -= 1;
            true
        });
        for event in due {
            inner.add(event);
        }
        std::mem::take(&mut inner.counted)
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut inner = self.inner.borrow_mut();
        if let Some(error) = inner.errors.pop() {
            return Err(error);
        }
        match inner.state {
            SetupState::Cancelled => {
                inner.state = SetupState::None;
                return Err(Errno::IDRM);
            }
            SetupState::Pending => panic!("events read while a request waits: that answers it"),
            SetupState::None => {}
        }
        if inner.queue.is_empty() {
            return Err(Errno::AGAIN);
        }
        let (queue, setup) = (std::mem::take(&mut inner.queue), inner.setup);
        for (event, place) in queue.iter().zip(buffer.chunks_exact_mut(EVENT_SIZE)) {
            place.fill(0);
            place[8] = *event;
            if *event == SETUP {
                place[..8].copy_from_slice(&setup);
                inner.state = SetupState::Pending;
            }
        }
        Ok(queue.len() * EVENT_SIZE)
    }

    fn refuse(&self, direction: Direction) -> Result<(), Errno> {
        let mut inner = self.inner.borrow_mut();
        assert!(!inner.no_stalls, "the kernel oopses");
        match std::mem::take(&mut inner.state) {
            SetupState::None => Err(Errno::SRCH),
            SetupState::Cancelled => Err(Errno::IDRM),
            SetupState::Pending => {
                assert_eq!(Setup::from_bytes(inner.setup).direction(), direction, "that is an answer");
                inner.refused.push(direction);
                Err(Errno::L2HLT)
            }
        }
    }

    fn has_events_only(&self) -> bool {
        let inner = self.inner.borrow();
        inner.state == SetupState::None && !inner.queue.is_empty()
    }
}

/// All changes there are now.
fn changes(ep0: &mut Ep0, kernel: &Kernel) -> Vec<Change> {
    ep0.pull(kernel).unwrap();
    std::iter::from_fn(|| ep0.next()).collect()
}

/// A gadget that is enabled, with nothing to read.
fn enabled() -> (Ep0, Kernel) {
    enabled_with(Ep0::new(true), Kernel::default())
}

/// As [`enabled`], on a controller that cannot stall.
fn enabled_without_stalls() -> (Ep0, Kernel) {
    enabled_with(Ep0::new(false), without_stalls())
}

fn without_stalls() -> Kernel {
    Kernel { inner: RefCell::new(Inner { no_stalls: true, ..Inner::default() }) }
}

fn enabled_with(mut ep0: Ep0, kernel: Kernel) -> (Ep0, Kernel) {
    kernel.add(BIND);
    assert_eq!(changes(&mut ep0, &kernel), []);
    kernel.add(ENABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);
    (ep0, kernel)
}

#[test]
fn a_reset_is_a_disable_and_an_enable_also_when_the_kernel_dropped_one() {
    let (mut ep0, kernel) = enabled();
    kernel.add(DISABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Disable]);
    kernel.add(ENABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);

    kernel.add(DISABLE);
    kernel.add(ENABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Disable, Change::Enable]);
}

#[test]
fn another_setting_is_an_enable_alone() {
    let (mut ep0, kernel) = enabled();
    kernel.add(ENABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);
}

#[test]
fn configuring_two_interfaces_is_no_reset() {
    let (mut ep0, kernel) = (Ep0::new(true), Kernel::default());
    for event in [BIND, ENABLE, ENABLE] {
        kernel.add(event);
    }
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);
}

#[test]
fn leaving_the_bus_is_told_once() {
    let (mut ep0, kernel) = enabled();
    for event in [SUSPEND, DISABLE, UNBIND] {
        kernel.add(event);
    }
    assert_eq!(changes(&mut ep0, &kernel), [Change::Suspend, Change::Disable]);
    kernel.add(UNBIND);
    assert_eq!(changes(&mut ep0, &kernel), []);
    // The administrator binds it again.
    kernel.add(BIND);
    kernel.add(ENABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);
}

#[test]
fn nothing_is_read_while_a_request_waits() {
    let (mut ep0, kernel) = enabled();
    kernel.setup(IN);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Setup(Setup::from_bytes(IN))]);
    // The fake kernel panics when it is read.
    assert_eq!(changes(&mut ep0, &kernel), []);
    assert_eq!(ep0.request, Request::Held(Setup::from_bytes(IN)));
    assert_eq!(kernel.state(), SetupState::Pending);
}

#[test]
fn a_new_request_takes_the_place_of_the_one_held() {
    for then in [IN, OUT] {
        let (mut ep0, kernel) = enabled();
        kernel.setup(OUT);
        changes(&mut ep0, &kernel);
        kernel.setup(then);
        ep0.pull(&kernel).unwrap();
        assert_eq!(ep0.request, Request::Cancelled, "until the new one was told");
        assert_eq!(ep0.next(), Some(Change::Setup(Setup::from_bytes(then))));
        assert_eq!(ep0.request, Request::Held(Setup::from_bytes(then)));
        assert_eq!(kernel.state(), SetupState::Pending, "it waits for its answer");
    }
}

#[test]
fn a_request_that_was_read_and_not_told_can_be_cancelled_too() {
    let (mut ep0, kernel) = enabled();
    kernel.setup(OUT);
    ep0.pull(&kernel).unwrap();
    kernel.add(DISABLE);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Disable]);
    assert_eq!(ep0.request, Request::None);
}

#[test]
fn a_request_that_came_while_another_was_lost_is_refused_where_its_state_is_unknown() {
    let (mut ep0, kernel) = enabled();
    // Two requests are counted and one is in the queue when it is read; then a third.
    kernel.setup(OUT);
    kernel.setup(IN);
    kernel.inner.borrow_mut().later.push((1, SETUP));
    let changes = changes(&mut ep0, &kernel);
    assert!(matches!(changes[..], [Change::Setup(_)]), "{changes:?}");
    assert_eq!(kernel.state(), SetupState::Pending, "the one told is the one that waits");
}

#[test]
fn reading_goes_on_over_what_kernels_say_without_a_reason() {
    let (mut ep0, kernel) = enabled();
    kernel.add(SUSPEND);
    kernel.inner.borrow_mut().errors = vec![Errno::INTR, Errno::INVAL, Errno::OVERFLOW, Errno::INTR];
    assert_eq!(changes(&mut ep0, &kernel), [Change::Suspend]);
}

#[test]
fn reading_ends_also_if_the_kernel_never_stops() {
    let (mut ep0, kernel) = enabled();
    kernel.add(SUSPEND);
    kernel.inner.borrow_mut().errors = vec![Errno::INTR; 1000];
    assert_eq!(changes(&mut ep0, &kernel), []);
}

#[test]
fn a_closed_instance_is_dead() {
    for error in [Errno::BADFD, Errno::NODEV, Errno::SHUTDOWN] {
        let (mut ep0, kernel) = enabled();
        kernel.add(SUSPEND);
        kernel.inner.borrow_mut().errors = vec![error];
        assert_eq!(ep0.pull(&kernel), Err(Dead));
    }
}

#[test]
fn while_an_answer_is_under_way_events_wait() {
    let (mut ep0, kernel) = enabled();
    kernel.setup(OUT);
    changes(&mut ep0, &kernel);
    ep0.request = Request::Answering { read: true };
    kernel.add(DISABLE);
    assert_eq!(changes(&mut ep0, &kernel), []);
    ep0.answered(Err(ControlError::Cancelled));
    assert_eq!(ep0.request, Request::Answered(Err(ControlError::Cancelled)));
    assert_eq!(changes(&mut ep0, &kernel), [Change::Disable]);
}

#[test]
fn an_answer_is_overtaken_by_what_comes_while_it_is_under_way() {
    for request in [Request::Answering { read: true }, Request::Own { cancelled: false }] {
        let (mut ep0, kernel) = enabled();
        kernel.setup(OUT);
        changes(&mut ep0, &kernel);
        ep0.request = request;
        changes(&mut ep0, &kernel);
        assert!(!ep0.is_overtaken(), "the host waits for it");
        kernel.add(DISABLE);
        changes(&mut ep0, &kernel);
        changes(&mut ep0, &kernel);
        assert!(ep0.is_overtaken());
        ep0.answered(Err(ControlError::Cancelled));
        assert!(!ep0.is_overtaken());
    }
    // What a dead process may have left unread says nothing of the request that it held.
    let (mut ep0, kernel) = (Ep0::inherited(true), Kernel::default());
    ep0.request = Request::Own { cancelled: false };
    changes(&mut ep0, &kernel);
    assert!(!ep0.is_overtaken());
}

#[test]
fn who_unbinds_and_has_the_lock_is_heard_of_when_it_is_done() {
    let (mut ep0, kernel) = enabled();
    kernel.setup(IN);
    kernel.inner.borrow_mut().errors = vec![Errno::AGAIN];
    assert_eq!(changes(&mut ep0, &kernel), [], "the file's lock is taken");
    for event in [SUSPEND, DISABLE, UNBIND] {
        kernel.add(event);
    }
    let changes = changes(&mut ep0, &kernel);
    assert_eq!(changes.last(), Some(&Change::Disable), "{changes:?}");
}

#[test]
fn a_refusal_reaches_the_request_and_no_other() {
    let (mut ep0, kernel) = enabled();
    kernel.setup(IN);
    changes(&mut ep0, &kernel);
    assert_eq!(ep0.refuse(&kernel, Setup::from_bytes(IN)), Ok(()));
    assert_eq!(kernel.inner.borrow().refused, [Direction::In]);
    assert_eq!(ep0.request, Request::None);

    kernel.setup(OUT);
    changes(&mut ep0, &kernel);
    kernel.setup(IN);
    assert_eq!(ep0.refuse(&kernel, Setup::from_bytes(OUT)), Err(ControlError::Cancelled));
    assert_eq!(changes(&mut ep0, &kernel), [Change::Setup(Setup::from_bytes(IN))]);
}

#[test]
fn a_request_of_the_backends_own_keeps_what_the_function_has_to_hear() {
    let (mut ep0, kernel) = enabled();
    kernel.setup(OUT);
    changes(&mut ep0, &kernel);
    kernel.setup([0x81, 0, 0, 0, 0, 0, 2, 0]);
    ep0.pull(&kernel).unwrap();
    ep0.take_own();
    assert_eq!(ep0.request, Request::Own { cancelled: true });
    ep0.refuse_own(&kernel, Direction::In);
    assert_eq!(ep0.request, Request::Cancelled);
}

#[test]
fn a_device_that_was_configured_before_is_enabled_first() {
    let (mut ep0, kernel) = (Ep0::inherited(true), Kernel::default());
    assert!(!ep0.is_settled(), "not before it was told");
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);
    assert!(ep0.is_settled());
    kernel.add(DISABLE);
    ep0.pull(&kernel).unwrap();
    assert!(!ep0.is_settled());
    assert_eq!(ep0.next(), Some(Change::Disable));
}

#[test]
fn events_that_a_dead_process_has_counted_are_read_by_the_next() {
    let (mut ep0, kernel) = (Ep0::inherited(true), Kernel::default());
    kernel.setup(IN);
    kernel.count();
    assert_eq!(changes(&mut ep0, &kernel), [Change::Enable, Change::Setup(Setup::from_bytes(IN))]);
    assert_eq!(changes(&mut Ep0::inherited(false), &Kernel::default()), []);
}

#[test]
fn without_stalls_a_refused_request_waits_until_the_next_one() {
    for (first, then) in [(IN, OUT), (OUT, IN), (IN, IN)] {
        let (mut ep0, kernel) = enabled_without_stalls();
        kernel.setup(first);
        changes(&mut ep0, &kernel);
        assert_eq!(ep0.refuse(&kernel, Setup::from_bytes(first)), Ok(()));
        assert!(!ep0.has_request(), "the function has done with it");
        // The fake kernel panics when it is read, or refuses.
        assert_eq!(changes(&mut ep0, &kernel), []);
        assert_eq!(kernel.state(), SetupState::Pending);
        kernel.setup(then);
        assert_eq!(changes(&mut ep0, &kernel), [Change::Setup(Setup::from_bytes(then))]);
        assert_eq!(ep0.request, Request::Held(Setup::from_bytes(then)));
        kernel.add(DISABLE);
        assert_eq!(changes(&mut ep0, &kernel), [Change::Disable]);
    }
}

#[test]
fn without_stalls_a_request_of_the_backends_own_is_left_too() {
    let (mut ep0, kernel) = enabled_without_stalls();
    kernel.setup(OUT);
    changes(&mut ep0, &kernel);
    kernel.setup([0x81, 6, 0, 0x21, 0, 0, 9, 0]);
    ep0.pull(&kernel).unwrap();
    ep0.take_own();
    ep0.refuse_own(&kernel, Direction::In);
    assert_eq!(ep0.request, Request::Cancelled, "the function hears of its own");
    assert_eq!(changes(&mut ep0, &kernel), []);
    kernel.setup(IN);
    assert_eq!(changes(&mut ep0, &kernel), [Change::Setup(Setup::from_bytes(IN))]);
}

#[test]
fn without_stalls_a_request_whose_state_is_unknown_is_left_until_the_next_event() {
    for first in [IN, OUT] {
        let (mut ep0, kernel) = enabled_without_stalls();
        // Two requests are counted and one is in the queue when it is read; then a third.
        kernel.setup(OUT);
        kernel.setup(first);
        kernel.inner.borrow_mut().later.push((1, SETUP));
        assert_eq!(changes(&mut ep0, &kernel), []);
        assert_eq!(changes(&mut ep0, &kernel), []);
        kernel.setup(IN);
        assert_eq!(changes(&mut ep0, &kernel), [Change::Setup(Setup::from_bytes(IN))]);
    }
}

#[test]
fn without_stalls_a_request_of_a_dead_process_is_left_and_one_it_did_not_read_is_found() {
    for held in [IN, OUT] {
        // Read by the dead process, which did not look at the count afterwards.
        let kernel = without_stalls();
        kernel.setup(held);
        kernel.read(&mut [0; EVENT_SIZE * MAX_EVENTS]).unwrap();
        let mut ep0 = Ep0::inherited_without_stalls(true, &kernel);
        assert_eq!(changes(&mut ep0, &kernel), [Change::Enable]);
        assert_eq!(kernel.state(), SetupState::Pending);
        kernel.setup(OUT);
        assert_eq!(changes(&mut ep0, &kernel), [Change::Setup(Setup::from_bytes(OUT))]);

        // Counted by it and not read.
        let kernel = without_stalls();
        kernel.setup(held);
        kernel.count();
        let mut ep0 = Ep0::inherited_without_stalls(true, &kernel);
        assert_eq!(changes(&mut ep0, &kernel), [Change::Enable, Change::Setup(Setup::from_bytes(held))]);
    }
}

#[test]
fn without_stalls_no_order_of_events_leads_to_io_the_wrong_way() {
    use proptest::prelude::*;
    let steps = prop::collection::vec((0_u8..9, any::<bool>(), 0_u32..3), 0..60);
    proptest!(|(steps in steps)| {
        // The fake kernel panics when it is read while a request waits, or when it is to refuse one.
        let (mut ep0, kernel) = enabled_without_stalls();
        for (event, polled, later) in steps {
            match event {
                SETUP => kernel.setup(if polled { IN } else { OUT }),
                7 => {
                    if let Request::Held(setup) = ep0.request {
                        prop_assert_eq!(ep0.refuse(&kernel, setup), Ok(()));
                    }
                }
                8 => kernel.inner.borrow_mut().later.push((later, if polled { SETUP } else { DISABLE })),
                event => kernel.add(event),
            }
            if polled {
                changes(&mut ep0, &kernel);
            }
        }
        // And whatever it was, the next two requests bring it out: the first may be one whose state is unknown.
        kernel.inner.borrow_mut().later.clear();
        kernel.setup(IN);
        changes(&mut ep0, &kernel);
        kernel.setup(OUT);
        let last = changes(&mut ep0, &kernel).pop();
        prop_assert_eq!(last, Some(Change::Setup(Setup::from_bytes(OUT))));
    });
}

#[test]
fn any_order_of_events_ends_in_the_state_the_last_of_them_says() {
    use proptest::prelude::*;
    let steps = prop::collection::vec((0_u8..8, any::<bool>()), 0..60);
    proptest!(|(steps in steps)| {
        let (mut ep0, kernel) = (Ep0::new(true), Kernel::default());
        let (mut up, mut told_up) = (false, false);
        for (event, polled) in steps {
            match event {
                SETUP => kernel.setup(if polled { IN } else { OUT }),
                7 => {
                    if let Request::Held(setup) = ep0.request {
                        let _ = ep0.refuse(&kernel, setup);
                    }
                }
                event => kernel.add(event),
            }
            match event {
                ENABLE => up = true,
                BIND | DISABLE | UNBIND => up = false,
                _ => {}
            }
            if polled {
                for change in changes(&mut ep0, &kernel) {
                    match change {
                        Change::Enable => told_up = true,
                        Change::Disable => {
                            prop_assert!(told_up, "a Disable of what is not enabled");
                            told_up = false;
                        }
                        _ => {}
                    }
                }
                prop_assert_eq!(up, told_up);
                let held = matches!(ep0.request, Request::Held(_));
                prop_assert_eq!(held, kernel.state() == SetupState::Pending);
            }
        }
    });
}
