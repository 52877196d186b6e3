//! A gateway for one test, its clients, and the worker's side of its operations.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use longshore_core::{
    lifecycle::{Failure, Input, Rules, Verdict},
    names::{OperationName, WorkerInstance},
    record::{Payload, Progress},
};
use longshore_gateway::Settings;
use longshore_proto::{
    longrunning::{GetOperationRequest, Operation, operations_client::OperationsClient},
    rpc::{self, BadRequest, ErrorInfo},
    v1::{OperationMetadata, RunJobRequest, jobs_client::JobsClient},
};
use longshore_state::ledger::Ledger;
use prost::{Message, Name};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::faults::{FaultyBus, FaultyStore};

/// How long a test waits for what must come.
pub(crate) const GENEROUS: Duration = Duration::from_secs(20);

/// The number that the tests' worker claims with.
pub(crate) const CLAIM: u64 = 7;

pub(crate) struct Gateway {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) bus: Arc<FaultyBus>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) address: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<Result<(), longshore_gateway::Error>>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let store = Arc::new(FaultyStore::new());
        let bus = Arc::new(FaultyBus::new());
        let ledger = Arc::new(Ledger::new(store.clone(), bus.clone(), Rules::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serve =
            longshore_gateway::serve(listener, settings, Arc::clone(&ledger), shutdown.clone());
        let served = tokio::spawn(serve);
        let channel = connect(address).await;
        Self { store, bus, ledger, address, channel, shutdown, served }
    }

    pub(crate) fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone())
    }

    pub(crate) fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(self.channel.clone())
    }

    /// Runs a job under `parent` and returns the operation's name.
    pub(crate) async fn run(&self, parent: &str) -> String {
        let request = RunJobRequest { parent: parent.to_owned(), ..job() };
        self.jobs().run_job(request).await.unwrap().into_inner().name
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Operation, Status> {
        let request = GetOperationRequest { name: name.to_owned() };
        Ok(self.operations().get_operation(request).await?.into_inner())
    }

    /// A worker claims the operation; returns the attempt.
    pub(crate) async fn claim(&self, name: &str) -> u32 {
        let worker = WorkerInstance::boot("tester").unwrap();
        let claim = Input::Claim { worker, claim: CLAIM, queue: None, paused: Default::default() };
        self.apply(name, claim).await.attempt
    }

    pub(crate) async fn progress(&self, name: &str, attempt: u32, percent: u32) {
        let progress = Progress {
            sequence: u64::from(percent),
            percent: Some(f64::from(percent)),
            ..Progress::default()
        };
        self.apply(name, Input::Progress { attempt, claim: CLAIM, progress }).await;
    }

    /// Claims and completes it with a response of `size` bytes.
    pub(crate) async fn complete_with(&self, name: &str, size: usize) {
        let attempt = self.claim(name).await;
        let response =
            Payload { type_url: "type.googleapis.com/a.B".to_owned(), value: vec![0; size].into() };
        self.apply(name, Input::Complete { attempt, claim: CLAIM, response }).await;
    }

    pub(crate) async fn complete(&self, name: &str) {
        self.complete_with(name, 0).await;
    }

    pub(crate) async fn fail(&self, name: &str, attempt: u32) {
        let error = rpc::Status { code: 3, message: "bad input".to_owned(), details: Vec::new() };
        let failure = Failure { error, verdict: Verdict::Final, delay: None };
        self.apply(name, Input::Fail { attempt, claim: CLAIM, failure }).await;
    }

    async fn apply(&self, name: &str, input: Input) -> longshore_core::record::Record {
        let id = OperationName::parse(name).unwrap().id;
        let applied = self.ledger.apply(id, input).await.unwrap();
        self.ledger.perform(&applied).await;
        applied.record
    }
}

pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A job with nothing but its type.
pub(crate) fn job() -> RunJobRequest {
    RunJobRequest { job_type: "index".to_owned(), ..RunJobRequest::default() }
}

pub(crate) fn metadata(operation: &Operation) -> OperationMetadata {
    let any = operation.metadata.as_ref().unwrap();
    assert_eq!(any.type_url, OperationMetadata::type_url());
    OperationMetadata::decode(&*any.value).unwrap()
}

fn detail<M: Message + Name + Default>(status: &Status) -> Option<M> {
    let sent = rpc::Status::decode(status.details()).unwrap();
    assert_eq!((sent.code, &*sent.message), (i32::from(status.code()), status.message()));
    let any = sent.details.iter().find(|any| any.type_url == M::type_url())?;
    Some(M::decode(&*any.value).unwrap())
}

/// The reason of an error; every error has one.
pub(crate) fn reason(status: &Status) -> String {
    let info: ErrorInfo = detail(status).unwrap();
    assert_eq!(info.domain, longshore_gateway::DOMAIN);
    info.reason
}

/// The fields that an error complains about.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let bad: BadRequest = detail(status).unwrap_or_default();
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    let info: rpc::RetryInfo = detail(status)?;
    Duration::try_from(info.retry_delay?).ok()
}
