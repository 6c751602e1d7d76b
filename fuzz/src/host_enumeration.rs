//! A device that answers anything, against all that the host tool reads from a device and shows of it.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use inband::{
    bmc::{Bmc, Recognised},
    commands::{facts::Facts, list, status},
    error::DeviceError,
    find::describe,
    output::{Output, Verbosity},
    usb::{Opened, Place, Strings},
};
use inband_usb::{
    EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, TransferId,
    descriptor::{parse_configuration, parse_device},
};

/// Longest line of text that a device can make us show, in bytes. Every string in it is cut at 80 characters, and an escaped one
/// takes at most 10.
const LONGEST_LINE: usize = 8 * 1024;

/// The input is the length of a device descriptor and the descriptor, the length (two bytes) of a configuration and the
/// configuration, and then replies: a byte that says what it is, and its bytes. When there are no more, the device is gone.
pub(crate) fn run(input: &[u8]) {
    let Some((&length, rest)) = input.split_first() else { return };
    let Some((descriptor, rest)) = rest.split_at_checked(length.into()) else { return };
    let Some((length, rest)) = rest.split_first_chunk() else { return };
    let Some((configuration, replies)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else {
        return;
    };
    let (Ok(descriptor), Ok(configuration)) = (parse_device(descriptor), parse_configuration(configuration))
    else {
        return;
    };
    let mut device =
        Hostile { replies: replies.to_vec(), ended: VecDeque::new(), next: 0, now: Duration::ZERO };
    let strings = match Strings::read(&mut device, &descriptor) {
        Ok(strings) => strings,
        Err(error) => return shown(&DeviceError::from(error).to_string()),
    };
    let opened = Opened { device: Box::new(device), descriptor, configuration, strings };
    let place = Place::Port { bus: "1".into(), ports: vec![1] };
    let mut bmc = match Bmc::recognise(place, opened) {
        Ok(Recognised::Bmc(bmc)) => bmc,
        Ok(Recognised::Foreign { reason, .. }) => return shown(&reason),
        Err(error) => return shown(&error.to_string()),
    };
    shown(&describe(&bmc));
    match Facts::read(&mut bmc) {
        Ok(facts) => {
            shown(&status::text(&facts));
            shown(&list::table(std::slice::from_ref(&facts)).to_string());
            json(&facts);
        }
        Err(error) => shown(&error.to_string()),
    }
    match bmc.log() {
        Ok(pages) => {
            assert!(pages.len() <= 16);
            for page in &pages {
                json(&inband::commands::log::record(page));
            }
        }
        Err(error) => shown(&error.to_string()),
    }
    let interface = *bmc.interface();
    inband::dfu::leave(bmc.device(), &interface);
}

/// Text that comes to a terminal: nothing in it moves a cursor or turns letters around, and it is not endless.
fn shown(text: &str) {
    for character in text.chars() {
        assert!(matches!(character, '\n' | ' '..='~' | '\u{c0}'..='\u{24f}'), "{character:?} in {text:?}");
    }
    assert!(text.lines().all(|line| line.len() <= LONGEST_LINE));
}

/// A JSON line is one line of ASCII that reads back.
fn json(body: &impl serde::Serialize) {
    let written = Rc::new(RefCell::new(Vec::new()));
    let mut output = Output::to_streams(
        Box::new(Shared(Rc::clone(&written))),
        Box::new(std::io::sink()),
        true,
        Verbosity::Normal,
    );
    output.json("test", body);
    output.finish().expect("memory takes everything");
    let line = written.borrow();
    let line = line.strip_suffix(b"\n").expect("a line ends");
    assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')));
    let value: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
    assert_eq!(value["event"], "test");
}

struct Shared(Rc<RefCell<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A device whose answers are the input.
struct Hostile {
    /// What is left of them, in order.
    replies: Vec<u8>,
    ended: VecDeque<HostCompletion>,
    next: u64,
    now: Duration,
}

impl Hostile {
    fn reply(&mut self, most: usize) -> Result<Vec<u8>, HostError> {
        if self.replies.is_empty() {
            return Err(HostError::Gone);
        }
        match self.replies.remove(0) {
            0xff => Err(HostError::Stall),
            0xfe => Err(HostError::Cancelled),
            0xfd => Err(HostError::Overflow),
            0xfc => Err(HostError::Other("broken\u{1b}[2J".into())),
            length => {
                let length = usize::from(length).min(self.replies.len()).min(most);
                Ok(self.replies.drain(..length).collect())
            }
        }
    }
}

impl HostDevice for Hostile {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        self.next += 1;
        let id = TransferId(self.next);
        let most = match &transfer {
            HostTransfer::ControlIn { setup } => usize::from(setup.length),
            HostTransfer::ControlOut { setup, data } => {
                assert_eq!(usize::from(setup.length), data.len());
                0
            }
            HostTransfer::BulkOut { .. } | HostTransfer::BulkIn { .. } => panic!("there is no bulk endpoint"),
        };
        let (data, result) = match self.reply(most) {
            Ok(data) => (data, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.ended.push_back(HostCompletion { id, length: data.len(), data, result });
        Ok(id)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        self.ended.pop_front()
    }

    fn cancel(&mut self, _: TransferId) {}

    fn claim(&mut self, _: u8) -> Result<(), HostError> {
        Ok(())
    }

    fn clear_halt(&mut self, _: EndpointAddress) -> Result<(), HostError> {
        panic!("there is no bulk endpoint")
    }

    fn reset(&mut self) -> Result<(), HostError> {
        Err(HostError::Gone)
    }

    fn wait(&mut self, limit: Duration) {
        self.now += limit;
    }

    fn now(&self) -> Duration {
        self.now
    }
}
