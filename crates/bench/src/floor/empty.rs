//! The floor of the gateway's calls: the empty server, as a process of its own.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::{self, Process};

/// An empty server.
pub(crate) struct EmptyServer {
    /// Where it is, `HOST:PORT`.
    pub address: String,
    /// Its process.
    pub process: Process,
    _dir: TempDir,
}

impl EmptyServer {
    /// One that answers gRPC and HTTP calls with these bytes.
    pub(crate) async fn start(grpc: &[u8], http: &[u8]) -> Result<Self> {
        let dir = TempDir::new()?;
        let (grpc_file, http_file) = (dir.path().join("grpc"), dir.path().join("http"));
        fs::write(&grpc_file, grpc)?;
        fs::write(&http_file, http)?;
        let arguments = [
            "part-empty".into(),
            "--grpc".into(),
            grpc_file.into_os_string(),
            "--http".into(),
            http_file.into_os_string(),
        ];
        let mut process = Process::start(process::own(), arguments, &[], dir.path())?;
        let address = process.address().await?;
        Ok(Self { address, process, _dir: dir })
    }
}
