//! The operator's commands, on an installation that works.

use std::{process::Output, time::Duration};

use longshore_testkit::eventually;
use serde_json::Value as Json;
use tokio::process::Command;

use super::{Cluster, DEADLINE, get, job, metadata, run, wait};
use longshore_proto::{
    longrunning::{Operation, operation},
    rpc::Code,
    v1::operation_metadata::State,
};

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

/// The queue as it is shown.
async fn queue(cluster: &Cluster, job_type: &str) -> Json {
    let queues = json(cluster, &["queues"]).await;
    let found = queues.as_array().unwrap().iter().find(|queue| queue["jobType"] == job_type);
    found.cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_starts_nothing_until_it_goes_on() {
    let mut cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    let before = run(&channel, job("slow", 0)).await;
    let attempt = |operation: &Operation| metadata(operation).attempt;
    eventually(DEADLINE, || async {
        let operation = get(&channel, &before.name).await;
        if attempt(&operation) > 0 { Ok(()) } else { Err("it has not started") }
    })
    .await;
    assert_eq!(
        fine(&cluster, &["pause", "slow", "echo"]).await,
        "slow is paused\necho is paused\n"
    );
    // Replicas may go for a second by what they have read before. New ones have to read it.
    cluster.restart_states().await;
    assert!(wait(&channel, &before.name).await.done, "what runs goes on");

    let mut names = Vec::new();
    let begun = tokio::time::Instant::now();
    for number in 0..20 {
        names.push(run(&channel, job("echo", number)).await.name);
    }
    // What was hinted for less than two seconds ago nobody takes for lost.
    let old = begun.elapsed().as_secs_f64() + 3.0;
    eventually(DEADLINE, || async {
        let queue = queue(&cluster, "echo").await;
        if queue["oldestSeconds"].as_f64() > Some(old) { Ok(()) } else { Err(queue) }
    })
    .await;
    // Workers, state replicas and the bus come and go, the bus with all that it holds.
    cluster.kill("worker-1").await;
    cluster.start_worker(1);
    cluster.restart_states().await;
    cluster.nats.wipe_and_restart().await;
    let shown = eventually(DEADLINE, || async {
        let queue = queue(&cluster, "echo").await;
        let all = queue["waiting"].as_u64() >= Some(20) && queue["workers"] == 3;
        if all { Ok(queue) } else { Err(queue) }
    })
    .await;
    assert_eq!((&shown["paused"], &shown["running"]), (&true.into(), &0.into()), "{shown}");
    assert!(shown["oldestSeconds"].as_f64().unwrap() > 0.0, "{shown}");
    // For longer than a hint takes to go round, and than it takes to look after lost hints.
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(7) {
        let queue = queue(&cluster, "echo").await;
        assert!(queue["waiting"].as_u64() <= Some(40), "hints must not breed: {queue}");
        assert_eq!(queue["running"], 0);
    }
    for name in &names {
        assert_eq!(attempt(&get(&channel, name).await), 0, "{name} was started");
    }
    let table = fine(&cluster, &["queues"]).await;
    assert!(
        table.lines().any(|line| line.starts_with("echo ") && line.contains(" paused ")),
        "{table}"
    );

    fine(&cluster, &["resume", "slow", "echo"]).await;
    for name in &names {
        assert!(wait(&channel, name).await.done, "{name} goes on");
    }
    assert_eq!(queue(&cluster, "echo").await["paused"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_moved_or_discarded() {
    let cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    let mut names = Vec::new();
    for number in 0..300 {
        names.push(run(&channel, job("nobodys", number)).await.name);
    }
    let other = run(&channel, job("others", 0)).await;
    let running = run(&channel, job("stuck", 0)).await;
    let clear = |args: &'static [&'static str]| {
        let cluster = &cluster;
        async move { fine(cluster, args).await }
    };
    let count = clear(&["discard", "--job-type", "nobodys", "--dry-run"]).await;
    assert_eq!(count, "300 operations would be discarded\n");
    let young = clear(&["discard", "--job-type", "nobodys", "--older", "1h"]).await;
    assert_eq!(young, "0 operations are discarded\n");
    let moved = clear(&["move", "--job-type", "nobodys", "--to", "echo"]).await;
    assert_eq!(moved, "300 operations are moved\n");
    for (number, name) in names.iter().enumerate() {
        let operation = wait(&channel, name).await;
        assert_eq!(metadata(&operation).job_type, "echo");
        let number = f64::from(u32::try_from(number).unwrap());
        assert_eq!(super::number(&super::response(&operation)), Some(number));
    }
    let discarded = clear(&["discard", "--job-type", "others"]).await;
    assert_eq!(discarded, "1 operations are discarded\n");
    let ended = get(&channel, &other.name).await;
    let Some(operation::Result::Error(error)) = &ended.result else { panic!("{ended:?}") };
    assert_eq!(error.code, Code::Aborted as i32);
    assert!(!get(&channel, &running.name).await.done);
    let wrong = admin(&cluster, &["move", "--job-type", "a", "--to", "no type!"]).await;
    assert_eq!(wrong.status.code(), Some(65));
}
