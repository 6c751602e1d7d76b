//! What a start finds: a session that was cut off, a firmware on trial, one that was given up.

use inband_store::medium::Medium;
use inband_store::{Ending, SlotState, Store, StoreError};

use crate::result::ResultCode;
use crate::state::{Event, SessionState};

/// Makes the last session of a store tell the truth after a start of the daemon or, behind [`Store::boot`], of the machine.
/// Doing it twice changes nothing more.
///
/// # Errors
/// Those of the medium.
pub fn recover<M: Medium>(store: &mut Store<M>) -> Result<(), StoreError> {
    interrupted(store)?;
    outcome(store)
}

/// The numbers that the store keeps of a state and a result.
pub(crate) const fn ending(state: SessionState, result: ResultCode) -> Ending {
    Ending { state: state.number(), result: result.code() }
}

/// The state that the last session is in, by the record.
fn last_state<M: Medium>(store: &Store<M>) -> SessionState {
    SessionState::from_number(store.record().session.state).unwrap_or_default()
}

/// A session that the record has at work is not any more.
fn interrupted<M: Medium>(store: &mut Store<M>) -> Result<(), StoreError> {
    let Ok(state) = last_state(store).on(Event::FoundAtStart) else { return Ok(()) };
    let mut session = store.record().session;
    session.state = state.number();
    session.result = ResultCode::Interrupted.code();
    store.log_session(session, None)
}

/// A staged firmware has been booted, or given up, since the record last told of it.
fn outcome<M: Medium>(store: &mut Store<M>) -> Result<(), StoreError> {
    let record = store.record();
    let (running, other) = (store.running(), store.running().other());
    let pending = |slot, state| record.slot(slot).pending != 0 && record.slot(slot).state == state;
    if pending(running, SlotState::Trial)
        && let Ok(state) = last_state(store).on(Event::StartedNew)
    {
        let session = store.session_of(running, ending(state, ResultCode::Ok));
        return store.log_session(session, None);
    }
    // One that said no in a boot has left something to read in its log; one that never came up has not.
    let unhealthy = record.slot(other).trial.unhealthy;
    let result = if unhealthy { ResultCode::Unhealthy } else { ResultCode::RolledBack };
    if pending(other, SlotState::Invalid)
        && let Ok(state) = last_state(store).on(Event::StartedOld(result))
    {
        let session = store.session_of(other, ending(state, result));
        return store.log_session(session, Some(other));
    }
    Ok(())
}
