//! What clients see while the store is away, and when answers of it get lost.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use longshore_core::lifecycle::Input;
use longshore_core::names::{OperationName, Parent};
use longshore_proto::{
    longrunning::{DeleteOperationRequest, ListOperationsRequest, WaitOperationRequest},
    v1::RunJobRequest,
};
use longshore_testkit::eventually;
use tonic::Code;

use crate::harness::{GENEROUS, Gateway, job, reason, retry_delay};

#[tokio::test]
async fn an_outage_is_unavailable_and_names_no_insides() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.store.down.store(true, SeqCst);
    let statuses = [
        gateway.get(&name).await.unwrap_err(),
        gateway.jobs().run_job(job()).await.unwrap_err(),
        gateway.operations().list_operations(ListOperationsRequest::default()).await.unwrap_err(),
        gateway.operations().delete_operation(DeleteOperationRequest { name }).await.unwrap_err(),
    ];
    for status in statuses {
        assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
        assert!(retry_delay(&status).is_some());
        assert!(!format!("{status:?}").contains("10.1.2.3"));
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
