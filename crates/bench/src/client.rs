//! Connections and calls.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use longshore_proto::{
    longrunning::{
        GetOperationRequest, ListOperationsRequest, Operation, WaitOperationRequest,
        operation::Result as Outcome, operations_client::OperationsClient,
    },
    v1::{RunJobRequest, jobs_client::JobsClient},
};
use prost_types::{Struct, Value, value::Kind};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tonic::transport::{Channel, Endpoint};

use crate::load::Caller;

/// How many gRPC connections the callers share.
pub(crate) const CONNECTIONS: usize = 4;

/// So many gRPC connections.
pub(crate) async fn channels(address: &str, count: usize) -> Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        channels.push(endpoint.connect().await?);
    }
    Ok(channels)
}

/// So many callers over [`CONNECTIONS`] connections.
pub(crate) async fn callers<C>(
    address: &str,
    count: usize,
    caller: impl Fn(Channel) -> C,
) -> Result<Vec<C>> {
    let channels = channels(address, CONNECTIONS).await?;
    Ok((0..count).map(|number| caller(channels[number % CONNECTIONS].clone())).collect())
}

/// Gets one operation after the other.
pub(crate) struct Get {
    pub client: OperationsClient<Channel>,
    pub names: std::sync::Arc<[String]>,
}

impl Caller for Get {
    async fn call(&mut self, number: usize) -> Result<()> {
        let name = self.names[number % self.names.len()].clone();
        let operation = self.client.get_operation(GetOperationRequest { name }).await?.into_inner();
        ensure!(operation.done, "an operation is not done that was");
        Ok(())
    }
}

/// Gets one operation after the other by HTTP/1.1, on a connection of its own.
pub(crate) struct GetHttp {
    sender: SendRequest<Empty<Bytes>>,
    paths: std::sync::Arc<[String]>,
    host: String,
    /// How many bytes each answer has.
    length: usize,
}

impl GetHttp {
    /// Connects.
    pub(crate) async fn connect(
        address: &str,
        paths: std::sync::Arc<[String]>,
        length: usize,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, paths, host: address.to_owned(), length })
    }

    /// The body of the answer for a path.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        let request = http::Request::get(path)
            .header(http::header::HOST, &self.host)
            .body(Empty::<Bytes>::new())?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}

impl Caller for GetHttp {
    async fn call(&mut self, number: usize) -> Result<()> {
        let paths = std::sync::Arc::clone(&self.paths);
        let body = self.get(&paths[number % paths.len()]).await?;
        ensure!(body.len() == self.length, "an answer of {} bytes", body.len());
        Ok(())
    }
}

/// Hands in one job after the other.
pub(crate) struct Submit {
    pub client: JobsClient<Channel>,
    pub request: RunJobRequest,
}

impl Caller for Submit {
    async fn call(&mut self, _: usize) -> Result<()> {
        let operation = self.client.run_job(self.request.clone()).await?.into_inner();
        ensure!(!operation.name.is_empty(), "an operation without a name");
        Ok(())
    }
}

/// A job of a type, with an input of about a hundred bytes.
pub(crate) fn job(job_type: &str) -> RunJobRequest {
    let text = Value { kind: Some(Kind::StringValue("x".repeat(80))) };
    let input = Struct { fields: [("text".to_owned(), text)].into() };
    RunJobRequest {
        job_type: job_type.to_owned(),
        input_kind: Some(longshore_proto::v1::run_job_request::InputKind::Input(input)),
        ..RunJobRequest::default()
    }
}

/// Runs a job and waits until it has ended well.
pub(crate) async fn run_to_end(channel: &Channel, request: RunJobRequest) -> Result<Operation> {
    let operation = JobsClient::new(channel.clone()).run_job(request).await?.into_inner();
    let timeout = prost_types::Duration { seconds: 280, nanos: 0 };
    let request = WaitOperationRequest { name: operation.name, timeout: Some(timeout) };
    let mut client = OperationsClient::new(channel.clone());
    let operation = client.wait_operation(request).await?.into_inner();
    check_done(&operation)?;
    Ok(operation)
}

/// Checks that an operation has ended with a response.
pub(crate) fn check_done(operation: &Operation) -> Result<()> {
    let well = operation.done && matches!(operation.result, Some(Outcome::Response(_)));
    ensure!(well, "{} has not ended well: {:?}", operation.name, operation.result);
    Ok(())
}

/// Waits until no operation under the root is left that is not done.
pub(crate) async fn all_done(channel: &Channel, deadline: Duration) -> Result<()> {
    let end = Instant::now() + deadline;
    let mut client = OperationsClient::new(channel.clone());
    loop {
        let request = ListOperationsRequest {
            filter: "done=false".to_owned(),
            page_size: 1,
            ..ListOperationsRequest::default()
        };
        if client.list_operations(request).await?.into_inner().operations.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "operations are left after {deadline:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that there are so many operations under the root, and that all have ended with a
/// response.
pub(crate) async fn check_all(channel: &Channel, count: usize) -> Result<()> {
    let mut client = OperationsClient::new(channel.clone());
    let (mut seen, mut page_token) = (0, String::new());
    loop {
        let request = ListOperationsRequest {
            page_size: 1000,
            page_token,
            ..ListOperationsRequest::default()
        };
        let page = client.list_operations(request).await?.into_inner();
        for operation in &page.operations {
            check_done(operation)?;
        }
        seen += page.operations.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(seen == count, "there are {seen} operations instead of {count}");
    Ok(())
}

/// An error of a task as one of the bench.
pub(crate) fn joined<T>(result: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.context("a task died")?
}
