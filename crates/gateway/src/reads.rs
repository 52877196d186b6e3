//! Reads from the store on behalf of one call, in bounded time.

use std::time::Duration;

use longshore_core::{names::OperationName, time::Time};
use longshore_state::{ledger::Ledger, store::Stored};
use tokio::time::{Instant, sleep, timeout};

use crate::errors::{Reason, Refusal};

/// The longest that one access to the store may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
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

/// Waits for an answer of the store no longer than [`LIMIT`].
///
/// # Errors
/// [`Reason::StoreUnavailable`] if there is none by then, and the answer's own.
pub(crate) async fn bounded<T, E>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Refusal>
where
    Refusal: From<E>,
{
    match timeout(LIMIT, answer).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(_) => Err(Refusal::unavailable()),
    }
}

/// The operation that a client names, and the store's time.
///
/// # Errors
/// [`Reason::OperationNotFound`] if there is none, if it was deleted, or if it is named under
/// another parent; and whatever the store says.
pub(crate) async fn load(ledger: &Ledger, name: &OperationName) -> Result<(Stored, Time), Refusal> {
    let ids = [name.id.clone()];
    let mut answers = bounded(async { Ok::<_, Refusal>(ledger.store().load(&ids).await) }).await?;
    let loaded = answers
        .pop()
        .ok_or_else(|| Refusal::new(Reason::Internal, "the store did not answer"))??;
    match loaded.stored {
        Some(stored) if is_visible(&stored, name) => Ok((stored, loaded.now)),
        Some(_) | None => Err(Refusal::not_found(name)),
    }
}

/// Whether a record is what a client means by a name.
pub(crate) fn is_visible(stored: &Stored, name: &OperationName) -> bool {
    !stored.record.deleted && name.parent.means(&stored.record.parent)
}
