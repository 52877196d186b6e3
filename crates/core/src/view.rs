//! What clients see of a record.

use longshore_proto::{
    longrunning::{Operation, operation},
    rpc::Code,
    v1::{self, OperationMetadata, operation_metadata::State as Shown},
};
use prost::Name;
use prost_types::{Any, Timestamp};

use crate::record::{Outcome, Payload, Record, State};

/// The operation as clients see it: metadata from the first answer to the last, and exactly one
/// of error and response once it is done.
pub fn operation(record: &Record) -> Operation {
    let (done, result) = match &record.state {
        State::Queued(_) | State::Running(_) => (false, None),
        State::Done(done) => (true, Some(result(&done.outcome))),
    };
    Operation {
        name: record.name().to_string(),
        metadata: Some(pack(&metadata(record))),
        done,
        result,
    }
}

fn result(outcome: &Outcome) -> operation::Result {
    match outcome {
        Outcome::Response(payload) => operation::Result::Response(any(payload)),
        Outcome::Error(status) => operation::Result::Error(status.clone()),
    }
}

/// What is known about the work behind the operation.
pub fn metadata(record: &Record) -> OperationMetadata {
    let job = &record.job;
    let mut metadata = OperationMetadata {
        state: shown(record).into(),
        job_type: job.job_type.to_string(),
        create_time: Some(record.create_time.into()),
        schedule_time: job.schedule_time.map(Timestamp::from),
        start_time: record.start_time.map(Timestamp::from),
        update_time: Some(record.update_time.into()),
        progress: (record.progress.sequence > 0).then(|| v1::Progress {
            percent: record.progress.percent,
            completed_units: record.progress.completed_units,
            total_units: record.progress.total_units,
            unit: record.progress.unit.clone(),
            message: record.progress.message.clone(),
        }),
        attempt: i32::try_from(record.attempt).unwrap_or(i32::MAX),
        max_attempts: i32::try_from(job.retry.max_attempts).unwrap_or(i32::MAX),
        last_error: record.last_error.clone(),
        labels: job.labels.clone(),
        works_on: job.works_on.clone(),
        priority: job.priority.into(),
        worker: record.worker.clone(),
        trace_id: job.trace.trace_id().to_owned(),
        details: record.progress.details.as_ref().map(any),
        ..OperationMetadata::default()
    };
    match &record.state {
        State::Queued(queued) => {
            if record.attempt > 0 || job.schedule_time.is_some() {
                metadata.schedule_time = Some(queued.ready_time.into());
            }
        }
        State::Running(running) => metadata.cancel_requested = running.cancel.is_some(),
        State::Done(done) => {
            metadata.end_time = Some(done.end_time.into());
            metadata.expire_time = Some(done.expire_time.into());
            metadata.cancel_requested = shown(record) == Shown::Cancelled;
        }
    }
    metadata
}

/// The state that AIP-216 calls it.
pub fn shown(record: &Record) -> Shown {
    match &record.state {
        State::Queued(_) => Shown::Pending,
        State::Running(running) if running.cancel.is_some() => Shown::Cancelling,
        State::Running(_) => Shown::Running,
        State::Done(done) => match &done.outcome {
            Outcome::Response(_) => Shown::Succeeded,
            Outcome::Error(status) if status.code == Code::Cancelled as i32 => Shown::Cancelled,
            Outcome::Error(_) => Shown::Failed,
        },
    }
}

/// The payload as the message that clients know.
pub fn any(payload: &Payload) -> Any {
    Any { type_url: payload.type_url.clone(), value: payload.value.to_vec() }
}

/// Wraps a message of a known type.
pub fn pack<M: prost::Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
