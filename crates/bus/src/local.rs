//! The bus within one process.
//!
//! It keeps what it stores in memory: it is as lasting as the process. It is never closed.

mod routes;
mod stored;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Bus, Consumer, Delivery, Error, Incoming, Message, Reply, Settle, Status, Subscription, Work,
    subjects,
};
use routes::{Delivered, Routes};
use stored::{Stored, Taken};

/// After this time what was delivered and not settled is delivered again. A delivery that is
/// dropped counts as not settled, as with NATS.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// The bus within one process.
pub struct LocalBus {
    shared: Arc<Shared>,
    status: watch::Sender<Status>,
}

struct Shared {
    routes: Mutex<Routes>,
    stored: Mutex<Stored>,
    /// Told when something can be taken.
    more: Notify,
}

impl LocalBus {
    /// An empty bus. It must be used within a tokio runtime.
    pub fn new() -> Self {
        let shared =
            Shared { routes: Mutex::default(), stored: Mutex::default(), more: Notify::new() };
        let status = Status { ready: true, epoch: format!("{:016x}", fastrand::u64(..)) };
        Self { shared: Arc::new(shared), status: watch::Sender::new(status) }
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

/// Nothing that runs under these locks can panic half-way, so what they guard is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        lock(&self.shared.routes).deliver(&message, None);
        Ok(())
    }

    async fn enqueue(&self, message: Message) -> Result<(), Error> {
        let refused = |source| Error::Refused { doing: "store a message", source };
        lock(&self.shared.stored).add(message).map_err(refused)?;
        self.shared.more.notify_waiters();
        Ok(())
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Bytes, Error> {
        let (sender, mut receiver) = mpsc::channel(1);
        let delivered = lock(&self.shared.routes).deliver(&message, Some(&sender));
        drop(sender);
        if delivered == Delivered::NobodyThere {
            return Err(Error::NoResponders { subject: message.subject });
        }
        match timeout(within, receiver.recv()).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                Err(Error::Unavailable { doing: "get an answer: it was given up", source: None })
            }
            Err(elapsed) => Err(Error::Unavailable {
                doing: "get an answer in time",
                source: Some(elapsed.into()),
            }),
        }
    }

    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, Error> {
        let (id, receiver) = lock(&self.shared.routes).add(subject, group);
        Ok(Box::new(LocalSubscription { id, receiver, shared: self.shared.clone() }))
    }

    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, Error> {
        let lanes = match work {
            Work::Hints(queue) => subjects::PRIORITIES.map(|p| subjects::job(&queue, p)).into(),
            Work::Events => vec![stored::EVENTS_LANE.to_owned()],
        };
        Ok(Box::new(LocalConsumer { lanes, shared: self.shared.clone() }))
    }

    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, Error> {
        Ok(lock(&self.shared.stored).oldest(subject))
    }

    async fn depths(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(lock(&self.shared.stored).depths())
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}

struct LocalSubscription {
    id: u64,
    receiver: mpsc::Receiver<Incoming>,
    shared: Arc<Shared>,
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        self.receiver.recv().await
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        lock(&self.shared.routes).remove(self.id);
    }
}

struct LocalReply(mpsc::Sender<Bytes>);

#[async_trait]
impl Reply for LocalReply {
    async fn send(self: Box<Self>, payload: Bytes) -> Result<(), Error> {
        // It fails if the asker has given up or has another's answer.
        self.0.try_send(payload).ok();
        Ok(())
    }
}

struct LocalConsumer {
    /// In the order in which they are taken from.
    lanes: Vec<String>,
    shared: Arc<Shared>,
}

#[async_trait]
impl Consumer for LocalConsumer {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let max = max.max(1);
        loop {
            // Listens before it looks, so that nothing comes unnoticed in between.
            let mut more = std::pin::pin!(self.shared.more.notified());
            more.as_mut().enable();
            let now = Instant::now();
            let (taken, due) =
                lock(&self.shared.stored).take(&self.lanes, max, now, now + ACK_WAIT);
            if !taken.is_empty() {
                let shared = &self.shared;
                let deliver = |Taken { lane, id, message, since }: Taken| {
                    let handle = Box::new(LocalSettle { lane, id, shared: shared.clone() });
                    Delivery { waited: now - since, message, handle }
                };
                return Some(taken.into_iter().map(deliver).collect());
            }
            match due {
                Some(due) => tokio::select! {
                    () = more => {}
                    () = sleep_until(due) => {}
                },
                None => more.await,
            }
        }
    }
}

struct LocalSettle {
    lane: String,
    id: u64,
    shared: Arc<Shared>,
}

#[async_trait]
impl Settle for LocalSettle {
    async fn ack(self: Box<Self>) -> Result<(), Error> {
        lock(&self.shared.stored).remove(&self.lane, self.id);
        Ok(())
    }

    async fn give_back(self: Box<Self>, delay: Duration) -> Result<(), Error> {
        lock(&self.shared.stored).give_back(&self.lane, self.id, Instant::now() + delay);
        self.shared.more.notify_waiters();
        Ok(())
    }
}
