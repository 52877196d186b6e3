//! Hears of all changes by one subscription and passes them to those calls that wait for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longshore_bus::{Bus, Message, Subscription, subjects};
use longshore_core::{codec, names::OperationId};
use longshore_proto::internal as pb;
use longshore_state::store::Stored;
use prost::Message as _;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// The pause after a failed try to subscribe: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What was heard of one operation.
#[derive(Clone, Default)]
pub(crate) struct News {
    /// Grows whenever the record has to be read, because something was or may have been missed.
    pub(crate) looks: u64,
    /// The newest record that was heard of.
    pub(crate) latest: Option<Arc<Stored>>,
}

/// Passes changes on. Holds something only for operations that somebody listens for.
#[derive(Default)]
pub(crate) struct Hub {
    /// In order, so that a simulation wakes them in the same one each time.
    interests: Mutex<BTreeMap<Box<str>, watch::Sender<News>>>,
}

/// Hears of one operation until it is dropped.
pub(crate) struct Listener {
    hub: Arc<Hub>,
    id: OperationId,
    news: watch::Receiver<News>,
}

impl Hub {
    /// Begins to listen for an operation. What changes after this returns is heard of (unless it
    /// gets lost on its way); so listen first and read then.
    pub(crate) fn listen(self: &Arc<Self>, id: &OperationId) -> Listener {
        let mut interests = self.interests();
        let news = match interests.get(id.as_str()) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(News::default());
                interests.insert(id.as_str().into(), sender);
                receiver
            }
        };
        drop(interests);
        Listener { hub: Arc::clone(self), id: id.clone(), news }
    }

    /// Receives changes until the shutdown.
    pub(crate) async fn run(&self, bus: &dyn Bus, shutdown: &CancellationToken) {
        shutdown.run_until_cancelled(self.receive_always(bus)).await;
    }

    async fn receive_always(&self, bus: &dyn Bus) {
        let mut pause = PAUSES.0;
        loop {
            match bus.subscribe(subjects::CHANGES, None).await {
                Ok(subscription) => {
                    pause = PAUSES.0;
                    self.receive(subscription, bus.status()).await;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "can't hear of changes; those who wait read instead");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Ends when the bus is closed.
    async fn receive(
        &self,
        mut subscription: Box<dyn Subscription>,
        mut status: watch::Receiver<longshore_bus::Status>,
    ) {
        self.look_everywhere();
        let mut has_status = true;
        loop {
            tokio::select! {
                // What is rare first: a flood of changes must not keep it from being seen.
                biased;
                changed = status.changed(), if has_status => {
                    has_status = changed.is_ok();
                    // It may have been away, and what was sent meanwhile is lost.
                    if status.borrow_and_update().ready {
                        self.look_everywhere();
                    }
                }
                incoming = subscription.next() => match incoming {
                    Some(incoming) => self.pass_on(&incoming.message),
                    None => return,
                },
            }
        }
    }

    fn pass_on(&self, message: &Message) {
        let Ok(changes) = pb::Changes::decode(message.payload.clone()) else {
            // It may have been about any of them.
            return self.look_everywhere();
        };
        let interests = self.interests();
        for changed in changes.changes {
            // Most changes interest nobody here: their records are not even decoded.
            let Some(sender) = interests.get(&*changed.id) else { continue };
            match decode(changed) {
                Some(stored) => sender.send_if_modified(|news| {
                    let newer =
                        news.latest.as_ref().is_none_or(|latest| latest.revision < stored.revision);
                    if newer {
                        news.latest = Some(Arc::new(stored));
                    }
                    newer
                }),
                None => sender.send_if_modified(look),
            };
        }
    }

    fn look_everywhere(&self) {
        for sender in self.interests().values() {
            sender.send_if_modified(look);
        }
    }

    fn interests(&self) -> MutexGuard<'_, BTreeMap<Box<str>, watch::Sender<News>>> {
        // Nothing panics while it is locked, and every state of the map is a good one.
        self.interests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations somebody listens for.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.interests().len()
    }
}

fn look(news: &mut News) -> bool {
    news.looks += 1;
    true
}

/// The record that a change carries; `None` if it carries none, or none that can be read.
fn decode(changed: pb::Changed) -> Option<Stored> {
    let id = OperationId::parse(&changed.id).ok()?;
    let record = codec::decode(id, changed.record?).ok()?;
    Some(Stored { revision: changed.revision, record })
}

impl Listener {
    /// The news since the last call, as soon as there are some. Cancel safe.
    pub(crate) async fn next(&mut self) -> News {
        match self.news.changed().await {
            Ok(()) => self.news.borrow_and_update().clone(),
            // The hub keeps the sender as long as somebody listens.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut interests = self.hub.interests();
        let is_last = |sender: &watch::Sender<News>| sender.receiver_count() <= 1;
        if interests.get(self.id.as_str()).is_some_and(is_last) {
            interests.remove(self.id.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_bus::{Error, local::LocalBus};
    use tokio::time::timeout;

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(20);

    fn changed(id: &OperationId, record: Option<&'static [u8]>) -> Message {
        let record = record.map(Into::into);
        let changed = pb::Changed { id: id.to_string(), revision: 1, record };
        let changes = pb::Changes { changes: vec![changed] };
        Message::new(subjects::CHANGES, changes.encode_to_vec())
    }

    #[tokio::test]
    async fn what_nobody_listens_for_is_forgotten() {
        let hub = Arc::new(Hub::default());
        let ids: Vec<OperationId> = (0..100).map(|_| OperationId::random()).collect();
        let first: Vec<Listener> = ids.iter().map(|id| hub.listen(id)).collect();
        let second: Vec<Listener> = ids.iter().map(|id| hub.listen(id)).collect();
        assert_eq!(hub.len(), 100);
        drop(first);
        assert_eq!(hub.len(), 100, "somebody still listens");
        drop(second);
        assert_eq!(hub.len(), 0);
        hub.pass_on(&changed(&ids[0], None));
        assert_eq!(hub.len(), 0);
    }

    #[tokio::test]
    async fn what_can_not_be_read_makes_the_listener_look() {
        let hub = Arc::new(Hub::default());
        let id = OperationId::random();
        let mut listener = hub.listen(&id);
        let nonsense = b"\xff\xff nonsense";
        let unreadable = Message::new(subjects::CHANGES, &nonsense[..]);
        for message in [changed(&id, None), changed(&id, Some(nonsense)), unreadable] {
            hub.pass_on(&message);
            let news = timeout(GENEROUS, listener.next()).await.unwrap();
            assert!(news.looks > 0 && news.latest.is_none());
        }
    }

    #[tokio::test]
    async fn a_new_subscription_makes_all_look() -> Result<(), Error> {
        let hub = Arc::new(Hub::default());
        let bus = Arc::new(LocalBus::new());
        let id = OperationId::random();
        let mut listener = hub.listen(&id);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (hub, bus, shutdown) = (Arc::clone(&hub), Arc::clone(&bus), shutdown.clone());
            async move { hub.run(&*bus, &shutdown).await }
        });
        let news = timeout(GENEROUS, listener.next()).await.unwrap();
        assert_eq!(news.looks, 1);
        bus.publish(changed(&id, None)).await?;
        assert_eq!(timeout(GENEROUS, listener.next()).await.unwrap().looks, 2);
        shutdown.cancel();
        timeout(GENEROUS, running).await.unwrap().unwrap();
        Ok(())
    }
}
