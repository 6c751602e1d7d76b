//! What the worker says.

use std::time::Duration;

use inband_session::{Door, DoorState, ResultCode, SessionState};
use inband_usb::DeviceBackend;

use super::{Bmc, CONFIRM_AGAIN, Fault, KEEP_BUDGET, operator::Asked};
use crate::worker::{Command, Reply, Worker};

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    pub(super) fn handle_reply(&mut self, now: Duration, reply: Reply) -> Result<(), Fault<B::Error>> {
        match reply {
            Reply::Buffer { bytes, .. } => {
                self.queued = self.queued.saturating_sub(1);
                self.recycle(bytes);
                self.update_intake();
            }
            Reply::View(view) => {
                self.session.update(*view);
                self.plan_keeping(now);
            }
            Reply::Portion { bytes, .. } => self.take_portion_home(bytes),
            Reply::Offered { session, offered } if Some(session) == self.current => {
                self.handle_offered(now, offered)?;
            }
            Reply::Missing { session, chunks } if Some(session) == self.current => {
                self.handle_missing(now, &chunks)?;
            }
            Reply::Complete(progress) if Some(progress.session) == self.current => {
                if self.is_by(Door::Volume) {
                    self.finish_volume(&progress)?;
                } else {
                    self.hand_over_exchange(&progress)?;
                }
            }
            // A file is judged by all of it, where its end is known.
            Reply::Taken(progress) if Some(progress.session) == self.current && !self.is_by(Door::Dfu) => {
                self.session.report(&progress);
                self.volume_taken(&progress);
            }
            // What was sent on behalf of a session that ended meanwhile, or follows its end, means nothing any more.
            Reply::Taken(progress) if Some(progress.session) == self.current => {
                self.announced = progress.announced;
                self.session.report(&progress);
                if progress.complete && self.session.handover(progress.session).is_ok() {
                    self.worker.send(Command::Finish { session: progress.session })?;
                }
                self.whole = progress.whole;
                self.update_complete();
            }
            Reply::ReadBack { session, percent } => self.session.read_back(session, percent),
            Reply::Staged { session } if Some(session) == self.current => {
                let counts = self.session.verdict(session, Ok(()), now).is_ok();
                if self.is_by(Door::Volume) {
                    self.current = None;
                    return self.conclude_volume(now, ResultCode::Ok);
                }
                if counts && self.is_by(Door::Bulk) {
                    self.end_exchange(now, ResultCode::Ok);
                } else if counts {
                    self.update_complete();
                    self.update_intake();
                }
                if self.session.door(Door::Dfu) != DoorState::Open {
                    // The host left before the verdict; what follows a good one was not known then.
                    self.leave(now)?;
                }
            }
            Reply::Failed { session, refused } if Some(session) == self.current => {
                let door = self.carrier();
                self.current = None;
                self.audit.warn(
                    now,
                    format_args!(
                        "event=package-refused session={session} result={} reason: {}",
                        refused.code, refused.text
                    ),
                );
                // A staged package stays staged, whatever came behind it: then there is no verdict to give.
                _ = self.session.verdict(session, Err(refused.code), now);
                self.tell_end(now, door, refused.code)?;
            }
            Reply::Failed { session, refused } => self.session.late_refusal(session, refused.code, now),
            Reply::Taken(_)
            | Reply::Staged { .. }
            | Reply::Offered { .. }
            | Reply::Missing { .. }
            | Reply::Complete(_) => {}
            Reply::Confirmed(result) => {
                self.confirms = false;
                match &result {
                    Ok(()) => {
                        self.settle_trial();
                        _ = self.session.confirmed();
                    }
                    Err(refused) if self.session.state() == SessionState::PendingConfirm => {
                        self.audit.warn(
                            now,
                            format_args!(
                                "cannot confirm the running firmware, which stays on trial: {}",
                                refused.text
                            ),
                        );
                        self.confirm_at = Some(now.saturating_add(CONFIRM_AGAIN));
                    }
                    // Somebody asked for what was under way already.
                    Err(_) => {}
                }
                self.answer(Asked::Confirm, result);
            }
            Reply::Unhealthy(result) => {
                match result {
                    Ok(()) => _ = self.session.unhealthy(),
                    Err(refused) => {
                        log::error!("cannot record that the firmware is unhealthy: {}", refused.text);
                    }
                }
                self.recorded(now)?;
            }
            Reply::BootGivenBack(result) => {
                // What is not recorded counts; the restart is wanted all the same.
                match result {
                    Ok(given) => log::info!("event=restart asked-by=host boot-given-back={given}"),
                    Err(refused) => log::error!("cannot give the boot back, which counts: {}", refused.text),
                }
                self.answer(Asked::Restart, Ok(()));
                self.recorded(now)?;
            }
            Reply::Booted(booted) => {
                if let Err(refused) = booted {
                    log::error!("cannot restart: {}", refused.text);
                    self.rest(now);
                }
                self.current = None;
                let view = self.session.store().clone();
                self.session.restarted(view);
                self.forget_start();
                self.bulk.forget_refusal();
                self.attach(now)?;
            }
        }
        Ok(())
    }

    /// Says when what is left of the budgets is to be written down: never while there is nothing that uptime could add.
    pub(super) fn plan_keeping(&mut self, now: Duration) {
        let planned = self.keep_budget_at.unwrap_or(now.saturating_add(KEEP_BUDGET));
        self.keep_budget_at = (!self.session.store().budget.is_full()).then_some(planned);
    }
}
