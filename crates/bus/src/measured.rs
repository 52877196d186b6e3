//! A bus whose calls are measured.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_core::telemetry::metrics;
use tokio::{sync::watch, time::Instant};

use crate::{Bus, Consumer, Error, Message, Status, Subscription, Work};

/// Measures how long the calls of another bus take, and how they fail.
pub struct Measured {
    inner: Arc<dyn Bus>,
    system: &'static str,
}

impl Measured {
    /// `system` is what the bus is called in the measured values, such as `nats`.
    pub fn new(inner: Arc<dyn Bus>, system: &'static str) -> Self {
        Self { inner, system }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = call.await;
        metrics().sent(self.system, name, answer.as_ref().err().map(kind), begun.elapsed());
        answer
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Unavailable { .. } => "unavailable",
        Error::NoResponders { .. } => "no_responders",
        Error::Full { .. } => "full",
        Error::Refused { .. } => "refused",
    }
}

#[async_trait]
impl Bus for Measured {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        self.call("publish", self.inner.publish(message)).await
    }

    async fn enqueue(&self, message: Message) -> Result<(), Error> {
        self.call("enqueue", self.inner.enqueue(message)).await
    }

    async fn enqueue_all(&self, messages: &[Message]) -> Result<(), Error> {
        self.call("enqueue", self.inner.enqueue_all(messages)).await
    }

    async fn request(&self, message: Message, timeout: Duration) -> Result<Bytes, Error> {
        self.call("request", self.inner.request(message, timeout)).await
    }

    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, Error> {
        self.call("subscribe", self.inner.subscribe(subject, group)).await
    }

    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, Error> {
        self.call("consume", self.inner.consume(work)).await
    }

    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, Error> {
        self.call("oldest", self.inner.oldest(subject)).await
    }

    async fn depths(&self) -> Result<BTreeMap<String, u64>, Error> {
        self.call("depths", self.inner.depths()).await
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.inner.status()
    }
}
