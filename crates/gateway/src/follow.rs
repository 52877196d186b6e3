//! Follows one operation through its states, by what the hub hears and by reading.

use std::{sync::Arc, time::Duration};

use longshore_core::names::OperationName;
use longshore_state::store::Stored;
use tokio::time::{Instant, sleep_until};

use crate::{
    errors::{Reason, Refusal},
    hub::{Hub, Listener},
    reads::{self, Reader},
};

/// The pause between two reads: the first, and the longest unless very many follow. Changes are
/// heard of at once; reading is for those that got lost on their way.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Follows one operation. Very many do at once: it is small, and what is large only for a moment
/// lies in a box.
pub(crate) struct Follower {
    reader: Arc<Reader>,
    name: OperationName,
    listener: Listener,
    /// The revision of the newest state that was handed out; 0 before the first.
    revision: u64,
    /// How often the hub has asked for a read.
    looks: u64,
    next_read: Instant,
    pause: Duration,
}

impl Follower {
    /// Listens from now on, so whatever is read later misses nothing.
    pub(crate) fn new(reader: Arc<Reader>, hub: &Arc<Hub>, name: OperationName) -> Self {
        let listener = hub.listen(&name.id);
        let next_read = Instant::now() + PAUSES.0;
        Self { reader, name, listener, revision: 0, looks: 0, next_read, pause: PAUSES.0 }
    }

    /// Puts the next read off, for the longer if what there was to read `is_read`.
    fn rest(&mut self, is_read: bool) {
        let trust = if is_read { self.listener.trust() } else { Duration::ZERO };
        let pause = self.pause.max(trust);
        self.next_read = Instant::now() + pause.mul_f64(0.9 + 0.2 * fastrand::f64());
    }

    /// The state as it is now.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) async fn read(&mut self) -> Result<Arc<Stored>, Refusal> {
        let stored = self.reader.read(&self.name).await?;
        self.revision = self.revision.max(stored.revision);
        self.rest(true);
        Ok(Arc::new(stored))
    }

    /// The next state that is newer than the one before. Waits through outages of the store.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Reason::OperationNotFound`] once it is gone.
    pub(crate) async fn next(&mut self) -> Result<Arc<Stored>, Refusal> {
        loop {
            let read = async {
                sleep_until(self.next_read).await;
                Box::pin(self.reader.read_again(&self.name)).await
            };
            let newest = tokio::select! {
                biased;
                news = self.listener.next() => {
                    if news.looks > self.looks {
                        self.looks = news.looks;
                        self.next_read = Instant::now();
                    }
                    // News may be late, and who has read nothing can't tell whether they are old.
                    news.latest.filter(|_| self.revision > 0)
                }
                read = read => {
                    self.rest(read.is_ok());
                    self.pause = (self.pause * 2).min(PAUSES.1);
                    match read {
                        Ok(stored) => Some(Arc::new(stored)),
                        Err(refusal) if refusal.reason == Reason::OperationNotFound => return Err(refusal),
                        // It is logged where it arose; the next read may go better.
                        Err(_) => None,
                    }
                }
            };
            if let Some(stored) = newest.filter(|stored| stored.revision > self.revision) {
                return self.hand_out(stored);
            }
        }
    }

    fn hand_out(&mut self, stored: Arc<Stored>) -> Result<Arc<Stored>, Refusal> {
        if !reads::is_visible(&stored, &self.name) {
            return Err(Refusal::not_found(&self.name));
        }
        self.revision = stored.revision;
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use longshore_bus::local::LocalBus;
    use longshore_core::{lifecycle::Rules, names::OperationId};
    use longshore_state::{embedded::EmbeddedStore, ledger::Ledger};
    use longshore_testkit::eventually;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn only_who_has_read_can_do_without_reading_for_long() {
        let (store, bus) = (EmbeddedStore::in_memory().unwrap(), Arc::new(LocalBus::new()));
        let ledger = Ledger::new(Arc::new(store), bus.clone(), Rules::default());
        let reader = Arc::new(Reader::new(Arc::new(ledger), Duration::from_secs(60)));
        let hub = Arc::new(Hub::default());
        let others: Vec<Listener> =
            (0..50_000).map(|_| hub.listen(&OperationId::random())).collect();
        let hearing = {
            let (hub, shutdown) = (Arc::clone(&hub), CancellationToken::new());
            tokio::spawn(async move { hub.run(&*bus, &shutdown).await })
        };
        eventually(Duration::from_secs(20), || async {
            if others[0].trust().is_zero() { Err("deaf") } else { Ok(()) }
        })
        .await;

        let name = OperationName::parse("operations/none").unwrap();
        let mut follower = Follower::new(reader, &hub, name);
        assert!(follower.read().await.is_err());
        assert!(follower.next_read <= Instant::now() + PAUSES.0);
        follower.rest(false);
        assert!(follower.next_read <= Instant::now() + PAUSES.0 * 2);
        follower.rest(true);
        assert!(follower.next_read > Instant::now() + PAUSES.1 * 2);
        hearing.abort();
    }
}
