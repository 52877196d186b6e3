//! Whether a job is the one that a client asked for.

use std::time::Duration;

use longshore_core::{record::Record, time::Time};
use longshore_proto::v1::RunJobRequest;

use super::{Legal, must};
use crate::order::priority;

/// The gateway's defaults, of which the simulation changes none.
const TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const ATTEMPTS: u32 = 3;
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// `UNAVAILABLE`.
const RETRIED: [i32; 1] = [14];

/// What is accepted is what was asked for.
pub(crate) fn ordered(order: &RunJobRequest, record: &Record) -> Legal {
    let job = &record.job;
    must(record.parent.as_str() == order.parent, "another parent than asked for")?;
    must(job.job_type.as_str() == order.job_type, "another job type than asked for")?;
    let same = job.labels == order.labels && job.works_on == order.works_on;
    must(same, "other labels or resources than asked for")?;
    must(job.priority == priority(order), "another priority than asked for")?;
    let time = order.schedule_time.as_ref().and_then(Time::from_timestamp);
    must(job.schedule_time == time, "another schedule_time than asked for")?;
    must(job.queue_timeout == span(order.queue_timeout), "another queue_timeout than asked for")?;
    must(job.run_timeout == span(order.run_timeout), "another run_timeout than asked for")?;
    must(job.ttl == span(order.ttl).unwrap_or(TTL), "another ttl than asked for")?;
    let retry = &job.retry;
    let so = match &order.retry_policy {
        None => {
            (retry.max_attempts, retry.backoff_multiplier) == (ATTEMPTS, 2.0)
                && (retry.initial_backoff, retry.max_backoff) == BACKOFF
                && retry.retryable_codes == RETRIED
        }
        Some(policy) => {
            let mut codes = policy.retryable_codes.clone();
            codes.sort_unstable();
            let codes = if codes.is_empty() { RETRIED.to_vec() } else { codes };
            retry.max_attempts as i32 == policy.max_attempts
                && retry.backoff_multiplier == policy.backoff_multiplier
                && Some(retry.initial_backoff) == span(policy.initial_backoff)
                && Some(retry.max_backoff) == span(policy.max_backoff)
                && retry.retryable_codes == codes
        }
    };
    must(so, "another retry policy than asked for")
}

fn span(span: Option<prost_types::Duration>) -> Option<Duration> {
    span.and_then(|span| Duration::try_from(span).ok())
}
