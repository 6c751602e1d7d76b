//! A slot, byte by byte: each trap of the protocol by its name. With sockets it is tested in `tests/`, with QEMU as the guest's
//! side in the guest suite `usbredir`.

use inband_usb::{
    ControlError, DescriptorSet, DeviceEvent, EndpointAddress, Setup, SubmitError, TransferError,
    descriptor::Interface,
};

use super::{
    Core, SetError,
    core::{MAX_OUT_HELD, MAX_TRANSFER, MAX_URBS},
    wire::{Capabilities, FromGuest, Header, SHORT_HEADER, Status, ToGuest, WireError, kind},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
/// What QEMU 7.2 offers.
const QEMU: Capabilities = Capabilities(0xff);

fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        device_version: 0x0123,
        manufacturer: "m".into(),
        product: "p".into(),
        serial: "s".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 1,
            protocol: 2,
            name: "n".into(),
            extra: Vec::new(),
            endpoints: vec![OUT, IN],
        }],
    }
}

/// A message that was sent.
struct Sent {
    header: Header,
    body: Vec<u8>,
    capabilities: Capabilities,
}

impl Sent {
    fn message(&self) -> ToGuest<'_> {
        ToGuest::parse(self.header.kind, &self.body, self.capabilities).unwrap()
    }
}

/// A slot and the guest's side of it.
struct Session {
    core: Core,
    /// What both sides can do, once both have said hello.
    capabilities: Capabilities,
    /// Sent, not yet read.
    bytes: Vec<u8>,
    greeted: bool,
}

impl Session {
    /// Connected; nobody has said anything.
    fn opened() -> Self {
        let mut core = Core::new();
        core.opened();
        Self { core, capabilities: Capabilities(0), bytes: Vec::new(), greeted: false }
    }

    /// The device is attached and both have said hello; what was sent is read.
    fn attached_to(offered: Capabilities) -> Self {
        let mut session = Self::opened();
        session.core.attach(&set()).unwrap();
        session.say(0, &FromGuest::Hello(offered));
        session.capabilities = Capabilities::OFFERED.both(offered);
        let kinds: Vec<_> = session.all().iter().map(|sent| sent.header.kind).collect();
        assert_eq!(kinds, [kind::HELLO, kind::INTERFACE_INFO, kind::EP_INFO, kind::DEVICE_CONNECT]);
        session
    }

    /// As QEMU, after SET_CONFIGURATION.
    fn configured() -> Self {
        let mut session = Self::attached_to(QEMU);
        session.say(1, &FromGuest::SetConfiguration { value: 1 });
        session.all();
        assert_eq!(session.core.device().next_event(), Some(DeviceEvent::Enable));
        session
    }

    fn say(&mut self, id: u64, message: &FromGuest<'_>) {
        assert_eq!(self.try_say(id, message), Ok(()));
    }

    fn try_say(&mut self, id: u64, message: &FromGuest<'_>) -> Result<(), WireError> {
        let mut bytes = Vec::new();
        message.encode(id, self.capabilities, &mut bytes);
        self.core.received(&bytes)
    }

    /// Everything sent and not read yet.
    fn all(&mut self) -> Vec<Sent> {
        while !self.core.output().is_empty() {
            self.bytes.extend(self.core.output());
            self.core.sent(self.core.output().len());
        }
        let mut all = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() {
            let size = if self.greeted { Header::size(self.capabilities) } else { SHORT_HEADER };
            let header = Header::parse(&self.bytes[at..], size).unwrap();
            at += size;
            let body = self.bytes[at..at + header.length as usize].to_vec();
            at += body.len();
            self.greeted = true;
            all.push(Sent { header, body, capabilities: self.capabilities });
        }
        self.bytes.clear();
        all
    }

    /// The one message that was sent, with this id.
    fn one(&mut self, id: u64) -> Sent {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{:?}", all.iter().map(|it| it.header).collect::<Vec<_>>());
        let sent = all.remove(0);
        assert_eq!(sent.header.id, id);
        sent
    }

    fn quiet(&mut self) {
        assert!(self.all().is_empty());
    }

    fn event(&mut self) -> DeviceEvent {
        self.core.device().next_event().expect("an event")
    }

    fn bulk_in(&mut self, id: u64, length: u32) {
        self.say(id, &FromGuest::BulkIn { endpoint: IN, length });
    }

    fn bulk_out(&mut self, id: u64, data: &[u8]) {
        self.say(id, &FromGuest::BulkOut { endpoint: OUT, data });
    }

    fn submit_in(&mut self, data: &[u8]) {
        self.core.device().submit(IN, data.to_vec()).unwrap();
    }
}

fn vendor(request_type: u8, length: u16) -> Setup {
    Setup { request_type, request: 1, value: 0x0203, index: 0, length }
}

fn bulk_in(status: Status, data: &[u8]) -> ToGuest<'_> {
    ToGuest::BulkIn { endpoint: IN, status, data }
}

fn bulk_out(status: Status, length: u32) -> ToGuest<'static> {
    ToGuest::BulkOut { endpoint: OUT, status, length }
}

#[test]
fn nothing_but_our_hello_is_sent_before_theirs_is_known() {
    let mut session = Session::opened();
    session.core.attach(&set()).unwrap();
    let hello = session.core.output().to_vec();
    assert_eq!(hello.len(), SHORT_HEADER + 68);
    session.core.detach();
    session.core.attach(&set()).unwrap();
    assert_eq!(session.core.output(), hello);
}

#[test]
fn hello_has_a_short_header_and_what_follows_a_long_one() {
    let mut session = Session::attached_to(QEMU);
    assert_eq!(Header::size(session.capabilities), 16);
    session.say(u64::MAX, &FromGuest::GetConfiguration);
    assert_eq!(
        session.one(u64::MAX).message(),
        ToGuest::ConfigurationStatus { status: Status::Success, value: 0 }
    );
}

#[test]
fn the_offer_is_0x7e() {
    let mut session = Session::opened();
    assert_eq!(session.one(0).message(), ToGuest::Hello(Capabilities(0x7e)));
}

#[test]
fn a_guest_that_can_less_gets_the_shorter_messages() {
    for offered in [0, 0x10, 0x20, 0x40, 0x02] {
        let mut session = Session::attached_to(Capabilities(offered));
        session.say(7, &FromGuest::SetConfiguration { value: 1 });
        let sent = session.all();
        assert_eq!(sent[1].body.len(), if offered == 0x10 { 160 } else { 96 });
        assert_eq!(sent[2].header.id, 7);
        assert_eq!(session.event(), DeviceEvent::Enable);
        session.bulk_out(8, &[1; 100]);
        session.core.device().submit(OUT, vec![0; 512]).unwrap();
        assert_eq!(session.one(8).message(), bulk_out(Status::Success, 100));
    }
}

#[test]
fn interface_info_and_ep_info_go_before_device_connect() {
    // `attached_to` looks at the order; here, that a device which comes later keeps to it.
    let mut session = Session::opened();
    session.say(0, &FromGuest::Hello(QEMU));
    session.capabilities = Capabilities::OFFERED;
    session.one(0);
    session.core.attach(&set()).unwrap();
    let all = session.all();
    let kinds: Vec<_> = all.iter().map(|sent| sent.header.kind).collect();
    assert_eq!(kinds, [kind::INTERFACE_INFO, kind::EP_INFO, kind::DEVICE_CONNECT]);
    assert_eq!(
        all[2].message(),
        ToGuest::DeviceConnect { vendor_id: 0x1d6b, product_id: 0x0104, device_version: 0x0123 }
    );
}

#[test]
fn unused_endpoints_are_not_control_endpoints() {
    let mut session = Session::opened();
    session.core.attach(&set()).unwrap();
    session.say(0, &FromGuest::Hello(QEMU));
    session.capabilities = Capabilities::OFFERED;
    let all = session.all();
    let info = &all[2].body;
    let kinds: Vec<_> = (0..32).filter(|at| info[*at] != 255).map(|at| (at, info[at])).collect();
    assert_eq!(kinds, [(0, 0), (1, 2), (16, 0), (17, 2)]);
    let packet = |at: usize| u16::from_le_bytes([info[96 + 2 * at], info[97 + 2 * at]]);
    assert_eq!([0, 1, 16, 17].map(packet), [64, 512, 64, 512]);
}

#[test]
fn a_configuration_is_answered_with_its_id_after_fresh_descriptions() {
    let mut session = Session::attached_to(QEMU);
    session.say(0x99, &FromGuest::SetConfiguration { value: 1 });
    let all = session.all();
    let kinds: Vec<_> = all.iter().map(|sent| (sent.header.kind, sent.header.id)).collect();
    assert_eq!(kinds, [(kind::INTERFACE_INFO, 0), (kind::EP_INFO, 0), (kind::CONFIGURATION_STATUS, 0x99)]);
    let done = ToGuest::ConfigurationStatus { status: Status::Success, value: 1 };
    assert_eq!(all[2].message(), done);
    session.say(5, &FromGuest::GetConfiguration);
    assert_eq!(session.one(5).message(), done);
    // One that does not exist.
    session.say(6, &FromGuest::SetConfiguration { value: 2 });
    let stalled = ToGuest::ConfigurationStatus { status: Status::Stall, value: 1 };
    assert_eq!(session.all().last().unwrap().message(), stalled);
}

#[test]
fn dfu_util_sets_setting_0_and_is_answered() {
    let mut session = Session::configured();
    session.submit_in(&[1; 10]);
    session.say(3, &FromGuest::SetAltSetting { interface: 0, alternate: 0 });
    let all = session.all();
    assert_eq!(all.len(), 3);
    assert_eq!(
        all[2].message(),
        ToGuest::AltSettingStatus { status: Status::Success, interface: 0, alternate: 0 }
    );
    // The function is enabled anew.
    assert!(
        matches!(session.event(), DeviceEvent::Complete(done) if done.result == Err(TransferError::Disabled))
    );
    assert_eq!(session.event(), DeviceEvent::Enable);
    for (interface, alternate, status) in [(0, 1, Status::Stall), (1, 0, Status::Stall)] {
        session.say(4, &FromGuest::SetAltSetting { interface, alternate });
        let answer = ToGuest::AltSettingStatus { status, interface, alternate: 0 };
        assert_eq!(session.all().last().unwrap().message(), answer);
    }
    session.say(5, &FromGuest::GetAltSetting { interface: 0 });
    let setting = ToGuest::AltSettingStatus { status: Status::Success, interface: 0, alternate: 0 };
    assert_eq!(session.one(5).message(), setting);
}

#[test]
fn descriptors_are_cut_to_what_was_asked_for() {
    let mut session = Session::attached_to(QEMU);
    for length in [8, 18, 64] {
        let setup = Setup { request_type: 0x80, request: 6, value: 0x0100, index: 0, length };
        session.say(2, &FromGuest::ControlIn { setup });
        let sent = session.one(2);
        let data = &set().device_bytes()[..usize::from(length.min(18))];
        // The length said is that of the data.
        let setup = Setup { length: data.len() as u16, ..setup };
        assert_eq!(sent.message(), ToGuest::ControlIn { setup, status: Status::Success, data });
    }
}

#[test]
fn control_answers_echo_the_request_and_out_ones_carry_no_data() {
    let mut session = Session::configured();
    let setup = vendor(0x41, 5);
    session.say(0xabc, &FromGuest::ControlOut { setup, data: b"hello" });
    assert_eq!(session.event(), DeviceEvent::Setup(setup));
    session.quiet();
    let mut data = [0; 5];
    assert_eq!(session.core.device().control_read(&mut data), Ok(5));
    assert_eq!(&data, b"hello");
    assert_eq!(
        session.one(0xabc).message(),
        ToGuest::ControlOut { setup, status: Status::Success, length: 5 }
    );

    session.say(0xabd, &FromGuest::ControlOut { setup, data: b"hello" });
    session.event();
    session.core.device().control_stall().unwrap();
    let setup = Setup { length: 0, ..setup };
    assert_eq!(session.one(0xabd).message(), ToGuest::ControlOut { setup, status: Status::Stall, length: 0 });

    let setup = vendor(0xc1, 0);
    session.say(0xabe, &FromGuest::ControlIn { setup });
    session.event();
    session.core.device().control_read(&mut []).unwrap();
    assert_eq!(
        session.one(0xabe).message(),
        ToGuest::ControlIn { setup, status: Status::Success, data: &[] }
    );
}

#[test]
fn bulk_in_waits_for_data_and_ends_short() {
    let mut session = Session::configured();
    for id in [10, 11, 12] {
        session.bulk_in(id, 1024);
    }
    session.quiet();
    session.submit_in(&[1; 700]);
    assert_eq!(session.one(10).message(), bulk_in(Status::Success, &[1; 700]));
    // A full packet ends nothing, a zero-length packet does.
    session.submit_in(&[2; 512]);
    session.quiet();
    session.submit_in(&[]);
    assert_eq!(session.one(11).message(), bulk_in(Status::Success, &[2; 512]));
    // Longer than asked for: the rest is for the next.
    session.submit_in(&[3; 1500]);
    assert_eq!(session.one(12).message(), bulk_in(Status::Success, &[3; 1024]));
    session.bulk_in(13, 512);
    assert_eq!(session.one(13).message(), bulk_in(Status::Success, &[3; 476]));
}

#[test]
fn more_than_was_asked_for_is_babble() {
    let mut session = Session::configured();
    session.bulk_in(10, 100);
    session.submit_in(&[1; 512]);
    assert_eq!(session.one(10).message(), bulk_in(Status::Babble, &[]));
}

#[test]
fn one_transfer_is_one_answer_and_a_zero_length_packet_is_one() {
    let mut session = Session::configured();
    let data: Vec<u8> = (0..70_000_u32).map(|at| at as u8).collect();
    session.bulk_out(20, &data);
    session.bulk_out(21, &[]);
    let mut taken = Vec::new();
    for _ in 0..2 {
        session.core.device().submit(OUT, vec![0; 65_536]).unwrap();
        let DeviceEvent::Complete(done) = session.event() else { panic!("no transfer came home") };
        taken.extend_from_slice(&done.buffer[..done.length]);
    }
    assert!(taken == data);
    assert_eq!(session.one(20).message(), bulk_out(Status::Success, 70_000));
    session.core.device().submit(OUT, vec![0; 512]).unwrap();
    assert_eq!(session.one(21).message(), bulk_out(Status::Success, 0));
    assert!(matches!(session.event(), DeviceEvent::Complete(done) if done.length == 0));
}

#[test]
fn a_stall_lasts_until_the_guest_clears_it() {
    let mut session = Session::configured();
    session.bulk_in(30, 512);
    session.core.device().set_halt(IN);
    assert_eq!(session.one(30).message(), bulk_in(Status::Stall, &[]));
    session.submit_in(&[1; 10]);
    session.bulk_in(31, 512);
    assert_eq!(session.one(31).message(), bulk_in(Status::Stall, &[]));
    let setup = Setup { request_type: 0x02, request: 1, value: 0, index: 0x81, length: 0 };
    session.say(32, &FromGuest::ControlOut { setup, data: &[] });
    assert_eq!(session.one(32).message(), ToGuest::ControlOut { setup, status: Status::Success, length: 0 });
    session.bulk_in(33, 512);
    assert_eq!(session.one(33).message(), bulk_in(Status::Success, &[1; 10]));
}

#[test]
fn a_cancel_is_answered_exactly_once_and_one_that_crosses_never() {
    let mut session = Session::configured();
    // Pending: answered by the transfer's own type.
    session.bulk_in(40, 512);
    session.say(40, &FromGuest::CancelDataPacket);
    assert_eq!(session.one(40).message(), bulk_in(Status::Cancelled, &[]));
    session.say(40, &FromGuest::CancelDataPacket);
    session.bulk_out(41, &[1; 100]);
    session.say(41, &FromGuest::CancelDataPacket);
    assert_eq!(session.one(41).message(), bulk_out(Status::Cancelled, 0));
    // Answered already.
    session.submit_in(&[2; 10]);
    session.bulk_in(42, 512);
    session.one(42);
    session.say(42, &FromGuest::CancelDataPacket);
    session.quiet();
    // A request that the function has.
    let setup = vendor(0xc1, 64);
    session.say(43, &FromGuest::ControlIn { setup });
    session.event();
    session.event();
    session.say(43, &FromGuest::CancelDataPacket);
    let setup = Setup { length: 0, ..setup };
    assert_eq!(session.one(43).message(), ToGuest::ControlIn { setup, status: Status::Cancelled, data: &[] });
    assert_eq!(session.core.device().control_write(&[0; 64]), Err(ControlError::Cancelled));
    session.quiet();
}

#[test]
fn an_id_comes_again_when_the_ring_wraps() {
    let mut session = Session::configured();
    for round in 0..2000_u32 {
        let id = 0xffff_8000_0000_0000 + u64::from(round % 510) * 16;
        session.bulk_in(id, 512);
        if round % 7 == 0 {
            session.say(id, &FromGuest::CancelDataPacket);
            assert_eq!(session.one(id).message(), bulk_in(Status::Cancelled, &[]));
        } else {
            session.submit_in(&round.to_le_bytes());
            assert_eq!(session.one(id).message(), bulk_in(Status::Success, &round.to_le_bytes()));
            assert!(matches!(session.event(), DeviceEvent::Complete(_)));
        }
    }
}

#[test]
fn a_reset_is_not_answered_and_clears_everything() {
    let mut session = Session::configured();
    session.core.device().set_halt(IN);
    session.core.device().submit(OUT, vec![0; 512]).unwrap();
    let setup = vendor(0xc1, 64);
    session.say(50, &FromGuest::ControlIn { setup });
    assert!(matches!(session.event(), DeviceEvent::Setup(_)));
    session.say(0, &FromGuest::Reset);
    // What was pending is, once: QEMU may cancel it after that.
    let setup = Setup { length: 0, ..setup };
    assert_eq!(session.one(50).message(), ToGuest::ControlIn { setup, status: Status::Cancelled, data: &[] });
    session.say(50, &FromGuest::CancelDataPacket);
    session.say(0, &FromGuest::Reset);
    session.quiet();
    assert!(
        matches!(session.event(), DeviceEvent::Complete(done) if done.result == Err(TransferError::Disabled))
    );
    assert_eq!(session.event(), DeviceEvent::Disable);
    assert!(!session.core.device().has_event());
    session.say(51, &FromGuest::GetConfiguration);
    assert_eq!(session.one(51).message(), ToGuest::ConfigurationStatus { status: Status::Success, value: 0 });
    // Transfers to a device that is not configured.
    session.bulk_in(52, 512);
    assert_eq!(session.one(52).message(), bulk_in(Status::IoError, &[]));
    session.say(53, &FromGuest::SetConfiguration { value: 1 });
    session.all();
    assert_eq!(session.event(), DeviceEvent::Enable);
    session.submit_in(&[4; 4]);
    session.bulk_in(54, 512);
    assert_eq!(session.one(54).message(), bulk_in(Status::Success, &[4; 4]));
}

#[test]
fn a_reset_in_enumeration_is_no_event() {
    let mut session = Session::attached_to(QEMU);
    for _ in 0..4 {
        session.say(0, &FromGuest::Reset);
    }
    session.quiet();
    assert!(!session.core.device().has_event());
}

#[test]
fn what_comes_between_disconnect_and_its_ack_is_for_the_device_that_left() {
    let mut session = Session::configured();
    session.bulk_in(60, 512);
    session.say(61, &FromGuest::ControlOut { setup: vendor(0x41, 0), data: &[] });
    session.event();
    session.core.device().control_read(&mut []).unwrap();
    let mut other = set();
    other.product_id = 0x0105;
    session.core.attach(&other).unwrap();
    let all = session.all();
    // The answer to the request that made it leave, and no answer to what it leaves behind.
    let kinds: Vec<_> = all.iter().map(|sent| (sent.header.kind, sent.header.id)).collect();
    assert_eq!(kinds, [(kind::CONTROL_PACKET, 61), (kind::DEVICE_DISCONNECT, 0)]);
    session.bulk_out(62, &[0x55; 122_880]);
    session.say(60, &FromGuest::CancelDataPacket);
    session.say(0, &FromGuest::Reset);
    session.say(63, &FromGuest::SetConfiguration { value: 1 });
    session.say(64, &FromGuest::GetConfiguration);
    session.say(65, &FromGuest::ControlIn { setup: vendor(0xc1, 8) });
    session.quiet();
    assert_eq!(session.core.device().next_event(), Some(DeviceEvent::Disable));
    assert!(!session.core.device().has_event());

    session.say(0, &FromGuest::DeviceDisconnectAck);
    let all = session.all();
    assert_eq!(all.len(), 3);
    assert!(matches!(all[2].message(), ToGuest::DeviceConnect { product_id: 0x0105, .. }));
    // Nothing is left of the old one.
    session.say(60, &FromGuest::CancelDataPacket);
    session.quiet();
    session.say(66, &FromGuest::GetConfiguration);
    assert_eq!(session.one(66).message(), ToGuest::ConfigurationStatus { status: Status::Success, value: 0 });
}

#[test]
fn of_devices_that_come_and_go_before_the_ack_the_last_one_wins() {
    let mut session = Session::configured();
    for product_id in [1, 2, 3] {
        let mut other = set();
        other.product_id = product_id;
        session.core.attach(&other).unwrap();
    }
    assert!(matches!(session.one(0).message(), ToGuest::DeviceDisconnect));
    session.say(0, &FromGuest::DeviceDisconnectAck);
    assert!(matches!(session.all().last().unwrap().message(), ToGuest::DeviceConnect { product_id: 3, .. }));
    // And none at all.
    session.core.detach();
    session.core.detach();
    assert!(matches!(session.one(0).message(), ToGuest::DeviceDisconnect));
    session.say(0, &FromGuest::DeviceDisconnectAck);
    session.quiet();
    // An ack too many.
    session.say(0, &FromGuest::DeviceDisconnectAck);
    session.quiet();
}

#[test]
fn a_guest_that_does_not_acknowledge_is_not_waited_for() {
    let mut session = Session::attached_to(Capabilities(0x76));
    session.core.attach(&set()).unwrap();
    let kinds: Vec<_> = session.all().iter().map(|sent| sent.header.kind).collect();
    assert_eq!(kinds, [kind::DEVICE_DISCONNECT, kind::INTERFACE_INFO, kind::EP_INFO, kind::DEVICE_CONNECT]);
}

#[test]
fn a_connection_that_ends_is_an_unplug_and_the_next_begins_anew() {
    let mut session = Session::configured();
    session.submit_in(&[1; 10]);
    // In the middle of a message.
    let mut bytes = Vec::new();
    FromGuest::BulkOut { endpoint: OUT, data: &[7; 1000] }.encode(70, session.capabilities, &mut bytes);
    session.core.received(&bytes[..500]).unwrap();
    session.core.closed();
    assert!(session.core.output().is_empty() && !session.core.reads());
    assert!(
        matches!(session.event(), DeviceEvent::Complete(done) if done.result == Err(TransferError::Disabled))
    );
    assert_eq!(session.event(), DeviceEvent::Disable);
    assert!(matches!(session.core.device().submit(IN, vec![1]), Err(SubmitError::Disabled(_))));

    session.core.opened();
    (session.greeted, session.capabilities) = (false, Capabilities(0));
    session.say(0, &FromGuest::Hello(QEMU));
    session.capabilities = Capabilities::OFFERED;
    assert_eq!(session.all().len(), 4);
    session.say(71, &FromGuest::SetConfiguration { value: 1 });
    assert_eq!(session.all().len(), 3);
    assert_eq!(session.event(), DeviceEvent::Enable);
}

#[test]
fn a_transfer_that_is_too_long_is_refused_and_not_kept() {
    let mut session = Session::configured();
    let mut bytes = Vec::new();
    FromGuest::BulkOut { endpoint: OUT, data: &vec![3; MAX_TRANSFER + 1] }.encode(
        80,
        session.capabilities,
        &mut bytes,
    );
    FromGuest::GetConfiguration.encode(81, session.capabilities, &mut bytes);
    for piece in bytes.chunks(10_000) {
        session.core.received(piece).unwrap();
    }
    let all = session.all();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].header.id, all[0].message()), (80, bulk_out(Status::Inval, 0)));
    assert_eq!(all[1].header.id, 81, "what follows is understood");
    session.bulk_in(82, MAX_TRANSFER as u32 + 1);
    assert_eq!(session.one(82).message(), bulk_in(Status::Inval, &[]));
    // The longest.
    session.bulk_out(83, &vec![4; MAX_TRANSFER]);
    session.bulk_in(84, MAX_TRANSFER as u32);
    session.quiet();
}

#[test]
fn queues_are_bounded() {
    let mut session = Session::configured();
    // What an xHCI controller has at once is far less.
    for id in 0..MAX_URBS as u64 {
        session.bulk_in(id, 512);
    }
    session.quiet();
    session.bulk_in(5000, 512);
    assert_eq!(session.one(5000).message(), bulk_in(Status::Inval, &[]));
    // Data that nobody takes.
    let megabytes = MAX_OUT_HELD >> 20;
    for id in 0..megabytes as u64 {
        session.bulk_out(6000 + id, &[1; 1 << 20]);
    }
    session.quiet();
    session.bulk_out(7000, &[1]);
    assert_eq!(session.one(7000).message(), bulk_out(Status::Inval, 0));
    // Cancels are still read.
    session.say(6000, &FromGuest::CancelDataPacket);
    assert_eq!(session.one(6000).message(), bulk_out(Status::Cancelled, 0));
    session.bulk_out(7001, &[1]);
    session.quiet();
}

#[test]
fn what_a_device_had_taken_is_no_load_for_the_next_one() {
    let mut session = Session::configured();
    for id in 0..(MAX_OUT_HELD >> 20) as u64 {
        session.bulk_out(6000 + id, &[1; 1 << 20]);
    }
    session.quiet();
    session.core.attach(&set()).unwrap();
    session.say(0, &FromGuest::DeviceDisconnectAck);
    session.say(1, &FromGuest::SetConfiguration { value: 1 });
    session.all();
    session.bulk_out(7000, &[1]);
    session.quiet();
}

#[test]
fn a_guest_that_takes_no_answers_is_not_read() {
    let mut session = Session::configured();
    let mut asked = 0;
    while session.core.reads() {
        session.say(90, &FromGuest::GetConfiguration);
        asked += 1;
        assert!(asked < 1_000_000, "it never stops");
    }
    session.all();
    assert!(session.core.reads());
    // Likewise with data: the function keeps what there is no room for.
    for id in 0..16 {
        session.bulk_in(id, 1 << 20);
    }
    let mut moved = 0;
    while session.core.device().submit(IN, vec![9; 1 << 20]).is_ok() {
        moved += 1;
        assert!(moved < 100, "it never stops");
    }
    assert!(!session.core.reads());
    assert_eq!(session.all().len(), 16);
    assert!(session.core.reads());
}

#[test]
fn endpoints_that_there_are_not_are_inval() {
    let mut session = Session::configured();
    session.say(1, &FromGuest::StartInterruptReceiving { endpoint: 0x82 });
    let answer = ToGuest::InterruptReceivingStatus { status: Status::Inval, endpoint: 0x82 };
    assert_eq!(session.one(1).message(), answer);
    session.say(2, &FromGuest::StartIsoStream { endpoint: 0x83 });
    let answer = ToGuest::IsoStreamStatus { status: Status::Inval, endpoint: 0x83 };
    assert_eq!(session.one(2).message(), answer);
    session.say(3, &FromGuest::InterruptOut { endpoint: OUT, data: &[1, 2] });
    let answer = ToGuest::InterruptOut { endpoint: OUT, status: Status::Inval };
    assert_eq!(session.one(3).message(), answer);
    session.say(4, &FromGuest::Iso);
    session.say(5, &FromGuest::FilterFilter);
    session.say(6, &FromGuest::FilterReject);
    session.quiet();
    let endpoint = EndpointAddress(0x0f);
    session.say(7, &FromGuest::BulkOut { endpoint, data: &[1] });
    let answer = ToGuest::BulkOut { endpoint, status: Status::IoError, length: 0 };
    assert_eq!(session.one(7).message(), answer);
}

#[test]
fn messages_out_of_order_end_the_connection() {
    let mut session = Session::opened();
    assert_eq!(session.try_say(0, &FromGuest::Reset), Err(WireError::Order(kind::RESET)));
    let mut session = Session::configured();
    let mut hello = Vec::new();
    FromGuest::Hello(QEMU).encode(0, Capabilities(0), &mut hello);
    // As a second one would come, with a long header.
    hello.splice(8..12, [0; 8]);
    assert_eq!(session.core.received(&hello), Err(WireError::Order(kind::HELLO)));
    let mut session = Session::configured();
    let length = 10 + (200 << 20);
    let mut header = [101_u32.to_le_bytes(), u32::to_le_bytes(length)].concat();
    header.extend([0; 8]);
    assert_eq!(session.core.received(&header), Err(WireError::Length { kind: 101, length }));
}

#[test]
fn descriptors_that_do_not_fit_are_refused() {
    let mut core = Core::new();
    let mut many = set();
    many.interfaces = vec![Interface { endpoints: Vec::new(), ..many.interfaces[0].clone() }; 33];
    assert_eq!(core.attach(&many), Err(SetError::Interfaces));
    many.interfaces.clear();
    assert!(matches!(core.attach(&many), Err(SetError::Descriptors(_))));
}
