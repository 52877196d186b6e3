//! No more runs at once than there are slots.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_worker::{Context, Worker};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::site::{Site, outcome, slots};

/// How many are at it, and how many were at most.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    pub(crate) async fn job(self) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        sleep(Duration::from_millis(10)).await;
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_never_exceeded_and_nobody_starves() {
    let site = Site::new();
    let all = Gauge::default();
    let mut worker = Worker::new();
    let mut of_type = Vec::new();
    // More types than slots: idle queues must not sit on them.
    for name in ["a", "b", "c", "d", "e"] {
        let (all, own) = (all.clone(), Gauge::default());
        of_type.push(own.clone());
        worker = worker.register(name, 2, move |_: Value, _: Context| {
            let (all, own) = (all.clone(), own.clone());
            async move {
                tokio::join!(all.job(), own.job());
                Ok(())
            }
        });
    }
    site.start_with(worker, slots(3));
    let mut ids = Vec::new();
    for round in 0..20 {
        for name in ["a", "b", "c"].into_iter().chain((round > 10).then_some("e")) {
            ids.push(site.submit(name, json!({})).await);
        }
    }
    for id in &ids {
        let record = site.until_done(id).await;
        assert!(outcome(&record).is_ok());
        assert_eq!(record.attempt, 1);
    }
    assert_eq!(all.most(), 3);
    assert!(of_type.iter().all(|own| own.most() <= 2));
}

#[tokio::test(start_paused = true)]
async fn two_queues_share_the_last_slot() {
    let site = Site::new();
    let mut worker = Worker::new();
    for name in ["a", "b"] {
        worker = worker.register(name, 1, |_: Value, _: Context| async {
            sleep(Duration::from_millis(10)).await;
            Ok(())
        });
    }
    let mut ids = Vec::new();
    for _ in 0..5 {
        for name in ["a", "b"] {
            ids.push(site.submit(name, json!({})).await);
        }
    }
    // On one thread they would take it from each other in step, and nothing else would run.
    site.start_with(worker, slots(1));
    for id in &ids {
        assert!(outcome(&site.until_done(id).await).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_does_not_wait_until_the_end_of_its_job_is_reported() {
    let site = Site::new();
    let worker = Worker::new().register("a", 1, |_: Value, _: Context| async { Ok(()) });
    site.bus.unconfirmed_outcomes.store(usize::MAX, Ordering::SeqCst);
    let start = Instant::now();
    site.start(worker);
    let (first, second) = (site.submit("a", json!({})).await, site.submit("a", json!({})).await);
    for id in [first, second] {
        site.until_done(&id).await;
    }
    // By its next renewal the worker would hear that the first is over.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
