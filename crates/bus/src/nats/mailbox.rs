//! Answers: an inbox of our own, with a place for each answer that is awaited.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use tokio::sync::oneshot;

pub(super) struct Mailbox {
    /// All places are `PREFIX.NUMBER`.
    prefix: String,
    last: AtomicU64,
    places: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

/// Where one answer comes. Dropping it gives the place up.
pub(super) struct Place {
    pub(super) subject: String,
    pub(super) answer: oneshot::Receiver<Message>,
    number: u64,
    mailbox: Arc<Mailbox>,
}

impl Mailbox {
    pub(super) fn new(prefix: String) -> Arc<Self> {
        Arc::new(Self { prefix, last: AtomicU64::new(0), places: Mutex::default() })
    }

    /// What to subscribe to.
    pub(super) fn pattern(&self) -> String {
        format!("{}.*", self.prefix)
    }

    pub(super) fn place(self: &Arc<Self>) -> Place {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.places().insert(number, sender);
        Place {
            subject: format!("{}.{number}", self.prefix),
            answer,
            number,
            mailbox: self.clone(),
        }
    }

    /// Puts what comes in its place, for ever.
    pub(super) async fn sort(self: Arc<Self>, mut subscriber: Subscriber) {
        while let Some(message) = subscriber.next().await {
            let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
            if let Some(place) = number.and_then(|number: u64| self.places().remove(&number)) {
                // It fails if nobody waits any more.
                place.send(message).ok();
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        // The map is whole at any moment, whoever panicked.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.mailbox.places().remove(&self.number);
    }
}
