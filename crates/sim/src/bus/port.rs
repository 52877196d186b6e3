//! The bus as one process reaches it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_bus::{
    Bus, Consumer, Error, Incoming, Message, Reply, Status, Subscription, Work, subjects,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until, timeout},
};

use super::{EVENTS, Hub, Subscriber, bugs, consumer::SimConsumer, lane};
use crate::gate::Gate;

pub(crate) struct Port {
    hub: Arc<Hub>,
    gate: Arc<Gate>,
}

/// The way back to who asked.
#[derive(Clone)]
pub(super) struct Answer {
    hub: Arc<Hub>,
    /// Who answers.
    gate: Arc<Gate>,
    sender: mpsc::Sender<Bytes>,
}

impl Answer {
    /// The same way for somebody else to answer.
    pub(super) fn of(&self, gate: &Arc<Gate>) -> Self {
        Self { gate: gate.clone(), ..self.clone() }
    }
}

impl Port {
    pub(crate) fn new(hub: &Arc<Hub>, gate: &Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { hub: hub.clone(), gate: gate.clone() })
    }

    /// The way to the bus; an error if the process has none.
    async fn reach(&self) -> Result<(), Error> {
        self.gate.pass().await;
        if self.gate.cut_until().is_some() {
            sleep(Duration::from_secs(1)).await;
            self.gate.pass().await;
            return Err(unavailable());
        }
        Ok(())
    }

    /// Tells the history of what is published.
    fn tell(&self, message: &Message) {
        let world = &self.hub.world;
        if message.subject == subjects::CHANGES {
            world.history().announced(world.now(), &message.payload);
        } else {
            world.history().interrupted(&message.payload);
        }
    }

    async fn ask(&self, message: Message, within: Duration) -> Result<Bytes, Error> {
        let (world, faults) = (&self.hub.world, &self.hub.world.faults);
        if self.hub.state().reached(&message.subject).next().is_none() {
            return Err(Error::NoResponders { subject: message.subject });
        }
        let subject = message.subject.clone();
        let (sender, mut receiver) = mpsc::channel(4);
        let answer = Answer { hub: self.hub.clone(), gate: self.gate.clone(), sender };
        if !world.strikes(faults.lose_request) {
            for _ in 0..self.hub.copies().max(1) {
                self.hub.send(message.clone(), Some(answer.clone()));
            }
        }
        let answered = timeout(within, receiver.recv()).await;
        drop(answer);
        if subject == subjects::CLAIM && world.loses_a_grant() {
            return Err(unavailable());
        }
        answered.ok().flatten().ok_or_else(unavailable)
    }
}

#[async_trait]
impl Bus for Port {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        self.reach().await?;
        self.tell(&message);
        if !bugs::is_published(self.hub.world.bug, &message) {
            return Ok(());
        }
        for _ in 0..self.hub.copies() {
            self.hub.send(message.clone(), None);
        }
        self.gate.pass().await;
        Ok(())
    }

    async fn enqueue(&self, mut message: Message) -> Result<(), Error> {
        let (world, faults) = (&self.hub.world, &self.hub.world.faults);
        // Not before: the dead report nothing.
        self.reach().await?;
        let is_event = lane(&message.subject) == EVENTS;
        if is_event {
            world.history().reported(world.now(), &self.gate.name, &message.payload);
        } else {
            world.history().hinted(&message.payload);
        }
        if world.strikes(faults.enqueue_before) || is_event && world.irks() {
            return Err(unavailable());
        }
        if world.bug.is_some() {
            message = bugs::kept(world, message);
        }
        self.hub.keep(&message, 1 + usize::from(world.strikes(faults.double)));
        self.gate.pass().await;
        if world.strikes(faults.enqueue_after) { Err(unavailable()) } else { Ok(()) }
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Bytes, Error> {
        let ask = bugs::asked(self.hub.world.bug, message.clone());
        let answered = match self.reach().await {
            Ok(()) => self.ask(ask, within).await,
            Err(error) => Err(error),
        };
        self.gate.pass().await;
        match self.hub.world.bug {
            Some(bug) if message.subject == subjects::RENEW => {
                bugs::renewed(bug, message.payload, answered)
            }
            Some(_) | None => answered,
        }
    }

    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, Error> {
        self.reach().await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.hub.state();
        state.last_id += 1;
        let id = state.last_id;
        let subscriber = Subscriber {
            pattern: subject.to_owned(),
            group: group.map(str::to_owned),
            gate: self.gate.clone(),
            sender,
        };
        state.subscribers.insert(id, subscriber);
        Ok(Box::new(SimSubscription {
            id,
            hub: self.hub.clone(),
            gate: self.gate.clone(),
            receiver,
        }))
    }

    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, Error> {
        self.reach().await?;
        let lanes = match work {
            Work::Hints(queue) => subjects::PRIORITIES.map(|p| subjects::job(&queue, p)).into(),
            Work::Events => vec![EVENTS.to_owned()],
        };
        Ok(Box::new(SimConsumer::new(&self.hub, &self.gate, lanes)))
    }

    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, Error> {
        self.reach().await?;
        if let Some(oldest) = bugs::oldest(self.hub.world.bug) {
            return Ok(oldest);
        }
        let oldest = self
            .hub
            .state()
            .lanes
            .get(lane(subject))
            .and_then(|lane| lane.values().next().map(|kept| kept.message.payload.clone()));
        self.gate.pass().await;
        Ok(oldest)
    }

    async fn depths(&self) -> Result<BTreeMap<String, u64>, Error> {
        self.reach().await?;
        let depths = {
            let state = self.hub.state();
            let hints = state.lanes.iter().filter(|(name, _)| name.as_str() != EVENTS);
            hints.map(|(name, lane)| (name.clone(), lane.len() as u64)).collect()
        };
        self.gate.pass().await;
        Ok(depths)
    }

    fn status(&self) -> watch::Receiver<Status> {
        let mut state = self.hub.state();
        let (sender, receiver) = watch::channel(state.status());
        state.status.push((self.gate.clone(), sender));
        receiver
    }
}

pub(super) fn unavailable() -> Error {
    Error::Unavailable { doing: "be simulated", source: None }
}

struct SimSubscription {
    id: u64,
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    receiver: mpsc::UnboundedReceiver<Incoming>,
}

#[async_trait]
impl Subscription for SimSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        self.gate.pass().await;
        if let Some(until) = self.gate.cut_until() {
            sleep_until(until).await;
        }
        self.receiver.recv().await
    }
}

impl Drop for SimSubscription {
    fn drop(&mut self) {
        self.hub.state().subscribers.remove(&self.id);
    }
}

#[async_trait]
impl Reply for Answer {
    async fn send(self: Box<Self>, payload: Bytes) -> Result<(), Error> {
        self.gate.pass().await;
        let world = &self.hub.world;
        if self.gate.cut_until().is_some() || world.strikes(world.faults.lose_answer) {
            return Ok(());
        }
        let (sender, journey) = (self.sender, self.hub.journey());
        tokio::spawn(async move {
            sleep(journey).await;
            // It fails if the asker has given up.
            sender.try_send(payload).ok();
        });
        self.gate.pass().await;
        Ok(())
    }
}
