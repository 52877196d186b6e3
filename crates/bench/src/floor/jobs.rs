//! The floor of jobs: the commands and messages of operations from their submission to their end,
//! sent by a driver that knows all of them beforehand. It has the connections that a gateway, a
//! state replica and a worker have, and keeps as much in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt;
use longshore_bus::{Bus, Message, Work, subjects};
use longshore_core::names::JobType;
use longshore_proto::internal as pb;
use prost::Message as _;
use redis::Cmd;
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::{
    commands::{self, Commit, Redis},
    messages::{self, Counter, Puller, acknowledge, confirmed},
};
use crate::{
    client::joined,
    lives::{Lives, Stage},
    site::Servers,
};

/// How many hints are claimed together, as workers do it.
const CLAIMED: usize = 64;
/// How many messages with events are recorded together, and how many such batches at once, as state
/// replicas do.
const RECORDED: usize = 32;
const RECORDERS: usize = 4;
/// How many submissions go together.
const SUBMITTED: usize = 16;

/// The commands of many operations.
pub(crate) struct Script {
    lives: Lives,
    loads: Vec<Cmd>,
    submits: Vec<Commit>,
    claims: Vec<Commit>,
    ends: Vec<Commit>,
}

impl Script {
    /// Those of some lives.
    pub(crate) fn new(lives: Lives) -> Self {
        let commits = |stage: fn(&crate::lives::Life) -> &crate::lives::Stage| {
            lives.all.iter().map(|life| commands::commit(&stage(life).change)).collect()
        };
        Self {
            loads: lives.all.iter().map(|life| commands::load(&life.submitted.change)).collect(),
            submits: commits(|life| &life.submitted),
            claims: commits(|life| &life.claimed),
            ends: commits(|life| &life.completed),
            lives,
        }
    }

    /// How many operations there are.
    pub(crate) fn len(&self) -> usize {
        self.lives.all.len()
    }
}

/// The connections of a gateway, a state replica and a worker.
pub(crate) struct Driver {
    gateway: (Redis, Client),
    state: (Redis, Client),
    worker: Client,
}

impl Driver {
    /// Makes streams and consumers, and connects.
    pub(crate) async fn connect(servers: &Servers) -> Result<Self> {
        let bus = servers.bus().await?;
        drop(bus.consume(Work::Hints(JobType::parse("noop")?)).await?);
        drop(bus.consume(Work::Events).await?);
        let (redis, nats) = (servers.redis.url(), servers.nats.url());
        Ok(Self {
            gateway: (Redis::connect(&redis).await?, messages::connect(&nats).await?),
            state: (Redis::connect(&redis).await?, messages::connect(&nats).await?),
            worker: messages::connect(&nats).await?,
        })
    }

    /// Submits all operations, so many at once, without anybody to run them.
    pub(crate) async fn submit(&self, script: &Arc<Script>, in_flight: usize) -> Result<()> {
        let stored = Counter::start(&self.gateway.1, self.gateway.1.new_inbox(), confirmed).await?;
        let mut lanes = self.submitters(script, in_flight, &stored.subject());
        while let Some(lane) = lanes.join_next().await {
            joined(lane)?;
        }
        stored.reached(script.len()).await;
        Ok(())
    }

    /// Runs operations to their ends with so many slots, submitting them first, so many at once,
    /// or not. Returns how long that took.
    pub(crate) async fn run(
        &self,
        script: &Arc<Script>,
        submitters: Option<usize>,
        slots: usize,
    ) -> Result<Duration> {
        let announced =
            Counter::start(&self.gateway.1, subjects::CHANGES.to_owned(), |_| Ok(())).await?;
        let free = Arc::new(Semaphore::new(slots));
        let told = Arc::new(AtomicUsize::new(0));
        let recorded = Arc::new(AtomicUsize::new(0));
        let finished = Arc::new(tokio::sync::Notify::new());

        let mut tasks = JoinSet::new();
        tasks.spawn(grant(script.clone(), self.state.clone(), told.clone()));
        for _ in 0..RECORDERS {
            let recorder = Recorder {
                script: script.clone(),
                state: self.state.clone(),
                recorded: Arc::clone(&recorded),
                finished: Arc::clone(&finished),
                told: told.clone(),
            };
            tasks.spawn(recorder.run());
        }
        let stored = Counter::start(&self.gateway.1, self.gateway.1.new_inbox(), confirmed).await?;
        // Whoever answers claims has to listen before the first one.
        self.state.1.flush().await?;
        let start = Instant::now();
        tasks.spawn(work(script.clone(), self.worker.clone(), free));
        let mut lanes = match submitters {
            Some(in_flight) => self.submitters(script, in_flight, &stored.subject()),
            None => JoinSet::new(),
        };
        loop {
            tokio::select! {
                () = finished.notified() => break,
                Some(ended) = tasks.join_next() => never(ended)?,
                Some(lane) = lanes.join_next() => joined(lane)?,
            }
        }
        let elapsed = start.elapsed();
        announced.reached(told.load(Ordering::Relaxed)).await;
        Ok(elapsed)
    }

    /// Submits in batches, all of them together so many at once.
    fn submitters(
        &self,
        script: &Arc<Script>,
        in_flight: usize,
        inbox: &str,
    ) -> JoinSet<Result<()>> {
        let next = Arc::new(AtomicUsize::new(0));
        let batch = SUBMITTED.min(in_flight);
        let mut lanes = JoinSet::new();
        for _ in 0..in_flight / batch {
            let (next, script, inbox) = (Arc::clone(&next), Arc::clone(script), inbox.to_owned());
            let (mut redis, nats) = self.gateway.clone();
            lanes.spawn(async move {
                loop {
                    let first = next.fetch_add(batch, Ordering::Relaxed);
                    let places = first..(first + batch).min(script.len());
                    if places.is_empty() {
                        return Ok(());
                    }
                    redis.load(script.loads[places.clone()].iter()).await?;
                    redis.commit(script.submits[places.clone()].iter()).await?;
                    for life in &script.lives.all[places] {
                        for Message { subject, payload, .. } in &life.submitted.hints {
                            let payload = payload.clone();
                            let inbox = inbox.clone();
                            nats.publish_with_reply(subject.clone(), inbox, payload).await?;
                        }
                    }
                }
            });
        }
        lanes
    }
}

/// A task that is to go on for ever.
fn never(ended: Result<Result<()>, JoinError>) -> Result<()> {
    joined(ended)?;
    anyhow::bail!("a part of the driver has ended")
}

/// The worker's part: takes hints, claims, acknowledges, and reports the ends at once.
async fn work(script: Arc<Script>, nats: Client, free: Arc<Semaphore>) -> Result<()> {
    let mut hints = Puller::start(&nats, subjects::JOBS_STREAM, "noop-normal").await?;
    let mut claims = JoinSet::new();
    loop {
        free.acquire().await?.forget();
        let mut slots = 1;
        while slots < CLAIMED
            && let Ok(slot) = free.try_acquire()
        {
            slot.forget();
            slots += 1;
        }
        let batch = hints.next(slots).await?;
        free.add_permits(slots - batch.len());
        let (script, nats, free) = (script.clone(), nats.clone(), free.clone());
        claims.spawn(async move {
            let places = places(&script, batch.iter().map(|hint| &hint.payload))?;
            let claims = places.iter().map(|place| script.lives.all[*place].claim.clone());
            let worker = "bench.abcdefgh".to_owned();
            let request = pb::ClaimRequest { worker, claims: claims.collect() };
            let answer = nats.request(subjects::CLAIM, request.encode_to_vec().into()).await?;
            anyhow::ensure!(answer.status.is_none(), "a claim is not answered");
            acknowledge(&nats, batch).await?;
            let subject = &script.lives.events;
            let events = places.iter().map(|place| script.lives.all[*place].event.clone());
            let events = pb::Events { events: events.collect() }.encode_to_vec();
            confirmed(&nats.request(subject.clone(), events.into()).await?)?;
            free.add_permits(places.len());
            Ok::<_, anyhow::Error>(())
        });
        while let Some(claim) = claims.try_join_next() {
            joined(claim)?;
        }
    }
}

/// The operations that hints tell of; they begin with the id.
fn places<'a>(script: &Script, payloads: impl Iterator<Item = &'a Bytes>) -> Result<Vec<usize>> {
    payloads
        .map(|payload| {
            let length = usize::from(*payload.get(1).context("an empty message")?);
            let id = payload.get(2..2 + length).context("a message that is cut")?;
            script.lives.place(std::str::from_utf8(id)?)
        })
        .collect()
}

/// The state role's part: answers claims.
async fn grant(
    script: Arc<Script>,
    (redis, nats): (Redis, Client),
    told: Arc<AtomicUsize>,
) -> Result<()> {
    let group = subjects::STATE_GROUP.to_owned();
    let mut requests = nats.queue_subscribe(subjects::CLAIM, group).await?;
    let mut answers = JoinSet::new();
    while let Some(request) = requests.next().await {
        let (script, told) = (script.clone(), told.clone());
        let (mut redis, nats) = (redis.clone(), nats.clone());
        answers.spawn(async move {
            let claims = pb::ClaimRequest::decode(request.payload)?.claims;
            let places: Result<Vec<usize>> =
                claims.iter().map(|claim| script.lives.place(&claim.id)).collect();
            let places = places?;
            redis.load(places.iter().map(|place| &script.loads[*place])).await?;
            redis.commit(places.iter().map(|place| &script.claims[*place])).await?;
            let answers = places.iter().map(|place| script.lives.all[*place].answer.clone());
            let reply = pb::ClaimReply { answers: answers.collect() }.encode_to_vec();
            nats.publish(request.reply.context("nobody waits")?, reply.into()).await?;
            announce(&nats, places.iter().map(|it| &script.lives.all[*it].claimed), &told).await?;
            Ok::<_, anyhow::Error>(())
        });
        while let Some(answer) = answers.try_join_next() {
            joined(answer)?;
        }
    }
    Ok(())
}

/// The state role's part: records ends. Notifies when all have been.
struct Recorder {
    script: Arc<Script>,
    state: (Redis, Client),
    recorded: Arc<AtomicUsize>,
    finished: Arc<tokio::sync::Notify>,
    told: Arc<AtomicUsize>,
}

impl Recorder {
    async fn run(self) -> Result<()> {
        let Self { script, state: (mut redis, nats), recorded, finished, told } = self;
        let mut messages = Puller::start(&nats, subjects::EVENTS_STREAM, "recorder").await?;
        loop {
            let batch = messages.next(RECORDED).await?;
            let mut places = Vec::new();
            for message in &batch {
                for event in pb::Events::decode(message.payload.clone())?.events {
                    places.push(script.lives.place(&event.id)?);
                }
            }
            redis.load(places.iter().map(|place| &script.loads[*place])).await?;
            redis.commit(places.iter().map(|place| &script.ends[*place])).await?;
            announce(&nats, places.iter().map(|it| &script.lives.all[*it].completed), &told)
                .await?;
            if recorded.fetch_add(places.len(), Ordering::Relaxed) + places.len() == script.len() {
                finished.notify_one();
            }
            acknowledge(&nats, batch).await?;
        }
    }
}

/// What was committed together is told in one message.
async fn announce(
    nats: &Client,
    stages: impl Iterator<Item = &Stage>,
    told: &AtomicUsize,
) -> Result<()> {
    let changes: Vec<_> = stages.filter_map(|stage| stage.announced.clone()).collect();
    if !changes.is_empty() {
        told.fetch_add(1, Ordering::Relaxed);
        let changes = pb::Changes { changes }.encode_to_vec();
        nats.publish(subjects::CHANGES, changes.into()).await?;
    }
    Ok(())
}
