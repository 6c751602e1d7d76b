//! What a host that knows the standards tries. "TD" numbers are those of the USB-IF's mass storage tests.

use alloc::{format, string::String, vec, vec::Vec};

use inband_usb::{
    Direction, HostDevice, HostError,
    chapter9::request,
    descriptor::{self, BULK_PACKET_SIZE, EndpointKind, parse_configuration, parse_device, parse_string},
};

use super::{
    Outcome, Session,
    session::{PACKET, cdb10, ensure, same},
    thirteen::{Ends, Expects, Means, ends},
};
use crate::{
    bot::{
        host::{Data, Error},
        wire::{
            CBW_LENGTH, GET_MAX_LUN, INTERFACE_CLASS, INTERFACE_PROTOCOL, INTERFACE_SUBCLASS, RESET, Status,
        },
    },
    scsi::BLOCK,
    testing::pattern,
};

pub(super) type Case<U> = fn(&mut Session<'_, U>) -> Outcome;

/// All cases, with their names.
pub(super) fn all<U: HostDevice>() -> Vec<(&'static str, Case<U>)> {
    vec![
        ("interface-descriptor", interface_descriptor),
        ("serial-number", serial_number),
        ("reset-with-wrong-fields", reset_with_wrong_fields),
        ("get-max-lun", get_max_lun),
        ("bad-cbws", bad_cbws),
        ("case-1", thirteen::<U, 1>),
        ("case-2", thirteen::<U, 2>),
        ("case-3", thirteen::<U, 3>),
        ("case-4", thirteen::<U, 4>),
        ("case-5", thirteen::<U, 5>),
        ("case-6", thirteen::<U, 6>),
        ("case-7", thirteen::<U, 7>),
        ("case-8", thirteen::<U, 8>),
        ("case-9", thirteen::<U, 9>),
        ("case-10", thirteen::<U, 10>),
        ("case-11", thirteen::<U, 11>),
        ("case-12", thirteen::<U, 12>),
        ("case-13", thirteen::<U, 13>),
        ("refused-commands", thirteen::<U, 0>),
        ("bytes-behind-the-cdb", bytes_behind_the_cdb),
        ("required-commands", required_commands),
        ("every-operation-code", every_operation_code),
        ("tags", tags),
        ("direction-without-data", direction_without_data),
        ("four-gigabytes", four_gigabytes),
        ("data-that-ends-early", data_that_ends_early),
        ("csw-unread", csw_unread),
        ("reset-alone", reset_alone),
        ("reset-in-every-step", reset_in_every_step),
        ("transfers-of-all-lengths", transfers_of_all_lengths),
    ]
}

/// bmRequestType of a class request to the interface.
const TO_INTERFACE: u8 = 0x21;
const FROM_INTERFACE: u8 = 0xa1;

fn get_descriptor<U: HostDevice>(
    disk: &mut Session<'_, U>,
    kind: u8,
    number: u8,
    length: u16,
) -> Result<Vec<u8>, String> {
    // Strings in English of the United States.
    let language = if kind == descriptor::STRING { 0x0409 } else { 0 };
    let value = u16::from_be_bytes([kind, number]);
    disk.request(0x80, request::GET_DESCRIPTOR, value, language, length)
        .map_err(|error| format!("GET_DESCRIPTOR {value:04x}: {error}"))
}

/// TD1.1.
fn interface_descriptor<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let bytes = get_descriptor(disk, descriptor::CONFIGURATION, 0, 1024)?;
    let configuration = parse_configuration(&bytes).map_err(|error| format!("{error}"))?;
    let mut settings = configuration.interfaces.iter().filter(|it| it.number == disk.interface);
    let (Some(interface), None) = (settings.next(), settings.next()) else {
        return Err("not exactly one setting of the interface".into());
    };
    let class = (interface.class, interface.subclass, interface.protocol);
    same("class", &class, &(INTERFACE_CLASS, INTERFACE_SUBCLASS, INTERFACE_PROTOCOL))?;
    same("endpoints", &interface.endpoints.len(), &2)?;
    for address in [disk.input, disk.output] {
        let found = interface.endpoints.iter().find(|endpoint| endpoint.address == address);
        let shape = found.map(|endpoint| (endpoint.kind, endpoint.max_packet_size));
        same("endpoint", &shape, &Some((EndpointKind::Bulk, BULK_PACKET_SIZE)))?;
    }
    Ok(())
}

/// TD1.2.
fn serial_number<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let device = parse_device(&get_descriptor(disk, descriptor::DEVICE, 0, 18)?);
    let device = device.map_err(|error| format!("{error}"))?;
    let bytes = get_descriptor(disk, descriptor::STRING, device.serial, 255)?;
    let serial = parse_string(&bytes).map_err(|error| format!("{error}"))?;
    let digits = serial.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    ensure(&format!("{serial:?} is no serial number"), serial.len() >= 12 && digits)?;
    ensure("its last twelve digits are 0", serial.bytes().rev().take(12).any(|byte| byte != b'0'))?;
    let page = disk.pass(&[0x12, 1, 0x80, 0, 255, 0], Data::In(255))?;
    same("the serial number of VPD page 80h", &page.get(4..), &Some(serial.as_bytes()))
}

/// TD1.3: every form but the right one is refused, and changes nothing.
fn reset_with_wrong_fields<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let index = u16::from(disk.interface);
    let mut forms =
        vec![(TO_INTERFACE, 1, index, 0), (TO_INTERFACE, 0, index, 1), (FROM_INTERFACE, 0, index, 1)];
    if disk.between.whole_index {
        forms.push((TO_INTERFACE, 0, index | 0x0100, 0));
    }
    for (request_type, value, index, length) in forms {
        let came = disk.request(request_type, RESET, value, index, length);
        same(&format!("{request_type:02x} {value:04x} {index:04x} {length}"), &came, &Err(HostError::Stall))?;
    }
    // No unit attention: there was no reset.
    same("status", &disk.command(&[0; 6], Data::None)?.csw.status, &Status::Passed)
}

/// TD1.3.
fn get_max_lun<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let index = u16::from(disk.interface);
    let mut forms = vec![
        (FROM_INTERFACE, 1, index, 1),
        (FROM_INTERFACE, 0, index, 0),
        (FROM_INTERFACE, 0, index, 2),
        (TO_INTERFACE, 0, index, 1),
    ];
    if disk.between.whole_index {
        forms.push((FROM_INTERFACE, 0, index | 0x0100, 1));
    }
    for (request_type, value, index, length) in forms {
        let came = disk.request(request_type, GET_MAX_LUN, value, index, length);
        same(&format!("{request_type:02x} {value:04x} {index:04x} {length}"), &came, &Err(HostError::Stall))?;
    }
    same("Get Max LUN", &disk.request(FROM_INTERFACE, GET_MAX_LUN, 0, index, 1), &Ok(vec![0]))
}

/// Whether IN is halted, as the device's side tells (USB 2.0, 9.4.5).
fn in_is_halted<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<bool, String> {
    let status = disk.request(0x82, request::GET_STATUS, 0, disk.input.0.into(), 2);
    status
        .map(|bytes| bytes.first().is_some_and(|byte| byte & 1 != 0))
        .map_err(|error| format!("GET_STATUS: {error}"))
}

/// TD1.4: behind what is no good CBW IN stalls, and OUT is discarded, until Reset Recovery.
fn bad_cbws<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let good = disk.cbw(Direction::In, 36, &[0x12, 0, 0, 0, 36, 0]).to_bytes();
    let changed = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        bytes.to_vec()
    };
    let cut = |length: usize| {
        let mut bytes = good.to_vec();
        bytes.resize(length, 0);
        bytes
    };
    let shapes = [
        ("signature", changed(0, 0)),
        ("a CSW's signature", changed(3, b'S')),
        ("30 bytes", cut(30)),
        ("32 bytes", cut(32)),
        ("no byte", cut(0)),
        ("a packet", cut(PACKET)),
        ("two packets", cut(2 * PACKET)),
        ("reserved flags", changed(12, 0x81)),
        ("unit 1", changed(13, 1)),
        ("reserved bits beside the unit", changed(13, 0x10)),
        ("no CDB", changed(14, 0)),
        ("a CDB of 17 bytes", changed(14, 17)),
    ];
    for (name, bytes) in shapes {
        disk.send(&bytes).map_err(|error| format!("{name}: {error}"))?;
        for _ in 0..2 {
            same(&format!("{name}: IN"), &disk.receive(PACKET), &Err(HostError::Stall))?;
            ensure(&format!("{name}: IN is halted"), in_is_halted(disk)?)?;
            disk.clear_in()?;
        }
        let cbw = disk.cbw(Direction::Out, 0, &[0; 6]);
        disk.send(&cbw.to_bytes()).map_err(|error| format!("{name}, a good CBW: {error}"))?;
        let status = disk.host.status(disk.usb, &cbw);
        same(&format!("{name}, status of a good CBW"), &status, &Err(Error::Usb(HostError::Stall)))?;
        disk.recover()?;
        ensure(&format!("{name}: IN stays clear"), !in_is_halted(disk)?)?;
        disk.ready_behind_a_reset().map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

/// Lengths around packets, blocks, and the 120 KiB of a Linux host.
const LENGTHS: [u32; 12] = [1, 13, 31, 511, 512, 513, 1024, 1025, 4096, 4097, 20_480, 122_880];
const BLOCK_COUNTS: [u16; 6] = [1, 2, 8, 9, 40, 240];
const LBA: u32 = 9;

/// TD1.5 to TD1.17: every pair of lengths that is this case; 0 is for commands that are refused.
fn thirteen<U: HostDevice, const CASE: u8>(disk: &mut Session<'_, U>) -> Outcome {
    let hosts: Vec<_> = core::iter::once(Expects::Nothing)
        .chain(LENGTHS.map(Expects::In))
        .chain(LENGTHS.map(Expects::Out))
        .collect();
    let moved = BLOCK_COUNTS.map(|blocks| u32::from(blocks) * BLOCK as u32);
    let devices: Vec<_> = [Means::Nothing, Means::Refused]
        .into_iter()
        .chain(moved.map(Means::In))
        .chain(moved.map(Means::Out))
        .collect();
    for host in hosts {
        for device in &devices {
            let expected = ends(host, *device);
            if expected.case == CASE {
                one(disk, host, *device, expected).map_err(|why| format!("{host:?}, {device:?}: {why}"))?;
            }
        }
    }
    Ok(())
}

fn one<U: HostDevice>(disk: &mut Session<'_, U>, host: Expects, device: Means, expected: Ends) -> Outcome {
    let blocks = |bytes: u32| (bytes / BLOCK as u32) as u16;
    let cdb = match device {
        Means::Nothing => vec![0; 6],
        // A block that is not there.
        Means::Refused => cdb10(0x2a, u32::MAX, 1).to_vec(),
        Means::In(bytes) => cdb10(0x28, LBA, blocks(bytes)).to_vec(),
        Means::Out(bytes) => cdb10(0x2a, LBA, blocks(bytes)).to_vec(),
    };
    // As much as may be changed, or is read.
    let Ends { sent, taken, status, residue, .. } = expected;
    let looked_at = match device {
        Means::In(bytes) | Means::Out(bytes) => blocks(bytes),
        Means::Nothing | Means::Refused => 1,
    };
    let before = disk.read(LBA, looked_at)?;
    let out: Vec<u8> = match host {
        // What is there, turned over.
        Expects::Out(length) => before.iter().map(|byte| !byte).cycle().take(length as usize).collect(),
        Expects::Nothing | Expects::In(_) => Vec::new(),
    };
    let data = match host {
        Expects::Nothing => Data::None,
        Expects::In(length) => Data::In(length),
        Expects::Out(_) => Data::Out(&out),
    };
    let answer = disk.command(&cdb, data)?;
    same("status and residue", &(answer.csw.status.number(), answer.csw.residue), &(status, residue))?;
    ensure("what comes is what is there", answer.data == before[..sent as usize])?;
    let sense = disk.sense()?;
    same("sense", &sense, &if device == Means::Refused { (5, 0x21, 0) } else { (0, 0, 0) })?;
    let mut after = before;
    after[..taken as usize].copy_from_slice(&out[..taken as usize]);
    ensure("what was taken is there, and no more", disk.read(LBA, looked_at)? == after)
}

/// TD1.19: what stands behind bCBWCBLength bytes has no meaning.
fn bytes_behind_the_cdb<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    let plain = disk.pass(&inquiry, Data::In(36))?;
    for byte in [0xff, 0x55, 0xaa] {
        let cbw = disk.cbw(Direction::In, 36, &inquiry);
        let mut bytes = cbw.to_bytes();
        bytes[15 + inquiry.len()..].fill(byte);
        disk.send(&bytes).map_err(|error| format!("{byte:02x}: {error}"))?;
        let data = disk.receive(PACKET).map_err(|error| format!("{byte:02x}: {error}"))?;
        same("status", &disk.status(&cbw)?, &(Status::Passed, 0))?;
        ensure("INQUIRY data", data == plain)?;
    }
    Ok(())
}

/// TD1.20 and 2.1: what every host sends; longer CDBs are taken as well, as Windows sends them.
fn required_commands<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let inquiry = disk.pass(&[0x12, 0, 0, 0, 36, 0], Data::In(36))?;
    same("INQUIRY", &inquiry.get(..4), &Some(&[0x00, 0x80, 0x05, 0x02][..]))?;
    disk.pass(&[0; 6], Data::None)?;
    same("REQUEST SENSE", &disk.pass(&[0x03, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0], Data::In(18))?.len(), &18)?;
    let capacity = disk.pass(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8))?;
    same("length of a block", &capacity.get(4..), &Some(&[0, 0, 2, 0][..]))?;
    let last = capacity[..4].iter().fold(0, |last: u32, byte| last << 8 | u32::from(*byte));
    ensure("too few blocks", last >= super::BLOCKS - 1)?;
    let long = disk.pass(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], Data::In(32))?;
    same("READ CAPACITY(16)", &long.get(4..12), &Some(&capacity[..]))?;
    let formats = disk.pass(&[0x23, 0, 0, 0, 0, 0, 0, 0, 0xfc, 0], Data::In(0xfc))?;
    same(
        "READ FORMAT CAPACITIES",
        &formats.get(4..9),
        &Some(&[&(last + 1).to_be_bytes()[..], &[2]].concat()[..]),
    )?;
    let mode = disk.pass(&[0x1a, 0, 0x3f, 0, 192, 0], Data::In(192))?;
    ensure("write-protected", mode.get(2).is_some_and(|parameter| parameter & 0x80 == 0))?;
    disk.pass(&[0x1a, 0, 0x1c, 0, 192, 0], Data::In(192))?;
    disk.pass(&[0x1e, 0, 0, 0, 1, 0], Data::None)?;
    disk.pass(&[0x1e, 0, 0, 0, 0, 0], Data::None)?;
    disk.pass(&[0x1b, 0, 0, 0, 1, 0], Data::None)?;
    disk.pass(&cdb10(0x2f, 0, 1), Data::None)?;
    disk.pass(&cdb10(0x35, 0, 0), Data::None)?;
    // The last block, and the one that is not there.
    disk.read(last, 1)?;
    let beyond = disk.command(&cdb10(0x28, last, 2), Data::In(2 * BLOCK as u32))?;
    same("status beyond the end", &(beyond.csw.status, beyond.data.len()), &(Status::Failed, 0))?;
    same("sense beyond the end", &disk.sense()?, &(5, 0x21, 0))
}

/// TD2.1 and 2.2: whatever the command, and whatever the host expects to move, it ends with a CSW, and a failure has a reason.
fn every_operation_code<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let nothing = [0; BLOCK];
    for opcode in 0..=u8::MAX {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        for data in [Data::None, Data::In(BLOCK as u32), Data::Out(&nothing)] {
            // A START STOP UNIT of zeros is a stop, and nothing.
            let answer = disk.command(&cdb, data)?;
            let sense = disk.sense()?;
            let told = sense.0 != 0 && sense.1 != 0;
            same(
                &format!("{opcode:02x}, {data:?}: a reason"),
                &told,
                &(answer.csw.status == Status::Failed),
            )?;
        }
    }
    Ok(())
}

/// A tag is echoed, and nothing else; twice the same one is two commands.
fn tags<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    for tag in [0, 1, u32::MAX, u32::MAX, 0x4342_5355, 0] {
        let mut cbw = disk.cbw(Direction::Out, 0, &[0; 6]);
        cbw.tag = tag;
        disk.send(&cbw.to_bytes()).map_err(|error| format!("tag {tag:08x}: {error}"))?;
        same(&format!("tag {tag:08x}"), &disk.status(&cbw)?, &(Status::Passed, 0))?;
    }
    Ok(())
}

/// BOT 5.1: where there is no data the direction has no meaning.
fn direction_without_data<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    for direction in [Direction::In, Direction::Out] {
        for (cdb, status) in [(&[0; 6][..], Status::Passed), (&cdb10(0x28, 0, 1), Status::PhaseError)] {
            let cbw = disk.cbw(direction, 0, cdb);
            disk.send(&cbw.to_bytes()).map_err(|error| format!("{error}"))?;
            same(&format!("{direction:?}, {cdb:02x?}"), &disk.status(&cbw)?, &(status, 0))?;
        }
    }
    Ok(())
}

/// The most that a CBW can announce: what there is comes at once. Data to the device is taken until the host resets.
fn four_gigabytes<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    for (cdb, moves) in [(&[0x12, 0, 0, 0, 36, 0][..], 36), (&cdb10(0x28, 0, 8), 4096), (&[0; 6], 0)] {
        let cbw = disk.cbw(Direction::In, u32::MAX, cdb);
        disk.send(&cbw.to_bytes()).map_err(|error| format!("{error}"))?;
        let room = Data::In(16 * BLOCK as u32);
        let (data, _) = disk.host.data(disk.usb, room).map_err(|error| format!("{cdb:02x?}: {error}"))?;
        same("bytes", &data.len(), &moves)?;
        same("status", &disk.status(&cbw)?, &(Status::Passed, u32::MAX - moves as u32))?;
    }
    for cdb in [&cdb10(0x2a, 0, 8)[..], &[0xff; 6]] {
        let cbw = disk.cbw(Direction::Out, u32::MAX, cdb);
        disk.send(&cbw.to_bytes()).map_err(|error| format!("{error}"))?;
        for _ in 0..8 {
            disk.send(&pattern(1, 128 * 1024)).map_err(|error| format!("{cdb:02x?}, data: {error}"))?;
        }
        disk.recover()?;
        disk.ready_behind_a_reset()?;
    }
    Ok(())
}

/// A short packet ends the data: the command fails if it wanted more, and what was whole is written.
fn data_that_ends_early<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    for (come, whole) in [(10, 0), (513, 512), (5000, 4608), (65_537, 65_536)] {
        let before = disk.read(LBA, 240)?;
        let data: Vec<u8> = before.iter().map(|byte| !byte).take(come).collect();
        let cbw = disk.cbw(Direction::Out, 240 * BLOCK as u32, &cdb10(0x2a, LBA, 240));
        disk.send(&cbw.to_bytes()).map_err(|error| format!("{come}: {error}"))?;
        disk.send(&data).map_err(|error| format!("{come}, data: {error}"))?;
        let (status, residue) = disk.status(&cbw)?;
        same("status and residue", &(status, residue as usize), &(Status::Failed, 240 * BLOCK - come))?;
        same("sense", &disk.sense()?, &(0x0b, 0x4b, 0))?;
        let after = disk.read(LBA, 240)?;
        let written = after[..whole] == data[..whole] && after[whole..] == before[whole..];
        ensure(&format!("{come}: the whole blocks are written and no more"), written)?;
    }
    Ok(())
}

/// A host that does not read its CSW: the control pipe answers, one CBW more is taken, no third; then both CSWs come, or a reset.
fn csw_unread<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    for reads in [true, false] {
        let first = disk.cbw(Direction::Out, 0, &[0; 6]);
        let second = disk.cbw(Direction::Out, 0, &[0xff; 6]);
        disk.send(&first.to_bytes()).map_err(|error| format!("the first CBW: {error}"))?;
        let index = disk.interface.into();
        same("Get Max LUN", &disk.request(FROM_INTERFACE, GET_MAX_LUN, 0, index, 1), &Ok(vec![0]))?;
        disk.send(&second.to_bytes()).map_err(|error| format!("the second CBW: {error}"))?;
        if reads {
            same("the first CSW", &disk.status(&first)?, &(Status::Passed, 0))?;
            same("the second CSW", &disk.status(&second)?, &(Status::Failed, 0))?;
        } else {
            // The first CSW may be one that the controller calls sent.
            let more = usize::from(disk.between.keeps_a_packet);
            let taken = (0..more + 1).take_while(|_| disk.host.send(disk.usb, &first).is_ok()).count();
            same("CBWs that are taken besides", &taken, &more)?;
            disk.recover()?;
            disk.ready_behind_a_reset()?;
        }
    }
    Ok(())
}

/// BOT 3.1: the class request leaves a halt as it is, and the device is ready behind it.
fn reset_alone<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    disk.send(&[0; CBW_LENGTH]).map_err(|error| format!("{error}"))?;
    same("IN", &disk.receive(PACKET), &Err(HostError::Stall))?;
    disk.class_reset()?;
    same("IN behind the reset", &disk.receive(PACKET), &Err(HostError::Stall))?;
    disk.clear_in()?;
    disk.ready_behind_a_reset()?;
    // Twice, and with nothing to reset.
    disk.class_reset()?;
    disk.class_reset()?;
    disk.ready_behind_a_reset()
}

/// Reset Recovery in each step of each kind of command.
fn reset_in_every_step<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    let data = pattern(5, 32 * BLOCK);
    let length = data.len() as u32;
    let kinds: [(Direction, u32, Vec<u8>); 6] = [
        (Direction::Out, 0, vec![0; 6]),
        (Direction::In, length, cdb10(0x28, 0, 32).to_vec()),
        (Direction::In, length, cdb10(0x28, 0, 4).to_vec()),
        (Direction::In, length, vec![0xff; 6]),
        (Direction::Out, length, cdb10(0x2a, 0, 32).to_vec()),
        (Direction::Out, length, vec![0xff; 6]),
    ];
    for (direction, length, cdb) in kinds {
        for step in ["CBW", "some data", "all data"] {
            let name = format!("{step} of {direction:?} {length} {cdb:02x?}");
            let cbw = disk.cbw(direction, length, &cdb);
            disk.send(&cbw.to_bytes()).map_err(|error| format!("{name}: {error}"))?;
            let moved = match step {
                "CBW" => 0,
                "some data" => length as usize / 4,
                _ => length as usize,
            };
            // As much as comes; a halt stays.
            match direction {
                _ if moved == 0 => {}
                Direction::In => drop(disk.receive(moved)),
                Direction::Out => disk.send(&data[..moved]).map_err(|error| format!("{name}: {error}"))?,
            }
            disk.recover().map_err(|why| format!("{name}: {why}"))?;
            disk.ready_behind_a_reset().map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(())
}

/// What is written in commands of one length is read in those of another.
fn transfers_of_all_lengths<U: HostDevice>(disk: &mut Session<'_, U>) -> Outcome {
    for (round, (writes, reads)) in [(1, 240), (7, 128), (128, 13), (240, 1)].into_iter().enumerate() {
        let image = pattern(round * 31 + 1, 240 * BLOCK);
        for (n, part) in image.chunks(writes * BLOCK).enumerate() {
            disk.write((n * writes) as u32, part)?;
        }
        for (n, part) in image.chunks(reads * BLOCK).enumerate() {
            let read = disk.read((n * reads) as u32, (part.len() / BLOCK) as u16)?;
            ensure(&format!("written {writes} and read {reads} at once"), read == part)?;
        }
    }
    Ok(())
}
