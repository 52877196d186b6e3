//! Collectors that are slow or dead: they slow no call, fill no memory and hold up no end.

use std::time::Duration;

use futures::{StreamExt, stream};
use longshore_testkit::{eventually, free_port};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use crate::{DEADLINE, get, job, processes::Cluster, run, scrape::Shown, wait};

/// How long a call may take on a busy machine: less than anybody waits for a collector.
const PROMPT: Duration = Duration::from_secs(2);
/// How long a role may take to end: what it gives a collector, and then some for a busy machine.
const END: Duration = Duration::from_secs(30);
/// More than an exporter keeps.
const CALLS: usize = 3000;

/// Takes every connection and never says a word.
async fn mute() -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    (address, AbortOnDropHandle::new(held))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_does_no_harm() {
    let (address, _held) = mute().await;
    does_no_harm(&address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_does_no_harm() {
    does_no_harm(&format!("127.0.0.1:{}", free_port())).await;
}

async fn does_no_harm(collector: &str) {
    let endpoint = format!("http://{collector}");
    let settings = [
        ("LONGSHORE_TELEMETRY__OTLP_ENDPOINT", &*endpoint),
        ("LONGSHORE_TELEMETRY__METRICS_INTERVAL", "1s"),
    ];
    let mut cluster = Cluster::start_with(&settings).await;
    let channel = cluster.channel(0).await;
    let operation = run(&channel, job("echo", 1)).await;
    assert!(wait(&channel, &operation.name).await.done);
    read(&channel, &operation.name).await;
    let before = memory(&cluster).await;
    for _ in 0..3 {
        read(&channel, &operation.name).await;
    }
    let after = memory(&cluster).await;
    // Spans of so many calls would take several times as much.
    assert!(after < before + 8e6, "from {before} to {after} bytes");

    let second = run(&channel, job("echo", 2)).await;
    assert!(wait(&channel, &second.name).await.done);
    for role in ["gateway-1", "state-1", "worker-1"] {
        // It is told, once and not again and again.
        eventually(DEADLINE, || async {
            let shown = Shown::by(admin(&cluster, role)).await?;
            let failed = shown.values("longshore_exports_failed_total", &[]).sum::<f64>();
            if failed >= 1.0 { Ok(()) } else { Err("not noticed".to_owned()) }
        })
        .await;
        let complaints = cluster.logged(role).matches("the collector does not take it").count();
        assert!((1..=2).contains(&complaints), "{}", cluster.logged(role));
        let ended = timeout(END, cluster.terminate(role)).await;
        assert!(ended.unwrap_or_else(|_| panic!("{role} does not end")).success());
    }
}

/// Many calls, half of which are answered at once.
async fn read(channel: &Channel, name: &str) {
    let mut took: Vec<Duration> = stream::iter(0..CALLS)
        .map(|_| async {
            let begun = Instant::now();
            assert!(get(channel, name).await.done);
            begun.elapsed()
        })
        .buffer_unordered(32)
        .collect()
        .await;
    took.sort();
    assert!(took[CALLS / 2] < PROMPT, "{:?}", took[CALLS / 2]);
}

/// Where a role answers the platform.
fn admin<'a>(cluster: &'a Cluster, role: &str) -> &'a str {
    cluster.admins().find(|(name, _)| *name == role).unwrap().1
}

/// What the first gateway takes, in bytes.
async fn memory(cluster: &Cluster) -> f64 {
    let shown = Shown::by(admin(cluster, "gateway-1")).await.unwrap();
    shown.values("process_resident_memory_bytes", &[]).sum()
}
