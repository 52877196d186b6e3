//! Reads from the store on behalf of calls, in bounded time.

use std::{sync::Arc, time::Duration};

use longshore_core::{names::OperationName, telemetry};
use longshore_state::{ledger::Ledger, store::Stored};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::errors::Refusal;

/// How many of those who follow operations read again at once. After an outage all of them want
/// to, and the store has to answer others too.
const ROOM: usize = 64;
/// A failure that came faster than this is tried once more, so that a connection that breaks and
/// comes back goes unnoticed.
const QUICK: Duration = Duration::from_millis(500);

/// Makes a call, and once more if the store was away for a moment. The closure is given the
/// attempt's number, from 1.
///
/// # Errors
/// That of the last attempt.
pub(crate) async fn once_more<T, F>(call: impl Fn(u32) -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let started = Instant::now();
    match call(1).await {
        Err(refusal) if refusal.is_transient() && started.elapsed() < QUICK => {
            sleep(Duration::from_millis(fastrand::u64(50..150))).await;
            call(2).await
        }
        answer => answer,
    }
}

/// Waits for an answer of the store no longer than `limit`.
///
/// # Errors
/// [`Reason::StoreUnavailable`](crate::errors::Reason::StoreUnavailable) if there is none by then, and the answer's own.
pub(crate) async fn bounded<T, E>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Refusal>
where
    Refusal: From<E>,
{
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(_) => {
            tracing::warn!(
                trace_id = telemetry::trace_id(),
                ?limit,
                "the store did not answer in time"
            );
            Err(Refusal::unavailable())
        }
    }
}

/// Reads on behalf of those who follow operations.
pub(crate) struct Reader {
    ledger: Arc<Ledger>,
    limit: Duration,
    room: Semaphore,
}

impl Reader {
    pub(crate) fn new(ledger: Arc<Ledger>, limit: Duration) -> Self {
        Self { ledger, limit, room: Semaphore::new(ROOM) }
    }

    /// The operation as it is now.
    ///
    /// # Errors
    /// As [`load`], and if it takes too long.
    pub(crate) async fn read(&self, name: &OperationName) -> Result<Stored, Refusal> {
        let read = once_more(|_| load(&self.ledger, name));
        bounded(self.limit, read).await
    }

    /// The same for those who have read it before: they take turns.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) async fn read_again(&self, name: &OperationName) -> Result<Stored, Refusal> {
        // The semaphore is never closed.
        let _turn = self.room.acquire().await;
        bounded(self.limit, load(&self.ledger, name)).await
    }
}

/// The operation that a client names.
///
/// # Errors
/// [`Reason::OperationNotFound`](crate::errors::Reason::OperationNotFound) if there is none, if it was deleted, or if it is named under
/// another parent; and whatever the store says.
pub(crate) async fn load(ledger: &Ledger, name: &OperationName) -> Result<Stored, Refusal> {
    match ledger.store().read(&name.id).await? {
        Some(stored) if is_visible(&stored, name) => Ok(stored),
        Some(_) | None => Err(Refusal::not_found(name)),
    }
}

/// Whether a record is what a client means by a name.
pub(crate) fn is_visible(stored: &Stored, name: &OperationName) -> bool {
    !stored.record.deleted && name.parent.means(&stored.record.parent)
}
