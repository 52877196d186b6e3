//! The operator's commands, on an installation that works.

use std::process::Output;

use longshore_testkit::eventually;
use serde_json::Value as Json;
use tokio::process::Command;

use super::{Cluster, DEADLINE, get, job, metadata, run, wait};
use longshore_proto::v1::operation_metadata::State;

async fn admin(cluster: &Cluster, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("admin").args(args);
    command.args(["--redis", &cluster.redis.url(), "--nats", &cluster.nats.url()]);
    command.output().await.unwrap()
}

async fn fine(cluster: &Cluster, args: &[&str]) -> String {
    let output = admin(cluster, args).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

async fn json(cluster: &Cluster, args: &[&str]) -> Json {
    serde_json::from_str(&fine(cluster, &[args, &["-o", "json"]].concat()).await).unwrap()
}

/// The operation's id.
fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_tell_what_they_run_and_can_be_drained() {
    let mut cluster = Cluster::start_with(&[("LONGSHORE_WORKER__DRAIN_TIMEOUT", "2s")]).await;
    let channel = cluster.channel(0).await;
    let long = run(&channel, job("stuck", 1)).await;
    let short = run(&channel, job("slow", 2)).await;
    let running = |workers: &Json, operation: &str| {
        workers.as_array().unwrap().iter().find_map(|worker| {
            let is_at = |attempt: &Json| attempt["id"] == id(operation);
            let attempts = worker["attempts"].as_array().unwrap();
            attempts.iter().any(is_at).then(|| worker["worker"].as_str().unwrap().to_owned())
        })
    };
    let workers = eventually(DEADLINE, || async {
        let workers = json(&cluster, &["workers"]).await;
        let all_there = workers.as_array().unwrap().len() == 3;
        let ready = all_there && running(&workers, &long.name).is_some();
        if ready { Ok(workers) } else { Err(workers) }
    })
    .await;
    let at = running(&workers, &long.name).unwrap();
    let (name, _) = at.split_once('.').unwrap();
    let worker = workers.as_array().unwrap().iter().find(|it| it["worker"] == at).unwrap();
    assert_eq!(worker["state"], "ready");
    let queue = |job_type: &str| {
        let queues = worker["queues"].as_array().unwrap();
        queues.iter().find(|queue| queue["jobType"] == job_type).unwrap().clone()
    };
    assert_eq!(queue("echo")["slots"], 8);
    assert_eq!((&queue("stuck")["running"], &queue("stuck")["started"]), (&1.into(), &1.into()));
    let table = fine(&cluster, &["workers"]).await;
    assert!(table.contains(&at) && table.contains("ready"), "{table}");
    assert!(table.contains(id(&long.name)), "{table}");

    // It hands its work back in the end, and its process ends as it should.
    let refused = admin(&cluster, &["drain", "nobody", name]).await;
    assert_eq!(refused.status.code(), Some(4));
    let drained = fine(&cluster, &["drain", name, "--wait"]).await;
    assert_eq!(drained, format!("{at} has drained\n"));
    assert_eq!(cluster.ended(name).await.code(), Some(0));
    assert!(cluster.log(name).contains("an operator drains this worker"));
    let again = eventually(DEADLINE, || async {
        let operation = get(&channel, &long.name).await;
        let metadata = metadata(&operation);
        let elsewhere = metadata.state() == State::Running && metadata.worker != name;
        if elsewhere { Ok(metadata) } else { Err(format!("{metadata:?}")) }
    })
    .await;
    assert_eq!(again.attempt, 2);
    assert!(wait(&channel, &short.name).await.done);
    let left = json(&cluster, &["workers"]).await;
    assert!(left.as_array().unwrap().iter().all(|it| it["worker"] != at), "{left}");
}
