//! Fetches the hints of one job type, no more than there are places for what they tell of.

use std::{error::Error as StdError, sync::Arc};

use longshore_bus::{Consumer, Delivery, Work};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{
    Job, Shared, claim, pause,
    slots::{BATCH, HOLD, Place, Slots},
};

/// How many claims may be on their way at a time. Places that get free meanwhile are filled together
/// by the next one: under load a claim is for many, at rest none waits for others.
const WINDOW: usize = 2;

/// The hints of one job type on their way to places.
struct Queue {
    shared: Arc<Shared>,
    job: Arc<Job>,
    slots: Arc<Slots>,
    window: Arc<Semaphore>,
}

/// Fetches and has claimed, until shutdown or the end of the bus.
pub(super) async fn run(shared: Arc<Shared>, job: Arc<Job>) {
    let shutdown = shared.shutdown.clone();
    let Some(Some(mut consumer)) = shutdown.run_until_cancelled(consume(&shared, &job)).await
    else {
        return;
    };
    let slots = Slots::new(job.concurrency, shared.claim_time.clone());
    let window = Arc::new(Semaphore::new(WINDOW));
    let queue = Queue { shared, job, slots, window };
    while let Some((turn, most)) = shutdown.run_until_cancelled(queue.room()).await {
        let fetched = shutdown.run_until_cancelled(consumer.next(most)).await;
        let Some(Some(hints)) = fetched else { break };
        queue.claim(turn, hints).await;
    }
}

impl Queue {
    /// Waits until something may be claimed, and returns how much.
    ///
    /// Places are not taken yet: an idle queue must not keep those of the worker from the others.
    async fn room(&self) -> (Option<OwnedSemaphorePermit>, usize) {
        // Semaphores here are never closed.
        let turn = self.window.clone().acquire_owned().await.ok();
        drop(self.slots.place().await);
        drop(self.shared.slots.place().await);
        let room = self.slots.room().min(self.shared.slots.room()).clamp(1, BATCH);
        (turn, self.job.rest.over(room).await)
    }

    async fn claim(&self, turn: Option<OwnedSemaphorePermit>, hints: Vec<Delivery>) {
        let batch = self.seat(hints).await;
        if batch.is_empty() {
            return;
        }
        let claim = claim::claim(self.shared.clone(), self.job.clone(), batch);
        let claim = async move {
            claim.await;
            drop(turn);
        };
        self.shared.tasks.spawn(self.shared.until_halt(claim));
    }

    /// Gives each hint its place. Another queue may have taken the worker's meanwhile: then the first
    /// waits in line. What gets none goes back for another worker, after a pause: it must not be
    /// taken and given back for ever.
    async fn seat(&self, hints: Vec<Delivery>) -> Vec<(Delivery, Place)> {
        let mut batch = Vec::with_capacity(hints.len());
        let mut first = timeout(HOLD, self.shared.slots.place()).await.ok();
        for hint in hints {
            let of_worker = first.take().or_else(|| self.shared.slots.try_place());
            match (self.slots.try_place(), of_worker) {
                (Some(of_type), Some(of_worker)) => {
                    let (slots, all) = (&self.slots, &self.shared.slots);
                    batch.push((hint, Place::new((slots, of_type), (all, of_worker))));
                }
                (None, _) | (_, None) => claim::give_back(hint, pause(0)).await,
            }
        }
        batch
    }
}

async fn consume(shared: &Shared, job: &Job) -> Option<Box<dyn Consumer>> {
    let mut failures = 0;
    loop {
        match shared.bus.consume(Work::Hints(job.job_type.clone())).await {
            Ok(consumer) => return Some(consumer),
            Err(error) => {
                let error = &error as &dyn StdError;
                tracing::warn!(job_type = %job.job_type, error, "can't take jobs yet");
            }
        }
        sleep(pause(failures)).await;
        failures += 1;
    }
}
