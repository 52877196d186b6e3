//! What is kept until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Message, subjects};

/// Where all events are; the lane of a hint is its subject.
pub(super) const EVENTS_LANE: &str = "ls.event.";
const JOBS_PREFIX: &str = "ls.job.";
/// How many messages a lane keeps; more are refused, so that a queue that nobody serves can't fill
/// the memory.
const CAPACITY: usize = 100_000;

#[derive(Default)]
pub(super) struct Stored {
    last_id: u64,
    lanes: HashMap<String, Lane>,
}

/// Messages in the order in which they came. Each is either free or held.
#[derive(Default)]
struct Lane {
    messages: BTreeMap<u64, Kept>,
    free: BTreeSet<u64>,
    /// By when they become free.
    held: BTreeSet<(Instant, u64)>,
}

struct Kept {
    message: Message,
    since: Instant,
    held_until: Option<Instant>,
}

/// A message that a consumer takes.
pub(super) struct Taken {
    pub(super) lane: String,
    pub(super) id: u64,
    pub(super) message: Message,
    /// When it came.
    pub(super) since: Instant,
}

impl Stored {
    pub(super) fn add(
        &mut self,
        message: Message,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let subject = message.subject.as_str();
        let lane = if subject.starts_with(EVENTS_LANE) { EVENTS_LANE } else { subject };
        if lane != EVENTS_LANE && !lane.starts_with(JOBS_PREFIX) {
            return Err(format!("no stream keeps {subject}").into());
        }
        if self.lanes.get(lane).is_some_and(|lane| lane.messages.len() >= CAPACITY) {
            return Err(format!("{CAPACITY} messages are kept for {subject}").into());
        }
        self.last_id += 1;
        let lane = self.lanes.entry(lane.to_owned()).or_default();
        lane.messages
            .insert(self.last_id, Kept { message, since: Instant::now(), held_until: None });
        lane.free.insert(self.last_id);
        Ok(())
    }

    /// Takes at most `max` free messages from the lanes in their order and holds them `until` then.
    /// Also tells when the next held one becomes free.
    pub(super) fn take(
        &mut self,
        lanes: &[String],
        max: usize,
        now: Instant,
        until: Instant,
    ) -> (Vec<Taken>, Option<Instant>) {
        let mut taken = Vec::new();
        let mut due: Option<Instant> = None;
        for name in lanes {
            let Some(lane) = self.lanes.get_mut(name) else { continue };
            lane.release(now);
            while taken.len() < max
                && let Some(id) = lane.free.pop_first()
            {
                let (held, name) = (lane.hold(id, until), name.clone());
                taken.extend(held.map(|(message, since)| Taken { lane: name, id, message, since }));
            }
            let first = lane.held.first().map(|(until, _)| *until);
            due = due.into_iter().chain(first).min();
        }
        (taken, due)
    }

    pub(super) fn give_back(&mut self, lane: &str, id: u64, until: Instant) {
        if let Some(lane) = self.lanes.get_mut(lane)
            && lane.messages.contains_key(&id)
        {
            lane.free.remove(&id);
            lane.hold(id, until);
        }
    }

    pub(super) fn remove(&mut self, name: &str, id: u64) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if let Some(Kept { held_until: Some(until), .. }) = lane.messages.remove(&id) {
            lane.held.remove(&(until, id));
        }
        lane.free.remove(&id);
        if lane.messages.is_empty() {
            self.lanes.remove(name);
        }
    }

    pub(super) fn oldest(&self, subject: &str) -> Option<Bytes> {
        let lane = if subject.starts_with(EVENTS_LANE) { EVENTS_LANE } else { subject };
        let mut kept = self.lanes.get(lane)?.messages.values();
        let is_it = |kept: &&Kept| subject == subjects::EVENTS || kept.message.subject == subject;
        kept.find(is_it).map(|kept| kept.message.payload.clone())
    }

    pub(super) fn depths(&self) -> BTreeMap<String, u64> {
        let hints = self.lanes.iter().filter(|(name, _)| *name != EVENTS_LANE);
        hints.map(|(name, lane)| (name.clone(), lane.messages.len() as u64)).collect()
    }
}

impl Lane {
    /// Frees what has been held long enough.
    fn release(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.held.first()
            && until <= now
        {
            self.held.pop_first();
            self.free.insert(id);
            if let Some(kept) = self.messages.get_mut(&id) {
                kept.held_until = None;
            }
        }
    }

    fn hold(&mut self, id: u64, until: Instant) -> Option<(Message, Instant)> {
        let kept = self.messages.get_mut(&id)?;
        if let Some(before) = kept.held_until.replace(until) {
            self.held.remove(&(before, id));
        }
        self.held.insert((until, id));
        Some((kept.message.clone(), kept.since))
    }
}
