//! State replicas that die.

use std::time::Duration;

use anyhow::Result;
use longshore_testkit::{Direction, Then as Do};
use tokio::time::{Instant, sleep};

use crate::{
    case,
    case::{Case, Scene},
    client::Job,
    site::{Backend, PATIENCE, Plan, Role},
    stage::{MARGIN, REDELIVERY, RERUN, Stage},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "state-killed-before-it-commits-an-event",
            true,
            before_commit,
            "the event comes again to the next replica; the work is not done again"
        ),
        case!(
            "state-killed-after-it-commits-an-event",
            true,
            after_commit,
            "the event comes again and changes nothing"
        ),
        case!(
            "state-killed-under-load",
            true,
            under_load,
            "every replica dies in turn, and nothing is lost or done twice in the record"
        ),
        case!(
            "state-all-down",
            true,
            all_down,
            "submits are accepted meanwhile; workers stop what they can't renew; all ends afterwards"
        ),
    ]
}

/// One replica, leases so long that nothing but the event is committed.
fn quiet(plan: Plan) -> Plan {
    plan.with(Role::State, 1)
        .set("LONGSHORE_RULES__LEASE", "60s")
        .through_proxy("state-1", Backend::Redis)
        .through_proxy("state-1", Backend::Nats)
}

async fn before_commit(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, quiet).await?;
    let (operation, _) = stage.running(&Job::new(1).millis(3000)).await?;
    let link = stage.site.link("state-1", Backend::Redis);
    let mut commit = link.on(Direction::ToServer, "EVALSHA", Do::Hold);
    commit.fired(PATIENCE).await;
    killed_in_recording(&scene, stage, &operation.name).await
}

async fn after_commit(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, quiet).await?;
    let (operation, _) = stage.running(&Job::new(1).millis(3000)).await?;
    let link = stage.site.link("state-1", Backend::Nats);
    let mut acknowledgement = link.on(Direction::ToServer, "$JS.ACK.LS_EVENTS", Do::Hold);
    acknowledgement.fired(PATIENCE).await;
    stage.client.wait(&operation.name).await?;
    killed_in_recording(&scene, stage, &operation.name).await
}

async fn killed_in_recording(scene: &Scene, mut stage: Stage, name: &str) -> Result<()> {
    let start = Instant::now();
    stage.site.kill("state-1");
    stage.site.heal().await?;
    stage.client.wait(name).await?;
    scene.took("until the outcome is shown", start.elapsed(), REDELIVERY + MARGIN);
    let count = stage.site.attempts().count(name)?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    scene.cost("it ran", count as f64, 1.0, "times");
    stage.settled().await
}

async fn under_load(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let client = stage.client.clone();
    let jobs = (0..scene.pick(80, 600)).map(|number| Job::new(number).millis(100));
    let start = Instant::now();
    let work = client.run_all(jobs, 24);
    let mut work = std::pin::pin!(work);
    let mut random = scene.random();
    let mut victim = 1;
    loop {
        let pause = Duration::from_millis(random.u64(300..1500));
        tokio::select! {
            ended = &mut work => break drop(ended?),
            () = sleep(pause) => {}
        }
        stage.site.restart(&format!("state-{victim}"));
        victim = 3 - victim;
    }
    // An event that a killed replica had taken comes again late; one such wait may follow another.
    scene.took("until all had ended", start.elapsed(), REDELIVERY * 3 + MARGIN);
    stage.settled().await
}

async fn all_down(scene: Scene) -> Result<()> {
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let mut names = Vec::new();
    for number in 0..12 {
        // Some end before the replicas die, some while they are away, some can't go on so long.
        let job = Job::new(number).millis(500 + 500 * u64::from(number));
        names.push(stage.client.submit(&job).await?.name);
    }
    sleep(Duration::from_secs(1)).await;
    for name in stage.site.names_of(Role::State) {
        stage.site.kill(&name);
    }
    for number in 100..110 {
        let start = Instant::now();
        names.push(stage.client.submit(&Job::new(number)).await?.name);
        if number == 100 {
            scene.took("a submit meanwhile", start.elapsed(), Duration::from_secs(1) + MARGIN);
        }
    }
    sleep(scene.pick(Duration::from_secs(6), Duration::from_secs(60))).await;
    stage.site.heal().await?;
    let start = Instant::now();
    for name in &names {
        stage.client.wait(name).await?;
    }
    // The longest job once more, and hints that workers gave back or held too long.
    let bound = RERUN + Duration::from_secs(6) + REDELIVERY + MARGIN;
    scene.took("until all had ended", start.elapsed(), bound);
    stage.settled().await
}
