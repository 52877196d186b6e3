//! Takes what the bus keeps.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use longshore_bus::{Consumer, Delivery, Error, Message, Settle};
use tokio::time::{Instant, sleep_until};

use super::{EVENTS, Hub, bugs, lane, port::unavailable};
use crate::{Bug, gate::Gate, world::millis};

/// After this time what was delivered and not settled is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(30);

pub(super) struct SimConsumer {
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    /// In the order in which they are taken from.
    lanes: Vec<String>,
}

impl SimConsumer {
    pub(super) fn new(hub: &Arc<Hub>, gate: &Arc<Gate>, lanes: Vec<String>) -> Self {
        Self { hub: hub.clone(), gate: gate.clone(), lanes }
    }

    /// What can be taken now, and when there may be more.
    fn take(&self, max: usize) -> (Vec<Delivery>, Option<Instant>) {
        let world = &self.hub.world;
        let now = Instant::now();
        let mut taken = Vec::new();
        let mut next: Option<Instant> = None;
        let mut state = self.hub.state();
        for name in &self.lanes {
            let Some(lane) = state.lanes.get_mut(name) else { continue };
            for (id, kept) in lane.iter_mut() {
                if kept.free <= now && taken.len() < max {
                    let again = world.strikes(world.faults.redeliver);
                    kept.free = now + if again { millis(0..5_000) } else { ACK_WAIT };
                    let (hub, gate, lane) = (self.hub.clone(), self.gate.clone(), name.clone());
                    let message = kept.message.clone();
                    let handle = SimSettle { hub, gate, lane, id: *id, message: message.clone() };
                    let message = bugs::taken(world, message);
                    taken.push(Delivery {
                        waited: Duration::ZERO,
                        message,
                        handle: Box::new(handle),
                    });
                }
                next = next.into_iter().chain([kept.free]).min();
            }
        }
        (taken, next)
    }
}

#[async_trait]
impl Consumer for SimConsumer {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        loop {
            self.gate.pass().await;
            if let Some(until) = self.gate.cut_until() {
                sleep_until(until).await;
                continue;
            }
            let mut more = std::pin::pin!(self.hub.more.notified());
            more.as_mut().enable();
            let (taken, next) = self.take(max.max(1));
            if !taken.is_empty() {
                for Delivery { message, .. } in &taken {
                    if bugs::is_acked_early(self.hub.world.bug, lane(&message.subject)) {
                        self.hub.forget(message, self.hub.id_of(message));
                    }
                }
                self.gate.pass().await;
                return Some(taken);
            }
            match next {
                Some(next) => tokio::select! {
                    biased;
                    () = more => {}
                    () = sleep_until(next) => {}
                },
                None => more.await,
            }
        }
    }
}

impl Hub {
    /// The place of a message among those that are kept.
    fn id_of(&self, message: &Message) -> Option<u64> {
        let state = self.state();
        let mut kept = state.lanes.get(lane(&message.subject))?.iter();
        kept.find(|(_, kept)| kept.message == *message).map(|(id, _)| *id)
    }

    /// A message can be taken again then.
    fn postpone(&self, lane: &str, id: u64, free: Instant) {
        let mut state = self.state();
        if let Some(kept) = state.lanes.get_mut(lane).and_then(|lane| lane.get_mut(&id)) {
            kept.free = free;
        }
    }

    /// A message is done with.
    fn forget(&self, message: &Message, id: Option<u64>) {
        let lane = lane(&message.subject);
        let Some(id) = id else { return };
        let removed = self.state().lanes.get_mut(lane).and_then(|lane| lane.remove(&id));
        if removed.is_none() {
            return;
        }
        let (at, now) = (self.world.now(), self.world.store_time());
        let mut history = self.world.history();
        if lane == EVENTS {
            history.acknowledged(at, &message.payload);
        } else {
            history.hint_is_gone(&message.payload, now);
        }
    }
}

struct SimSettle {
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    lane: String,
    id: u64,
    message: Message,
}

impl SimSettle {
    async fn reach(&self) -> Result<(), Error> {
        self.gate.pass().await;
        let world = &self.hub.world;
        if self.gate.cut_until().is_some() || world.strikes(world.faults.lose_ack) {
            return Err(unavailable());
        }
        Ok(())
    }
}

#[async_trait]
impl Settle for SimSettle {
    async fn ack(self: Box<Self>) -> Result<(), Error> {
        self.reach().await?;
        if self.hub.world.bug != Some(Bug::NothingSettled) {
            self.hub.forget(&self.message, Some(self.id));
        }
        self.gate.pass().await;
        Ok(())
    }

    async fn give_back(self: Box<Self>, delay: Duration) -> Result<(), Error> {
        self.reach().await?;
        self.hub.postpone(&self.lane, self.id, Instant::now() + delay);
        self.hub.more.notify_waiters();
        self.gate.pass().await;
        Ok(())
    }
}
