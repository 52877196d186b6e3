//! Every metric that `docs/metrics.md` lists is shown by the roles that it names, of the kind and
//! with the labels that it tells, and says what happened; and no role shows another one.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream};
use longshore_bus::{
    Bus,
    nats::{NatsBus, Settings},
};
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, WaitOperationRequest, operations_client::OperationsClient,
    },
    v1::{
        RetryPolicy, RunJobRequest, WatchOperationRequest, jobs_client::JobsClient,
        operation_metadata::State,
    },
};
use longshore_testkit::eventually;
use nix::sys::signal::Signal;
use tonic::transport::Channel;

use crate::{
    DEADLINE, get, job, metadata,
    processes::Cluster,
    run,
    scrape::{Shown, http},
    wait,
};

const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");
const ECHOES: usize = 60;
const UNTOLD: &str = "longshore_effects_untold_total";
const DISPATCH: [(&str, &str); 1] = [("longshore_effect", "dispatch")];

/// A line of the document's tables.
struct Documented {
    name: &'static str,
    kind: &'static str,
    labels: BTreeSet<String>,
    roles: Vec<&'static str>,
}

fn documented() -> Vec<Documented> {
    DOCUMENT.lines().filter(|line| line.starts_with("| `")).map(Documented::read).collect()
}

impl Documented {
    fn read(line: &'static str) -> Self {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, dotted, kind, labels, roles, _] = cells[..] else { panic!("{line}") };
        let kind = kind.split(',').next().unwrap();
        let name = name.trim_matches('`');
        let shown = dotted.trim_matches('`').replace('.', "_");
        assert!(name.starts_with(&shown), "{name} is not how {dotted} is shown");
        let labels = labels.split_whitespace();
        let labels = labels.map(|label| label.trim_matches('`').replace('.', "_")).collect();
        Self { name, kind, labels, roles: roles.split_whitespace().collect() }
    }

    /// Whether the processes of a role show it as it is documented.
    fn check(&self, role: &str, processes: &[&Shown]) -> Result<(), String> {
        let shows: Vec<&&Shown> =
            processes.iter().filter(|shown| shown.kinds.contains_key(self.name)).collect();
        if shows.is_empty() {
            return Err(format!("no {role} shows {}", self.name));
        }
        let mut labels = BTreeSet::new();
        for shown in shows {
            assert_eq!(shown.kinds[self.name], self.kind, "{}", self.name);
            labels.extend(shown.labels(self.name).into_iter().map(str::to_owned));
        }
        // Only where something failed.
        let mut expected = self.labels.clone();
        if !labels.contains("error_type") {
            expected.remove("error_type");
        }
        assert_eq!(labels, expected, "labels of {} of a {role}", self.name);
        Ok(())
    }
}

/// What all processes show.
struct All(Vec<(String, Shown)>);

impl All {
    async fn of(cluster: &Cluster) -> Result<Self, String> {
        let mut all = Vec::new();
        for (name, admin) in cluster.admins() {
            all.push((name.to_owned(), Shown::by(admin).await?));
        }
        Ok(Self(all))
    }

    fn of_role(&self, role: &str) -> Vec<&Shown> {
        self.0.iter().filter(|(name, _)| name.starts_with(role)).map(|(_, shown)| shown).collect()
    }

    fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.0.iter().flat_map(|(_, shown)| shown.values(name, labels)).collect()
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(name, labels).into_iter().sum()
    }

    fn max(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(name, labels).into_iter().fold(f64::NEG_INFINITY, f64::max)
    }
}

fn of_type(job_type: &str) -> [(&str, &str); 1] {
    [("longshore_job_type", job_type)]
}

async fn cancel(channel: &Channel, name: &str) {
    let request = CancelOperationRequest { name: name.to_owned() };
    OperationsClient::new(channel.clone()).cancel_operation(request).await.unwrap();
}

/// The worker that runs it, once its handler is at it.
async fn worker_of(channel: &Channel, name: &str, attempt: i32) -> String {
    eventually(DEADLINE, || async {
        let metadata = metadata(&get(channel, name).await);
        let at_it = metadata.progress.as_ref().is_some_and(|progress| progress.message == "at it");
        if at_it && metadata.state() == State::Running && metadata.attempt >= attempt {
            Ok(metadata.worker)
        } else {
            Err(format!("{metadata:?}"))
        }
    })
    .await
}

/// Two operations wait in a queue that nobody serves, whose hints get lost, and one is accepted
/// while no hint can be sent.
async fn lose_hints(cluster: &mut Cluster, channel: &Channel) {
    for number in 0..2 {
        run(channel, job("nobodys", number)).await;
    }
    let refused = run(channel, job("nobodys", 2)).await;
    cancel(channel, &refused.name).await;
    // What is not there yet is no loss: the gateway would send it when the bus is back.
    all_are_kept(cluster.nats.url()).await;
    cluster.nats.kill();
    let meanwhile = run(channel, job("echo", ECHOES)).await;
    eventually(DEADLINE, || async {
        let untold = All::of(cluster).await?.sum(UNTOLD, &DISPATCH);
        if untold >= 1.0 { Ok(()) } else { Err("the hint may still be sent".to_owned()) }
    })
    .await;
    cluster.nats.wipe_and_restart().await;
    assert!(wait(channel, &meanwhile.name).await.done);
}

/// Waits until the hints of the three are on the stream.
async fn all_are_kept(nats: String) {
    let settings = Settings { url: nats, ..Settings::default() };
    let bus = NatsBus::connect(&settings).await.unwrap();
    eventually(DEADLINE, || async {
        let kept: u64 = bus.depths().await.unwrap_or_default().into_values().sum();
        if kept >= 3 { Ok(()) } else { Err(format!("{kept} hints are kept")) }
    })
    .await;
}

async fn load(channel: &Channel) {
    stream::iter(0..ECHOES)
        .for_each_concurrent(16, |number| async move {
            let operation = run(channel, job("echo", number)).await;
            assert!(wait(channel, &operation.name).await.done);
        })
        .await;
    let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let brief = RunJobRequest { ttl: second(1), ..job("echo", ECHOES + 1) };
    assert!(wait(channel, &run(channel, brief).await.name).await.done);
    let policy =
        RetryPolicy { max_attempts: 2, initial_backoff: second(1), ..RetryPolicy::default() };
    let fails = RunJobRequest { retry_policy: Some(policy), ..job("fails", 1) };
    assert!(wait(channel, &run(channel, fails).await.name).await.done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_metric_is_shown_and_says_what_happened() {
    let mut cluster = Cluster::start().await;
    let channel = cluster.channel(0).await;
    lose_hints(&mut cluster, &channel).await;
    load(&channel).await;
    let (status, _) = http(cluster.gateway(1), "/v1/operations/none").await.unwrap();
    assert_eq!(status, "404");

    // One is cancelled while it runs, one loses its worker for a while, and goes on for good.
    let cancelled = run(&channel, job("stuck", 1)).await;
    worker_of(&channel, &cancelled.name, 1).await;
    cancel(&channel, &cancelled.name).await;
    assert!(wait(&channel, &cancelled.name).await.done);
    let stuck = run(&channel, job("stuck", 2)).await;
    let frozen = worker_of(&channel, &stuck.name, 1).await;
    cluster.signal(&frozen, Signal::SIGSTOP);
    worker_of(&channel, &stuck.name, 2).await;
    cluster.signal(&frozen, Signal::SIGCONT);

    let waits = tokio::spawn({
        let (channel, name) = (channel.clone(), stuck.name.clone());
        async move {
            loop {
                let request = WaitOperationRequest { name: name.clone(), timeout: None };
                drop(OperationsClient::new(channel.clone()).wait_operation(request).await);
            }
        }
    });
    let watch = WatchOperationRequest { name: stuck.name.clone() };
    let mut watch =
        JobsClient::new(channel.clone()).watch_operation(watch).await.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();

    eventually(DEADLINE, || async {
        let all = All::of(&cluster).await?;
        for documented in documented() {
            for role in &documented.roles {
                documented.check(role, &all.of_role(role))?;
            }
        }
        operations(&all)?;
        workers(&all)?;
        calls(&all)
    })
    .await;

    let all = All::of(&cluster).await.unwrap();
    processes(&all);
    let known = documented();
    let known: BTreeSet<&str> = known.iter().map(|documented| documented.name).collect();
    for (process, shown) in &all.0 {
        for name in shown.kinds.keys() {
            assert!(
                known.contains(name.as_str()),
                "{process} shows {name}, which no document tells"
            );
        }
    }
    waits.abort();
}

/// Each is true, or soon will be.
fn all_hold(claims: &[(&str, bool)]) -> Result<(), String> {
    match claims.iter().find(|(_, holds)| !holds) {
        Some((claim, _)) => Err(format!("it does not hold that {claim}")),
        None => Ok(()),
    }
}

#[expect(clippy::float_cmp, reason = "whole numbers")]
fn operations(all: &All) -> Result<(), String> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let echoes = (ECHOES + 2) as f64;
    let (echo, fails, stuck) = (of_type("echo"), of_type("fails"), of_type("stuck"));
    let nobodys = of_type("nobodys");
    let ended = |job_type, outcome| {
        let labels = [("longshore_job_type", job_type), ("longshore_outcome", outcome)];
        all.sum("longshore_operations_finished_total", &labels)
    };
    let count = |name: &str, labels: &[_]| all.sum(&format!("longshore_{name}_count"), labels);
    let seconds = |name: &str| all.sum(&format!("longshore_{name}_sum"), &[]);
    let total = |name: &str, labels: &[_]| all.sum(&format!("longshore_{name}_total"), labels);
    all_hold(&[
        ("all echoes were counted", total("operations_submitted", &echo) == echoes),
        ("all echoes ended well", ended("echo", "OK") == echoes),
        ("one failed", ended("fails", "UNAVAILABLE") == 1.0),
        ("after more than one attempt", total("operations_retried", &fails) >= 1.0),
        ("that are told", all.sum("longshore_operation_attempts_sum", &fails) >= 2.0),
        ("one was cancelled that waited", ended("nobodys", "CANCELLED") == 1.0),
        ("one was cancelled that ran", ended("stuck", "CANCELLED") == 1.0),
        ("which took its time", count("operation_cancel_to_end_seconds", &stuck) == 1.0),
        ("one record expired", total("operations_expired", &echo) == 1.0),
        ("echoes started", count("operation_schedule_to_start_seconds", &echo) >= echoes),
        ("echoes ran", count("operation_run_seconds", &echo) >= echoes),
        ("echoes lasted", count("operation_end_to_end_seconds", &echo) == echoes),
        (
            "a run is no longer than all of it",
            seconds("operation_run_seconds") <= seconds("operation_end_to_end_seconds") + 600.0,
        ),
        ("a worker fell silent", total("leases_expired", &stuck) >= 1.0),
        ("a hint was sent again", total("hints_repeated", &nobodys) >= 1.0),
        ("one could not be sent", all.sum(UNTOLD, &DISPATCH) >= 1.0),
        ("timers fired", count("timer_lateness_seconds", &[]) >= 1.0),
        ("events were committed", count("event_lag_seconds", &[]) >= 1.0),
        ("and not years later", seconds("event_lag_seconds") < 3600.0),
        ("one waits", all.max("longshore_queue_depth", &nobodys) >= 1.0),
        ("and has for some time", all.max("longshore_queue_oldest_age_seconds", &nobodys) > 0.0),
        ("nothing else does", all.max("longshore_queue_depth", &echo) <= 0.0),
        ("there are records", all.max("longshore_records", &[]) >= echoes),
    ])
}

#[expect(clippy::float_cmp, reason = "whole numbers")]
fn workers(all: &All) -> Result<(), String> {
    for shown in all.of_role("worker") {
        let sum = |name: &str| shown.values(name, &[]).sum::<f64>();
        let (used, free) = (sum("longshore_worker_slots_used"), sum("longshore_worker_slots_free"));
        assert_eq!(sum("longshore_worker_slots"), 18.0);
        if used + free != 18.0 {
            // It was asked between the two.
            return Err(format!("{used} slots used, {free} free"));
        }
    }
    let succeeded = [("longshore_job_type", "echo"), ("longshore_outcome", "succeeded")];
    all_hold(&[
        ("one is stuck", all.sum("longshore_worker_slots_used", &of_type("stuck")) == 1.0),
        ("echoes succeeded", all.sum("longshore_worker_attempts_total", &succeeded) >= 60.0),
        ("one was given up", all.sum("longshore_worker_leases_lost_total", &[]) >= 1.0),
    ])
}

fn calls(all: &All) -> Result<(), String> {
    let called = |system, method, code| {
        let labels = [
            ("rpc_system_name", system),
            ("rpc_method", method),
            ("rpc_response_status_code", code),
        ];
        all.sum("rpc_server_call_duration_seconds_count", &labels)
    };
    let get = "google.longrunning.Operations/GetOperation";
    let redis = [("db_system_name", "redis"), ("db_operation_name", "commit")];
    let nats = [("messaging_system", "nats"), ("messaging_operation_name", "enqueue")];
    all_hold(&[
        ("jobs were run", called("grpc", "longshore.v1.Jobs/RunJob", "OK") >= 60.0),
        ("operations were read", called("grpc", get, "OK") >= 1.0),
        ("one was not found", called("http", get, "NOT_FOUND") >= 1.0),
        ("one waits", all.sum("longshore_waiters", &[]) >= 1.0),
        ("one watches", all.sum("longshore_watchers", &[]) >= 1.0),
        ("redis was called", all.sum("db_client_operation_duration_seconds_count", &redis) >= 60.0),
        (
            "nats was called",
            all.sum("messaging_client_operation_duration_seconds_count", &nats) >= 60.0,
        ),
    ])
}

fn processes(all: &All) {
    for (process, shown) in &all.0 {
        let value = |name: &str| shown.values(name, &[]).sum::<f64>();
        let started = Duration::from_secs_f64(value("process_start_time_seconds"));
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + started).unwrap();
        assert!(age < Duration::from_secs(3600), "{process}");
        for (name, least) in [
            ("process_resident_memory_bytes", 1e6),
            ("process_virtual_memory_bytes", 1e6),
            ("process_cpu_seconds_total", 0.0),
            ("process_open_fds", 3.0),
            ("process_max_fds", 16.0),
            ("process_threads", 2.0),
            ("longshore_runtime_tasks", 1.0),
            ("longshore_runtime_busy_seconds_total", 0.000_001),
            ("target_info", 1.0),
        ] {
            assert!(value(name) >= least, "{process} shows {} for {name}", value(name));
        }
    }
}
