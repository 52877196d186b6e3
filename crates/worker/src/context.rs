//! What a job knows about its attempt.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use longshore_core::{
    names::OperationName,
    record::{Job, Payload, TraceContext},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;

/// What a job knows about the attempt that it is, and its way to report progress. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    operation: OperationName,
    job: Arc<Job>,
    attempt: u32,
    failures: u32,
    trace: TraceContext,
    deadline: Option<Instant>,
    stop: CancellationToken,
    reason: OnceLock<StopReason>,
    progress: watch::Sender<Progress>,
}

/// Why an attempt is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody cancelled the operation.
    Cancelled,
    /// It has run for longer than its `run_timeout`.
    TimedOut,
    /// The worker stops; another one starts the job again.
    Draining,
}

impl Context {
    /// The context of an attempt whose run time starts now.
    pub(crate) fn new(
        operation: OperationName,
        job: Arc<Job>,
        attempt: u32,
        failures: u32,
        trace: TraceContext,
    ) -> Self {
        let deadline = job.run_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            inner: Arc::new(Inner {
                operation,
                job,
                attempt,
                failures,
                trace,
                deadline,
                stop: CancellationToken::new(),
                reason: OnceLock::new(),
                progress: watch::Sender::new(Progress::default()),
            }),
        }
    }

    /// The name of the operation.
    pub fn operation(&self) -> &OperationName {
        &self.inner.operation
    }

    /// The job's type, as it was registered.
    pub fn job_type(&self) -> &str {
        self.inner.job.job_type.as_str()
    }

    /// The number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How many attempts have failed before. Those that were handed back have not.
    pub fn failures(&self) -> u32 {
        self.inner.failures
    }

    /// What the request gave it to work with.
    pub(crate) fn input(&self) -> Option<&Payload> {
        self.inner.job.input.as_ref()
    }

    /// The labels of the request.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.inner.job.labels
    }

    /// The resources that the work changes, as the request names them.
    pub fn works_on(&self) -> &[String] {
        &self.inner.job.works_on
    }

    /// The longest that the attempt may run.
    pub fn run_timeout(&self) -> Option<Duration> {
        self.inner.job.run_timeout
    }

    /// When the attempt will have run too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// Where the attempt stands in its trace, to be sent along with what the job asks of others.
    pub fn trace(&self) -> &TraceContext {
        &self.inner.trace
    }

    /// Reports how far the job has come, in place of what was reported before. Never waits; may
    /// be called as often as one likes, as only the newest report of an interval is sent.
    pub fn report(&self, progress: Progress) {
        self.inner.progress.send_replace(progress);
    }

    /// Changes what was reported last, and reports that.
    pub fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.inner.progress.send_modify(change);
    }

    /// Completes when the job is to stop: [`Context::stop_reason`] says why. It then has a while
    /// to end by itself; after that its future is dropped.
    pub async fn cancelled(&self) {
        self.inner.stop.cancelled().await;
    }

    /// Whether the job is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// Why the job is to stop, if it is.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.inner.reason.get().copied()
    }

    /// Tells the job to stop. The first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.inner.reason.get_or_init(|| reason);
        self.inner.stop.cancel();
    }

    /// What the job reports.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.inner.progress.subscribe()
    }
}
