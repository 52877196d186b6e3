//! Where attempts lead: back into the queue, or to the operation's end.

use std::time::Duration;

use longshore_proto::rpc::{self, Code};

use super::{Effect, Failure, Rules, Step, Verdict, Write};
use crate::{
    record::{Done, HintOut, Outcome, Queued, Record, State},
    time::Time,
};

/// Puts the operation into its queue, with a hint if it may start at once.
pub(super) fn enqueue(
    mut record: Record,
    ready_time: Time,
    deadline: Option<Time>,
    now: Time,
    rules: &Rules,
) -> Step {
    let mut effects = Vec::new();
    let mut hint = None;
    if ready_time <= now {
        hint = Some(sent(now, rules));
        effects.push(dispatch(&record, now));
    }
    record.state = State::Queued(Queued { ready_time, hint, deadline });
    Step::put(record, effects)
}

/// The hint that is sent now, and when to look after it.
pub(super) fn sent(now: Time, rules: &Rules) -> HintOut {
    HintOut { time: now, check_time: now + rules.hint_check }
}

pub(super) fn dispatch(record: &Record, now: Time) -> Effect {
    Effect::Dispatch {
        queue: record.job.job_type.clone(),
        priority: record.job.priority,
        time: now,
    }
}

/// How an attempt came to its end without a response.
pub(super) struct Ended {
    /// Why, and what to do about it.
    pub(super) failure: Failure,
    /// The attempt, if it reported the end itself.
    pub(super) by_attempt: Option<u32>,
    /// Whether somebody had asked for it to stop.
    pub(super) cancel_requested: bool,
    /// When its work has stopped for certain: no other attempt starts before.
    pub(super) stopped: Time,
}

/// What a failed attempt leads to: another one, or the operation's end.
pub(super) fn failed(mut record: Record, ended: Ended, now: Time, rules: &Rules) -> Step {
    let Ended { failure, by_attempt, cancel_requested, stopped } = ended;
    let error = well_formed(failure.error);
    let counts = match failure.verdict {
        Verdict::HandedBack => false,
        Verdict::ByPolicy | Verdict::Retryable | Verdict::Final => true,
    };
    if counts {
        record.failures = record.failures.saturating_add(1);
    }
    let again = match failure.verdict {
        Verdict::HandedBack => true,
        Verdict::ByPolicy => {
            record.job.retry.retryable_codes.contains(&error.code)
                && record.failures < record.job.retry.max_attempts
        }
        Verdict::Retryable => record.failures < record.job.retry.max_attempts,
        Verdict::Final => false,
    };

    // Only the attempt itself can say that it failed before it came to stop.
    let stopped_early = again || by_attempt.is_none() || error.code == Code::Cancelled as i32;
    if cancel_requested && stopped_early {
        return cancelled(record, by_attempt, now);
    }
    if !again {
        return finished(record, Outcome::Error(error), by_attempt, now);
    }
    let pause = match failure.verdict {
        Verdict::HandedBack => Duration::ZERO,
        Verdict::ByPolicy | Verdict::Retryable | Verdict::Final => {
            failure.delay.unwrap_or_else(|| record.job.retry.backoff(record.failures))
        }
    };
    requeued(record, error, (now + pause).max(stopped), now, rules)
}

/// Back into the queue after an attempt, to start at `ready_time` at the earliest.
pub(super) fn requeued(
    mut record: Record,
    error: rpc::Status,
    ready_time: Time,
    now: Time,
    rules: &Rules,
) -> Step {
    record.last_error = Some(error);
    record.update_time = now;
    let mut step = enqueue(record, ready_time, None, now, rules);
    step.effects.push(Effect::Announce);
    step
}

/// The end, because somebody asked for it.
pub(super) fn cancelled(record: Record, by_attempt: Option<u32>, now: Time) -> Step {
    let error = status(Code::Cancelled, "the operation was cancelled");
    finished(record, Outcome::Error(error), by_attempt, now)
}

/// The end. What was deleted before goes now.
pub(super) fn finished(
    mut record: Record,
    outcome: Outcome,
    by_attempt: Option<u32>,
    now: Time,
) -> Step {
    record.update_time = now;
    record.state =
        State::Done(Done { end_time: now, expire_time: now + record.job.ttl, by_attempt, outcome });
    let write = if record.deleted { Write::Remove } else { Write::Put };
    Step { record, write, effects: vec![Effect::Announce] }
}

pub(super) fn status(code: Code, message: impl Into<String>) -> rpc::Status {
    rpc::Status { code: code as i32, message: message.into(), details: Vec::new() }
}

/// An operation's error must not have the code OK, nor one that clients don't know.
fn well_formed(mut error: rpc::Status) -> rpc::Status {
    if error.code == Code::Ok as i32 || Code::try_from(error.code).is_err() {
        error.code = Code::Unknown as i32;
    }
    error
}
