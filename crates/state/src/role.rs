//! The state role: answers workers, records what they report, fires timers. Any number of
//! replicas; none has anything that the others need.

mod claims;
mod pauses;
mod recorder;
mod survey;
mod timers;

use std::{sync::Arc, time::Duration};

use longshore_bus::{self as bus, Bus, Subscription, subjects};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::pauses::Pauses;
use crate::{ledger::Ledger, retry};

/// How the state role works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many requests of workers are answered at once.
    pub requests: usize,
    /// How many batches of events are applied at once.
    pub recorders: usize,
    /// How many events or timers make a batch at most.
    pub batch: usize,
    /// The longest pause between two looks for due timers: how late one that another process has
    /// set may be.
    #[serde(with = "humantime_serde")]
    pub timer_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { requests: 64, recorders: 4, batch: 256, timer_interval: Duration::from_secs(1) }
    }
}

/// Serves until `shutdown`, then finishes what is in flight.
///
/// Neither a store nor a bus that is out of reach ends it: it goes on as soon as they are back.
///
/// # Panics
/// If a part of it does: whoever runs it starts it again, and half of it would go unnoticed.
pub async fn run(ledger: Arc<Ledger>, settings: Settings, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let pauses = Arc::new(Pauses::default());
    for subject in [subjects::CLAIM, subjects::RENEW] {
        let pauses = pauses.clone();
        let (ledger, settings, shutdown) = (ledger.clone(), settings.clone(), shutdown.clone());
        tasks.spawn(claims::serve(ledger, pauses, (subject, settings.requests), shutdown));
    }
    tasks.spawn(recorder::record(ledger.clone(), settings.clone(), shutdown.clone()));
    tasks.spawn(timers::fire(ledger.clone(), settings.clone(), shutdown.clone()));
    tasks.spawn(survey::survey(ledger.clone(), shutdown.clone()));
    tasks.spawn(timers::watch_for_loss(ledger, settings.batch, shutdown));
    tasks.join_all().await;
}

/// Subscribes, as soon as the bus lets it; `None` at shutdown.
async fn subscribe(
    bus: &Arc<dyn Bus>,
    subject: &str,
    shutdown: &CancellationToken,
) -> Option<Box<dyn Subscription>> {
    let attempt = || bus.subscribe(subject, Some(subjects::STATE_GROUP));
    retry::until(shutdown, attempt, |error: &bus::Error| {
        tracing::warn!(subject, error = error as &dyn std::error::Error, "can't serve workers yet");
    })
    .await
}
