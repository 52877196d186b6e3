//! How attempts end, and what has to follow.

use std::time::Duration;

use longshore_core::{
    codec,
    lifecycle::{Failure, Rules, Verdict},
    record::{Done, Outcome, Queued, Record, Running},
    time::Time,
};
use longshore_proto::{internal::event, rpc::Code};

use super::{Legal, code, hinted, must, reports};
use crate::history::Operation;

/// What ended an attempt without a response.
struct Cause {
    code: i32,
    /// What it said; nothing if nobody but the timer said something.
    reported: Option<Failure>,
    /// Whether it counts as a failure.
    counts: bool,
    /// Whether the job would try again after it, were it not cancelled.
    again: bool,
    /// The earliest that the next attempt may begin.
    ready: Time,
}

/// The record stays for as long as was asked for.
pub(super) fn kept_for(after: &Record, done: &Done) -> Legal {
    let now = after.update_time;
    must(done.end_time == now, "it ended at another time")?;
    must(done.expire_time == now + after.job.ttl, "it expires at another time")
}

pub(super) fn tried_again(
    known: &Operation,
    (before, running): (&Record, &Running),
    (after, queued): (&Record, &Queued),
    rules: &Rules,
) -> Legal {
    must(running.cancel.is_none(), "tried again although it was cancelled")?;
    must(queued.deadline.is_none(), "a queue_timeout after the first attempt")?;
    let now = after.update_time;
    hinted(queued, now, rules)?;
    let fits = causes(known, before, running, now).into_iter().any(|cause| {
        let error = after.last_error.as_ref();
        let told = error.is_some_and(|error| error.code == cause.code)
            && cause.reported.as_ref().is_none_or(|failure| Some(&failure.error) == error);
        told && cause.again
            && after.failures == before.failures + u32::from(cause.counts)
            && queued.ready_time == cause.ready
    });
    must(fits, "an attempt was given up for no reason that makes it try again so")
}

/// How a running attempt may end the operation.
pub(super) fn ended(
    known: &Operation,
    (before, running): (&Record, &Running),
    (after, done): (&Record, &Done),
) -> Legal {
    let now = after.update_time;
    must(done.by_attempt.is_none_or(|attempt| attempt == before.attempt), "another ended it")?;
    if let Outcome::Response(response) = &done.outcome {
        let told = reports(known, before, running).any(|event| match event {
            event::Event::Completed(told) => codec::payload_from_message(told.clone()) == *response,
            event::Event::Failed(_) | event::Event::Progress(_) => false,
        });
        return must(told && done.by_attempt.is_some(), "a response that its attempt did not give");
    }
    let cancelled = code(done) == Some(Code::Cancelled);
    let grace_is_over = running.cancel.is_some_and(|cancel| cancel.deadline <= now);
    if grace_is_over && cancelled && done.by_attempt.is_none() {
        return Ok(());
    }
    let fits = causes(known, before, running, now).into_iter().any(|cause| {
        if cause.reported.is_some() != done.by_attempt.is_some() {
            return false;
        }
        // Who fails although asked to stop has not stopped because of that.
        let stopped = cause.again || cause.reported.is_none() || cause.code == 1;
        if running.cancel.is_some() && stopped {
            return cancelled;
        }
        let Outcome::Error(error) = &done.outcome else { return false };
        !cause.again
            && error.code == cause.code
            && cause.reported.is_none_or(|failure| failure.error.message == error.message)
            && after.failures == before.failures + u32::from(cause.counts)
    });
    must(fits, "it ended for no reason that makes it end so")
}

/// All that can have ended an attempt by now.
fn causes(known: &Operation, before: &Record, running: &Running, now: Time) -> Vec<Cause> {
    let retry = &before.job.retry;
    let failures = before.failures + 1;
    let left = failures < retry.max_attempts;
    let growth = retry.backoff_multiplier.powi(before.failures as i32);
    let pause = retry.initial_backoff.mul_f64(growth).min(retry.max_backoff);

    let mut causes: Vec<Cause> = reports(known, before, running)
        .filter_map(|event| match event {
            event::Event::Failed(failure) => Some(codec::failure_from_message(failure.clone())),
            event::Event::Completed(_) | event::Event::Progress(_) => None,
        })
        .map(|failure| {
            let listed = retry.retryable_codes.contains(&failure.error.code);
            let (counts, again) = match failure.verdict {
                Verdict::HandedBack => (false, true),
                Verdict::ByPolicy => (true, left && listed),
                Verdict::Retryable => (true, left),
                Verdict::Final => (true, false),
            };
            let pause = if counts { failure.delay.unwrap_or(pause) } else { Duration::ZERO };
            let code = failure.error.code;
            Cause { code, reported: Some(failure), counts, again, ready: now + pause }
        })
        .collect();
    if running.deadline.is_some_and(|deadline| deadline <= now) {
        let code = Code::DeadlineExceeded as i32;
        let again = left && retry.retryable_codes.contains(&code);
        let ready = (now + pause).max(running.lease_end);
        causes.push(Cause { code, reported: None, counts: true, again, ready });
    } else if running.lease_end <= now {
        let code = Code::Unavailable as i32;
        causes.push(Cause { code, reported: None, counts: true, again: left, ready: now });
    }
    causes
}
