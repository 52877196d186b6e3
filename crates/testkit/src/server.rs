//! A server that the test owns.

pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod sentinel;

use std::{
    ffi::OsString,
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{Process, eventually};

/// A redis-server of one's own.
pub type RedisServer = Server<redis::Redis>;
/// A Sentinel of one's own.
pub type SentinelServer = Server<sentinel::Sentinel>;
/// A nats-server of one's own, with JetStream.
pub type NatsServer = Server<nats::Nats>;

/// A ceiling for anything a server does, on a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How many ports are tried.
const ATTEMPTS: usize = 10;

/// What tells one kind of server from another.
pub trait Kind {
    /// The program's name.
    const PROGRAM: &'static str;
    /// The environment variable that names another program.
    const VARIABLE: &'static str;

    /// The arguments that come before the test's own.
    fn arguments(port: u16, name: &str, data: &Path) -> Vec<OsString>;

    /// Asks whoever listens on the port.
    fn probe(port: u16, name: &str, pid: u32) -> impl Future<Output = io::Result<Probe>> + Send;
}

/// Who answers on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The server that was started, and it is ready.
    Ready,
    /// The server that was started; it is not ready yet.
    Starting,
    /// Another one.
    Foreign,
}

/// A real server on a port of 127.0.0.1 and in a directory of its own.
///
/// On drop it is killed and its directory removed. Should the test's process be killed instead, a
/// watching shell kills the server.
pub struct Server<K: Kind> {
    port: u16,
    name: String,
    arguments: Vec<String>,
    // Before the directory, so that the server is gone when that is removed.
    process: Option<Process>,
    dir: TempDir,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K: Kind> Server<K> {
    /// Starts a server with nothing in it.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments.
    ///
    /// # Panics
    /// If the program is not found or does not start.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(directory(), arguments.iter().map(|&a| a.to_owned()).collect()).await
    }

    pub(crate) async fn start_in(dir: TempDir, arguments: Vec<String>) -> Self {
        let kind = std::marker::PhantomData;
        let mut server = Self { port: 0, name: String::new(), arguments, process: None, dir, kind };
        for _ in 0..ATTEMPTS {
            server.port = free_port();
            server.name = format!("longshore-test-{:016x}", fastrand::u64(..));
            if server.launch().await {
                return server;
            }
        }
        panic!("{} does not start; its log: {}", K::PROGRAM, server.log());
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it was started and not ended since.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its process.
    ///
    /// # Panics
    /// If it is not running.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// Its directory; its data are in `data`, its log is `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it by SIGKILL. Does nothing if it is not running.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it by SIGTERM and waits until it has ended. Does nothing if it is not running.
    pub async fn terminate(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(nix::sys::signal::Signal::SIGTERM);
            eventually(PATIENCE, || {
                let ended = process.has_ended();
                async move { if ended { Ok(()) } else { Err("it runs on after SIGTERM") } }
            })
            .await;
        }
        self.process = None;
    }

    /// Stops it where it is, by SIGSTOP: connections stay open and nobody answers.
    pub fn freeze(&self) {
        self.running().signal(nix::sys::signal::Signal::SIGSTOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.running().signal(nix::sys::signal::Signal::SIGCONT);
    }

    /// Kills it if it runs, and starts it on the same port and the same data.
    pub async fn restart(&mut self) {
        self.process = None;
        for _ in 0..ATTEMPTS {
            if self.launch().await {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "{} does not start again on port {}; its log: {}",
            K::PROGRAM,
            self.port,
            self.log()
        );
    }

    /// Kills it if it runs, and starts it on the same port without its data.
    pub async fn wipe_and_restart(&mut self) {
        self.process = None;
        self.wipe();
        self.restart().await;
    }

    /// Removes its data. It should not be running.
    pub fn wipe(&self) {
        if let Err(error) = std::fs::remove_dir_all(self.data()) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "the data can't be removed: {error}");
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the server has been started and not ended")
    }

    /// Starts it on its port; `false` if it ends at once or another server has the port.
    async fn launch(&mut self) -> bool {
        std::fs::create_dir_all(self.data()).expect("a directory can be made");
        let mut arguments = K::arguments(self.port, &self.name, &self.data());
        arguments.extend(self.arguments.iter().map(OsString::from));
        let program = find(K::PROGRAM, K::VARIABLE);
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.data());
        let mut process = Process::spawn(&mut command, &self.dir.path().join("log"));
        let pid = process.pid();
        let (port, name) = (self.port, &self.name);
        let ours = eventually(PATIENCE, || {
            let ended = process.has_ended();
            async move {
                if ended {
                    return Ok(false);
                }
                match timeout(Duration::from_secs(5), K::probe(port, name, pid)).await {
                    Ok(Ok(Probe::Ready)) => Ok(true),
                    Ok(Ok(Probe::Foreign)) => Ok(false),
                    Ok(Ok(Probe::Starting)) => Err("it is starting".to_owned()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("it does not answer".to_owned()),
                }
            }
        })
        .await;
        if ours {
            self.process = Some(process);
        }
        ours
    }
}

/// A directory for a server and what it keeps.
fn directory() -> TempDir {
    tempfile::Builder::new().prefix("longshore-test-").tempdir().expect("a directory can be made")
}

/// A port that nobody listens on now. It is outside of the range from which the system gives ports
/// to clients: there a client that tries to reach a stopped server can be given the server's own
/// port and connect to itself.
///
/// # Panics
/// If none is found.
pub fn free_port() -> u16 {
    (0..1000)
        .map(|_| fastrand::u16(10_000..32_000))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a port is free")
}

/// Where the program is.
fn find(program: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return path.into();
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into(), tools])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("{program} is not installed; `cargo xtask test` gets it, or set {variable}")
        })
}
