//! What becomes of attempts when messages get lost.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_core::lifecycle::Rules;
use longshore_state::role;
use longshore_worker::{Context, Worker};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::site::{Site, outcome};

/// Counts itself while it exists.
struct Present(watch::Sender<usize>);

impl Present {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_stops_before_a_lease_that_is_not_renewed_ends() {
    let lease = Duration::from_secs(2);
    let site = Site::with(Rules { lease, ..Rules::default() });
    let count = watch::Sender::new(0_usize);
    let present = count.clone();
    let worker = Worker::new().register("work", 1, move |_: Value, context: Context| {
        let present = Present::new(&present);
        async move {
            if context.attempt() == 1 {
                pending::<()>().await;
            }
            drop(present);
            Ok(context.attempt())
        }
    });
    let asked = Instant::now();
    site.bus.no_renewals.store(true, Ordering::SeqCst);
    site.start(worker);
    let id = site.submit("work", json!({})).await;
    let mut present = count.subscribe();
    present.wait_for(|count| *count == 1).await.unwrap();
    timeout(Duration::from_secs(20), present.wait_for(|count| *count == 0)).await.unwrap().unwrap();
    let record = site.record(&id).await;
    assert!(asked.elapsed() < lease * 2, "it was stopped after {:?}", asked.elapsed());
    assert_eq!(record.attempt, 1, "no other attempt started before this one had stopped");

    site.bus.no_renewals.store(false, Ordering::SeqCst);
    let record = site.until_done(&id).await;
    assert_eq!((outcome(&record), record.attempt), (Ok(json!(2)), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_renewed_for_as_long_as_it_takes() {
    let site = Site::with(Rules { lease: Duration::from_secs(4), ..Rules::default() });
    let worker = Worker::new().register("work", 1, |_: Value, context: Context| async move {
        // Longer than two leases, which are long enough for a machine under load to renew.
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok(context.attempt())
    });
    site.start(worker);
    let id = site.submit("work", json!({})).await;
    assert_eq!(outcome(&site.until_done(&id).await), Ok(json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_is_lost_is_repeated() {
    let site = Site::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let worker = Worker::new().register("work", 1, move |_: Value, context: Context| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(context.attempt()) }
    });
    site.bus.lost_claim_answers.store(2, Ordering::SeqCst);
    site.start(worker);
    let id = site.submit("work", json!({})).await;
    assert_eq!(outcome(&site.until_done(&id).await), Ok(json!(1)));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_is_not_confirmed_is_reported_again() {
    let site = Site::new();
    let worker = Worker::new()
        .register("work", 1, |_: Value, context: Context| async move { Ok(context.attempt()) });
    site.bus.unconfirmed_outcomes.store(2, Ordering::SeqCst);
    let started = site.start(worker);
    let id = site.submit("work", json!({})).await;
    assert_eq!(outcome(&site.until_done(&id).await), Ok(json!(1)));
    started.stop().await;
    assert_eq!(site.bus.unconfirmed_outcomes.load(Ordering::SeqCst), 0);
    assert_eq!(outcome(&site.record(&id).await), Ok(json!(1)));
}

/// Whoever started it sees that, and starts it again: half of it would go unnoticed.
#[tokio::test]
async fn a_worker_of_which_a_part_panics_ends() {
    let site = Site::new();
    site.bus.broken.store(true, Ordering::SeqCst);
    let started = site.start(Worker::new().register("work", 1, |(): (), _| async { Ok(()) }));
    let ended = timeout(Duration::from_secs(20), started.task).await.unwrap();
    assert!(ended.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_worker_that_cannot_report_any_more_ends() {
    let site = Site::new();
    let bus = site.bus.clone();
    let started = site.start(Worker::new().register("work", 1, move |_: Value, _| {
        bus.broken.store(true, Ordering::SeqCst);
        async { Ok(()) }
    }));
    site.submit("work", json!({})).await;
    let ended = timeout(Duration::from_secs(20), started.task).await.unwrap();
    assert!(ended.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_state_role_of_which_a_part_panics_ends() {
    let site = Site::new();
    site.bus.broken.store(true, Ordering::SeqCst);
    let role = role::run(site.ledger.clone(), Default::default(), CancellationToken::new());
    let ended = timeout(Duration::from_secs(20), tokio::spawn(role)).await.unwrap();
    assert!(ended.unwrap_err().is_panic());
}
