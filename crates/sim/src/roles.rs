//! The processes of an installation: state replicas and workers that die and come back.

use std::{sync::Arc, time::Duration};

use longshore_state::{embedded::EmbeddedStore, ledger::Ledger, role};
use longshore_worker::{Code, Context, JobError, Progress, Settings, Worker};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Hub, Port},
    gate::Gate,
    history::Started,
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
}

impl Site {
    /// The ledger as a process has it.
    pub(crate) fn ledger(&self, gate: &Arc<Gate>) -> Arc<Ledger> {
        let store = Arc::new(SimStore::new(&self.world, &self.store, gate));
        Arc::new(Ledger::new(store, Port::new(&self.hub, gate), self.world.rules))
    }

    /// Lives one life after the other: until the process dies, or is told to stop.
    async fn live<F: Future + Send>(
        &self,
        name: String,
        mut start: impl FnMut(Arc<Gate>, CancellationToken) -> F,
    ) {
        loop {
            let gate = Gate::new(&self.world, name.clone());
            let shutdown = CancellationToken::new();
            let restarts = self.world.strikes(0.3);
            let told = async {
                if restarts {
                    sleep(millis(5_000..60_000)).await;
                    shutdown.cancel();
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
            sleep(millis(100..10_000)).await;
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
            slots: fastrand::bool().then_some(std::num::NonZeroUsize::MIN),
            progress_interval: Duration::from_millis(200),
            drain_timeout: millis(100..5_000),
            cancel_grace: millis(500..5_000),
        };
        let start = |gate: Arc<Gate>, shutdown| {
            let mut worker = Worker::new();
            for job_type in JOB_TYPES {
                let (world, gate) = (self.world.clone(), gate.clone());
                let concurrency = fastrand::usize(1..4);
                worker = worker.register(job_type, concurrency, move |input: Value, context| {
                    handle(world.clone(), gate.name.clone(), input, context)
                });
            }
            worker.run(Port::new(&self.hub, &gate), settings.clone(), shutdown)
        };
        self.live(format!("worker-{number}"), start).await;
    }
}

/// Tells the history when the handler has stopped, however it did.
struct Stopped {
    world: Arc<World>,
    context: Context,
    run: u64,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let id = &self.context.operation().id;
        self.world.history().stopped(self.world.now(), id, self.run);
    }
}

/// A job that is quick or slow, listens or does not, and ends in any way.
async fn handle(
    world: Arc<World>,
    process: String,
    input: Value,
    context: Context,
) -> Result<Value, JobError> {
    let run = world.serial();
    let started = Started {
        id: &context.operation().id,
        run,
        input: input["input"].as_f64().map_or(0, |input| input as u64),
        attempt: context.attempt(),
        process: &process,
    };
    world.history().started(world.now(), &started);
    let _stopped = Stopped { world: world.clone(), context: context.clone(), run };

    let listens = fastrand::u8(..4) > 0;
    let steps = fastrand::i64(0..6);
    let longest = [50, 500, 4_000, 15_000][fastrand::usize(..4)];
    for step in 0..steps {
        let pause = millis(0..longest);
        if listens {
            if timeout(pause, context.cancelled()).await.is_ok() {
                return Err(JobError::cancelled());
            }
        } else {
            sleep(pause).await;
        }
        context.report(Progress::units(step, steps, "steps"));
    }
    let why = format!("run {run} failed");
    match fastrand::u8(..12) {
        0 => Err(JobError::retryable(Code::Internal, why)),
        1 => Err(JobError::new(Code::Unavailable, why)),
        2 => Err(JobError::fatal(Code::FailedPrecondition, why)),
        3 => std::panic::resume_unwind(Box::new(why)),
        _ => {
            world.history().finished(run);
            Ok(json!({ "run": run }))
        }
    }
}
