//! Every role restarted one by one while clients work, as an orchestrator does it for a new version.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use longshore_testkit::{NatsServer, RedisServer, eventually, free_port};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::http;
use crate::{
    case,
    case::{Case, Scene},
    check::{self, Servers},
    client::{Client, Job},
    site::{PATIENCE, Plan, Role, Site},
};

/// How long a role may take to end: its grace, and time for a busy machine.
const END: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Vec<Case> {
    vec![case!(
        "rolling-restart",
        true,
        restart_all,
        "no call fails for clients that follow Google's rules, by gRPC or HTTP; hardly a job runs \
         again: only one whose claim or report was on its way to a replica that ended"
    )]
}

async fn restart_all(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let plan = Plan::on(redis.url(), nats.url()).with(Role::Worker, 2);
    let mut site = Site::start(&scene, plan).await?;
    let gateways: Vec<String> =
        site.names_of(Role::Gateway).iter().map(|name| site.address(name)).collect();
    let stop = CancellationToken::new();
    let number = Arc::new(AtomicU32::new(0));
    let mut load = JoinSet::new();
    for _ in 0..scene.pick(6, 12) {
        load.spawn(work(site.client(), Arc::clone(&number), stop.clone()));
    }
    load.spawn(watch(site.client(), Arc::clone(&number), stop.clone()));
    load.spawn(read(gateways, stop.clone()));

    let mut longest = Duration::ZERO;
    for _ in 0..scene.pick(2, 10) {
        for name in site.names() {
            // Not before the load has found its way again.
            let before = number.load(Ordering::Relaxed);
            eventually(PATIENCE, || async {
                let now = number.load(Ordering::Relaxed);
                if now > before + 10 { Ok(()) } else { Err(format!("from {before} to {now}")) }
            })
            .await;
            longest = longest.max(restart(&mut site, &name).await?);
        }
    }
    stop.cancel();
    while let Some(ended) = load.join_next().await {
        ended?.context("what a client saw")?;
    }
    scene.took("until a role had ended", longest, END);
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await?;

    let mut again = 0_u32;
    for name in site.history().accepted().keys() {
        again += u32::from(site.attempts().count(name)? > 1);
    }
    scene.cost("jobs that ran again", f64::from(again), f64::from(scene.pick(16, 80)), "");
    let most = site.history().calls().iter().map(|call| call.took).max().unwrap_or_default();
    scene.took("the longest call", most, Duration::from_secs(20));
    Ok(())
}

/// Restarts a role and waits until it is ready; how long it took to end.
async fn restart(site: &mut Site, name: &str) -> Result<Duration> {
    let begun = Instant::now();
    let status = site.terminate(name).await?;
    let took = begun.elapsed();
    ensure!(status.success(), "{name} ended with {status}");
    let admin = format!("127.0.0.1:{}", free_port());
    site.set_variables(name, &[("LONGSHORE_ADMIN__LISTEN", &admin)]);
    site.restart(name);
    eventually(PATIENCE, || async {
        let answer = http::get(&admin, "/readyz").await.map_err(|error| format!("{error:#}"))?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    })
    .await;
    Ok(took)
}

fn next(number: &AtomicU32) -> Job {
    Job::new(number.fetch_add(1, Ordering::Relaxed)).millis(200)
}

/// Hands in one job after the other, and waits for each.
async fn work(client: Client, number: Arc<AtomicU32>, stop: CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        let operation = client.submit(&next(&number)).await?;
        client.wait(&operation.name).await?;
    }
    Ok(())
}

/// The same, but watches.
async fn watch(client: Client, number: Arc<AtomicU32>, stop: CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        let operation = client.submit(&next(&number)).await?;
        client.watch(&operation.name).await?;
    }
    Ok(())
}

/// Lists by HTTP, at the gateways by turns. What is not answered, or with 503, is tried again at
/// the next one.
async fn read(gateways: Vec<String>, stop: CancellationToken) -> Result<()> {
    let mut failures = 0;
    for gateway in gateways.iter().cycle() {
        if stop.is_cancelled() {
            break;
        }
        match http::get(gateway, "/v1/tests/1/operations").await {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => failures = 0,
            Ok(answer) if answer.starts_with("HTTP/1.1 503") => failures += 1,
            Err(error) if http::is_unanswered(&error) => failures += 1,
            Ok(answer) => anyhow::bail!("{answer}"),
            Err(error) => return Err(error.context("the answer broke off")),
        }
        ensure!(failures < gateways.len() * 20, "no gateway answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
