//! What is left on the bus.

use std::time::Duration;

use anyhow::{Context, Result};
use longshore_testkit::eventually;
use serde_json::Value;

use super::Servers;
use crate::site::PATIENCE;

/// Waits until all hints and events have been taken.
pub(super) async fn check(servers: &Servers) -> Result<()> {
    let addresses: Vec<&str> = servers.nats.split(',').collect();
    let client = async_nats::connect(addresses).await.context("can't reach NATS")?;
    for stream in ["LS_JOBS", "LS_EVENTS"] {
        eventually(PATIENCE, || async {
            match left(&client, stream).await {
                Ok(0) => Ok(()),
                Ok(count) => Err(format!("{count} messages are left in {stream}")),
                Err(error) => Err(format!("{stream}: {error:#}")),
            }
        })
        .await;
    }
    Ok(())
}

async fn left(client: &async_nats::Client, stream: &str) -> Result<u64> {
    let request = client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into());
    let answer = tokio::time::timeout(Duration::from_secs(5), request).await??;
    let info: Value = serde_json::from_slice(&answer.payload)?;
    info["state"]["messages"].as_u64().with_context(|| info.to_string())
}
