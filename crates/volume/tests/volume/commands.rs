//! What each command checks, answers and leaves behind. The oracle is the array.

use inband_volume::{
    bot::{Intent, Target},
    scsi::{BLOCK, Disk, Event, Fault, Sense},
    testing::{ArrayMedium, pattern},
};

use crate::support::{BLOCKS, cdb10, cdb12, cdb16, disk, ready, run};

/// The CDBs of a command in all its lengths. `None` where the numbers do not fit.
fn forms(codes: [Option<u8>; 4], lba: u64, blocks: u32) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(code) = codes[0]
        && lba <= 0x1f_ffff
        && (1..=256).contains(&blocks)
    {
        let at = (lba as u32).to_be_bytes();
        all.push(vec![code, at[1], at[2], at[3], (blocks & 0xff) as u8, 0]);
    }
    if let (Ok(lba), Some(code), Ok(blocks)) = (u32::try_from(lba), codes[1], u16::try_from(blocks)) {
        all.push(cdb10(code, lba, blocks).to_vec());
    }
    if let (Ok(lba), Some(code)) = (u32::try_from(lba), codes[2]) {
        all.push(cdb12(code, lba, blocks).to_vec());
    }
    if let Some(code) = codes[3] {
        all.push(cdb16(code, lba, blocks).to_vec());
    }
    all
}

const READ: [Option<u8>; 4] = [Some(0x08), Some(0x28), Some(0xa8), Some(0x88)];
const WRITE: [Option<u8>; 4] = [Some(0x0a), Some(0x2a), Some(0xaa), Some(0x8a)];
const WRITE_AND_VERIFY: [Option<u8>; 4] = [None, Some(0x2e), Some(0xae), Some(0x8e)];
const VERIFY: [Option<u8>; 4] = [None, Some(0x2f), Some(0xaf), Some(0x8f)];
const PRE_FETCH: [Option<u8>; 4] = [None, Some(0x34), None, Some(0x90)];
const SYNCHRONIZE: [Option<u8>; 4] = [None, Some(0x35), None, Some(0x91)];
const ALL: [[Option<u8>; 4]; 6] = [READ, WRITE, WRITE_AND_VERIFY, VERIFY, PRE_FETCH, SYNCHRONIZE];

fn events(disk: &mut Disk<ArrayMedium>) -> Vec<Event> {
    std::mem::take(&mut disk.medium_mut().events)
}

#[test]
fn blocks_are_read_and_written() {
    let mut disk = ready();
    let mut model = disk.medium().bytes.clone();
    let mut seed = 0;
    for (lba, blocks) in [(0, 1), (1, 3), (17, 64), (BLOCKS as u64 - 1, 1), (44, 256), (0, BLOCKS as u32)] {
        let at = lba as usize * 512;
        let range = at..at + blocks as usize * 512;
        for read in forms(READ, lba, blocks) {
            assert_eq!(run(&mut disk, &read, &[]).unwrap(), model[range.clone()], "{read:02x?}");
        }
        for write in [forms(WRITE, lba, blocks), forms(WRITE_AND_VERIFY, lba, blocks)].concat() {
            seed += 1;
            let data = pattern(seed, range.len());
            events(&mut disk);
            assert_eq!(run(&mut disk, &write, &data), Ok(Vec::new()), "{write:02x?}");
            model[range.clone()].copy_from_slice(&data);
            assert_eq!(disk.medium().bytes, model, "{write:02x?}");
            // Each piece is told of, in order, without a gap.
            let mut next = lba;
            for event in events(&mut disk) {
                let Event::Written { lba, blocks } = event else { panic!("{event:?}") };
                assert_eq!(lba, next);
                next += blocks;
            }
            assert_eq!(next, lba + u64::from(blocks));
        }
    }
}

/// DPO, FUA and FUA_NV are taken, as DPOFUA in MODE SENSE says; RDPROTECT and its like are not (libiscsi: DpoFua, Flags, ReadProtect, WriteProtect).
#[test]
fn flags_of_byte_1() {
    for codes in [READ, WRITE] {
        for mut cdb in forms(codes, 1, 1).into_iter().skip(1) {
            for flags in 0..=255 {
                cdb[1] = flags;
                let expected = if flags & !0x1a == 0 { None } else { Some(Sense::invalid_field(1)) };
                assert_eq!(run(&mut ready(), &cdb, &[0; 512]).err(), expected, "{cdb:02x?}");
            }
        }
    }
    for codes in [VERIFY, WRITE_AND_VERIFY] {
        for mut cdb in forms(codes, 1, 1) {
            for flags in 0..=255 {
                cdb[1] = flags;
                let mut disk = ready();
                let there = disk.medium().bytes[512..1024].to_vec();
                let expected = if flags & !0x12 == 0 { None } else { Some(Sense::invalid_field(1)) };
                assert_eq!(run(&mut disk, &cdb, &there).err(), expected, "{cdb:02x?}");
            }
        }
    }
}

/// First block and length, in 64 bits: what libiscsi's suites BeyondEol and 0Blocks ask, and what no truncation makes small.
#[test]
fn ranges() {
    let end = BLOCKS as u64;
    for codes in ALL {
        for (lba, blocks, fits) in [
            (end - 1, 1, true),
            (end - 1, 2, false),
            (end, 1, false),
            (0, BLOCKS as u32, true),
            (0, BLOCKS as u32 + 1, false),
            (end, 0, true),
            (end + 1, 0, false),
            (0, 0, true),
            (0x8000_0000, 0, false),
            (0x8000_0000, 1, false),
            (u64::from(u32::MAX), 0, false),
            (u64::from(u32::MAX), 1, false),
            (1 << 32, 1, false),
            ((1 << 32) + 1, 0, false),
            (1 << 55, 1, false),
            (0x8000_0000_0000_0000, 0, false),
            (u64::MAX, 0, false),
            (u64::MAX, 1, false),
            (u64::MAX, u32::MAX, false),
            (u64::MAX - 5, 6, false),
            (0, u32::MAX, false),
            (1, u32::MAX, false),
        ] {
            for mut cdb in forms(codes, lba, blocks) {
                if codes == VERIFY {
                    cdb[1] = 0x02;
                }
                let mut disk = ready();
                let data = disk.medium().bytes[lba.min(end) as usize * 512..].to_vec();
                let expected = if fits { None } else { Some(Sense::OUT_OF_RANGE) };
                assert_eq!(run(&mut disk, &cdb, &data).err(), expected, "{cdb:02x?}");
            }
        }
    }
    // READ(6) of 0 blocks reads 256.
    let all = run(&mut ready(), &[0x08, 0, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(all.len(), 256 * 512);
    assert_eq!(run(&mut ready(), &[0x08, 0, 0, 45, 0, 0], &[]), Err(Sense::OUT_OF_RANGE));
}

/// A disk of more blocks than 32 bits can number: what is beyond is answered by the forms that can, and nothing wraps.
#[test]
fn a_disk_of_many_blocks() {
    struct Huge;
    impl inband_volume::scsi::Medium for Huge {
        fn state(&self) -> inband_volume::scsi::State {
            inband_volume::scsi::State::Present { blocks: u64::MAX, write_protected: false, insertion: 1 }
        }
        fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
            buffer.fill(lba as u8);
            Ok(())
        }
        fn write(&mut self, _: u64, _: &[u8]) -> Result<(), Fault> {
            Ok(())
        }
        fn flush(&mut self) -> Result<(), Fault> {
            Ok(())
        }
        fn notice(&mut self, _: Event) {}
    }
    let mut disk = Disk::new(crate::support::IDENTITY, Huge);
    let mut ask = |cdb: &[u8]| {
        let mut whole = [0; 16];
        whole[..cdb.len()].copy_from_slice(cdb);
        let intent = disk.begin(&whole, cdb.len()).map_err(|_| disk.sense())?;
        let mut answer = vec![0; 32];
        if let Intent::In(length) = intent {
            answer.truncate(length.min(32) as usize);
            disk.read(&mut answer).map_err(|_| disk.sense())?;
        }
        Ok((intent, answer))
    };
    assert_eq!(ask(&[0; 6]), Err(Sense::RESET));
    assert_eq!(ask(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap().1, [255, 255, 255, 255, 0, 0, 2, 0]);
    let sixteen = ask(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]).unwrap().1;
    assert_eq!(sixteen, [255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 2, 0]);
    assert_eq!(ask(&[0x23, 0, 0, 0, 0, 0, 0, 0, 12, 0]).unwrap().1[4..8], [255; 4]);
    let most = u64::from(u32::MAX) * 512;
    assert_eq!(ask(&cdb16(0x88, u64::MAX - 1 - u64::from(u32::MAX), u32::MAX)).unwrap().0, Intent::In(most));
    assert_eq!(ask(&cdb16(0x8a, u64::MAX - 1, 1)).unwrap().0, Intent::Out(512));
    assert_eq!(ask(&cdb16(0x8a, u64::MAX - 1, 2)), Err(Sense::OUT_OF_RANGE));
}

#[test]
fn verifying() {
    let mut disk = ready();
    let there = disk.medium().bytes.clone();
    for mut cdb in forms(VERIFY, 3, 20) {
        // Without BYTCHK nothing is to be sent.
        assert_eq!(disk.begin(&pad(&cdb), cdb.len()), Ok(Intent::Nothing));
        cdb[1] = 0x02;
        let mut data = there[3 * 512..23 * 512].to_vec();
        assert_eq!(run(&mut disk, &cdb, &data), Ok(Vec::new()));
        for at in [0, 511, 512, 4096, 20 * 512 - 1] {
            data[at] ^= 0x58;
            assert_eq!(run(&mut disk, &cdb, &data), Err(Sense::MISCOMPARE));
            data[at] ^= 0x58;
        }
    }
    assert_eq!(disk.medium().bytes, there);
    assert_eq!(events(&mut disk), []);
}

fn pad(cdb: &[u8]) -> [u8; 16] {
    let mut whole = [0; 16];
    whole[..cdb.len()].copy_from_slice(cdb);
    whole
}

/// 06/29 once, then 06/28 once; not for INQUIRY, REPORT LUNS and REQUEST SENSE.
#[test]
fn unit_attentions() {
    let mut disk = disk();
    run(&mut disk, &[0x12, 0, 0, 0, 36, 0], &[]).unwrap();
    run(&mut disk, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[]).unwrap();
    disk.medium_mut().insertion = 2;
    for sense in [Sense::RESET, Sense::CHANGED] {
        assert_eq!(run(&mut disk, &cdb10(0x28, 0, 1), &[]), Err(sense));
        // Sense data of the command that failed, once.
        assert_eq!(run(&mut disk, &[3, 0, 0, 0, 18, 0], &[]).unwrap(), sense.fixed());
        if sense == Sense::CHANGED {
            assert_eq!(run(&mut disk, &[3, 0, 0, 0, 18, 0], &[]).unwrap(), Sense::NONE.fixed());
        }
    }
    assert_eq!(run(&mut disk, &[0; 6], &[]), Ok(Vec::new()));
    // REQUEST SENSE tells of one by itself, and then it is told.
    disk.reset();
    disk.medium_mut().insertion = 3;
    for sense in [Sense::RESET, Sense::CHANGED, Sense::NONE] {
        assert_eq!(run(&mut disk, &[3, 0, 0, 0, 255, 0], &[]).unwrap(), sense.fixed());
    }
    // An unknown command is told as well.
    disk.reset();
    assert_eq!(run(&mut disk, &[0xff; 6], &[]), Err(Sense::RESET));
    assert_eq!(run(&mut disk, &[0xff; 6], &[]), Err(Sense::NO_SUCH_COMMAND));
}

/// REQUEST SENSE: cut, in both formats, and kept while the host did not read it.
#[test]
fn request_sense() {
    let mut disk = ready();
    let fail = |disk: &mut Disk<ArrayMedium>| {
        assert_eq!(run(disk, &[0x12, 1, 7, 0, 255, 0], &[]), Err(Sense::invalid_field(2)));
    };
    for length in [1, 8, 18, 252] {
        fail(&mut disk);
        let cut = run(&mut disk, &[3, 0, 0, 0, length, 0], &[]).unwrap();
        assert_eq!(cut, Sense::invalid_field(2).fixed()[..usize::from(length.min(18))]);
    }
    fail(&mut disk);
    let descriptor = run(&mut disk, &[3, 1, 0, 0, 252, 0], &[]).unwrap();
    assert_eq!(descriptor, Sense::invalid_field(2).descriptor().0);
    fail(&mut disk);
    // The host is cut off before it has it.
    assert_eq!(disk.begin(&pad(&[3, 0, 0, 0, 18, 0]), 6), Ok(Intent::In(18)));
    disk.abandon();
    let again = run(&mut disk, &[3, 0, 0, 0, 18, 0], &[]).unwrap();
    assert_eq!(again, Sense::invalid_field(2).fixed());
    // Another command clears it.
    fail(&mut disk);
    run(&mut disk, &[0; 6], &[]).unwrap();
    assert_eq!(run(&mut disk, &[3, 1, 0, 0, 252, 0], &[]).unwrap(), Sense::NONE.descriptor().0[..8]);
}

const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 2, 0];

#[test]
fn eject_and_stop() {
    // A stop is no eject, nor is any power condition, whatever it says.
    let mut disk = ready();
    assert_eq!(run(&mut disk, &[0x1b, 0, 0, 0, 0, 0], &[]), Ok(Vec::new()));
    assert_eq!(events(&mut disk), [Event::Stopped]);
    for power in 1..16 {
        for flags in [0, 1, 2, 3, 6] {
            assert_eq!(run(&mut disk, &[0x1b, 1, 0, 0, power << 4 | flags, 0], &[]), Ok(Vec::new()));
        }
    }
    for start in [1, 3] {
        assert_eq!(run(&mut disk, &[0x1b, 0, 0, 0, start, 0], &[]), Ok(Vec::new()));
    }
    assert_eq!(events(&mut disk), [Event::Started; 2]);
    assert_eq!(run(&mut disk, &[0; 6], &[]), Ok(Vec::new()));

    assert_eq!(run(&mut disk, &EJECT, &[]), Ok(Vec::new()));
    assert_eq!(events(&mut disk), [Event::Ejected]);
    // Gone for the host at once, although the array is still there; once more is no second eject.
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::NO_MEDIUM));
    assert_eq!(run(&mut disk, &EJECT, &[]), Ok(Vec::new()));
    for load in [1, 3] {
        assert_eq!(run(&mut disk, &[0x1b, 0, 0, 0, load, 0], &[]), Err(Sense::NO_MEDIUM));
    }
    disk.reset();
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::RESET));
    assert_eq!(run(&mut disk, &cdb10(0x2a, 0, 1), &[0; 512]), Err(Sense::NO_MEDIUM));
    assert_eq!(events(&mut disk), []);
    // Until the BMC inserts one.
    disk.medium_mut().insertion = 9;
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
    assert_eq!(run(&mut disk, &[0; 6], &[]), Ok(Vec::new()));
}

/// What EDK2 does behind a medium of another protection than the one before: it asks for the size before each access, which then comes to no READ, until it
/// is told of a change once more.
#[test]
fn a_host_that_does_not_come_to_reading_is_told_once_more_that_the_protection_changed() {
    let mut disk = ready();
    let size = cdb10(0x25, 0, 0);
    let read = cdb10(0x28, 0, 1);
    let asks = |disk: &mut Disk<ArrayMedium>, times| {
        for _ in 0..times {
            assert_eq!(run(disk, &[0; 6], &[]), Ok(Vec::new()));
            assert!(run(disk, &size, &[]).is_ok());
        }
    };
    // One that is as the one before, however often is asked.
    disk.medium_mut().insertion = 2;
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
    asks(&mut disk, 9);
    for (insertion, write_protected) in [(3, true), (4, false)] {
        (disk.medium_mut().insertion, disk.medium_mut().write_protected) = (insertion, write_protected);
        assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
        // Its first looks end in a READ.
        asks(&mut disk, 2);
        assert!(run(&mut disk, &read, &[]).is_ok());
        asks(&mut disk, 3);
        assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
        asks(&mut disk, 9);
    }
}

/// Between an eject and its end the host may send any data it has announced: another medium that comes meanwhile is not ejected.
#[test]
fn an_eject_is_of_the_medium_it_was_meant_for() {
    let mut disk = ready();
    assert_eq!(disk.begin(&pad(&EJECT), 6), Ok(Intent::Nothing));
    disk.medium_mut().insertion = 2;
    assert_eq!(disk.end().map_err(|_| disk.sense()), Err(Sense::CHANGED));
    assert_eq!(run(&mut disk, &[0; 6], &[]), Ok(Vec::new()));
    // One that comes where there was none, and one that has gone by itself.
    disk.medium_mut().present = false;
    assert_eq!(disk.begin(&pad(&EJECT), 6), Ok(Intent::Nothing));
    (disk.medium_mut().present, disk.medium_mut().insertion) = (true, 3);
    assert_eq!(disk.end(), Ok(()));
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
    assert_eq!(disk.begin(&pad(&EJECT), 6), Ok(Intent::Nothing));
    disk.medium_mut().present = false;
    assert_eq!(disk.end(), Ok(()));
    assert_eq!(events(&mut disk), []);
}

#[test]
fn prevent_and_allow() {
    let prevent = [0x1e, 0, 0, 0, 1, 0];
    let allow = [0x1e, 0, 0, 0, 0, 0];
    let mut disk = ready();
    for _ in 0..2 {
        run(&mut disk, &prevent, &[]).unwrap();
    }
    assert_eq!(run(&mut disk, &EJECT, &[]), Err(Sense::PREVENTED));
    assert_eq!(run(&mut disk, &[0; 6], &[]), Ok(Vec::new()));
    for _ in 0..2 {
        run(&mut disk, &allow, &[]).unwrap();
    }
    // Told once for each change.
    assert_eq!(events(&mut disk), [Event::Prevented, Event::Allowed]);
    // A reset allows, and so does the owner.
    run(&mut disk, &prevent, &[]).unwrap();
    disk.reset();
    assert_eq!((disk.is_prevented(), events(&mut disk)), (false, vec![Event::Prevented, Event::Allowed]));
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::RESET));
    run(&mut disk, &prevent, &[]).unwrap();
    disk.allow();
    assert_eq!(run(&mut disk, &EJECT, &[]), Ok(Vec::new()));
    assert_eq!(events(&mut disk), [Event::Prevented, Event::Allowed, Event::Ejected]);
}

/// A medium that has become another size is another medium, whatever its number: it is told, and what goes on is not asked for blocks that it
/// has no more. `ArrayMedium` panics if it is.
#[test]
fn a_medium_that_shrinks_or_grows() {
    for blocks in [3, 200, 400] {
        for opcode in [0x28, 0x2a, 0x2e, 0x2f] {
            let mut disk = ready();
            let mut cdb = pad(&cdb10(opcode, 250, 8));
            cdb[1] = if opcode == 0x2f { 0x02 } else { 0 };
            let there = disk.medium().bytes[250 * BLOCK..254 * BLOCK].to_vec();
            let began = disk.begin(&cdb, 10);
            let mut piece = there.clone();
            let step = |disk: &mut Disk<ArrayMedium>, piece: &mut Vec<u8>| match began {
                Ok(Intent::In(4096)) => disk.read(piece),
                Ok(Intent::Out(4096)) => disk.write(piece),
                other => panic!("{other:?}"),
            };
            assert_eq!(step(&mut disk, &mut piece), Ok(()));
            disk.medium_mut().bytes.resize(blocks * BLOCK, 0);
            assert_eq!(step(&mut disk, &mut piece).map_err(|_| disk.sense()), Err(Sense::CHANGED));
            let capacity = run(&mut disk, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).unwrap();
            assert_eq!(capacity[..4], (blocks as u32 - 1).to_be_bytes());
            // Between two commands likewise.
            disk.medium_mut().bytes.resize(20 * BLOCK, 0);
            assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
            assert_eq!(run(&mut disk, &[0; 6], &[]), Ok(Vec::new()));
        }
    }
}

/// Without a medium exactly those commands work that the table says.
#[test]
fn no_medium() {
    for entry in inband_volume::scsi::command::TABLE {
        let mut cdb = vec![0; entry.usage.len()];
        cdb[0] = entry.opcode();
        cdb[1] = entry.service.unwrap_or(0);
        match cdb[0] {
            0x1a | 0x5a => cdb[2] = 0x3f,
            0x15 | 0x55 => cdb[1] = 0x10,
            0x1d => cdb[1] = 0x04,
            0x1b => cdb[4] = 0x02,
            _ => {}
        }
        let mut disk = ready();
        disk.medium_mut().present = false;
        let works =
            [0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1d, 0x1e, 0x23, 0x55, 0x5a, 0xa0, 0xa3].contains(&cdb[0]);
        let expected = if works { None } else { Some(Sense::NO_MEDIUM) };
        assert_eq!(run(&mut disk, &cdb, &[]).err(), expected, "{cdb:02x?}");
        // One that comes and goes unseen is nothing; one that stays is.
        disk.medium_mut().present = true;
        disk.medium_mut().insertion = 2;
        assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
    }
}

#[test]
fn write_protection_follows_the_medium() {
    let mut disk = ready();
    disk.medium_mut().write_protected = true;
    let before = disk.medium().bytes.clone();
    for blocks in [0, 1] {
        for cdb in [forms(WRITE, 0, blocks), forms(WRITE_AND_VERIFY, 0, blocks)].concat() {
            assert_eq!(run(&mut disk, &cdb, &[0; 512]), Err(Sense::WRITE_PROTECTED));
        }
    }
    assert_eq!(disk.medium().bytes, before);
    disk.medium_mut().write_protected = false;
    assert_eq!(run(&mut disk, &cdb10(0x2a, 0, 1), &[0; 512]), Ok(Vec::new()));
}

/// SWP by MODE SELECT, as libiscsi's Control-SWP sets it; nothing else can be changed.
#[test]
fn mode_select() {
    let mut disk = ready();
    let mut page = run(&mut disk, &[0x1a, 8, 0x0a, 0, 255, 0], &[]).unwrap()[4..].to_vec();
    page[4] |= 0x08;
    let select = |disk: &mut Disk<ArrayMedium>, list: &[u8]| {
        run(disk, &[0x15, 0x10, 0, 0, list.len() as u8, 0], list).map(drop)
    };
    let list = [&[0; 4][..], &page].concat();
    assert_eq!(select(&mut disk, &list), Ok(()));
    let mode = run(&mut disk, &[0x1a, 0, 0x0a, 0, 255, 0], &[]).unwrap();
    assert_eq!((mode[2], mode[8]), (0x90, 0x08));
    assert_eq!(run(&mut disk, &cdb10(0x28, 0, 1), &[]).unwrap().len(), 512);
    assert_eq!(run(&mut disk, &cdb10(0x2a, 0, 1), &[0; 512]), Err(Sense::SOFTWARE_PROTECTED));
    // Default values are as without, and a list of the long form with all pages clears it.
    assert_eq!(run(&mut disk, &[0x1a, 0, 0x8a, 0, 255, 0], &[]).unwrap()[8], 0);
    let all = run(&mut disk, &[0x5a, 8, 0xbf, 0, 0, 0, 0, 0, 255, 0], &[]).unwrap();
    let list = [&[0; 8][..], &all[8..]].concat();
    let cdb = [0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
    assert_eq!(run(&mut disk, &cdb, &list), Ok(Vec::new()));
    assert_eq!(run(&mut disk, &cdb10(0x2a, 0, 1), &[0; 512]), Ok(Vec::new()));

    // Every other bit of the pages, each byte of the header that counts, and every length.
    let short = [&[0; 4][..], &all[8..]].concat();
    let mut swp_bits = 0;
    for at in 3..short.len() {
        for bit in 0..8 {
            let mut list = short.clone();
            list[at] ^= 1 << bit;
            match select(&mut disk, &list) {
                Ok(()) => swp_bits += 1,
                // A page code that becomes another one's shows in the length behind it.
                Err(sense) => assert!(
                    [at, at + 1].map(|at| Sense::invalid_parameter(at as u16)).contains(&sense)
                        || sense == Sense::PARAMETER_LENGTH,
                    "{at} {bit} {sense:?}"
                ),
            }
            disk.reset();
            assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::RESET));
        }
    }
    assert_eq!(swp_bits, 1);
    for length in 0..short.len() {
        let whole = [0, 4, 24, 36].contains(&length);
        let expected = if whole { Ok(()) } else { Err(Sense::PARAMETER_LENGTH) };
        assert_eq!(select(&mut disk, &short[..length]), expected, "{length}");
    }
    for (flags, length) in [(0x00, 0), (0x11, 0), (0x01, 0)] {
        let refused = run(&mut disk, &[0x15, flags, 0, 0, length, 0], &[]);
        assert_eq!(refused, Err(Sense::invalid_field(1)));
    }
    let long = [0x55, 0x10, 0, 0, 0, 0, 0, 1, 1, 0];
    assert_eq!(run(&mut disk, &long, &[]), Err(Sense::PARAMETER_LENGTH));
}

/// SWP is of the host and of this medium: our own protection is told where both are, neither clears the other, and a reset and another insertion
/// clear SWP alone.
#[test]
fn software_protection_and_our_own() {
    let set = |disk: &mut Disk<ArrayMedium>, swp: u8| {
        let list = [0, 0, 0, 0, 0x0a, 0x0a, 0, 0, swp, 0, 0, 0, 0xff, 0xff, 0, 0];
        assert_eq!(run(disk, &[0x15, 0x10, 0, 0, 16, 0], &list), Ok(Vec::new()));
    };
    let write = |disk: &mut Disk<ArrayMedium>| run(disk, &cdb10(0x2a, 0, 1), &[0; 512]).err();
    let shown = |disk: &mut Disk<ArrayMedium>| {
        let mode = run(disk, &[0x1a, 0, 0x0a, 0, 255, 0], &[]).unwrap();
        (mode[2] & 0x80 != 0, mode[8] & 0x08 != 0)
    };
    let mut disk = ready();
    set(&mut disk, 0x08);
    assert_eq!((write(&mut disk), shown(&mut disk)), (Some(Sense::SOFTWARE_PROTECTED), (true, true)));
    disk.medium_mut().write_protected = true;
    assert_eq!((write(&mut disk), shown(&mut disk)), (Some(Sense::WRITE_PROTECTED), (true, true)));
    set(&mut disk, 0);
    assert_eq!((write(&mut disk), shown(&mut disk)), (Some(Sense::WRITE_PROTECTED), (true, false)));
    set(&mut disk, 0x08);
    disk.medium_mut().write_protected = false;
    assert_eq!(write(&mut disk), Some(Sense::SOFTWARE_PROTECTED));
    // Another medium, and the same one again.
    disk.medium_mut().insertion = 2;
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
    assert_eq!((shown(&mut disk), write(&mut disk)), ((false, false), None));
    set(&mut disk, 0x08);
    disk.medium_mut().present = false;
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::NO_MEDIUM));
    assert_eq!(shown(&mut disk), (false, false));
    // Set while there is none: seen, and gone with the next one.
    set(&mut disk, 0x08);
    assert_eq!(shown(&mut disk), (true, true));
    disk.medium_mut().present = true;
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::CHANGED));
    assert_eq!((shown(&mut disk), write(&mut disk)), ((false, false), None));
    // A reset clears SWP, and never ours.
    set(&mut disk, 0x08);
    disk.medium_mut().write_protected = true;
    disk.reset();
    assert_eq!(run(&mut disk, &[0; 6], &[]), Err(Sense::RESET));
    assert_eq!((shown(&mut disk), write(&mut disk)), ((true, false), Some(Sense::WRITE_PROTECTED)));
    disk.medium_mut().write_protected = false;
    assert_eq!(write(&mut disk), None);
}

/// A medium that leaves, changes or is protected between two pieces; and what it refuses by itself.
#[test]
fn a_medium_that_changes_in_the_middle() {
    type Change = fn(&mut ArrayMedium);
    let changes: [(Change, Sense, Sense); 6] = [
        (|medium| medium.present = false, Sense::NO_MEDIUM, Sense::NO_MEDIUM),
        (|medium| medium.insertion = 2, Sense::CHANGED, Sense::CHANGED),
        (|medium| medium.write_protected = true, Sense::NONE, Sense::WRITE_PROTECTED),
        (|medium| medium.fault = Some((2, Fault::NoSpace)), Sense::NO_SPACE, Sense::NO_SPACE),
        (|medium| medium.fault = Some((2, Fault::Unwritable)), Sense::WRITE_ERROR, Sense::WRITE_ERROR),
        (
            |medium| medium.fault = Some((2, Fault::WriteProtected)),
            Sense::WRITE_PROTECTED,
            Sense::WRITE_PROTECTED,
        ),
    ];
    for (change, on_read, on_write) in changes {
        let mut disk = ready();
        let before = disk.medium().bytes.clone();
        let mut piece = [0; 1024];
        assert_eq!(disk.begin(&pad(&cdb10(0x28, 0, 4)), 10), Ok(Intent::In(2048)));
        disk.read(&mut piece).unwrap();
        change(disk.medium_mut());
        let second = disk.read(&mut piece).map_err(|_| disk.sense());
        assert_eq!(second.err().unwrap_or(Sense::NONE), on_read);

        let mut disk = ready();
        assert_eq!(disk.begin(&pad(&cdb10(0x2a, 0, 4)), 10), Ok(Intent::Out(2048)));
        disk.write(&[0xa5; 1024]).unwrap();
        change(disk.medium_mut());
        assert_eq!(disk.write(&[0xa5; 1024]).map_err(|_| disk.sense()), Err(on_write));
        assert_eq!(disk.medium().bytes[1024..], before[1024..]);
        assert_eq!(events(&mut disk), [Event::Written { lba: 0, blocks: 2 }]);
    }
}

/// Every operation code with every bit of every byte: refused for the byte that is wrong, or carried out, and never more than that.
#[test]
fn every_bit_of_every_command() {
    for opcode in 0..=255_u8 {
        let lines: Vec<_> =
            inband_volume::scsi::command::TABLE.iter().filter(|entry| entry.opcode() == opcode).collect();
        let Some(line) = lines.first() else {
            assert_eq!(run(&mut ready(), &[opcode; 16], &[]), Err(Sense::NO_SUCH_COMMAND));
            continue;
        };
        assert_eq!(lines.len(), 1);
        for at in 1..line.usage.len() {
            for bit in 0..8 {
                let mut cdb = vec![0; line.usage.len()];
                cdb[0] = opcode;
                cdb[1] = line.service.unwrap_or(0);
                cdb[at] ^= 1 << bit;
                let sense = run(&mut ready(), &cdb, &[0; 256 * 512]).err();
                let service = at == 1 && bit < 5 && line.service.is_some();
                if service || line.usage[at] & 1 << bit == 0 {
                    assert_eq!(sense, Some(Sense::invalid_field(at as u16)), "{cdb:02x?}");
                } else {
                    let refused = sense.is_some_and(|sense| sense == Sense::invalid_field(0));
                    assert!(!refused, "{cdb:02x?}");
                }
            }
        }
        for length in 1..line.usage.len() {
            let mut cdb = vec![0; length];
            cdb[0] = opcode;
            if let (Some(service), Some(byte)) = (line.service, cdb.get_mut(1)) {
                *byte = service;
            }
            let expected = match line.service {
                Some(_) if length == 1 => Sense::invalid_field(1),
                _ => Sense::invalid_field(length as u16),
            };
            assert_eq!(run(&mut ready(), &cdb, &[]), Err(expected), "{opcode:02x}, {length} bytes");
        }
    }
}

/// SYNCHRONIZE CACHE tells the volume; FUA does not.
#[test]
fn synchronizing() {
    let mut disk = ready();
    for cdb in forms(SYNCHRONIZE, 0, 0) {
        assert_eq!(run(&mut disk, &cdb, &[]), Ok(Vec::new()));
        assert_eq!(events(&mut disk), [Event::Synchronized]);
    }
    let mut fua = cdb10(0x2a, 0, 1);
    fua[1] = 0x08;
    assert_eq!(run(&mut disk, &fua, &[0; 512]), Ok(Vec::new()));
    assert_eq!(events(&mut disk), [Event::Written { lba: 0, blocks: 1 }]);
}
