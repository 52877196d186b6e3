//! The roles as processes on real servers.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use longshore_testkit::{NatsServer, RedisServer, eventually, free_port};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

/// Jobs that need nothing but a shell.
const JOBS: &str = r#"
[jobs.echo]
command = ["cat"]
concurrency = 8

[jobs.slow]
command = ["sh", "-c", "cat > /dev/null; echo $$ >> starts; sleep 2; echo '{\"slow\": true}'"]
concurrency = 4

[jobs.trace]
command = ["sh", "-c", "cat > /dev/null; until [ -e go ]; do sleep 0.1; done; printf '\"%s\"' $TRACEPARENT"]

[jobs.fails]
command = ["sh", "-c", "cat > /dev/null; exit 75"]

[jobs.stuck]
command = ["sh", "-c", "cat > /dev/null; echo '{\"message\": \"at it\"}' >&3; sleep 600"]
concurrency = 4
"#;

pub(crate) struct Cluster {
    pub(crate) redis: RedisServer,
    pub(crate) nats: NatsServer,
    pub(crate) dir: TempDir,
    settings: Vec<(String, String)>,
    roles: Vec<Role>,
    gateways: Vec<String>,
}

struct Role {
    name: String,
    log: PathBuf,
    /// Where it answers the platform.
    admin: String,
    child: Child,
}

impl Cluster {
    /// Two gateways, two state replicas and three workers, with a lease of two seconds.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with settings of the test's own, as variables.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut cluster = Self::without_workers(NatsServer::start().await, 2, settings).await;
        for number in 1..=3 {
            cluster.start_worker(number);
        }
        for gateway in 0..2 {
            cluster.channel(gateway).await;
        }
        cluster
    }

    /// So many gateways and state replicas on a NATS of the test's own.
    pub(crate) async fn without_workers(
        nats: NatsServer,
        replicas: usize,
        settings: &[(&str, &str)],
    ) -> Self {
        let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("jobs.toml"), JOBS).unwrap();
        let settings =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (roles, gateways) = (Vec::new(), Vec::new());
        let mut cluster = Self { redis, nats, dir, settings, roles, gateways };
        for number in 1..=replicas {
            cluster.start_gateway(number);
            cluster.start_state(number);
        }
        cluster
    }

    fn start_gateway(&mut self, number: usize) {
        let listen = format!("127.0.0.1:{}", free_port());
        let (redis, nats) = (self.redis.url(), self.nats.url());
        let arguments = ["gateway", "--listen", &listen, "--redis", &redis, "--nats", &nats];
        self.start_role(&format!("gateway-{number}"), &arguments);
        self.gateways.push(format!("http://{listen}"));
    }

    fn start_state(&mut self, number: usize) {
        let (redis, nats) = (self.redis.url(), self.nats.url());
        self.start_role(&format!("state-{number}"), &["state", "--redis", &redis, "--nats", &nats]);
    }

    pub(crate) fn start_worker(&mut self, number: usize) {
        let nats = self.nats.url();
        self.start_worker_at(&format!("worker-{number}"), &nats, "jobs.toml");
    }

    /// A worker that reaches NATS by this URL, and offers the jobs of this file.
    pub(crate) fn start_worker_at(&mut self, name: &str, nats: &str, jobs: &str) {
        let jobs = self.dir.path().join(jobs).to_string_lossy().into_owned();
        self.start_role(name, &["worker", "--nats", nats, "--jobs", &jobs]);
    }

    /// What a role has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        let role = self.roles.iter().find(|role| role.name == name).unwrap();
        std::fs::read_to_string(&role.log).unwrap()
    }

    fn start_role(&mut self, name: &str, arguments: &[&str]) {
        let log = self.dir.path().join(format!("{name}.log"));
        let admin = format!("127.0.0.1:{}", free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(arguments)
            .args(["--admin-listen", &admin])
            .env("LONGSHORE_RULES__LEASE", "2s")
            .env("LONGSHORE_RULES__HINT_CHECK", "2s")
            .env("LONGSHORE_WORKER__NAME", name)
            .envs(self.settings.clone())
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.roles.push(Role { name: name.to_owned(), log, admin, child });
    }

    /// A connection to a gateway, once it serves.
    pub(crate) async fn channel(&self, gateway: usize) -> Channel {
        let endpoint =
            Endpoint::from_shared(self.gateways[gateway % self.gateways.len()].clone()).unwrap();
        eventually(std::time::Duration::from_secs(30), || async { endpoint.connect().await }).await
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self, name: &str) {
        let role = self.roles.iter_mut().find(|role| role.name == name).unwrap();
        role.child.kill().await.unwrap();
    }

    /// Kills all state replicas, and starts others.
    pub(crate) async fn restart_states(&mut self) {
        for number in 1..=2 {
            let name = format!("state-{number}");
            self.kill(&name).await;
            self.roles.retain(|role| role.name != name);
            self.start_state(number);
        }
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self, name: &str) -> std::process::ExitStatus {
        let role = self.roles.iter_mut().find(|role| role.name == name).unwrap();
        role.child.wait().await.unwrap()
    }

    /// SIGTERM, and its exit.
    pub(crate) async fn terminate(&mut self, name: &str) -> std::process::ExitStatus {
        let role = self.roles.iter_mut().find(|role| role.name == name).unwrap();
        role.signal(Signal::SIGTERM);
        role.child.wait().await.unwrap()
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        self.roles.iter().find(|role| role.name == name).unwrap().signal(signal);
    }

    /// The roles' names, and where they answer the platform.
    pub(crate) fn admins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.roles.iter().map(|role| (role.name.as_str(), role.admin.as_str()))
    }

    /// What the roles of that name, such as all workers, have logged.
    pub(crate) fn logged(&self, role: &str) -> String {
        let roles = self.roles.iter().filter(|found| found.name.starts_with(role));
        roles.map(|role| std::fs::read_to_string(&role.log).unwrap_or_default()).collect()
    }

    /// Where a gateway serves the API: host and port.
    pub(crate) fn gateway(&self, gateway: usize) -> &str {
        self.gateways[gateway].trim_start_matches("http://")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Role {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().unwrap().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Cluster {
    /// A failed test shows what the roles said.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for role in &self.roles {
            let log = std::fs::read_to_string(&role.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n");
            println!("=== {} ===\n{tail}", role.name);
        }
    }
}
