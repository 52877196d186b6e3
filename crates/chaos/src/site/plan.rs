//! What a site is to consist of.

use std::{fmt, path::Path};

use anyhow::{Context, Result};

use super::LEASE;

/// What a site is to consist of.
#[derive(Clone, Debug)]
pub struct Plan {
    redis: String,
    nats: String,
    gateways: usize,
    states: usize,
    workers: usize,
    /// How many jobs each worker runs at once.
    concurrency: usize,
    pub(super) settings: Vec<(String, String)>,
    pub(super) links: Vec<(String, Backend)>,
}

/// A role of the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The API.
    Gateway,
    /// Answers workers, applies events, fires timers.
    State,
    /// Runs jobs.
    Worker,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::State, Self::Worker];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::State => "state",
            Self::Worker => "worker",
        })
    }
}

/// A server that roles talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// The store.
    Redis,
    /// The bus.
    Nats,
}

impl Backend {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }
}

impl Plan {
    /// Two gateways, two state replicas and three workers of four slots each, with a lease of two
    /// seconds, on these servers: URLs as the roles take them.
    pub fn on(redis: impl Into<String>, nats: impl Into<String>) -> Self {
        let plan = Self {
            redis: redis.into(),
            nats: nats.into(),
            gateways: 2,
            states: 2,
            workers: 3,
            concurrency: 4,
            settings: Vec::new(),
            links: Vec::new(),
        };
        plan.set("LONGSHORE_RULES__LEASE", &format!("{}s", LEASE.as_secs()))
            .set("LONGSHORE_RULES__HINT_CHECK", "2s")
            .set("LONGSHORE_RULES__CANCEL_GRACE", "5s")
            .set("LONGSHORE_WORKER__CANCEL_GRACE", "2s")
    }

    /// So many of a role.
    #[must_use]
    pub fn with(mut self, role: Role, count: usize) -> Self {
        match role {
            Role::Gateway => self.gateways = count,
            Role::State => self.states = count,
            Role::Worker => self.workers = count,
        }
        self
    }

    /// So many jobs at once on each worker.
    #[must_use]
    pub fn slots(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// A setting of all roles, as a variable; a later one of the same name is the one that counts.
    #[must_use]
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// A proxy between a role, such as `worker-1`, and a server. The server's URL has to be of the
    /// simple kind, `scheme://127.0.0.1:PORT`.
    #[must_use]
    pub fn through_proxy(mut self, name: &str, backend: Backend) -> Self {
        self.links.push((name.to_owned(), backend));
        self
    }

    pub(super) fn count(&self, role: Role) -> usize {
        match role {
            Role::Gateway => self.gateways,
            Role::State => self.states,
            Role::Worker => self.workers,
        }
    }

    pub(super) fn url(&self, backend: Backend) -> &str {
        match backend {
            Backend::Redis => &self.redis,
            Backend::Nats => &self.nats,
        }
    }

    pub(super) fn port(&self, backend: Backend) -> Result<u16> {
        let url = self.url(backend);
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        port.with_context(|| format!("no proxy can stand before {url}"))
    }

    /// The file that tells workers what to run: this very binary.
    pub(super) fn jobs(&self, attempts: &Path) -> Result<String> {
        let itself = std::env::current_exe()?;
        let command = serde_json::json!([itself, "handle", "--attempts", attempts]);
        let concurrency = self.concurrency;
        Ok(format!("[jobs.work]\ncommand = {command}\nconcurrency = {concurrency}\ngrace = '1s'\n"))
    }
}
