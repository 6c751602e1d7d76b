//! While another door has the session (docs/spec/bulk.md, 5): what DFU tells of it, and what a host can do to it by DFU.

use std::time::Duration;

use inband_dfu::{
    device::{Cause, Elsewhere, Event, IDLE_LIMIT, LEAVE_DELAY, Manifestation},
    table::{Cell, Conditions, Mode, Progress, Reaction, Stimulus, Upload, cell},
    wire::{Attributes, Request, State, Status},
};

use crate::bench::{Bench, Stalled};

const UPLOAD: Stimulus = Stimulus::Upload(Upload::Full);

/// The rows of the specification's two tables, and the column of each state.
fn specified() -> Vec<(String, [String; 2])> {
    let text = include_str!("../../../../docs/spec/bulk.md");
    let (_, section) = text.split_once("## 5. How it meets DFU").unwrap();
    let (section, _) = section.split_once("And the other way round").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.contains("bulk receives"));
    rows.map(|row| {
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        (cells[1].clone(), [cells[2].clone(), cells[3].clone()])
    })
    .collect()
}

/// What is said of a stimulus, in words of the specification: reaction, state, whether the status becomes OK.
fn said(words: &str, state: State) -> Cell {
    let (reaction, next, status) = match words {
        "`i`" => (Reaction::Stall, state, None),
        "=" | "= ; the RESULT goes nowhere" => (Reaction::Accept, state, None),
        "acknowledged: `aborted`, leave" => (Reaction::Accept, State::AppIdle, None),
        "2, status OK: `aborted`" | "2: `aborted`" => (Reaction::Accept, State::DfuIdle, Some(Status::Ok)),
        "2: `disconnected`" => (Reaction::Accept, State::DfuIdle, None),
        other => panic!("{other:?} is not known"),
    };
    Cell { reaction, next, status }
}

#[test]
fn every_cell_is_as_specified() {
    let stimuli: [(&str, &[Stimulus]); 10] = [
        ("DETACH", &[Stimulus::Detach]),
        ("DNLOAD, with data or empty", &[Stimulus::Download, Stimulus::DownloadEnd]),
        ("UPLOAD", &[UPLOAD, Stimulus::Upload(Upload::Short), Stimulus::Upload(Upload::Empty)]),
        ("GETSTATUS", &[Stimulus::GetStatus]),
        ("CLRSTATUS", &[Stimulus::ClrStatus]),
        ("GETSTATE", &[Stimulus::GetState]),
        ("ABORT", &[Stimulus::Abort]),
        ("any other", &[Stimulus::Unknown]),
        ("bus reset, unplug, SET_CONFIGURATION, to 0 or again", &[Stimulus::BusReset]),
        ("SET_INTERFACE to either interface", &[Stimulus::SetInterface]),
    ];
    let rows = specified();
    // Whatever was left behind by a download changes nothing.
    let outcomes = [Progress::Busy, Progress::Done, Progress::Failed(Status::ErrWrite)];
    for (row, stimuli) in stimuli {
        let (_, columns) =
            rows.iter().find(|(name, _)| name == row).unwrap_or_else(|| panic!("no row {row}"));
        for (state, words) in [State::DfuDnbusy, State::DfuManifest].into_iter().zip(columns) {
            for stimulus in stimuli {
                for outcome in outcomes {
                    let conditions = Conditions {
                        attributes: Attributes::OURS,
                        refusal: None,
                        in_sequence: true,
                        block: outcome,
                        complete: true,
                        manifestation: outcome,
                        accepted: false,
                        firmware_valid: true,
                        elsewhere: true,
                    };
                    let found = cell(state, *stimulus, Mode::Lenient, &conditions);
                    assert_eq!(found, said(words, state), "{state}, {row}");
                }
            }
        }
    }
    // No time leads anywhere.
    assert!(rows.iter().any(|(name, [first, second])| {
        name == "nobody says anything for 60 s" && first.starts_with('=') && second.starts_with('=')
    }));
}

/// In DFU mode, another door receiving.
fn receiving() -> Bench {
    let mut bench = Bench::lenient();
    bench.events.clear();
    assert!(bench.device.begin_elsewhere(bench.now));
    bench
}

/// The same, handed over.
fn working() -> Bench {
    let mut bench = receiving();
    bench.device.hand_over_elsewhere();
    bench
}

#[test]
fn it_begins_in_dfu_idle_only() {
    for state in State::ALL {
        let reachable = !matches!(state, State::DfuUploadIdle | State::DfuManifestWaitReset);
        if reachable && state != State::DfuIdle {
            let mut bench = Bench::reach(Mode::Lenient, state);
            assert!(!bench.device.begin_elsewhere(bench.now), "{state}");
            assert_eq!(bench.device.state(), state);
        }
    }
    let mut strict = Bench::in_dfu_mode(Mode::Strict);
    assert!(!strict.device.begin_elsewhere(strict.now));
    let mut bench = receiving();
    assert!(!bench.device.begin_elsewhere(bench.now), "twice");
}

#[test]
fn the_status_tells() {
    for (mut bench, state) in [(receiving(), 4), (working(), 7)] {
        for _ in 0..3 {
            let reply = bench.control_in(Request::GetStatus.setup(0, 0, 6)).unwrap();
            assert_eq!(reply, [0, 50, 0, 0, state, 0]);
            bench.pass(Duration::from_millis(60));
            assert_eq!(bench.control_in(Request::GetState.setup(0, 0, 1)).unwrap(), [state]);
        }
    }
}

#[test]
fn nothing_of_dfu_disturbs_it() {
    for (mut bench, state) in [(receiving(), State::DfuDnbusy), (working(), State::DfuManifest)] {
        for (request, value, data) in
            [(Request::Dnload, 0, &[1; 100][..]), (Request::Dnload, 1, &[]), (Request::ClrStatus, 0, &[])]
        {
            assert_eq!(bench.out(request, value, data), Err(Stalled));
        }
        assert_eq!(bench.control_in(Request::Upload.setup(0, 0, 64)), Err(Stalled));
        bench.assert_status(state, Status::Ok);
        bench.pass(10 * IDLE_LIMIT);
        bench.assert_status(state, Status::Ok);
        assert_eq!(bench.events, []);
    }
}

/// A block whose SETUP came before the other door's first byte, and its data behind it.
#[test]
fn a_block_that_crosses_its_beginning_is_dropped() {
    let mut bench = Bench::lenient();
    bench.events.clear();
    bench.device.handle_setup(bench.now, &Request::Dnload.setup(0, 0, 10));
    assert!(bench.device.begin_elsewhere(bench.now));
    bench.device.handle_data(bench.now, 10);
    bench.assert_status(State::DfuDnbusy, Status::Ok);
    assert_eq!(bench.events, []);
}

#[test]
fn the_host_ends_what_is_not_handed_over() {
    let mut bench = receiving();
    bench.out(Request::Abort, 0, &[]).unwrap();
    assert_eq!(bench.aborts(), [Cause::Abort]);
    // The owner's word comes late, and means nothing.
    bench.device.end_elsewhere(bench.now, Elsewhere::Failed(Status::ErrVerify));
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.assert_next_session();

    let mut bench = receiving();
    bench.out(Request::Detach, 1000, &[]).unwrap();
    assert_eq!(bench.events[..2], [Event::Aborted(Cause::Abort), Event::Leave]);

    let mut bench = receiving();
    bench.bus_reset();
    bench.assert_status(State::DfuIdle, Status::Ok);
    assert_eq!(bench.aborts(), [Cause::BusReset]);
    bench.assert_next_session();

    let mut bench = receiving();
    bench.set_interface();
    bench.assert_status(State::DfuIdle, Status::Ok);
    assert_eq!(bench.aborts(), [Cause::NewSession]);
    bench.assert_next_session();
}

#[test]
fn the_host_ends_nothing_that_is_handed_over() {
    let mut bench = working();
    for request in [Request::Abort, Request::Detach] {
        assert_eq!(bench.out(request, 0, &[]), Err(Stalled));
    }
    bench.bus_reset();
    bench.set_interface();
    bench.assert_status(State::DfuManifest, Status::Ok);
    assert_eq!(bench.events, []);
    bench.device.end_elsewhere(bench.now, Elsewhere::Staged);
    bench.assert_status(State::DfuIdle, Status::Ok);
}

/// As behind a download that was taken.
#[test]
fn staged_leaves() {
    let mut bench = working();
    bench.device.end_elsewhere(bench.now, Elsewhere::Staged);
    bench.pass(LEAVE_DELAY - Duration::from_millis(1));
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.events, [Event::Leave]);

    let mut bench = working();
    bench.device.end_elsewhere(bench.now, Elsewhere::Staged);
    bench.bus_reset();
    assert_eq!(bench.events, [Event::Leave], "a reset takes it back to run time");
}

#[test]
fn a_failure_is_told_until_it_is_cleared() {
    for mut bench in [receiving(), working()] {
        bench.device.end_elsewhere(bench.now, Elsewhere::Failed(Status::ErrVerify));
        bench.assert_status(State::DfuError, Status::ErrVerify);
        assert!(!bench.device.begin_elsewhere(bench.now));
        assert_eq!(bench.events, [], "the owner failed it");
        bench.out(Request::ClrStatus, 0, &[]).unwrap();
        assert!(bench.device.begin_elsewhere(bench.now));
        bench.assert_status(State::DfuDnbusy, Status::Ok);
    }
    let mut bench = receiving();
    bench.device.end_elsewhere(bench.now, Elsewhere::Aborted);
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.pass(IDLE_LIMIT);
    assert_eq!(bench.events, [Event::Leave], "the idle limit of DFU mode counts again");
}

/// A failed download before it, an accepted one before it: nothing of them is left.
#[test]
fn behind_a_download() {
    let mut bench = Bench::lenient();
    let file = bench.image.clone();
    assert!(bench.session(&file).is_ok());
    assert!(bench.device.begin_elsewhere(bench.now));
    bench.events.clear();
    bench.pass(2 * LEAVE_DELAY);
    assert_eq!(bench.events, [], "it does not leave under the other door's session");
    bench.out(Request::Abort, 0, &[]).unwrap();
    assert_eq!(bench.aborts(), [Cause::Abort]);

    // While a download is put to work, no other door begins.
    let mut bench = Bench::reach(Mode::Lenient, State::DfuManifestSync);
    bench.device.set_manifestation(bench.now, Manifestation::Running { poll_ms: 1 });
    bench.out(Request::Abort, 0, &[]).unwrap();
    assert_eq!(bench.device.state(), State::DfuIdle);
    assert!(!bench.device.begin_elsewhere(bench.now));
}
