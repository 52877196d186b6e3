//! Trying again what depends on a server that may be out of reach.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

/// The pauses between tries: from 50 ms doubling to 2 s, with jitter, without end.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter()
        .build()
}

/// Tries until it succeeds; `None` at shutdown.
pub(crate) async fn until<T, E, F, Fut>(
    shutdown: &CancellationToken,
    mut attempt: F,
    failed: impl Fn(&E),
) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    for pause in pauses() {
        match shutdown.run_until_cancelled(attempt()).await? {
            Ok(value) => return Some(value),
            Err(error) => failed(&error),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await?;
    }
    None
}
