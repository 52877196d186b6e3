//! Following an operation to its end, over restarts of the server.

use std::time::Duration;

use backon::BackoffBuilder;
use longshore_proto::{
    longrunning::{Operation, WaitOperationRequest},
    v1::WatchOperationRequest,
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status};

use super::{
    Client,
    connection::{is_passing, pauses},
    failure::Refused,
};

/// How often in a row a server may be found unavailable: with the pauses in between, a minute.
const TRIES: usize = 9;
/// The shortest pause between two questions, should a server not wait.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that the server is to wait in one call: load balancers cut what is silent longer.
const CALL: Duration = Duration::from_secs(60);
/// What a call may take beyond the time that it is to wait.
const SLACK: Duration = Duration::from_secs(10);

/// Waits until the operation has ended or the time is up, and returns its latest state.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn wait(
    client: &Client,
    name: &str,
    timeout: Option<Duration>,
) -> Result<Operation, Refused> {
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut patience = Patience::new();
    loop {
        let left = end.map_or(CALL, |end| end.duration_since(Instant::now()).min(CALL));
        let request = WaitOperationRequest {
            name: name.to_owned(),
            timeout: prost_types::Duration::try_from(left).ok(),
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(left + SLACK);
        match client.operations.clone().wait_operation(request).await {
            Ok(answer) => {
                let operation = answer.into_inner();
                if operation.done || end.is_some_and(|end| Instant::now() >= end) {
                    return Ok(operation);
                }
                patience = Patience::new();
                sleep(PAUSE).await;
            }
            Err(status) if end.is_some_and(|end| Instant::now() >= end) => {
                return Err(status.into());
            }
            Err(status) => patience.bear(status).await?,
        }
    }
}

/// Shows every change of the operation to `seen` until it has ended, and returns its last state.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn watch(
    client: &Client,
    name: &str,
    mut seen: impl FnMut(&Operation),
) -> Result<Operation, Refused> {
    let mut patience = Patience::new();
    loop {
        let request = WatchOperationRequest { name: name.to_owned() };
        let gone = match client.jobs.clone().watch_operation(request).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(operation)) => {
                            patience = Patience::new();
                            seen(&operation);
                            if operation.done {
                                return Ok(operation);
                            }
                        }
                        // A server that stops may end the stream early.
                        Ok(None) => break Status::unavailable("the server ended the stream"),
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => status,
        };
        patience.bear(gone).await?;
    }
}

/// Watches until `enough` says so or the operation has ended, but no longer than until `deadline`.
///
/// # Errors
/// [`Refused`], also with `DEADLINE_EXCEEDED` if nothing came of it in time.
pub(crate) async fn watch_until(
    client: &Client,
    name: &str,
    deadline: Instant,
    mut enough: impl FnMut(&Operation) -> bool,
) -> Result<Operation, Refused> {
    let watched = async {
        let request = WatchOperationRequest { name: name.to_owned() };
        let mut stream = client.jobs.clone().watch_operation(request).await?.into_inner();
        while let Some(operation) = stream.message().await? {
            if enough(&operation) || operation.done {
                return Ok(operation);
            }
        }
        Err(Status::unavailable("the server ended the stream"))
    };
    match timeout_at(deadline, watched).await {
        Ok(outcome) => outcome.map_err(Refused::from),
        Err(_) => Err(Status::deadline_exceeded("the operation does not get on").into()),
    }
}

/// Bears with a server that is not available for a while.
struct Patience(Box<dyn Iterator<Item = Duration> + Send>);

impl Patience {
    fn new() -> Self {
        Self(Box::new(pauses().with_max_times(TRIES).build()))
    }

    /// Pauses if it is worth to ask again.
    async fn bear(&mut self, status: Status) -> Result<(), Refused> {
        let passing = is_passing(&status) || status.code() == Code::DeadlineExceeded;
        match self.0.next() {
            Some(pause) if passing => {
                sleep(pause).await;
                Ok(())
            }
            _ => Err(status.into()),
        }
    }
}
