//! As much of an HTTP client as the cases need.

use std::io;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::site::PATIENCE;

/// The connection could not be made, or was closed before a byte of the answer came: clients of
/// Google's try a read again then.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct Unanswered(#[source] io::Error);

/// Whether nothing of an answer came.
pub(super) fn is_unanswered(error: &anyhow::Error) -> bool {
    error.is::<Unanswered>()
}

/// The whole answer to a GET.
pub(super) async fn get(address: &str, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    };
    match timeout(PATIENCE, exchange).await? {
        Ok(0) => Err(Unanswered(io::ErrorKind::UnexpectedEof.into()).into()),
        Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Err(error) if answer.is_empty() => Err(Unanswered(error).into()),
        Err(error) => Err(error.into()),
    }
}
