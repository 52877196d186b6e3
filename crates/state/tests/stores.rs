//! The stores: the conformance suite, and what each has to stand on its own; the ledger on them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, time::Duration};

use longshore_core::{
    names::{JobType, OperationId, Parent},
    record::{Job, Progress, Queued, Record, Retry, State, TraceContext},
    time::Time,
};
use longshore_proto::v1::Priority;
use longshore_state::{conformance, for_each_conformance_case};

#[path = "stores/audit.rs"]
mod audit;
#[path = "stores/cluster.rs"]
mod cluster;
#[path = "stores/durable.rs"]
mod durable;
#[path = "stores/embedded.rs"]
mod embedded;
#[path = "stores/ledger.rs"]
mod ledger;
#[path = "stores/packs.rs"]
mod packs;
#[path = "stores/redis.rs"]
mod redis;
#[path = "stores/sentinel.rs"]
mod sentinel;

/// A test for each case of the suite.
macro_rules! conforms {
    ($set_up:ident; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _kept) = super::$set_up().await;
                crate::conformance::$case(&store).await;
            }
        )*
    };
}
pub(crate) use conforms;

/// A record as small as there can be.
fn record(id: OperationId) -> Record {
    let create_time = Time::from_micros(1);
    Record {
        id,
        parent: Parent::parse("tests/stores").unwrap(),
        job: Job {
            job_type: JobType::parse("test").unwrap(),
            input: None,
            labels: BTreeMap::new(),
            works_on: Vec::new(),
            priority: Priority::Normal,
            schedule_time: None,
            queue_timeout: None,
            run_timeout: None,
            ttl: Duration::from_secs(1),
            retry: Retry {
                max_attempts: 1,
                initial_backoff: Duration::from_secs(1),
                max_backoff: Duration::from_secs(1),
                backoff_multiplier: 1.0,
                retryable_codes: Vec::new(),
            },
            fingerprint: bytes::Bytes::new(),
            trace: TraceContext::default(),
        },
        create_time,
        update_time: create_time,
        attempt: 0,
        failures: 0,
        start_time: None,
        worker: String::new(),
        last_error: None,
        progress: Progress::default(),
        deleted: false,
        state: State::Queued(Queued { ready_time: Time::MAX, hint: None, deadline: None }),
    }
}
