//! What a worker does when it is told to stop.

use std::{future::pending, time::Duration};

use longshore_core::record::Record;
use longshore_worker::{Context, Error, Settings, StopReason, Worker};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};

use crate::site::{Site, is_running, outcome, settings};

/// A worker whose job ends as soon as it is the second attempt, or told to by its name; it says when
/// a first attempt has begun. (The record says that sooner, when the claim is committed; a worker
/// that is stopped between the two hands the job back unbegun.)
fn worker() -> (Worker, UnboundedReceiver<()>) {
    let (begun, begins) = unbounded_channel();
    let worker = Worker::new().register("work", 4, move |input: Value, context: Context| {
        let begun = begun.clone();
        async move {
            if context.attempt() == 1 {
                // Not every test waits for it.
                begun.send(()).ok();
                match input["way"].as_str() {
                    Some("stubborn") => pending().await,
                    Some("brief") => tokio::time::sleep(Duration::from_millis(300)).await,
                    _ => {
                        context.cancelled().await;
                        assert_eq!(context.stop_reason(), Some(StopReason::Draining));
                        return Err(longshore_worker::JobError::cancelled());
                    }
                }
            }
            Ok(context.attempt())
        }
    });
    (worker, begins)
}

fn brief(drain_timeout: Duration) -> Settings {
    Settings { drain_timeout, cancel_grace: Duration::from_millis(200), ..settings() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_within_the_drain_time_ends_here() {
    let site = Site::new();
    let (worker, mut begins) = worker();
    let started = site.start_with(worker, brief(Duration::from_secs(20)));
    let id = site.submit("work", json!({"way": "brief"})).await;
    begins.recv().await.unwrap();
    started.stop().await;
    let record = site.until_done(&id).await;
    assert_eq!(outcome(&record), Ok(json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_handed_back_at_once() {
    let site = Site::new();
    let (first, mut begins) = worker();
    let started = site.start_with(first, brief(Duration::from_millis(50)));
    let obedient = site.submit("work", json!({})).await;
    let stubborn = site.submit("work", json!({"way": "stubborn"})).await;
    for _ in 0..2 {
        begins.recv().await.unwrap();
    }
    let start = Instant::now();
    started.stop().await;
    let _other = site.start_with(worker().0, brief(Duration::from_secs(20)));
    for id in [obedient, stubborn] {
        let record: Record = site.until_done(&id).await;
        assert_eq!((outcome(&record), record.failures), (Ok(json!(2)), 0));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "nobody waited for a lease to end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_has_stopped_claims_nothing() {
    let site = Site::new();
    site.start_with(worker().0, settings()).stop().await;
    let id = site.submit("work", json!({"way": "brief"})).await;
    assert!(!is_running(&site.record(&id).await));
    let _other = site.start_with(worker().0, settings());
    assert_eq!(outcome(&site.until_done(&id).await), Ok(json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_worker_stops_its_jobs() {
    let site = Site::new();
    let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let worker = Worker::new().register("work", 1, move |_: Value, _| {
        let alive = alive.clone();
        async move {
            pending::<()>().await;
            drop(alive);
            Ok(())
        }
    });
    let started = site.start(worker);
    let id = site.submit("work", json!({})).await;
    site.until(&id, is_running).await;
    started.task.abort();
    assert_eq!(gone.recv().await, None);
}

#[tokio::test]
async fn registrations_are_checked() {
    let run = async |worker: Worker, settings| {
        let site = Site::new();
        site.start_with(worker, settings).task.await.unwrap().unwrap_err()
    };
    let job = async |_: Value, _: Context| Ok(());
    let none = Worker::new().register("a", 0, job);
    assert!(matches!(run(none, settings()).await, Error::NoConcurrency(_)));
    let twice = Worker::new().register("a", 1, job).register("a", 1, job);
    assert!(matches!(run(twice, settings()).await, Error::Duplicate(_)));
    assert!(matches!(
        run(Worker::new().register("a.b", 1, job), settings()).await,
        Error::JobType { .. }
    ));
    let unnamed = Settings { name: "a b".to_owned(), ..settings() };
    assert!(matches!(run(Worker::new(), unnamed).await, Error::Name { .. }));
}
