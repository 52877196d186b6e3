//! The way to the server.

use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use longshore_proto::{
    longrunning::operations_client::OperationsClient, v1::jobs_client::JobsClient,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::failure::{Refused, Unreachable};
use crate::cli::Connection;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take that does not wait for anything: Google's clients allow as much.
const BRIEF: Duration = Duration::from_secs(10);
/// The largest answer that is accepted, in bytes: a page of operations with their responses.
const LARGEST: usize = 256 << 20;

/// The services of one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// `google.longrunning.Operations`.
    pub operations: OperationsClient<InterceptedService<Channel, Trace>>,
    /// `longshore.v1.Jobs`.
    pub jobs: JobsClient<InterceptedService<Channel, Trace>>,
}

/// Makes calls part of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Option<AsciiMetadataValue>);

impl Interceptor for Trace {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(context) = &self.0 {
            request.metadata_mut().insert("traceparent", context.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Connects, once.
    ///
    /// # Errors
    /// [`Unreachable`], with what to do about it.
    pub(crate) async fn connect(args: &Connection) -> Result<Self, Unreachable> {
        let server = &args.server;
        let unreachable =
            |source| Unreachable { server: longshore_core::config::redact(server), source };
        let mut endpoint = Endpoint::from_shared(server.to_owned())
            .map_err(unreachable)?
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .map_err(unreachable)?
            .connect_timeout(CONNECT)
            // Finds out while it waits for hours that the server is gone.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10));
        if server.starts_with("https://") {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_native_roots())
                .map_err(unreachable)?;
        }
        let channel = endpoint.connect().await.map_err(unreachable)?;
        // What is no context goes no further, as the standard asks for.
        let trace = Trace(args.traceparent.as_ref().and_then(|context| context.parse().ok()));
        let operations = OperationsClient::with_interceptor(channel.clone(), trace.clone());
        let jobs = JobsClient::with_interceptor(channel, trace);
        Ok(Self {
            operations: operations.max_decoding_message_size(LARGEST),
            jobs: jobs.max_decoding_message_size(LARGEST),
        })
    }

    /// Makes a call that can be repeated: up to five times while the server is not available.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) async fn call<T, F, Fut>(&self, mut call: F) -> Result<T, Refused>
    where
        F: FnMut(Self) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        (|| call(self.clone()))
            .retry(pauses().with_max_times(4))
            .when(is_passing)
            .await
            .map(Response::into_inner)
            .map_err(Refused::from)
    }
}

/// Whether it is worth to ask again: the server is not available, or the connection broke.
pub(super) fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // What tonic makes of a connection that breaks under a call.
        Code::Cancelled | Code::Unknown | Code::Internal => {
            std::error::Error::source(status).is_some()
        }
        _ => false,
    }
}

/// The pauses before a call is repeated, as Google's clients make them: from 0.5 s doubling to 10 s.
pub(super) fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
}

/// A request whose answer waits for nothing.
pub(super) fn brief<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(BRIEF);
    request
}
