//! What operators do.

use longshore_proto::rpc::Code;

use super::{Effect, Rejection, Rules, Step, Unqueued, end};
use crate::{
    names::JobType,
    record::{Outcome, Record, State},
    time::Time,
};

/// Out of its queue: into another, with its time and its deadline as they are, or to its end.
pub(super) fn unqueue(
    mut record: Record,
    queue: &JobType,
    to: Unqueued,
    now: Time,
    rules: &Rules,
) -> Result<Step, Rejection> {
    let queued = match &record.state {
        State::Queued(queued) => queued.clone(),
        State::Running(_) => return Err(Rejection::Claimed),
        State::Done(_) => return Err(Rejection::Done),
    };
    match to {
        Unqueued::Queue(to) if record.job.job_type == to => Ok(Step::keep(record)),
        _ if record.job.job_type != *queue => Err(Rejection::NotInQueue),
        Unqueued::Queue(to) => {
            record.job.job_type = to;
            record.update_time = now;
            let mut step = end::enqueue(record, queued.ready_time, queued.deadline, now, rules);
            step.effects.push(Effect::Announce);
            Ok(step)
        }
        Unqueued::End => {
            let error = end::status(Code::Aborted, "an operator has discarded the operation");
            Ok(end::finished(record, Outcome::Error(error), None, now))
        }
    }
}
