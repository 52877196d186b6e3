//! The runtime beneath the handlers.
//!
//! Per job type one [`queue`] fetches hints, no more than there are [`slots`] free or about to get
//! free; [`claim`] asks for leave to run them; an [`attempt`] waits for its slot, runs the handler
//! and sees that it stops when it has to;
//! [`report`] tells what became of it by way of the [`outbox`]; [`renew`] keeps the leases of all that runs, which
//! [`running`] knows; [`roll`] tells operators.

mod attempt;
mod claim;
mod outbox;
mod queue;
mod renew;
mod report;
mod rest;
mod roll;
mod running;
mod slots;

use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use longshore_bus::Bus;
use longshore_core::{
    names::{JobType, WorkerInstance},
    telemetry::metrics,
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{handler::Handler, settings::Settings, worker::Error};
pub(crate) use outbox::Letters;
use outbox::Outbox;
pub(crate) use rest::Rest;
use running::Running;
use slots::{ClaimTime, Slots};

/// How many attempts may report their end at a time beside those that hold slots.
const REPORTS: usize = 64;
/// How long the jobs that the drain time was too short for have to end by themselves.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// How long it may take after that to report that they were handed back.
const HAND_BACK: Duration = Duration::from_secs(3);

/// What is run for the jobs of a type.
pub(crate) struct Job {
    pub(crate) job_type: JobType,
    /// How many at once.
    pub(crate) concurrency: usize,
    /// How long one that is to stop has to end by itself.
    pub(crate) grace: Duration,
    pub(crate) handler: Handler,
    /// Set while its queue is paused.
    pub(crate) rest: Rest,
}

/// What all tasks of a worker share.
pub(crate) struct Shared {
    bus: Arc<dyn Bus>,
    settings: Settings,
    instance: WorkerInstance,
    running: Arc<Running>,
    outbox: Outbox,
    /// Slots over all job types.
    slots: Arc<Slots>,
    claim_time: Arc<ClaimTime>,
    /// Desks for attempts that report their end and need their slot no more. What is not reported
    /// is still in memory, so there are only so many.
    reports: Semaphore,
    /// Claims and attempts.
    tasks: TaskTracker,
    /// No more claims.
    shutdown: CancellationToken,
    /// No more time for what runs.
    drained: CancellationToken,
    /// The end of all tasks.
    halt: CancellationToken,
}

impl Shared {
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        settings: Settings,
        instance: WorkerInstance,
        shutdown: CancellationToken,
    ) -> (Self, Letters) {
        let (outbox, letters) = outbox::outbox();
        let claim_time = Arc::<ClaimTime>::default();
        let slots = settings.slots.map_or(usize::MAX, usize::from);
        let shared = Self {
            bus,
            settings,
            instance,
            running: Arc::default(),
            outbox,
            slots: Slots::new(slots, claim_time.clone()),
            claim_time,
            reports: Semaphore::new(REPORTS),
            tasks: TaskTracker::new(),
            shutdown,
            drained: CancellationToken::new(),
            halt: CancellationToken::new(),
        };
        (shared, letters)
    }

    pub(crate) async fn run(
        self: Arc<Self>,
        letters: Letters,
        jobs: Vec<Job>,
    ) -> Result<(), Error> {
        let _halt = self.halt.clone().drop_guard();
        let Some(interrupts) = renew::subscribe(&self).await else { return Ok(()) };
        let mut keepers = JoinSet::new();
        keepers.spawn(self.until_halt(renew::interrupts(self.clone(), interrupts)));
        keepers.spawn(self.until_halt(renew::renew(self.clone())));
        let (bus, instance) = (self.bus.clone(), self.instance.clone());
        keepers.spawn(self.until_halt(outbox::run(bus, instance, letters)));
        keepers.spawn(self.until_halt(roll::answer(self.clone(), roll::slots(&jobs))));

        tracing::info!(worker = %self.instance, jobs = jobs.len(), "the worker is ready");
        let concurrency = jobs.iter().map(|job| job.concurrency).sum::<usize>();
        let slots = self.settings.slots.map_or(concurrency, |slots| concurrency.min(slots.into()));
        metrics().slots(slots as u64, jobs.iter().map(|job| job.job_type.as_str()));
        let work = async {
            if jobs.is_empty() {
                self.shutdown.cancelled().await;
            }
            let queue = |job| self.until_halt(queue::run(self.clone(), Arc::new(job)));
            jobs.into_iter().map(queue).collect::<JoinSet<()>>().join_all().await;
            self.drain().await;
        };
        // Keepers end by themselves when the bus is closed, which the queues see as well; or they
        // panic, and so do queues. Then the worker ends: half of it would go unnoticed.
        tokio::select! {
            biased;
            () = work => {}
            () = async { keepers.join_all().await; pending().await } => {}
        }
        if self.shutdown.is_cancelled() { Ok(()) } else { Err(Error::BusClosed) }
    }

    /// Lets what runs come to its end.
    async fn drain(&self) {
        self.tasks.close();
        tracing::info!(running = self.tasks.len(), "no more claims; waiting for what runs");
        if timeout(self.settings.drain_timeout, self.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(running = self.tasks.len(), "handing back what did not end in time");
        self.drained.cancel();
        if timeout(DRAIN_GRACE + HAND_BACK, self.tasks.wait()).await.is_err() {
            tracing::warn!(running = self.tasks.len(), "could not hand all of it back");
        }
        self.halt.cancel();
        self.tasks.wait().await;
    }

    /// The future, which is dropped should the worker halt.
    fn until_halt<F: Future<Output = ()> + Send + 'static>(
        &self,
        future: F,
    ) -> impl Future<Output = ()> + Send + 'static {
        let halt = self.halt.clone();
        async move {
            // Whether it ended or was dropped makes no difference here.
            let _ended: Option<()> = halt.run_until_cancelled(Box::pin(future)).await;
        }
    }
}

/// The pause after so many failures (from 0): 100 ms, doubled up to 5 s, the last half random.
fn pause(failures: u32) -> Duration {
    let full = Duration::from_millis(100 << failures.min(6)).min(Duration::from_secs(5));
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}
