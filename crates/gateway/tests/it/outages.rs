//! What clients see while the store is away, and when answers of it get lost.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use http::Method;
use longshore_bus::{Bus, Message, subjects};
use longshore_core::{
    codec,
    lifecycle::Input,
    names::{OperationName, Parent},
};
use longshore_gateway::Settings;
use longshore_proto::{
    internal::{Changed, Changes},
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, ListOperationsRequest, WaitOperationRequest,
    },
    v1::{RunJobRequest, WatchOperationRequest},
};
use longshore_testkit::eventually;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    harness::{GENEROUS, Gateway, job, reason, retry_delay},
    http::client::{Answer, Call},
};

/// A gateway whose calls may take no longer than this.
async fn with_call_timeout(call_timeout: Duration) -> Gateway {
    Gateway::start_with(Settings { call_timeout, ..Settings::default() }).await
}

/// What every method says by gRPC.
async fn refusals(gateway: &Gateway, name: &str) -> Vec<Status> {
    let (mut operations, mut jobs) = (gateway.operations(), gateway.jobs());
    let name = || name.to_owned();
    let wait = WaitOperationRequest { name: name(), timeout: None };
    vec![
        gateway.get(&name()).await.unwrap_err(),
        operations.list_operations(ListOperationsRequest::default()).await.unwrap_err(),
        operations.wait_operation(wait).await.unwrap_err(),
        operations.cancel_operation(CancelOperationRequest { name: name() }).await.unwrap_err(),
        operations.delete_operation(DeleteOperationRequest { name: name() }).await.unwrap_err(),
        jobs.run_job(job()).await.unwrap_err(),
        jobs.run_job(RunJobRequest { validate_only: true, ..job() }).await.unwrap_err(),
        jobs.watch_operation(WatchOperationRequest { name: name() }).await.unwrap_err(),
    ]
}

/// What every method answers over HTTP, given a deadline.
async fn answers(gateway: &Gateway, name: &str, deadline: &str) -> Vec<Answer> {
    let calls = [
        Call::get(gateway, &format!("/v1/{name}")),
        Call::get(gateway, "/v1/operations"),
        Call::post(gateway, &format!("/v1/{name}:wait")),
        Call::post(gateway, &format!("/v1/{name}:cancel")),
        Call::new(gateway, Method::DELETE, &format!("/v1/{name}")),
        Call::post(gateway, "/v1/jobs:run").json(&serde_json::json!({"jobType": "index"})),
        Call::get(gateway, &format!("/v1/{name}:watch")),
    ];
    let answers = calls.map(|call| call.header("x-server-timeout", deadline).send());
    futures::future::join_all(answers).await
}

fn is_outage(status: &Status) {
    assert_eq!((status.code(), &*reason(status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let delay = retry_delay(status).unwrap();
    assert!((1..=2).contains(&delay.as_secs()), "{delay:?}");
    assert!(!format!("{status:?}").contains("10.1.2.3"));
}

fn is_outage_over_http(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (503, "STORE_UNAVAILABLE"));
    assert_eq!(answer.headers["retry-after"], "2");
}

#[tokio::test]
async fn an_outage_is_unavailable_and_names_no_insides() {
    let gateway = with_call_timeout(Duration::from_millis(300)).await;
    let name = gateway.run("").await;
    gateway.store.down.store(true, SeqCst);
    refusals(&gateway, &name).await.iter().for_each(is_outage);
    answers(&gateway, &name, "60").await.iter().for_each(is_outage_over_http);
}

#[tokio::test]
async fn a_store_that_says_nothing_is_unavailable_in_bounded_time() {
    let gateway = with_call_timeout(Duration::from_millis(300)).await;
    let name = gateway.run("").await;
    gateway.store.stalled.store(true, SeqCst);
    let started = Instant::now();
    refusals(&gateway, &name).await.iter().for_each(is_outage);
    answers(&gateway, &name, "60").await.iter().for_each(is_outage_over_http);
    assert!(started.elapsed() < GENEROUS);
}

#[tokio::test]
async fn a_client_with_less_time_is_answered_sooner() {
    let gateway = with_call_timeout(GENEROUS * 10).await;
    let name = gateway.run("").await;
    gateway.store.stalled.store(true, SeqCst);
    let started = Instant::now();
    answers(&gateway, &name, "0.2").await.iter().for_each(is_outage_over_http);
    assert!(started.elapsed() < GENEROUS);
}

#[tokio::test]
async fn a_watch_ends_with_its_deadline() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let watch = Call::get(&gateway, &format!("/v1/{name}:watch"));
    let answer = watch.header("x-server-timeout", "0.5").send().await;
    assert!(answer.text().contains("OUT_OF_TIME"), "{}", answer.text());
}

#[tokio::test]
async fn those_who_wait_take_turns_to_look() {
    const WAITING: usize = 1000;
    let mut settings = Settings::default();
    settings.http.max_calls_per_connection = 2000;
    let gateway = Gateway::start_with(settings).await;
    let name = gateway.run("").await;
    let waits = (0..WAITING).map(|_| {
        let (mut operations, name) = (gateway.operations(), name.clone());
        tokio::spawn(async move {
            operations.wait_operation(WaitOperationRequest { name, timeout: None }).await
        })
    });
    let waits: Vec<_> = waits.collect();
    gateway.store.slow.store(true, SeqCst);
    // Some waits have yet to begin, and their first read takes no turns; so it is tried again.
    eventually(GENEROUS * 3, || async {
        let store = &gateway.store;
        let before = store.loads.load(SeqCst);
        store.loading.1.store(0, SeqCst);
        // What can't be read makes all of them look.
        gateway.bus.publish(Message::new(subjects::CHANGES, "\u{7}")).await.unwrap();
        eventually(GENEROUS, || {
            let seen = store.loads.load(SeqCst) - before;
            async move { if seen >= WAITING { Ok(()) } else { Err(seen) } }
        })
        .await;
        let most = store.loading.1.load(SeqCst);
        if (2..=64).contains(&most) { Ok(()) } else { Err(format!("{most} at once")) }
    })
    .await;
    gateway.complete(&name).await;
    for wait in waits {
        assert!(wait.await.unwrap().unwrap().into_inner().done);
    }
}

#[tokio::test]
async fn a_moments_absence_goes_unnoticed() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.store.failing_loads.store(1, SeqCst);
    gateway.get(&name).await.unwrap();
}

#[tokio::test]
async fn lost_answers_do_not_do_things_twice() {
    let gateway = Gateway::start().await;
    gateway.store.lost_answers.store(1, SeqCst);
    let name = gateway.run("a").await;
    let list = ListOperationsRequest { name: "a".to_owned(), ..ListOperationsRequest::default() };
    let listed = gateway.operations().list_operations(list).await.unwrap().into_inner();
    assert_eq!(listed.operations.len(), 1);

    let request = RunJobRequest { request_id: "x".to_owned(), ..job() };
    gateway.store.lost_answers.store(1, SeqCst);
    let first = gateway.jobs().run_job(request.clone()).await.unwrap().into_inner();
    assert_eq!(gateway.jobs().run_job(request).await.unwrap().into_inner().name, first.name);

    gateway.complete(&name).await;
    gateway.store.lost_answers.store(1, SeqCst);
    gateway.operations().delete_operation(DeleteOperationRequest { name }).await.unwrap();
}

#[tokio::test]
async fn a_wait_outlasts_an_outage() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.store.down.store(true, SeqCst);
    let mut operations = gateway.operations();
    let request = WaitOperationRequest { name: name.clone(), timeout: None };
    let waiting = tokio::spawn(async move { operations.wait_operation(request).await });
    // Another call on the same connection fails: the wait's first read has been tried.
    let seen = AtomicBool::default();
    eventually(GENEROUS, || async {
        let status = gateway.get(&name).await.unwrap_err();
        seen.store(true, SeqCst);
        if status.code() == Code::Unavailable { Ok(()) } else { Err(status) }
    })
    .await;
    gateway.store.down.store(false, SeqCst);
    gateway.complete(&name).await;
    assert!(waiting.await.unwrap().unwrap().into_inner().done);
}

#[tokio::test]
async fn a_wait_that_never_read_anything_is_unavailable() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.store.down.store(true, SeqCst);
    let timeout = prost_types::Duration::try_from(Duration::from_millis(300)).unwrap();
    let request = WaitOperationRequest { name, timeout: Some(timeout) };
    let status = gateway.operations().wait_operation(request).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
}

#[tokio::test]
async fn a_wait_that_never_read_anything_does_not_believe_late_news() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let id = OperationName::parse(&name).unwrap().id;
    let stored = gateway.ledger.store().read(&id).await.unwrap().unwrap();
    gateway.store.down.store(true, SeqCst);
    let timeout = prost_types::Duration::try_from(Duration::from_millis(900)).unwrap();
    let request = WaitOperationRequest { name, timeout: Some(timeout) };
    let mut operations = gateway.operations();
    let waiting = tokio::spawn(async move { operations.wait_operation(request).await });
    while !waiting.is_finished() {
        let record = Some(codec::encode(&stored.record));
        let changed = Changed { id: id.to_string(), revision: stored.revision, record };
        let changes = Changes { changes: vec![changed] }.encode_to_vec();
        gateway.bus.publish(Message::new(subjects::CHANGES, changes)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = waiting.await.unwrap().unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
}

#[tokio::test]
async fn a_wait_that_read_once_answers_with_that() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let timeout = prost_types::Duration::try_from(Duration::from_secs(2)).unwrap();
    let mut operations = gateway.operations();
    let request = WaitOperationRequest { name: name.clone(), timeout: Some(timeout) };
    let waiting = tokio::spawn(async move { operations.wait_operation(request).await });
    eventually(GENEROUS, || gateway.get(&name)).await;
    gateway.store.down.store(true, SeqCst);
    assert!(!waiting.await.unwrap().unwrap().into_inner().done);
}

#[tokio::test]
async fn a_change_by_another_process_wakes_who_waits() {
    let gateway = Gateway::start().await;
    let name = gateway.run("p").await;
    let id = OperationName::parse(&name).unwrap().id;
    let cancel = Input::Cancel { parent: Parent::parse("p").unwrap() };
    let request = WaitOperationRequest { name, timeout: None };
    let mut operations = gateway.operations();
    let (answer, applied) =
        tokio::join!(operations.wait_operation(request), gateway.ledger.apply(id, cancel));
    gateway.ledger.perform(&applied.unwrap()).await;
    assert!(answer.unwrap().into_inner().done);
}
