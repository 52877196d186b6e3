//! The process: signals, and the parts that it is there for.

use std::{io, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::future::{FutureExt, select_all};
use tokio::{
    runtime::{Builder, Runtime},
    select,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// The runtime that everything runs on.
///
/// # Errors
/// If the system does not give it its threads.
pub(crate) fn runtime() -> io::Result<Runtime> {
    // With one thread, one task that computes would hold up all others, health checks included.
    let threads = thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// A token that the first SIGTERM or SIGINT cancels. The second ends the process at once.
///
/// # Errors
/// If signals can't be listened to.
pub(crate) fn stop_on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping; a second signal ends the process at once");
        first.cancel();
        select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("ended by a second signal");
        end_at_once();
    });
    Ok(stop)
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "whoever sends a second signal does not want to wait"
)]
fn end_at_once() {
    // What shells say of a process that SIGINT has ended.
    std::process::exit(130);
}

/// Something that the process is there for.
pub(crate) struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Part {
    /// Starts it. It is to end once its token is cancelled, and not before.
    pub(crate) fn start<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { name, task: tokio::spawn(run(stop.clone())), stop }
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        match self.task.await {
            Ok(ended) => ended.context(self.name),
            Err(error) => Err(died(self.name, error)),
        }
    }
}

/// Lets parts run until `stop`, then ends them one after the other: each can count on those behind
/// it while it ends.
///
/// One that was told to end by somebody else, by way of its own token, ends the others too.
///
/// # Errors
/// If one ends before it is told to, panics, or ends with an error. The others are ended all the
/// same.
pub(crate) async fn keep(mut parts: Vec<Part>, stop: &CancellationToken) -> Result<()> {
    let early = {
        let tasks = parts.iter_mut().map(|part| (&mut part.task).boxed());
        select! {
            biased;
            () = stop.cancelled() => None,
            (ended, index, _) = select_all(tasks) => Some((index, ended)),
        }
    };
    let mut outcome = Ok(());
    if let Some((index, ended)) = early {
        let Part { name, stop, .. } = parts.remove(index);
        let told = stop.is_cancelled();
        outcome = Err(match ended {
            // Somebody else has told it to, by way of the bus.
            Ok(Ok(())) if told => return end_all(parts).await,
            Ok(Ok(())) => anyhow!("{name} ended without being told to"),
            Ok(Err(error)) => error.context(name),
            Err(error) => died(name, error),
        });
    }
    outcome.and(end_all(parts).await)
}

async fn end_all(parts: Vec<Part>) -> Result<()> {
    let mut outcome = Ok(());
    for part in parts {
        outcome = outcome.and(part.end().await);
    }
    outcome
}

fn died(name: &'static str, error: tokio::task::JoinError) -> anyhow::Error {
    // The panic's own message has gone to standard error already.
    anyhow::Error::new(error).context(format!("{name} died"))
}

/// Tries until a server is reached; `None` if the process is told to stop before.
///
/// # Errors
/// Those that `hopeless` says no trying will mend.
pub(crate) async fn reach<T, E, F, Fut>(
    server: &str,
    stop: &CancellationToken,
    hopeless: impl Fn(&E) -> bool,
    mut connect: F,
) -> Result<Option<T>, E>
where
    E: std::error::Error + 'static,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter();
    for pause in pauses.build() {
        match stop.run_until_cancelled(connect()).await {
            None => return Ok(None),
            Some(Ok(reached)) => return Ok(Some(reached)),
            Some(Err(error)) if hopeless(&error) => return Err(error),
            Some(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(server, error, retry_in = ?pause, "can't be reached, trying again");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(None);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    async fn obedient(stop: CancellationToken) -> Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn ends_when_told_to() {
        let stop = CancellationToken::new();
        stop.cancel();
        keep(vec![Part::start("a", obedient), Part::start("b", obedient)], &stop).await.unwrap();
    }

    #[tokio::test]
    async fn a_part_that_ends_early_ends_all() {
        let stop = CancellationToken::new();
        let parts = vec![Part::start("a", obedient), Part::start("b", |_| async { Ok(()) })];
        let error = keep(parts, &stop).await.unwrap_err();
        assert_eq!(error.to_string(), "b ended without being told to");
    }

    #[tokio::test]
    async fn a_part_that_somebody_else_has_told_to_end_ends_all_in_peace() {
        let stop = CancellationToken::new();
        let drained = |stop: CancellationToken| async move {
            stop.cancel();
            Ok(())
        };
        let parts = vec![Part::start("a", obedient), Part::start("b", drained)];
        keep(parts, &stop).await.unwrap();
    }

    #[tokio::test]
    async fn a_part_that_panics_ends_all() {
        let stop = CancellationToken::new();
        let parts =
            vec![Part::start("a", |_| async { panic!("on purpose") }), Part::start("b", obedient)];
        let error = keep(parts, &stop).await.unwrap_err();
        assert_eq!(error.to_string(), "a died");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_until_it_reaches() {
        let stop = CancellationToken::new();
        let mut tries = 0;
        let reached = reach(
            "s",
            &stop,
            |_| false,
            || {
                tries += 1;
                let outcome = if tries < 20 { Err(io::Error::other("not yet")) } else { Ok(tries) };
                async move { outcome }
            },
        );
        assert_eq!(reached.await.unwrap(), Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_when_told_to_or_when_there_is_no_hope() {
        let stop = CancellationToken::new();
        let refused = || async { Err::<(), _>(io::Error::other("refused")) };
        assert!(reach("s", &stop, |_| true, refused).await.is_err());
        stop.cancel();
        assert!(reach("s", &stop, |_| false, refused).await.unwrap().is_none());
        assert!(
            reach("s", &stop, |_: &io::Error| false, pending::<Result<(), _>>)
                .await
                .unwrap()
                .is_none()
        );
    }
}
