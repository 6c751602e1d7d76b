//! How other DFU devices were broken.

use std::time::Duration;

use inband_bulk::interface::INTERFACE_CLASS;
use inband_dfu::wire::{Request, State, Status};
use inband_usb::Setup;
use nusb::transfer::TransferError;

use crate::{
    run::Scenario,
    target::{BLOCK, Outcome, Target, detach, ensure, ensure_stall},
    wire::{Mode, Opened, rubbish},
};

pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("cve-2022-2347-oversize-download", oversize_download),
    ("cve-2022-2347-download-as-in", download_as_in),
    ("cve-2022-2347-upload-as-out", upload_as_out),
    ("cve-2020-10019-oversize-upload", oversize_upload),
    ("tinyusb-880-one-byte-too-many", one_byte_too_many),
    ("zephyr-112559-end-after-the-first-block", end_after_the_first_block),
    ("riot-17128-tiny-first-blocks", tiny_first_blocks),
    ("usbd-dfu-8-block-number-wraps", block_number_wraps),
    ("embassy-long-getstatus", long_getstatus),
    ("checkm8-cut-data-stage", checkm8),
    ("usbliter8-setup-storm", setup_storm),
    ("lpc55-cve-2022-22819-header-fields", header_fields),
    ("gecko-cve-2023-4041-damaged-container", damaged_container),
    ("uboot-script-one-alternate-setting", one_alternate_setting),
];

/// bmRequestType of class requests to an interface.
const OUT: u8 = 0x21;
const IN: u8 = 0xa1;
/// wLength beyond every buffer.
const OVERSIZE: [u16; 5] = [4097, 4160, 8192, 32768, 65535];
/// States in which a host can attack without having anything to lose.
const ENTRY: [State; 4] = [State::DfuIdle, State::DfuDnloadSync, State::DfuDnloadIdle, State::DfuError];

fn class(request_type: u8, request: u8, length: u16) -> Setup {
    Setup { request_type, request, value: 0, index: 0, length }
}

/// Each request is stalled in every entry state and in run time. What DFU thinks of it depends on who has stalled it: of those
/// that the controller's driver refuses, DFU never hears.
fn stalled(target: &mut Target, setups: &[Setup]) -> Outcome {
    for &setup in setups {
        for state in ENTRY {
            let opened = target.reach(state)?;
            ensure_stall(setup, &opened.ask_with_rubbish(setup))?;
            let after = opened.state()?;
            ensure([state, State::DfuError].contains(&after), || format!("{after} behind {setup:x?}"))?;
        }
    }
    let opened = target.run_time()?;
    for &setup in setups {
        ensure_stall(setup, &opened.ask_with_rubbish(setup))?;
        let state = opened.state()?;
        ensure(state == State::AppIdle, || format!("{state} behind {setup:x?} in run time"))?;
    }
    Ok(())
}

/// U-Boot 2012.10 to 2022.07: the length of a download was unchecked, and its direction.
fn oversize_download(target: &mut Target) -> Outcome {
    stalled(target, &OVERSIZE.map(|length| class(OUT, 1, length)))
}

fn download_as_in(target: &mut Target) -> Outcome {
    stalled(target, &[1, 4096, 65535].map(|length| class(IN, 1, length)))
}

fn upload_as_out(target: &mut Target) -> Outcome {
    stalled(target, &[1, 4096, 65535].map(|length| class(OUT, 2, length)))
}

/// Zephyr: an upload longer than the buffer.
fn oversize_upload(target: &mut Target) -> Outcome {
    stalled(target, &OVERSIZE.map(|length| class(IN, 2, length)))
}

/// TinyUSB issues 880 and 913, sboot_stm32 issue 35, USBDevice issue 28; and a block that is too long in the middle of a
/// download, behind which the download is as it was or has ended.
fn one_byte_too_many(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    let opened = target.idle()?;
    opened.block(0, &package[..BLOCK])?;
    let setup = Request::Dnload.setup(0, 1, 4097);
    ensure_stall(setup, &opened.ask(setup, &package[BLOCK..2 * BLOCK + 1]))?;
    match opened.state()? {
        State::DfuError => return Ok(()),
        State::DfuDnloadIdle => {}
        other => return Err(format!("{other} behind a block that is too long")),
    }
    opened.download(1, &package[BLOCK..])?;
    target.update()
}

/// Zephyr issue 112559: the end of the data after the first block dereferenced nothing.
fn end_after_the_first_block(target: &mut Target) -> Outcome {
    let opened = target.reach(State::DfuDnloadIdle)?;
    let end = Request::Dnload.setup(0, 1, 0);
    ensure_stall(end, &opened.ask(end, &[]))?;
    opened.expect(State::DfuError, Status::ErrNotDone)
}

/// RIOT issue 17128: a first block shorter than the header it should hold. The package is good however it is cut up.
fn tiny_first_blocks(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    for length in 1..=3 {
        let opened = target.idle()?;
        opened.block(0, &package[..length])?;
        let next = opened.download(1, &package[length..])?;
        opened.dnload(next, &[])?;
        opened.settle()?;
        opened.expect(State::DfuIdle, Status::Ok)?;
    }
    target.update()
}

/// usbd-dfu issue 8, embassy: the block number wraps. 65,537 blocks take too long here; the first number is the host's to choose,
/// so that it wraps inside a small package as well. That many blocks are a test of the core.
fn block_number_wraps(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    let opened = target.idle()?;
    let next = opened.download(65535, &package)?;
    opened.dnload(next, &[])?;
    opened.settle()?;
    opened.expect(State::DfuIdle, Status::Ok)?;
    target.update()
}

/// embassy 3fc60795a: GETSTATUS with a long wLength sent what was left in the buffer. A short one gets no more than it asks for.
fn long_getstatus(target: &mut Target) -> Outcome {
    let lengths = |opened: &Opened, state: State| {
        for (length, answer) in [(1, 1), (5, 5), (6, 6), (64, 6), (4096, 6), (4097, 6), (65535, 6)] {
            let reply = opened.ask(Request::GetStatus.setup(0, 0, length), &[]);
            let found = reply.as_ref().map(Vec::len);
            ensure(found == Ok(answer), || format!("GETSTATUS of {length} in {state}: {found:?}"))?;
            let reply = opened.ask(Request::GetState.setup(0, 0, length), &[]);
            let found = reply.as_ref().map(Vec::len);
            ensure(found == Ok(1), || format!("GETSTATE of {length} in {state}: {found:?}"))?;
        }
        Ok(())
    };
    for state in [State::DfuIdle, State::DfuDnloadIdle, State::DfuError] {
        lengths(target.reach(state)?, state)?;
    }
    lengths(target.run_time()?, State::AppIdle)
}

/// CVE-2019-8900 (checkm8): a data stage that is cut left a pointer to the buffer behind, for a later life of the device to
/// write to.
fn checkm8(target: &mut Target) -> Outcome {
    const ROUNDS: u64 = 6;
    type After = fn(Opened) -> Outcome<Opened>;
    let mut ends: Vec<After> = vec![
        |opened| {
            // Where the data was in time after all, CLRSTATUS is out of place.
            let _ = opened.command(Request::ClrStatus);
            Ok(opened)
        },
        |opened| {
            // A gadget may stall what comes right behind a request that was taken back, and that changes nothing (docs/kernels.md).
            if opened.command(Request::Abort).is_err() {
                opened.command(Request::Abort)?;
            }
            Ok(opened)
        },
        |opened| {
            opened.state_behind_a_cut()?;
            opened.to_idle()?;
            detach(opened)?;
            detach(Opened::in_mode(Mode::RunTime)?)?;
            Opened::in_mode(Mode::Dfu)
        },
    ];
    if target.bus_reset {
        ends.push(|opened| {
            opened.reset()?;
            Opened::any()
        });
    }
    let mut cut = 0;
    for end in ends {
        for round in 0..ROUNDS {
            target.idle()?;
            let opened = target.take()?;
            // Grooming: GET_DESCRIPTOR that is stalled over and over.
            let groom = Setup { request_type: 0x80, request: 6, value: 0x2200, index: 0, length: 0x800 };
            for _ in 0..10 {
                ensure_stall(groom, &opened.ask(groom, &[]))?;
            }
            let limit = Duration::from_micros(40 << round);
            let reply = opened.send(Request::Dnload.setup(0, 0, 0x800), &rubbish(0x800), limit).finish();
            match reply {
                Ok(_) => {}
                Err(TransferError::Cancelled) => cut += 1,
                Err(error) => return Err(format!("a block that is cut: {error}")),
            }
            let opened = end(opened)?;
            // What was refused as above may have been counted with the one behind it.
            opened.state_behind_a_cut()?;
            target.put(opened);
            target.works()?;
        }
    }
    ensure(cut > 0, || "no data stage was cut".into())?;
    target.update()
}

/// usbliter8: SETUP packets back to back, each in the place of the one before, also in the middle of the data.
fn setup_storm(target: &mut Target) -> Outcome {
    const ROUNDS: usize = 12;
    let data = rubbish(BLOCK);
    for round in 0..ROUNDS {
        let opened = target.idle()?;
        // Some are taken back while they run, most before they have begun.
        let requests: Vec<_> = (0..60_usize)
            .map(|place| {
                let limit = Duration::from_micros(((round * 37 + place * 101) % 6000) as u64);
                match place % 5 {
                    0 => opened.send(Request::Dnload.setup(0, 0, BLOCK as u16), &data, limit),
                    1 => opened.send(Request::GetStatus.setup(0, 0, 6), &[], limit),
                    2 => opened.send(Request::Abort.setup(0, 0, 0), &[], limit),
                    3 => opened.send(Request::Dnload.setup(0, 1, 1 + place as u16), &data[..=place], limit),
                    _ => opened.send(Request::GetState.setup(0, 0, 1), &[], limit),
                }
            })
            .collect();
        for request in requests {
            if let Err(TransferError::Disconnected) = request.finish() {
                return Err("the device has left the bus".into());
            }
        }
        opened.state_behind_a_cut()?;
    }
    target.works()?;
    target.update()
}

/// Places in the first two blocks of the archive: the header of `inband.head`, then the head (docs/spec/package.md, 2 and 3).
const HEADER: usize = 0;
const HEAD: usize = 512;

/// CVE-2022-22819 (LPC55) and its like: fields that are read before the signature is checked, at 0, at their largest, and
/// beyond.
fn header_fields(target: &mut Target) -> Outcome {
    let fields: &[(usize, &[u8])] = &[
        (HEADER + 124, b"77777777777\0"),
        (HEADER + 124, b"00000000000\0"),
        (HEADER + 124, b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        (HEADER + 136, b"77777777777\0"),
        (HEADER + 148, b"777777\0 "),
        (HEADER, &[b'a'; 100]),
        (HEAD, b"\0\0\0\0\0\0\0\0"),
        (HEAD + 8, &0_u16.to_le_bytes()),
        (HEAD + 8, &u16::MAX.to_le_bytes()),
        (HEAD + 12, &0_u32.to_le_bytes()),
        (HEAD + 12, &524_289_u32.to_le_bytes()),
        (HEAD + 12, &u32::MAX.to_le_bytes()),
        (HEAD + 16, &0_u64.to_le_bytes()),
        (HEAD + 16, &((1_u64 << 30) + 512).to_le_bytes()),
        (HEAD + 16, &u64::MAX.to_le_bytes()),
        (HEAD + 24, &u64::MAX.to_le_bytes()),
        (HEAD + 64, &[0]),
        (HEAD + 64, &[5]),
        (HEAD + 64, &[255]),
        (HEAD + 72 + 2, &u16::MAX.to_le_bytes()),
        (HEAD + 232, &[0]),
        (HEAD + 232, &[49]),
        (HEAD + 232, &[255]),
    ];
    for (at, bytes) in fields {
        let mut file = target.package.clone();
        file[*at..at + bytes.len()].copy_from_slice(bytes);
        refused(target, &file, &[Status::ErrFile, Status::ErrVerify])
            .map_err(|e| format!("byte {at}: {e}"))?;
    }
    Ok(())
}

/// CVE-2023-4041, CVE-2022-24936 (Gecko): a container that is damaged further in, at every place that is a header,
/// a signature, an index or data; and fwupd's CVE-2020-10759: it is the BMC that looks at the signature.
fn damaged_container(target: &mut Target) -> Outcome {
    let length = target.package.len();
    for at in [1024 + 124, 1536, 2048 + 124, 2560, 2560 + 12, length / 2, length - 1024 - 1, length - 1] {
        let mut file = target.package.clone();
        file[at] ^= 0x80;
        refused(target, &file, &[Status::ErrFile, Status::ErrVerify])
            .map_err(|e| format!("byte {at}: {e}"))?;
    }
    target.update()
}

/// A file that has to be refused with one of these, at its last byte at the latest.
fn refused(target: &mut Target, file: &[u8], with: &[Status]) -> Outcome {
    let opened = target.idle()?;
    for (number, block) in (0..).zip(file.chunks(BLOCK)) {
        let setup = Request::Dnload.setup(0, number, block.len() as u16);
        if opened.ask(setup, block) == Err(TransferError::Stall) || opened.settle()?.state == State::DfuError
        {
            let reply = opened.status()?;
            return ensure(with.contains(&reply.status), || format!("refused with {}", reply.status));
        }
    }
    Err("it is taken".into())
}

/// U-Boot's "script" alternate setting ran what was sent to it. There is one alternate setting, it takes packages, and
/// nothing can be read back.
fn one_alternate_setting(target: &mut Target) -> Outcome {
    for mode in [Mode::Dfu, Mode::RunTime] {
        let opened = if mode == Mode::Dfu { target.idle()? } else { target.run_time()? };
        let configuration = opened.device.active_configuration().map_err(|e| e.to_string())?;
        let (bulk, interfaces): (Vec<_>, Vec<_>) =
            configuration.interface_alt_settings().partition(|it| it.class() == INTERFACE_CLASS);
        ensure(bulk.len() == usize::from(mode == Mode::Dfu), || {
            format!("{} of bulk in {mode:?}", bulk.len())
        })?;
        ensure(interfaces.len() == 1, || format!("{} alternate settings in {mode:?}", interfaces.len()))?;
        let endpoints = interfaces[0].num_endpoints();
        ensure(endpoints == 0, || format!("{endpoints} endpoints in {mode:?}"))?;
        // Kernels before 6.12 take no functional descriptor.
        if let Some(functional) = interfaces[0].descriptors().find(|it| it.descriptor_type() == 0x21) {
            ensure(functional[2] & 2 == 0, || "bitCanUpload is set".into())?;
        }
        // Alternate settings that are not there, by requests that no driver has looked at. Of 1 and 2 FunctionFS makes 0.
        for alternate in [3_u16, 255, 256, 65535] {
            let setup = Setup { request_type: 1, request: 11, value: alternate, index: 0, length: 0 };
            ensure_stall(setup, &opened.ask(setup, &[]))?;
        }
    }
    Ok(())
}
