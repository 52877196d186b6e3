//! A consumer: a task that asks JetStream for no more than is wanted.
//!
//! The task outlives the call that wanted something, and even the consumer: a request that waits
//! at the server can't be taken back, so what comes too late, or too much, is given back at once.
//!
//! Of several lanes the first that have something are emptied first. A lane that was found empty
//! gets a request for one message that waits; as long as that is not answered, the lane needs not
//! be asked again. The last thing done when nothing was found is therefore just to wait.

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use async_nats::Message;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    headers,
    health::State,
    lane::{Event, Lane, Pull},
    link::Link,
    streams::nanos,
};
use crate::{Consumer, Delivery, Error, Settle, Work, subjects};

/// The consumer of events.
pub(super) const RECORDER: &str = "recorder";
/// The most that is asked for at once.
const MAX_BATCH: usize = 4096;

/// Makes the JetStream consumers of a kind of work and starts to serve them.
pub(super) async fn start(link: &Arc<Link>, work: &Work) -> Result<Box<dyn Consumer>, Error> {
    let mut lanes = Vec::new();
    match work {
        Work::Hints(queue) => {
            for priority in subjects::PRIORITIES {
                let name = format!("{queue}-{}", subjects::token(priority));
                let filter = subjects::job(queue, priority);
                lanes.push(Lane::open(link, subjects::JOBS_STREAM, name, filter).await?);
            }
        }
        Work::Events => {
            let (name, filter) = (RECORDER.to_owned(), subjects::EVENTS.to_owned());
            lanes.push(Lane::open(link, subjects::EVENTS_STREAM, name, filter).await?);
        }
    }
    let (wish, wishes) = watch::channel(Wish { number: 0, max: 0 });
    let (sender, batches) = mpsc::channel(1);
    let health = link.health.subscribe();
    let State { losses, epoch, .. } = health.borrow().clone();
    for lane in &mut lanes {
        lane.assert(link).await?;
    }
    let link = link.clone();
    let (served, found, all_empty, batches_in) = (0, Vec::new(), false, sender);
    let puller = Puller {
        link,
        lanes,
        wishes,
        served,
        found,
        all_empty,
        batches: batches_in,
        health,
        losses,
        epoch,
    };
    tokio::spawn(puller.run());
    Ok(Box::new(NatsConsumer { wish, batches }))
}

/// How much is wanted; nothing if the call has ended.
#[derive(Clone, Copy, Debug)]
struct Wish {
    number: u64,
    max: usize,
}

struct NatsConsumer {
    wish: watch::Sender<Wish>,
    batches: mpsc::Receiver<Vec<Delivery>>,
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let max = max.clamp(1, MAX_BATCH);
        // Something may be left from a call that was dropped.
        let mut batch = match self.batches.try_recv() {
            Ok(batch) => batch,
            Err(_) => {
                self.wish.send_modify(|wish| *wish = Wish { number: wish.number + 1, max });
                let _unwish = Unwish(&self.wish);
                self.batches.recv().await?
            }
        };
        for surplus in batch.split_off(max.min(batch.len())) {
            // If it fails the message comes again all the same, later.
            surplus.handle.give_back(Duration::ZERO).await.ok();
        }
        Some(batch)
    }
}

/// Takes the wish back at the end of the call, however it ends.
struct Unwish<'a>(&'a watch::Sender<Wish>);

impl Drop for Unwish<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|wish| wish.max = 0);
    }
}

struct Puller {
    link: Arc<Link>,
    /// In the order in which they are taken from.
    lanes: Vec<Lane>,
    wishes: watch::Receiver<Wish>,
    /// The number of the last wish that was served.
    served: u64,
    /// What was found for the present wish, with the places of the lanes.
    found: Vec<(usize, Message)>,
    /// All lanes were found empty for the present wish.
    all_empty: bool,
    batches: mpsc::Sender<Vec<Delivery>>,
    health: watch::Receiver<State>,
    losses: u64,
    epoch: String,
}

impl Puller {
    async fn run(mut self) {
        let closed = self.link.closed.clone();
        let mut has_user = true;
        loop {
            self.heed_health();
            self.advance().await;
            if !has_user && self.lanes.iter().all(|lane| lane.pull == Pull::Idle) {
                return;
            }
            let alarm = self.alarm();
            tokio::select! {
                biased;
                () = closed.cancelled() => return,
                changed = self.wishes.changed(), if has_user => has_user = changed.is_ok(),
                Ok(()) = self.health.changed() => {}
                came = next_message(&mut self.lanes) => {
                    let mut came = Some(came);
                    // All that is here already, before anything else is looked at.
                    while let Some(next) = came {
                        let Some((lane, message)) = next else { return };
                        self.receive(lane, message).await;
                        came = next_message(&mut self.lanes).now_or_never();
                    }
                }
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => {
                    let now = Instant::now();
                    self.lanes.iter_mut().for_each(|lane| lane.lapse(now));
                }
            }
        }
    }

    /// The wish that is to be served now.
    fn wish(&self) -> Option<Wish> {
        let wish = *self.wishes.borrow();
        (wish.number > self.served && wish.max > 0).then_some(wish)
    }

    fn heed_health(&mut self) {
        let health = self.health.borrow_and_update();
        if health.losses != self.losses {
            self.losses = health.losses;
            self.lanes.iter_mut().for_each(Lane::reset);
        }
        if health.epoch != self.epoch {
            self.epoch.clone_from(&health.epoch);
            self.lanes.iter_mut().for_each(|lane| lane.asserted = false);
        }
    }

    /// When there is something to do although nothing comes.
    fn alarm(&self) -> Option<Instant> {
        let now = Instant::now();
        let wants = self.wish().is_some() && self.health.borrow().is_ready();
        let retry = |lane: &Lane| Some(lane.not_before).filter(|&time| wants && time > now);
        self.lanes.iter().filter_map(|lane| lane.deadline().or_else(|| retry(lane))).min()
    }

    /// Does what can be done without waiting for an answer to a pull request.
    async fn advance(&mut self) {
        let Some(wish) = self.wish() else {
            // Taken back.
            let found = std::mem::take(&mut self.found);
            self.forget();
            return self.give_back(found).await;
        };
        if self.lanes.iter().any(|lane| matches!(lane.pull, Pull::Asked { .. })) {
            // More is about to come, or word that there is no more.
            return;
        }
        if self.found.len() >= wish.max || (self.all_empty && !self.found.is_empty()) {
            return self.serve(wish).await;
        }
        if !self.health.borrow().is_ready() {
            return;
        }
        let left = wish.max - self.found.len();
        let alone = self.lanes.len() == 1;
        for lane in &mut self.lanes {
            if lane.pull != Pull::Idle || lane.not_before > Instant::now() {
                continue;
            }
            if !lane.asserted
                && let Err(error) = lane.assert(&self.link).await
            {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(consumer = lane.consumer, %error, source, "goes on trying");
                continue;
            }
            if alone {
                // It can be asked and waited for in one.
                lane.wait(&self.link, left).await;
            } else if lane.is_empty {
                lane.wait(&self.link, 1).await;
            } else {
                // The answer will tell, unless it is that there are as many as wanted.
                lane.is_empty = true;
                return lane.ask(&self.link, left).await;
            }
        }
        if self.found.is_empty() {
            self.all_empty = true;
        } else {
            self.serve(wish).await;
        }
    }

    async fn receive(&mut self, lane: usize, message: Message) {
        if let Event::Stored(message) = self.lanes[lane].receive(&self.link, message) {
            if self.wish().is_some() {
                self.found.push((lane, message));
            } else {
                self.give_back(vec![(lane, message)]).await;
            }
        }
    }

    async fn serve(&mut self, wish: Wish) {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(lane, _)| *lane);
        let surplus = found.split_off(wish.max.min(found.len()));
        let batch =
            found.into_iter().filter_map(|(_, message)| delivery(&self.link, message)).collect();
        self.served = wish.number;
        self.forget();
        if let Err(error) = self.batches.try_send(batch) {
            // A call was dropped just when it was served, and so was the next one.
            for delivery in error.into_inner() {
                delivery.handle.give_back(Duration::ZERO).await.ok();
            }
        }
        self.give_back(surplus).await;
    }

    /// Forgets what was learned for the last wish.
    fn forget(&mut self) {
        self.all_empty = false;
        self.lanes.iter_mut().for_each(|lane| lane.is_empty = false);
    }

    async fn give_back(&self, messages: Vec<(usize, Message)>) {
        for (_, message) in messages {
            if let Some(delivery) = delivery(&self.link, message) {
                // If it fails the message comes again all the same, later.
                delivery.handle.give_back(Duration::ZERO).await.ok();
            }
        }
    }
}

/// What comes next, on the first lane that has something. `None` if the connection is closed.
async fn next_message(lanes: &mut [Lane]) -> Option<(usize, Message)> {
    poll_fn(|context| {
        for (place, lane) in lanes.iter_mut().enumerate() {
            if let Poll::Ready(came) = lane.subscriber.poll_next_unpin(context) {
                return Poll::Ready(came.map(|message| (place, message)));
            }
        }
        Poll::Pending
    })
    .await
}

fn delivery(link: &Arc<Link>, mut message: Message) -> Option<Delivery> {
    let subject = message.reply.take()?.into_string();
    let waited = stored(&subject)
        .and_then(|stored| SystemTime::now().duration_since(stored).ok())
        .unwrap_or_default();
    let handle = Box::new(NatsSettle { subject, link: link.clone() });
    Some(Delivery { waited, message: headers::message(message), handle })
}

/// When the stream stored a message, by the server's clock: its subject for acknowledgements says
/// so, `$JS.ACK.STREAM.CONSUMER.TRIES.STREAM_SEQ.CONSUMER_SEQ.NANOS.PENDING` or, with a domain and
/// an account before the stream's name, a longer one.
fn stored(subject: &str) -> Option<SystemTime> {
    let place = if subject.split('.').count() == 9 { 7 } else { 9 };
    let nanos = subject.split('.').nth(place)?.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

struct NatsSettle {
    subject: String,
    link: Arc<Link>,
}

#[async_trait]
impl Settle for NatsSettle {
    async fn ack(self: Box<Self>) -> Result<(), Error> {
        self.link.send(self.subject, None, None, Bytes::from_static(b"+ACK")).await
    }

    async fn give_back(self: Box<Self>, delay: Duration) -> Result<(), Error> {
        let nak = if delay.is_zero() {
            Bytes::from_static(b"-NAK")
        } else {
            format!(r#"-NAK {{"delay":{}}}"#, nanos(delay)).into()
        };
        self.link.send(self.subject, None, None, nak).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_when_a_message_was_stored() {
        let when = Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_795_277_645_123_456_789));
        let short = "$JS.ACK.events.state.1.7.9.1795277645123456789.3";
        assert_eq!(stored(short), when);
        let long = "$JS.ACK.hub.ACCOUNT.events.state.1.7.9.1795277645123456789.3.token";
        assert_eq!(stored(long), when);
        assert_eq!(stored("$JS.ACK"), None);
    }
}
