//! The record of an operation: the only truth about it.
//!
//! How it lies in the store is [`codec`](crate::codec)'s business, how it changes
//! [`lifecycle`](crate::lifecycle)'s.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use longshore_proto::{rpc, v1::Priority};

use crate::{
    names::{JobType, OperationId, OperationName, Parent, WorkerInstance},
    time::Time,
};

/// A `google.protobuf.Any` whose value is shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Payload {
    /// The type URL, `type.googleapis.com/…`.
    pub type_url: String,
    /// The encoded message.
    pub value: Bytes,
}

/// What is to be done and under which rules. It never changes, but for the job type that an operator
/// gives to what waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Which work, and the queue that it waits in.
    pub job_type: JobType,
    /// What the work needs to know.
    pub input: Option<Payload>,
    /// For filters.
    pub labels: BTreeMap<String, String>,
    /// Resources that the work changes.
    pub works_on: Vec<String>,
    /// Before or after others of its queue; never `Unspecified`.
    pub priority: Priority,
    /// Not to start before.
    pub schedule_time: Option<Time>,
    /// The longest wait for the first attempt.
    pub queue_timeout: Option<Duration>,
    /// The longest run of one attempt.
    pub run_timeout: Option<Duration>,
    /// How long the record is kept after the end.
    pub ttl: Duration,
    /// What happens after a failed attempt.
    pub retry: Retry,
    /// Tells a repeated request from another one under the same id; empty without a request id.
    pub fingerprint: Bytes,
    /// Where the request belongs in a trace.
    pub trace: TraceContext,
}

/// A W3C trace context; empty fields are absent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: String,
    /// The `tracestate` header.
    pub tracestate: String,
}

impl TraceContext {
    /// The trace's id as 32 hexadecimal digits; empty if there is none.
    pub fn trace_id(&self) -> &str {
        match self.traceparent.split('-').nth(1) {
            Some(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => id,
            _ => "",
        }
    }
}

/// What happens after a failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How many attempts may fail, at least 1.
    pub max_attempts: u32,
    /// The pause before the second attempt.
    pub initial_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// By how much each pause is longer than the one before, at least 1.
    pub backoff_multiplier: f64,
    /// The errors that are tried again.
    pub retryable_codes: Vec<i32>,
}

impl Retry {
    /// The pause after so many failed attempts (from 1): exponential, cut at the longest.
    pub fn backoff(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial_backoff.as_secs_f64() * self.backoff_multiplier.powi(exponent);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(self.max_backoff)
    }
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Progress {
    /// The number of the report within the attempt, from 1; 0 is none yet.
    pub sequence: u64,
    /// 0 to 100.
    pub percent: Option<f64>,
    /// How many units are done.
    pub completed_units: i64,
    /// Of how many; 0 if not known.
    pub total_units: i64,
    /// What is counted.
    pub unit: String,
    /// In words.
    pub message: String,
    /// What the job itself reports.
    pub details: Option<Payload>,
}

/// The record of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The operation's id.
    pub id: OperationId,
    /// What the operation is named under.
    pub parent: Parent,
    /// What is to be done.
    pub job: Job,
    /// When it was accepted.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// The number of the latest attempt: what fences the ones before; 0 before the first.
    pub attempt: u32,
    /// How many attempts have failed. Those handed back have not.
    pub failures: u32,
    /// When the latest attempt started.
    pub start_time: Option<Time>,
    /// The name of the worker of the latest attempt; empty before the first.
    pub worker: String,
    /// How the attempt before failed.
    pub last_error: Option<rpc::Status>,
    /// How far the latest attempt has come.
    pub progress: Progress,
    /// Hidden from clients; the record goes when the work ends.
    pub deleted: bool,
    /// Where it stands.
    pub state: State,
}

impl Record {
    /// The operation's full name.
    pub fn name(&self) -> OperationName {
        OperationName { parent: self.parent.clone(), id: self.id.clone() }
    }

    /// Whether the operation has ended.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// When the record next has to be looked at, if nothing else happens before: its one timer.
    pub fn next_wake(&self) -> Time {
        match &self.state {
            State::Queued(queued) => {
                let next = queued.hint.map_or(queued.ready_time, |hint| hint.check_time);
                queued.deadline.map_or(next, |deadline| next.min(deadline))
            }
            State::Running(running) => {
                let cancel = running.cancel.map_or(Time::MAX, |cancel| cancel.deadline);
                running.lease_end.min(running.deadline.unwrap_or(Time::MAX)).min(cancel)
            }
            State::Done(done) => done.expire_time,
        }
    }
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Waiting: for its time, for a worker, or for the pause before a retry to end.
    Queued(Queued),
    /// A worker is at it.
    Running(Running),
    /// It has ended.
    Done(Done),
}

/// Waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Not to start before.
    pub ready_time: Time,
    /// The latest hint that is out; none before the ready time.
    pub hint: Option<HintOut>,
    /// When the wait for the first attempt has been too long.
    pub deadline: Option<Time>,
}

/// A hint that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintOut {
    /// When it was decided on.
    pub time: Time,
    /// When to look whether it got lost.
    pub check_time: Time,
}

/// A worker is at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which worker.
    pub worker: WorkerInstance,
    /// The claim that won; tells its repetition from another claim of the same worker.
    pub claim: u64,
    /// When the worker counts as dead.
    pub lease_end: Time,
    /// When the attempt has run too long and its worker has not said so.
    pub deadline: Option<Time>,
    /// Set once somebody has asked for it to stop.
    pub cancel: Option<Cancel>,
}

/// Somebody has asked for an attempt to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// When.
    pub time: Time,
    /// When the worker had time enough.
    pub deadline: Time,
}

/// It has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// When.
    pub end_time: Time,
    /// When the record goes.
    pub expire_time: Time,
    /// The attempt that reported the end; none if it was cancelled while queued, or timed out.
    pub by_attempt: Option<u32>,
    /// How.
    pub outcome: Outcome,
}

/// How an operation ended: exactly one of the two.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With a response; `google.protobuf.Empty` if there is nothing to say.
    Response(Payload),
    /// With an error, whose code is not 0.
    Error(rpc::Status),
}
