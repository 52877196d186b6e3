//! Fetches the hints of one job type, no more than there are slots free, or free at any moment.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use longshore_bus::{Consumer, Delivery, Work};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use super::{Job, Shared, claim, pause};

/// How many hints are fetched and claimed together at most.
const BATCH: usize = 64;

/// How many claims may be on their way at a time. Slots that get free meanwhile are filled together
/// by the next one: under load a claim is for many, at rest none waits for others.
const WINDOW: usize = 2;

/// How long hints that were fetched for slots to come wait for them, before they go back for
/// another worker.
const HOLD: Duration = Duration::from_millis(100);

/// Leave to run one attempt: a slot of its job type, and one of the worker.
pub(super) struct Slot {
    _of_type: OwnedSemaphorePermit,
    _of_worker: OwnedSemaphorePermit,
    freed: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is needed for a claim.
struct Ready {
    place: Option<OwnedSemaphorePermit>,
    free: Vec<OwnedSemaphorePermit>,
    /// The queue is as far as is known not paused.
    awake: bool,
}

/// The hints of one job type on their way to slots.
struct Queue {
    shared: Arc<Shared>,
    job: Arc<Job>,
    slots: Arc<Semaphore>,
    window: Arc<Semaphore>,
    /// What was fetched and has no slot yet.
    hand: VecDeque<Delivery>,
    pace: Pace,
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
    let (hand, pace) = (VecDeque::new(), Pace::new());
    let mut queue = Queue { shared, job, slots, window, hand, pace };
    while let Some(ready) = shutdown.run_until_cancelled(queue.ready()).await {
        let fetched = queue.fetch(&mut *consumer, &ready);
        let Some(Some(())) = shutdown.run_until_cancelled(fetched).await else { break };
        queue.claim(ready).await;
    }
    queue.clear().await;
}

impl Queue {
    /// Waits until something may be claimed. What is in hand goes back if that takes long.
    async fn ready(&mut self) -> Ready {
        if !self.hand.is_empty() {
            if let Ok(ready) = timeout(HOLD, self.room()).await {
                return ready;
            }
            self.clear().await;
        }
        self.room().await
    }

    async fn room(&mut self) -> Ready {
        // Semaphores here are never closed.
        let place = self.window.clone().acquire_owned().await.ok();
        let mut free = free_slots(&self.shared, &self.slots).await;
        let most = self.job.rest.over(free.len()).await;
        let awake = most == free.len();
        free.truncate(most);
        Ready { place, free, awake }
    }

    /// Sees that there is something in hand; `None` at the end of the bus.
    ///
    /// Where jobs are short, hints are fetched for the slots too that are about to get free: they
    /// need not stand empty while the bus is asked.
    async fn fetch(&mut self, consumer: &mut dyn Consumer, ready: &Ready) -> Option<()> {
        if self.hand.is_empty() {
            let ahead = if ready.awake { self.pace.ahead() } else { 0 };
            self.hand.extend(consumer.next(ready.free.len() + ahead).await?);
        }
        Some(())
    }

    async fn claim(&mut self, ready: Ready) {
        let Ready { place, free, .. } = ready;
        let count = free.len().min(self.hand.len());
        let deliveries = self.hand.drain(..count).collect();
        let batch = seat(&self.shared, deliveries, free, &self.pace.freed).await;
        if batch.is_empty() {
            return;
        }
        let claim = claim::claim(self.shared.clone(), self.job.clone(), batch);
        let claim = async move {
            claim.await;
            drop(place);
        };
        self.shared.tasks.spawn(self.shared.until_halt(claim));
    }

    /// Gives back what is in hand.
    async fn clear(&mut self) {
        let back = self.hand.drain(..).map(|hint| claim::give_back(hint, Duration::ZERO));
        join_all(back).await;
    }
}

/// How fast slots get free.
struct Pace {
    freed: Arc<AtomicUsize>,
    since: Instant,
    /// How many had got free by then.
    before: usize,
    ahead: usize,
}

impl Pace {
    /// For so long hints are fetched ahead, as slots have got free lately.
    const SPAN: Duration = Duration::from_millis(20);

    fn new() -> Self {
        Self { freed: Arc::default(), since: Instant::now(), before: 0, ahead: 0 }
    }

    /// How many hints to fetch for slots that are about to get free.
    fn ahead(&mut self) -> usize {
        let elapsed = self.since.elapsed();
        if elapsed >= Self::SPAN {
            let freed = self.freed.load(Ordering::Relaxed);
            let share = Self::SPAN.as_secs_f64() / elapsed.as_secs_f64();
            self.ahead = ((freed.wrapping_sub(self.before)) as f64 * share) as usize;
            (self.since, self.before) = (Instant::now(), freed);
        }
        self.ahead.min(BATCH)
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
    freed: &Arc<AtomicUsize>,
) -> Vec<(Delivery, Slot)> {
    let mut free = free.into_iter();
    let mut batch = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match (free.next(), shared.slots.clone().try_acquire_owned()) {
            (Some(of_type), Ok(of_worker)) => {
                let freed = freed.clone();
                let slot = Slot { _of_type: of_type, _of_worker: of_worker, freed };
                batch.push((delivery, slot));
            }
            (None, _) | (_, Err(_)) => claim::give_back(delivery, pause(0)).await,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn as_many_are_fetched_ahead_as_slots_have_got_free_lately() {
        let mut pace = Pace::new();
        assert_eq!(pace.ahead(), 0);
        pace.freed.fetch_add(10, Ordering::Relaxed);
        advance(Pace::SPAN).await;
        assert_eq!(pace.ahead(), 10);
        pace.freed.fetch_add(1000, Ordering::Relaxed);
        advance(Pace::SPAN).await;
        assert_eq!(pace.ahead(), BATCH);
        // Jobs that take long.
        pace.freed.fetch_add(5, Ordering::Relaxed);
        advance(Duration::from_secs(60)).await;
        assert_eq!(pace.ahead(), 0);
    }
}
