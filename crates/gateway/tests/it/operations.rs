//! `GetOperation`, `CancelOperation` and `DeleteOperation`.

use longshore_proto::{
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, ListOperationsRequest,
        WaitOperationRequest, operation,
    },
    v1::{WatchOperationRequest, operation_metadata::State},
};
use tonic::{Code, Status};

use crate::harness::{Gateway, fields, metadata, reason};

async fn cancel(gateway: &Gateway, name: &str) -> Result<(), Status> {
    let request = CancelOperationRequest { name: name.to_owned() };
    gateway.operations().cancel_operation(request).await.map(|_| ())
}

async fn delete(gateway: &Gateway, name: &str) -> Result<(), Status> {
    let request = DeleteOperationRequest { name: name.to_owned() };
    gateway.operations().delete_operation(request).await.map(|_| ())
}

async fn listed(gateway: &Gateway, parent: &str) -> Vec<String> {
    let request =
        ListOperationsRequest { name: parent.to_owned(), ..ListOperationsRequest::default() };
    let page = gateway.operations().list_operations(request).await.unwrap().into_inner();
    page.operations.into_iter().map(|operation| operation.name).collect()
}

/// What each method that takes a name says to it.
async fn answers(gateway: &Gateway, name: &str) -> Vec<Status> {
    let wait = WaitOperationRequest { name: name.to_owned(), timeout: None };
    let watch = WatchOperationRequest { name: name.to_owned() };
    vec![
        gateway.get(name).await.unwrap_err(),
        cancel(gateway, name).await.unwrap_err(),
        delete(gateway, name).await.unwrap_err(),
        gateway.operations().wait_operation(wait).await.unwrap_err(),
        gateway.jobs().watch_operation(watch).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_client_that_can_only_name_operations_reaches_all() {
    let gateway = Gateway::start().await;
    for parent in ["", "projects/p"] {
        let name = gateway.run(parent).await;
        let asked = format!("operations/{name}");
        assert_eq!(gateway.get(&asked).await.unwrap().name, name);
        cancel(&gateway, &asked).await.unwrap();
        assert!(gateway.get(&name).await.unwrap().done);
        delete(&gateway, &asked).await.unwrap();
        assert_eq!(gateway.get(&name).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_an_invalid_argument() {
    let gateway = Gateway::start().await;
    let names = [
        "",
        "operations",
        "operations/",
        "operations/A",
        "x/y",
        "/operations/a",
        "a/../operations/b",
        "a//operations/b",
    ];
    for name in names {
        for status in answers(&gateway, name).await {
            assert_eq!(status.code(), Code::InvalidArgument, "{name}");
            assert_eq!(reason(&status), "INVALID_NAME");
            assert_eq!(fields(&status), ["name"]);
        }
    }
}

#[tokio::test]
async fn an_unknown_operation_is_not_found() {
    let gateway = Gateway::start().await;
    let name = gateway.run("projects/a").await;
    let elsewhere = name.replace("projects/a", "projects/b");
    let at_the_root = name.replace("projects/a/", "");
    for name in ["operations/nothing", &elsewhere, &at_the_root] {
        for status in answers(&gateway, name).await {
            assert_eq!(status.code(), Code::NotFound, "{name}");
            assert_eq!(reason(&status), "OPERATION_NOT_FOUND");
        }
    }
    assert!(!gateway.get(&name).await.unwrap().done, "nothing happened to it");
}

#[tokio::test]
async fn get_shows_each_state() {
    let gateway = Gateway::start().await;
    let name = gateway.run("a").await;
    assert_eq!(metadata(&gateway.get(&name).await.unwrap()).state(), State::Pending);

    let attempt = gateway.claim(&name).await;
    gateway.progress(&name, attempt, 40).await;
    let running = metadata(&gateway.get(&name).await.unwrap());
    assert_eq!(
        (running.state(), running.attempt, running.worker.as_str()),
        (State::Running, 1, "tester")
    );
    assert_eq!(running.progress.unwrap().percent, Some(40.0));

    gateway.fail(&name, attempt).await;
    let failed = gateway.get(&name).await.unwrap();
    assert_eq!(metadata(&failed).state(), State::Failed);
    let Some(operation::Result::Error(error)) = failed.result else { panic!("no error") };
    assert_eq!((error.code, error.message.as_str()), (3, "bad input"));

    let name = gateway.run("a").await;
    gateway.complete(&name).await;
    let done = gateway.get(&name).await.unwrap();
    assert!(matches!(done.result, Some(operation::Result::Response(_))));
    assert_eq!(metadata(&done).state(), State::Succeeded);
}

#[tokio::test]
async fn cancel_ends_what_waits_and_asks_what_runs() {
    let gateway = Gateway::start().await;
    let waiting = gateway.run("").await;
    cancel(&gateway, &waiting).await.unwrap();
    let ended = gateway.get(&waiting).await.unwrap();
    let Some(operation::Result::Error(error)) = ended.result else { panic!("no error") };
    assert_eq!(error.code, 1);

    let running = gateway.run("").await;
    let attempt = gateway.claim(&running).await;
    cancel(&gateway, &running).await.unwrap();
    cancel(&gateway, &running).await.unwrap();
    let asked = gateway.get(&running).await.unwrap();
    assert_eq!((asked.done, metadata(&asked).state()), (false, State::Cancelling));
    assert!(metadata(&asked).cancel_requested);

    gateway.fail(&running, attempt).await;
    let before = gateway.get(&running).await.unwrap();
    cancel(&gateway, &running).await.unwrap();
    assert_eq!(gateway.get(&running).await.unwrap(), before, "it changes nothing that has ended");
}

#[tokio::test]
async fn delete_hides_at_once_and_does_not_cancel() {
    let gateway = Gateway::start().await;
    let name = gateway.run("a").await;
    let attempt = gateway.claim(&name).await;
    delete(&gateway, &name).await.unwrap();
    for status in answers(&gateway, &name).await {
        assert_eq!(status.code(), Code::NotFound);
    }
    assert!(listed(&gateway, "a").await.is_empty());
    // The work goes on: the worker's reports are taken.
    gateway.progress(&name, attempt, 50).await;
    gateway.fail(&name, attempt).await;

    let done = gateway.run("a").await;
    gateway.complete(&done).await;
    delete(&gateway, &done).await.unwrap();
    assert_eq!(gateway.get(&done).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(delete(&gateway, &done).await.unwrap_err().code(), Code::NotFound);
}
