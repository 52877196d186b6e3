//! Gateways that die.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use longshore_proto::longrunning::Operation;
use longshore_testkit::{Direction, Then as Do};
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::{
    case,
    case::{Case, Scene},
    client::Job,
    site::{Backend, PATIENCE},
    stage::{MARGIN, Stage},
};

/// How long a hint may be out before somebody looks after it, as sites have it, the pause between
/// two looks, and how long a hint may travel.
const LOST_HINT: Duration = Duration::from_secs(5);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "gateway-killed-between-commit-and-hint",
            true,
            before_hint,
            "the operation exists once, and its timer sends the hint"
        ),
        case!(
            "gateway-killed-during-waits",
            true,
            waits,
            "the waits go on at another gateway and end with the operations"
        ),
        case!(
            "gateway-killed-during-watches",
            true,
            watches,
            "the watches go on at another gateway and show each end"
        ),
    ]
}

async fn before_hint(scene: Scene) -> Result<()> {
    let proxied = |plan: crate::site::Plan| plan.through_proxy("gateway-1", Backend::Nats);
    let mut stage = Stage::set(&scene, proxied).await?;
    let link = stage.site.link("gateway-1", Backend::Nats);
    let mut hint = link.on(Direction::ToServer, "PUB ls.job.", Do::Hold);
    // Its first try goes to the first gateway.
    let client = stage.site.client();
    let job = Job::new(1);
    let (submitted, start) = tokio::join!(client.submit(&job), async {
        hint.fired(PATIENCE).await;
        stage.site.kill("gateway-1");
        Instant::now()
    });
    let operation = submitted?;
    let took = stage.rerun(&operation, 1, start).await;
    scene.took("until it runs", took, LOST_HINT + MARGIN);
    let done = stage.client.wait(&operation.name).await?;
    ensure!(done.name == stage.client.submit(&job).await?.name, "it is another one");
    stage.settled().await
}

async fn waits(scene: Scene) -> Result<()> {
    killed_meanwhile(scene, async |client, name| client.wait(name).await).await
}

async fn watches(scene: Scene) -> Result<()> {
    killed_meanwhile(scene, async |client, name| {
        let mut seen = client.watch(name).await?;
        seen.pop().ok_or_else(|| Status::internal("nothing was shown"))
    })
    .await
}

/// Follows operations in some way at two gateways, one of which dies.
async fn killed_meanwhile(
    scene: Scene,
    follow: impl AsyncFn(crate::client::Client, &str) -> Result<Operation, Status>,
) -> Result<()> {
    const MILLIS: u64 = 3000;
    let mut stage = Stage::set(&scene, |plan| plan).await?;
    let mut names = Vec::new();
    for number in 0..scene.pick(8, 12) {
        let job = Job::new(number).millis(MILLIS);
        names.push(stage.client.submit(&job).await?.name);
    }
    let start = Instant::now();
    let client = stage.client.clone();
    let follow = &follow;
    let followed = names.iter().map(|name| {
        let client = client.clone();
        async move { follow(client, name).await }
    });
    let (ended, ()) = tokio::join!(try_join_all(followed), async {
        sleep(Duration::from_millis(MILLIS / 3)).await;
        stage.site.kill("gateway-1");
    });
    ensure!(ended?.iter().all(|operation| operation.done), "a follower was left without the end");
    let took = start.elapsed().saturating_sub(Duration::from_millis(MILLIS));
    scene.took("after the jobs' own time", took, Duration::from_secs(2) + MARGIN);
    stage.settled().await
}
