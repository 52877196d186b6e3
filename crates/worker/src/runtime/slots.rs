//! Slots for what runs, and places for what is to run.
//!
//! An attempt takes a place before it is claimed, and a slot before its handler starts. There are as
//! many places as slots, and where jobs are short some more: as many as slots get free while a claim
//! is on its way. So a slot's next attempt is there when the one before has ended. Both are given
//! in the order in which they were asked for, so no job type keeps another from the worker's.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::pending;
use longshore_core::telemetry::{self, metrics};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How many hints are fetched and claimed together at most, and how many are claimed ahead.
pub(super) const BATCH: usize = 64;

/// How long something waits in a worker, before it goes back for another worker.
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// How long a claim takes, about, in microseconds.
#[derive(Default)]
pub(super) struct ClaimTime(AtomicU64);

impl ClaimTime {
    /// A claim has taken so long.
    pub(super) fn add(&self, time: Duration) {
        let (old, new) = (self.0.load(Ordering::Relaxed), time.min(HOLD).as_micros() as u64);
        self.0.store((old * 7 + new) / 8, Ordering::Relaxed);
    }

    /// How far ahead to claim: a hint has to be fetched first, and a claim may have to wait for
    /// the one before. What would wait for long is not claimed.
    fn lead(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed) * 2).min(HOLD / 2)
    }
}

/// The slots of a job type, or of the worker.
pub(super) struct Slots {
    slots: Arc<Semaphore>,
    places: Arc<Semaphore>,
    count: usize,
    /// How often a slot has got free.
    freed: Arc<AtomicUsize>,
    claim_time: Arc<ClaimTime>,
    pace: Mutex<Pace>,
}

impl Slots {
    pub(super) fn new(count: usize, claim_time: Arc<ClaimTime>) -> Arc<Self> {
        let count = count.min(Semaphore::MAX_PERMITS - BATCH);
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(count)),
            places: Arc::new(Semaphore::new(count)),
            count,
            freed: Arc::default(),
            claim_time,
            pace: Mutex::new(Pace::new()),
        })
    }

    /// Waits in line for a place.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            self.tune(None);
            let place = acquire(&self.places).await;
            if let Some(place) = self.tune(Some(place)) {
                return place;
            }
        }
    }

    /// A place, if there is one.
    pub(super) fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        self.tune(None);
        self.places.clone().try_acquire_owned().ok()
    }

    /// How many places nobody has.
    pub(super) fn room(&self) -> usize {
        self.tune(None);
        self.places.available_permits()
    }

    /// Makes places, or takes back those that are too many by now; the given one, if it is not.
    fn tune(&self, place: Option<OwnedSemaphorePermit>) -> Option<OwnedSemaphorePermit> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let freed = self.freed.load(Ordering::Relaxed);
        let ahead = pace.ahead(freed, self.claim_time.lead()).min(self.count).min(BATCH);
        self.places.add_permits(ahead.saturating_sub(pace.added));
        pace.added = pace.added.max(ahead);
        pace.added -= self.places.forget_permits(pace.added - ahead);
        if pace.added > ahead
            && let Some(place) = place
        {
            place.forget();
            pace.added -= 1;
            return None;
        }
        place
    }
}

/// What an attempt holds from before its claim until its work has ended.
pub(super) struct Place {
    of_type: Arc<Slots>,
    of_worker: Arc<Slots>,
    _places: [OwnedSemaphorePermit; 2],
}

impl Place {
    pub(super) fn new(
        (of_type, place): (&Arc<Slots>, OwnedSemaphorePermit),
        (of_worker, other): (&Arc<Slots>, OwnedSemaphorePermit),
    ) -> Self {
        let (of_type, of_worker) = (of_type.clone(), of_worker.clone());
        Self { of_type, of_worker, _places: [place, other] }
    }

    /// Waits in line for a slot of the job type, then for one of the worker.
    pub(super) async fn slot(&self, job_type: &str) -> Slot {
        let of_type = acquire(&self.of_type.slots).await;
        let of_worker = acquire(&self.of_worker.slots).await;
        Slot {
            _slots: [of_type, of_worker],
            freed: [self.of_type.freed.clone(), self.of_worker.freed.clone()],
            _counted: metrics().slot(job_type),
        }
    }
}

/// Leave to run one attempt.
pub(super) struct Slot {
    _slots: [OwnedSemaphorePermit; 2],
    freed: [Arc<AtomicUsize>; 2],
    _counted: telemetry::Slot,
}

impl Drop for Slot {
    fn drop(&mut self) {
        for freed in &self.freed {
            freed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How fast slots get free.
struct Pace {
    since: Instant,
    /// How many had got free by then.
    before: usize,
    /// How many got free in a second, of late and before.
    rates: [f64; 2],
    /// How many places there are beside one for each slot.
    added: usize,
}

impl Pace {
    /// How long is looked at a time.
    const SPAN: Duration = Duration::from_millis(50);

    fn new() -> Self {
        Self { since: Instant::now(), before: 0, rates: [0.0; 2], added: 0 }
    }

    /// How many slots will get free so soon, if they do as they have twice: that two jobs end
    /// together by chance says nothing.
    fn ahead(&mut self, freed: usize, lead: Duration) -> usize {
        let elapsed = self.since.elapsed();
        if elapsed >= Self::SPAN {
            let rate = freed.wrapping_sub(self.before) as f64 / elapsed.as_secs_f64();
            self.rates = [rate, self.rates[0]];
            (self.since, self.before) = (Instant::now(), freed);
        }
        let [last, before] = self.rates;
        (last.min(before) * lead.as_secs_f64()).round() as usize
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.clone().acquire_owned().await {
        Ok(permit) => permit,
        // Semaphores here are never closed.
        Err(_) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn slots(count: usize) -> Arc<Slots> {
        let claim_time = Arc::new(ClaimTime::default());
        for _ in 0..100 {
            claim_time.add(Duration::from_millis(5));
        }
        Slots::new(count, claim_time)
    }

    /// So many slots get free, within the time that is looked at.
    async fn free(slots: &Slots, count: usize) {
        slots.freed.fetch_add(count, Ordering::Relaxed);
        advance(Pace::SPAN).await;
        slots.tune(None);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_places_for_slots_that_are_about_to_get_free() {
        let slots = slots(50);
        free(&slots, 100).await;
        assert_eq!(slots.room(), 50, "once is chance");
        free(&slots, 100).await;
        assert_eq!(slots.room(), 70);
        for _ in 0..2 {
            free(&slots, 10_000).await;
        }
        assert_eq!(slots.room(), 100);
        // Jobs that take long.
        free(&slots, 5).await;
        assert_eq!(slots.room(), 51);
        free(&slots, 0).await;
        assert_eq!(slots.room(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_too_many_are_taken_back_when_they_get_free() {
        let slots = slots(2);
        for _ in 0..2 {
            free(&slots, 100).await;
        }
        let mut held = Vec::new();
        while let Some(place) = slots.try_place() {
            held.push(place);
        }
        assert_eq!(held.len(), 4);
        let mut next = Box::pin(slots.place());
        advance(Duration::from_secs(1)).await;
        for left in [3, 2] {
            assert!(futures::poll!(&mut next).is_pending());
            held.pop();
            assert_eq!(held.len(), left);
        }
        assert!(futures::poll!(&mut next).is_pending(), "they were of no slot");
        held.pop();
        assert!(futures::poll!(&mut next).is_ready());
        assert_eq!(slots.room(), 1);
    }
}
