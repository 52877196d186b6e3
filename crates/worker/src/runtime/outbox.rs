//! The way of all events of a worker to the event stream.
//!
//! What comes up while messages are on their way goes together into the next one: under load a
//! message carries many events, at rest none waits for others.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use longshore_bus::{self as bus, Bus, Message, subjects};
use longshore_core::names::WorkerInstance;
use longshore_proto::internal::{Event, Events};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

/// How many messages may be on their way at a time.
const WINDOW: usize = 2;
/// How many letters one message carries at most.
const BATCH: usize = 256;
/// How many bytes of events one message carries at most; a larger letter goes alone.
const BYTES: usize = 64 * 1024;
/// How many letters may wait; more wait to wait.
const WAITING: usize = 1024;

/// Whether a letter is stored. The error is that of the whole message.
type Stored = Result<(), Arc<bus::Error>>;

/// Where events are handed in.
pub(super) struct Outbox(mpsc::Sender<Letter>);

struct Letter {
    events: Vec<Event>,
    stored: oneshot::Sender<Stored>,
}

/// What was handed in, for [`run`].
pub(crate) struct Letters(mpsc::Receiver<Letter>);

pub(super) fn outbox() -> (Outbox, Letters) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Outbox(sender), Letters(receiver))
}

impl Letter {
    fn encoded_len(&self) -> usize {
        self.events.iter().map(Event::encoded_len).sum()
    }
}

impl Outbox {
    /// Sends events of one attempt in one message, so that they are applied in their order. Returns
    /// once the stream has confirmed them. After an error they may be stored all the same.
    pub(super) async fn send(&self, events: Vec<Event>) -> Stored {
        let (sender, stored) = oneshot::channel();
        if self.0.send(Letter { events, stored: sender }).await.is_ok()
            && let Ok(stored) = stored.await
        {
            return stored;
        }
        Err(Arc::new(bus::Error::Unavailable { doing: "report: the worker halts", source: None }))
    }
}

/// Sends what is handed in, until nobody can hand in any more.
pub(super) async fn run(bus: Arc<dyn Bus>, worker: WorkerInstance, letters: Letters) {
    let subject = subjects::events(&worker);
    let mut letters = letters.0;
    let mut under_way = FuturesUnordered::new();
    // One that the message before had no room for.
    let mut left = None;
    loop {
        let is_full = under_way.len() >= WINDOW;
        let first = tokio::select! {
            biased;
            Some(()) = under_way.next() => continue,
            first = next(&mut left, &mut letters), if !is_full => first,
        };
        let Some(first) = first else { break };
        let batch = gather(first, &mut left, &mut letters);
        under_way.push(deliver(&*bus, &subject, batch));
    }
    while under_way.next().await.is_some() {}
}

async fn next(left: &mut Option<Letter>, letters: &mut mpsc::Receiver<Letter>) -> Option<Letter> {
    match left.take() {
        Some(letter) => Some(letter),
        None => letters.recv().await,
    }
}

/// The letter, and those that wait already, as far as there is room in one message.
fn gather(
    first: Letter,
    left: &mut Option<Letter>,
    letters: &mut mpsc::Receiver<Letter>,
) -> Vec<Letter> {
    let mut size = first.encoded_len();
    let mut batch = vec![first];
    while batch.len() < BATCH
        && let Ok(letter) = letters.try_recv()
    {
        size += letter.encoded_len();
        if size > BYTES {
            *left = Some(letter);
            break;
        }
        batch.push(letter);
    }
    batch
}

async fn deliver(bus: &dyn Bus, subject: &str, letters: Vec<Letter>) {
    let events = letters.iter().flat_map(|letter| &letter.events).cloned().collect();
    let stored = store(bus, subject, events).await;
    let is_refused = stored.as_ref().is_err_and(|it| matches!(**it, bus::Error::Refused { .. }));
    if !is_refused || letters.len() == 1 {
        for letter in letters {
            // Nobody may want to know any more.
            letter.stored.send(stored.clone()).ok();
        }
        return;
    }
    // It may be only one of them that is refused, or that together they are too large.
    for letter in letters {
        let stored = store(bus, subject, letter.events).await;
        letter.stored.send(stored).ok();
    }
}

async fn store(bus: &dyn Bus, subject: &str, events: Vec<Event>) -> Stored {
    bus.enqueue(Message::new(subject, Events { events }.encode_to_vec())).await.map_err(Arc::new)
}
