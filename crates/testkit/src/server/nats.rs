use std::{ffi::OsString, io, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{Kind, Probe, Server};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

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
        Self::start_with_file(config, &[]).await
    }

    pub(crate) async fn start_with_file(config: &str, arguments: &[String]) -> Self {
        let dir = super::directory();
        let file = dir.path().join("nats.conf");
        std::fs::write(&file, config).expect("a file can be written");
        let file = ["-c".to_owned(), file.to_string_lossy().into_owned()];
        Self::start_in(dir, [&file[..], arguments].concat()).await
    }

    /// The name by which it goes, also among the servers of a cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Sends a request, such as one to `$JS.API.STREAM.INFO.NAME`, on a connection of its own and
    /// returns the answer's payload.
    ///
    /// # Errors
    /// If the server can't be reached or nobody answers within some seconds.
    pub async fn request(&self, subject: &str, payload: &str) -> io::Result<String> {
        timeout(ANSWER, self.ask(subject, payload)).await?
    }

    async fn ask(&self, subject: &str, payload: &str) -> io::Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port())).await?);
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        let inbox = format!("_INBOX.{:016x}", fastrand::u64(..));
        let length = payload.len();
        let request = format!(
            "CONNECT {options}\r\nSUB {inbox} 1\r\nPUB {subject} {inbox} {length}\r\n{payload}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["MSG", .., length] => {
                    let length = length.parse().map_err(io::Error::other)?;
                    let mut answer = vec![0; length];
                    stream.read_exact(&mut answer).await?;
                    return Ok(String::from_utf8_lossy(&answer).into_owned());
                }
                // A status without a payload: nobody serves the subject.
                ["HMSG", ..] => return Err(io::ErrorKind::NotFound.into()),
                ["PING"] => stream.write_all(b"PONG\r\n").await?,
                ["-ERR", ..] => return Err(io::Error::other(line)),
                _ => {}
            }
        }
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
