//! How the lifecycle is checked: named cases, all short sequences of inputs, and long random ones.

mod cases;
mod check;
mod random;
mod walk;
mod world;

use std::time::Duration;

use longshore_proto::{
    rpc::{self, Code},
    v1::Priority,
};

use super::*;
use crate::record::{Retry, TraceContext};

const SECOND: Duration = Duration::from_secs(1);

const RULES: Rules = Rules {
    lease: Duration::from_secs(30),
    cancel_grace: Duration::from_secs(20),
    hint_check: Duration::from_secs(15),
};

/// When all tests start: 2020-01-01.
const START: Time = Time::from_micros(1_577_836_800_000_000);

fn id() -> OperationId {
    OperationId::parse("op").unwrap()
}

fn parent() -> Parent {
    Parent::parse("projects/p").unwrap()
}

fn worker(name: &str) -> WorkerInstance {
    WorkerInstance::parse(&format!("{name}.boot")).unwrap()
}

pub(crate) fn job() -> Job {
    Job {
        job_type: JobType::parse("hash").unwrap(),
        input: Some(payload("input")),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        works_on: vec!["datasets/1".to_owned(), "datasets/2".to_owned()],
        priority: Priority::High,
        schedule_time: None,
        queue_timeout: None,
        run_timeout: None,
        ttl: Duration::from_secs(3600),
        retry: Retry {
            max_attempts: 2,
            initial_backoff: Duration::from_secs(5),
            max_backoff: Duration::from_secs(60),
            backoff_multiplier: 2.0,
            retryable_codes: vec![Code::Unavailable as i32, Code::DeadlineExceeded as i32],
        },
        fingerprint: "same".into(),
        trace: TraceContext::default(),
    }
}

fn payload(text: &'static str) -> Payload {
    Payload { type_url: "type.googleapis.com/acme.Thing".to_owned(), value: text.into() }
}

fn submit(job: Job) -> Input {
    Input::Submit(Box::new(Submit { id: id(), parent: parent(), job }))
}

fn claim(name: &str, claim: u64) -> Input {
    Input::Claim { worker: worker(name), claim, queue: None, paused: Paused::default() }
}

// Unless they say otherwise, the cases claim the n-th attempt with the number n.

fn progress(attempt: u32, sequence: u64) -> Input {
    progress_of(attempt, attempt.into(), sequence)
}

fn progress_of(attempt: u32, claim: u64, sequence: u64) -> Input {
    Input::Progress {
        attempt,
        claim,
        progress: Progress { sequence, percent: Some(50.0), ..Progress::default() },
    }
}

fn complete(attempt: u32) -> Input {
    complete_of(attempt, attempt.into())
}

fn complete_of(attempt: u32, claim: u64) -> Input {
    Input::Complete { attempt, claim, response: payload("response") }
}

fn fail(attempt: u32, verdict: Verdict) -> Input {
    fail_with((attempt, attempt.into()), verdict, Code::Unavailable as i32)
}

fn fail_with((attempt, claim): (u32, u64), verdict: Verdict, code: i32) -> Input {
    let error = rpc::Status { code, message: "failed".to_owned(), details: Vec::new() };
    Input::Fail { attempt, claim, failure: Failure { error, verdict, delay: None } }
}

fn cancel() -> Input {
    Input::Cancel { parent: parent() }
}

fn delete() -> Input {
    Input::Delete { parent: parent() }
}

fn timer(hints: HintsOut) -> Input {
    Input::Timer { hints }
}
