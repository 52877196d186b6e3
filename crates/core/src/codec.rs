//! How records and their parts lie in the store and travel over the bus.

use bytes::Bytes;
use longshore_proto::{internal as pb, v1::Priority};
use prost::Message;

mod brief;

use crate::{
    lifecycle::{Failure, Verdict},
    names::{self, JobType, OperationId, Parent, WorkerInstance},
    record::{
        Cancel, Done, HintOut, Job, Outcome, Payload, Progress, Queued, Record, Retry, Running,
        State, TraceContext,
    },
    time::{Time, micros, span},
};

/// Why stored or received bytes make no sense. Nobody's input does that: it is a bug, a foreign
/// writer, or damage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no protobuf message.
    #[error("it is not an encoded message")]
    Decode(#[from] prost::DecodeError),
    /// A field must be set and is not.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A name is not one.
    #[error("the field {0} is not what it should be")]
    Name(&'static str, #[source] names::Error),
}

/// The bytes that the store keeps.
pub fn encode(record: &Record) -> Bytes {
    encode_both(record).0
}

/// The bytes that the store keeps, and those of the record without its job's input, which are
/// the beginning of the former.
pub fn encode_both(record: &Record) -> (Bytes, Bytes) {
    let mut message = to_message(record);
    brief::shorten(&mut message);
    let input = message.job.as_mut().and_then(|job| job.input.take());
    let mut bytes = message.encode_to_vec();
    let shorter = bytes.len();
    if input.is_some() {
        // The second part of a message's field is merged into the first.
        let job = Some(pb::Job { input, ..pb::Job::default() });
        bytes.extend(pb::Record { job, ..pb::Record::default() }.encode_to_vec());
    }
    let bytes = Bytes::from(bytes);
    let shorter = bytes.slice(..shorter);
    (bytes, shorter)
}

/// The record that [`encode`] was given.
///
/// # Errors
/// If the bytes are something else.
pub fn decode(id: OperationId, bytes: Bytes) -> Result<Record, Error> {
    let mut message = pb::Record::decode(bytes)?;
    if !brief::complete(&mut message) {
        return Err(Error::Missing("type_url"));
    }
    from_message(id, message)
}

/// The record as a message, all written out.
pub fn to_message(record: &Record) -> pb::Record {
    pb::Record {
        parent: record.parent.as_str().to_owned(),
        job: Some(job_to_message(&record.job)),
        create_time: record.create_time.as_micros(),
        update_time: record.update_time.as_micros(),
        attempt: record.attempt,
        failures: record.failures,
        start_time: from_time(record.start_time),
        worker: record.worker.clone(),
        last_error: record.last_error.clone(),
        progress: (record.progress.sequence > 0)
            .then(|| progress_to_message(record.progress.clone())),
        deleted: record.deleted,
        state: Some(match &record.state {
            State::Queued(queued) => pb::record::State::Queued(from_queued(queued)),
            State::Running(running) => pb::record::State::Running(from_running(running)),
            State::Done(done) => pb::record::State::Done(from_done(done)),
        }),
    }
}

/// The record that [`to_message`] was given.
///
/// # Errors
/// If something is missing or no name.
pub fn from_message(id: OperationId, message: pb::Record) -> Result<Record, Error> {
    Ok(Record {
        id,
        parent: Parent::parse(&message.parent).map_err(|source| Error::Name("parent", source))?,
        job: job_from_message(message.job.ok_or(Error::Missing("job"))?)?,
        create_time: Time::from_micros(message.create_time),
        update_time: Time::from_micros(message.update_time),
        attempt: message.attempt,
        failures: message.failures,
        start_time: to_time(message.start_time),
        worker: message.worker,
        last_error: message.last_error,
        progress: message.progress.map(progress_from_message).unwrap_or_default(),
        deleted: message.deleted,
        state: match message.state.ok_or(Error::Missing("state"))? {
            pb::record::State::Queued(queued) => State::Queued(to_queued(&queued)),
            pb::record::State::Running(running) => State::Running(to_running(&running)?),
            pb::record::State::Done(done) => State::Done(to_done(done)?),
        },
    })
}

/// The job as a message.
pub fn job_to_message(job: &Job) -> pb::Job {
    pb::Job {
        job_type: job.job_type.as_str().to_owned(),
        input: job.input.clone().map(payload_to_message),
        labels: job.labels.clone(),
        works_on: job.works_on.clone(),
        priority: job.priority.into(),
        schedule_time: from_time(job.schedule_time),
        queue_timeout: job.queue_timeout.map_or(0, micros),
        run_timeout: job.run_timeout.map_or(0, micros),
        ttl: micros(job.ttl),
        retry: Some(pb::Retry {
            max_attempts: job.retry.max_attempts,
            initial_backoff: micros(job.retry.initial_backoff),
            max_backoff: micros(job.retry.max_backoff),
            backoff_multiplier: job.retry.backoff_multiplier,
            retryable_codes: job.retry.retryable_codes.clone(),
        }),
        fingerprint: job.fingerprint.clone(),
        traceparent: job.trace.traceparent.clone(),
        tracestate: job.trace.tracestate.clone(),
    }
}

/// The job that [`job_to_message`] was given.
///
/// # Errors
/// If something is missing or no name.
pub fn job_from_message(message: pb::Job) -> Result<Job, Error> {
    let retry = message.retry.ok_or(Error::Missing("retry"))?;
    Ok(Job {
        job_type: JobType::parse(&message.job_type)
            .map_err(|source| Error::Name("job_type", source))?,
        input: message.input.map(payload_from_message),
        labels: message.labels,
        works_on: message.works_on,
        priority: Priority::try_from(message.priority).unwrap_or(Priority::Normal),
        schedule_time: to_time(message.schedule_time),
        queue_timeout: to_span(message.queue_timeout),
        run_timeout: to_span(message.run_timeout),
        ttl: span(message.ttl),
        retry: Retry {
            max_attempts: retry.max_attempts,
            initial_backoff: span(retry.initial_backoff),
            max_backoff: span(retry.max_backoff),
            backoff_multiplier: retry.backoff_multiplier,
            retryable_codes: retry.retryable_codes,
        },
        fingerprint: message.fingerprint,
        trace: TraceContext { traceparent: message.traceparent, tracestate: message.tracestate },
    })
}

/// The payload as a message.
pub fn payload_to_message(payload: Payload) -> pb::Payload {
    pb::Payload { type_url: payload.type_url, value: payload.value, ..pb::Payload::default() }
}

/// The payload that a message holds.
pub fn payload_from_message(message: pb::Payload) -> Payload {
    Payload { type_url: message.type_url, value: message.value }
}

/// The progress as a message.
pub fn progress_to_message(progress: Progress) -> pb::Progress {
    pb::Progress {
        sequence: progress.sequence,
        percent: progress.percent,
        completed_units: progress.completed_units,
        total_units: progress.total_units,
        unit: progress.unit,
        message: progress.message,
        details: progress.details.map(payload_to_message),
    }
}

/// The progress that a message holds.
pub fn progress_from_message(message: pb::Progress) -> Progress {
    Progress {
        sequence: message.sequence,
        percent: message.percent,
        completed_units: message.completed_units,
        total_units: message.total_units,
        unit: message.unit,
        message: message.message,
        details: message.details.map(payload_from_message),
    }
}

/// The failure as a message.
pub fn failure_to_message(failure: Failure) -> pb::Failure {
    let verdict = match failure.verdict {
        Verdict::ByPolicy => pb::failure::Verdict::ByPolicy,
        Verdict::Retryable => pb::failure::Verdict::Retryable,
        Verdict::Final => pb::failure::Verdict::Final,
        Verdict::HandedBack => pb::failure::Verdict::HandedBack,
    };
    pb::Failure {
        error: Some(failure.error),
        verdict: verdict.into(),
        delay: failure.delay.map_or(0, micros),
    }
}

/// The failure that a message holds.
pub fn failure_from_message(message: pb::Failure) -> Failure {
    let verdict = match message.verdict() {
        pb::failure::Verdict::ByPolicy => Verdict::ByPolicy,
        pb::failure::Verdict::Retryable => Verdict::Retryable,
        pb::failure::Verdict::Final => Verdict::Final,
        pb::failure::Verdict::HandedBack => Verdict::HandedBack,
    };
    Failure { error: message.error.unwrap_or_default(), verdict, delay: to_span(message.delay) }
}

fn from_queued(queued: &Queued) -> pb::Queued {
    pb::Queued {
        ready_time: queued.ready_time.as_micros(),
        hinted_time: from_time(queued.hint.map(|hint| hint.time)),
        check_time: from_time(queued.hint.map(|hint| hint.check_time)),
        deadline: from_time(queued.deadline),
    }
}

fn to_queued(message: &pb::Queued) -> Queued {
    Queued {
        ready_time: Time::from_micros(message.ready_time),
        hint: to_time(message.hinted_time)
            .map(|time| HintOut { time, check_time: Time::from_micros(message.check_time) }),
        deadline: to_time(message.deadline),
    }
}

fn from_running(running: &Running) -> pb::Running {
    pb::Running {
        worker: running.worker.as_str().to_owned(),
        claim: running.claim,
        lease_end: running.lease_end.as_micros(),
        deadline: from_time(running.deadline),
        cancel_time: from_time(running.cancel.map(|cancel| cancel.time)),
        cancel_deadline: from_time(running.cancel.map(|cancel| cancel.deadline)),
    }
}

fn to_running(message: &pb::Running) -> Result<Running, Error> {
    Ok(Running {
        worker: WorkerInstance::parse(&message.worker)
            .map_err(|source| Error::Name("worker", source))?,
        claim: message.claim,
        lease_end: Time::from_micros(message.lease_end),
        deadline: to_time(message.deadline),
        cancel: to_time(message.cancel_time)
            .map(|time| Cancel { time, deadline: Time::from_micros(message.cancel_deadline) }),
    })
}

fn from_done(done: &Done) -> pb::Done {
    pb::Done {
        end_time: done.end_time.as_micros(),
        expire_time: done.expire_time.as_micros(),
        by_attempt: done.by_attempt.unwrap_or(0),
        outcome: Some(match &done.outcome {
            Outcome::Response(payload) => {
                pb::done::Outcome::Response(payload_to_message(payload.clone()))
            }
            Outcome::Error(status) => pb::done::Outcome::Error(status.clone()),
        }),
    }
}

fn to_done(message: pb::Done) -> Result<Done, Error> {
    Ok(Done {
        end_time: Time::from_micros(message.end_time),
        expire_time: Time::from_micros(message.expire_time),
        by_attempt: (message.by_attempt > 0).then_some(message.by_attempt),
        outcome: match message.outcome.ok_or(Error::Missing("outcome"))? {
            pb::done::Outcome::Response(payload) => {
                Outcome::Response(payload_from_message(payload))
            }
            pb::done::Outcome::Error(status) => Outcome::Error(status),
        },
    })
}

fn from_time(time: Option<Time>) -> i64 {
    time.map_or(0, Time::as_micros)
}

fn to_time(micros: i64) -> Option<Time> {
    (micros != 0).then(|| Time::from_micros(micros))
}

fn to_span(micros: i64) -> Option<std::time::Duration> {
    (micros > 0).then(|| span(micros))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_proto::rpc;

    use super::*;

    // That records survive is checked on every record that the lifecycle's tests come across.

    #[test]
    fn failures_survive() {
        for verdict in [Verdict::ByPolicy, Verdict::Retryable, Verdict::Final, Verdict::HandedBack]
        {
            for delay in [None, Some(Duration::from_millis(1500))] {
                let error = rpc::Status { code: 5, message: "m".into(), details: Vec::new() };
                let failure = Failure { error, verdict, delay };
                assert_eq!(failure_from_message(failure_to_message(failure.clone())), failure);
            }
        }
    }

    #[test]
    fn progress_survives() {
        let progress = Progress {
            sequence: 7,
            percent: Some(0.0),
            completed_units: -1,
            total_units: i64::MAX,
            unit: "bytes".into(),
            message: "half way".into(),
            details: Some(Payload { type_url: "t/x".into(), value: "v".into() }),
        };
        assert_eq!(progress_from_message(progress_to_message(progress.clone())), progress);
    }

    #[test]
    fn damage_is_an_error() {
        let id = OperationId::random();
        let decode = |bytes: Vec<u8>| decode(id.clone(), bytes.into());
        assert!(matches!(decode(vec![0xff]), Err(Error::Decode(_))));
        assert!(matches!(decode(Vec::new()), Err(Error::Missing("job"))));
        let message = pb::Record { parent: "..".into(), ..pb::Record::default() };
        assert!(matches!(
            decode(message.encode_to_vec()),
            Err(Error::Name("parent", names::Error::Segment))
        ));
    }
}
