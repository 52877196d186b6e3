//! What workers do: claim, renew, report, end. The attempt's number fences all who came before.

use std::collections::BTreeSet;

use super::{Effect, Failure, Rejection, Rules, Step, end};
use crate::{
    names::{JobType, WorkerInstance},
    record::{Outcome, Payload, Progress, Record, Running, State},
    time::Time,
};

pub(super) fn claim(
    mut record: Record,
    (worker, claim): (WorkerInstance, u64),
    (queue, paused): (Option<&JobType>, &BTreeSet<JobType>),
    now: Time,
    rules: &Rules,
) -> Result<Step, Rejection> {
    match &record.state {
        State::Queued(queued) => {
            if now < queued.ready_time || queued.deadline.is_some_and(|deadline| deadline <= now) {
                return Err(Rejection::NotNow);
            }
            // The hint is of the queue that it waited in before.
            if queue.is_some_and(|queue| *queue != record.job.job_type) {
                return Err(Rejection::NotInQueue);
            }
            if paused.contains(&record.job.job_type) {
                return Err(Rejection::Paused);
            }
        }
        State::Running(running) => {
            let repeated = running.worker == worker && running.claim == claim;
            return if repeated { Ok(Step::keep(record)) } else { Err(Rejection::Claimed) };
        }
        State::Done(_) => return Err(Rejection::Done),
    }
    record.attempt = record.attempt.saturating_add(1);
    record.start_time = Some(now);
    record.update_time = now;
    worker.name().clone_into(&mut record.worker);
    record.progress = Progress::default();
    record.state = State::Running(Running {
        worker,
        claim,
        lease_end: now + rules.lease,
        deadline: record.job.run_timeout.map(|timeout| now + timeout + rules.cancel_grace),
        cancel: None,
    });
    Ok(Step::put(record, vec![Effect::Announce]))
}

/// Not announced: nobody but the timer cares.
pub(super) fn renew(
    mut record: Record,
    worker: &WorkerInstance,
    attempt: u32,
    now: Time,
    rules: &Rules,
) -> Result<Step, Rejection> {
    match &mut record.state {
        State::Running(running) if record.attempt == attempt && running.worker == *worker => {
            let lease_end = now + rules.lease;
            if lease_end <= running.lease_end {
                return Ok(Step::keep(record));
            }
            running.lease_end = lease_end;
            Ok(Step::put(record, Vec::new()))
        }
        State::Queued(_) | State::Running(_) => Err(Rejection::Stale),
        State::Done(_) => Err(Rejection::Done),
    }
}

/// An attempt as who runs it names it: its number, and the claim that began it.
type Named = (u32, u64);

fn runs(record: &Record, running: &Running, attempt: Named) -> bool {
    (record.attempt, running.claim) == attempt
}

pub(super) fn progress(
    mut record: Record,
    attempt: Named,
    progress: Progress,
    now: Time,
) -> Result<Step, Rejection> {
    match &record.state {
        State::Running(running) if runs(&record, running, attempt) => {}
        State::Queued(_) | State::Running(_) | State::Done(_) => return Err(Rejection::Stale),
    }
    if progress.sequence <= record.progress.sequence {
        return Ok(Step::keep(record));
    }
    record.progress = progress;
    record.update_time = now;
    Ok(Step::put(record, vec![Effect::Announce]))
}

/// Counts even if somebody asked for it to stop: the work was done.
pub(super) fn complete(
    record: Record,
    attempt: Named,
    response: Payload,
    now: Time,
) -> Result<Step, Rejection> {
    match &record.state {
        State::Running(running) if runs(&record, running, attempt) => {
            Ok(end::finished(record, Outcome::Response(response), Some(attempt.0), now))
        }
        State::Done(done) if done.by_attempt == Some(attempt.0) => Ok(Step::keep(record)),
        State::Queued(_) | State::Running(_) | State::Done(_) => Err(Rejection::Stale),
    }
}

pub(super) fn fail(
    record: Record,
    attempt: Named,
    failure: Failure,
    now: Time,
    rules: &Rules,
) -> Result<Step, Rejection> {
    match &record.state {
        State::Running(running) if runs(&record, running, attempt) => {
            // The worker says itself that its work has stopped, so the next attempt need not wait
            // for the lease to end.
            let ended = end::Ended {
                failure,
                by_attempt: Some(attempt.0),
                cancel_requested: running.cancel.is_some(),
                stopped: now,
            };
            Ok(end::failed(record, ended, now, rules))
        }
        State::Queued(_) if record.attempt == attempt.0 => Ok(Step::keep(record)),
        State::Done(done) if done.by_attempt == Some(attempt.0) => Ok(Step::keep(record)),
        State::Queued(_) | State::Running(_) | State::Done(_) => Err(Rejection::Stale),
    }
}
