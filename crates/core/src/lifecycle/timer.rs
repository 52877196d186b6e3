//! What time does: whatever a crash or a lost message left undone.

use std::time::Duration;

use longshore_proto::rpc::Code;

use super::{Effect, Failure, HintsOut, Rules, Step, Verdict, Write, end};
use crate::{
    record::{HintOut, Outcome, Queued, Record, Running, State},
    time::Time,
};

pub(super) fn fire(record: Record, hints: HintsOut, now: Time, rules: &Rules) -> Step {
    match &record.state {
        State::Queued(queued) => {
            let queued = queued.clone();
            waiting(record, &queued, hints, now, rules)
        }
        State::Running(running) => {
            let running = running.clone();
            overdue(record, &running, now, rules)
        }
        State::Done(done) if done.expire_time <= now => {
            Step { record, write: Write::Remove, effects: vec![Effect::Announce] }
        }
        State::Done(_) => Step::keep(record),
    }
}

fn waiting(mut record: Record, queued: &Queued, hints: HintsOut, now: Time, rules: &Rules) -> Step {
    if queued.deadline.is_some_and(|deadline| deadline <= now) {
        let error = end::status(
            Code::DeadlineExceeded,
            "no worker started the job within its queue_timeout",
        );
        return end::finished(record, Outcome::Error(error), None, now);
    }
    let Some(hint) = queued.hint else {
        if now < queued.ready_time {
            return Step::keep(record);
        }
        return end::enqueue(record, queued.ready_time, queued.deadline, now, rules);
    };

    let (hint, effects) = if is_lost(hint, hints, now) {
        (end::sent(now, rules), vec![end::dispatch(&record, now)])
    } else if hint.check_time <= now {
        (HintOut { check_time: now + next_check(hint, hints, now, rules), ..hint }, Vec::new())
    } else {
        return Step::keep(record);
    };
    record.state = State::Queued(Queued { hint: Some(hint), ..*queued });
    Step::put(record, effects)
}

/// Hints of one queue leave it in the order in which they came, so one that is older than the
/// oldest that is out has gone without a claim. A long wait alone is no sign of a loss: a backlog
/// must not breed hints.
fn is_lost(hint: HintOut, hints: HintsOut, now: Time) -> bool {
    let has_arrived = now.since(hint.time) >= Rules::HINT_TRAVEL;
    match hints {
        HintsOut::Unknown => false,
        HintsOut::None => has_arrived,
        HintsOut::Since(oldest) => has_arrived && oldest.since(hint.time) >= Rules::HINT_TRAVEL,
    }
}

/// The longer it has waited, the rarer the looks: their cost stays a small part of the wait.
fn next_check(hint: HintOut, hints: HintsOut, now: Time, rules: &Rules) -> Duration {
    match hints {
        HintsOut::Unknown => rules.hint_check,
        HintsOut::None | HintsOut::Since(_) => now
            .since(hint.time)
            .clamp(rules.hint_check, Rules::HINT_CHECK_MAX.max(rules.hint_check)),
    }
}

fn overdue(record: Record, running: &Running, now: Time, rules: &Rules) -> Step {
    let interrupt = Effect::Interrupt { worker: running.worker.clone(), attempt: record.attempt };
    if running.cancel.is_some_and(|cancel| cancel.deadline <= now) {
        let mut step = end::cancelled(record, None, now);
        step.effects.push(interrupt);
        return step;
    }
    if running.deadline.is_some_and(|deadline| deadline <= now) {
        let failure = Failure {
            error: end::status(Code::DeadlineExceeded, "the attempt exceeded its run_timeout"),
            verdict: Verdict::ByPolicy,
            delay: None,
        };
        // The worker may still be at it: it learns by its next renewal, or by the lease's end.
        let ended = unreported(failure, running, running.lease_end);
        let mut step = end::failed(record, ended, now, rules);
        step.effects.push(interrupt);
        return step;
    }
    if running.lease_end <= now {
        let message = format!("the worker {} was lost", running.worker.name());
        let failure = Failure {
            error: end::status(Code::Unavailable, message),
            verdict: Verdict::Retryable,
            // The lease was pause enough.
            delay: Some(Duration::ZERO),
        };
        return end::failed(record, unreported(failure, running, now), now, rules);
    }
    Step::keep(record)
}

fn unreported(failure: Failure, running: &Running, stopped: Time) -> end::Ended {
    end::Ended { failure, by_attempt: None, cancel_requested: running.cancel.is_some(), stopped }
}
