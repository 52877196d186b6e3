//! Those who watch: they listen to announcements, and read again now and then.

use std::{collections::BTreeMap, time::Duration};

use longshore_bus::subjects;
use longshore_core::names::OperationId;
use longshore_proto::internal::Changes;
use prost::Message;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{gate::Gate, roles::Site};

/// How often a watcher reads what it watches.
pub(crate) const READ: Duration = Duration::from_secs(10);

impl Site {
    /// Shows each operation's revisions as they come, none twice and none after a later one.
    pub(crate) async fn watcher(self, number: usize) {
        let gate = Gate::lasting(&self.world, format!("watcher-{number}"));
        let ledger = self.ledger(&gate);
        let mut seen: BTreeMap<OperationId, u64> = BTreeMap::new();
        let mut see = |id: OperationId, revision: u64| {
            let latest = seen.entry(id.clone()).or_default();
            if *latest < revision {
                *latest = revision;
                self.world.history().watched(number, &id, revision);
            }
        };
        let mut changes = loop {
            match ledger.bus().subscribe(subjects::CHANGES, None).await {
                Ok(changes) => break changes,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        };
        loop {
            let again = Instant::now() + READ;
            loop {
                let incoming = tokio::select! {
                    biased;
                    incoming = changes.next() => incoming,
                    () = sleep_until(again) => break,
                };
                let payload = incoming.map(|it| it.message.payload).unwrap_or_default();
                for changed in Changes::decode(payload).unwrap_or_default().changes {
                    if let Ok(id) = OperationId::parse(&changed.id) {
                        see(id, changed.revision);
                    }
                }
            }
            let ids: Vec<OperationId> = self.world.history().operations().keys().cloned().collect();
            let loaded = ledger.store().load(&ids).await;
            for (id, loaded) in ids.into_iter().zip(loaded) {
                if let Some(stored) = loaded.ok().and_then(|loaded| loaded.stored) {
                    see(id, stored.revision);
                }
            }
        }
    }
}
