use std::{ffi::OsString, io, path::Path};

use super::{Kind, Probe, Server, redis};

/// The file, in the server's data, that Sentinel reads and rewrites.
const FILE: &str = "sentinel.conf";

/// The kind of a [`SentinelServer`](super::SentinelServer).
pub enum Sentinel {}

impl Kind for Sentinel {
    const PROGRAM: &'static str = "redis-server";
    const VARIABLE: &'static str = "LONGSHORE_TEST_REDIS_SERVER";

    fn arguments(port: u16, _name: &str, _data: &Path) -> Vec<OsString> {
        [FILE, "--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1"]
            .map(OsString::from)
            .into()
    }

    async fn probe(port: u16, _name: &str, pid: u32) -> io::Result<Probe> {
        let info = redis::call(port, &["INFO", "server"]).await?;
        let ours = info.lines().any(|line| line == format!("process_id:{pid}"));
        Ok(if ours { Probe::Ready } else { Probe::Foreign })
    }
}

impl Server<Sentinel> {
    /// Starts a Sentinel with a configuration file of this text. Its data hold what it has learned:
    /// without them it can't be started again.
    ///
    /// # Panics
    /// If the program is not found or does not start.
    pub async fn start_configured(config: &str) -> Self {
        let dir = super::directory();
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).expect("a directory can be made");
        std::fs::write(data.join(FILE), config).expect("a file can be written");
        Self::start_in(dir, Vec::new()).await
    }

    /// Sends a command on a connection of its own, as [`RedisServer::cli`](super::RedisServer).
    ///
    /// # Panics
    /// If there is no reply, or it is an error.
    pub async fn cli(&self, command: &[&str]) -> String {
        redis::call(self.port(), command)
            .await
            .unwrap_or_else(|error| panic!("{command:?} failed: {error}"))
    }

    pub(crate) async fn ask(&self, command: &[&str]) -> io::Result<String> {
        redis::call(self.port(), command).await
    }
}
