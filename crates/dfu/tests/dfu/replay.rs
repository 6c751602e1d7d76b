//! The ways other DFU devices were broken, replayed: each is refused as it should be, and the next session works.
//!
//! Not here, since this core never sees it: forged and malformed images (package), the standard requests of chapter 9 (usb),
//! transfers beyond a controller's buffer that the kernel refuses by itself.

use std::time::Duration;

use inband_dfu::{
    device::{Answer, Cause, Door, Event},
    host::{End, Error},
    table::Mode,
    wire::{Request, State, Status},
};
use inband_usb::Setup;

use crate::bench::{Bench, Stalled};

/// bmRequestType of class requests to an interface.
const OUT: u8 = 0x21;
const IN: u8 = 0xa1;
/// wLength beyond every buffer.
const OVERSIZE: [u16; 5] = [4097, 4160, 8192, 32768, 65535];

fn setup(request_type: u8, request: u8, length: u16) -> Setup {
    Setup { request_type, request, value: 0, index: 0, length }
}

/// States in which a host can attack without having anything to lose.
const ENTRY: [State; 6] = [
    State::AppIdle,
    State::DfuIdle,
    State::DfuDnloadSync,
    State::DfuDnloadIdle,
    State::DfuManifestSync,
    State::DfuError,
];

/// The request is stalled, no data stage is entered, and the next session works, from every entry state.
fn assert_stalled(request: Setup) {
    for state in ENTRY {
        let mut bench = Bench::reach(Mode::Lenient, state);
        assert_eq!(bench.device.handle_setup(bench.now, &request), Answer::Stall, "{request:?} in {state}");
        // Data the host sends all the same finds no request.
        bench.device.handle_data(bench.now, usize::from(request.length));
        bench.finish_manifestation();
        bench.assert_next_session();
    }
}

/// The same for a request that is not for DFU: the state does not change either.
fn assert_not_ours(request: Setup) {
    for state in ENTRY {
        let mut bench = Bench::reach(Mode::Lenient, state);
        let status = bench.device.status();
        assert_eq!(bench.device.handle_setup(bench.now, &request), Answer::Stall, "{request:?} in {state}");
        assert_eq!((bench.device.state(), bench.device.status()), (state, status));
        bench.finish_manifestation();
        bench.assert_next_session();
    }
}

/// U-Boot 2012.10 to 2022.07: the length of a download was unchecked, and its direction.
#[test]
fn cve_2022_2347_oversize_download() {
    for length in OVERSIZE {
        assert_stalled(setup(OUT, 1, length));
    }
}

#[test]
fn cve_2022_2347_download_as_in() {
    for length in [1, 4096, 65535] {
        assert_stalled(setup(IN, 1, length));
    }
}

#[test]
fn cve_2022_2347_upload_as_out() {
    for length in [1, 4096, 65535] {
        assert_stalled(setup(OUT, 2, length));
    }
}

/// Zephyr up to 2.5: an IN request of a kind that writes leaked 64 KiB.
#[test]
fn cve_2021_3625_set_address_as_in() {
    assert_not_ours(setup(0x80, 5, 65535));
}

/// Zephyr: an upload longer than the buffer.
#[test]
fn cve_2020_10019_oversize_upload() {
    for length in OVERSIZE {
        assert_stalled(setup(IN, 2, length));
    }
}

/// Zephyr issue 112559: the end of the data after the first block dereferenced nothing.
#[test]
fn zephyr_112559_end_after_the_first_block() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 64]);
    assert_eq!(bench.out(Request::Dnload, 1, &[]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrNotDone);
    assert_eq!(bench.aborts(), [Cause::Misuse(Status::ErrNotDone)]);
    bench.assert_next_session();
}

/// TinyUSB issues 880 and 913, sboot_stm32 issue 35, USBDevice issue 28.
#[test]
fn tinyusb_880_one_byte_too_many() {
    for request in [setup(OUT, 1, 4097), setup(IN, 2, 4097)] {
        assert_stalled(request);
    }
}

/// RIOT issue 17128: a first block shorter than the header it should hold.
#[test]
fn riot_17128_tiny_first_blocks() {
    for length in 1..=3 {
        let mut bench = Bench::lenient();
        let first = bench.image[..length].to_vec();
        bench.block(0, &first);
        let rest = bench.image[length..].to_vec();
        let mut number = 1;
        for block in rest.chunks(4096) {
            bench.block(number, block);
            number += 1;
        }
        bench.out(Request::Dnload, number, &[]).unwrap();
        bench.assert_status(State::DfuIdle, Status::Ok);
        assert_eq!(bench.installed.as_ref(), Some(&bench.image));
        bench.assert_next_session();
    }
}

/// usbd-dfu issue 8, embassy: the block number wraps.
#[test]
fn usbd_dfu_8_more_than_65536_blocks() {
    let mut bench = Bench::lenient();
    bench.image = (0..65_537_u32).map(|at| (at % 253) as u8).collect();
    let image = bench.image.clone();
    let mut number = 0_u16;
    for byte in &image {
        bench.block(number, &[*byte]);
        number = number.wrapping_add(1);
    }
    assert_eq!(number, 1);
    bench.out(Request::Dnload, number, &[]).unwrap();
    bench.assert_status(State::DfuIdle, Status::Ok);
    assert!(bench.installed.as_ref() == Some(&image));
    bench.image.truncate(10_000);
    bench.assert_next_session();
}

/// embassy 3fc60795a: GETSTATUS with a long wLength sent what was left in the buffer.
#[test]
fn embassy_long_getstatus() {
    for state in ENTRY {
        for length in [6, 64, 4096, 65535] {
            let mut bench = Bench::reach(Mode::Lenient, state);
            let reply = bench.control_in(setup(IN, 3, length)).unwrap();
            assert_eq!(reply.len(), 6);
            bench.finish_manifestation();
            bench.assert_next_session();
        }
    }
}

/// CVE-2019-8900 (checkm8): a data stage that is cut left a pointer to the buffer behind.
#[test]
fn checkm8_cut_data_stage() {
    type After = fn(&mut Bench);
    let ends: [After; 4] = [
        |bench| assert_eq!(bench.out(Request::ClrStatus, 0, &[]), Err(Stalled)),
        |bench| bench.out(Request::Abort, 0, &[]).unwrap(),
        Bench::bus_reset,
        |bench| {
            bench.bus_reset();
            bench.bus_reset();
            bench.set_interface();
        },
    ];
    for end in ends {
        let mut bench = Bench::lenient();
        bench.events.clear();
        // Grooming: GET_DESCRIPTOR that is stalled over and over.
        for _ in 0..100 {
            assert_eq!(bench.device.handle_setup(bench.now, &setup(0x80, 6, 0x800)), Answer::Stall);
        }
        let download = Request::Dnload.setup(0, 0, 0x800);
        assert_eq!(bench.device.handle_setup(bench.now, &download), Answer::Receive { length: 0x800 });
        end(&mut bench);
        // The data stage ends late, in a life that knows nothing of it.
        bench.device.handle_data(bench.now, 0x800);
        assert_eq!(bench.device.poll_event(), None);
        assert_eq!(bench.events, []);
        bench.assert_next_session();
    }
}

/// usbliter8: SETUP packets back to back, each taking the place of the one before, also in the middle of the data.
#[test]
fn usbliter8_setup_storm() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 64]);
    bench.events.clear();
    for round in 0..1000_u16 {
        let download = Request::Dnload.setup(0, 1, 1 + round % 4096);
        assert!(matches!(bench.device.handle_setup(bench.now, &download), Answer::Receive { .. }));
        let clear = Request::Abort.setup(0, 0, 0);
        assert_eq!(bench.device.handle_setup(bench.now, &clear), Answer::Acknowledge);
    }
    // Only the last one is still there, and it is an ABORT without data.
    let download = Request::Dnload.setup(0, 1, 64);
    bench.device.handle_setup(bench.now, &download);
    bench.device.handle_cancelled();
    assert_eq!(bench.events, []);
    bench.assert_status(State::DfuDnloadIdle, Status::Ok);
    bench.assert_next_session();
}

/// CVE-2018-6242 (fusee gelee): the length of GET_STATUS was unchecked.
#[test]
fn cve_2018_6242_get_status() {
    for request_type in [0x80, 0x81, 0x82] {
        assert_not_ours(setup(request_type, 0, 65535));
    }
}

/// Requests to other recipients, interfaces, of other kinds: not DFU's, and no error of DFU's.
#[test]
fn requests_to_others() {
    for request_type in [0x20, 0x22, 0x23, 0x3f, 0xa0, 0xa2, 0x41, 0xc1, 0x61, 0xe1, 0x01, 0x81] {
        for request in [0, 1, 3, 4, 6, 0xff] {
            assert_not_ours(setup(request_type, request, 0));
            assert_not_ours(setup(request_type, request, 64));
        }
    }
    for index in [1, 0x0100, 0xffff] {
        for request in Request::ALL {
            assert_not_ours(Setup { index, ..request.setup(0, 0, 6) });
        }
    }
}

/// Unknown requests and impossible lengths, addressed to DFU: stalled, and an error in DFU mode (A.2, "any other request").
#[test]
fn unknown_requests_and_lengths() {
    for request in 7..=255 {
        let mut bench = Bench::lenient();
        for request_type in [OUT, IN] {
            assert_eq!(bench.device.handle_setup(bench.now, &setup(request_type, request, 8)), Answer::Stall);
            bench.assert_status(State::DfuError, Status::ErrStalledPacket);
        }
        bench.assert_next_session();
    }
    for request in [
        setup(OUT, 0, 1),
        setup(OUT, 4, 1),
        setup(OUT, 6, 65535),
        setup(IN, 3, 0),
        setup(IN, 5, 0),
        setup(IN, 1, 0),
    ] {
        assert_stalled(request);
    }
}

#[test]
fn end_of_data_in_dfu_idle() {
    let mut bench = Bench::lenient();
    assert_eq!(bench.out(Request::Dnload, 0, &[]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrStalledPacket);
    bench.assert_next_session();
}

#[test]
fn end_of_data_twice() {
    let mut bench = Bench::lenient();
    let number = bench.blocks();
    bench.out(Request::Dnload, number, &[]).unwrap();
    assert_eq!(bench.out(Request::Dnload, number, &[]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrStalledPacket);
    let ends = bench.events.iter().filter(|event| **event == Event::EndOfData).count();
    assert_eq!(ends, 1);
    bench.assert_next_session();
}

#[test]
fn getstatus_flood() {
    for state in ENTRY.into_iter().chain([State::DfuDnbusy, State::DfuManifest]) {
        let mut bench = Bench::reach(Mode::Lenient, state);
        bench.events.clear();
        for _ in 0..10_000 {
            let reply = bench.status();
            assert!((1..=1000).contains(&reply.poll_timeout_ms));
        }
        assert_eq!(bench.events, []);
        bench.finish_manifestation();
        bench.assert_next_session();
    }
}

/// Each DETACH is one event at most; how often the device follows is the owner's policy, by the door.
#[test]
fn detach_storm() {
    let mut bench = Bench::new(Mode::Lenient);
    for _ in 0..1000 {
        bench.out(Request::Detach, 1000, &[]).unwrap();
        bench.out(Request::Detach, 1000, &[]).unwrap();
    }
    let expected: Vec<_> = [Event::Detach, Event::Leave].into_iter().cycle().take(2000).collect();
    assert_eq!(bench.events, expected);
    bench.device.set_door(Door::Refused(Status::ErrVendor));
    assert_eq!(bench.out(Request::Detach, 1000, &[]), Err(Stalled));
    bench.device.set_door(Door::Open);
    bench.assert_next_session();
}

#[test]
fn bus_reset_in_every_state() {
    for (state, after, aborts) in [
        (State::AppIdle, State::AppIdle, 0),
        (State::DfuIdle, State::DfuIdle, 0),
        (State::DfuDnloadSync, State::DfuIdle, 1),
        (State::DfuDnbusy, State::DfuIdle, 1),
        (State::DfuDnloadIdle, State::DfuIdle, 1),
        // The image was taken: fwupd resets here, and waits for the run-time set.
        (State::DfuManifestSync, State::AppIdle, 0),
        (State::DfuManifest, State::AppIdle, 0),
        (State::DfuError, State::DfuError, 0),
    ] {
        let mut bench = Bench::reach(Mode::Lenient, state);
        bench.bus_reset();
        assert_eq!(bench.device.state(), after, "after a reset in {state}");
        assert_eq!(bench.aborts(), vec![Cause::BusReset; aborts]);
        bench.bus_reset();
        assert_eq!(bench.device.state(), after);
        bench.assert_next_session();
    }
}

/// A reset in time after DETACH, before the owner has left the bus: the device still comes back in DFU mode.
#[test]
fn bus_reset_in_app_detach() {
    let mut bench = Bench::reach(Mode::Lenient, State::AppDetach);
    bench.bus_reset();
    assert_eq!(bench.events, [Event::Detach]);
    assert_eq!(bench.device.state(), State::DfuIdle);
    bench.assert_next_session();
}

/// The letter of A.2: a reset in DFU mode is the way back to the run-time set.
#[test]
fn strict_bus_reset_leaves_from_every_state() {
    for state in [
        State::DfuIdle,
        State::DfuDnloadSync,
        State::DfuDnbusy,
        State::DfuDnloadIdle,
        State::DfuManifestSync,
        State::DfuManifest,
        State::DfuError,
    ] {
        let mut bench = Bench::reach(Mode::Strict, state);
        bench.bus_reset();
        assert_eq!((bench.device.state(), bench.device.status()), (State::AppIdle, Status::Ok));
        assert_eq!(bench.events.last(), Some(&Event::Leave));
        bench.assert_next_session();
    }
}

/// dfu-util was killed and started again: it begins with SET_INTERFACE.
#[test]
fn set_interface_mid_download() {
    for state in [State::DfuDnloadSync, State::DfuDnbusy, State::DfuDnloadIdle] {
        let mut bench = Bench::reach(Mode::Lenient, state);
        bench.set_interface();
        assert_eq!(bench.aborts(), [Cause::NewSession]);
        bench.assert_status(State::DfuIdle, Status::Ok);
        bench.assert_next_session();
    }
}

/// It is no way to undo a download that was taken.
#[test]
fn set_interface_while_manifesting() {
    for state in [State::DfuManifestSync, State::DfuManifest] {
        let mut bench = Bench::reach(Mode::Lenient, state);
        bench.set_interface();
        assert_eq!(bench.device.state(), state);
        assert_eq!(bench.aborts(), []);
        bench.finish_manifestation();
        bench.assert_next_session();
    }
}

/// Two halves of two images do not make one.
#[test]
fn abort_and_another_image() {
    let mut bench = Bench::lenient();
    let image = bench.image.clone();
    bench.block(0, &image[..4096]);
    bench.block(1, &image[4096..8192]);
    bench.out(Request::Abort, 0, &[]).unwrap();
    // What is left of the image, as if the download had gone on.
    bench.block(2, &image[8192..12288]);
    bench.block(3, &image[12288..]);
    assert_eq!(bench.out(Request::Dnload, 4, &[]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrNotDone);
    assert_eq!(bench.installed, None);
    assert_eq!(bench.aborts(), [Cause::Abort, Cause::Misuse(Status::ErrNotDone)]);
    bench.assert_next_session();
}

#[test]
fn duplicate_skipped_and_decreasing_block_numbers() {
    for wrong in [7, 6, 0, 9, 65535] {
        let mut bench = Bench::lenient();
        bench.block(6, &[1; 64]);
        bench.block(7, &[2; 64]);
        assert_eq!(bench.out(Request::Dnload, wrong, &[3; 64]), Err(Stalled), "block {wrong} after 7");
        bench.assert_status(State::DfuError, Status::ErrAddress);
        assert_eq!(bench.aborts(), [Cause::Misuse(Status::ErrAddress)]);
        bench.assert_next_session();
    }
}

/// An image longer than it says, and one with a wrong byte: the verdict is there with the last block.
#[test]
fn images_that_are_not_good() {
    let mut bench = Bench::lenient();
    let mut longer = bench.image.clone();
    longer.push(0);
    let refused = |status| {
        Err(Error::Refused { request: Request::Dnload, status: Some(status), state: Some(State::DfuError) })
    };
    assert_eq!(bench.session(&longer), refused(Status::ErrAddress));
    let mut wrong = bench.image.clone();
    wrong[5000] ^= 1;
    assert_eq!(bench.session(&wrong), refused(Status::ErrVerify));
    let shorter = bench.image[..5000].to_vec();
    assert_eq!(bench.session(&shorter), refused(Status::ErrNotDone));
    assert_eq!(bench.installed, None);
    bench.assert_next_session();
}

/// The host loses power, or the cable goes, at each step after the data.
#[test]
fn unplug_at_each_step_of_the_manifestation() {
    for polls in 0..4 {
        let mut bench = Bench::reach(Mode::Lenient, State::DfuManifestSync);
        for _ in 0..polls {
            bench.status();
            bench.pass(Duration::from_millis(1));
        }
        bench.device.handle_disable(bench.now);
        assert_eq!(bench.aborts(), []);
        assert_eq!(bench.installed.as_ref(), Some(&bench.image));
        bench.bus_reset();
        bench.assert_next_session();
    }
}

/// The second program's session ends the first's; the first learns it by an error and cannot go on.
#[test]
fn two_host_programs() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 64]);
    bench.block(1, &[1; 64]);
    let file = bench.image.clone();
    bench.assert_next_session();
    assert_eq!(bench.aborts(), [Cause::NewSession]);
    // The first goes on: a new download to the device, which its owner finds to be no image.
    bench.installed = None;
    bench.block(2, &[1; 64]);
    assert_eq!(bench.out(Request::Dnload, 3, &[]), Err(Stalled));
    assert_eq!(bench.installed, None);
    assert_eq!(bench.session(&file), Ok(End::Idle));
}
