//! What clients do: submit, cancel, delete.

use super::{Effect, Rejection, Rules, Step, Submit, Write, end};
use crate::{
    names::Parent,
    record::{Cancel, Progress, Queued, Record, State},
    time::Time,
};

/// A new operation: queued, with its hint sent if it may start at once.
pub(super) fn accept(submit: Submit, now: Time, rules: &Rules) -> Step {
    let Submit { id, parent, job } = submit;
    let ready_time = job.schedule_time.unwrap_or(now).max(now);
    let deadline = job.queue_timeout.map(|timeout| ready_time + timeout);
    let record = Record {
        id,
        parent,
        job,
        create_time: now,
        update_time: now,
        attempt: 0,
        failures: 0,
        start_time: None,
        worker: String::new(),
        last_error: None,
        progress: Progress::default(),
        deleted: false,
        state: State::Queued(Queued { ready_time, hint: None, deadline }),
    };
    end::enqueue(record, ready_time, deadline, now, rules)
}

/// A submit under an id that is taken: by the same request, or by another one.
pub(super) fn repeat(record: Record, submit: &Submit) -> Result<Step, Rejection> {
    let same = record.parent == submit.parent && record.job.fingerprint == submit.job.fingerprint;
    if same && !record.deleted { Ok(Step::keep(record)) } else { Err(Rejection::AlreadyExists) }
}

pub(super) fn cancel(
    mut record: Record,
    parent: &Parent,
    now: Time,
    rules: &Rules,
) -> Result<Step, Rejection> {
    visible(&record, parent)?;
    match &mut record.state {
        State::Queued(_) => Ok(end::cancelled(record, None, now)),
        State::Running(running) => {
            let interrupt =
                Effect::Interrupt { worker: running.worker.clone(), attempt: record.attempt };
            if running.cancel.is_some() {
                return Ok(Step { record, write: Write::Keep, effects: vec![interrupt] });
            }
            running.cancel = Some(Cancel { time: now, deadline: now + rules.cancel_grace });
            record.update_time = now;
            Ok(Step::put(record, vec![interrupt, Effect::Announce]))
        }
        State::Done(_) => Ok(Step::keep(record)),
    }
}

pub(super) fn delete(mut record: Record, parent: &Parent, now: Time) -> Result<Step, Rejection> {
    visible(&record, parent)?;
    record.deleted = true;
    record.update_time = now;
    let write = match record.state {
        State::Queued(_) | State::Running(_) => Write::Put,
        State::Done(_) => Write::Remove,
    };
    Ok(Step { record, write, effects: vec![Effect::Announce] })
}

fn visible(record: &Record, parent: &Parent) -> Result<(), Rejection> {
    if record.deleted || !parent.means(&record.parent) { Err(Rejection::NotFound) } else { Ok(()) }
}
