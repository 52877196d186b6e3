//! What clients see while a server that Longshore stands on is away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
        WaitOperationRequest, operations_client::OperationsClient,
    },
    rpc::{self, RetryInfo},
    v1::{RunJobRequest, WatchOperationRequest, jobs_client::JobsClient},
};
use longshore_testkit::{NatsServer, RedisServer, eventually};
use prost::{Message, Name};
use tokio::time::Instant;
use tonic::{Code, Status, transport::Channel};

use super::http;
use crate::{
    case,
    case::{Case, Scene},
    check::{self, Servers},
    client::Job,
    site::{PATIENCE, Plan, Role, Site},
};

/// Within which every call is answered: the default of `gateway.call_timeout`, and time for a busy
/// machine.
const ANSWER: Duration = Duration::from_secs(5 + 5);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "redis-down-clients",
            true,
            redis_down,
            "every method answers UNAVAILABLE with RetryInfo in bounded time, the gateway is alive but \
             not ready, waits and watches go on, and all is well without a restart"
        ),
        case!(
            "redis-frozen-clients",
            false,
            redis_frozen,
            "the same with a Redis that holds its connections open and says nothing"
        ),
        case!(
            "nats-down-clients",
            true,
            nats_down,
            "every method works and the gateway stays ready; what was accepted runs once NATS is back"
        ),
        case!(
            "state-down-clients",
            false,
            state_down,
            "every method works without a state replica; what was accepted runs once one is back"
        ),
    ]
}

async fn redis_down(scene: Scene) -> Result<()> {
    without_redis(scene, RedisServer::kill, async |redis| redis.restart().await).await
}

async fn redis_frozen(scene: Scene) -> Result<()> {
    without_redis(scene, |redis| redis.freeze(), async |redis| redis.thaw()).await
}

async fn without_redis(
    scene: Scene,
    away: impl FnOnce(&mut RedisServer),
    back: impl AsyncFnOnce(&mut RedisServer),
) -> Result<()> {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    let operation = client.submit(&Job::new(1).millis(scene.pick(2_000, 8_000))).await?;
    site.attempts().started(&operation.name, 1, PATIENCE).await;
    let gateway = site.address("gateway-1");
    ready(&gateway, true).await;
    let followed = {
        let (client, name) = (client.clone(), operation.name.clone());
        tokio::spawn(async move { tokio::join!(client.wait(&name), client.watch(&name)) })
    };

    away(&mut redis);
    let channel = site.channel("gateway-1");
    let mut longest = Duration::ZERO;
    for _ in 0..scene.pick(1, 5) {
        for (method, status, took) in calls(&channel, &operation.name).await {
            longest = longest.max(took);
            let status =
                status.err().with_context(|| format!("{method} succeeds without Redis"))?;
            is_outage(&status).with_context(|| method)?;
        }
    }
    scene.took("until the slowest method answered", longest, ANSWER);
    let begun = Instant::now();
    ready(&gateway, false).await;
    scene.took("until it was not ready", begun.elapsed(), Duration::from_secs(15));
    ensure!(http::get(&gateway, "/healthz").await?.starts_with("HTTP/1.1 200"), "it is not alive");
    let answer = http::get(&gateway, &format!("/v1/{}", operation.name)).await?;
    ensure!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: "), "{answer}");

    back(&mut redis).await;
    let begun = Instant::now();
    client.get(&operation.name).await?;
    scene.took("until a read succeeded", begun.elapsed(), Duration::from_secs(10));
    ready(&gateway, true).await;
    let (waited, watched) = followed.await?;
    ensure!(waited?.done && !watched?.is_empty(), "it is not done");
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn nats_down(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let mut nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    client.run_all([Job::new(0)], 1).await?;
    let gateway = site.address("gateway-1");
    ready(&gateway, true).await;

    nats.kill();
    let begun = Instant::now();
    let operation = client.submit(&Job::new(1)).await?;
    let unwanted = client.submit(&Job::new(2)).await?;
    client.cancel(&unwanted.name).await?;
    ensure!(client.wait(&unwanted.name).await?.done, "a cancelled operation has not ended");
    client.delete(&unwanted.name).await?;
    ensure!(client.list("tests/1").await?.iter().any(|o| o.name == operation.name), "not listed");
    let waited = client.wait_once(&operation.name, Duration::from_secs(1)).await?;
    ensure!(!waited.done, "it ran without NATS");
    scene.took("until all methods had answered", begun.elapsed(), ANSWER * 2);
    let failed = site.history().calls().into_iter().find(|call| call.code != Code::Ok);
    ensure!(failed.is_none(), "a call failed without NATS: {failed:?}");
    ready(&gateway, true).await;

    nats.restart().await;
    let begun = Instant::now();
    client.wait(&operation.name).await?;
    scene.took("until what was accepted had run", begun.elapsed(), Duration::from_secs(45));
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn state_down(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    client.run_all([Job::new(0)], 1).await?;
    for name in site.names_of(Role::State) {
        site.kill(&name);
    }
    let operation = client.submit(&Job::new(1)).await?;
    let unwanted = client.submit(&Job::new(2)).await?;
    client.cancel(&unwanted.name).await?;
    ensure!(client.wait(&unwanted.name).await?.done, "a cancelled operation has not ended");
    ensure!(client.list("tests/1").await?.iter().any(|o| o.name == operation.name), "not listed");
    let waited = client.wait_once(&operation.name, Duration::from_secs(1)).await?;
    ensure!(!waited.done, "it ran without a state replica");
    let failed = site.history().calls().into_iter().find(|call| call.code != Code::Ok);
    ensure!(failed.is_none(), "a call failed without a state replica: {failed:?}");
    ready(&site.address("gateway-1"), true).await;
    site.restart_ended();
    let begun = Instant::now();
    client.wait(&operation.name).await?;
    scene.took("until what was accepted had run", begun.elapsed(), Duration::from_secs(45));
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

/// One call of each method, all at once and none repeated: how it was answered, and after how long.
async fn calls(channel: &Channel, name: &str) -> Vec<(&'static str, Result<(), Status>, Duration)> {
    let (operations, jobs) =
        (OperationsClient::new(channel.clone()), JobsClient::new(channel.clone()));
    let name = || name.to_owned();
    let job = RunJobRequest { job_type: "work".to_owned(), ..RunJobRequest::default() };
    let get = async |mut o: OperationsClient<Channel>| {
        o.get_operation(GetOperationRequest { name: name() }).await.map(drop)
    };
    let list = async |mut o: OperationsClient<Channel>| {
        o.list_operations(ListOperationsRequest::default()).await.map(drop)
    };
    let wait = async |mut o: OperationsClient<Channel>| {
        o.wait_operation(WaitOperationRequest { name: name(), timeout: None }).await.map(drop)
    };
    let cancel = async |mut o: OperationsClient<Channel>| {
        o.cancel_operation(CancelOperationRequest { name: name() }).await.map(drop)
    };
    let delete = async |mut o: OperationsClient<Channel>| {
        o.delete_operation(DeleteOperationRequest { name: name() }).await.map(drop)
    };
    let run = async |mut j: JobsClient<Channel>| j.run_job(job.clone()).await.map(drop);
    let watch = async |mut j: JobsClient<Channel>| {
        j.watch_operation(WatchOperationRequest { name: name() }).await.map(drop)
    };
    let timed = async |method, call: futures::future::BoxFuture<'_, Result<(), Status>>| {
        let begun = Instant::now();
        let hangs = || Err(Status::internal("it hangs"));
        let answer = tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| hangs());
        (method, answer, begun.elapsed())
    };
    join_all([
        timed("GetOperation", Box::pin(get(operations.clone()))),
        timed("ListOperations", Box::pin(list(operations.clone()))),
        timed("WaitOperation", Box::pin(wait(operations.clone()))),
        timed("CancelOperation", Box::pin(cancel(operations.clone()))),
        timed("DeleteOperation", Box::pin(delete(operations))),
        timed("RunJob", Box::pin(run(jobs.clone()))),
        timed("WatchOperation", Box::pin(watch(jobs))),
    ])
    .await
}

fn is_outage(status: &Status) -> Result<()> {
    ensure!(status.code() == Code::Unavailable, "{status:?}");
    let sent = rpc::Status::decode(status.details())?;
    let retry = sent.details.iter().any(|any| any.type_url == RetryInfo::type_url());
    ensure!(retry, "it does not say when to try again: {status:?}");
    Ok(())
}

async fn ready(gateway: &str, expected: bool) {
    let code = if expected { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
    eventually(PATIENCE, || async {
        let answer = http::get(gateway, "/readyz").await.map_err(|error| format!("{error:#}"))?;
        if answer.starts_with(code) { Ok(()) } else { Err(answer) }
    })
    .await;
}
