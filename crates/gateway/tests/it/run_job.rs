//! `RunJob`: what is accepted, what not, and what happens on repetition.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use longshore_core::{names::OperationName, record::TraceContext};
use longshore_gateway::Settings;
use longshore_proto::{
    longrunning::operation,
    rpc::Code as Rpc,
    v1::{
        Priority, RetryPolicy, RunJobRequest, operation_metadata::State, run_job_request::InputKind,
    },
};
use prost::Message;
use prost_types::{Any, Struct, Timestamp, Value, value::Kind};
use tonic::{Code, Request};

use crate::harness::{GENEROUS, Gateway, fields, job, metadata, reason};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn json(kind: Kind) -> Option<InputKind> {
    let value = Value { kind: Some(kind) };
    Some(InputKind::Input(Struct { fields: [("a".to_owned(), value)].into() }))
}

fn typed(type_url: &str, size: usize) -> Option<InputKind> {
    Some(InputKind::TypedInput(Any { type_url: type_url.to_owned(), value: vec![0; size] }))
}

fn retry(policy: RetryPolicy) -> RunJobRequest {
    RunJobRequest { retry_policy: Some(policy), ..job() }
}

fn labelled(key: &str, value: &str) -> RunJobRequest {
    RunJobRequest { labels: [(key.to_owned(), value.to_owned())].into(), ..job() }
}

fn working_on(names: &[&str]) -> RunJobRequest {
    RunJobRequest { works_on: names.iter().map(|name| (*name).to_owned()).collect(), ..job() }
}

/// A request that violates one rule, and the field that has to be named.
fn violations() -> Vec<(RunJobRequest, &'static str)> {
    let many = || (0..65).map(|n| (format!("k{n}"), String::new())).collect();
    let resources: Vec<String> = (0..17).map(|n| format!("r/{n}")).collect();
    vec![
        (RunJobRequest { parent: "a//b".to_owned(), ..job() }, "parent"),
        (RunJobRequest { parent: "a/../b".to_owned(), ..job() }, "parent"),
        (RunJobRequest { parent: "/a".to_owned(), ..job() }, "parent"),
        (RunJobRequest { parent: "a".repeat(401), ..job() }, "parent"),
        (RunJobRequest { job_type: String::new(), ..job() }, "job_type"),
        (RunJobRequest { job_type: "a.b".to_owned(), ..job() }, "job_type"),
        (RunJobRequest { job_type: "forbidden".to_owned(), ..job() }, "job_type"),
        (RunJobRequest { input_kind: json(Kind::NumberValue(f64::NAN)), ..job() }, "input"),
        (RunJobRequest { input_kind: json(Kind::StringValue("x".repeat(2000))), ..job() }, "input"),
        (
            RunJobRequest { input_kind: typed("type.googleapis.com/a.B", 1001), ..job() },
            "typed_input",
        ),
        (RunJobRequest { input_kind: typed("", 0), ..job() }, "typed_input"),
        (RunJobRequest { input_kind: typed("a.B", 0), ..job() }, "typed_input"),
        (RunJobRequest { input_kind: typed("type.googleapis.com/", 0), ..job() }, "typed_input"),
        (RunJobRequest { request_id: "x".repeat(129), ..job() }, "request_id"),
        (RunJobRequest { request_id: "tab\t".to_owned(), ..job() }, "request_id"),
        (RunJobRequest { request_id: "é".to_owned(), ..job() }, "request_id"),
        (RunJobRequest { labels: many(), ..job() }, "labels"),
        (labelled("Upper", ""), "labels[Upper]"),
        (labelled("", ""), "labels[]"),
        (
            labelled(&"k".repeat(64), ""),
            "labels[kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk]",
        ),
        (labelled("k", &"v".repeat(64)), "labels[k]"),
        (labelled("k", "new\nline"), "labels[k]"),
        (RunJobRequest { works_on: resources, ..job() }, "works_on"),
        (working_on(&[""]), "works_on[0]"),
        (working_on(&["a", &"r".repeat(401)]), "works_on[1]"),
        (working_on(&["nul\0"]), "works_on[0]"),
        (working_on(&["a", "b", "a"]), "works_on[2]"),
        (RunJobRequest { priority: 9, ..job() }, "priority"),
        (
            RunJobRequest { schedule_time: Some(Timestamp { seconds: -1, nanos: 0 }), ..job() },
            "schedule_time",
        ),
        (
            RunJobRequest { schedule_time: Some(Timestamp { seconds: 1, nanos: -1 }), ..job() },
            "schedule_time",
        ),
        (
            RunJobRequest {
                schedule_time: Some(Timestamp { seconds: 253_402_300_800, nanos: 0 }),
                ..job()
            },
            "schedule_time",
        ),
        (RunJobRequest { queue_timeout: seconds(0), ..job() }, "queue_timeout"),
        (RunJobRequest { queue_timeout: seconds(-5), ..job() }, "queue_timeout"),
        (RunJobRequest { queue_timeout: seconds(i64::MAX), ..job() }, "queue_timeout"),
        (RunJobRequest { run_timeout: seconds(0), ..job() }, "run_timeout"),
        (RunJobRequest { run_timeout: seconds(3601), ..job() }, "run_timeout"),
        (RunJobRequest { ttl: seconds(0), ..job() }, "ttl"),
        (RunJobRequest { ttl: seconds(1_000_000_000), ..job() }, "ttl"),
        (
            retry(RetryPolicy { max_attempts: -1, ..RetryPolicy::default() }),
            "retry_policy.max_attempts",
        ),
        (
            retry(RetryPolicy { max_attempts: 101, ..RetryPolicy::default() }),
            "retry_policy.max_attempts",
        ),
        (
            retry(RetryPolicy { initial_backoff: seconds(-1), ..RetryPolicy::default() }),
            "retry_policy.initial_backoff",
        ),
        (
            retry(RetryPolicy { max_backoff: seconds(100_000), ..RetryPolicy::default() }),
            "retry_policy.max_backoff",
        ),
        (
            retry(RetryPolicy {
                initial_backoff: seconds(9),
                max_backoff: seconds(8),
                ..RetryPolicy::default()
            }),
            "retry_policy.max_backoff",
        ),
        (
            retry(RetryPolicy { backoff_multiplier: 0.5, ..RetryPolicy::default() }),
            "retry_policy.backoff_multiplier",
        ),
        (
            retry(RetryPolicy { backoff_multiplier: f64::NAN, ..RetryPolicy::default() }),
            "retry_policy.backoff_multiplier",
        ),
        (
            retry(RetryPolicy { retryable_codes: vec![0], ..RetryPolicy::default() }),
            "retry_policy.retryable_codes",
        ),
        (
            retry(RetryPolicy { retryable_codes: vec![99], ..RetryPolicy::default() }),
            "retry_policy.retryable_codes",
        ),
    ]
}

fn strict() -> Settings {
    Settings {
        max_input_bytes: 1000,
        max_run_timeout: Duration::from_secs(3600),
        allowed_job_types: Some(["index".to_owned()].into()),
        ..Settings::default()
    }
}

#[tokio::test]
async fn each_rule_is_enforced_and_names_its_field() {
    let gateway = Gateway::start_with(strict()).await;
    for (request, field) in violations() {
        let refused = gateway.jobs().run_job(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert_eq!(reason(&refused), "INVALID_REQUEST");
        assert_eq!(fields(&refused), [field]);
    }
    assert_eq!(gateway.bus.enqueued.load(SeqCst), 0);
}

#[tokio::test]
async fn all_violations_are_reported_at_once() {
    let gateway = Gateway::start().await;
    let request = RunJobRequest { priority: 9, ttl: seconds(-1), ..RunJobRequest::default() };
    let refused = gateway.jobs().run_job(request).await.unwrap_err();
    assert_eq!(fields(&refused), ["job_type", "priority", "ttl"]);

    let request = RunJobRequest {
        labels: (0..500).map(|n| (format!("K{n}"), String::new())).collect(),
        ..job()
    };
    let refused = gateway.jobs().run_job(request).await.unwrap_err();
    assert_eq!(fields(&refused).len(), 16, "an answer has to fit a header");
}

#[tokio::test]
async fn everything_that_a_job_can_say_is_kept() {
    let gateway = Gateway::start().await;
    let request = RunJobRequest {
        parent: "projects/p/locations/l".to_owned(),
        input_kind: typed("type.googleapis.com/a.B", 3),
        labels: [("team".to_owned(), "größe".to_owned())].into(),
        works_on: vec!["projects/p/datasets/d".to_owned()],
        priority: Priority::High.into(),
        schedule_time: Some(Timestamp { seconds: 4_000_000_000, nanos: 5_000 }),
        queue_timeout: seconds(60),
        run_timeout: seconds(600),
        ttl: seconds(3600),
        retry_policy: Some(RetryPolicy {
            max_attempts: 7,
            initial_backoff: seconds(0),
            max_backoff: seconds(9),
            backoff_multiplier: 1.5,
            retryable_codes: vec![
                Rpc::Aborted.into(),
                Rpc::Unavailable.into(),
                Rpc::Aborted.into(),
            ],
        }),
        ..job()
    };
    let operation = gateway.jobs().run_job(request).await.unwrap().into_inner();
    assert!(operation.name.starts_with("projects/p/locations/l/operations/"));
    assert!(!operation.done && operation.result.is_none());
    let shown = metadata(&operation);
    assert_eq!(shown.state(), State::Pending);
    assert_eq!(shown.labels["team"], "größe");
    assert_eq!(shown.priority(), Priority::High);
    assert_eq!((shown.job_type.as_str(), shown.max_attempts), ("index", 7));
    assert_eq!(shown.schedule_time.unwrap().seconds, 4_000_000_000);

    let id = OperationName::parse(&operation.name).unwrap().id;
    let loaded =
        longshore_state::store::Store::load(&*gateway.store, &[id]).await.pop().unwrap().unwrap();
    let kept = loaded.stored.unwrap().record.job;
    assert_eq!(kept.input.unwrap().value.len(), 3);
    assert_eq!(kept.queue_timeout, Some(Duration::from_secs(60)));
    assert_eq!(kept.run_timeout, Some(Duration::from_secs(600)));
    assert_eq!(kept.ttl, Duration::from_secs(3600));
    assert_eq!(kept.retry.initial_backoff, Duration::ZERO);
    assert_eq!(kept.retry.max_backoff, Duration::from_secs(9));
    assert_eq!(kept.retry.retryable_codes, [10, 14]);
}

#[tokio::test]
async fn what_a_job_does_not_say_is_the_servers_choice() {
    let settings = Settings { run_timeout: Some(Duration::from_secs(77)), ..Settings::default() };
    let gateway = Gateway::start_with(settings).await;
    let policy = RetryPolicy { initial_backoff: seconds(120), ..RetryPolicy::default() };
    let name = gateway.jobs().run_job(retry(policy)).await.unwrap().into_inner().name;
    assert!(name.starts_with("operations/"));
    let id = OperationName::parse(&name).unwrap().id;
    let loaded =
        longshore_state::store::Store::load(&*gateway.store, &[id]).await.pop().unwrap().unwrap();
    let kept = loaded.stored.unwrap().record.job;
    assert_eq!((kept.priority, kept.input), (Priority::Normal, None));
    assert_eq!(kept.run_timeout, Some(Duration::from_secs(77)));
    assert_eq!(kept.ttl, Settings::default().ttl);
    assert_eq!((kept.retry.max_attempts, kept.retry.backoff_multiplier), (3, 2.0));
    assert_eq!(kept.retry.max_backoff, Duration::from_secs(120), "not shorter than the first");
    assert_eq!(kept.retry.retryable_codes, [14]);
}

#[tokio::test]
async fn a_job_is_dispatched_without_the_client_waiting() {
    let gateway = Gateway::start().await;
    gateway.run("").await;
    longshore_testkit::eventually(GENEROUS, || async {
        match gateway.bus.enqueued.load(SeqCst) {
            1 => Ok(()),
            other => Err(format!("{other} hints")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_returns_the_same_operation() {
    let gateway = Gateway::start().await;
    let request = RunJobRequest {
        request_id: "7f3c".to_owned(),
        labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
        input_kind: json(Kind::BoolValue(true)),
        ..job()
    };
    let first = gateway.jobs().run_job(request.clone()).await.unwrap().into_inner();
    let second = gateway.jobs().run_job(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, second);

    gateway.complete(&first.name).await;
    let third = gateway.jobs().run_job(request.clone()).await.unwrap().into_inner();
    assert_eq!((third.name, third.done), (first.name, true), "its present state");

    let other = RunJobRequest { labels: [].into(), ..request.clone() };
    let refused = gateway.jobs().run_job(other).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::AlreadyExists, "REQUEST_ID_REUSED"));

    let elsewhere = RunJobRequest { parent: "p".to_owned(), ..request };
    assert!(
        gateway
            .jobs()
            .run_job(elsewhere)
            .await
            .unwrap()
            .into_inner()
            .name
            .starts_with("p/operations/")
    );
}

#[tokio::test]
async fn concurrent_repetitions_make_one_operation() {
    let gateway = Gateway::start().await;
    let request = RunJobRequest { request_id: "once".to_owned(), ..job() };
    let calls = (0..20).map(|_| {
        let (mut jobs, request) = (gateway.jobs(), request.clone());
        async move { jobs.run_job(request).await.unwrap().into_inner().name }
    });
    let mut names = futures::future::join_all(calls).await;
    names.dedup();
    assert_eq!(names.len(), 1);
}

#[tokio::test]
async fn requests_without_an_id_are_different_operations() {
    let gateway = Gateway::start().await;
    assert_ne!(gateway.run("").await, gateway.run("").await);
}

#[tokio::test]
async fn validate_only_runs_nothing() {
    let gateway = Gateway::start().await;
    let request = RunJobRequest { validate_only: true, request_id: "r".to_owned(), ..job() };
    let operation = gateway.jobs().run_job(request.clone()).await.unwrap().into_inner();
    assert_eq!((operation.name.as_str(), operation.done), ("", true));
    assert_eq!(metadata(&operation).job_type, "index");
    let Some(operation::Result::Response(response)) = operation.result else {
        panic!("no response")
    };
    assert_eq!(response.type_url, "type.googleapis.com/google.protobuf.Empty");
    assert!(response.value.is_empty());

    let wrong = RunJobRequest { priority: 9, ..request.clone() };
    assert_eq!(fields(&gateway.jobs().run_job(wrong).await.unwrap_err()), ["priority"]);

    // It has taken nothing: the same request id starts the job.
    let real = RunJobRequest { validate_only: false, ..request.clone() };
    let started = gateway.jobs().run_job(real).await.unwrap().into_inner();
    assert!(!started.done);
    // And now a check of the same is fine, and one of another is not.
    gateway.jobs().run_job(request.clone()).await.unwrap();
    let other = RunJobRequest { job_type: "other".to_owned(), ..request };
    assert_eq!(gateway.jobs().run_job(other).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn the_clients_trace_is_kept() {
    let gateway = Gateway::start().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = Request::new(job());
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=x".parse().unwrap());
    let operation = gateway.jobs().run_job(request).await.unwrap().into_inner();
    assert_eq!(metadata(&operation).trace_id, "0af7651916cd43dd8448eb211c80319c");

    let mut request = Request::new(job());
    request.metadata_mut().insert("traceparent", "00-nonsense".parse().unwrap());
    let operation = gateway.jobs().run_job(request).await.unwrap().into_inner();
    assert_eq!(metadata(&operation).trace_id, TraceContext::default().trace_id());
}

#[tokio::test]
async fn the_largest_input_is_accepted() {
    let gateway = Gateway::start().await;
    let largest = Settings::default().max_input_bytes;
    let request = RunJobRequest { input_kind: typed("type.googleapis.com/a.B", largest), ..job() };
    assert!(request.encoded_len() < 1 << 20);
    gateway.jobs().run_job(request).await.unwrap();
}
