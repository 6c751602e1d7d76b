//! A device that answers anything, against the host sequence of DFU.

use std::time::Duration;

use inband_dfu::{
    host::{self, DfuInterface, InterfaceMode, Limits, POLL_LIMIT, Step},
    wire::FunctionalDescriptor,
};
use inband_usb::{Direction, HostError, descriptor::parse_configuration};

/// The input is the length of a configuration, the configuration, the size of the file, and then replies: a byte that says what it
/// is, and its bytes. When there are no more, the device is gone.
pub(crate) fn run(input: &[u8]) {
    let Some((&length, rest)) = input.split_first() else { return };
    let Some((configuration, rest)) = rest.split_at_checked(length.into()) else { return };
    let found =
        parse_configuration(configuration).ok().and_then(|it| host::find_dfu_interface(&it, None).ok());
    let interface = found.unwrap_or(DfuInterface {
        number: 0,
        mode: InterfaceMode::Dfu,
        name: 0,
        functional: FunctionalDescriptor::OURS,
    });
    let Some((total, mut replies)) = rest.split_first_chunk() else { return };
    let total = u64::from(u16::from_le_bytes(*total)) + 1;

    let mut now = Duration::ZERO;
    let mut given = 0;
    let mut step = match interface.mode {
        InterfaceMode::Runtime => host::detach(&interface),
        InterfaceMode::Dfu => host::open(now, &interface, Limits::default()),
    };
    loop {
        step = match step {
            Step::Request(transfer, expect) => {
                if transfer.setup.direction() == Direction::Out {
                    assert_eq!(usize::from(transfer.setup.length), transfer.data.len());
                }
                let reply = reply(&mut replies);
                match expect.handle(now, reply) {
                    Ok(step) => step,
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        return;
                    }
                }
            }
            Step::Wait(time, pause) => {
                assert!(!time.is_zero() && time <= POLL_LIMIT);
                now += time;
                pause.resume()
            }
            Step::Ready(ready) => match ready.download(now, total) {
                Ok(step) => step,
                Err(error) => panic!("{error}"),
            },
            Step::Block(block) => {
                assert_eq!(block.sent(), given);
                let data = vec![0; block.length()];
                given += data.len() as u64;
                assert!(!data.is_empty() && given <= total);
                match block.send(now, data) {
                    Ok(step) => step,
                    Err(_) => return,
                }
            }
            Step::Downloaded(_) => {
                assert_eq!(given, total);
                return;
            }
            Step::Detached { .. } => return,
        };
    }
}

fn reply<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], HostError> {
    let Some((&kind, after)) = rest.split_first() else { return Err(HostError::Gone) };
    *rest = after;
    match kind {
        0xff => Err(HostError::Stall),
        0xfe => Err(HostError::Cancelled),
        0xfd => Err(HostError::Overflow),
        0xfc => Err(HostError::Other("broken".into())),
        length => {
            let (reply, after) = rest.split_at(usize::from(length).min(rest.len()));
            *rest = after;
            Ok(reply)
        }
    }
}
