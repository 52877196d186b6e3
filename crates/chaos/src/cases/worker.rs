//! Workers that die, wherever they are, and workers that stand still.

use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_testkit::{Direction, Then as Do, eventually};
use tokio::time::{Instant, sleep};

use crate::{
    attempts::Event,
    case,
    case::{Case, Scene},
    client::{Job, metadata},
    handler::Then,
    site::{Backend, LEASE, PATIENCE, Role},
    stage::{MARGIN, REDELIVERY, RERUN, Stage},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "worker-killed-idle",
            true,
            idle,
            "the other workers run what comes, without a pause"
        ),
        case!(
            "worker-killed-between-claim-and-start",
            true,
            before_start,
            "the operation is claimed, never started, and run by another attempt after the lease"
        ),
        case!(
            "worker-killed-in-mid-job",
            true,
            mid_job,
            "the operation is run again by another worker after the lease"
        ),
        case!(
            "worker-killed-before-the-outcome-event",
            true,
            before_event,
            "work that was done and not reported is done again after the lease"
        ),
        case!(
            "worker-killed-after-the-outcome-event",
            true,
            after_event,
            "work that was reported is not done again, though the worker never learnt that it was"
        ),
        case!(
            "worker-frozen-beyond-its-lease",
            true,
            frozen,
            "another attempt starts after the lease; what the thawed worker reports is void, and it \
             stops its own attempts"
        ),
        case!(
            "worker-killed-by-a-poisoned-job",
            true,
            poisoned,
            "the job fails after its attempts, one worker each; what ran beside it succeeds"
        ),
    ]
}

async fn idle(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let victim = scene.random().usize(1..=3);
    stage.site.kill(&format!("worker-{victim}"));
    let start = Instant::now();
    stage.client.run_all((0..16).map(Job::new), 16).await?;
    scene.took("16 jobs of 50 ms", start.elapsed(), Duration::from_secs(5) + MARGIN);
    stage.settled().await
}

async fn before_start(scene: Scene) -> Result<()> {
    let one = |plan: crate::site::Plan| {
        plan.with(Role::Worker, 1).through_proxy("worker-1", Backend::Nats)
    };
    let mut stage = Stage::set(&scene, one).await?;
    // Only the grant carries the job's input.
    let link = stage.site.link("worker-1", Backend::Nats);
    let mut granted = link.on(Direction::ToClient, "millis", Do::Hold);
    let operation = stage.client.submit(&Job::new(1)).await?;
    granted.fired(PATIENCE).await;
    let start = Instant::now();
    stage.site.kill("worker-1");
    ensure!(stage.site.attempts().count(&operation.name)? == 0, "it has started already");
    stage.site.heal().await?;
    let took = stage.rerun(&operation, 2, start).await;
    scene.took("until it runs", took, RERUN + MARGIN);
    stage.settled().await
}

async fn mid_job(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let (operation, worker) = stage.running(&Job::new(1).millis(3000)).await?;
    stage.site.kill(&worker);
    let took = stage.rerun(&operation, 2, Instant::now()).await;
    scene.took("until it runs again", took, RERUN + MARGIN);
    let done = stage.client.wait(&operation.name).await?;
    ensure!(metadata(&done)?.worker != worker, "the dead worker has done it");
    stage.settled().await
}

async fn before_event(scene: Scene) -> Result<()> {
    let one = |plan: crate::site::Plan| {
        plan.with(Role::Worker, 1).through_proxy("worker-1", Backend::Nats)
    };
    let mut stage = Stage::set(&scene, one).await?;
    let link = stage.site.link("worker-1", Backend::Nats);
    let mut reports = link.on(Direction::ToServer, "PUB ls.event.", Do::Hold);
    let operation = stage.client.submit(&Job::new(1)).await?;
    reports.fired(PATIENCE).await;
    let start = Instant::now();
    stage.site.kill("worker-1");
    stage.site.attempts().ended(&operation.name, 1, Duration::ZERO).await;
    stage.site.heal().await?;
    let took = stage.rerun(&operation, 2, start).await;
    scene.took("until it runs again", took, RERUN + MARGIN);
    stage.settled().await
}

async fn after_event(scene: Scene) -> Result<()> {
    // No load makes it lose its lease.
    let proxied = |plan: crate::site::Plan| {
        plan.with(Role::Worker, 1)
            .set("LONGSHORE_RULES__LEASE", "60s")
            .through_proxy("worker-1", Backend::Nats)
    };
    let mut stage = Stage::set(&scene, proxied).await?;
    let link = stage.site.link("worker-1", Backend::Nats);
    let mut reports = link.on(Direction::ToServer, "PUB ls.event.", Do::CutAfter);
    let operation = stage.client.submit(&Job::new(1)).await?;
    reports.fired(PATIENCE).await;
    stage.done(&operation).await;
    stage.site.kill("worker-1");
    stage.site.heal().await?;
    // A worker that took hints on the lost connection has them again by then.
    stage.client.run_all((2..6).map(Job::new), 4).await?;
    let count = stage.site.attempts().count(&operation.name)?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    scene.cost("it ran", count as f64, 1.0, "times");
    stage.settled().await
}

/// Its children run on: they are stopped when it is thawed and finds its lease over.
async fn frozen(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let (endless, worker) = stage.running(&Job::new(1).then(Then::GoOn)).await?;
    stage.site.freeze(&worker);
    let start = Instant::now();
    let took = stage.rerun(&endless, 2, start).await;
    scene.took("until it runs again", took, RERUN + MARGIN);
    sleep(scene.pick(LEASE, LEASE * 5)).await;

    stage.site.thaw(&worker);
    let start = Instant::now();
    let attempts = stage.site.attempts().clone();
    let beats = || {
        let lines = attempts.lines().map_err(|error| format!("{error:#}"))?;
        let of_first = |line: &&crate::attempts::Line| {
            line.operation == endless.name && line.attempt == 1 && line.event == Event::Beat
        };
        Ok::<_, String>(lines.iter().filter(of_first).count())
    };
    let quiet = Duration::from_millis(500);
    eventually(PATIENCE, || async {
        let before = beats()?;
        sleep(quiet).await;
        if beats()? == before {
            Ok(())
        } else {
            Err("the thawed worker's attempt goes on".to_owned())
        }
    })
    .await;
    let took = start.elapsed().saturating_sub(quiet);
    scene.took("until the thawed worker has stopped", took, Duration::from_secs(2) + MARGIN);
    stage.client.cancel(&endless.name).await?;
    let done = stage.client.wait(&endless.name).await?;
    ensure!(metadata(&done)?.attempt >= 2, "the void attempt has ended it: {done:?}");
    stage.except.overlap.push(endless.name.clone());
    stage.settled().await
}

async fn poisoned(scene: Scene) -> Result<()> {
    const ATTEMPTS: i32 = 3;
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let client = stage.client.clone();
    let poison = Job::new(0).millis(300).then(Then::KillWorker).attempts(ATTEMPTS);
    let others = (1..scene.pick(13, 60)).map(|number| Job::new(number).millis(500));
    let start = Instant::now();
    let (poisoned, others) = {
        let jobs = std::iter::once(poison).chain(others);
        let work = async {
            let operations = client.run_all(jobs, 12).await;
            operations.map(|mut all| (all.remove(0), all))
        };
        let mut work = std::pin::pin!(work);
        let mut deaths = 0_usize;
        loop {
            tokio::select! {
                ended = &mut work => {
                    #[expect(clippy::cast_precision_loss, reason = "a small number")]
                    scene.cost("killed", deaths as f64, f64::from(ATTEMPTS), "workers");
                    break ended?;
                }
                () = sleep(Duration::from_millis(200)) => deaths += stage.site.restart_ended().len(),
            }
        }
    };
    // Hints that a killed worker held come again late.
    let bound = RERUN * ATTEMPTS.cast_unsigned() + REDELIVERY + MARGIN;
    scene.took("until all had ended", start.elapsed(), bound);
    let metadata = metadata(&poisoned)?;
    ensure!(metadata.attempt == ATTEMPTS, "it ended after {} attempts", metadata.attempt);
    ensure!(others.iter().all(|operation| operation.done), "not all have ended");
    stage.settled().await
}
