use std::{ffi::OsString, io, path::Path};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{Kind, PATIENCE, Probe, Server};
use crate::eventually;

/// The kind of a [`RedisServer`](super::RedisServer): it keeps nothing on disk unless told so.
pub enum Redis {}

impl Kind for Redis {
    const PROGRAM: &'static str = "redis-server";
    const VARIABLE: &'static str = "LONGSHORE_TEST_REDIS_SERVER";

    fn arguments(port: u16, _name: &str, data: &Path) -> Vec<OsString> {
        let port = port.to_string();
        let mut arguments: Vec<OsString> =
            ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]
                .map(OsString::from)
                .into();
        arguments.push(data.into());
        arguments
    }

    async fn probe(port: u16, _name: &str, pid: u32) -> io::Result<Probe> {
        let info = call(port, &["INFO"]).await?;
        let has = |line: &str| info.lines().any(|found| found == line);
        Ok(match (has(&format!("process_id:{pid}")), has("loading:0")) {
            (true, true) => Probe::Ready,
            (true, false) => Probe::Starting,
            (false, _) => Probe::Foreign,
        })
    }
}

impl Server<Redis> {
    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Sends a command on a connection of its own and returns the reply as text: the elements of a
    /// list on lines of their own, nothing for nil.
    ///
    /// # Panics
    /// If there is no reply, or it is an error.
    pub async fn cli(&self, command: &[&str]) -> String {
        call(self.port(), command)
            .await
            .unwrap_or_else(|error| panic!("{command:?} failed: {error}"))
    }

    /// The same, for a server that may be out of reach. A frozen one never answers: how long to
    /// wait is up to the caller.
    ///
    /// # Errors
    /// If there is no reply, or it is an error.
    pub async fn try_cli(&self, command: &[&str]) -> io::Result<String> {
        call(self.port(), command).await
    }

    /// Waits until the replica of this master has all that the master answered for: Redis answers
    /// first and replicates then, and what the replica lacks is lost with the master.
    pub async fn replicated(&self) {
        eventually(PATIENCE, async || {
            let info = self.cli(&["INFO", "replication"]).await;
            let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
            let offset = field("master_repl_offset:").unwrap_or("none");
            let in_step =
                field("slave0:").is_some_and(|of| of.contains(&format!("offset={offset},")));
            if in_step { Ok(()) } else { Err(info) }
        })
        .await;
    }
}

pub(super) async fn call(port: u16, command: &[&str]) -> io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes()).await?;
    reply(&mut stream).await
}

/// Reads one reply of RESP 2.
async fn reply(from: &mut (impl AsyncBufRead + Send + Unpin)) -> io::Result<String> {
    let mut lines = Vec::new();
    let mut left = 1_usize;
    while left > 0 {
        left -= 1;
        let mut line = String::new();
        from.read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
        // Minus one is nil.
        let count =
            || rest.parse::<i64>().map(|n| usize::try_from(n).ok()).map_err(io::Error::other);
        match kind {
            "-" => return Err(io::Error::other(rest.to_owned())),
            "*" => left += count()?.unwrap_or(0),
            "$" => {
                let mut text = Vec::new();
                if let Some(count) = count()? {
                    text = vec![0; count + 2];
                    from.read_exact(&mut text).await?;
                    text.truncate(count);
                }
                lines.push(String::from_utf8_lossy(&text).into_owned());
            }
            _ => lines.push(rest.to_owned()),
        }
    }
    Ok(lines.join("\n"))
}
