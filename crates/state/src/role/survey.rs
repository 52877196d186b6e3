//! Measures what has to be looked up: how long the queues are, and how many records there are.
//!
//! Every replica looks, so that none has to be there; each look costs the same however much waits.

use std::{collections::BTreeMap, error::Error as StdError, sync::Arc, time::Duration};

use futures::future::join_all;
use longshore_bus::subjects;
use longshore_core::{telemetry::metrics, time::Time};
use longshore_proto::internal::Hint;
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;

/// How old what is shown may be.
const INTERVAL: Duration = Duration::from_secs(10);
/// Of how many queues the oldest hint is looked up, the longest first.
const MOST: usize = 256;

/// How a queue stands.
#[derive(Default)]
struct Queue {
    depth: u64,
    subjects: Vec<String>,
}

/// Looks every now and then, until `shutdown`.
pub(super) async fn survey(ledger: Arc<Ledger>, shutdown: CancellationToken) {
    let mut shown: BTreeMap<String, Queue> = BTreeMap::new();
    loop {
        let looked = async {
            look_at_records(&ledger).await;
            look_at_queues(&ledger, &mut shown).await;
            look_at_events(&ledger).await;
            tokio::time::sleep(INTERVAL).await;
        };
        if shutdown.run_until_cancelled(looked).await.is_none() {
            return;
        }
    }
}

async fn look_at_records(ledger: &Ledger) {
    match ledger.store().size().await {
        Ok(records) => metrics().records(records),
        Err(error) => {
            tracing::debug!(error = &error as &dyn StdError, "can't count the records");
        }
    }
}

/// `shown` is what was shown before: a queue that has become empty is shown as such once more.
async fn look_at_queues(ledger: &Ledger, shown: &mut BTreeMap<String, Queue>) {
    let depths = match ledger.bus().depths().await {
        Ok(depths) => depths,
        Err(error) => {
            tracing::debug!(error = &error as &dyn StdError, "can't look at the queues");
            return;
        }
    };
    // The hints' times are the store's.
    let Some(now) = now(ledger).await else { return };
    for queue in shown.values_mut() {
        *queue = Queue::default();
    }
    for (subject, depth) in depths {
        let Some((name, _)) = subjects::parse_job(&subject) else { continue };
        let queue = shown.entry(name.to_owned()).or_default();
        queue.depth += depth;
        queue.subjects.push(subject);
    }
    let mut queues: Vec<(&String, &Queue)> = shown.iter().collect();
    queues.sort_by_key(|(_, queue)| std::cmp::Reverse(queue.depth));
    join_all(queues.into_iter().take(MOST).map(async |(name, queue)| {
        let oldest = join_all(queue.subjects.iter().map(|subject| oldest(ledger, subject))).await;
        let oldest = oldest.into_iter().flatten().min().map(|oldest| now.since(oldest));
        metrics().queue(name, queue.depth, oldest);
    }))
    .await;
    shown.retain(|_, queue| queue.depth > 0);
}

/// By this look the bus gets rid of events that it holds although they are done with. (The looks at
/// queues do the same for hints.)
async fn look_at_events(ledger: &Ledger) {
    if let Err(error) = ledger.bus().oldest(subjects::EVENTS).await {
        tracing::debug!(error = &error as &dyn StdError, "can't look at the events");
    }
}

async fn now(ledger: &Ledger) -> Option<Time> {
    let anyone = longshore_core::names::OperationId::random();
    let loaded = ledger.store().load(std::slice::from_ref(&anyone)).await.pop()?;
    loaded.ok().map(|loaded| loaded.now)
}

async fn oldest(ledger: &Ledger, subject: &str) -> Option<Time> {
    let payload = ledger.bus().oldest(subject).await.ok()??;
    Hint::decode(payload).ok().map(|hint| Time::from_micros(hint.time))
}
