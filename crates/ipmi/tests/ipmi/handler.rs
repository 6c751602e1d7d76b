//! Who may ask, and what a repeat does.

use inband_ipmi::{
    Handler, Origin,
    command::{Command, FLAG_STARTED},
    wire::{COMMAND, Code, Request},
};

use crate::keeper::Bmc;

#[test]
fn only_the_system_interface_may_ask_for_anything() {
    let mut bmc = Bmc::new();
    for command in [Command::Status, Command::Abort { tag: 1 }, Command::Capabilities] {
        assert_eq!(bmc.raw(Origin::Other, &command.encode()).code, Code::PRIVILEGE);
    }
    assert!(bmc.keeper.calls.is_empty());
}

#[test]
fn what_is_another_organisations_or_another_command_is_not_ours() {
    let handler = Handler::default();
    let ours = Command::Status.encode();
    let request = |netfn, command, data| Request { netfn, lun: 0, command, data };
    assert!(handler.is_ours(&request(0x2e, COMMAND, &ours)));
    assert!(!handler.is_ours(&request(0x2c, COMMAND, &ours)));
    assert!(!handler.is_ours(&request(0x2e, 0x80, &ours)));
    assert!(!handler.is_ours(&request(0x2e, COMMAND, &[0xcf, 0xc2])));
    assert!(!handler.is_ours(&request(0x2e, COMMAND, &[0xcf, 0xc2, 0x01, 0x03])));
    let mut bmc = Bmc::new();
    let other_unit = Request { netfn: 0x2e, lun: 1, command: COMMAND, data: &ours };
    let reply = bmc.handler.handle(bmc.now, Origin::System, &other_unit, 1, &mut bmc.keeper);
    assert_eq!(reply.code, Code::INVALID_COMMAND);
}

#[test]
fn a_start_that_comes_twice_opens_once_and_has_one_nonce() {
    let mut bmc = Bmc::new();
    let nonce = bmc.start(7).unwrap();
    assert_eq!(bmc.start(7), Ok(nonce));
    assert_eq!(bmc.keeper.calls, ["open Dfu"]);
    let status = bmc.status();
    assert_eq!((status.nonce, status.flags, status.holds_s), (nonce, FLAG_STARTED, 900));
}

#[test]
fn what_was_refused_is_tried_again() {
    let mut bmc = Bmc::new();
    bmc.keeper.refuse = Some(Code::ON_TRIAL);
    assert_eq!(bmc.start(7), Err(Code::ON_TRIAL));
    bmc.keeper.refuse = None;
    assert_eq!(bmc.start(7).map(drop), Ok(()));
}

#[test]
fn an_abort_that_comes_twice_is_another_one_for_another_session() {
    let mut bmc = Bmc::new();
    bmc.keeper.session = 1;
    for (session, calls) in [(1, 1), (1, 1), (2, 2)] {
        bmc.keeper.session = session;
        assert_eq!(bmc.run(Command::Abort { tag: 9 }).code, Code::OK);
        assert_eq!(bmc.keeper.calls.len(), calls);
    }
}

#[test]
fn a_repeat_behind_a_minute_and_one_without_a_tag_are_acts_of_their_own() {
    let mut bmc = Bmc::new();
    for tag in [5, 0] {
        assert_eq!(bmc.run(Command::Activate { tag }).code, Code::OK);
        bmc.advance(if tag == 0 { 0 } else { 60 });
        assert_eq!(bmc.run(Command::Activate { tag }).code, Code::OK);
    }
    assert_eq!(bmc.keeper.calls, ["activate"; 4]);
}

#[test]
fn another_start_is_refused_while_one_is_in_force_and_has_another_nonce_behind_it() {
    let mut bmc = Bmc::new();
    let nonce = bmc.start(1).unwrap();
    assert_eq!(bmc.start(2), Err(Code::BUSY));
    assert_eq!(bmc.run(Command::Stop { tag: 3, nonce: nonce ^ 1, commit: true }).code, Code::WRONG_NONCE);
    assert_eq!(bmc.run(Command::Stop { tag: 4, nonce, commit: true }).code, Code::OK);
    assert_eq!(bmc.status().flags & FLAG_STARTED, 0);
    assert_ne!(bmc.start(5).unwrap(), nonce);
    assert_eq!(bmc.keeper.calls, ["open Dfu", "shut true", "open Dfu"]);
}

#[test]
fn the_status_names_the_start_of_the_session_when_the_door_is_shut() {
    let mut bmc = Bmc::new();
    let nonce = bmc.start(1).unwrap();
    bmc.handler.handle_shut();
    let status = bmc.status();
    assert_eq!((status.nonce, status.flags, status.holds_s), (nonce, 0, 0));
    assert_eq!(bmc.run(Command::Stop { tag: 2, nonce, commit: false }).code, Code::WRONG_NONCE);
}

#[test]
fn a_start_that_has_ended_is_not_answered_from_memory() {
    let mut bmc = Bmc::new();
    let nonce = bmc.start(1).unwrap();
    bmc.handler.handle_shut();
    assert_ne!(bmc.start(1).unwrap(), nonce);
    assert_eq!(bmc.keeper.calls, ["open Dfu"; 2]);
}

#[test]
fn a_start_runs_out_unless_the_session_is_at_work() {
    let mut bmc = Bmc::new();
    bmc.start(1).unwrap();
    bmc.keeper.at_work = true;
    bmc.advance(900);
    assert!(bmc.keeper.open.is_some());
    bmc.keeper.at_work = false;
    bmc.advance(60);
    assert!(bmc.keeper.open.is_none());
    assert_eq!(bmc.status().flags & FLAG_STARTED, 0);
    assert_eq!(bmc.handler.poll_timeout(), None);
}

#[test]
fn an_abort_ends_a_start_whoever_made_it() {
    let mut bmc = Bmc::new();
    bmc.start(1).unwrap();
    bmc.keeper.refuse = Some(Code::NOTHING);
    assert_eq!(bmc.run(Command::Abort { tag: 2 }).code, Code::OK);
    assert!(bmc.keeper.open.is_none());
    assert_eq!(bmc.run(Command::Abort { tag: 3 }).code, Code::NOTHING);
}

#[test]
fn an_item_that_is_not_there_is_a_wrong_field() {
    let mut bmc = Bmc::new();
    assert_eq!(bmc.run(Command::Info { item: 77, offset: 0 }).code, Code::FIELD);
}
