//! What most cases begin and end with: a Redis with AOF, a NATS, a site on both, a client.

use std::time::Duration;

use anyhow::Result;
use longshore_proto::longrunning::Operation;
use longshore_testkit::{NatsServer, RedisServer, eventually};
use tokio::time::Instant;

use crate::{
    case::Scene,
    check::{self, Baseline, Except, Servers},
    client::{Client, Job},
    site::{LEASE, PATIENCE, Plan, Site},
};

/// What a loaded machine may add to anything.
pub const MARGIN: Duration = Duration::from_secs(15);
/// Until an attempt that is lost without a word is run again: its lease, the look for due timers,
/// and the pause before the retry.
pub const RERUN: Duration = LEASE.saturating_add(Duration::from_millis(1100));
/// Until a message comes again that somebody took and did not settle.
pub const REDELIVERY: Duration = Duration::from_secs(30);

/// The jobs that come before a case are numbered from here.
const WARM: u32 = 1_000_000;

/// A site on servers of its own.
pub struct Stage {
    /// Keeps an append-only file.
    pub redis: RedisServer,
    /// With JetStream.
    pub nats: NatsServer,
    /// The roles.
    pub site: Site,
    /// A client of all gateways.
    pub client: Client,
    /// Exceptions for the check at the end.
    pub except: Except,
    scene: Scene,
}

impl Stage {
    /// Starts servers and site, and lets some jobs run, so that everything is in use.
    ///
    /// # Errors
    /// If those jobs fail.
    pub async fn set(scene: &Scene, plan: impl FnOnce(Plan) -> Plan) -> Result<Self> {
        let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
        let nats = NatsServer::start().await;
        let site = Site::start(scene, plan(Plan::on(redis.url(), nats.url()))).await?;
        let client = site.client();
        client.run_all((WARM..WARM + 12).map(|number| Job::new(number).millis(20)), 12).await?;
        let baseline = Some(Baseline::of(&site)?);
        let except = Except { baseline, ..Except::default() };
        Ok(Self { redis, nats, site, client, except, scene: scene.clone() })
    }

    /// Submits a job and waits until its first attempt runs; its operation, and by which worker.
    ///
    /// # Errors
    /// Those of the submit.
    pub async fn running(&self, job: &Job) -> Result<(Operation, String)> {
        let operation = self.client.submit(job).await?;
        let line = self.site.attempts().started(&operation.name, 1, PATIENCE).await;
        let worker = self.site.name_of(line.worker_pid);
        Ok((operation, worker.unwrap_or_default()))
    }

    /// Waits until a later attempt runs, and how long that took since `since`.
    pub async fn rerun(&self, operation: &Operation, attempt: u32, since: Instant) -> Duration {
        self.site.attempts().started(&operation.name, attempt, PATIENCE).await;
        since.elapsed()
    }

    /// Waits until a client is shown that an operation is done.
    pub async fn done(&self, operation: &Operation) -> Operation {
        eventually(PATIENCE, || async {
            match self.client.get(&operation.name).await {
                Ok(operation) if operation.done => Ok(operation),
                Ok(operation) => Err(format!("{operation:?}")),
                Err(status) => Err(status.to_string()),
            }
        })
        .await
    }

    /// Heals all and checks everything.
    ///
    /// # Errors
    /// Says what does not hold.
    pub async fn check(&mut self) -> Result<()> {
        let servers = Servers::of(&self.redis, &self.nats);
        check::settled_except(&self.scene, &mut self.site, &servers, &self.except).await
    }

    /// The same, as the end of a case.
    ///
    /// # Errors
    /// Says what does not hold.
    pub async fn settled(mut self) -> Result<()> {
        self.check().await
    }
}
