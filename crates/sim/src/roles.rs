//! The processes of an installation: state replicas and workers that die and come back.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longshore_state::{embedded::EmbeddedStore, ledger::Ledger, role};
use longshore_worker::{Code, Context, JobError, Progress, Settings, Worker};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Hub, Port},
    gate::Gate,
    gateway::Doors,
    history::{Ended, Limits, Started},
    store::SimStore,
    world::{World, millis},
};

/// The types of the jobs, which are their queues as well.
pub(crate) const JOB_TYPES: [&str; 2] = ["resize", "print"];

/// What processes run in.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) processes: Arc<Processes>,
}

/// The processes that live, by name, each with the way to tell it to stop.
#[derive(Default)]
pub(crate) struct Processes {
    living: Mutex<BTreeMap<String, CancellationToken>>,
    /// Whose names begin so don't come back for now.
    rests: Mutex<Option<&'static str>>,
}

impl Processes {
    /// Tells a process to stop, as before a restart.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(shutdown) = self.living().get(name) {
            shutdown.cancel();
        }
    }

    /// Whether a process lives and was not told to stop.
    pub(crate) fn is_up(&self, name: &str) -> bool {
        self.living().get(name).is_some_and(|shutdown| !shutdown.is_cancelled())
    }

    /// Whether a process has not come to its end.
    pub(crate) fn lives(&self, name: &str) -> bool {
        self.living().contains_key(name)
    }

    /// Those whose names begin so don't come back until there is nobody to rest.
    pub(crate) fn rest(&self, who: Option<&'static str>) {
        *self.rests.lock().unwrap_or_else(PoisonError::into_inner) = who;
    }

    fn rests(&self, name: &str) -> bool {
        let rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        rests.is_some_and(|who| name.starts_with(who))
    }

    fn living(&self) -> MutexGuard<'_, BTreeMap<String, CancellationToken>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    /// The ledger as a process has it.
    pub(crate) fn ledger(&self, gate: &Arc<Gate>) -> Arc<Ledger> {
        let store = Arc::new(SimStore::new(&self.world, &self.store, gate));
        Arc::new(Ledger::new(store, Port::new(&self.hub, gate), self.world.rules))
    }

    /// Lives one life after the other: until the process dies, or is told to stop.
    pub(crate) async fn live<F: Future + Send>(
        &self,
        name: String,
        mut start: impl FnMut(Arc<Gate>, CancellationToken) -> F,
    ) {
        loop {
            let gate = Gate::new(&self.world, name.clone());
            let shutdown = CancellationToken::new();
            self.processes.living().insert(name.clone(), shutdown.clone());
            let restarts = self.world.strikes(0.3);
            let told = async {
                if restarts {
                    sleep(millis(5_000..60_000)).await;
                    if self.world.is_faulty() {
                        shutdown.cancel();
                    }
                }
                std::future::pending::<()>().await;
            };
            let dead = gate.dead.clone();
            let suffer = gate.clone();
            tokio::spawn(async move { suffer.suffer().await });
            tokio::select! {
                biased;
                () = dead.cancelled() => {}
                _ = Box::pin(start(gate.clone(), shutdown.clone())) => {}
                () = told => {}
            }
            // What is left of it does nothing more.
            gate.die();
            self.processes.living().remove(&name);
            sleep(millis(100..10_000)).await;
            while self.processes.rests(&name) {
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    pub(crate) async fn state(self, number: usize) {
        let settings = role::Settings {
            timer_interval: millis(200..2_000),
            batch: fastrand::usize(1..8),
            ..Default::default()
        };
        let start = |gate, shutdown| role::run(self.ledger(&gate), settings.clone(), shutdown);
        self.live(format!("state-{number}"), start).await;
    }

    pub(crate) async fn worker(self, number: usize) {
        let settings = Settings {
            name: format!("worker-{number}"),
            slots: NonZeroUsize::new(fastrand::usize(0..4)),
            progress_interval: Duration::from_millis(200),
            drain_timeout: millis(100..5_000),
            cancel_grace: millis(500..5_000),
        };
        let start = |gate: Arc<Gate>, shutdown| {
            let mut worker = Worker::new();
            for job_type in JOB_TYPES {
                let concurrency = fastrand::usize(1..4);
                let of_worker = settings.slots.map_or(usize::MAX, NonZeroUsize::get);
                let limits = Limits { of_type: concurrency, of_worker };
                let at = At { world: self.world.clone(), gate: gate.clone(), job_type, limits };
                worker = worker.register(job_type, concurrency, move |input: Value, context| {
                    handle(at.clone(), input, context)
                });
            }
            worker.run(Port::new(&self.hub, &gate), settings.clone(), shutdown)
        };
        self.live(format!("worker-{number}"), start).await;
    }
}

/// Where a handler runs.
#[derive(Clone)]
struct At {
    world: Arc<World>,
    gate: Arc<Gate>,
    /// What it was registered for.
    job_type: &'static str,
    limits: Limits,
}

/// Tells the history when the handler has stopped, however it did.
struct Run {
    world: Arc<World>,
    context: Context,
    run: u64,
    gave: Option<Result<u64, JobError>>,
}

impl Drop for Run {
    fn drop(&mut self) {
        let id = &self.context.operation().id;
        let told = self.context.stop_reason();
        let ended = Ended { run: self.run, gave: self.gave.take(), told };
        let (now, store_time) = (self.world.now(), self.world.store_time());
        self.world.history().stopped(now, store_time, id, &ended);
    }
}

/// A job that is quick or slow, listens or does not, and ends in any way.
async fn handle(at: At, input: Value, context: Context) -> Result<Value, JobError> {
    let At { world, gate, job_type, limits } = at;
    if gate.dead.is_cancelled() {
        std::future::pending::<()>().await;
    }
    let run = world.serial();
    let started = Started {
        id: &context.operation().id,
        run,
        input: input["input"].as_f64().map_or(0, |input| input as u64),
        attempt: context.attempt(),
        process: &gate.name,
        job_type,
        is_its_type: context.job_type() == job_type,
        run_timeout: context.run_timeout(),
        now: world.store_time(),
        limits,
        context: &context,
    };
    world.history().started(world.now(), &started);
    let mut stopped = Run { world: world.clone(), context: context.clone(), run, gave: None };

    let listens = fastrand::u8(..4) > 0;
    let steps = fastrand::i64(0..6);
    let longest = [50, 500, 4_000, 15_000][fastrand::usize(..4)];
    for step in 0..steps {
        let pause = millis(0..longest);
        if listens {
            if timeout(pause, context.cancelled()).await.is_ok() {
                return stopped.with(Err(JobError::cancelled()));
            }
        } else {
            sleep(pause).await;
        }
        context.report(Progress::units(step, steps, "steps"));
        let id = &context.operation().id;
        world.history().progressed(world.now(), id, run, step);
    }
    let why = format!("run {run} failed");
    stopped.with(match fastrand::u8(..14) {
        0 => Err(JobError::retryable(Code::Internal, why)),
        1 => Err(JobError::new(Code::Unavailable, why)),
        2 => Err(JobError::fatal(Code::FailedPrecondition, why)),
        3 => std::panic::resume_unwind(Box::new(why)),
        4 => Err(JobError::new(Code::Aborted, why).retry_after(millis(0..3_000))),
        _ => Ok(run),
    })
}

impl Run {
    fn with(&mut self, gave: Result<u64, JobError>) -> Result<Value, JobError> {
        self.gave = Some(gave.clone());
        gave.map(|run| json!({ "run": run }))
    }
}
