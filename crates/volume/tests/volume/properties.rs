//! Whatever a host sends: the device stays in its states, and the disk is what an array would be.

use inband_usb::Direction;
use inband_volume::{
    bot::{Device, Halts, Limits},
    scsi::command::TABLE,
    testing::{self, ArrayMedium, Wire},
};
use proptest::prelude::*;

use crate::support::{BLOCKS, Rig, cdb10, cdb12, cdb16, disk};

/// A CDB near one of the table, or of random bytes.
fn cdb() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..TABLE.len(), any::<[u8; 16]>(), any::<[bool; 16]>(), 0..40_u8).prop_map(
        |(line, random, keep, wrong)| {
            let usage = TABLE[line].usage;
            let mut cdb: Vec<u8> = (usage.iter().zip(random).zip(keep))
                .map(|((mask, byte), keep)| if keep { byte & mask } else { 0 })
                .collect();
            (cdb[0], cdb[1]) = (usage[0], TABLE[line].service.unwrap_or(cdb[1]));
            if let Some(byte) = cdb.get_mut(usize::from(wrong)) {
                *byte ^= random[15];
            }
            cdb
        },
    );
    let random = proptest::collection::vec(any::<u8>(), 1..=16);
    let blocks = (0..15_usize, 0..BLOCKS as u32 + 4, 0..20_u32).prop_map(|(code, lba, count)| {
        match [0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35, 0x88, 0x8a, 0x8e, 0x8f, 0xa8, 0xaa, 0xae, 0xaf, 0x90][code]
        {
            code @ 0..=0x7f => cdb10(code, lba, count as u16).to_vec(),
            code @ 0x80..=0x9f => cdb16(code, lba.into(), count).to_vec(),
            code => cdb12(code, lba, count).to_vec(),
        }
    });
    prop_oneof![2 => known, 1 => random, 3 => blocks]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// All that BOT says of any command is checked by the host (`testing::run`).
    #[test]
    fn any_commands(
        commands in proptest::collection::vec((cdb(), any::<bool>(), 0..24_000_u32, any::<u8>()), 1..24),
        avoid: bool,
        late: bool,
        buffers in 1..6_usize,
        piece in 1..10_usize,
    ) {
        let halts = if avoid { Halts::Avoid } else { Halts::Use };
        let limits = Limits { buffers, piece: piece * 512 };
        let mut wire = Wire::new(Device::new(0, halts, limits, disk()));
        wire.late = late;
        for (tag, (cdb, input, length, round)) in commands.into_iter().enumerate() {
            let length = if round < 180 { length / 512 * 512 } else { length };
            let direction = if input { Direction::In } else { Direction::Out };
            let cbw = testing::cbw(tag as u32, direction, length, &cdb);
            let data = testing::pattern(tag, length as usize);
            testing::run(&mut wire, halts, &cbw, &data);
            prop_assert!(wire.deepest <= 4);
        }
    }

    /// The oracle: what was written is read, at any place, in any form.
    #[test]
    fn an_array(
        commands in proptest::collection::vec((any::<bool>(), 0..BLOCKS as u64, 1..24_u32, 0..3_u8), 1..40),
    ) {
        let mut rig = Rig::new(Halts::Use);
        let mut model = ArrayMedium::new(BLOCKS).bytes;
        for (seed, (write, lba, count, form)) in commands.into_iter().enumerate() {
            let fits = lba + u64::from(count) <= BLOCKS as u64;
            let code = [[0x28, 0xa8, 0x88], [0x2a, 0xaa, 0x8a]][usize::from(write)][usize::from(form)];
            let cdb = match form {
                0 => cdb10(code, lba as u32, count as u16).to_vec(),
                1 => cdb12(code, lba as u32, count).to_vec(),
                _ => cdb16(code, lba, count).to_vec(),
            };
            let length = count as usize * 512;
            let range = lba as usize * 512..lba as usize * 512 + length;
            if write {
                let data = testing::pattern(seed, length);
                let seen = rig.output(&cdb, &data);
                prop_assert_eq!(seen.status, u8::from(!fits));
                if fits {
                    model[range].copy_from_slice(&data);
                }
            } else {
                let seen = rig.input(length as u32, &cdb);
                prop_assert_eq!(seen.status, u8::from(!fits));
                let expected: &[u8] = if fits { &model[range] } else { &[] };
                prop_assert_eq!(&seen.data[..], expected);
            }
        }
        prop_assert_eq!(rig.bytes(), model);
    }
}

/// Every operation code with random bytes, in each direction, with and without data.
#[test]
fn every_operation_code() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    for halts in [Halts::Use, Halts::Avoid] {
        let mut rig = Rig::with(halts, Limits { buffers: 2, piece: 2048 });
        for opcode in 0..=255 {
            for round in 0..64 {
                let mut cdb: Vec<u8> = (0..16).map(|_| random() as u8).collect();
                cdb[0] = opcode;
                // Most random bits are wrong somewhere: some rounds have few.
                if round % 2 == 0 {
                    cdb[1..].iter_mut().for_each(|byte| *byte &= 1);
                }
                cdb.truncate(1 + random() as usize % 16);
                let length = [0, 1, 18, 512, 4096][random() as usize % 5];
                match random() % 3 {
                    0 => rig.none(&cdb),
                    1 => rig.input(length, &cdb),
                    _ => rig.output(&cdb, &vec![0x5a; length as usize]),
                };
                // An eject is the host's right; the BMC inserts another one.
                rig.disk().medium_mut().insertion += 1;
                rig.disk().medium_mut().events.clear();
            }
        }
    }
}
