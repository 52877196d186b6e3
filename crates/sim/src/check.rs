//! Which changes of a record are legal, said again in other words than the lifecycle's.

mod ends;
mod job;
mod lists;

use std::time::Duration;

use longshore_core::{
    lifecycle::Rules,
    record::{Cancel, Done, Outcome, Progress, Queued, Record, Running, State},
    time::Time,
};
use longshore_proto::{internal::event, rpc::Code};

pub(crate) use self::{
    job::ordered,
    lists::{changed as lists, is_in},
};
use crate::{history::Operation, world::BEGINNING};

/// By how much jumps may have put the store's clock back, at most.
const JUMPS: Duration = Duration::from_secs(3600);

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
        (None, Some(after)) => submitted(after, now, rules),
        (Some(before), None) => removed(known, before, now),
        (Some(before), Some(after)) => {
            kept(known, before, after, now)?;
            moved(known, before, after, now, rules)
        }
    }
}

fn submitted(after: &Record, now: Time, rules: &Rules) -> Legal {
    let fresh = after.attempt == 0
        && after.failures == 0
        && !after.deleted
        && after.progress == Progress::default()
        && after.last_error.is_none()
        && after.start_time.is_none();
    let State::Queued(queued) = &after.state else {
        return Err("it does not begin queued".to_owned());
    };
    must(fresh, "it does not begin fresh")?;
    let created = after.create_time;
    let by_the_clock = Time::from_micros(BEGINNING) <= created + JUMPS && created <= now;
    must(by_the_clock && after.update_time == created, "created at another time")?;
    let ready = after.job.schedule_time.map_or(created, |time| time.max(created));
    must(queued.ready_time == ready, "it is not ready at its time")?;
    let deadline = after.job.queue_timeout.map(|timeout| ready + timeout);
    must(queued.deadline == deadline, "another queue_timeout")?;
    hinted(queued, created, rules)?;
    timed(after)
}

/// A hint goes out with the change that makes it ready, and not before.
fn hinted(queued: &Queued, now: Time, rules: &Rules) -> Legal {
    match queued.hint {
        Some(hint) => {
            must(queued.ready_time <= now && hint.time == now, "a hint at another time")?;
            must(hint.check_time == now + rules.hint_check, "a hint is looked after too late")
        }
        None => must(queued.ready_time > now, "it is ready, but no hint goes out"),
    }
}

fn timed(after: &Record) -> Legal {
    must(after.next_wake() < Time::MAX, "it has no timer")
}

/// What never changes, or in one direction only.
fn kept(known: &Operation, before: &Record, after: &Record, now: Time) -> Legal {
    let same = before.parent == after.parent
        && before.job == after.job
        && before.create_time == after.create_time;
    must(same, "what never changes has changed")?;
    let in_order = before.update_time <= after.update_time && after.update_time <= now;
    must(in_order, "changed at another time than now")?;
    must(!before.deleted || after.deleted, "it came back after it was deleted")?;
    let deleted = after.deleted && !before.deleted;
    must(!deleted || known.delete_tried, "nobody deleted it")?;
    must(!deleted || before.state == after.state, "deleting it did more than that")?;
    must(!(after.deleted && after.is_done()), "it has ended and was deleted, but stays")?;
    timed(after)
}

fn moved(known: &Operation, before: &Record, after: &Record, latest: Time, rules: &Rules) -> Legal {
    let now = after.update_time;
    match (&before.state, &after.state) {
        (State::Done(_), _) => Err("it changed after its end".to_owned()),
        (State::Queued(was), State::Queued(is)) => {
            must(before.attempt == after.attempt, "an attempt without a claim")?;
            waited(was, is, latest, rules)
        }
        (State::Queued(queued), State::Running(running)) => {
            claimed(before, queued, after, running, rules)
        }
        (State::Queued(queued), State::Done(done)) => {
            must(before.attempt == after.attempt && done.by_attempt.is_none(), "who ended it?")?;
            ends::kept_for(after, done)?;
            match code(done) {
                Some(Code::Cancelled) => must(known.cancel_tried, "nobody cancelled it"),
                Some(Code::DeadlineExceeded) => {
                    must(timed_out(queued, now), "it ended in the queue before its time")
                }
                _ => Err("it ended in the queue for no reason".to_owned()),
            }
        }
        (State::Running(was), State::Running(is)) => {
            ran(known, (before, was), (after, is), latest, rules)
        }
        (State::Running(running), State::Queued(queued)) => {
            must(before.attempt == after.attempt, "an attempt without a claim")?;
            ends::tried_again(known, (before, running), (after, queued), rules)
        }
        (State::Running(running), State::Done(done)) => {
            must(before.attempt == after.attempt, "an attempt without a claim")?;
            ends::kept_for(after, done)?;
            ends::ended(known, (before, running), (after, done))
        }
    }
}

/// It goes on waiting: with another hint, or with another time to look after the one that is out.
fn waited(was: &Queued, is: &Queued, latest: Time, rules: &Rules) -> Legal {
    let same = was.ready_time == is.ready_time && was.deadline == is.deadline;
    must(same, "its place in time has changed")?;
    match (was.hint, is.hint) {
        (None, None) => Ok(()),
        (Some(_), None) => Err("its hint was forgotten".to_owned()),
        (None, Some(hint)) => hinted(is, hint.time, rules),
        (Some(was), Some(is)) if was.time == is.time => {
            let waited = latest.since(is.time).max(rules.hint_check);
            let at_most = latest + waited.min(Rules::HINT_CHECK_MAX.max(rules.hint_check));
            must(is.check_time <= at_most, "a hint is looked after too late")
        }
        (Some(was), Some(hint)) => {
            let arrived = hint.time.since(was.time) >= Rules::HINT_TRAVEL;
            must(arrived, "a hint is sent again while the one before is on its way")?;
            hinted(is, hint.time, rules)
        }
    }
}

fn claimed(
    before: &Record,
    queued: &Queued,
    after: &Record,
    running: &Running,
    rules: &Rules,
) -> Legal {
    let now = after.update_time;
    must(after.attempt == before.attempt + 1, "the attempts' numbers have a gap")?;
    must(now >= queued.ready_time, "an attempt before its time")?;
    must(!timed_out(queued, now), "an attempt after its queue_timeout")?;
    must(running.cancel.is_none(), "cancelled before it began")?;
    must(running.lease_end == now + rules.lease, "a lease of another length")?;
    let deadline = after.job.run_timeout.map(|timeout| now + timeout + rules.cancel_grace);
    must(running.deadline == deadline, "another run_timeout")?;
    let fresh = after.start_time == Some(now)
        && after.progress == Progress::default()
        && after.worker == running.worker.name()
        && after.failures == before.failures
        && after.last_error == before.last_error;
    must(fresh, "an attempt does not begin as it should")
}

/// It goes on running: renewed, reported on, or cancelled.
fn ran(
    known: &Operation,
    (before, was): (&Record, &Running),
    (after, is): (&Record, &Running),
    latest: Time,
    rules: &Rules,
) -> Legal {
    let now = after.update_time;
    let same = before.attempt == after.attempt
        && was.worker == is.worker
        && was.claim == is.claim
        && was.deadline == is.deadline
        && before.failures == after.failures
        && before.start_time == after.start_time;
    must(same, "two attempts hold a lease at once")?;
    must(was.lease_end <= is.lease_end, "a lease became shorter")?;
    let renewed = is.lease_end > was.lease_end;
    must(!renewed || is.lease_end <= latest + rules.lease, "a lease became too long")?;
    if before.progress != after.progress {
        let grew = before.progress.sequence < after.progress.sequence;
        must(grew && now > before.update_time, "progress went back")?;
        let told = reports(known, before, was).any(|event| match event {
            event::Event::Progress(told) => {
                told.sequence == after.progress.sequence
                    && told.completed_units == after.progress.completed_units
            }
            event::Event::Completed(_) | event::Event::Failed(_) => false,
        });
        must(told, "progress that its attempt did not report")?;
    }
    match (was.cancel, is.cancel) {
        (Some(cancel), kept) => must(kept == Some(cancel), "a cancel was forgotten"),
        (None, None) => Ok(()),
        (None, Some(cancel)) => {
            must(known.cancel_tried, "nobody cancelled the attempt")?;
            let due = Cancel { time: now, deadline: now + rules.cancel_grace };
            must(cancel == due, "a cancel with another grace")
        }
    }
}

fn removed(known: &Operation, before: &Record, now: Time) -> Legal {
    let legal = match &before.state {
        State::Done(done) => done.expire_time <= now || known.delete_tried,
        State::Queued(queued) => before.deleted && timed_out(queued, now),
        State::Running(running) => {
            let reported = reports(known, before, running)
                .any(|event| !matches!(event, event::Event::Progress(_)));
            before.deleted && (reported || overdue(running, now))
        }
    };
    must(legal, "it was removed before its time")
}

/// What the attempt that runs has reported.
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
