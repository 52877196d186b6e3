//! An installation of Longshore: real servers and a process for each role, or all roles in one.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Result;
use longshore_bus::nats::{NatsBus, Settings as NatsSettings};
use longshore_state::redis::{RedisStore, Settings as RedisSettings};
use longshore_testkit::{NatsServer, RedisServer};
use tempfile::TempDir;

use crate::process::{self, Process};

/// Redis and NATS, with nothing in them.
pub(crate) struct Servers {
    pub redis: RedisServer,
    pub nats: NatsServer,
}

impl Servers {
    /// Starts both.
    pub(crate) async fn start() -> Self {
        Self { redis: RedisServer::start().await, nats: NatsServer::start().await }
    }

    /// The store, as the roles reach it.
    pub(crate) async fn store(&self) -> Result<RedisStore> {
        // What is filled is not measured: it may take its time.
        let settings = RedisSettings {
            url: self.redis.url(),
            response_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(60),
            ..RedisSettings::default()
        };
        Ok(RedisStore::connect(&settings).await?)
    }

    /// The bus, as the roles reach it.
    pub(crate) async fn bus(&self) -> Result<NatsBus> {
        let settings = NatsSettings { url: self.nats.url(), ..NatsSettings::default() };
        Ok(NatsBus::connect(&settings).await?)
    }

    /// The processor time that both have used.
    pub(crate) fn cpu(&self) -> BTreeMap<&'static str, f64> {
        let pids = [("redis", self.redis.pid()), ("nats", self.nats.pid())];
        pids.map(|(name, pid)| (name, process::cpu_seconds(pid))).into()
    }
}

/// An installation.
pub(crate) struct Site {
    /// The servers, unless it does without.
    pub servers: Option<Servers>,
    /// Where the gateway is, `HOST:PORT`.
    pub address: String,
    processes: Vec<(&'static str, Process)>,
    /// The most memory that a worker has had that is gone.
    gone: u64,
    dir: TempDir,
}

impl Site {
    /// A gateway and so many state replicas on real servers, with settings as variables.
    pub(crate) async fn real(
        binary: &Path,
        replicas: usize,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let servers = Servers::start().await;
        let dir = TempDir::new()?;
        let (redis, nats) = (servers.redis.url(), servers.nats.url());
        let listen = ["gateway", "--listen", "127.0.0.1:0", "--redis", &redis, "--nats", &nats];
        let mut gateway = Process::start(binary, listen, settings, dir.path())?;
        let address = gateway.address().await?;
        let mut processes = vec![("gateway", gateway)];
        for _ in 0..replicas {
            let arguments = ["state", "--redis", &redis, "--nats", &nats];
            processes.push(("state", Process::start(binary, arguments, settings, dir.path())?));
        }
        Ok(Self { servers: Some(servers), address, processes, gone: 0, dir })
    }

    /// All roles in one process, with its records in memory or in a file.
    pub(crate) async fn embedded(file: bool) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut arguments = vec!["part-dev".into()];
        if file {
            arguments.extend(["--data".into(), dir.path().join("data").into_os_string()]);
        }
        let mut dev = Process::start(process::own(), arguments, &[], dir.path())?;
        let address = dev.address().await?;
        Ok(Self { servers: None, address, processes: vec![("dev", dev)], gone: 0, dir })
    }

    /// Starts a worker with so many slots for each of the bench's jobs.
    pub(crate) async fn worker(&mut self, slots: usize) -> Result<()> {
        let Some(servers) = &self.servers else {
            return self.processes[0].1.tell(&slots.to_string()).await;
        };
        let (nats, slots) = (servers.nats.url(), slots.to_string());
        let arguments = ["part-worker", "--nats", &nats, "--slots", &slots];
        let worker = Process::start(process::own(), arguments, &[], self.dir.path())?;
        self.processes.push(("worker", worker));
        Ok(())
    }

    /// Kills all workers.
    pub(crate) fn stop_workers(&mut self) {
        self.gone = self.peaks().get("worker").copied().unwrap_or(self.gone);
        self.processes.retain(|(name, _)| *name != "worker");
    }

    /// The processes of a role.
    pub(crate) fn pids(&self, role: &str) -> Vec<u32> {
        let of_role = self.processes.iter().filter(|(name, _)| *name == role);
        of_role.map(|(_, process)| process.pid()).collect()
    }

    /// The processor time that was used by role, in seconds, and by the bench itself.
    pub(crate) fn cpu(&self) -> BTreeMap<&'static str, f64> {
        let mut used = self.servers.as_ref().map(Servers::cpu).unwrap_or_default();
        for (name, process) in &self.processes {
            *used.entry(*name).or_default() += process::cpu_seconds(process.pid());
        }
        used.insert("client", process::cpu_seconds(std::process::id()));
        used
    }

    /// The most memory that each role has had, in bytes; of several processes the largest.
    pub(crate) fn peaks(&self) -> BTreeMap<&'static str, u64> {
        let mut peaks = BTreeMap::from([("client", process::peak_memory(std::process::id()))]);
        if self.gone > 0 {
            peaks.insert("worker", self.gone);
        }
        let servers = self
            .servers
            .iter()
            .flat_map(|servers| [("redis", servers.redis.pid()), ("nats", servers.nats.pid())]);
        let roles = self.processes.iter().map(|(name, process)| (*name, process.pid()));
        for (name, pid) in servers.chain(roles) {
            let peak = peaks.entry(name).or_default();
            *peak = process::peak_memory(pid).max(*peak);
        }
        peaks
    }

    /// The ends of all logs, for a failure that needs an explanation.
    pub(crate) fn logs(&self) -> String {
        let log = |(name, process): &(&str, Process)| format!("=== {name}\n{}", process.log());
        self.processes.iter().map(log).collect::<Vec<_>>().join("\n")
    }
}
