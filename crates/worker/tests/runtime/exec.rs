//! The jobs of `examples/`, as operations.

use std::{fs, path::Path};

use longshore_proto::rpc::Code;
use longshore_worker::{Worker, exec};
use serde_json::json;

use crate::site::{Site, is_running, outcome, settings};

fn examples() -> Worker {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/jobs.toml");
    exec::load(file).unwrap().into_iter().fold(Worker::new(), Worker::register_exec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_are_hashed() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("an odd\nname");
    fs::create_dir(&odd).unwrap();
    for (name, text) in
        [("quote\"d", "one"), (".hidden", "two"), ("back\\slash", "three"), ("-n", "")]
    {
        fs::write(odd.join(name), text).unwrap();
    }
    let site = Site::new();
    site.start_with(examples(), settings());
    let id = site.submit("hash", json!({"directory": directory.path(), "pause": 0})).await;
    let record = site.until_done(&id).await;
    let response = outcome(&record).unwrap();
    assert_eq!((&response["files"], &response["bytes"]), (&json!(4), &json!(11)));
    assert_eq!(response["digest"].as_str().unwrap().len(), 64);
    let progress = &record.progress;
    assert_eq!((progress.completed_units, progress.total_units), (11, 11));
    assert_eq!((progress.unit.as_str(), progress.message.as_str()), ("bytes", "4 of 4 files"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_follow_the_exit_code() {
    let site = Site::new();
    site.start_with(examples(), settings());
    let wrong = site.submit("hash", json!({"directory": "/no/such"})).await;
    let retried = site.submit("fail", json!({"code": 111, "message": "busy"})).await;
    let record = site.until_done(&wrong).await;
    assert_eq!(outcome(&record).unwrap_err().0, Code::NotFound);
    let record = site.until_done(&retried).await;
    assert_eq!(outcome(&record), Err((Code::Unavailable, "busy (exit code 111)".to_owned())));
    assert_eq!(record.attempt, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_is_cancelled() {
    let site = Site::new();
    site.start_with(examples(), settings());
    let id = site.submit("sleep", json!({"seconds": 100})).await;
    site.until(&id, |record| is_running(record) && record.progress.total_units == 100).await;
    site.cancel(&id).await;
    assert_eq!(outcome(&site.until_done(&id).await).unwrap_err().0, Code::Cancelled);
}
