//! One JetStream consumer as one of ours uses it: at most one pull request is under way.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use serde_json::json;
use tokio::time::Instant;

use super::{
    link::Link,
    streams::{self, backoff, nanos},
};
use crate::Error;

/// How long a request waits at the server.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it still knows a waiting request.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A waiting request of which nothing was heard for so long is lost: two heartbeats and some. A
/// cluster that elects a leader for the consumer loses requests without a word.
const SILENCE: Duration = Duration::from_secs(12);
/// How long the answer to a request that does not wait may take. A server that had a message and
/// gave it to another before it got here says nothing at all (2.9).
const ANSWER: Duration = Duration::from_millis(200);
/// What the server says at once if there is something, but others wait for more than that.
const REQUESTS_PENDING: &str = "Requests Pending";
/// How long those others are left alone then.
const YIELD: Duration = Duration::from_millis(20);

pub(super) struct Lane {
    pub(super) stream: &'static str,
    pub(super) consumer: String,
    pub(super) filter: String,
    pub(super) subscriber: Subscriber,
    /// Answers to pull requests come on `INBOX.NUMBER`, by which an old one is told from the last.
    inbox: String,
    number: u64,
    pub(super) pull: Pull,
    /// Whether it was found to be empty, or is about to be, for the present wish.
    pub(super) is_empty: bool,
    /// Whether the consumer exists, as far as is known.
    pub(super) asserted: bool,
    failures: u32,
    /// Not to be asked before, after a failure.
    pub(super) not_before: Instant,
}

/// What is under way on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pull {
    /// Nothing.
    Idle,
    /// A request for what there is now, at most so much.
    Asked { left: usize, deadline: Instant },
    /// A request that waits for the first that comes. As it has not been answered, the lane is empty.
    Waiting { left: usize, deadline: Instant },
}

/// What came on a lane.
pub(super) enum Event {
    /// A stored message.
    Stored(Message),
    /// Something about the request; [`Lane::pull`] tells.
    Told,
}

impl Lane {
    pub(super) async fn open(
        link: &Link,
        stream: &'static str,
        consumer: String,
        filter: String,
    ) -> Result<Self, Error> {
        let inbox = link.client.new_inbox();
        let subscriber = link.client.subscribe(format!("{inbox}.*")).await;
        let subscriber = subscriber
            .map_err(|error| Error::Unavailable { doing: "consume", source: Some(error.into()) })?;
        Ok(Self {
            stream,
            consumer,
            filter,
            subscriber,
            inbox,
            number: 0,
            pull: Pull::Idle,
            is_empty: false,
            asserted: false,
            failures: 0,
            not_before: Instant::now(),
        })
    }

    /// Makes sure that the consumer exists. After an error it waits a while with the next attempt.
    pub(super) async fn assert(&mut self, link: &Link) -> Result<(), Error> {
        match streams::assert_consumer(link, self.stream, &self.consumer, &self.filter).await {
            Ok(()) => {
                self.asserted = true;
                Ok(())
            }
            Err(trouble) => {
                link.suspicion.notify_one();
                self.fail();
                Err(trouble.into_error("make a consumer"))
            }
        }
    }

    /// Asks for at most `max` of what there is now.
    pub(super) async fn ask(&mut self, link: &Link, max: usize) {
        let body = json!({ "batch": max, "no_wait": true });
        self.request(link, &body, Pull::Asked { left: max, deadline: Instant::now() + ANSWER })
            .await;
    }

    /// Asks for at most `max` of what there is as soon as there is something.
    pub(super) async fn wait(&mut self, link: &Link, max: usize) {
        // With a time to wait, `no_wait` means: answer with what there is, and wait only if that is
        // nothing.
        let body = json!({
            "batch": max,
            "no_wait": max > 1,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        self.request(link, &body, Pull::Waiting { left: max, deadline: Instant::now() + SILENCE })
            .await;
    }

    async fn request(&mut self, link: &Link, body: &serde_json::Value, pull: Pull) {
        self.number += 1;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let reply = format!("{}.{}", self.inbox, self.number);
        match link.send(subject, Some(reply), None, body.to_string().into()).await {
            Ok(()) => self.pull = pull,
            Err(_) => self.fail(),
        }
    }

    /// Takes note of what came.
    pub(super) fn receive(&mut self, link: &Link, message: Message) -> Event {
        let Some(status) = message.status else {
            self.failures = 0;
            self.count();
            return Event::Stored(message);
        };
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        if number != Some(self.number) || self.pull == Pull::Idle {
            return Event::Told;
        }
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                if let Pull::Waiting { deadline, .. } = &mut self.pull {
                    *deadline = Instant::now() + SILENCE;
                }
            }
            // There is nothing (more), or it has expired.
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {
                if matches!(self.pull, Pull::Waiting { .. })
                    && message.description.as_deref() == Some(REQUESTS_PENDING)
                {
                    self.not_before = Instant::now() + YIELD.mul_f64(0.5 + fastrand::f64());
                }
                self.failures = 0;
                self.pull = Pull::Idle;
            }
            // Deleted, another leader, nobody there, too many requests.
            _ => {
                tracing::debug!(
                    consumer = self.consumer,
                    ?status,
                    message.description,
                    "a pull request failed"
                );
                self.asserted = false;
                if status == StatusCode::NO_RESPONDERS {
                    link.suspicion.notify_one();
                }
                self.fail();
            }
        }
        Event::Told
    }

    /// When [`lapse`](Self::lapse) should be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.pull {
            Pull::Idle => None,
            Pull::Asked { deadline, .. } | Pull::Waiting { deadline, .. } => Some(deadline),
        }
    }

    /// Gives up a request that was not answered in time.
    pub(super) fn lapse(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.pull = Pull::Idle;
        }
    }

    /// The connection was lost, and with it what was under way.
    pub(super) fn reset(&mut self) {
        self.pull = Pull::Idle;
        self.failures = 0;
        self.not_before = Instant::now();
    }

    fn count(&mut self) {
        // More is about to come at once, or word that there is no more.
        let deadline = Instant::now() + ANSWER;
        self.pull = match self.pull {
            Pull::Asked { left, .. } | Pull::Waiting { left, .. } if left > 1 => {
                Pull::Asked { left: left - 1, deadline }
            }
            Pull::Idle | Pull::Asked { .. } | Pull::Waiting { .. } => Pull::Idle,
        };
    }

    fn fail(&mut self) {
        self.pull = Pull::Idle;
        self.not_before = Instant::now() + backoff(self.failures);
        self.failures += 1;
    }
}
