//! One trace from the client's call over the queue to the handler and back to the record, as an
//! OTLP receiver sees it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use longshore_proto::longrunning::operation;
use longshore_testkit::eventually;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::{DEADLINE, job, metadata, processes::Cluster, wait};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Which role sent which span of the trace.
type Seen = Arc<Mutex<BTreeSet<(String, String)>>>;

struct Receiver(Seen);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let role = format!("{:?}", resource.resource);
            let role = ["gateway", "state", "worker"].into_iter().find(|name| role.contains(name));
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            for span in spans.filter(|span| hex::encode(&span.trace_id) == TRACE) {
                self.0.lock().unwrap().insert((role.unwrap_or("?").to_owned(), span.name));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_call_to_the_record() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let receiver = TraceServiceServer::new(Receiver(seen.clone()));
    let served = Server::builder().add_service(receiver);
    let served = tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));

    let cluster = Cluster::start_with(&[("LONGSHORE_TELEMETRY__OTLP_ENDPOINT", &endpoint)]).await;
    let channel = cluster.channel(0).await;
    let mut request = Request::new(job("trace", 1));
    let context = format!("00-{TRACE}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", context.parse().unwrap());
    let mut jobs = longshore_proto::v1::jobs_client::JobsClient::new(channel.clone());
    let operation = jobs.run_job(request).await.unwrap().into_inner();
    let done = wait(&channel, &operation.name).await;

    assert_eq!(metadata(&done).trace_id, TRACE);
    // The handler's child goes on with it.
    let Some(operation::Result::Response(any)) = &done.result else { panic!("{done:?}") };
    assert!(String::from_utf8_lossy(&any.value).contains(TRACE), "{done:?}");

    let wanted = [
        ("gateway", "longshore.v1.Jobs/RunJob"),
        ("state", "claim"),
        ("worker", "job"),
        ("state", "record"),
    ];
    eventually(DEADLINE, || async {
        let seen = seen.lock().unwrap().clone();
        let has =
            |(role, span): &(&str, &str)| seen.contains(&((*role).to_owned(), (*span).to_owned()));
        if wanted.iter().all(has) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    served.abort();
}
