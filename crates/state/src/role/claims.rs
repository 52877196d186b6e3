//! Answers the workers' requests: may I run this, am I still to run this.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use longshore_bus::{Incoming, subjects};
use longshore_core::{
    codec,
    lifecycle::{Input, Paused, Rejection},
    names::{self, JobType, OperationId, WorkerInstance},
    record::{Record, State},
    telemetry,
    time::{Time, micros},
};
use longshore_proto::internal::{
    Claim, ClaimAnswer, ClaimReply, ClaimRequest, Grant, RenewAnswer, RenewReply, RenewRequest,
    Renewal, claim_answer, renew_answer,
};
use prost::Message;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::pauses::Pauses;
use crate::ledger::{Applied, Error, Ledger};

/// For how long a worker does not ask again for a queue that is paused.
const REST: Duration = Duration::from_secs(4);

/// Serves one of the subjects, so many requests at once.
pub(super) async fn serve(
    ledger: Arc<Ledger>,
    pauses: Arc<Pauses>,
    (subject, requests): (&'static str, usize),
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(requests.max(1)));
    while let Some(mut subscription) = super::subscribe(ledger.bus(), subject, &shutdown).await {
        while let Some(Some(incoming)) = shutdown.run_until_cancelled(subscription.next()).await {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let (ledger, pauses) = (ledger.clone(), pauses.clone());
            tasks.spawn(async move {
                answer(&ledger, &pauses, subject, incoming).await;
                drop(slot);
            });
        }
        if shutdown.is_cancelled() {
            break;
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn answer(ledger: &Ledger, pauses: &Pauses, subject: &str, incoming: Incoming) {
    let asked = Instant::now();
    let Some(reply) = incoming.reply else { return };
    let payload = incoming.message.payload;
    let answered = match subject {
        subjects::CLAIM => claim(ledger, pauses, payload).await,
        _ => renew(ledger, payload).await,
    };
    match answered {
        Ok((answer, applied)) => {
            if let Err(error) = reply.send(answer).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(subject, error, "could not answer a worker; it will ask again");
            }
            let took = asked.elapsed();
            applied.iter().for_each(|applied| telemetry::claimed(&applied.record, took));
            ledger.perform_all(&applied).await;
        }
        Err(error) => tracing::error!(subject, %error, "a worker sent what is no request"),
    }
}

#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("not an encoded request")]
    Decode(#[from] prost::DecodeError),
    #[error("a name in it is none")]
    Name(#[from] longshore_core::names::Error),
}

async fn claim(
    ledger: &Ledger,
    pauses: &Pauses,
    payload: Bytes,
) -> Result<(Bytes, Vec<Applied>), Malformed> {
    let request = ClaimRequest::decode(payload)?;
    let worker = WorkerInstance::parse(&request.worker)?;
    let paused = match pauses.get(ledger.store()).await {
        Ok(paused) => paused,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "can't tell what is paused; claims are to come again");
            let answer = Some(claim_answer::Answer::Unavailable(error.to_string()));
            let answers = vec![ClaimAnswer { answer }; request.claims.len()];
            return Ok((ClaimReply { answers }.encode_to_vec().into(), Vec::new()));
        }
    };
    let inputs = request.claims.iter().map(|claim| input(claim, &worker, &paused));
    let inputs: Vec<(OperationId, Input)> = inputs.collect::<Result<_, _>>()?;
    let mut granted = Vec::new();
    let mut answers = Vec::with_capacity(inputs.len());
    let ids: Vec<OperationId> = inputs.iter().map(|(id, _)| id.clone()).collect();
    for (id, result) in ids.iter().zip(ledger.apply_all(inputs).await) {
        let answer = match result {
            Ok(applied) => {
                let grant = grant(&applied.record, applied.now);
                granted.push(applied);
                claim_answer::Answer::Granted(grant)
            }
            Err(Error::Rejected(Rejection::Paused)) => claim_answer::Answer::Paused(micros(REST)),
            Err(Error::Rejected(rejection)) => claim_answer::Answer::Refused(rejection.to_string()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(operation = %id, error, "could not answer a claim");
                claim_answer::Answer::Unavailable(error.to_string())
            }
        };
        answers.push(ClaimAnswer { answer: Some(answer) });
    }
    Ok((ClaimReply { answers }.encode_to_vec().into(), granted))
}

fn input(
    claim: &Claim,
    worker: &WorkerInstance,
    paused: &Paused,
) -> Result<(OperationId, Input), names::Error> {
    // Workers of earlier versions don't say.
    let named = !claim.job_type.is_empty();
    let queue = named.then(|| JobType::parse(&claim.job_type)).transpose()?;
    let (worker, paused) = (worker.clone(), paused.clone());
    let input = Input::Claim { worker, claim: claim.claim, queue, paused };
    Ok((OperationId::parse(&claim.id)?, input))
}

fn grant(record: &Record, now: Time) -> Grant {
    let (lease, cancel_requested) = lease(record, now);
    Grant {
        id: record.id.to_string(),
        parent: record.parent.to_string(),
        job: Some(codec::job_to_message(&record.job)),
        attempt: record.attempt,
        lease,
        cancel_requested,
        failures: record.failures,
    }
}

/// How much is left of the lease, in microseconds, and whether the work is to stop.
fn lease(record: &Record, now: Time) -> (i64, bool) {
    match &record.state {
        State::Running(running) => (micros(running.lease_end.since(now)), running.cancel.is_some()),
        State::Queued(_) | State::Done(_) => (0, false),
    }
}

async fn renew(ledger: &Ledger, payload: Bytes) -> Result<(Bytes, Vec<Applied>), Malformed> {
    let request = RenewRequest::decode(payload)?;
    let worker = WorkerInstance::parse(&request.worker)?;
    let mut inputs = Vec::with_capacity(request.renewals.len());
    for renewal in &request.renewals {
        let input = Input::Renew { worker: worker.clone(), attempt: renewal.attempt };
        inputs.push((OperationId::parse(&renewal.id)?, input));
    }
    let results = request.renewals.iter().zip(ledger.apply_all(inputs).await);
    let answers = results.map(|(renewal, result)| renewed(renewal, result)).collect();
    Ok((RenewReply { answers }.encode_to_vec().into(), Vec::new()))
}

fn renewed(renewal: &Renewal, result: Result<Applied, Error>) -> RenewAnswer {
    let (answer, cancel_requested) = match result {
        Ok(applied) => {
            let (lease, cancel_requested) = lease(&applied.record, applied.now);
            (renew_answer::Answer::Lease(lease), cancel_requested)
        }
        Err(Error::Rejected(rejection)) => {
            (renew_answer::Answer::Lost(rejection.to_string()), false)
        }
        Err(error) => {
            tracing::warn!(
                operation = renewal.id,
                attempt = renewal.attempt,
                error = &error as &dyn std::error::Error,
                "could not renew a lease"
            );
            (renew_answer::Answer::Unavailable(error.to_string()), false)
        }
    };
    RenewAnswer { answer: Some(answer), cancel_requested }
}
