//! The way of all events of a worker to the event stream.
//!
//! What comes up while a message is on its way goes together into the next one: under load a
//! message carries many events, at rest none waits for others.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryFutureExt, stream::FuturesUnordered};
use longshore_bus::{self as bus, Bus, Message, subjects};
use longshore_core::names::WorkerInstance;
use longshore_proto::internal::{Event, Events};
use prost::Message as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

/// How many messages may be on their way at a time, if the one before takes long.
const WINDOW: usize = 2;
/// What takes longer than this is not waited for. It is a multiple of what a message takes under
/// load: sent earlier, the next one would carry less, and the same events cost more messages.
const LONG: Duration = Duration::from_millis(10);
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
    let store = |events| {
        let message = Message::new(&*subject, Events { events }.encode_to_vec());
        bus.enqueue(message).map_err(Arc::new)
    };
    send_all(store, letters).await;
}

/// Has what is handed in stored, in messages of many events.
async fn send_all<F>(store: impl Fn(Vec<Event>) -> F, letters: Letters)
where
    F: Future<Output = Stored>,
{
    let mut letters = letters.0;
    let mut under_way = FuturesUnordered::new();
    // One that the message before had no room for.
    let mut left = None;
    // When the next may go although the one before is on its way.
    let mut late = Instant::now();
    loop {
        let (is_full, waits) = (under_way.len() >= WINDOW, !under_way.is_empty());
        let first = async {
            if waits {
                sleep_until(late).await;
            }
            next(&mut left, &mut letters).await
        };
        let first = tokio::select! {
            biased;
            Some(()) = under_way.next() => continue,
            first = first, if !is_full => first,
        };
        let Some(first) = first else { break };
        let batch = gather(first, &mut left, &mut letters);
        under_way.push(deliver(&store, batch));
        late = Instant::now() + LONG;
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

async fn deliver<F>(store: &impl Fn(Vec<Event>) -> F, letters: Vec<Letter>)
where
    F: Future<Output = Stored>,
{
    let stored = store(letters.iter().flat_map(|letter| &letter.events).cloned().collect()).await;
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
        let stored = store(letter.events).await;
        letter.stored.send(stored).ok();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        task::{JoinHandle, yield_now},
        time::advance,
    };

    use super::*;

    /// An outbox, and its messages: how many events each has, and what it waits for to be stored.
    struct Post {
        outbox: Arc<Outbox>,
        messages: mpsc::UnboundedReceiver<(usize, oneshot::Sender<Stored>)>,
    }

    impl Post {
        fn new() -> Self {
            let (outbox, letters) = outbox();
            let (sender, messages) = mpsc::unbounded_channel();
            let store = move |events: Vec<Event>| {
                let (stored, is_stored) = oneshot::channel();
                sender.send((events.len(), stored)).unwrap();
                async move { is_stored.await.unwrap() }
            };
            tokio::spawn(send_all(store, letters));
            Self { outbox: Arc::new(outbox), messages }
        }

        async fn hand_in(&self) -> JoinHandle<Stored> {
            let outbox = self.outbox.clone();
            let handed = tokio::spawn(async move { outbox.send(vec![Event::default()]).await });
            settle().await;
            handed
        }

        /// The message that has been sent by now, if there is one.
        async fn message(&mut self) -> Option<(usize, oneshot::Sender<Stored>)> {
            settle().await;
            self.messages.try_recv().ok()
        }
    }

    /// Lets all tasks do what they can; the clock stands still.
    async fn settle() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_up_while_a_message_is_on_its_way_goes_together() {
        let mut post = Post::new();
        let first = post.hand_in().await;
        let (count, stored) = post.message().await.unwrap();
        assert_eq!(count, 1, "at rest nothing waits for others");
        let others = [post.hand_in().await, post.hand_in().await, post.hand_in().await];
        assert!(post.message().await.is_none());
        stored.send(Ok(())).unwrap();
        assert!(first.await.unwrap().is_ok());
        let (count, stored) = post.message().await.unwrap();
        assert_eq!(count, 3);
        stored.send(Ok(())).unwrap();
        for other in others {
            assert!(other.await.unwrap().is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_takes_long_holds_up_no_other() {
        let mut post = Post::new();
        post.hand_in().await;
        let _first = post.message().await.unwrap();
        post.hand_in().await;
        advance(LONG / 2).await;
        assert!(post.message().await.is_none());
        advance(LONG).await;
        let (_, second) = post.message().await.unwrap();
        // Two are as many as there may be.
        post.hand_in().await;
        advance(LONG * 100).await;
        assert!(post.message().await.is_none());
        second.send(Ok(())).unwrap();
        assert_eq!(post.message().await.unwrap().0, 1);
    }
}
