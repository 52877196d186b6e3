//! How the roles talk to each other: the port [`Bus`] and its two implementations, [`nats`] and
//! [`local`].
//!
//! The bus carries hints, never the truth: every message may be lost, doubled, late or out of
//! order, and all of them may be wiped at once. This crate must never know what a message means
//! for a record, nor of the store.

#[doc(hidden)]
pub mod conformance;
pub mod local;
pub mod measured;
pub mod nats;
pub mod subjects;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_core::{names::JobType, record::TraceContext};
use tokio::sync::watch;

/// Something to be sent, or that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes; see [`subjects`].
    pub subject: String,
    /// The trace that it belongs to; travels in the headers `traceparent` and `tracestate`.
    pub trace: TraceContext,
    /// An encoded message of `longshore.internal.v1`.
    pub payload: Bytes,
}

impl Message {
    /// A message that belongs to no trace.
    pub fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), trace: TraceContext::default(), payload: payload.into() }
    }
}

/// Why something could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus can't be reached, or did not answer in time. What was sent may have arrived.
    #[error("the bus is not available: {doing}")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// What the client library said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Nobody serves the subject of a request at the moment. Nothing happened.
    #[error("nobody serves {subject}")]
    NoResponders {
        /// The subject.
        subject: String,
    },
    /// The storage has no room at the moment. Nothing was stored.
    #[error("the bus has no room: {doing}")]
    Full {
        /// What was attempted.
        doing: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus is reached and refuses: the message is too large, or it is not allowed.
    #[error("the bus refuses: {doing}")]
    Refused {
        /// What was attempted.
        doing: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whether the bus can be used, and which bus it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// Whether it is connected and its streams exist.
    pub ready: bool,
    /// Tells the present storage of the streams from another one: it changes when the storage was
    /// wiped and made anew. Empty until known.
    pub epoch: String,
}

/// What a [`Consumer`] takes messages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The hints of a queue, those of a higher priority first.
    Hints(JobType),
    /// The events of all attempts.
    Events,
}

/// The roles' way to each other. All of it is safe to use from many tasks at once.
///
/// What goes by [`publish`](Bus::publish) reaches whoever is subscribed at the moment, at most
/// once. What goes by [`enqueue`](Bus::enqueue) is kept until a consumer has acknowledged it, so it
/// is delivered at least once unless the storage is lost. Order holds for messages of one sender on
/// one subject, roughly: redelivery breaks it.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends to whoever is subscribed. That it succeeds says nothing about whether it arrived.
    async fn publish(&self, message: Message) -> Result<(), Error>;

    /// Stores a message on the stream that its subject belongs to ([`subjects::job`],
    /// [`subjects::events`]) and returns once the stream has confirmed it. After an error it may
    /// be stored all the same.
    async fn enqueue(&self, message: Message) -> Result<(), Error>;

    /// Stores messages of one stream in their order. It is for those whose loss is made up for: the
    /// stream has confirmed the first and the last of them, and those between have gone the same
    /// way at the same time. After an error each may be stored or not.
    async fn enqueue_all(&self, messages: &[Message]) -> Result<(), Error> {
        let mut outcome = Ok(());
        for message in messages {
            outcome = outcome.and(self.enqueue(message.clone()).await);
        }
        outcome
    }

    /// Sends to one of those who serve the subject and returns the answer, within `timeout`.
    async fn request(&self, message: Message, timeout: Duration) -> Result<Bytes, Error>;

    /// Receives what is published on a subject (`*` is one token, `>` at the end the rest) from the
    /// moment this returns. Of the members of a group only one gets each message: a request's
    /// servers are a group.
    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, Error>;

    /// Takes stored messages; each goes to one consumer of the same [`Work`].
    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, Error>;

    /// The payload of the oldest message that is stored on a subject, or on [`subjects::EVENTS`],
    /// and not acknowledged. A look also removes what the server holds although it was acknowledged.
    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, Error>;

    /// How many hints are stored and not acknowledged, by the subject that they were sent on
    /// ([`subjects::job`]). It costs the same however many there are.
    async fn depths(&self) -> Result<BTreeMap<String, u64>, Error>;

    /// Whether the bus can be used, as it changes.
    fn status(&self) -> watch::Receiver<Status>;
}

/// What is published on a subject. Dropping it unsubscribes.
#[async_trait]
pub trait Subscription: Send {
    /// The next message; `None` once the bus is closed. Connection losses in between are bridged,
    /// with the loss of what was sent meanwhile. Cancel safe.
    async fn next(&mut self) -> Option<Incoming>;
}

/// A message that came by subscription.
pub struct Incoming {
    /// What came.
    pub message: Message,
    /// How to answer it, if the sender waits for an answer.
    pub reply: Option<Box<dyn Reply>>,
}

/// The way back to the sender of a request.
#[async_trait]
pub trait Reply: Send {
    /// Answers. The answer may get lost.
    async fn send(self: Box<Self>, payload: Bytes) -> Result<(), Error>;
}

/// Takes stored messages.
#[async_trait]
pub trait Consumer: Send {
    /// At least one and at most `max` messages (`max` ≥ 1), waiting until there is one. Holds no
    /// more than that: what the server hands out beyond `max` goes straight back.
    ///
    /// Never fails: it goes on trying through lost connections, and makes consumers that were
    /// wiped anew. Cancel safe: nothing is lost when the future is dropped, as what was not
    /// acknowledged comes again. `None` once the bus is closed.
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>>;
}

/// A stored message in the hands of a consumer. If it is neither acknowledged nor given back, it
/// comes again after a while (30 s), to this consumer or another.
pub struct Delivery {
    /// How long the bus has had it, about: by the clocks of two machines.
    pub waited: Duration,
    /// What came.
    pub message: Message,
    /// What to do with it.
    pub handle: Box<dyn Settle>,
}

/// What to do with a delivery.
#[async_trait]
pub trait Settle: Send {
    /// It is done with. The acknowledgement may get lost; then the message comes again.
    async fn ack(self: Box<Self>) -> Result<(), Error>;

    /// Somebody should have it again after the delay.
    async fn give_back(self: Box<Self>, delay: Duration) -> Result<(), Error>;
}
