//! Fires the records' timers, and all of them when the bus has lost its hints.

use std::{
    collections::{BTreeSet, HashMap},
    error::Error as StdError,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use longshore_bus::{Bus, subjects};
use longshore_core::{
    lifecycle::{HintsOut, Input, Write},
    names::OperationId,
    record::State,
    time::Time,
};
use longshore_proto::internal::Hint;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::{
    ledger::{Error, Ledger},
    retry,
    store::{self, Sweep},
};

/// The note under which the store keeps the epoch of the bus whose hints are known to be right.
const EPOCH: &str = "bus-epoch";

/// Looks for due timers, at least once per interval.
pub(super) async fn fire(ledger: Arc<Ledger>, settings: Settings, shutdown: CancellationToken) {
    let mut pauses = retry::pauses();
    while !shutdown.is_cancelled() {
        let pause = match fire_due(&ledger, &settings).await {
            Ok(pause) => {
                pauses = retry::pauses();
                pause
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn StdError, "can't look for timers");
                pauses.next().unwrap_or(settings.timer_interval)
            }
        };
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// Fires a batch of what is due and says how long to pause.
async fn fire_due(ledger: &Ledger, settings: &Settings) -> Result<Duration, store::Error> {
    let due = ledger.store().due(settings.batch.max(1)).await?;
    if due.ids.is_empty() {
        // Replicas are to look at different moments: most of what one fires, the others need not.
        let jitter = 0.75 + 0.25 * fastrand::f64();
        return Ok(due
            .next
            .unwrap_or(settings.timer_interval)
            .min(settings.timer_interval.mul_f64(jitter)));
    }
    let fired = fire_all(ledger, due.ids).await;
    // What can't be fired must not keep the loop spinning.
    Ok(if fired > 0 { Duration::ZERO } else { settings.timer_interval })
}

/// Fires these and returns how many of them it changed.
async fn fire_all(ledger: &Ledger, ids: Vec<OperationId>) -> usize {
    let hints = hints_of(ledger, &ids).await;
    let inputs = ids
        .iter()
        .map(|id| {
            let hints = hints.get(id).copied().unwrap_or(HintsOut::Unknown);
            (id.clone(), Input::Timer { hints })
        })
        .collect();
    let mut changed = Vec::new();
    for (id, result) in ids.iter().zip(ledger.apply_all(inputs).await) {
        match result {
            Ok(applied) if applied.write == Write::Keep => {}
            Ok(applied) => changed.push(applied),
            Err(Error::Rejected(rejection)) => tracing::debug!(%rejection, "a timer came too late"),
            Err(error) => {
                let error = &error as &dyn StdError;
                tracing::warn!(operation = %id, error, "could not fire a timer");
            }
        }
    }
    ledger.perform_all(&changed).await;
    changed.len()
}

/// What is known about the hints of those among these that wait for a worker.
async fn hints_of(ledger: &Ledger, ids: &[OperationId]) -> HashMap<OperationId, HintsOut> {
    let loaded = ledger.store().load(ids).await;
    let waiting: Vec<(&OperationId, String)> = ids
        .iter()
        .zip(loaded)
        .filter_map(|(id, loaded)| {
            let record = loaded.ok()?.stored?.record;
            let hinted = matches!(&record.state, State::Queued(queued) if queued.hint.is_some());
            hinted.then(|| (id, subjects::job(&record.job.job_type, record.job.priority)))
        })
        .collect();
    let queues: BTreeSet<&String> = waiting.iter().map(|(_, queue)| queue).collect();
    let oldest: HashMap<&String, HintsOut> = join_all(
        queues.into_iter().map(|queue| async move { (queue, oldest(ledger.bus(), queue).await) }),
    )
    .await
    .into_iter()
    .collect();
    waiting.iter().filter_map(|(id, queue)| Some(((*id).clone(), *oldest.get(queue)?))).collect()
}

async fn oldest(bus: &Arc<dyn Bus>, subject: &str) -> HintsOut {
    match bus.oldest(subject).await {
        Ok(None) => HintsOut::None,
        Ok(Some(payload)) => match Hint::decode(payload) {
            Ok(hint) => HintsOut::Since(Time::from_micros(hint.time)),
            Err(error) => {
                tracing::error!(subject, %error, "there is something among the hints that is none");
                HintsOut::Unknown
            }
        },
        Err(error) => {
            tracing::warn!(subject, error = &error as &dyn StdError, "can't look after hints");
            HintsOut::Unknown
        }
    }
}

/// Goes over all timers whenever the bus is another one than before: its storage was lost, and
/// with it the hints of all that waits. Those who wait must not wait for their next look.
pub(super) async fn watch_for_loss(ledger: Arc<Ledger>, batch: usize, shutdown: CancellationToken) {
    let mut status = ledger.bus().status();
    loop {
        let seen = status.borrow_and_update().clone();
        if seen.ready && !seen.epoch.is_empty() {
            let attempt = || go_over(&ledger, &seen.epoch, batch.max(1));
            let done = retry::until(&shutdown, attempt, |error: &store::Error| {
                tracing::warn!(error = error as &dyn StdError, "can't look for lost hints");
            });
            if done.await.is_none() {
                return;
            }
        }
        match shutdown.run_until_cancelled(status.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

async fn go_over(ledger: &Ledger, epoch: &str, batch: usize) -> Result<(), store::Error> {
    let store = ledger.store();
    if store.note(EPOCH).await?.as_deref() == Some(epoch) {
        return Ok(());
    }
    tracing::info!(epoch, "the bus is new or was wiped: looking for lost hints");
    let mut from = Some(Sweep::default());
    let mut sent = 0;
    while let Some(place) = from {
        let (ids, next) = store.sweep(&place, batch).await?;
        sent += fire_all(ledger, ids).await;
        from = next;
    }
    store.set_note(EPOCH, epoch).await?;
    tracing::info!(epoch, sent, "looked for lost hints");
    Ok(())
}
