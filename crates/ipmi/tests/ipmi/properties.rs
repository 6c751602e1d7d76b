//! Whatever the host sends, the door is open exactly while a start is in force.

use inband_ipmi::{
    Origin,
    command::{Command, FLAG_STARTED},
    wire::{BODY, Code},
};
use proptest::{collection::vec, prelude::*};

use crate::keeper::Bmc;

#[derive(Clone, Debug)]
enum Step {
    Raw(Vec<u8>),
    Start(u32),
    Stop { tag: u32, right: bool, commit: bool },
    Abort(u32),
    Wait(u64),
    Refuse(bool),
    Work(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        vec(any::<u8>(), 0..BODY + 4).prop_map(Step::Raw),
        (0..3_u32).prop_map(Step::Start),
        (0..3_u32, any::<bool>(), any::<bool>()).prop_map(|(tag, right, commit)| Step::Stop {
            tag,
            right,
            commit
        }),
        (0..3_u32).prop_map(Step::Abort),
        (0..1000_u64).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Refuse),
        any::<bool>().prop_map(Step::Work),
    ]
}

proptest! {
    #[test]
    fn the_door_is_open_exactly_while_a_start_is_in_force(steps in vec(step(), 0..60)) {
        let mut bmc = Bmc::new();
        for step in steps {
            let nonce = bmc.status().nonce;
            let reply = match step {
                Step::Raw(data) => Some(bmc.raw(Origin::System, &[&[0xcf, 0xc2, 0], &data[..]].concat())),
                Step::Start(tag) => { _ = bmc.start(tag); None }
                Step::Stop { tag, right, commit } => {
                    let nonce = if right { nonce } else { nonce ^ 1 };
                    Some(bmc.run(Command::Stop { tag, nonce, commit }))
                }
                Step::Abort(tag) => Some(bmc.run(Command::Abort { tag })),
                Step::Wait(seconds) => { bmc.advance(seconds); None }
                Step::Refuse(refuse) => { bmc.keeper.refuse = refuse.then_some(Code::BUSY); None }
                Step::Work(at_work) => { bmc.keeper.at_work = at_work; None }
            };
            if let Some(reply) = reply {
                prop_assert!(reply.data.len() <= 3 + BODY);
                prop_assert!(reply.code == Code::OK || reply.data.is_empty());
                prop_assert!(Code::ALL.contains(&reply.code));
            }
            let status = bmc.status();
            prop_assert_eq!(bmc.keeper.open.is_some(), status.flags & FLAG_STARTED != 0);
            prop_assert_eq!(status.holds_s != 0, status.flags & FLAG_STARTED != 0);
        }
    }
}
