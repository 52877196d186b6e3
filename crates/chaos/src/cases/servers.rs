//! What cases about servers have in common.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tonic::Code;

use crate::{
    case::Scene,
    client::{Client, Job},
    site::{Role, Site},
};

/// How many jobs are handed in at once.
const AT_ONCE: usize = 4;
/// The pause between two jobs of the same of them.
const PAUSE: Duration = Duration::from_millis(40);
/// The longest that a call may take which does not wait for anything: the store's and the bus's
/// time limits, and what a machine under load adds.
const LONGEST_CALL: Duration = Duration::from_secs(12);

/// Hands in jobs with numbers from `first` on as long as the fault takes.
pub(super) async fn under_load<T>(
    client: Client,
    first: u32,
    fault: impl Future<Output = Result<T>>,
) -> Result<T> {
    let over = AtomicBool::new(false);
    let submit = |number| {
        let (client, over) = (&client, &over);
        async move {
            if !over.load(Ordering::Relaxed) {
                client.submit(&Job::new(number)).await?;
                tokio::time::sleep(PAUSE).await;
            }
            Ok::<_, anyhow::Error>(())
        }
    };
    let numbers = stream::iter(first..).take_while(|_| {
        let over = over.load(Ordering::Relaxed);
        async move { !over }
    });
    let load = numbers.map(submit).buffer_unordered(AT_ONCE).try_collect::<()>();
    let fault = async {
        let done = fault.await;
        over.store(true, Ordering::Relaxed);
        done
    };
    let (done, load) = futures::join!(fault, load);
    load?;
    done
}

/// Waits until each gateway takes a job again, and notes how long that was since the fault ended.
pub(super) async fn served_again(
    scene: &Scene,
    site: &Site,
    healed: Instant,
    first: u32,
    bound: Duration,
) -> Result<()> {
    for (number, gateway) in (first..).zip(site.names_of(Role::Gateway)) {
        site.client_of(&gateway).submit(&Job::new(number)).await?;
    }
    scene.took("until served again", healed.elapsed(), bound);
    Ok(())
}

/// Clients were told nothing but that the service is unavailable, and soon.
pub(super) fn told_soon(scene: &Scene, site: &Site) -> Result<()> {
    let calls = site.history().calls();
    let is_fine = |code| matches!(code, Code::Ok | Code::Unavailable);
    if let Some(call) = calls.iter().find(|call| !is_fine(call.code)) {
        anyhow::bail!("a client was told otherwise: {call:?}");
    }
    let waits = ["WaitOperation", "WatchOperation"];
    let longest = calls.iter().filter(|call| !waits.contains(&call.method)).map(|call| call.took);
    scene.took("longest call", longest.max().unwrap_or_default(), LONGEST_CALL);
    Ok(())
}

/// No call failed at all.
pub(super) fn nobody_noticed(site: &Site) -> Result<()> {
    let failed: Vec<_> =
        site.history().calls().into_iter().filter(|call| call.code != Code::Ok).collect();
    ensure!(failed.is_empty(), "clients noticed it: {failed:?}");
    Ok(())
}
