//! What clients ask for: jobs of all kinds, and the same again under the same request id.

use std::{collections::BTreeMap, time::Duration};

use longshore_core::time::Time;
use longshore_proto::{
    rpc::Code,
    v1::{Priority, RetryPolicy, RunJobRequest, run_job_request::InputKind},
};
use prost_types::{Struct, Timestamp, Value, value::Kind};

use crate::{
    roles::{JOB_TYPES, Site},
    world::millis,
};

/// How many request ids clients share.
const REQUESTS: usize = 5;
/// What operations are named under.
pub(crate) const PARENTS: [&str; 3] = ["", "projects/p", "projects/q"];
/// What jobs work on.
pub(crate) const RESOURCES: [&str; 2] = ["shelves/1", "shelves/2"];

impl Site {
    /// Some job. Now and then it is one that others have asked for under the same request id, or
    /// another one under a request id that is taken.
    pub(crate) fn order(&self) -> RunJobRequest {
        let parent = PARENTS[fastrand::usize(..PARENTS.len())];
        if fastrand::bool() {
            return self.job(parent, String::new());
        }
        let request_id = format!("request-{}", fastrand::usize(..REQUESTS));
        let known = self.world.history().orders.values().find_map(|order| {
            (order.parent == parent && order.request_id == request_id).then(|| order.clone())
        });
        match known {
            Some(order) if fastrand::u8(..5) > 0 => order,
            Some(_) | None => self.job(parent, request_id),
        }
    }

    /// The same job under a number of its own: without a request id no two requests are the same.
    pub(crate) fn again(&self, order: &RunJobRequest) -> RunJobRequest {
        let mut order = order.clone();
        if order.request_id.is_empty() {
            order.input_kind = Some(self.input());
            self.world.history().ordered(&order);
        }
        order
    }

    fn input(&self) -> InputKind {
        let number = Value { kind: Some(Kind::NumberValue(self.world.serial() as f64)) };
        InputKind::Input(Struct { fields: BTreeMap::from([("input".to_owned(), number)]) })
    }

    fn job(&self, parent: &str, request_id: String) -> RunJobRequest {
        let some = |range| fastrand::bool().then(|| span(millis(range)));
        let now = self.world.store_time();
        let policy = RetryPolicy {
            max_attempts: fastrand::i32(1..5),
            initial_backoff: Some(span(millis(10..2_000))),
            max_backoff: Some(span(millis(2_000..8_000))),
            backoff_multiplier: [1.0, 2.0, 3.0][fastrand::usize(..3)],
            retryable_codes: match fastrand::u8(..3) {
                0 => vec![],
                1 => vec![Code::Internal.into(), Code::Aborted.into()],
                _ => vec![Code::Internal.into(), Code::DeadlineExceeded.into()],
            },
        };
        let order = RunJobRequest {
            parent: parent.to_owned(),
            job_type: JOB_TYPES[fastrand::usize(..JOB_TYPES.len())].to_owned(),
            input_kind: Some(self.input()),
            request_id,
            validate_only: false,
            labels: [("colour".to_owned(), "red".to_owned())]
                .into_iter()
                .filter(|_| fastrand::bool())
                .collect(),
            works_on: RESOURCES
                .iter()
                .filter(|_| fastrand::u8(..3) == 0)
                .map(|&name| name.to_owned())
                .collect(),
            priority: fastrand::i32(0..4),
            schedule_time: fastrand::bool()
                .then(|| fastrand::i64(-5_000_000..20_000_000))
                .map(|later| Time::from_micros(now.as_micros() + later))
                .map(Timestamp::from),
            queue_timeout: some(5_000..60_000),
            run_timeout: some(500..20_000),
            retry_policy: (fastrand::u8(..4) > 0).then_some(policy),
            ttl: some(1_000..60_000),
        };
        self.world.history().ordered(&order);
        order
    }
}

/// The number that a request's input is.
pub(crate) fn number(order: &RunJobRequest) -> u64 {
    match &order.input_kind {
        Some(InputKind::Input(input)) => number_in(input),
        Some(InputKind::TypedInput(_)) | None => 0,
    }
}

/// The number in the input of a job.
pub(crate) fn number_in(input: &Struct) -> u64 {
    match input.fields.get("input").and_then(|value| value.kind.as_ref()) {
        Some(Kind::NumberValue(number)) => *number as u64,
        Some(_) | None => 0,
    }
}

/// What a job that asks for it is to have.
pub(crate) fn priority(order: &RunJobRequest) -> Priority {
    match order.priority {
        1 => Priority::Low,
        3 => Priority::High,
        _ => Priority::Normal,
    }
}

fn span(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or_default()
}
