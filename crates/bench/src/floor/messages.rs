//! The messages that NATS gets and hands out, with nothing but its client library.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;

/// Connects.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let patience = std::time::Duration::from_secs(60);
    let options = async_nats::ConnectOptions::new()
        .subscription_capacity(1 << 18)
        .connection_timeout(patience)
        .request_timeout(Some(patience));
    Ok(options.connect(url).await?)
}

/// Counts what comes on a subject, and tells when there is more.
pub(crate) struct Counter {
    subject: String,
    count: Arc<(AtomicUsize, Notify)>,
    _task: AbortOnDropHandle<Result<()>>,
}

impl Counter {
    /// Counts; each message is also given to `see`.
    pub(crate) async fn start(
        client: &Client,
        subject: String,
        see: impl Fn(&Message) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut subscriber = client.subscribe(subject.clone()).await?;
        client.flush().await?;
        let count = Arc::new((AtomicUsize::new(0), Notify::new()));
        let counted = Arc::clone(&count);
        let task: JoinHandle<Result<()>> = tokio::spawn(async move {
            while let Some(message) = subscriber.next().await {
                see(&message)?;
                counted.0.fetch_add(1, Ordering::Relaxed);
                counted.1.notify_one();
            }
            Ok(())
        });
        Ok(Self { subject, count, _task: AbortOnDropHandle::new(task) })
    }

    /// What it listens to.
    pub(crate) fn subject(&self) -> String {
        self.subject.clone()
    }

    /// Completes when so many have come.
    pub(crate) async fn reached(&self, count: usize) {
        while self.count.0.load(Ordering::Relaxed) < count {
            self.count.1.notified().await;
        }
    }
}

/// Fails unless a stream has confirmed a message.
pub(crate) fn confirmed(answer: &Message) -> Result<()> {
    let text = String::from_utf8_lossy(&answer.payload);
    ensure!(text.contains("\"seq\"") && answer.status.is_none(), "a stream refuses: {text}");
    Ok(())
}

/// One consumer of a stream.
pub(crate) struct Puller {
    client: Client,
    request: String,
    inbox: String,
    subscriber: Subscriber,
}

impl Puller {
    /// A puller of a consumer that exists.
    pub(crate) async fn start(client: &Client, stream: &str, consumer: &str) -> Result<Self> {
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await?;
        let request = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Ok(Self { client: client.clone(), request, inbox, subscriber })
    }

    /// At least one and at most `max` messages, waiting until there is one.
    pub(crate) async fn next(&mut self, max: usize) -> Result<Vec<Message>> {
        loop {
            let wait = 10_000_000_000_u64;
            let body = format!(r#"{{"batch":{max},"no_wait":{},"expires":{wait}}}"#, max > 1);
            let (request, inbox) = (self.request.clone(), self.inbox.clone());
            self.client.publish_with_reply(request, inbox, body.into()).await?;
            let mut batch = Vec::with_capacity(max);
            while batch.len() < max {
                let message = self.subscriber.next().await.context("NATS has gone")?;
                if message.status.is_some() {
                    break;
                }
                batch.push(message);
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }
}

/// Acknowledges messages.
pub(crate) async fn acknowledge(client: &Client, messages: Vec<Message>) -> Result<()> {
    for message in messages {
        let reply = message.reply.context("a message that can't be acknowledged")?;
        client.publish(reply, Bytes::from_static(b"+ACK")).await?;
    }
    Ok(())
}
