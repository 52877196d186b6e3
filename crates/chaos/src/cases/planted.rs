//! Damage planted by hand: a check that finds nothing is worth nothing.

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    attempts::{Event, Line, write},
    case,
    case::{Case, Scene},
    client::Job,
    stage::Stage,
};

pub(super) fn cases() -> Vec<Case> {
    vec![case!(
        "planted-damage-is-found",
        true,
        planted,
        "each damage to records, lists, timers, histories and attempts fails the check"
    )]
}

async fn planted(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let operations = stage.client.run_all((0..8).map(Job::new), 8).await?;
    stage.check().await?;

    let keys = stage.redis.cli(&["KEYS", "ls:{*}:all:ended"]).await;
    let list = keys.lines().next().unwrap_or_default().to_owned();
    let entry = stage.redis.cli(&["ZRANGE", &list, "0", "0", "WITHSCORES"]).await;
    let (id, created) = entry.split_once('\n').unwrap_or_default();
    stage.redis.cli(&["ZREM", &list, id]).await;
    found(&mut stage, "but should hold").await?;
    stage.redis.cli(&["ZADD", &list, created, id]).await;

    let active = list.replace("ended", "active");
    stage.redis.cli(&["ZADD", &active, created, id]).await;
    found(&mut stage, "nothing should stand in").await?;
    stage.redis.cli(&["ZREM", &active, id]).await;
    stage.check().await?;

    let operation = &operations[0];
    for attempt in [2, 1] {
        let line =
            Line { operation: operation.name.clone(), attempt, worker_pid: 1, event: Event::Start };
        write(stage.site.attempts().path(), &line)?;
    }
    found(&mut stage, "attempt 1 of").await?;
    stage.except.overlap.push(operation.name.clone());
    stage.check().await?;

    let prefix = list.trim_end_matches("all:ended");
    let record = format!("{prefix}{id}");
    let lost = stage.redis.cli(&["DEL", &record]).await;
    ensure!(lost == "1", "there was no {record}");
    found(&mut stage, id).await?;

    let mut other = operation.clone();
    other.metadata = None;
    stage.site.history().saw(&other, Instant::now());
    ensure!(!stage.site.history().wrong().is_empty(), "two ends of an operation are not found");
    Ok(())
}

async fn found(stage: &mut Stage, text: &str) -> Result<()> {
    match stage.check().await {
        Ok(()) => anyhow::bail!("planted damage is not found: {text}"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains(text), "the check says {said}, not {text:?}");
            Ok(())
        }
    }
}
