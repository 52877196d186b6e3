//! The roles as separate processes on real servers, several of each, with what breaks at night.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod collector;
mod exporters;
mod metrics;
mod operators;
mod permissions;
mod processes;
mod scrape;
mod traces;

use std::time::Duration;

use futures::{StreamExt, stream};
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, GetOperationRequest, Operation, WaitOperationRequest, operation,
        operations_client::OperationsClient,
    },
    rpc::Code,
    v1::{
        OperationMetadata, RunJobRequest, jobs_client::JobsClient, operation_metadata::State,
        run_job_request,
    },
};
use longshore_testkit::eventually;
use processes::Cluster;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use tonic::{Code as GrpcCode, Status, transport::Channel};

/// Generous: a deadline is not a measurement.
const DEADLINE: Duration = Duration::from_secs(60);

fn job(job_type: &str, number: usize) -> RunJobRequest {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let number_value = Value { kind: Some(Kind::NumberValue(number as f64)) };
    RunJobRequest {
        parent: format!("tests/{}", number % 7),
        job_type: job_type.to_owned(),
        input_kind: Some(run_job_request::InputKind::Input(Struct {
            fields: [("number".to_owned(), number_value)].into(),
        })),
        request_id: format!("{job_type}-{number}"),
        ..RunJobRequest::default()
    }
}

/// As Google's clients do: UNAVAILABLE is tried again.
async fn retried<T, F: Future<Output = Result<T, Status>>>(
    mut call: impl FnMut() -> F,
) -> Result<T, Status> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        match call().await {
            Err(status)
                if status.code() == GrpcCode::Unavailable
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other,
        }
    }
}

async fn run(channel: &Channel, request: RunJobRequest) -> Operation {
    let call = || {
        let (mut jobs, request) = (JobsClient::new(channel.clone()), request.clone());
        async move { jobs.run_job(request).await }
    };
    retried(call).await.unwrap().into_inner()
}

async fn wait(channel: &Channel, name: &str) -> Operation {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let request = WaitOperationRequest {
            name: name.to_owned(),
            timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        };
        let call = || {
            let (mut operations, request) =
                (OperationsClient::new(channel.clone()), request.clone());
            async move { operations.wait_operation(request).await }
        };
        let operation = retried(call).await.unwrap().into_inner();
        if operation.done || tokio::time::Instant::now() > deadline {
            return operation;
        }
    }
}

async fn get(channel: &Channel, name: &str) -> Operation {
    let request = GetOperationRequest { name: name.to_owned() };
    let call = || {
        let (mut operations, request) = (OperationsClient::new(channel.clone()), request.clone());
        async move { operations.get_operation(request).await }
    };
    retried(call).await.unwrap().into_inner()
}

fn metadata(operation: &Operation) -> OperationMetadata {
    OperationMetadata::decode(&*operation.metadata.as_ref().unwrap().value).unwrap()
}

fn response(operation: &Operation) -> Struct {
    match &operation.result {
        Some(operation::Result::Response(any)) => Struct::decode(&*any.value).unwrap(),
        other => panic!("{} ended with {other:?}", operation.name),
    }
}

fn number(fields: &Struct) -> Option<f64> {
    match fields.fields.get("number")?.kind {
        Some(Kind::NumberValue(number)) => Some(number),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_operations_each_reach_their_one_right_outcome() {
    let cluster = Cluster::start().await;
    let (first, second) = (cluster.channel(0).await, cluster.channel(1).await);
    let results: Vec<(usize, Operation)> = stream::iter(0..600)
        .map(|number| {
            let (submit_to, wait_at) =
                if number % 2 == 0 { (&first, &second) } else { (&second, &first) };
            async move {
                let operation = run(submit_to, job("echo", number)).await;
                assert!(operation.metadata.is_some());
                (number, wait(wait_at, &operation.name).await)
            }
        })
        .buffer_unordered(32)
        .collect()
        .await;
    for (sent, operation) in &results {
        assert!(operation.done, "{operation:?}");
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let sent = *sent as f64;
        assert_eq!(number(&response(operation)), Some(sent));
        assert_eq!(metadata(operation).state(), State::Succeeded);
    }
    // The same request again is the same operation.
    let again = run(&second, job("echo", 5)).await;
    assert!(
        again.done && results.iter().any(|(number, operation)| *number == 5 && *operation == again)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_operation_is_completed_by_another() {
    let mut cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    let operation = run(&channel, job("slow", 1)).await;
    let running = eventually(DEADLINE, || async {
        let operation = get(&channel, &operation.name).await;
        let metadata = metadata(&operation);
        if metadata.state() == State::Running { Ok(metadata) } else { Err(format!("{metadata:?}")) }
    })
    .await;
    cluster.kill(&running.worker).await;
    let done = wait(&channel, &operation.name).await;
    assert!(response(&done).fields.contains_key("slow"));
    let after = metadata(&done);
    assert_eq!(after.attempt, 2);
    assert_ne!(after.worker, running.worker);
    assert_eq!(after.last_error.unwrap().code, i32::from(Code::Unavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_hands_its_work_over_at_once() {
    let mut cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    let operation = run(&channel, job("slow", 1)).await;
    let running = eventually(DEADLINE, || async {
        let metadata = metadata(&get(&channel, &operation.name).await);
        if metadata.state() == State::Running { Ok(metadata) } else { Err(format!("{metadata:?}")) }
    })
    .await;
    assert!(cluster.terminate(&running.worker).await.success());
    let done = wait(&channel, &operation.name).await;
    assert!(response(&done).fields.contains_key("slow"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_stops_the_work() {
    let cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    let operation = run(&channel, job("stuck", 1)).await;
    eventually(DEADLINE, || async {
        let metadata = metadata(&get(&channel, &operation.name).await);
        let at_it = metadata.progress.as_ref().is_some_and(|progress| progress.message == "at it");
        if at_it { Ok(()) } else { Err(format!("{metadata:?}")) }
    })
    .await;
    for _ in 0..2 {
        let request = CancelOperationRequest { name: operation.name.clone() };
        OperationsClient::new(channel.clone()).cancel_operation(request).await.unwrap();
    }
    let done = wait(&channel, &operation.name).await;
    let Some(operation::Result::Error(error)) = &done.result else { panic!("{done:?}") };
    assert_eq!(error.code, i32::from(Code::Cancelled));
    assert_eq!(metadata(&done).state(), State::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_stop_and_start() {
    let mut cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    let before: Vec<Operation> =
        stream::iter(0..20).then(|number| run(&channel, job("slow", number))).collect().await;
    cluster.redis.terminate().await;
    let request = GetOperationRequest { name: before[0].name.clone() };
    let refused = OperationsClient::new(channel.clone()).get_operation(request).await.unwrap_err();
    assert_eq!(refused.code(), GrpcCode::Unavailable, "{refused:?}");
    cluster.redis.restart().await;
    for operation in &before {
        let done = wait(&channel, &operation.name).await;
        assert!(response(&done).fields.contains_key("slow"));
    }
    let after = run(&channel, job("echo", 1)).await;
    assert!(wait(&channel, &after.name).await.done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_may_be_wiped() {
    let mut cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    // More than there are slots: many hints are in the stream when it is wiped.
    let before: Vec<Operation> =
        stream::iter(0..30).then(|number| run(&channel, job("slow", number))).collect().await;
    cluster.nats.kill();
    // Accepted without NATS: the record is the truth.
    let meanwhile = run(&channel, job("echo", 1)).await;
    cluster.nats.wipe_and_restart().await;
    for operation in before.iter().chain([&meanwhile]) {
        let done = wait(&channel, &operation.name).await;
        assert!(done.done, "{:?}", metadata(&done));
        response(&done);
    }
    assert!(cluster.path().join("starts").exists());
}
