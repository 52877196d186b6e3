//! A client that follows Google's rules: UNAVAILABLE is tried again after a pause, nothing else is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
        Operation, WaitOperationRequest, operations_client::OperationsClient,
    },
    v1::{
        OperationMetadata, RetryPolicy, RunJobRequest, WatchOperationRequest,
        jobs_client::JobsClient, run_job_request,
    },
};
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    handler::{Input, Then},
    history::History,
    site::PATIENCE,
};

/// The pauses between tries: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// How long one wait is to take at most.
const WAIT: Duration = Duration::from_secs(10);
/// Longer than any answer takes; what exceeds it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// A job whose right outcome is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What it does.
    pub input: Input,
    /// What its operation is named under.
    pub parent: String,
    /// How many attempts it has; 0 for the default.
    pub max_attempts: i32,
}

impl Job {
    /// A short one that succeeds.
    pub fn new(number: u32) -> Self {
        let input = Input { number, millis: 50, then: Then::Succeed };
        Self { input, parent: format!("tests/{}", number % 3), max_attempts: 10 }
    }

    /// Takes so long.
    #[must_use]
    pub fn millis(mut self, millis: u64) -> Self {
        self.input.millis = millis;
        self
    }

    /// Ends so.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.input.then = then;
        self
    }

    /// Is tried so often.
    #[must_use]
    pub fn attempts(mut self, max_attempts: i32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    fn request(&self) -> RunJobRequest {
        let Input { number, millis, then } = &self.input;
        let numeric = |number: f64| Value { kind: Some(Kind::NumberValue(number)) };
        let then = serde_json::to_value(then).unwrap_or_default();
        let then = then.as_str().unwrap_or_default().to_owned();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let fields = [
            ("number", numeric(f64::from(*number))),
            ("millis", numeric(*millis as f64)),
            ("then", Value { kind: Some(Kind::StringValue(then)) }),
        ];
        let input = Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() };
        RunJobRequest {
            parent: self.parent.clone(),
            job_type: "work".to_owned(),
            input_kind: Some(run_job_request::InputKind::Input(input)),
            request_id: format!("request-{number}"),
            retry_policy: Some(RetryPolicy {
                max_attempts: self.max_attempts,
                initial_backoff: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
                max_backoff: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                backoff_multiplier: 2.0,
                ..RetryPolicy::default()
            }),
            ..RunJobRequest::default()
        }
    }
}

/// A client of one or several gateways, which it takes in turns. All that it is told it tells the
/// history.
#[derive(Clone)]
pub struct Client {
    channels: Vec<Channel>,
    turn: Arc<AtomicUsize>,
    history: Arc<History>,
}

impl Client {
    pub(crate) fn new(channels: Vec<Channel>, history: Arc<History>) -> Self {
        Self { channels, turn: Arc::default(), history }
    }

    /// Hands in a job; again with the same request id, it is the same operation.
    ///
    /// # Errors
    /// Whatever Google's rules don't try again, and what they have tried for too long.
    pub async fn submit(&self, job: &Job) -> Result<Operation, Status> {
        let begun = Instant::now();
        let call = |channel| {
            let request = job.request();
            async move { JobsClient::new(channel).run_job(request).await }
        };
        let operation = self.call("RunJob", call).await?;
        self.history.submitted(job, &operation, begun);
        Ok(operation)
    }

    /// Reads an operation.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn get(&self, name: &str) -> Result<Operation, Status> {
        let begun = Instant::now();
        let call = |channel| {
            let request = GetOperationRequest { name: name.to_owned() };
            async move { OperationsClient::new(channel).get_operation(request).await }
        };
        let operation = self.call("GetOperation", call).await?;
        self.history.saw(&operation, begun);
        Ok(operation)
    }

    /// Waits until an operation is done.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), or DEADLINE_EXCEEDED if it is not done after a long time.
    pub async fn wait(&self, name: &str) -> Result<Operation, Status> {
        let end = Instant::now() + PATIENCE;
        loop {
            let operation = self.wait_once(name, WAIT).await?;
            if operation.done {
                return Ok(operation);
            }
            if Instant::now() > end {
                return Err(Status::deadline_exceeded(format!("not done: {:?}", meta(&operation))));
            }
        }
    }

    /// Waits so long at most.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn wait_once(&self, name: &str, timeout: Duration) -> Result<Operation, Status> {
        let begun = Instant::now();
        let call = |channel| {
            let timeout = prost_types::Duration::try_from(timeout).ok();
            let request = WaitOperationRequest { name: name.to_owned(), timeout };
            async move { OperationsClient::new(channel).wait_operation(request).await }
        };
        let operation = self.call("WaitOperation", call).await?;
        self.history.saw(&operation, begun);
        Ok(operation)
    }

    /// Watches until an operation is done, and anew whenever the stream breaks. Returns all states
    /// that were shown.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn watch(&self, name: &str) -> Result<Vec<Operation>, Status> {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            let call = |channel| {
                let request = WatchOperationRequest { name: name.to_owned() };
                async move { JobsClient::new(channel).watch_operation(request).await }
            };
            let mut stream = self.call("WatchOperation", call).await?;
            loop {
                match stream.message().await {
                    Ok(Some(operation)) => {
                        self.history.saw(&operation, begun);
                        seen.push(operation);
                    }
                    Ok(None) => break,
                    Err(status) if is_transient(&status) => break,
                    Err(status) => return Err(status),
                }
            }
            if seen.last().is_some_and(|operation| operation.done) {
                return Ok(seen);
            }
            sleep(PAUSES[0]).await;
        }
        Err(Status::deadline_exceeded("the watched operation is not done"))
    }

    /// Asks for an operation to stop.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn cancel(&self, name: &str) -> Result<(), Status> {
        let call = |channel| {
            let request = CancelOperationRequest { name: name.to_owned() };
            async move { OperationsClient::new(channel).cancel_operation(request).await }
        };
        self.call("CancelOperation", call).await?;
        self.history.cancelled(name);
        Ok(())
    }

    /// Deletes an operation.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn delete(&self, name: &str) -> Result<(), Status> {
        let call = |channel| {
            let request = DeleteOperationRequest { name: name.to_owned() };
            async move { OperationsClient::new(channel).delete_operation(request).await }
        };
        match self.call("DeleteOperation", call).await {
            // A try before, whose answer was lost, has deleted it.
            Err(status) if status.code() == Code::NotFound => {}
            other => drop(other?),
        }
        self.history.deleted(name);
        Ok(())
    }

    /// Lists all operations of a collection, such as `tests/1` or `tests/-`.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn list(&self, parent: &str) -> Result<Vec<Operation>, Status> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let begun = Instant::now();
            let call = |channel| {
                let request = ListOperationsRequest {
                    name: parent.to_owned(),
                    page_size: 100,
                    page_token: page_token.clone(),
                    ..ListOperationsRequest::default()
                };
                async move { OperationsClient::new(channel).list_operations(request).await }
            };
            let page = self.call("ListOperations", call).await?;
            page.operations.iter().for_each(|operation| self.history.saw(operation, begun));
            all.extend(page.operations);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
    }

    /// Hands in all jobs, so many at a time, and follows each to its end.
    ///
    /// # Errors
    /// The first that a client that follows Google's rules would see.
    pub async fn run_all(
        &self,
        jobs: impl IntoIterator<Item = Job>,
        at_once: usize,
    ) -> Result<Vec<Operation>> {
        let run = |job: Job| async move {
            let operation = self.submit(&job).await?;
            Ok::<_, anyhow::Error>(self.wait(&operation.name).await?)
        };
        stream::iter(jobs).map(run).buffered(at_once).try_collect().await
    }

    async fn call<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        method: &'static str,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, Status> {
        let end = Instant::now() + PATIENCE;
        let [mut pause, longest] = PAUSES;
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let channel = self.channels[turn % self.channels.len()].clone();
            let begun = Instant::now();
            let answer = tokio::time::timeout(HANGS, call(channel)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(Status::internal(format!("{method} hangs"))));
            let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
            self.history.called(method, begun, code);
            match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_transient(&status) && Instant::now() < end => {}
                Err(status) => return Err(status),
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// What Google's clients try again. To them a connection that breaks is UNAVAILABLE as well; the
/// library has other codes for some ways to break, but gives its own reason with them, which no
/// server's answer has.
fn is_transient(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// The metadata of an operation.
///
/// # Errors
/// If it has none, or something else.
pub fn metadata(operation: &Operation) -> Result<OperationMetadata> {
    match meta(operation) {
        Some(metadata) => Ok(metadata),
        None => bail!("{} has no metadata", operation.name),
    }
}

fn meta(operation: &Operation) -> Option<OperationMetadata> {
    OperationMetadata::decode(&*operation.metadata.as_ref()?.value).ok()
}
