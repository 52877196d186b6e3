//! How attempts end.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_core::record::State;
use longshore_proto::rpc::Code;
use longshore_worker::{Context, JobError, Progress, Raw, Settings, StopReason, Worker};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::site::{Site, is_running, outcome, settings};

#[derive(Deserialize)]
struct Sum {
    numbers: Vec<i64>,
}

#[derive(Serialize)]
struct Total {
    total: i64,
}

async fn sum(sum: Sum, context: Context) -> Result<Total, JobError> {
    assert_eq!((context.job_type(), context.attempt()), ("sum", 1));
    Ok(Total { total: sum.numbers.iter().sum() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes() {
    let site = Site::new();
    let worker = site.start_with(Worker::new().register("sum", 2, sum), settings());
    let id = site.submit("sum", json!({"numbers": [1, 2, 39]})).await;
    let record = site.until_done(&id).await;
    assert_eq!(outcome(&record), Ok(json!({"total": 42})));
    assert_eq!((record.worker.as_str(), record.attempt), ("tester", 1));

    let id = site.submit("sum", json!({"numbers": "none"})).await;
    let (code, message) = outcome(&site.until_done(&id).await).unwrap_err();
    assert_eq!(code, Code::InvalidArgument, "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_whether_to_try_again() {
    let site = Site::new();
    let worker = Worker::new()
        .register("third-time", 1, |_: Raw, context: Context| async move {
            match context.attempt() {
                1 => Err(JobError::retryable(Code::Internal, "not yet")),
                2 => Err(JobError::new(Code::Unavailable, "not yet either")),
                _ => Ok(context.failures()),
            }
        })
        .register("final", 1, |_: Value, _| async {
            Err::<(), _>(JobError::fatal(Code::Unavailable, "never"))
        });
    site.start(worker);
    let id = site.submit("third-time", Value::Null).await;
    let last = site.submit("final", json!({})).await;
    let record = site.until_done(&id).await;
    assert_eq!((outcome(&record), record.attempt), (Ok(json!(2)), 3));
    let record = site.until_done(&last).await;
    assert_eq!(outcome(&record), Err((Code::Unavailable, "never".to_owned())));
    assert_eq!(record.attempt, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_takes_nothing_down() {
    let site = Site::new();
    let worker = Worker::new().register("odd", 1, |input: Value, _| async move {
        assert!(input["odd"] == true, "it was even");
        Ok(())
    });
    site.start(worker);
    let even = site.submit("odd", json!({"odd": false})).await;
    let odd = site.submit("odd", json!({"odd": true})).await;
    let failed = outcome(&site.until_done(&even).await);
    assert_eq!(failed, Err((Code::Internal, "the job panicked: it was even".to_owned())));
    assert!(outcome(&site.until_done(&odd).await).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancellation_ends_obedient_and_stubborn_jobs() {
    let site = Site::new();
    let worker = Worker::new()
        .register("obedient", 1, |_: Value, context: Context| async move {
            context.cancelled().await;
            Err::<(), _>(JobError::new(Code::Internal, format!("{:?}", context.stop_reason())))
        })
        .register("stubborn", 1, |_: Value, _| async {
            pending::<()>().await;
            Ok(())
        })
        .register("nearly-done", 1, |_: Value, context: Context| async move {
            context.cancelled().await;
            assert_eq!(context.stop_reason(), Some(StopReason::Cancelled));
            Ok("done")
        });
    let grace = Duration::from_millis(100);
    site.start_with(worker, Settings { cancel_grace: grace, ..settings() });
    for (job_type, done) in [("obedient", None), ("stubborn", None), ("nearly-done", Some("done"))]
    {
        let id = site.submit(job_type, json!({})).await;
        site.until(&id, is_running).await;
        site.cancel(&id).await;
        let record = site.until_done(&id).await;
        match done {
            Some(done) => assert_eq!(outcome(&record), Ok(json!(done))),
            None => assert_eq!(outcome(&record).unwrap_err().0, Code::Cancelled, "{job_type}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_too_long_is_stopped() {
    let site = Site::new();
    let worker = Worker::new().register("long", 1, |_: Value, context: Context| async move {
        assert!(context.deadline().is_some());
        context.cancelled().await;
        assert_eq!(context.stop_reason(), Some(StopReason::TimedOut));
        Err::<(), _>(JobError::cancelled())
    });
    site.start(worker);
    let id = site
        .submit_with("long", json!({}), |job| job.run_timeout = Some(Duration::from_millis(100)))
        .await;
    let (code, message) = outcome(&site.until_done(&id).await).unwrap_err();
    assert_eq!(code, Code::DeadlineExceeded);
    assert_eq!(message, "the attempt exceeded its run_timeout of 0.1 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tight_loop_of_reports_floods_nothing() {
    let site = Site::new();
    let reports = Arc::new(AtomicUsize::new(0));
    let counted = reports.clone();
    let worker = Worker::new().register("busy", 1, move |_: Value, context: Context| {
        let reports = counted.clone();
        async move {
            while !context.is_cancelled() {
                let done = reports.fetch_add(1, Ordering::SeqCst) + 1;
                context.report(Progress::units(i64::try_from(done)?, 0, "loops"));
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    });
    let progress_interval = Duration::from_millis(50);
    site.start_with(worker, Settings { progress_interval, ..settings() });
    let id = site.submit("busy", json!({})).await;
    // Three reports have come through, and far more have been made.
    site.until(&id, |record| record.progress.sequence >= 3).await;
    while reports.load(Ordering::SeqCst) < 10_000 {
        tokio::task::yield_now().await;
    }
    site.cancel(&id).await;
    let record = site.until_done(&id).await;
    let (made, sent) =
        (reports.load(Ordering::SeqCst), site.bus.progress_sent.load(Ordering::SeqCst));
    assert!(sent * 100 < made, "{sent} of {made} reports were sent");
    let last = usize::try_from(record.progress.completed_units).unwrap();
    assert_eq!(last, made, "the last report always arrives");
    assert!(matches!(record.state, State::Done(_)));
}
