//! The subjects that messages travel on, and the streams that keep some of them.

use longshore_core::names::{JobType, WorkerInstance};
use longshore_proto::v1::Priority;

/// The stream of hints: a work queue.
pub const JOBS_STREAM: &str = "LS_JOBS";
/// What the stream of hints keeps.
pub const JOBS: &str = "ls.job.>";
/// The stream of events: a work queue.
pub const EVENTS_STREAM: &str = "LS_EVENTS";
/// What the stream of events keeps.
pub const EVENTS: &str = "ls.event.>";

/// Requests for leave to run; a `ClaimRequest`, answered by a `ClaimReply`.
pub const CLAIM: &str = "ls.rpc.claim";
/// Requests for longer leases; a `RenewRequest`, answered by a `RenewReply`.
pub const RENEW: &str = "ls.rpc.renew";
/// The group of those who serve [`CLAIM`] and [`RENEW`].
pub const STATE_GROUP: &str = "ls-state";

/// Where `Changes` go, of all operations.
pub const CHANGES: &str = "ls.changed";

/// Where a `RollCall` goes, to all workers; each publishes a `Present` to where that says.
pub const WORKERS: &str = "ls.workers";

/// The priorities of a queue in the order in which their hints are taken.
pub const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

/// Where a `Hint` goes.
pub fn job(queue: &JobType, priority: Priority) -> String {
    format!("ls.job.{queue}.{}", token(priority))
}

/// The queue and the priority's token of what [`job`] gave.
pub fn parse_job(subject: &str) -> Option<(&str, &str)> {
    subject.strip_prefix("ls.job.")?.rsplit_once('.')
}

/// The queue that hints on a subject belong to, if it is one of [`job`].
pub fn queue_of(subject: &str) -> Option<&str> {
    subject.strip_prefix("ls.job.")?.rsplit_once('.').map(|(queue, _)| queue)
}

/// Where the `Events` of a worker go.
pub fn events(worker: &WorkerInstance) -> String {
    format!("ls.event.{worker}")
}

/// Where an `Interrupt` goes. A worker listens once for all that it runs, from before its first
/// claim, so that no interrupt can come too early.
pub fn interrupt(worker: &WorkerInstance) -> String {
    format!("ls.cancel.{worker}")
}

/// The priority as a token of a subject and of a consumer's name.
pub fn token(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Normal | Priority::Unspecified => "normal",
        Priority::Low => "low",
    }
}
