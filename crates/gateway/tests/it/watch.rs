//! `WatchOperation`: the present state, then each newer one, to the end.

use std::sync::atomic::Ordering::SeqCst;

use longshore_proto::{
    longrunning::{CancelOperationRequest, DeleteOperationRequest, Operation},
    v1::{WatchOperationRequest, operation_metadata::State},
};
use tonic::{Code, Streaming};

use crate::harness::{Gateway, metadata, reason};

async fn watch(gateway: &Gateway, name: &str) -> Streaming<Operation> {
    let request = WatchOperationRequest { name: name.to_owned() };
    gateway.jobs().watch_operation(request).await.unwrap().into_inner()
}

async fn next(states: &mut Streaming<Operation>) -> Operation {
    states.message().await.unwrap().unwrap()
}

#[tokio::test]
async fn each_change_comes_in_order_and_the_end_is_the_last() {
    let gateway = Gateway::start().await;
    let name = gateway.run("a").await;
    let mut states = watch(&gateway, &name).await;
    assert_eq!(metadata(&next(&mut states).await).state(), State::Pending);

    let attempt = gateway.claim(&name).await;
    assert_eq!(metadata(&next(&mut states).await).state(), State::Running);
    for percent in [10, 50, 90] {
        gateway.progress(&name, attempt, percent).await;
        let seen = metadata(&next(&mut states).await).progress.unwrap().percent;
        assert_eq!(seen, Some(f64::from(percent)));
    }
    gateway.fail(&name, attempt).await;
    assert!(next(&mut states).await.done);
    assert!(states.message().await.unwrap().is_none());
}

#[tokio::test]
async fn what_has_ended_is_one_state() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.complete(&name).await;
    let mut states = watch(&gateway, &name).await;
    assert!(next(&mut states).await.done);
    assert!(states.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_cancellation_is_seen() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    gateway.claim(&name).await;
    let mut states = watch(&gateway, &name).await;
    next(&mut states).await;
    gateway.operations().cancel_operation(CancelOperationRequest { name }).await.unwrap();
    assert_eq!(metadata(&next(&mut states).await).state(), State::Cancelling);
}

#[tokio::test]
async fn a_deletion_ends_the_stream() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let mut states = watch(&gateway, &name).await;
    next(&mut states).await;
    gateway.operations().delete_operation(DeleteOperationRequest { name }).await.unwrap();
    let ended = states.message().await.unwrap_err();
    assert_eq!((ended.code(), &*reason(&ended)), (Code::NotFound, "OPERATION_NOT_FOUND"));
}

#[tokio::test]
async fn lost_announcements_delay_but_do_not_hang() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let mut states = watch(&gateway, &name).await;
    next(&mut states).await;
    gateway.bus.deaf.store(true, SeqCst);
    gateway.complete(&name).await;
    assert!(next(&mut states).await.done);
}

#[tokio::test]
async fn the_shutdown_asks_to_connect_anew() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let mut states = watch(&gateway, &name).await;
    next(&mut states).await;
    gateway.shutdown.cancel();
    let ended = states.message().await.unwrap_err();
    assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "SHUTTING_DOWN"));
    gateway.served.await.unwrap().unwrap();
}
