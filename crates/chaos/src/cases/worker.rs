//! Workers that die.

use anyhow::Result;
use longshore_testkit::{NatsServer, RedisServer};

use crate::{
    case,
    case::{Case, Scene},
    check::{self, Servers},
    client::Job,
    site::{LEASE, PATIENCE, Plan, Site},
};
use std::time::Duration;

pub(super) fn cases() -> Vec<Case> {
    vec![case!(
        "worker-killed-in-mid-job",
        true,
        mid_job,
        "its operation is run again by another worker after the lease, and succeeds"
    )]
}

async fn mid_job(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    let operation = client.submit(&Job::new(1).millis(3000)).await?;
    let line = site.attempts().started(&operation.name, 1, PATIENCE).await;
    let worker = site.name_of(line.worker_pid).unwrap_or_default();
    site.kill(&worker);
    let start = tokio::time::Instant::now();
    site.attempts().started(&operation.name, 2, PATIENCE).await;
    scene.took("until it runs again", start.elapsed(), LEASE + Duration::from_secs(10));
    client.wait(&operation.name).await?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}
