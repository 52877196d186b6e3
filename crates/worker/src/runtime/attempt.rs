//! Runs one attempt, and sees that it stops when it has to.

use std::{any::Any, error::Error as StdError, future::pending, sync::Arc, time::Duration};

use longshore_core::{
    codec,
    lifecycle::Verdict,
    names::{OperationId, OperationName, Parent},
    record::{self, Payload},
    telemetry,
    time::span,
};
use longshore_proto::{
    internal::{Event, Grant, event},
    rpc::Code,
};
use tokio::{
    task::JoinError,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, Span, field::Empty};

use super::{
    DRAIN_GRACE, Job, Shared,
    report::{self, Pacer, Reporter},
    running::{Given, Tenure},
    slots::{HOLD, Place, Slot},
};
use crate::{
    context::{Context, StopReason},
    error::JobError,
};

type Outcome = Result<Payload, JobError>;

/// Runs what was granted, from before it starts until its end is reported.
pub(super) async fn run(
    shared: Arc<Shared>,
    job: Arc<Job>,
    place: Place,
    (id, claim): (OperationId, u64),
    grant: Grant,
    asked: Instant,
) {
    let given = Given { asked, span: span(grant.lease) };
    let attempt = grant.attempt;
    let Some(mut tenure) = shared.running.enter(&id, attempt, job.job_type.as_str(), given).await
    else {
        tracing::warn!(%id, attempt, "granted what runs here already");
        return;
    };
    if grant.cancel_requested {
        tenure.cancel.cancel();
    }
    let turn = turn(&shared, &job, &place, &mut tenure).await;
    // What is no parent is told below.
    let parent = Parent::parse(&grant.parent).unwrap_or_default();
    let span = tracing::info_span!(
        "job",
        otel.kind = "consumer",
        messaging.operation.type = "process",
        operation = %OperationName { parent, id: id.clone() },
        attempt,
        job_type = %job.job_type,
        trace_id = Empty,
    );
    let (name, what) = match read(id.clone(), &grant.parent, grant.job) {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(parent: &span, error = &*error, "can't read the job");
            let error =
                JobError::new(Code::Internal, format!("the worker can't read the job: {error}"));
            let reporter =
                Reporter { shared, id, attempt, claim, trace: record::TraceContext::default() };
            reporter.outcome(&mut tenure, None, report::failed(error)).await;
            return;
        }
    };
    telemetry::follow(&span, &what.trace);
    let trace = telemetry::context_of(&span, &what.trace);
    if !trace.trace_id().is_empty() {
        span.record("trace_id", trace.trace_id());
    }
    let context = Context::new(name, Arc::new(what), attempt, grant.failures, trace.clone());
    let reporter = Reporter { shared, id, attempt, claim, trace };
    async {
        let performed = match &turn {
            Turn::Run(_slot) => perform(&reporter, &job, &context, &mut tenure).await,
            Turn::Back(why) => Some((Err(JobError::handed_back(why)), None)),
            Turn::Lost => None,
        };
        let outcome = performed.as_ref().map(|(outcome, _)| outcome);
        let ended = ended(outcome, context.stop_reason());
        telemetry::metrics().attempt_ended(job.job_type.as_str(), ended);
        let Some((outcome, last)) = performed else {
            telemetry::metrics().lease_lost();
            tracing::warn!("the lease is over: the job does not run any more");
            return;
        };
        // The next job need not wait until this one is reported. The semaphore is never closed.
        let _desk = reporter.shared.reports.acquire().await;
        drop((turn, place));
        let report = tracing::debug_span!("report", otel.kind = "producer");
        let outcome = event(outcome, &context);
        reporter.outcome(&mut tenure, last, outcome).instrument(report).await;
    }
    .instrument(span)
    .await;
}

fn read(
    id: OperationId,
    parent: &str,
    job: Option<longshore_proto::internal::Job>,
) -> Result<(OperationName, record::Job), Box<dyn StdError + Send + Sync>> {
    let job = codec::job_from_message(job.ok_or("there is none")?)?;
    Ok((OperationName { parent: Parent::parse(parent)?, id }, job))
}

/// What becomes of an attempt that waits for its slot.
enum Turn {
    /// It has its slot.
    Run(Slot),
    /// Another worker is to run it. If it was cancelled its operation ends by that as well.
    Back(&'static str),
    /// It is, or may be, another worker's.
    Lost,
}

/// Waits in line for the attempt's slot, but not for long.
async fn turn(shared: &Shared, job: &Job, place: &Place, tenure: &mut Tenure) -> Turn {
    let cancel = tenure.cancel.clone();
    tokio::select! {
        biased;
        () = tenure.over() => Turn::Lost,
        () = cancel.cancelled() => Turn::Back("was to stop it"),
        () = shared.shutdown.cancelled() => Turn::Back("stopped"),
        slot = place.slot(job.job_type.as_str()) => Turn::Run(slot),
        () = sleep(HOLD) => Turn::Back("had no slot for it"),
    }
}

/// Runs the handler and returns how it ended, with the progress that is not sent yet; `None` if the
/// attempt is lost and nobody is to be told.
async fn perform(
    reporter: &Reporter,
    job: &Job,
    context: &Context,
    tenure: &mut Tenure,
) -> Option<(Outcome, Option<Event>)> {
    tracing::debug!("the job starts");
    tenure.begin();
    // A task of its own: should the handler block its thread, leases are kept all the same.
    let future =
        (job.handler)(context.input().cloned(), context.clone()).instrument(Span::current());
    let mut handler = AbortOnDropHandle::new(tokio::spawn(future));
    let mut pacer = Pacer::new(reporter, context.progress());
    let cancel = tenure.cancel.clone();
    let ending = tokio::select! {
        biased;
        () = tenure.over() => Ending::Lost,
        result = &mut handler => Ending::Returned(result.unwrap_or_else(|error| Err(crashed(error)))),
        () = pacer.run() => Ending::OutOfTime,
        () = stop(reporter, job, context, &cancel) => Ending::OutOfTime,
    };
    let outcome = match ending {
        Ending::Returned(outcome) => outcome,
        Ending::Lost => {
            end(handler).await;
            return None;
        }
        Ending::OutOfTime => {
            end(handler).await;
            Err(JobError::cancelled())
        }
    };
    Some((outcome, pacer.last()))
}

enum Ending {
    /// The handler came to its end.
    Returned(Outcome),
    /// The attempt is, or may be, another worker's.
    Lost,
    /// The handler was to stop, and has not.
    OutOfTime,
}

/// Drops the handler's future; it has stopped for certain only when this returns.
async fn end<T>(handler: AbortOnDropHandle<T>) {
    handler.abort();
    drop(handler.await);
}

/// Tells the job to stop when it is time to, and completes when it has had time enough.
async fn stop(reporter: &Reporter, job: &Job, context: &Context, cancel: &CancellationToken) {
    let drained = &reporter.shared.drained;
    let reason = tokio::select! {
        biased;
        () = cancel.cancelled() => StopReason::Cancelled,
        () = over(context.deadline()) => StopReason::TimedOut,
        () = drained.cancelled() => StopReason::Draining,
    };
    tracing::info!(?reason, "the job is told to stop");
    context.stop(reason);
    let left = async {
        drained.cancelled().await;
        sleep(DRAIN_GRACE).await;
    };
    tokio::select! {
        biased;
        () = sleep(job.grace) => {}
        () = left => {}
    }
}

async fn over(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

fn crashed(error: JoinError) -> JobError {
    let what = match error.try_into_panic() {
        Ok(panic) => said(&*panic).to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::error!(panic = what, "the job panicked");
    JobError::new(Code::Internal, format!("the job panicked: {what}"))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without a word",
    }
}

/// How an attempt ended, as it is counted.
fn ended(outcome: Option<&Outcome>, stopped: Option<StopReason>) -> &'static str {
    match (outcome, stopped) {
        (None, _) => "lost",
        (Some(Ok(_)), _) => "succeeded",
        (Some(Err(error)), None) if error.verdict() == Verdict::HandedBack => "handed_back",
        (Some(Err(_)), None) => "failed",
        (Some(Err(_)), Some(StopReason::Cancelled)) => "cancelled",
        (Some(Err(_)), Some(StopReason::TimedOut)) => "timed_out",
        (Some(Err(_)), Some(StopReason::Draining)) => "handed_back",
    }
}

/// What is reported. A response always counts: the work was done. An error of a job that was to
/// stop says no more than that it did.
fn event(outcome: Outcome, context: &Context) -> event::Event {
    let error = match (outcome, context.stop_reason()) {
        (Ok(response), _) => {
            tracing::debug!("the job has completed");
            return event::Event::Completed(codec::payload_to_message(response));
        }
        (Err(error), None) => error,
        (Err(_), Some(StopReason::Cancelled)) => JobError::cancelled(),
        (Err(_), Some(StopReason::TimedOut)) => timed_out(context.run_timeout()),
        (Err(_), Some(StopReason::Draining)) => JobError::handed_back("stopped"),
    };
    tracing::info!(%error, verdict = ?error.verdict(), "the job has not completed");
    report::failed(error)
}

fn timed_out(run_timeout: Option<Duration>) -> JobError {
    let run_timeout = run_timeout.unwrap_or_default();
    let message =
        format!("the attempt exceeded its run_timeout of {} s", run_timeout.as_secs_f64());
    JobError::new(Code::DeadlineExceeded, message)
}
