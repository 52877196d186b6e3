//! The bus on NATS: core subjects for what may get lost, JetStream for what is kept.
//!
//! It works with nats-server from 2.9 on. Requests to JetStream are made here as they go over the
//! wire, because the client library's own consumers prefetch and its requests leave a trace in
//! memory whenever they time out.

mod api;
mod consumer;
mod headers;
mod health;
mod lane;
mod link;
mod mailbox;
mod queues;
mod settings;
mod streams;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, join};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::DropGuard;

use crate::{Bus, Consumer, Error, Incoming, Message, Reply, Status, Subscription, Work};
use api::Trouble;
use link::Link;
pub use settings::Settings;

/// How long NATS may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The bus on NATS. It is closed when it is dropped.
pub struct NatsBus {
    link: Arc<Link>,
    _close: DropGuard,
}

impl NatsBus {
    /// Connects, and makes the streams if they don't exist. Later losses of the connection or of
    /// the streams are made good in the background.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no server can be reached or it is not ready, which may pass;
    /// [`Error::Refused`] if it does not let us in or has other streams of the same name.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let link = Link::open(settings).await?;
        let close = link.closed.clone().drop_guard();
        streams::assert(&link, link.health.assertions()).await?;
        tokio::spawn(streams::supervise(link.clone()));
        Ok(Self { link, _close: close })
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        self.link.send(message.subject, None, headers::of(&message.trace), message.payload).await
    }

    async fn enqueue(&self, message: Message) -> Result<(), Error> {
        let assertions = self.link.health.assertions();
        match store(&self.link, &message).await {
            // There is no stream: the storage was wiped.
            Err(Trouble::NobodyThere) => {
                streams::assert(&self.link, assertions).await?;
                store(&self.link, &message)
                    .await
                    .map_err(|trouble| trouble.into_error("store a message"))
            }
            result => result.map_err(|trouble| trouble.into_error("store a message")),
        }
    }

    async fn enqueue_all(&self, messages: &[Message]) -> Result<(), Error> {
        // What the server gets from a connection it works off in order. Should it lose messages,
        // as when another server of a cluster takes the stream over, it is hardly for so short a
        // moment that neither the first nor the last is among them.
        match messages {
            [] => Ok(()),
            [only] => self.enqueue(only.clone()).await,
            [first, between @ .., last] => {
                let others = async {
                    for Message { subject, trace, payload } in between {
                        let headers = headers::of(trace);
                        self.link.send(subject.clone(), None, headers, payload.clone()).await?;
                    }
                    self.enqueue(last.clone()).await
                };
                let (first, last) = join!(self.enqueue(first.clone()), others);
                first.and(last)
            }
        }
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Bytes, Error> {
        let headers = headers::of(&message.trace);
        let subject = message.subject.clone();
        let answer = self.link.call(message.subject, headers, message.payload, within).await?;
        match answer.status {
            Some(async_nats::StatusCode::NO_RESPONDERS) => Err(Error::NoResponders { subject }),
            _ => Ok(answer.payload),
        }
    }

    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, Error> {
        let client = &self.link.client;
        let deadline = Instant::now() + PATIENCE;
        if !self.link.is_connected() {
            return Err(Error::Unavailable { doing: "subscribe: not connected", source: None });
        }
        let subscribing = async {
            match group {
                Some(group) => client.queue_subscribe(subject.to_owned(), group.to_owned()).await,
                None => client.subscribe(subject.to_owned()).await,
            }
        };
        let doing = "subscribe";
        let subscriber = timeout_at(deadline, subscribing)
            .await
            .map_err(|elapsed| Error::Unavailable { doing, source: Some(elapsed.into()) })?
            .map_err(|error| Error::Refused { doing, source: error.into() })?;
        // The server works off what a connection sends in order: when our own message has come
        // back, it knows the subscription.
        self.link.round_trip(deadline).await?;
        Ok(Box::new(NatsSubscription { subscriber, link: self.link.clone() }))
    }

    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, Error> {
        consumer::start(&self.link, &work).await
    }

    async fn depths(&self) -> Result<BTreeMap<String, u64>, Error> {
        queues::depths(&self.link).await
    }

    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, Error> {
        queues::oldest(&self.link, subject).await
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.link.health.subscribe_status()
    }
}

async fn store(link: &Link, message: &Message) -> Result<(), Trouble> {
    let (subject, headers) = (message.subject.clone(), headers::of(&message.trace));
    let answer = link.call(subject, headers, message.payload.clone(), PATIENCE).await?;
    api::check(&answer)
}

struct NatsSubscription {
    subscriber: async_nats::Subscriber,
    link: Arc<Link>,
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        let came = tokio::select! {
            biased;
            came = self.subscriber.next() => came?,
            () = self.link.closed.cancelled() => return None,
        };
        let link = &self.link;
        let reply = came.reply.clone().map(|subject| {
            Box::new(NatsReply { subject: subject.into_string(), link: link.clone() })
                as Box<dyn Reply>
        });
        Some(Incoming { message: headers::message(came), reply })
    }
}

struct NatsReply {
    subject: String,
    link: Arc<Link>,
}

#[async_trait]
impl Reply for NatsReply {
    async fn send(self: Box<Self>, payload: Bytes) -> Result<(), Error> {
        self.link.send(self.subject, None, None, payload).await
    }
}
