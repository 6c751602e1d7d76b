//! The bytes of docs/spec/disk.md. If one of these fails, the change is wrong, not the test.

use inband_usb::{Direction, EndpointAddress, descriptor::DescriptorSet};
use inband_volume::{
    bot::wire::{self, Cbw, Csw, Status},
    scsi::{Field, Sense},
};

use crate::support::{BLOCKS, disk, ready, run};

fn inquiry(evpd: u8, page: u8) -> Vec<u8> {
    run(&mut disk(), &[0x12, evpd, page, 0x02, 0x00, 0], &[]).unwrap()
}

#[test]
fn standard_inquiry() {
    let mut expected = vec![0x00, 0x80, 0x05, 0x02, 69, 0, 0, 0];
    expected.extend(b"INBAND  FIRMWARE RAW    1   ");
    expected.extend([0; 22]);
    expected.extend([0x00, 0x60, 0x17, 0x30, 0x03, 0x00, 0x04, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(inquiry(0, 0), expected);
    // What Linux, EDK2 and Windows ask for, and less than the header.
    for length in [0, 5, 36, 73, 74, 255] {
        let cut = run(&mut disk(), &[0x12, 0, 0, 0, length, 0], &[]).unwrap();
        assert_eq!(cut, expected[..usize::from(length).min(74)]);
    }
}

#[test]
fn vital_product_data() {
    assert_eq!(inquiry(1, 0x00), [0, 0x00, 0, 5, 0x00, 0x80, 0x83, 0xb0, 0xb1]);
    assert_eq!(inquiry(1, 0x80), *b"\0\x80\0\x100123456789ABCDEF");

    let mut identification = vec![0, 0x83, 0, 56, 0x02, 0x01, 0, 40];
    identification.extend(b"INBAND  FIRMWARE RAW    0123456789ABCDEF");
    identification.extend([0x01, 0x03, 0, 8, 0x31, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert_eq!(inquiry(1, 0x83), identification);

    let mut limits = vec![0, 0xb0, 0, 60];
    limits.resize(64, 0);
    assert_eq!(inquiry(1, 0xb0), limits);

    let mut characteristics = vec![0, 0xb1, 0, 60, 0, 1];
    characteristics.resize(64, 0);
    assert_eq!(inquiry(1, 0xb1), characteristics);

    let others = (0..=255_u8).filter(|page| ![0x00, 0x80, 0x83, 0xb0, 0xb1].contains(page));
    for page in others {
        let refused = run(&mut disk(), &[0x12, 1, page, 0, 255, 0], &[]);
        assert_eq!(refused, Err(Sense::invalid_field(2)), "{page:02x}");
    }
}

const CACHING: [u8; 20] = [0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 12] = [0x0a, 0x0a, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
const EXCEPTIONS: [u8; 12] = [0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn mode_sense(page: u8) -> Vec<u8> {
    run(&mut ready(), &[0x1a, 0, page, 0, 255, 0], &[]).unwrap()
}

#[test]
fn mode_pages() {
    assert_eq!(mode_sense(0x08), [&[23, 0, 0x10, 0][..], &CACHING].concat());
    assert_eq!(mode_sense(0x0a), [&[15, 0, 0x10, 0][..], &CONTROL].concat());
    assert_eq!(mode_sense(0x1c), [&[15, 0, 0x10, 0][..], &EXCEPTIONS].concat());
    let all = [&CACHING[..], &CONTROL, &EXCEPTIONS].concat();
    assert_eq!(mode_sense(0x3f), [&[47, 0, 0x10, 0][..], &all].concat());
    // Default values; and all subpages, which are the pages.
    assert_eq!(mode_sense(0xbf), mode_sense(0x3f));
    let subpages = run(&mut ready(), &[0x1a, 8, 0x3f, 0xff, 255, 0], &[]).unwrap();
    assert_eq!(subpages, mode_sense(0x3f));
    // MODE SENSE(10), as libiscsi and Windows ask.
    let long = run(&mut ready(), &[0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0, 0], &[]).unwrap();
    assert_eq!(long, [&[0, 50, 0, 0x10, 0, 0, 0, 0][..], &all].concat());
    // What may be changed: SWP.
    let mut changeable = vec![15, 0, 0x10, 0, 0x0a, 0x0a, 0, 0, 0x08];
    changeable.resize(16, 0);
    assert_eq!(mode_sense(0x4a), changeable);
    let mut fixed = vec![23, 0, 0x10, 0, 0x08, 0x12];
    fixed.resize(24, 0);
    assert_eq!(mode_sense(0x48), fixed);

    for (page, subpage, sense) in
        [(0xc8, 0, Sense::NOT_SAVED), (0x01, 0, Sense::invalid_field(2)), (0x3f, 1, Sense::invalid_field(3))]
    {
        assert_eq!(run(&mut ready(), &[0x1a, 0, page, subpage, 255, 0], &[]), Err(sense));
    }
    // WP.
    let mut disk = ready();
    disk.medium_mut().write_protected = true;
    assert_eq!(run(&mut disk, &[0x1a, 0, 0x3f, 0, 4, 0], &[]).unwrap(), [47, 0, 0x90, 0]);
}

#[test]
fn sense_data() {
    let mut fixed = [0; 18];
    (fixed[0], fixed[2], fixed[7], fixed[12], fixed[13]) = (0x70, 5, 10, 0x53, 2);
    assert_eq!(Sense::PREVENTED.fixed(), fixed);
    assert_eq!(Sense::PREVENTED.descriptor(), ([0x72, 5, 0x53, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8));

    let mut fixed = [0; 18];
    (fixed[0], fixed[2], fixed[7], fixed[12]) = (0x70, 5, 10, 0x24);
    fixed[15..].copy_from_slice(&[0xc0, 0, 2]);
    assert_eq!(Sense::invalid_field(2).fixed(), fixed);
    let descriptor = [0x72, 5, 0x24, 0, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0xc0, 0, 2, 0];
    assert_eq!(Sense::invalid_field(2).descriptor(), (descriptor, 16));
    let parameter = Sense { field: Some(Field::Parameter(0x102)), ..Sense::invalid_parameter(0) };
    assert_eq!(parameter.fixed()[15..], [0x80, 1, 2]);

    // key, code, qualifier of each.
    for (sense, bytes) in [
        (Sense::NONE, [0, 0, 0]),
        (Sense::NO_MEDIUM, [2, 0x3a, 0]),
        (Sense::WRITE_ERROR, [3, 0x0c, 0]),
        (Sense::READ_ERROR, [3, 0x11, 0]),
        (Sense::PARAMETER_LENGTH, [5, 0x1a, 0]),
        (Sense::NO_SUCH_COMMAND, [5, 0x20, 0]),
        (Sense::OUT_OF_RANGE, [5, 0x21, 0]),
        (Sense::invalid_field(1), [5, 0x24, 0]),
        (Sense::invalid_parameter(1), [5, 0x26, 0]),
        (Sense::NOT_SAVED, [5, 0x39, 0]),
        (Sense::CHANGED, [6, 0x28, 0]),
        (Sense::RESET, [6, 0x29, 0]),
        (Sense::WRITE_PROTECTED, [7, 0x27, 0]),
        (Sense::SOFTWARE_PROTECTED, [7, 0x27, 2]),
        (Sense::NO_SPACE, [7, 0x27, 7]),
        (Sense::DATA_PHASE, [0x0b, 0x4b, 0]),
        (Sense::MISCOMPARE, [0x0e, 0x1d, 0]),
    ] {
        let fixed = sense.fixed();
        assert_eq!([fixed[2], fixed[12], fixed[13]], bytes);
    }
}

#[test]
fn capacities() {
    let mut disk = ready();
    let last = (BLOCKS as u32 - 1).to_be_bytes();
    let ten = [&last[..], &[0, 0, 2, 0]].concat();
    assert_eq!(run(&mut disk, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).unwrap(), ten);
    let mut sixteen = [&[0, 0, 0, 0][..], &last, &[0, 0, 2, 0]].concat();
    sixteen.resize(32, 0);
    let mut cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    assert_eq!(run(&mut disk, &cdb, &[]).unwrap(), sixteen);
    cdb[13] = 15;
    assert_eq!(run(&mut disk, &cdb, &[]).unwrap(), sixteen[..15]);
    let count = (BLOCKS as u32).to_be_bytes();
    let format = [&[0, 0, 0, 8][..], &count, &[2, 0, 2, 0]].concat();
    let cdb = [0x23, 0, 0, 0, 0, 0, 0, 0, 0xfc, 0];
    assert_eq!(run(&mut disk, &cdb, &[]).unwrap(), format);
    disk.medium_mut().present = false;
    let none = [0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 3, 0, 2, 0];
    assert_eq!(run(&mut disk, &cdb, &[]).unwrap(), none);
}

#[test]
fn units() {
    let mut one = vec![0, 0, 0, 8];
    one.resize(16, 0);
    for (select, answer) in [(0, Ok(one.clone())), (1, Ok(vec![0; 8])), (2, Ok(one))] {
        assert_eq!(run(&mut disk(), &[0xa0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]), answer);
    }
    let refused = run(&mut disk(), &[0xa0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]);
    assert_eq!(refused, Err(Sense::invalid_field(2)));
}

fn opcodes(options: u8, opcode: u8, service: u16) -> Result<Vec<u8>, Sense> {
    let service = service.to_be_bytes();
    let cdb = [0xa3, 0x0c, options, opcode, service[0], service[1], 0, 0, 0xff, 0xff, 0, 0];
    run(&mut ready(), &cdb, &[])
}

#[test]
fn supported_operation_codes() {
    let lines: [(u8, u8, u8); 33] = [
        (0x00, 0, 6),
        (0x03, 0, 6),
        (0x08, 0, 6),
        (0x0a, 0, 6),
        (0x12, 0, 6),
        (0x15, 0, 6),
        (0x1a, 0, 6),
        (0x1b, 0, 6),
        (0x1d, 0, 6),
        (0x1e, 0, 6),
        (0x23, 0, 10),
        (0x25, 0, 10),
        (0x28, 0, 10),
        (0x2a, 0, 10),
        (0x2e, 0, 10),
        (0x2f, 0, 10),
        (0x34, 0, 10),
        (0x35, 0, 10),
        (0x55, 0, 10),
        (0x5a, 0, 10),
        (0x88, 0, 16),
        (0x8a, 0, 16),
        (0x8e, 0, 16),
        (0x8f, 0, 16),
        (0x90, 0, 16),
        (0x91, 0, 16),
        (0x9e, 0x10, 16),
        (0xa0, 0, 12),
        (0xa3, 0x0c, 12),
        (0xa8, 0, 12),
        (0xaa, 0, 12),
        (0xae, 0, 12),
        (0xaf, 0, 12),
    ];
    let mut all = vec![0, 0, 1, 8];
    let mut timed = vec![0, 0, 2, 0x94];
    for (opcode, service, length) in lines {
        let has_service = u8::from(service != 0);
        all.extend([opcode, 0, 0, service, 0, has_service, 0, length]);
        timed.extend([opcode, 0, 0, service, 0, has_service | 2, 0, length]);
        timed.extend([0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert_eq!(opcodes(0, 0, 0), Ok(all));
    assert_eq!(opcodes(0x80, 0, 0), Ok(timed));
    let read10 = [0, 3, 0, 10, 0x28, 0x1a, 255, 255, 255, 255, 0, 255, 255, 0];
    assert_eq!(opcodes(1, 0x28, 0), Ok(read10.to_vec()));
    let timed = [&[0, 0x83][..], &read10[2..], &[0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(opcodes(0x81, 0x28, 0), Ok(timed));
    let capacity = [0, 3, 0, 16, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0];
    assert_eq!(opcodes(2, 0x9e, 0x10), Ok(capacity.to_vec()));
    let absent = Ok(vec![0, 1, 0, 0]);
    assert_eq!(
        [opcodes(1, 0x42, 0), opcodes(2, 0x9e, 0x12), opcodes(2, 0x42, 0)],
        [(); 3].map(|()| absent.clone())
    );
    // The other form than the command has; a form that there is not.
    let wrong = Err(Sense::invalid_field(2));
    assert_eq!(
        [opcodes(1, 0x9e, 0x10), opcodes(2, 0x28, 0), opcodes(3, 0x28, 0)],
        [(); 3].map(|()| wrong.clone())
    );
}

#[test]
fn wrappers() {
    let cbw = Cbw {
        tag: 0x0403_0201,
        length: 0x0001_e000,
        direction: Direction::In,
        lun: 0,
        cdb_length: 10,
        cdb: [0x28, 0, 0, 0, 0, 7, 0, 0, 0xf0, 0, 0, 0, 0, 0, 0, 0],
    };
    let bytes = b"USBC\x01\x02\x03\x04\x00\xe0\x01\x00\x80\x00\x0a\x28\0\0\0\0\x07\0\0\xf0\0\0\0\0\0\0\0";
    assert_eq!(cbw.to_bytes(), *bytes);
    assert_eq!(Cbw::parse(bytes), Some(cbw));
    let csw = Csw { tag: cbw.tag, residue: 512, status: Status::Failed };
    assert_eq!(csw.to_bytes(), *b"USBS\x01\x02\x03\x04\x00\x02\x00\x00\x01");
    assert_eq!(Csw::parse(&csw.to_bytes(), &cbw), Some(csw));
}

#[test]
fn descriptors() {
    let interface = wire::interface(EndpointAddress(0x01), EndpointAddress(0x82));
    let set = DescriptorSet {
        vendor_id: 1,
        product_id: 2,
        device_version: 3,
        manufacturer: String::new(),
        product: String::new(),
        serial: String::from("0123456789ABCDEF"),
        interfaces: vec![interface],
    };
    set.validate().unwrap();
    let expected = [
        9, 2, 32, 0, 1, 1, 0, 0xc0, 1, // configuration
        9, 4, 0, 0, 2, 0x08, 0x06, 0x50, 4, // interface
        7, 5, 0x82, 2, 0, 2, 0, // IN
        7, 5, 0x01, 2, 0, 2, 0, // OUT
    ];
    assert_eq!(set.configuration_bytes(), expected);
    assert_eq!(set.string_bytes(4, 0x0409).unwrap(), *b"\x0a\x03d\0i\0s\0k\0");
}
