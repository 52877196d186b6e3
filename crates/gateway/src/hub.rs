//! Hears of all changes by one subscription and passes them to those calls that wait for them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use longshore_bus::{Bus, Message, Subscription, subjects};
use longshore_core::{codec, names::OperationId};
use longshore_proto::internal as pb;
use longshore_state::store::Stored;
use prost::Message as _;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// The pause after a failed try to subscribe: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long who listens can do without reading, for each who does: so all together they read at
/// most 500 times a second, and leave the gateway and the store to those who have something to do.
const TRUST_FOR_EACH: Duration = Duration::from_millis(2);

/// What was heard of one operation.
#[derive(Clone, Default)]
pub(crate) struct News {
    /// How many pieces of news there were.
    count: u64,
    /// Grows whenever the record has to be read, because something was or may have been missed.
    pub(crate) looks: u64,
    /// The newest record that was heard of.
    pub(crate) latest: Option<Arc<Stored>>,
}

/// Passes changes on. Holds something only for operations that somebody listens for.
#[derive(Default)]
pub(crate) struct Hub(Mutex<Interests>);

#[derive(Default)]
struct Interests {
    /// In order, so that a simulation wakes them in the same one each time.
    places: BTreeMap<Box<str>, Arc<Place>>,
    listeners: u32,
    /// Whether changes come. If they don't, who listens has to read.
    hears: bool,
}

/// Where the news of one operation lie. Very many listen at once, so it is small.
#[derive(Default)]
struct Place {
    news: Mutex<News>,
    told: Notify,
    /// Changes only while the interests are locked.
    listeners: AtomicUsize,
}

/// Hears of one operation until it is dropped.
pub(crate) struct Listener {
    hub: Arc<Hub>,
    place: Arc<Place>,
    id: OperationId,
    /// How many pieces of news it has been given, and those that were there before it.
    count: u64,
}

impl Hub {
    /// Begins to listen for an operation. What changes after this returns is heard of (unless it
    /// gets lost on its way); so listen first and read then.
    pub(crate) fn listen(self: &Arc<Self>, id: &OperationId) -> Listener {
        let mut interests = self.interests();
        interests.listeners += 1;
        let place = match interests.places.get(id.as_str()) {
            Some(place) => Arc::clone(place),
            None => {
                let place = Arc::<Place>::default();
                interests.places.insert(id.as_str().into(), Arc::clone(&place));
                place
            }
        };
        place.listeners.fetch_add(1, Relaxed);
        drop(interests);
        let count = place.news().count;
        Listener { hub: Arc::clone(self), place, id: id.clone(), count }
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
        self.note(status.borrow().ready);
        let mut has_status = true;
        loop {
            tokio::select! {
                // What is rare first: a flood of changes must not keep it from being seen.
                biased;
                changed = status.changed(), if has_status => {
                    has_status = changed.is_ok();
                    self.note(status.borrow_and_update().ready);
                }
                incoming = subscription.next() => match incoming {
                    Some(incoming) => self.pass_on(&incoming.message),
                    None => return self.note(false),
                },
            }
        }
    }

    /// Notes whether changes come. If they do again, some were lost; if they don't any more, some
    /// will be.
    fn note(&self, hears: bool) {
        self.interests().hears = hears;
        self.look_everywhere();
    }

    fn pass_on(&self, message: &Message) {
        let Ok(changes) = pb::Changes::decode(message.payload.clone()) else {
            // It may have been about any of them.
            return self.look_everywhere();
        };
        let interests = self.interests();
        for changed in changes.changes {
            // Most changes interest nobody here: their records are not even decoded.
            let Some(place) = interests.places.get(&*changed.id) else { continue };
            match decode(changed) {
                Some(stored) => place.tell(stored),
                None => place.look(),
            }
        }
    }

    fn look_everywhere(&self) {
        self.interests().places.values().for_each(|place| place.look());
    }

    fn interests(&self) -> MutexGuard<'_, Interests> {
        // Nothing panics while it is locked, and every state of the map is a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations somebody listens for.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.interests().places.len()
    }
}

impl Place {
    /// Passes a record on if it is news.
    fn tell(&self, stored: Stored) {
        let mut news = self.news();
        if news.latest.as_ref().is_none_or(|latest| latest.revision < stored.revision) {
            news.latest = Some(Arc::new(stored));
            self.wake(news);
        }
    }

    /// Has all who listen read the record.
    fn look(&self) {
        let mut news = self.news();
        news.looks += 1;
        self.wake(news);
    }

    fn wake(&self, mut news: MutexGuard<'_, News>) {
        news.count += 1;
        drop(news);
        self.told.notify_waiters();
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record that a change carries; `None` if it carries none, or none that can be read.
fn decode(changed: pb::Changed) -> Option<Stored> {
    let id = OperationId::parse(&changed.id).ok()?;
    let record = codec::decode(id, changed.record?).ok()?;
    Some(Stored { revision: changed.revision, record })
}

impl Listener {
    /// For how long it can do without reading.
    pub(crate) fn trust(&self) -> Duration {
        let interests = self.hub.interests();
        if interests.hears { TRUST_FOR_EACH * interests.listeners } else { Duration::ZERO }
    }

    /// The news since the last call, as soon as there are some. Cancel safe.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            // From here on it is told, so what comes after the look is not missed.
            let told = self.place.told.notified();
            if let Some(news) = newer(&self.place, &mut self.count) {
                return news;
            }
            told.await;
        }
    }
}

fn newer(place: &Place, count: &mut u64) -> Option<News> {
    let news = place.news();
    (news.count > *count).then(|| {
        *count = news.count;
        news.clone()
    })
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut interests = self.hub.interests();
        interests.listeners -= 1;
        if self.place.listeners.fetch_sub(1, Relaxed) == 1 {
            interests.places.remove(self.id.as_str());
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
    async fn the_more_listen_the_rarer_they_read_unless_nothing_comes() {
        let hub = Arc::new(Hub::default());
        let ids: Vec<OperationId> = (0..50).map(|_| OperationId::random()).collect();
        let mut listeners: Vec<Listener> =
            ids.iter().chain(&ids).map(|id| hub.listen(id)).collect();
        assert_eq!(listeners[0].trust(), Duration::ZERO, "there is no subscription yet");
        hub.note(true);
        assert_eq!(listeners[0].trust(), TRUST_FOR_EACH * 100);
        listeners.truncate(10);
        assert_eq!(listeners[0].trust(), TRUST_FOR_EACH * 10);
        timeout(GENEROUS, listeners[0].next()).await.unwrap();
        hub.note(false);
        let news = timeout(GENEROUS, listeners[0].next()).await.unwrap();
        assert_eq!((news.looks, listeners[0].trust()), (2, Duration::ZERO));
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
