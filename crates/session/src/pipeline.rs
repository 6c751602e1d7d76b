//! The way of a package's bytes into the store: what the daemon's worker thread owns.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use inband_package::{Checked, Digest, Expected, Head, Index, Policy, Running, Sink, Verifier};
use inband_store::medium::Medium;
use inband_store::{Identity, ReadBack, Slot, Store, StoreError};

use crate::budget::{Budget, Rates, seconds};
use crate::door::Door;
use crate::result::ResultCode;
use crate::session::StoreView;
use crate::start::{self, ending};
use crate::state::SessionState;

mod needed;
pub(crate) mod source;
#[cfg(test)]
mod tests;

pub use source::Unindexed;
use source::{Chosen, Fault, Offer, Source, Stream};

/// What the pipeline has done with the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Session id.
    pub session: u32,
    /// Bytes taken, a DFU suffix included.
    pub received: u64,
    /// Length of the package as its head says it, verified or not; `None` while unknown.
    pub announced: Option<u64>,
    /// What names the package, as soon as it is authentic and accepted.
    pub accepted: Option<Identity>,
    /// The last byte is in and every check so far passed: [`Pipeline::finish`] is due.
    pub complete: bool,
    /// The file may end here: it is complete, with nothing behind its end or with all of what may stand there.
    pub whole: bool,
}

/// What is to come of a package that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Lengths of all its chunks as they are sent, in bytes, in the order of their numbers: from 0, across all members of the index.
    pub lengths: Vec<u32>,
    /// Numbers of those that are to be sent, in rising order.
    pub missing: Vec<u32>,
}

/// What is left of a package that was offered, once what was asked for has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Not all was looked at: ask again.
    NotYet,
    /// Chunks that were said to be there, and are not: to be sent as well.
    Missing(Vec<u32>),
    /// All is there.
    Complete(Progress),
}

/// Package reader and store in one: bytes go in, a staged slot comes out, or a result. The calls block while the store works.
///
/// A session goes [`begin`](Self::begin), any number of [`push`](Self::push), [`finish`](Self::finish);
/// [`abort`](Self::abort) ends it at any point before. One of which only what is missing comes goes [`begin_offer`](Self::begin_offer), any
/// number of `push` with what stands before the package's first member, [`offered`](Self::offered), then chunks by their numbers
/// ([`look`](Self::look) until it is done, [`chunk`](Self::chunk)), [`settle`](Self::settle) until all is there, `finish`. After an error the session is over, and the record says so
/// as far as it could be written; [`last_error`](Self::last_error) has the details for the log.
#[derive(Debug)]
pub struct Pipeline<M, V> {
    store: Store<M>,
    verifier: V,
    policy: Policy,
    unindexed: Option<Unindexed>,
    budget: Budget,
    work: Work<V>,
    last_error: Option<String>,
}

#[derive(Debug)]
enum Work<V> {
    /// There is no session.
    Idle,
    /// A session takes bytes.
    Reading(Box<Intake<V>>),
    /// The session's package is staged; what follows it can be a DFU suffix only.
    Staged(Box<Intake<V>>),
}

/// The way of one session's bytes.
#[derive(Debug)]
struct Intake<V> {
    session: u32,
    source: Source<V>,
    accepted: Option<Identity>,
    complete: bool,
}

impl<V: Verifier> Intake<V> {
    fn push<M: Medium>(
        &mut self,
        bytes: &[u8],
        store: &mut Store<M>,
        budget: &mut Budget,
        unindexed: Option<&Unindexed>,
    ) -> Result<Progress, Fault> {
        let mut target = Target { store, budget, accepted: &mut self.accepted };
        self.complete = self.source.push(bytes, &mut target, unindexed)?;
        Ok(self.progress())
    }

    fn offered<M: Medium>(&mut self, store: &mut Store<M>, budget: &mut Budget) -> Result<Offered, Fault> {
        let mut target = Target { store, budget, accepted: &mut self.accepted };
        let needed = self.source.offered(&mut target)?;
        Ok(Offered { lengths: needed.lengths(), missing: needed.missing() })
    }

    fn chunk<M: Medium>(
        &mut self,
        number: u32,
        bytes: &[u8],
        store: &mut Store<M>,
        budget: &mut Budget,
    ) -> Result<Progress, Fault> {
        let mut target = Target { store, budget, accepted: &mut self.accepted };
        self.source.needed()?.push(number, bytes, &mut target)?;
        Ok(self.progress())
    }

    fn look<M: Medium>(&mut self, store: &mut Store<M>) -> Result<bool, Fault> {
        Ok(self.source.needed()?.look(store)?)
    }

    fn settle<M: Medium>(&mut self, store: &mut Store<M>) -> Result<Settled, Fault> {
        let needed = self.source.needed()?;
        if !needed.settle(store)? {
            return Ok(Settled::NotYet);
        }
        let missing = needed.missing();
        if !missing.is_empty() {
            return Ok(Settled::Missing(missing));
        }
        if !needed.is_whole() {
            return Ok(Settled::NotYet);
        }
        self.complete = true;
        Ok(Settled::Complete(self.progress()))
    }

    fn verify<M: Medium>(
        &mut self,
        store: &mut Store<M>,
        budget: &mut Budget,
        unindexed: Option<&Unindexed>,
    ) -> Result<Progress, Fault> {
        if self.accepted.is_none() {
            self.source.verify(&mut Target { store, budget, accepted: &mut self.accepted }, unindexed)?;
        }
        Ok(self.progress())
    }

    fn finish<M: Medium>(
        &mut self,
        store: &mut Store<M>,
        budget: &mut Budget,
        unindexed: Option<&Unindexed>,
        tell: &mut dyn FnMut(ReadBack),
    ) -> Result<(), Fault> {
        self.verify(store, budget, unindexed)?;
        self.source.finish(&mut Target { store, budget, accepted: &mut self.accepted })?;
        Ok(store.finish_telling(ending(SessionState::Staged, ResultCode::Ok), tell)?)
    }

    fn progress(&self) -> Progress {
        Progress {
            session: self.session,
            received: self.source.received(),
            announced: self.source.announced(),
            accepted: self.accepted,
            complete: self.complete,
            whole: self.source.is_whole(),
        }
    }
}

impl<M: Medium, V: Verifier + Clone> Pipeline<M, V> {
    /// A pipeline into this store, for packages that suit this policy; its security floor and what runs are those of the
    /// store at each session, whatever they are here. The store should have been through [`start::recover`]. Time begins
    /// now, at zero, with what the journal has left of the budgets.
    #[must_use]
    pub fn new(store: Store<M>, verifier: V, policy: Policy, rates: Rates) -> Self {
        let budget = Budget::new(rates, store.levels(), Duration::ZERO);
        Self { store, verifier, policy, unindexed: None, budget, work: Work::Idle, last_error: None }
    }

    /// The same, and firmware tars without a head are taken as well, as long as no security version stands against it.
    #[must_use]
    pub fn with_unindexed(self, unindexed: Unindexed) -> Self {
        Self { unindexed: Some(unindexed), ..self }
    }

    /// Begins the session of this id at this door. It takes from the budget of sessions; its package will take from that
    /// of rewrites when it is accepted, before the slot is written. What is expected of the package is of this session alone.
    ///
    /// # Errors
    /// [`ResultCode::OnTrial`]; [`ResultCode::Worn`]; [`ResultCode::StoreFailed`] or [`ResultCode::NoSpace`] if the record or the
    /// journal cannot be written; [`ResultCode::Internal`] while another session is open. No session has begun then.
    pub fn begin(
        &mut self,
        id: u32,
        door: Door,
        now: Duration,
        expected: Expected,
    ) -> Result<(), ResultCode> {
        let choose = self.unindexed.is_some();
        self.begin_with(id, door, now, expected, if choose { Chosen::not_yet() } else { Chosen::Package })
    }

    /// As [`begin`](Self::begin), for a session of which only what is missing comes. A firmware tar without a head is refused.
    ///
    /// # Errors
    /// Those of `begin`.
    pub fn begin_offer(
        &mut self,
        id: u32,
        door: Door,
        now: Duration,
        expected: Expected,
    ) -> Result<(), ResultCode> {
        self.begin_with(id, door, now, expected, Chosen::Offer(Offer::default()))
    }

    fn begin_with(
        &mut self,
        id: u32,
        door: Door,
        now: Duration,
        expected: Expected,
        format: Chosen,
    ) -> Result<(), ResultCode> {
        self.last_error = None;
        self.budget = self.budget.after(now);
        let wait = self.budget.wait();
        if !wait.is_zero() {
            self.last_error =
                Some(alloc::format!("{}; again in {} s", ResultCode::Worn.meaning(), seconds(wait)));
            return Err(ResultCode::Worn);
        }
        let after = self.budget.less_session();
        let begun = self.store.begin(id, door.number(), SessionState::Receiving.number(), after.levels());
        // A store that failed may have it in the journal already, and whoever makes it fail gains nothing by it.
        if !matches!(begun, Err(StoreError::OnTrial | StoreError::Order(_))) {
            self.budget = after;
        }
        begun.map_err(|error| self.note(&error))?;
        let record = self.store.record();
        let firmware = record.slot(self.store.running());
        let policy = Policy {
            security_floor: record.floor,
            running: Some(Running {
                version: firmware.version.to_string(),
                security_version: firmware.security_version,
                bcd_device: firmware.bcd_device,
            }),
            expected,
            ..self.policy.clone()
        };
        let source = Source::Stream(Stream::new(self.verifier.clone(), policy, format));
        self.work = Work::Reading(Box::new(Intake { session: id, source, accepted: None, complete: false }));
        Ok(())
    }

    /// Takes the next bytes of the package. Behind a package that is complete or staged only a DFU suffix is taken, and the
    /// zeros with which tar fills its record.
    ///
    /// # Errors
    /// Why the package was refused or the store failed; the session is over, except where the package is staged already:
    /// there it stays staged.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, ResultCode> {
        let result = match &mut self.work {
            Work::Idle => return Err(self.out_of_order("bytes without a session")),
            Work::Reading(intake) | Work::Staged(intake) => {
                intake.push(bytes, &mut self.store, &mut self.budget, self.unindexed.as_ref())
            }
        };
        result.map_err(|error| self.fail(&error))
    }

    /// All that stands before the package's first member has been pushed, and nothing else: the package is accepted, the slot made ready, which
    /// nothing has touched before, and this says what is to come.
    ///
    /// # Errors
    /// [`ResultCode::Truncated`] if it is less than that (more is [`ResultCode::Protocol`] with [`push`](Self::push)); those of the store. The
    /// session is over.
    pub fn offered(&mut self) -> Result<Offered, ResultCode> {
        let result = match &mut self.work {
            Work::Idle | Work::Staged(_) => return Err(self.out_of_order("nothing is offered")),
            Work::Reading(intake) => intake.offered(&mut self.store, &mut self.budget),
        };
        result.map_err(|error| self.fail(&error))
    }

    /// Looks at one chunk that is said to be there already, of those before the next one that is to come; reads, hashes and perhaps
    /// writes no more than that. Returns whether none of them is left: then it is [`chunk`](Self::chunk)'s turn, or that of
    /// [`settle`](Self::settle). Chunks are worked on in the order of the index, so that the journal's marks mean what they do for a file.
    ///
    /// # Errors
    /// Those of the store; the session is over.
    pub fn look(&mut self) -> Result<bool, ResultCode> {
        let result = match &mut self.work {
            Work::Idle | Work::Staged(_) => return Err(self.out_of_order("nothing to look at")),
            Work::Reading(intake) => intake.look(&mut self.store),
        };
        result.map_err(|error| self.fail(&error))
    }

    /// Takes the next bytes of a chunk that is missing, as it is sent; each chunk from its beginning to its end. What is said to be there
    /// before it is looked at first: as long as [`look`](Self::look) says that something is left, this may take as long as reading the slot.
    ///
    /// # Errors
    /// [`ResultCode::BadChunk`]; [`ResultCode::Internal`] for a chunk that is not missing; those of the store. The session is over.
    pub fn chunk(&mut self, number: u32, bytes: &[u8]) -> Result<Progress, ResultCode> {
        let result = match &mut self.work {
            Work::Idle | Work::Staged(_) => return Err(self.out_of_order("a chunk without a session")),
            Work::Reading(intake) => intake.chunk(number, bytes, &mut self.store, &mut self.budget),
        };
        result.map_err(|error| self.fail(&error))
    }

    /// Looks at what is said to be there already, one chunk more in each call, and says what is still to come. Due when all that was asked
    /// for has come, and at once if that is nothing.
    ///
    /// # Errors
    /// Those of the store; the session is over.
    pub fn settle(&mut self) -> Result<Settled, ResultCode> {
        let result = match &mut self.work {
            Work::Idle | Work::Staged(_) => return Err(self.out_of_order("nothing to settle")),
            Work::Reading(intake) => intake.settle(&mut self.store),
        };
        result.map_err(|error| self.fail(&error))
    }

    /// Checks what could not be checked before the package was complete: all of a tar without a head. From here on the store
    /// says that the slot is being written, which may take long: whoever shows the store should do so anew before
    /// [`finish`](Self::finish), which does this too if it was not done.
    ///
    /// # Errors
    /// Why the package was refused or the store failed; the session is over.
    pub fn verify(&mut self) -> Result<Progress, ResultCode> {
        let result = match &mut self.work {
            Work::Idle => return Err(self.out_of_order("nothing to verify")),
            Work::Staged(intake) => Ok(intake.progress()),
            Work::Reading(intake) => {
                intake.verify(&mut self.store, &mut self.budget, self.unindexed.as_ref())
            }
        };
        result.map_err(|error| self.fail(&error))
    }

    /// Reads the slot back and stages it, if the package is complete. Takes as long as reading the slot; for a tar without a
    /// head, as long as writing all of it besides.
    ///
    /// # Errors
    /// [`ResultCode::Truncated`] if the package is not complete; [`ResultCode::ReadbackMismatch`] and others of the
    /// store. The session is over.
    pub fn finish(&mut self) -> Result<(), ResultCode> {
        self.finish_telling(&mut |_| ())
    }

    /// The same, telling how far the reading back has come: in percent, each of them once.
    ///
    /// # Errors
    /// As there.
    pub fn finish_telling(&mut self, tell: &mut dyn FnMut(u8)) -> Result<(), ResultCode> {
        let mut told = None;
        let mut tell = |at: ReadBack| {
            if told.replace(at.percent()) != Some(at.percent()) {
                tell(at.percent());
            }
        };
        let result = match &mut self.work {
            Work::Idle => return Err(self.out_of_order("nothing to finish")),
            Work::Staged(_) => return Ok(()),
            Work::Reading(intake) => {
                intake.finish(&mut self.store, &mut self.budget, self.unindexed.as_ref(), &mut tell)
            }
        };
        result.map_err(|error| self.fail(&error))?;
        self.work = match core::mem::replace(&mut self.work, Work::Idle) {
            Work::Reading(intake) | Work::Staged(intake) => Work::Staged(intake),
            Work::Idle => Work::Idle,
        };
        Ok(())
    }

    /// What was done with the bytes of the session that is open or staged.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        match &self.work {
            Work::Idle => None,
            Work::Reading(intake) | Work::Staged(intake) => Some(intake.progress()),
        }
    }

    /// Ends the session, if there is one that takes bytes, with this result.
    pub fn abort(&mut self, result: ResultCode) {
        self.end(result);
    }

    /// Writes down what uptime has brought to the budgets, so that a restart does not lose it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn keep_budget(&mut self, now: Duration) -> Result<(), ResultCode> {
        self.last_error = None;
        self.budget = self.budget.after(now);
        self.store.save_levels(self.budget.levels()).map_err(|error| self.note(&error))
    }

    /// Lets one session begin whatever the budgets have left: somebody on the BMC wants it, and is never kept out by what a
    /// host has used up. Without need nothing is written.
    ///
    /// # Errors
    /// Those of the store; the session may begin all the same until the daemon ends.
    pub fn grant_one(&mut self, now: Duration) -> Result<(), ResultCode> {
        self.last_error = None;
        self.budget = self.budget.after(now);
        if self.budget.wait().is_zero() {
            return Ok(());
        }
        self.budget = self.budget.at_least_one();
        self.store.save_levels(self.budget.levels()).map_err(|error| self.note(&error))
    }

    /// Confirms the running firmware.
    ///
    /// # Errors
    /// [`ResultCode::Internal`] if it is not on trial; those of the store.
    pub fn confirm(&mut self) -> Result<(), ResultCode> {
        self.last_error = None;
        self.store.confirm(ending(SessionState::Done, ResultCode::Ok)).map_err(|error| self.note(&error))
    }

    /// The running firmware was found unhealthy.
    ///
    /// # Errors
    /// [`ResultCode::Internal`] if it is not on trial; those of the store.
    pub fn unhealthy(&mut self) -> Result<(), ResultCode> {
        self.last_error = None;
        let pending = ending(SessionState::PendingConfirm, ResultCode::Unhealthy);
        self.store.unhealthy(pending).map_err(|error| self.note(&error))
    }

    /// The host asked for the restart that is about to come; returns whether the boot under way is given back.
    ///
    /// # Errors
    /// Those of the store: the boot then counts.
    pub fn give_boot_back(&mut self) -> Result<bool, ResultCode> {
        self.last_error = None;
        self.store.give_boot_back().map_err(|error| self.note(&error))
    }

    /// Starts the machine: what the boot loader does, then what the daemon does at its start.
    ///
    /// # Errors
    /// [`ResultCode::StoreFailed`] if nothing can be booted; those of the store.
    pub fn boot(&mut self) -> Result<Slot, ResultCode> {
        self.last_error = None;
        self.work = Work::Idle;
        let booted = self.store.boot().and_then(|slot| start::recover(&mut self.store).map(|()| slot));
        booted.map_err(|error| self.note(&error))
    }

    /// The store as it is now, for [`Session::update`](crate::Session::update).
    #[must_use]
    pub fn view(&self) -> StoreView {
        StoreView::of(&self.store, self.budget)
    }

    /// The store, to read from.
    #[must_use]
    pub const fn store(&self) -> &Store<M> {
        &self.store
    }

    /// Gives the store back.
    #[must_use]
    pub fn into_store(self) -> Store<M> {
        self.store
    }

    /// What a person can read about the last error; `None` if nothing failed since the session, or what else was asked
    /// for, began.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Ends a session that takes bytes. A staged one stays.
    fn end(&mut self, result: ResultCode) {
        let accepted = match core::mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => return,
            staged @ Work::Staged(_) => {
                self.work = staged;
                return;
            }
            Work::Reading(intake) => intake.accepted,
        };
        let state = match result {
            ResultCode::Aborted => SessionState::Aborted,
            _ => SessionState::Failed,
        };
        // The session's own result counts; that the record does not have it is for the log.
        if let Err(error) = self.store.abandon(ending(state, result), accepted.as_ref()) {
            let first = self.last_error.take().unwrap_or_else(|| result.meaning().to_string());
            self.last_error = Some(alloc::format!("{first}; and the end could not be recorded: {error}"));
        }
    }

    /// Ends the session with an error, and returns its result.
    fn fail<E: ToString>(&mut self, error: &E) -> ResultCode
    where
        for<'a> ResultCode: From<&'a E>,
    {
        let result = self.note(error);
        self.end(result);
        result
    }

    /// Somebody called what it was not the time for.
    fn out_of_order(&mut self, what: &str) -> ResultCode {
        self.last_error = Some(what.to_string());
        ResultCode::Internal
    }

    /// Keeps the text of an error and returns its result.
    fn note<E: ToString>(&mut self, error: &E) -> ResultCode
    where
        for<'a> ResultCode: From<&'a E>,
    {
        self.last_error = Some(error.to_string());
        ResultCode::from(error)
    }
}

/// Passes on to the store what the reader has checked.
struct Target<'a, M> {
    store: &'a mut Store<M>,
    budget: &'a mut Budget,
    accepted: &'a mut Option<Identity>,
}

impl<M: Medium> Target<'_, M> {
    /// What this index describes is authentic: the slot is made ready for it.
    fn accept(&mut self, index: &Arc<Index>, index_bytes: &[u8], digest: &Digest) -> Result<(), StoreError> {
        // Known from here on, whether the store takes it or not.
        *self.accepted = Some(Identity::new(index, digest));
        // There is one: the session could not have begun without, and there is no other session.
        let after = self.budget.less_rewrite();
        self.store.prepare(index, index_bytes, digest, after.levels())?;
        *self.budget = after;
        Ok(())
    }
}

impl<M: Medium> Sink for Target<'_, M> {
    type Error = StoreError;

    fn begin(
        &mut self,
        _head: &Head,
        head_digest: &Digest,
        index: &Arc<Index>,
        index_bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.accept(index, index_bytes, head_digest)
    }

    fn chunk(&mut self, chunk: &Checked<'_>) -> Result<(), StoreError> {
        self.store.write_chunk(chunk)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        // The verdict is `Pipeline::finish`'s, once the door has given the bytes up.
        Ok(())
    }
}
