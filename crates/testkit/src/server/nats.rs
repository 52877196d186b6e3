use std::{ffi::OsString, io, path::Path};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};

use super::{Kind, Probe, Server};

/// The kind of a [`NatsServer`](super::NatsServer): JetStream is on and keeps its data on disk.
pub enum Nats {}

impl Kind for Nats {
    const PROGRAM: &'static str = "nats-server";
    const VARIABLE: &'static str = "LONGSHORE_TEST_NATS_SERVER";

    fn arguments(port: u16, name: &str, data: &Path) -> Vec<OsString> {
        let port = port.to_string();
        let mut arguments: Vec<OsString> =
            ["-a", "127.0.0.1", "-p", &port, "--name", name, "-js", "-sd"]
                .map(OsString::from)
                .into();
        arguments.push(data.into());
        arguments
    }

    async fn probe(port: u16, name: &str, _pid: u32) -> io::Result<Probe> {
        let info = info(port).await?;
        let has = |text: &str| info.contains(text);
        Ok(match (has(&format!(r#""server_name":"{name}""#)), has(r#""jetstream":true"#)) {
            (true, true) => Probe::Ready,
            (true, false) => Probe::Starting,
            (false, _) => Probe::Foreign,
        })
    }
}

impl Server<Nats> {
    /// Starts a server with a configuration file of this text beside the usual arguments.
    ///
    /// # Panics
    /// If the program is not found or does not start.
    pub async fn start_configured(config: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("longshore-test-")
            .tempdir()
            .expect("a directory can be made");
        let file = dir.path().join("nats.conf");
        std::fs::write(&file, config).expect("a file can be written");
        let arguments = vec!["-c".to_owned(), file.to_string_lossy().into_owned()];
        Self::start_in(dir, arguments).await
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// The version that it says it has, such as `2.9.10`.
    ///
    /// # Panics
    /// If it can't be asked.
    pub async fn version(&self) -> String {
        let info = info(self.port()).await.expect("the server answers");
        let (_, rest) = info.split_once(r#""version":""#).expect("the server tells its version");
        rest.split('"').next().unwrap_or_default().to_owned()
    }
}

/// The first line that the server sends to whoever connects.
async fn info(port: u16) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?).read_line(&mut line).await?;
    Ok(line)
}
