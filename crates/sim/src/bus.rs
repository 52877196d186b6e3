//! The bus: loses, doubles, delays and reorders what is sent, and forgets what it kept.

mod bugs;
mod consumer;
mod port;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longshore_bus::{Incoming, Message, Reply, Status};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep},
};

use self::port::Answer;
pub(crate) use self::port::Port;
use crate::{
    Bug,
    gate::Gate,
    world::{World, millis},
};

/// Where all events are kept; a hint is kept under its subject.
const EVENTS: &str = "ls.event.";

/// What all processes share of the bus.
pub(crate) struct Hub {
    world: Arc<World>,
    state: Mutex<State>,
    /// Told when something can be taken.
    more: Notify,
}

#[derive(Default)]
struct State {
    last_id: u64,
    subscribers: BTreeMap<u64, Subscriber>,
    lanes: BTreeMap<String, BTreeMap<u64, Kept>>,
    epoch: u64,
    status: Vec<(Arc<Gate>, watch::Sender<Status>)>,
}

struct Subscriber {
    pattern: String,
    group: Option<String>,
    gate: Arc<Gate>,
    sender: mpsc::UnboundedSender<Incoming>,
}

struct Kept {
    message: Message,
    /// When it can be taken: it is on its way, or somebody has it.
    free: Instant,
}

impl Hub {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), state: Mutex::default(), more: Notify::new() })
    }

    /// Loses all that was kept.
    pub(crate) fn wipe(&self) {
        self.world.note("the bus loses its storage");
        self.world.history().hints_are_lost();
        let mut state = self.state();
        state.lanes.clear();
        state.epoch += u64::from(self.world.bug != Some(Bug::WipeUnnoticed));
        let status = state.status();
        state.status.retain(|(gate, _)| !gate.dead.is_cancelled());
        for (_, sender) in &state.status {
            sender.send_replace(status.clone());
        }
    }

    /// What is kept, for whatever reason.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let state = self.state();
        let lanes = state.lanes.iter().filter(|(_, lane)| !lane.is_empty());
        lanes.map(|(name, lane)| format!("{} of {name}", lane.len())).collect()
    }

    /// How long a message is on its way.
    pub(crate) fn journey(&self) -> Duration {
        let slow = self.world.strikes(self.world.faults.delay);
        if slow { millis(20..8_000) } else { millis(0..4) }
    }

    /// How many times something arrives.
    fn copies(&self) -> usize {
        let faults = &self.world.faults;
        if self.world.strikes(faults.lose) {
            0
        } else {
            1 + usize::from(self.world.strikes(faults.double))
        }
    }

    /// Brings a message to its subscribers, after a while.
    fn send(self: &Arc<Self>, message: Message, answer: Option<Answer>) {
        let (hub, journey) = (self.clone(), self.journey());
        tokio::spawn(async move {
            sleep(journey).await;
            hub.deliver(&message, answer.as_ref());
        });
    }

    fn deliver(&self, message: &Message, answer: Option<&Answer>) {
        if self.world.is_deaf() && answer.is_none() {
            return;
        }
        let mut groups: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let state = self.state();
        for (id, subscriber) in state.reached(&message.subject) {
            match &subscriber.group {
                Some(group) => groups.entry(group.clone()).or_default().push(*id),
                None => subscriber.hand(message, answer),
            }
        }
        for members in groups.values() {
            let one = members[fastrand::usize(..members.len())];
            if let Some(subscriber) = state.subscribers.get(&one) {
                subscriber.hand(message, answer);
            }
        }
    }

    /// Keeps a message until it is acknowledged.
    fn keep(&self, message: &Message, copies: usize) {
        self.world.history().hint_is_out(&message.payload, hints(message, copies));
        let mut state = self.state();
        for _ in 0..copies {
            state.last_id += 1;
            let id = state.last_id;
            let kept = Kept { message: message.clone(), free: Instant::now() + self.journey() };
            state.lanes.entry(lane(&message.subject).to_owned()).or_default().insert(id, kept);
        }
        drop(state);
        self.more.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn status(&self) -> Status {
        Status { ready: true, epoch: format!("epoch-{}", self.epoch) }
    }

    fn reached<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = (&'a u64, &'a Subscriber)> {
        self.subscribers.iter().filter(move |(_, subscriber)| subscriber.listens_to(subject))
    }
}

impl Subscriber {
    fn listens_to(&self, subject: &str) -> bool {
        let matches = match self.pattern.strip_suffix('>') {
            Some(prefix) => subject.starts_with(prefix),
            None => self.pattern == subject,
        };
        matches && !self.gate.dead.is_cancelled()
    }

    fn hand(&self, message: &Message, answer: Option<&Answer>) {
        if self.gate.cut_until().is_some() {
            return;
        }
        let reply = answer.map(|answer| Box::new(answer.of(&self.gate)) as Box<dyn Reply>);
        // It fails if the subscriber is gone, which is as good as lost.
        self.sender.send(Incoming { message: message.clone(), reply }).ok();
    }
}

/// How many of so many copies are hints.
fn hints(message: &Message, copies: usize) -> usize {
    if lane(&message.subject) == EVENTS { 0 } else { copies }
}

fn lane(subject: &str) -> &str {
    if subject.starts_with(EVENTS) { EVENTS } else { subject }
}
