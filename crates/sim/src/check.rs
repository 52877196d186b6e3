//! Which changes of a record are legal, said again in other words than the lifecycle's.

use longshore_core::{
    codec,
    lifecycle::Rules,
    record::{Done, Outcome, Queued, Record, Running, State},
    time::Time,
};
use longshore_proto::{internal::event, rpc::Code};

use crate::history::Operation;

type Legal = Result<(), String>;

/// Whether a record may change so; `now` is the store's time of the commit, or later.
pub(crate) fn change(
    known: &Operation,
    before: Option<&Record>,
    after: Option<&Record>,
    now: Time,
    rules: &Rules,
) -> Legal {
    match (before, after) {
        (None, None) => Err("nothing was removed".to_owned()),
        (None, Some(after)) => submitted(known, after),
        (Some(before), None) => removed(known, before, now),
        (Some(before), Some(after)) => {
            kept(known, before, after)?;
            moved(known, before, after, rules)
        }
    }
}

fn submitted(known: &Operation, after: &Record) -> Legal {
    must(known.submit_tried, "nobody submitted it")?;
    let fresh = after.attempt == 0 && after.failures == 0 && !after.deleted;
    must(fresh && matches!(after.state, State::Queued(_)), "it does not begin queued")?;
    must(after.next_wake() < Time::MAX, "it has no timer")
}

/// What never changes, or in one direction only.
fn kept(known: &Operation, before: &Record, after: &Record) -> Legal {
    let same = before.parent == after.parent
        && before.job == after.job
        && before.create_time == after.create_time;
    must(same, "what never changes has changed")?;
    must(!before.deleted || after.deleted, "it came back after it was deleted")?;
    let deleted = after.deleted && !before.deleted;
    must(!deleted || known.delete_tried, "nobody deleted it")?;
    must(after.next_wake() < Time::MAX, "it has no timer")
}

fn moved(known: &Operation, before: &Record, after: &Record, rules: &Rules) -> Legal {
    let now = after.update_time;
    match (&before.state, &after.state) {
        (State::Done(_), _) => Err("it changed after its end".to_owned()),
        (State::Queued(_), State::Queued(_)) => {
            must(before.attempt == after.attempt, "an attempt without a claim")
        }
        (State::Queued(queued), State::Running(running)) => {
            must(after.attempt == before.attempt + 1, "the attempts' numbers have a gap")?;
            must(now >= queued.ready_time, "an attempt before its time")?;
            must(running.cancel.is_none(), "cancelled before it began")?;
            must(running.lease_end == now + rules.lease, "a lease of another length")
        }
        (State::Queued(queued), State::Done(done)) => {
            must(before.attempt == after.attempt && done.by_attempt.is_none(), "who ended it?")?;
            match code(done) {
                Some(Code::Cancelled) => must(known.cancel_tried, "nobody cancelled it"),
                _ => must(timed_out(queued, now), "it ended in the queue before its time"),
            }
        }
        (State::Running(before_it), State::Running(after_it)) => {
            let same = before.attempt == after.attempt
                && before_it.worker == after_it.worker
                && before_it.claim == after_it.claim;
            must(same, "two attempts hold a lease at once")?;
            must(before_it.lease_end <= after_it.lease_end, "a lease became shorter")?;
            must(before.progress.sequence <= after.progress.sequence, "progress went back")?;
            match before_it.cancel {
                Some(cancel) => must(after_it.cancel == Some(cancel), "a cancel was forgotten"),
                None => must(
                    after_it.cancel.is_none() || known.cancel_tried,
                    "nobody cancelled the attempt",
                ),
            }
        }
        (State::Running(running), State::Queued(queued)) => {
            must(before.attempt == after.attempt, "an attempt without a claim")?;
            must(running.cancel.is_none(), "tried again although it was cancelled")?;
            let reported = failures(known, before, running).next().is_some();
            let waits = queued.ready_time >= running.lease_end && overdue(running, now);
            must(reported || waits, "an attempt was given up before its lease ended")
        }
        (State::Running(running), State::Done(done)) => {
            must(before.attempt == after.attempt, "an attempt without a claim")?;
            ended(known, before, running, done, now)
        }
    }
}

/// How a running attempt may end the operation.
fn ended(known: &Operation, before: &Record, running: &Running, done: &Done, now: Time) -> Legal {
    let Some(attempt) = done.by_attempt else {
        must(overdue(running, now), "it ended before anything was due")?;
        let cancelled = code(done) == Some(Code::Cancelled);
        return must(!cancelled || running.cancel.is_some(), "nobody cancelled it");
    };
    must(attempt == before.attempt, "another attempt ended it")?;
    let so = match &done.outcome {
        Outcome::Response(response) => reports(known, before, running).any(|event| match event {
            event::Event::Completed(told) => codec::payload_from_message(told.clone()) == *response,
            event::Event::Failed(_) | event::Event::Progress(_) => false,
        }),
        Outcome::Error(error) => failures(known, before, running).any(|told| {
            let cancelled = running.cancel.is_some() && error.code == Code::Cancelled as i32;
            cancelled || told == error.message
        }),
    };
    must(so, "an outcome that its attempt did not report")
}

fn removed(known: &Operation, before: &Record, now: Time) -> Legal {
    let legal = match &before.state {
        State::Done(done) => done.expire_time <= now || known.delete_tried,
        State::Queued(queued) => before.deleted && timed_out(queued, now),
        State::Running(running) => {
            let reported = reports(known, before, running).next().is_some();
            before.deleted && (reported || overdue(running, now))
        }
    };
    must(legal, "it was removed before its time")
}

fn reports<'a>(
    known: &'a Operation,
    before: &Record,
    running: &Running,
) -> impl Iterator<Item = &'a event::Event> {
    let named = (before.attempt, running.claim);
    let of_it =
        known.reported.iter().filter(move |(attempt, claim, _)| (*attempt, *claim) == named);
    of_it.map(|(_, _, event)| event)
}

/// The messages of the failures that an attempt reported.
fn failures<'a>(
    known: &'a Operation,
    before: &Record,
    running: &Running,
) -> impl Iterator<Item = &'a str> {
    reports(known, before, running).filter_map(|event| match event {
        event::Event::Failed(failure) => failure.error.as_ref().map(|error| &*error.message),
        event::Event::Completed(_) | event::Event::Progress(_) => None,
    })
}

fn timed_out(queued: &Queued, now: Time) -> bool {
    queued.deadline.is_some_and(|deadline| deadline <= now)
}

fn overdue(running: &Running, now: Time) -> bool {
    running.lease_end <= now
        || running.deadline.is_some_and(|deadline| deadline <= now)
        || running.cancel.is_some_and(|cancel| cancel.deadline <= now)
}

fn code(done: &Done) -> Option<Code> {
    match &done.outcome {
        Outcome::Response(_) => None,
        Outcome::Error(error) => Code::try_from(error.code).ok(),
    }
}

fn must(holds: bool, what: &str) -> Legal {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
