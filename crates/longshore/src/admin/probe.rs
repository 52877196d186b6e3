//! Asks a role's admin listener, for health checks in images that have nothing else to ask with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    cli::Probe,
    client::{complain, say},
    exit::Exit,
};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const LONGEST: u64 = 4096;

/// Shows what the role says of itself.
pub(crate) async fn probe(args: &Probe) -> Result<Exit> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let answer = match timeout(PATIENCE, ask(&args.address, path)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            complain(&format!("{error:#}"))?;
            return Ok(Exit::Unavailable);
        }
        Err(_) => {
            complain(&format!("{} does not answer", args.address))?;
            return Ok(Exit::Unavailable);
        }
    };
    say(answer.body.trim_end())?;
    Ok(if answer.is_ok { Exit::Fine } else { Exit::Unavailable })
}

struct Answer {
    is_ok: bool,
    body: String,
}

async fn ask(address: &str, path: &str) -> Result<Answer> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("can't reach {address}"))?;
    // HTTP/1.0: the answer ends where the connection does.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1);
    ensure!(head.starts_with("HTTP/") && status.is_some(), "{address} does not speak HTTP");
    Ok(Answer { is_ok: status == Some("200"), body: body.to_owned() })
}
