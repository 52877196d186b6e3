//! The floor of latency: the chain of bare round trips behind one job, one after the other.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use longshore_bus::{Bus, Message, Work, subjects};
use longshore_core::names::JobType;
use longshore_proto::internal as pb;
use prost::Message as _;
use tokio::time::Instant;

use super::{
    commands::{self, Redis},
    messages::{self, Puller},
};
use crate::{lives::Life, site::Servers};

/// The connections of a gateway, a state replica and a worker, each waiting for its messages.
pub(crate) struct Chain {
    gateway: (Redis, Client),
    state: (Redis, Client),
    worker: Client,
    stored: Subscriber,
    reported: Subscriber,
    hints: tokio::sync::mpsc::Receiver<async_nats::Message>,
    events: tokio::sync::mpsc::Receiver<async_nats::Message>,
    claims: Subscriber,
    changes: Subscriber,
}

impl Chain {
    /// Connects, and has everybody wait for messages.
    pub(crate) async fn connect(servers: &Servers) -> Result<Self> {
        let bus = servers.bus().await?;
        drop(bus.consume(Work::Hints(JobType::parse("noop")?)).await?);
        drop(bus.consume(Work::Events).await?);
        let (redis, nats) = (servers.redis.url(), servers.nats.url());
        let gateway = (Redis::connect(&redis).await?, messages::connect(&nats).await?);
        let state = (Redis::connect(&redis).await?, messages::connect(&nats).await?);
        let worker = messages::connect(&nats).await?;
        let chain = Self {
            stored: gateway.1.subscribe("_INBOX.floor.stored").await?,
            reported: worker.subscribe("_INBOX.floor.reported").await?,
            hints: waiting(&worker, subjects::JOBS_STREAM, "noop-normal").await?,
            events: waiting(&state.1, subjects::EVENTS_STREAM, "recorder").await?,
            claims: state.1.subscribe(subjects::CLAIM).await?,
            changes: gateway.1.subscribe(subjects::CHANGES).await?,
            gateway,
            state,
            worker,
        };
        for client in [&chain.gateway.1, &chain.state.1, &chain.worker] {
            client.flush().await?;
        }
        Ok(chain)
    }

    /// One job: from the commit of its submission to the receipt of the change that ends it.
    /// The worker's events go to `subject`.
    pub(crate) async fn job(&mut self, life: &Life, subject: &str) -> Result<Duration> {
        let submit = commands::commit(&life.submitted.change);
        let claim = commands::commit(&life.claimed.change);
        let end = commands::commit(&life.completed.change);
        let hint = life.submitted.hints.first().context("no hint")?;
        let event = pb::Events { events: vec![life.event.clone()] }.encode_to_vec();
        let event = Message::new(subject, event);
        let changed = life.completed.announced.clone().context("no announcement")?;
        let changes = pb::Changes { changes: vec![changed] }.encode_to_vec();

        let start = Instant::now();
        self.gateway.0.commit([&submit].into_iter()).await?;
        store(&self.gateway.1, "_INBOX.floor.stored", hint).await?;
        let delivery = self.hints.recv().await.context("no hint comes")?;

        let asking = self.worker.request(subjects::CLAIM, life.claim.id.clone().into());
        let granting = async {
            let request = self.claims.next().await.context("no claim comes")?;
            self.state.0.commit([&claim].into_iter()).await?;
            let reply = request.reply.context("nobody waits")?;
            Ok::<_, anyhow::Error>(
                self.state.1.publish(reply, Bytes::from_static(b"granted")).await?,
            )
        };
        let (answer, granted) = tokio::join!(asking, granting);
        answer?;
        granted?;
        messages::acknowledge(&self.worker, vec![delivery]).await?;

        store(&self.worker, "_INBOX.floor.reported", &event).await?;
        let delivery = self.events.recv().await.context("no event comes")?;
        self.state.0.commit([&end].into_iter()).await?;
        self.state.1.publish(subjects::CHANGES, changes.into()).await?;
        self.changes.next().await.context("no change comes")?;
        let elapsed = start.elapsed();

        messages::acknowledge(&self.state.1, vec![delivery]).await?;
        self.stored.next().await.context("the hint is not confirmed")?;
        self.reported.next().await.context("the event is not confirmed")?;
        Ok(elapsed)
    }
}

/// Has somebody wait at a consumer for one message after the other.
async fn waiting(
    client: &Client,
    stream: &str,
    consumer: &str,
) -> Result<tokio::sync::mpsc::Receiver<async_nats::Message>> {
    let mut puller = Puller::start(client, stream, consumer).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(batch) = puller.next(1).await {
            for message in batch {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(receiver)
}

async fn store(client: &Client, inbox: &'static str, message: &Message) -> Result<()> {
    let (subject, payload) = (message.subject.clone(), message.payload.clone());
    Ok(client.publish_with_reply(subject, inbox, payload).await?)
}
