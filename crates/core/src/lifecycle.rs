//! The one place where records change: a pure function without I/O and without a clock.
//!
//! [`step`] takes a record (or its absence), an input and the store's time, and gives the record
//! as it is to be, what is to be written, and what is to be told to others once it is written. The
//! shell around it is the same everywhere: load, step, commit if the revision is unchanged (else
//! load again), then perform the effects. An effect may be lost, doubled or late: whatever it was
//! to bring about, the record's timer brings about as well.

mod attempt;
mod client;
mod end;
mod operator;
mod restore;
mod timer;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use longshore_proto::{rpc, v1::Priority};

use crate::{
    names::{JobType, OperationId, Parent, WorkerInstance},
    record::{Job, Payload, Progress, Record},
    time::Time,
};

pub use self::restore::restored;

/// The spans that the lifecycle works with, the same in all processes of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a worker may be silent before its attempts count as lost.
    pub lease: Duration,
    /// How long a worker has to react to a cancellation, or to the end of its run time, before the
    /// operation ends without it.
    pub cancel_grace: Duration,
    /// How long an operation waits in its queue before somebody looks whether its hint got lost.
    /// Each further look comes after double the time, up to [`Rules::HINT_CHECK_MAX`].
    pub hint_check: Duration,
}

impl Rules {
    /// The longest pause between two looks after a hint.
    pub const HINT_CHECK_MAX: Duration = Duration::from_secs(3600);
    /// How long a hint may be on its way: a younger one is never taken for lost.
    pub const HINT_TRAVEL: Duration = Duration::from_secs(2);
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(30),
            hint_check: Duration::from_secs(15),
        }
    }
}

/// Something that happens to an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A client hands in a job.
    Submit(Box<Submit>),
    /// A worker wants to run it.
    Claim {
        /// Who wants to.
        worker: WorkerInstance,
        /// Drawn at random by the worker, the same when it repeats the claim.
        claim: u64,
        /// The queue whose hint it follows, if the worker says so.
        queue: Option<JobType>,
        /// The job types that are paused.
        paused: Paused,
    },
    /// An operator takes it out of its queue, if it waits there.
    Unqueue {
        /// Which queue that is.
        queue: JobType,
        /// Where it goes.
        to: Unqueued,
    },
    /// A worker is still at it.
    Renew {
        /// Who is.
        worker: WorkerInstance,
        /// At which attempt.
        attempt: u32,
    },
    /// An attempt has come so far.
    Progress {
        /// Which attempt.
        attempt: u32,
        /// The claim that began it: an operation that was deleted and handed in again under the
        /// same request id has attempts of the same numbers.
        claim: u64,
        /// How far, with the report's sequence number.
        progress: Progress,
    },
    /// An attempt ended with a response.
    Complete {
        /// Which attempt.
        attempt: u32,
        /// The claim that began it.
        claim: u64,
        /// The response.
        response: Payload,
    },
    /// An attempt ended without one.
    Fail {
        /// Which attempt.
        attempt: u32,
        /// The claim that began it.
        claim: u64,
        /// Why, and what to do about it.
        failure: Failure,
    },
    /// A client asks for it to stop.
    Cancel {
        /// The parent that the client named it under.
        parent: Parent,
    },
    /// A client is not interested any more.
    Delete {
        /// The parent that the client named it under.
        parent: Parent,
    },
    /// The record's time may have come, or hints may have got lost.
    Timer {
        /// What is known about the hints of its queue.
        hints: HintsOut,
    },
}

/// Job types whose operations are not to be started at the moment.
pub type Paused = Arc<BTreeSet<JobType>>;

/// Where an operation goes that an operator takes out of its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unqueued {
    /// Into the queue of another job type, which it has from then on.
    Queue(JobType),
    /// To its end, with ABORTED.
    End,
}

/// A job that a client hands in.
#[derive(Clone, Debug, PartialEq)]
pub struct Submit {
    /// The id that the operation gets.
    pub id: OperationId,
    /// What it is named under.
    pub parent: Parent,
    /// What is to be done.
    pub job: Job,
}

/// Why an attempt ended without a response, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Why.
    pub error: rpc::Status,
    /// Whether to try again.
    pub verdict: Verdict,
    /// The pause before the next attempt, if the job knows better than its policy.
    pub delay: Option<Duration>,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the retry policy says.
    ByPolicy,
    /// Yes, while attempts are left.
    Retryable,
    /// No.
    Final,
    /// The worker stops: this attempt does not count, another worker starts at once.
    HandedBack,
}

/// What is known about the hints that are out for the queue of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintsOut {
    /// The bus can't be asked.
    Unknown,
    /// There are none.
    None,
    /// The oldest was decided on at this time by the store's clock.
    Since(Time),
}

/// What a step leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The record as it is to be; as it last was, if it is to go.
    pub record: Record,
    /// What is to be written.
    pub write: Write,
    /// What is to be told to others once it is written.
    pub effects: Vec<Effect>,
}

/// What a step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing: what was asked for is so already.
    Keep,
    /// The record.
    Put,
    /// The record's end.
    Remove,
}

/// What is to be told to others. Each may be lost, doubled or late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the workers of a queue that there is something to claim.
    Dispatch {
        /// The queue.
        queue: JobType,
        /// Before or after others.
        priority: Priority,
        /// When this was decided.
        time: Time,
    },
    /// Tell a worker that somebody asked for its attempt to stop.
    Interrupt {
        /// Which worker.
        worker: WorkerInstance,
        /// Which attempt.
        attempt: u32,
    },
    /// Tell whoever waits or watches.
    Announce,
}

/// Why an input changes nothing and is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such operation, or it was deleted, or it is named under another parent.
    #[error("there is no such operation")]
    NotFound,
    /// Another request has the same request id.
    #[error("another request has used the same request id")]
    AlreadyExists,
    /// The attempt is not the one that runs.
    #[error("the attempt is not the one that runs")]
    Stale,
    /// A claim came before the operation's time, or after its wait had been too long.
    #[error("the operation is not to start now")]
    NotNow,
    /// A claim came while the operation's job type is paused.
    #[error("the operation's job type is paused")]
    Paused,
    /// The operation is not in the queue where it was looked for.
    #[error("the operation is not in that queue")]
    NotInQueue,
    /// A claim came while another one runs.
    #[error("another claim runs the operation")]
    Claimed,
    /// The operation has ended.
    #[error("the operation has ended")]
    Done,
}

/// Decides what an input does to a record.
///
/// `now` is the store's time, read together with the record. The same input on the result of its
/// own step gives [`Write::Keep`] (or a rejection that says that it is done with), so a step whose
/// commit may or may not have happened can be repeated.
///
/// # Errors
/// A [`Rejection`] says why the input changes nothing.
pub fn step(
    record: Option<Record>,
    input: Input,
    now: Time,
    rules: &Rules,
) -> Result<Step, Rejection> {
    match (record, input) {
        (None, Input::Submit(submit)) => Ok(client::accept(*submit, now, rules)),
        (Some(record), Input::Submit(submit)) => client::repeat(record, &submit),
        (Some(record), Input::Claim { worker, claim, queue, paused }) => {
            attempt::claim(record, (worker, claim), (queue.as_ref(), &paused), now, rules)
        }
        (Some(record), Input::Unqueue { queue, to }) => {
            operator::unqueue(record, &queue, to, now, rules)
        }
        (Some(record), Input::Renew { worker, attempt }) => {
            attempt::renew(record, &worker, attempt, now, rules)
        }
        (Some(record), Input::Progress { attempt, claim, progress }) => {
            attempt::progress(record, (attempt, claim), progress, now)
        }
        (Some(record), Input::Complete { attempt, claim, response }) => {
            attempt::complete(record, (attempt, claim), response, now)
        }
        (Some(record), Input::Fail { attempt, claim, failure }) => {
            attempt::fail(record, (attempt, claim), failure, now, rules)
        }
        (Some(record), Input::Cancel { parent }) => client::cancel(record, &parent, now, rules),
        (Some(record), Input::Delete { parent }) => client::delete(record, &parent, now),
        (Some(record), Input::Timer { hints }) => Ok(timer::fire(record, hints, now, rules)),
        (
            None,
            Input::Claim { .. }
            | Input::Unqueue { .. }
            | Input::Renew { .. }
            | Input::Progress { .. }
            | Input::Complete { .. }
            | Input::Fail { .. }
            | Input::Cancel { .. }
            | Input::Delete { .. }
            | Input::Timer { .. },
        ) => Err(Rejection::NotFound),
    }
}

impl Step {
    fn keep(record: Record) -> Self {
        Self { record, write: Write::Keep, effects: Vec::new() }
    }

    fn put(record: Record, effects: Vec<Effect>) -> Self {
        Self { record, write: Write::Put, effects }
    }
}

#[cfg(test)]
pub(crate) mod tests;
