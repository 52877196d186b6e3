//! Messages that come again, doubled, late and in another order.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    case,
    case::{Case, Scene},
    client::{Client, Job},
    handler::Then,
    stage::{MARGIN, REDELIVERY, RERUN, Stage},
};

pub(super) fn cases() -> Vec<Case> {
    vec![case!(
        "messages-replayed-doubled-and-reordered",
        true,
        replayed,
        "all that the roles have sent, sent once more by hand at once and later, changes no outcome"
    )]
}

/// What the roles send: hints, events, claims and renewals, announcements, interrupts.
const ALL: &str = "ls.>";

async fn replayed(scene: Scene) -> Result<()> {
    let stage = Stage::set(&scene, |plan| plan).await?;
    let nats = async_nats::connect(stage.nats.url()).await?;
    let mut messages = nats.subscribe(ALL).await?;
    nats.flush().await?;
    let stop = CancellationToken::new();
    let mut random = scene.random();
    let replay = async {
        // A copy comes back here as well, and must not be copied again.
        let mut seen: BTreeSet<(String, Bytes)> = BTreeSet::new();
        let mut kept = Vec::new();
        while let Some(Some(message)) = stop.run_until_cancelled(messages.next()).await {
            let own = (message.subject.to_string(), message.payload.clone());
            if !seen.insert(own.clone()) {
                continue;
            }
            nats.publish(own.0.clone(), own.1.clone()).await?;
            kept.push(own);
            if random.u8(..4) == 0
                && let Some((subject, payload)) = random.choice(&kept)
            {
                nats.publish(subject.clone(), payload.clone()).await?;
            }
        }
        Ok::<_, anyhow::Error>((kept, random))
    };
    let start = Instant::now();
    let work = async {
        let worked = work(&stage.client, scene.pick(60, 600)).await;
        stop.cancel();
        worked
    };
    let (replay, worked) = tokio::join!(replay, work);
    worked?;
    let (mut kept, mut random) = replay?;
    scene.took("until all had ended", start.elapsed(), RERUN * 3 + REDELIVERY + MARGIN);

    // And all once more, backwards and by chance, now that everything has ended.
    kept.reverse();
    for shuffled in [false, true] {
        if shuffled {
            random.shuffle(&mut kept);
        }
        for (subject, payload) in &kept {
            nats.publish(subject.clone(), payload.clone()).await?;
        }
        nats.flush().await?;
        sleep(Duration::from_secs(1)).await;
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    scene.cost("replayed", kept.len() as f64, f64::INFINITY, "messages");
    stage.settled().await
}

/// Some succeed, some fail, some are cancelled.
async fn work(client: &Client, count: u32) -> Result<()> {
    let jobs = (0..count).map(|number| match number % 10 {
        9 => Job::new(number).then(Then::Fail),
        _ => Job::new(number).millis(u64::from(number % 7) * 50),
    });
    let cancelled = async {
        for number in 0..5 {
            let job = Job::new(10_000 + number).then(Then::GoOn);
            let operation = client.submit(&job).await?;
            sleep(Duration::from_millis(300)).await;
            client.cancel(&operation.name).await?;
            client.wait(&operation.name).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let (ran, cancelled) = tokio::join!(client.run_all(jobs, 16), cancelled);
    ran.map(drop).and(cancelled)
}
