//! What is claimed for slots that are about to get free.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_core::{names::OperationId, record::State};
use longshore_proto::rpc::Code;
use longshore_testkit::eventually;
use longshore_worker::{Context, JobError, Worker};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    site::{Site, Started, is_running, outcome, settings, slots},
    slots::Gauge,
};

/// How long the bus takes for a claim here.
const CLAIM: Duration = Duration::from_millis(4);
/// Attempts wait for their slots for no longer than this.
const HOLD: Duration = Duration::from_millis(100);

fn site() -> Site {
    let site = Site::new();
    *site.bus.claim_delay.lock().unwrap() = CLAIM;
    site
}

/// Which operations have begun to run.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<BTreeSet<OperationId>>>);

impl Begun {
    fn has(&self, id: &OperationId) -> bool {
        self.0.lock().unwrap().contains(id)
    }

    /// A worker of a job that takes 5 ms, or very long.
    fn worker(&self) -> Worker {
        let begun = self.clone();
        Worker::new().register("a", 2, move |input: Value, context: Context| {
            begun.0.lock().unwrap().insert(context.operation().id.clone());
            async move {
                if input == json!("long") {
                    context.cancelled().await;
                    return Err(JobError::cancelled());
                }
                sleep(Duration::from_millis(5)).await;
                Ok(context.failures())
            }
        })
    }
}

/// A worker all of whose slots have just been taken for long.
struct Full {
    site: Site,
    started: Started,
    begun: Begun,
    /// Operations that are handed in after those that have the slots.
    behind: Vec<OperationId>,
    /// One of them that waits in the worker.
    waiting: OperationId,
}

async fn full() -> Full {
    let (site, begun) = (site(), Begun::default());
    let submit = async |input: &str| {
        site.submit_with("a", json!(input), |job| job.retry.max_attempts = 1).await
    };
    for _ in 0..200 {
        submit("short").await;
    }
    let long = [submit("long").await, submit("long").await];
    let mut behind = Vec::new();
    for _ in 0..10 {
        behind.push(submit("short").await);
    }
    let started = site.start_with(begun.worker(), settings());
    let both = async {
        while !long.iter().all(|id| begun.has(id)) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), both).await.unwrap();
    let waiting = eventually(Duration::from_secs(10), || async {
        for id in &behind {
            if is_running(&site.record(id).await) && !begun.has(id) {
                return Ok(id.clone());
            }
        }
        Err("nothing waits")
    })
    .await;
    Full { site, started, begun, behind, waiting }
}

#[tokio::test(start_paused = true)]
async fn slots_do_not_wait_for_claims_where_jobs_are_short() {
    let (site, gauge) = (site(), Gauge::default());
    let running = gauge.clone();
    let worker = Worker::new().register("a", 10, move |_: Value, _: Context| {
        let gauge = running.clone();
        async move {
            gauge.job().await;
            Ok(())
        }
    });
    let mut ids = Vec::new();
    for _ in 0..500 {
        ids.push(site.submit("a", json!({})).await);
    }
    let start = Instant::now();
    site.start(worker);
    for id in &ids {
        let record = site.until_done(id).await;
        assert!(outcome(&record).is_ok());
        assert_eq!(record.attempt, 1);
    }
    // Fifty rounds of 10 ms. With the claims in between they would take 0.7 s.
    assert!(start.elapsed() < Duration::from_millis(620), "{:?}", start.elapsed());
    assert_eq!(gauge.most(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_long_goes_to_another_worker_and_has_not_failed() {
    let full = full().await;
    let (site, waiting) = (&full.site, &full.waiting);
    let start = Instant::now();
    let record = site.until(waiting, |record| !is_running(record)).await;
    assert!(start.elapsed() < HOLD * 2, "{:?}", start.elapsed());
    let error = record.last_error.unwrap();
    assert_eq!(error.message, "the worker had no slot for it and handed the job back");

    // From now on it takes no more than it has slots for.
    sleep(Duration::from_secs(60)).await;
    for id in &full.behind {
        let record = site.record(id).await;
        assert!(matches!(record.state, State::Queued(_)) && record.attempt <= 1, "{record:?}");
    }
    site.start_with(full.begun.worker(), settings());
    for id in &full.behind {
        let record = site.until_done(id).await;
        assert_eq!((outcome(&record), record.failures), (Ok(json!(0)), 0));
    }
    assert_eq!(site.record(waiting).await.attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_while_it_waits_does_not_start() {
    let full = full().await;
    let start = Instant::now();
    full.site.cancel(&full.waiting).await;
    let record = full.site.until_done(&full.waiting).await;
    assert!(start.elapsed() < HOLD / 2, "{:?}", start.elapsed());
    assert_eq!(outcome(&record).unwrap_err().0, Code::Cancelled);
    assert!(!full.begun.has(&full.waiting));
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_shutdown_is_handed_back_at_once() {
    let full = full().await;
    let start = Instant::now();
    full.started.shutdown.cancel();
    let record = full.site.until(&full.waiting, |record| !is_running(record)).await;
    assert!(start.elapsed() < HOLD / 2, "{:?}", start.elapsed());
    let error = record.last_error.unwrap();
    assert_eq!(error.message, "the worker stopped and handed the job back");
    assert!(!full.begun.has(&full.waiting));
}

/// Attempts of one type wait for the worker's slots; one of another type takes its turn.
#[tokio::test(start_paused = true)]
async fn a_busy_queue_leaves_slots_of_the_worker_to_another() {
    let (site, gauge) = (site(), Gauge::default());
    let mut worker = Worker::new();
    for name in ["busy", "rare"] {
        let running = gauge.clone();
        worker = worker.register(name, 10, move |_: Value, _: Context| {
            let gauge = running.clone();
            async move {
                gauge.job().await;
                Ok(())
            }
        });
    }
    let mut last = None;
    for _ in 0..500 {
        last = Some(site.submit("busy", json!({})).await);
    }
    site.start_with(worker, slots(10));
    for _ in 0..10 {
        sleep(Duration::from_millis(20)).await;
        let start = Instant::now();
        let id = site.submit("rare", json!({})).await;
        let record = site.until_done(&id).await;
        assert!(outcome(&record).is_ok());
        assert_eq!(record.attempt, 1);
        assert!(start.elapsed() < HOLD, "{:?}", start.elapsed());
    }
    let last = last.unwrap();
    assert!(!site.record(&last).await.is_done(), "the other queue was empty");
    site.until_done(&last).await;
    assert_eq!(gauge.most(), 10);
}
