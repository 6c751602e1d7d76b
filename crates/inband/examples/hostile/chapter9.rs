//! How other USB devices and Linux's gadget stack were broken, by requests that are none of DFU's.
//!
//! Not here: CVE-2020-13143 (configfs, the BMC's own administrator), CVE-2022-49755, CVE-2022-48822 and CVE-2024-36894 (races of
//! FunctionFS around a mode switch; the loops of the suites are for those).

use inband_dfu::wire::State;
use inband_usb::{Direction, Setup};
use nusb::transfer::TransferError;

use crate::{
    run::Scenario,
    target::{Outcome, Target, ensure, ensure_stall},
    wire::Opened,
};

pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("cve-2021-3625-set-address-as-in", set_address_as_in),
    ("cve-2018-6242-long-get-status", long_get_status),
    ("cve-2021-39685-oversize-requests", oversize_requests),
    ("cve-2022-25258-os-descriptors", os_descriptors),
    ("cve-2022-25375-encapsulated-commands", encapsulated_commands),
    ("cve-2022-48948-uvc-requests", uvc_requests),
    ("long-descriptors", long_descriptors),
    ("unknown-dfu-requests", unknown_dfu_requests),
    ("requests-to-others", requests_to_others),
];

/// What a composite gadget moves in one control transfer.
const COMPOSITE: usize = 4096;

/// In dfuIDLE and in run time.
fn in_both_modes(target: &mut Target, attack: impl Fn(&Opened) -> Outcome) -> Outcome {
    let opened = target.idle()?;
    attack(opened)?;
    attack(target.run_time()?)
}

/// The same, for requests of which DFU is to notice nothing.
fn unnoticed(target: &mut Target, attack: impl Fn(&Opened) -> Outcome) -> Outcome {
    in_both_modes(target, |opened| {
        let before = opened.state()?;
        attack(opened)?;
        let after = opened.state()?;
        ensure(before == after, || format!("{before} has become {after}"))
    })
}

/// Stalled, or answered with so many bytes at most.
fn at_most(opened: &Opened, setup: Setup, most: usize) -> Outcome {
    match opened.ask_with_rubbish(setup) {
        Err(TransferError::Stall) => Ok(()),
        Ok(bytes) if setup.direction() == Direction::In && bytes.len() <= most => Ok(()),
        Ok(bytes) => Err(format!("{setup:x?} is answered with {} bytes", bytes.len())),
        Err(error) => Err(format!("{setup:x?}: {error}")),
    }
}

/// Zephyr up to 2.5: an IN request of a kind that writes leaked 64 KiB.
fn set_address_as_in(target: &mut Target) -> Outcome {
    unnoticed(target, |opened| {
        // SET_ADDRESS, SET_CONFIGURATION, SET_DESCRIPTOR; SET_INTERFACE.
        for (request_type, request) in [(0x80, 5), (0x80, 9), (0x80, 7), (0x81, 11)] {
            for length in [1, 64, 4096, 65535] {
                at_most(opened, Setup { request_type, request, value: 0, index: 0, length }, 64)?;
            }
        }
        Ok(())
    })
}

/// CVE-2018-6242 (fusee gelee): the length of GET_STATUS was unchecked.
fn long_get_status(target: &mut Target) -> Outcome {
    unnoticed(target, |opened| {
        for request_type in [0x80, 0x81, 0x82] {
            for length in [2, 64, 4097, 65535] {
                at_most(opened, Setup { request_type, request: 0, value: 0, index: 0, length }, 2)?;
            }
        }
        Ok(())
    })
}

/// CVE-2021-39685: the composite layer's 4096 bytes overrun by any request that is longer.
fn oversize_requests(target: &mut Target) -> Outcome {
    in_both_modes(target, |opened| {
        // Class and vendor requests to device, interface, endpoint 0 and "other", both ways. DETACH has no data stage.
        for request_type in [0x20, 0x21, 0x22, 0x23, 0x40, 0x41, 0x42, 0x43] {
            for request in [0, 1, 2, 3, 6, 0x49, 0x80, 0xff] {
                for length in [4097, 65535] {
                    let out = Setup { request_type, request, value: 0, index: 0, length };
                    ensure_stall(out, &opened.ask_with_rubbish(out))?;
                    at_most(opened, Setup { request_type: request_type | 0x80, ..out }, COMPOSITE)?;
                }
            }
        }
        // SET_DESCRIPTOR, SYNCH_FRAME and numbers that the standard does not know, to the device.
        for request in [7, 12, 13, 0x7f, 0xff] {
            let out = Setup { request_type: 0, request, value: 0, index: 0, length: 65535 };
            ensure_stall(out, &opened.ask_with_rubbish(out))?;
        }
        Ok(())
    })
}

/// CVE-2022-25258: Microsoft's OS descriptors, asked for of an interface that there is not.
fn os_descriptors(target: &mut Target) -> Outcome {
    unnoticed(target, |opened| {
        // The string that announces them, with the code of the request.
        at_most(
            opened,
            Setup { request_type: 0x80, request: 6, value: 0x03ee, index: 0, length: 65535 },
            18,
        )?;
        for request_type in [0xc0, 0xc1] {
            for request in 0..=255 {
                for (value, index) in [(0x00ff, 5), (0xffff, 4), (0x0100, 5)] {
                    let setup = Setup { request_type, request, value, index, length: 65535 };
                    at_most(opened, setup, COMPOSITE)?;
                }
            }
        }
        Ok(())
    })
}

/// CVE-2022-25375: RNDIS took a length from a message without looking at how long the message is. SEND and
/// GET_ENCAPSULATED_RESPONSE have the numbers of DETACH and DNLOAD.
fn encapsulated_commands(target: &mut Target) -> Outcome {
    in_both_modes(target, |opened| {
        // REMOTE_NDIS_SET_MSG with its lengths and offsets at their largest.
        let mut message = vec![0xff; 28];
        message[..8].copy_from_slice(&[5, 0, 0, 0, 28, 0, 0, 0]);
        let send = Setup { request_type: 0x21, request: 0, value: 0, index: 0, length: 28 };
        ensure_stall(send, &opened.ask(send, &message))?;
        let get = Setup { request_type: 0xa1, request: 1, length: 65535, ..send };
        ensure_stall(get, &opened.ask(get, &[]))
    })
}

/// CVE-2022-48948: UVC copied the data of a request into a smaller event. GET_CUR to GET_DEF, and SET_CUR where
/// it is no DNLOAD.
fn uvc_requests(target: &mut Target) -> Outcome {
    in_both_modes(target, |opened| {
        for request in 0x81..=0x87 {
            for length in [61, 4096, 65535] {
                let get = Setup { request_type: 0xa1, request, value: 0x0100, index: 0, length };
                ensure_stall(get, &opened.ask(get, &[]))?;
            }
        }
        for length in [61, 64, 4096] {
            let set = Setup { request_type: 0x22, request: 1, value: 0x0100, index: 0, length };
            ensure_stall(set, &opened.ask_with_rubbish(set))?;
        }
        Ok(())
    })
}

/// Every descriptor by every way, 65535 bytes of it: none is longer than it says itself.
fn long_descriptors(target: &mut Target) -> Outcome {
    unnoticed(target, |opened| {
        for request_type in [0x80, 0x81] {
            for kind in 0..=0x30_u16 {
                for number in [0, 1, 5, 255] {
                    let setup = Setup {
                        request_type,
                        request: 6,
                        value: kind << 8 | number,
                        // The language of a string; to an interface its number, which the kernel looks at.
                        index: if (request_type, kind) == (0x80, 3) { 0x0409 } else { 0 },
                        length: 65535,
                    };
                    match opened.ask(setup, &[]) {
                        Err(TransferError::Stall) => {}
                        Ok(bytes) => {
                            let own = match bytes[..] {
                                // A configuration is as long as wTotalLength.
                                [_, 2 | 7 | 15, low, high, ..] => {
                                    usize::from(u16::from_le_bytes([low, high]))
                                }
                                [length, ..] => length.into(),
                                [] => 0,
                            };
                            ensure(bytes.len() == own, || {
                                format!("{setup:x?}: {} bytes, which say they are {own}", bytes.len())
                            })?;
                        }
                        Err(error) => return Err(format!("{setup:x?}: {error}")),
                    }
                }
            }
        }
        // A language that there is not.
        at_most(
            opened,
            Setup { request_type: 0x80, request: 6, value: 0x0301, index: 0xffff, length: 65535 },
            255,
        )
    })
}

/// Numbers that DFU does not know, both ways (A.2, "any other request").
fn unknown_dfu_requests(target: &mut Target) -> Outcome {
    in_both_modes(target, |opened| {
        let allowed = [opened.state()?, State::DfuError];
        for request in 7..=255 {
            for (request_type, length) in [(0x21, 0), (0x21, 8), (0xa1, 8)] {
                let setup = Setup { request_type, request, value: 0, index: 0, length };
                ensure_stall(setup, &opened.ask_with_rubbish(setup))?;
            }
        }
        let state = opened.state()?;
        ensure(allowed.contains(&state), || format!("{state} behind unknown requests"))
    })
}

/// DFU's own requests, addressed to somebody else or of another kind: stalled, and DFU notices nothing.
fn requests_to_others(target: &mut Target) -> Outcome {
    unnoticed(target, |opened| {
        for request_type in [0x20, 0x22, 0x23, 0xa0, 0xa2, 0xa3, 0x41, 0xc1, 0x40, 0xc0] {
            for request in 0..=6 {
                for length in [1, 64, 4096] {
                    let setup = Setup { request_type, request, value: 0, index: 0, length };
                    ensure_stall(setup, &opened.ask_with_rubbish(setup))?;
                }
            }
        }
        Ok(())
    })
}
