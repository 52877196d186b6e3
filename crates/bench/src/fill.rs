//! Fills stores and queues: through the store's and the bus's own libraries, in batches, and not
//! call by call.

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use longshore_bus::{Bus, Message};
use longshore_state::store::{Change, Store, Verdict};

/// How many changes go into one call.
pub(crate) const BATCH: usize = 256;
/// How many calls are under way.
const CALLS: usize = 8;
/// How many messages are under way.
const MESSAGES: usize = 512;

/// Commits changes of different operations.
///
/// # Errors
/// If one of them can't be committed.
pub(crate) async fn commit(store: &impl Store, changes: Vec<Change>) -> Result<()> {
    let mut changes = changes.into_iter();
    let batches = std::iter::from_fn(move || {
        let batch: Vec<Change> = changes.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    });
    let calls = batches.map(|batch| async {
        for verdict in store.commit(batch).await {
            ensure!(verdict? == Verdict::Committed, "a record that nobody knows is in the way");
        }
        Ok(())
    });
    stream::iter(calls).buffer_unordered(CALLS).try_collect().await
}

/// Enqueues messages.
///
/// # Errors
/// If the bus does not take one of them.
pub(crate) async fn enqueue(bus: &impl Bus, messages: Vec<Message>) -> Result<()> {
    let calls = messages.into_iter().map(|message| async { Ok(bus.enqueue(message).await?) });
    stream::iter(calls).buffer_unordered(MESSAGES).try_collect().await
}
