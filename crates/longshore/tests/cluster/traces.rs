//! The life of an operation is one trace, from the client's call over the queue to the handler, back
//! to the record and to those who wait: as a collector sees it.

use longshore_proto::{
    longrunning::{
        Operation, WaitOperationRequest, operation, operations_client::OperationsClient,
    },
    v1::jobs_client::JobsClient,
};
use longshore_testkit::eventually;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;
use tonic::{Request, transport::Channel};

use crate::{
    DEADLINE,
    collector::{Collector, Span},
    job, metadata,
    processes::Cluster,
    run,
    scrape::{Shown, ask},
    wait,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// The client's span.
const CLIENTS: &str = "b7ad6b7169203331";
/// In which somebody waits.
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn cluster(collector: &Collector) -> Cluster {
    let settings = [
        ("LONGSHORE_TELEMETRY__OTLP_ENDPOINT", &*collector.endpoint),
        ("LONGSHORE_TELEMETRY__METRICS_INTERVAL", "1s"),
    ];
    Cluster::start_with(&settings).await
}

fn within<T>(trace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let context = format!("00-{trace}-{CLIENTS}-01");
    request.metadata_mut().insert("traceparent", context.parse().unwrap());
    request
}

/// Waits in a trace of its own, and lets the job end once it does.
async fn wait_elsewhere(cluster: &Cluster, channel: Channel, name: &str) -> Operation {
    let message = WaitOperationRequest { name: name.to_owned(), timeout: None };
    let waiting = tokio::spawn(async move {
        OperationsClient::new(channel).wait_operation(within(OTHER, message)).await
    });
    eventually(DEADLINE, || async {
        for (_, admin) in cluster.admins() {
            if Shown::by(admin).await?.values("longshore_waiters", &[]).sum::<f64>() > 0.0 {
                return Ok(());
            }
        }
        Err("nobody waits".to_owned())
    })
    .await;
    std::fs::write(cluster.path().join("go"), "").unwrap();
    waiting.await.unwrap().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_call_to_those_who_wait() {
    let collector = Collector::start().await;
    let cluster = cluster(&collector).await;
    let channel = cluster.channel(0).await;
    let mut jobs = JobsClient::new(channel.clone());
    let operation = jobs.run_job(within(TRACE, job("trace", 1))).await.unwrap().into_inner();
    let done = wait_elsewhere(&cluster, channel, &operation.name).await;

    assert!(done.done);
    assert_eq!(metadata(&done).trace_id, TRACE);
    let spans = eventually(DEADLINE, || async {
        let spans = collector.trace(TRACE);
        // The last to be sent, of the roles that have several replicas.
        let is_there = |name: &str| spans.iter().any(|span| span.name == name);
        if ["longshore.v1.Jobs/RunJob", "queue", "job", "record", "wake"].into_iter().all(is_there)
        {
            Ok(spans)
        } else {
            Err(format!("{spans:#?}"))
        }
    })
    .await;
    let of = |role: &str, name: &str, kind: SpanKind, parent: &str| -> Span {
        let found = spans.iter().find(|span| span.name == name);
        let span = found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
        let what = (&*span.role, span.kind, &*span.parent);
        assert_eq!(what, (role, kind, parent), "{span:#?}");
        assert!(span.times.0 <= span.times.1, "{span:#?}");
        span.clone()
    };
    let call = of("gateway", "longshore.v1.Jobs/RunJob", SpanKind::Server, CLIENTS);
    of("gateway", "commit", SpanKind::Client, &call.id);
    of("gateway", "enqueue", SpanKind::Producer, &call.id);
    of("state", "queue", SpanKind::Internal, &call.id);
    of("state", "claim", SpanKind::Consumer, &call.id);
    let attempt = of("worker", "job", SpanKind::Consumer, &call.id);
    of("worker", "report", SpanKind::Producer, &attempt.id);
    of("state", "record", SpanKind::Consumer, &attempt.id);
    let wake = of("gateway", "wake", SpanKind::Internal, &call.id);
    for span in [&call, &attempt, &wake] {
        assert_eq!(span.attributes["operation"], operation.name, "{span:#?}");
    }

    // The handler's child goes on with it.
    let Some(operation::Result::Response(any)) = &done.result else { panic!("{done:?}") };
    let context = format!("00-{TRACE}-{}-01", attempt.id);
    assert!(String::from_utf8_lossy(&any.value).contains(&context), "{done:?}");

    // The call that waited has a trace of its own, and either leads to the other.
    assert_eq!(wake.links, [OTHER]);
    eventually(DEADLINE, || async {
        let spans = collector.trace(OTHER);
        let waited = spans.iter().find(|span| span.name.ends_with("WaitOperation"));
        let waited = waited.ok_or_else(|| format!("{spans:#?}"))?;
        assert_eq!(waited.links, [TRACE], "{waited:#?}");
        assert_eq!(waited.attributes["operation"], operation.name);
        Ok::<_, String>(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_on_over_http_and_in_the_logs() {
    let collector = Collector::start().await;
    let cluster = cluster(&collector).await;
    let (channel, gateway) = (cluster.channel(0).await, cluster.gateway(0));
    let body = r#"{"jobType": "fails", "retryPolicy": {"maxAttempts": 1}}"#;
    let request = format!(
        "POST /v1/tests/http/jobs:run HTTP/1.0\r\nhost: {gateway}\r\n\
         traceparent: 00-{TRACE}-{CLIENTS}-01\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = ask(gateway, &request).await.unwrap();
    assert_eq!(status, "200", "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["metadata"]["traceId"], TRACE, "{answer}");
    let name = answer["name"].as_str().unwrap();
    assert!(wait(&channel, name).await.done);

    // Whoever reads of it in a log finds the trace and the operation.
    let logged = cluster.logged("worker");
    let line = logged.lines().find(|line| line.contains("the job has not completed"));
    let line = line.unwrap_or_else(|| panic!("{logged}"));
    for part in [TRACE, name, "attempt"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    eventually(DEADLINE, || async {
        let spans = collector.trace(TRACE);
        let call = spans.iter().find(|span| span.name == "POST /v1/{parent=**}/jobs:run");
        let attempt = spans.iter().find(|span| span.name == "job");
        match (call, attempt) {
            (Some(call), Some(attempt)) if call.parent == CLIENTS => {
                assert_eq!(attempt.parent, call.id);
                Ok(())
            }
            _ => Err(format!("{spans:#?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_go_to_the_collector_as_well() {
    let collector = Collector::start().await;
    let cluster = cluster(&collector).await;
    let channel = cluster.channel(0).await;
    assert!(wait(&channel, &run(&channel, job("echo", 1)).await.name).await.done);
    let wanted = [
        ("gateway", "rpc.server.call.duration"),
        ("gateway", "longshore.operations.submitted"),
        ("state", "longshore.operations.finished"),
        ("state", "db.client.operation.duration"),
        ("worker", "longshore.worker.slots"),
        ("worker", "messaging.client.operation.duration"),
    ];
    eventually(DEADLINE, || async {
        match wanted.iter().find(|(role, name)| !collector.measured(role, name)) {
            Some(missing) => Err(format!("{missing:?}")),
            None => Ok(()),
        }
    })
    .await;
}
