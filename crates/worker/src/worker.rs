//! The worker as job authors see it.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use longshore_bus::Bus;
use longshore_core::names::{self, JobType, WorkerInstance};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::JobError,
    exec,
    handler::{Handler, Input, Response, erase},
    runtime::{Job, Rest, Shared},
    settings::Settings,
};

/// Why a worker can't start, or stops without being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The worker's name is none.
    #[error("the worker can't be called {name:?}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: names::Error,
    },
    /// A job was registered under what is no job type.
    #[error("a job can't be called {name:?}")]
    JobType {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: names::Error,
    },
    /// Two jobs have the same name.
    #[error("the job {0:?} is registered twice")]
    Duplicate(String),
    /// A job may never run.
    #[error("the concurrency of the job {0:?} must be at least 1")]
    NoConcurrency(String),
    /// The bus was closed beneath the worker.
    #[error("the bus was closed")]
    BusClosed,
}

/// A worker: handlers by job type.
#[derive(Default)]
pub struct Worker {
    jobs: Vec<Registered>,
}

struct Registered {
    name: String,
    concurrency: usize,
    grace: Option<Duration>,
    handler: Handler,
}

impl Worker {
    /// A worker that can do nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a handler for the jobs of a type, of which it runs so many at once.
    ///
    /// The handler is an async function of the job's input and its [`Context`]; see [`Input`] and
    /// [`Response`] for what it may take and give. A panic in it fails the attempt with `INTERNAL`
    /// and nothing else. It must not block its thread: hand that to `tokio::task::spawn_blocking`.
    #[must_use]
    pub fn register<I, O, F, Fut>(self, job_type: &str, concurrency: usize, handler: F) -> Self
    where
        I: Input,
        O: Response,
        F: Fn(I, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, JobError>> + Send + 'static,
    {
        self.with(job_type, concurrency, None, erase(handler))
    }

    /// Registers an executable, as [`exec::load`] gives it.
    #[must_use]
    pub fn register_exec(self, config: exec::JobConfig) -> Self {
        let (name, concurrency) = (config.job_type.to_string(), config.concurrency.get());
        // The executable is killed after its own grace; only then is there an answer.
        let grace = Some(config.grace + Duration::from_secs(2));
        self.with(&name, concurrency, grace, exec::handler(config))
    }

    fn with(
        mut self,
        name: &str,
        concurrency: usize,
        grace: Option<Duration>,
        handler: Handler,
    ) -> Self {
        self.jobs.push(Registered { name: name.to_owned(), concurrency, grace, handler });
        self
    }

    /// Runs jobs until `shutdown`, then lets those that run end within the drain time, and hands
    /// back what is left. Dropping the future drops all jobs at once.
    ///
    /// An operator may drain the worker by way of the bus (`longshore admin drain`): then it cancels
    /// `shutdown` itself and ends like that.
    ///
    /// A bus that is out of reach ends nothing: the worker goes on as soon as it is back.
    ///
    /// # Errors
    /// If a registration or the name is not legal, or the bus is closed for good.
    ///
    /// # Panics
    /// If a part of the worker does, which is a bug: whoever runs it starts it again. A panic of a
    /// handler fails its attempt and nothing else.
    pub async fn run(
        self,
        bus: Arc<dyn Bus>,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let instance = WorkerInstance::boot(&settings.name)
            .map_err(|source| Error::Name { name: settings.name.clone(), source })?;
        let jobs = self.jobs(settings.cancel_grace)?;
        let (shared, letters) = Shared::new(bus, settings, instance, shutdown);
        Arc::new(shared).run(letters, jobs).await
    }

    fn jobs(self, grace: Duration) -> Result<Vec<Job>, Error> {
        let mut jobs: BTreeMap<JobType, Job> = BTreeMap::new();
        for registered in self.jobs {
            let name = registered.name;
            let job_type = JobType::parse(&name)
                .map_err(|source| Error::JobType { name: name.clone(), source })?;
            if registered.concurrency == 0 {
                return Err(Error::NoConcurrency(name));
            }
            let job = Job {
                job_type: job_type.clone(),
                concurrency: registered.concurrency,
                grace: registered.grace.unwrap_or(grace),
                handler: registered.handler,
                rest: Rest::default(),
            };
            if jobs.insert(job_type, job).is_some() {
                return Err(Error::Duplicate(name));
            }
        }
        Ok(jobs.into_values().collect())
    }
}
