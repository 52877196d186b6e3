//! Fetches the hints of one job type, no more than there are free slots.

use std::{error::Error as StdError, sync::Arc};

use longshore_bus::{Consumer, Delivery, Work};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{Job, Shared, claim, pause};

/// How many hints are fetched and claimed together at most.
const BATCH: usize = 64;

/// How many claims may be on their way at a time. Slots that get free meanwhile are filled together
/// by the next one: under load a claim is for many, at rest none waits for others.
const WINDOW: usize = 2;

/// Leave to run one attempt: a slot of its job type, and one of the worker.
pub(super) struct Slot {
    _of_type: OwnedSemaphorePermit,
    _of_worker: OwnedSemaphorePermit,
}

/// Fetches and has claimed, until shutdown or the end of the bus.
pub(super) async fn run(shared: Arc<Shared>, job: Arc<Job>) {
    let shutdown = shared.shutdown.clone();
    let Some(Some(mut consumer)) = shutdown.run_until_cancelled(consume(&shared, &job)).await
    else {
        return;
    };
    let slots = Arc::new(Semaphore::new(job.concurrency.min(Semaphore::MAX_PERMITS)));
    let window = Arc::new(Semaphore::new(WINDOW));
    loop {
        let ready = async {
            // Semaphores here are never closed.
            let place = window.clone().acquire_owned().await.ok();
            let mut free = free_slots(&shared, &slots).await;
            let most = job.rest.over(free.len()).await;
            free.truncate(most);
            (place, free)
        };
        let Some((place, free)) = shutdown.run_until_cancelled(ready).await else { return };
        let Some(fetched) = shutdown.run_until_cancelled(consumer.next(free.len())).await else {
            return;
        };
        let Some(deliveries) = fetched else { return };
        let batch = seat(&shared, deliveries, free).await;
        if !batch.is_empty() {
            let claim = claim::claim(shared.clone(), job.clone(), batch);
            let claim = async move {
                claim.await;
                drop(place);
            };
            shared.tasks.spawn(shared.until_halt(claim));
        }
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

/// The slots of the job type that are free, once there are any, and no more than the worker has.
///
/// Those of the worker are not taken yet: an idle queue must not keep them from the others.
async fn free_slots(shared: &Shared, slots: &Arc<Semaphore>) -> Vec<OwnedSemaphorePermit> {
    let mut free = Vec::new();
    if let Ok(slot) = slots.clone().acquire_owned().await {
        free.push(slot);
    }
    drop(shared.slots.acquire().await);
    let most = shared.slots.available_permits().clamp(1, BATCH);
    while free.len() < most
        && let Ok(slot) = slots.clone().try_acquire_owned()
    {
        free.push(slot);
    }
    free
}

/// Gives each delivery its slot. Another queue may have taken the worker's last one in between:
/// then what came goes back for another worker, after a pause: two queues that wait for the last
/// slot by turns must not take and give back for ever.
async fn seat(
    shared: &Shared,
    deliveries: Vec<Delivery>,
    free: Vec<OwnedSemaphorePermit>,
) -> Vec<(Delivery, Slot)> {
    let mut free = free.into_iter();
    let mut batch = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match (free.next(), shared.slots.clone().try_acquire_owned()) {
            (Some(of_type), Ok(of_worker)) => {
                batch.push((delivery, Slot { _of_type: of_type, _of_worker: of_worker }));
            }
            (None, _) | (_, Err(_)) => claim::give_back(delivery, pause(0)).await,
        }
    }
    batch
}
