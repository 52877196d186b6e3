//! `WaitOperation`: answers the moment the operation ends, and never too late.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use longshore_gateway::Settings;
use longshore_proto::longrunning::{DeleteOperationRequest, Operation, WaitOperationRequest};
use longshore_testkit::eventually;
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::harness::{GENEROUS, Gateway, fields, metadata};

fn request(name: &str, timeout: Option<Duration>) -> WaitOperationRequest {
    let timeout = timeout.map(|timeout| prost_types::Duration::try_from(timeout).unwrap());
    WaitOperationRequest { name: name.to_owned(), timeout }
}

async fn wait(
    gateway: &Gateway,
    name: &str,
    timeout: Option<Duration>,
) -> Result<Operation, Status> {
    gateway
        .operations()
        .wait_operation(request(name, timeout))
        .await
        .map(tonic::Response::into_inner)
}

/// A wait that has begun for certain before `then` happens: it has seen a progress report.
async fn wait_during<F: Future>(
    gateway: &Gateway,
    name: &str,
    then: F,
) -> Result<Operation, Status> {
    let waiting = wait(gateway, name, None);
    let (answer, _) = tokio::join!(waiting, async {
        // The server has taken the call once it holds what it listens by.
        tokio::task::yield_now().await;
        then.await;
    });
    answer
}

#[tokio::test]
async fn an_ended_operation_is_answered_at_once() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.complete(&name).await;
    assert!(wait(&gateway, &name, None).await.unwrap().done);
}

#[tokio::test]
async fn the_end_wakes_who_waits() {
    let gateway = Gateway::start().await;
    for _ in 0..20 {
        let name = gateway.run("a/b").await;
        let started = Instant::now();
        let operation = wait_during(&gateway, &name, gateway.complete(&name)).await.unwrap();
        assert!(operation.done);
        assert!(started.elapsed() < GENEROUS);
    }
}

#[tokio::test]
async fn the_end_wakes_all_who_wait() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let waits = (0..50).map(|_| wait(&gateway, &name, None));
    let (answers, ()) = tokio::join!(futures::future::join_all(waits), gateway.complete(&name));
    assert!(answers.into_iter().all(|answer| answer.unwrap().done));
}

#[tokio::test]
async fn a_lost_announcement_delays_but_does_not_hang() {
    let gateway = Gateway::start().await;
    gateway.bus.deaf.store(true, SeqCst);
    let name = gateway.run("").await;
    assert!(wait_during(&gateway, &name, gateway.complete(&name)).await.unwrap().done);
}

#[tokio::test]
async fn the_timeout_ends_the_wait_with_the_latest_state() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let attempt = gateway.claim(&name).await;
    let timeout = Duration::from_millis(300);
    let started = Instant::now();
    let (answer, ()) =
        tokio::join!(wait(&gateway, &name, Some(timeout)), gateway.progress(&name, attempt, 60));
    assert!(started.elapsed() >= timeout);
    let operation = answer.unwrap();
    assert!(!operation.done);
    assert_eq!(metadata(&operation).progress.unwrap().percent, Some(60.0));
}

#[tokio::test]
async fn no_timeout_at_all_answers_at_once() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    assert!(!wait(&gateway, &name, Some(Duration::ZERO)).await.unwrap().done);
}

#[tokio::test]
async fn the_servers_bound_ends_the_wait() {
    let settings = Settings { max_wait: Duration::from_millis(100), ..Settings::default() };
    let gateway = Gateway::start_with(settings).await;
    let name = gateway.run("").await;
    assert!(!wait(&gateway, &name, None).await.unwrap().done);
    assert!(!wait(&gateway, &name, Some(GENEROUS * 10)).await.unwrap().done);
}

#[tokio::test]
async fn the_calls_deadline_ends_the_wait_with_an_answer() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let mut call = Request::new(request(&name, Some(GENEROUS * 10)));
    call.set_timeout(Duration::from_secs(2));
    let operation = gateway.operations().wait_operation(call).await.unwrap().into_inner();
    assert!(!operation.done);
}

#[tokio::test]
async fn a_negative_timeout_is_an_invalid_argument() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let call = WaitOperationRequest { name, timeout };
    let refused = gateway.operations().wait_operation(call).await.unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["timeout".to_owned()])
    );
}

#[tokio::test]
async fn a_deletion_ends_the_wait() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let delete = async {
        let call = DeleteOperationRequest { name: name.clone() };
        gateway.operations().delete_operation(call).await.unwrap();
    };
    let refused = wait_during(&gateway, &name, delete).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn the_shutdown_ends_the_wait_with_the_latest_state() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let mut operations = gateway.operations();
    let call = request(&name, None);
    let waiting = tokio::spawn(async move { operations.wait_operation(call).await });
    // A second call on the same connection is answered: the first one has arrived.
    eventually(GENEROUS, || gateway.get(&name)).await;
    gateway.shutdown.cancel();
    assert!(!waiting.await.unwrap().unwrap().into_inner().done);
    gateway.served.await.unwrap().unwrap();
}
