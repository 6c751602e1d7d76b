//! What happens in a sequence: the steps, and how they are made by chance.

use inband_session::Door;
use inbandd::command::{Ask, AskedBy};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    disk::{Content, Trigger},
    handle::{Act, Said},
    machine::{Configured, Firmware, seconds},
    usb::Block,
};

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// By IPMI, from the system interface, with this tag.
    Ipmi(u32, Act),
    /// By IPMI, and refused whatever the state: these bytes behind the organisation, and the completion code.
    Nonsense(&'static [u8], u8),
    /// The same by a channel that is not the system interface.
    FromElsewhere(u32, Act),
    Ask(Ask),
    /// What hosts send from now on.
    Have(Firmware),
    Detach,
    Block(Block),
    /// A package by bulk; with what is asked for, or without.
    Offer {
        whole: bool,
    },
    GetStatus,
    ClearStatus,
    AbortDownload,
    Package(Content),
    OtherFiles,
    Command(Trigger),
    Eject,
    /// Somebody looks what is in the drive.
    Look,
    BusReset,
    /// For so many seconds.
    Unplugged(u64),
    /// Likewise: nothing happens. Of more than some minutes it is a clock that leaps as well.
    Silence(u64),
    /// The read-back takes its time from now on, or no longer.
    Slow(bool),
    /// The BMC reads its clock so many milliseconds too early: to it the clock stands still, and leaps.
    Late(u64),
    Killed,
    PowerCut,
}

impl Step {
    /// Whether a host does it that has found the device, other than by its disk.
    pub(super) const fn needs_device(self) -> bool {
        matches!(
            self,
            Self::Detach
                | Self::Block(_)
                | Self::Offer { .. }
                | Self::GetStatus
                | Self::ClearStatus
                | Self::AbortDownload
        )
    }
}

/// Requests that are none (ipmi.md, 1).
const NONSENSE: [(&[u8], u8); 15] = [
    (&[], 0xc7),
    (&[1], 0xc7),
    (&[1, 9, 0, 0, 0, 3, 0], 0xc7),
    (&[1, 9, 0, 0, 0, 3, 0, 0, 0], 0xc7),
    (&[1, 9, 0, 0, 0, 0, 0, 0], 0xcc),
    (&[1, 9, 0, 0, 0, 4, 0, 0], 0xcc),
    (&[1, 9, 0, 0, 0, 1, 1, 0], 0xcc),
    (&[1, 9, 0, 0, 0, 3, 2, 0], 0xcc),
    (&[1, 9, 0, 0, 0, 3, 0, 0x10], 0xcc),
    (&[2, 9, 0, 0, 0, 1, 2, 3, 4, 2], 0xcc),
    (&[2, 9, 0, 0, 0, 1, 2, 3, 4], 0xc7),
    (&[3, 0], 0xc7),
    (&[4, 0x7f, 0], 0xcc),
    (&[7, 0, 0, 0], 0xc7),
    (&[8, 0, 0, 0, 0], 0xc1),
];

fn said() -> impl Strategy<Value = Said> {
    let length = select(vec![None, None, Some(true), Some(false)]);
    let head = select(vec![None, None, Some(Firmware::Sent), Some(Firmware::Older), Some(Firmware::Factory)]);
    let said = (any::<bool>(), any::<bool>(), length, head);
    let said = said.prop_map(|(not_older, defer, length, head)| Said { not_older, defer, length, head });
    prop_oneof![Just(Said::NOTHING), said]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..=3u8, prop::bool::weighted(0.3)).prop_map(|(door, other)| (door, other))
            .prop_flat_map(|(door, other)| said().prop_map(move |said| Act::Start(door, other, said))),
        3 => (prop::bool::weighted(0.8), any::<bool>()).prop_map(|(mine, commit)| Act::Stop { mine, commit }),
        1 => Just(Act::Activate),
        1 => Just(Act::Confirm),
        2 => Just(Act::Abort),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let door = || select(vec![Door::Dfu, Door::Bulk, Door::Volume, Door::Volume, Door::Dfu]);
    prop_oneof![
        4 => door().prop_map(Ask::Arm),
        1 => (door(), select(vec![0, 30, 900])).prop_map(|(door, time)| Ask::ArmFor(door, time)),
        2 => Just(Ask::HostPoweredOn),
        2 => door().prop_map(Ask::Disarm),
        1 => Just(Ask::Commit),
        1 => Just(Ask::Abort),
        1 => Just(Ask::Activate),
        1 => Just(Ask::Confirm),
        2 => select(vec![Ask::Restart(AskedBy::Bmc), Ask::Restart(AskedBy::Host)]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let tag = || select(vec![0, 1, 2]);
    let content = (prop::bool::weighted(0.7), prop::bool::weighted(0.2))
        .prop_map(|(whole, forged)| Content { whole, forged });
    let block = prop_oneof![
        8 => Just(Block::Good),
        1 => Just(Block::Spoilt),
        1 => Just(Block::Misnumbered),
        2 => Just(Block::End),
    ];
    prop_oneof![
        10 => (tag(), act()).prop_map(|(tag, act)| Step::Ipmi(tag, act)),
        1 => select(NONSENSE.to_vec()).prop_map(|(bytes, code)| Step::Nonsense(bytes, code)),
        1 => (tag(), act()).prop_map(|(tag, act)| Step::FromElsewhere(tag, act)),
        6 => ask().prop_map(Step::Ask),
        2 => select(vec![Firmware::Sent, Firmware::Older]).prop_map(Step::Have),
        4 => Just(Step::Detach),
        12 => block.prop_map(Step::Block),
        2 => any::<bool>().prop_map(|whole| Step::Offer { whole }),
        1 => Just(Step::GetStatus),
        1 => Just(Step::ClearStatus),
        1 => Just(Step::AbortDownload),
        6 => content.prop_map(Step::Package),
        1 => Just(Step::OtherFiles),
        2 => select(vec![Trigger::Take, Trigger::Forget]).prop_map(Step::Command),
        4 => Just(Step::Eject),
        2 => Just(Step::Look),
        1 => Just(Step::BusReset),
        2 => select(vec![1, 50, 70, 700]).prop_map(Step::Unplugged),
        4 => select(vec![0, 10, 40, 70, 290, 590, 650, 910, 3700, 40_000]).prop_map(Step::Silence),
        3 => any::<bool>().prop_map(Step::Slow),
        1 => (0..400u64).prop_map(Step::Late),
        1 => Just(Step::Killed),
        1 => Just(Step::PowerCut),
    ]
}

pub(super) fn sequence() -> impl Strategy<Value = (Configured, Vec<Step>)> {
    use inband_session::DoorPolicy::{Always, Armed, Off};
    let policies = vec![
        [Armed, Armed, Armed],
        [Armed, Armed, Armed],
        [Always, Always, Always],
        [Always, Always, Armed],
        [Armed, Off, Always],
        [Off, Off, Armed],
        [Armed, Armed, Off],
    ];
    let doors = (select(policies), any::<bool>(), prop::bool::weighted(0.9), 0..3u32);
    let armed_for = select(vec![None, Some(seconds(120)), Some(seconds(900))]);
    let bmc =
        (prop::bool::weighted(0.3), armed_for, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let configured = (doors, bmc).prop_map(|(doors, bmc)| {
        let (policies, fat, opens, refusals) = doors;
        let (health, armed_for, power_on, hides, holds, at_once) = bmc;
        Configured { policies, fat, opens, health, refusals, armed_for, power_on, hides, holds, at_once }
    });
    let phrase = prop_oneof![4 => step().prop_map(|step| vec![step]), 3 => phrase()];
    (configured, vec(phrase, 1..12).prop_map(|phrases| phrases.concat()))
}

/// What hosts and people do in one go, and chance alone would seldom make.
fn phrase() -> impl Strategy<Value = Vec<Step>> {
    const WHOLE: Step = Step::Package(Content { whole: true, forged: false });
    const PART: Step = Step::Package(Content { whole: false, forged: false });
    const GOOD: Step = Step::Block(Block::Good);
    let start = |door| Step::Ipmi(0, Act::Start(door, false, Said::NOTHING));
    let start_with = |door, said| Step::Ipmi(0, Act::Start(door, false, said));
    let not_older = Said { not_older: true, ..Said::NOTHING };
    let nobodys = Said { head: Some(Firmware::Factory), ..Said::NOTHING };
    let defer = Said { defer: true, ..Said::NOTHING };
    let older = Step::Have(Firmware::Older);
    let stop = |commit| Step::Ipmi(0, Act::Stop { mine: true, commit });
    let arm = |door| Step::Ask(Ask::Arm(door));
    let activate = Step::Ask(Ask::Activate);
    let restart = Step::Ask(Ask::Restart(AskedBy::Bmc));
    let power_on = Step::Ask(Ask::HostPoweredOn);
    prop_oneof![
        select(vec![
            vec![arm(Door::Dfu), Step::Detach],
            vec![start(1), Step::Detach],
            vec![start(2), Step::Detach, GOOD],
            vec![start(2), Step::Detach, Step::Offer { whole: false }],
            vec![Step::Detach, Step::Offer { whole: false }],
            vec![Step::Slow(true), Step::Detach, Step::Offer { whole: true }],
            vec![start(1), Step::Detach, GOOD, stop(false)],
            vec![Step::Detach, GOOD, GOOD, GOOD, GOOD],
            vec![GOOD, GOOD, GOOD, GOOD, Step::Block(Block::End)],
            vec![power_on, Step::Detach, GOOD],
            vec![older, start_with(1, not_older), Step::Detach, GOOD],
            vec![start_with(2, defer), Step::Detach, GOOD, GOOD, GOOD, GOOD],
            vec![arm(Door::Dfu), Step::Detach, GOOD, restart],
        ]),
        select(vec![
            vec![arm(Door::Volume), WHOLE],
            vec![power_on, WHOLE],
            vec![Step::Ask(Ask::ArmFor(Door::Volume, 900)), power_on, Step::Silence(290)],
            vec![older, start_with(3, not_older), WHOLE, Step::Eject],
            vec![start_with(3, nobodys), PART, Step::Eject],
            vec![start_with(3, defer), WHOLE, Step::Eject, Step::Silence(70)],
            vec![arm(Door::Volume), Step::OtherFiles, Step::Silence(910)],
            vec![arm(Door::Volume), WHOLE, restart],
            vec![arm(Door::Volume), Step::Slow(true), WHOLE, Step::Eject, restart],
            vec![start(3), WHOLE],
            vec![start(3), WHOLE, stop(true)],
            vec![start(3), WHOLE, stop(false)],
            vec![start(3), WHOLE, Step::Unplugged(70), stop(true)],
            vec![start(3), WHOLE, Step::Eject],
            vec![arm(Door::Volume), Step::Slow(true), WHOLE, Step::Eject],
            vec![WHOLE, Step::Eject, Step::Look],
            vec![WHOLE, Step::Eject, activate],
            vec![start(3), WHOLE, Step::Eject, activate],
        ]),
    ]
}
