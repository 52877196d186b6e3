//! The store as one process reaches it: slow, out of reach before a write, and after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
    time::Time,
};
use longshore_state::{
    embedded::EmbeddedStore,
    store::{After, Change, Due, Error, Loaded, Position, Store, Stored, Sweep, Verdict},
};
use tokio::time::sleep;

use crate::{
    Bug,
    gate::Gate,
    world::{World, millis},
};

pub(crate) struct SimStore {
    world: Arc<World>,
    inner: Arc<EmbeddedStore>,
    gate: Arc<Gate>,
    /// What was due when it was last asked.
    was_due: Mutex<Option<Due>>,
    /// What it found at last, for [`Bug::StaleReads`].
    copy: Mutex<BTreeMap<OperationId, Option<Stored>>>,
}

impl SimStore {
    pub(crate) fn new(world: &Arc<World>, inner: &Arc<EmbeddedStore>, gate: &Arc<Gate>) -> Self {
        let (world, inner, gate) = (world.clone(), inner.clone(), gate.clone());
        Self { world, inner, gate, was_due: Mutex::new(None), copy: Mutex::default() }
    }

    /// The way there; an error if it is blocked.
    async fn reach(&self, doing: &'static str) -> Result<(), Error> {
        self.gate.pass().await;
        if self.world.strikes(self.world.faults.store_slow) {
            sleep(millis(10..4_000)).await;
            self.gate.pass().await;
        }
        if self.world.strikes(self.world.faults.store_before) {
            return Err(unavailable(doing));
        }
        Ok(())
    }

    /// The way back.
    async fn back(&self) {
        if self.world.strikes(self.world.faults.store_slow) {
            sleep(millis(10..4_000)).await;
        }
        self.gate.pass().await;
    }

    /// Writes what gets through, and gives it to the history in the same moment.
    async fn write(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        let mut answers = Vec::with_capacity(changes.len());
        let mut through = Vec::with_capacity(changes.len());
        for change in changes {
            if self.world.strikes(self.world.faults.store_before) {
                let early = self.world.bug == Some(Bug::AckBeforeCommit);
                answers.push(if early { Ok(Verdict::Committed) } else { Err(lost()) });
            } else {
                answers.push(Ok(Verdict::Conflict));
                through.push((answers.len() - 1, self.unfenced(change)));
            }
        }
        let written = through.iter().map(|(_, change)| self.spoilt(change.clone())).collect();
        let mut unanswered = Vec::new();
        for ((place, change), verdict) in through.into_iter().zip(self.inner.commit(written).await)
        {
            let is_lost = self.world.strikes(self.world.faults.store_after);
            if let Ok(Verdict::Committed) = verdict {
                let (at, store_time) = (self.world.now(), self.world.store_time());
                let mut history = self.world.history();
                history.committed(at, store_time, &self.gate.name, &change);
                if is_lost {
                    unanswered.push(change);
                } else {
                    history.settled();
                }
            }
            answers[place] = if is_lost { Err(lost()) } else { verdict };
        }
        unanswered.iter().for_each(|change| self.world.history().unanswered(change));
        answers
    }

    /// A change as a store without fencing takes it: whatever there is now.
    fn unfenced(&self, mut change: Change) -> Change {
        if self.world.bug == Some(Bug::NoFencing) {
            let current = self.world.history().revision(&change.id);
            if let (After::Record { revision, .. }, Some(current)) = (&mut change.after, current) {
                *revision = (*revision).max(current + 1);
            }
            change.expected = current;
        }
        change
    }

    /// What a store with a bug writes.
    fn spoilt(&self, mut change: Change) -> Change {
        match self.world.bug {
            Some(Bug::NoTimerOnSubmit) if change.expected.is_none() => no_timer(&mut change),
            Some(Bug::NoTimerOnUpdate) if change.expected.is_some() => no_timer(&mut change),
            Some(Bug::ListsForgotten) => change.lists.add.clear(),
            Some(Bug::ListsKept) => change.lists.remove.clear(),
            Some(_) | None => {}
        }
        change
    }

    /// What a store that reads from a copy says: what was there before.
    fn stale(&self, ids: &[OperationId], loaded: &mut [Result<Loaded, Error>]) {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, loaded) in ids.iter().zip(loaded) {
            let Ok(loaded) = loaded else { continue };
            let before = copy.insert(id.clone(), loaded.stored.clone());
            if let Some(before) = before.filter(|_| fastrand::bool()) {
                loaded.stored = before;
            }
        }
    }
}

fn no_timer(change: &mut Change) {
    if let After::Record { next_wake, .. } = &mut change.after {
        *next_wake = Time::MAX;
    }
}

fn unavailable(doing: &'static str) -> Error {
    Error::Unavailable { doing, source: "simulated".into() }
}

fn lost() -> Error {
    unavailable("committing")
}

#[async_trait]
impl Store for SimStore {
    async fn load(&self, ids: &[OperationId]) -> Vec<Result<Loaded, Error>> {
        if self.reach("loading").await.is_err() {
            return ids.iter().map(|_| Err(unavailable("loading"))).collect();
        }
        let mut loaded = self.inner.load(ids).await;
        if self.world.bug == Some(Bug::StaleReads) {
            self.stale(ids, &mut loaded);
        }
        self.back().await;
        loaded
    }

    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        self.gate.pass().await;
        if self.world.strikes(self.world.faults.store_slow) {
            sleep(millis(10..4_000)).await;
            self.gate.pass().await;
        } else if fastrand::u8(..4) == 0 {
            // Long enough for somebody else to be first.
            sleep(millis(0..5)).await;
            self.gate.pass().await;
        }
        let answers = self.write(changes).await;
        self.back().await;
        answers
    }

    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        self.reach("listing").await?;
        let listed = self.inner.list(index, after, limit).await;
        self.back().await;
        listed
    }

    async fn due(&self, limit: usize) -> Result<Due, Error> {
        self.reach("looking for timers").await?;
        let due = self.inner.due(limit).await?;
        self.back().await;
        if self.world.bug == Some(Bug::NoTimers) {
            return Ok(Due { ids: Vec::new(), next: None });
        }
        let mut was_due = self.was_due.lock().unwrap_or_else(PoisonError::into_inner);
        let before = was_due.replace(due.clone());
        Ok(match before {
            Some(before) if self.world.strikes(self.world.faults.stale_due) => before,
            Some(_) | None => due,
        })
    }

    async fn sweep(
        &self,
        from: &Sweep,
        limit: usize,
    ) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
        self.reach("sweeping").await?;
        let swept = self.inner.sweep(from, limit).await;
        self.back().await;
        swept
    }

    async fn size(&self) -> Result<u64, Error> {
        self.reach("counting").await?;
        let size = self.inner.size().await;
        self.back().await;
        size
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        self.reach("reading a note").await?;
        let note = self.inner.note(key).await;
        self.back().await;
        note
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<(), Error> {
        self.reach("keeping a note").await?;
        let kept = self.inner.set_note(key, value).await;
        self.back().await;
        if self.world.strikes(self.world.faults.store_after) {
            return Err(unavailable("keeping a note"));
        }
        kept
    }

    async fn note_or(&self, key: &str, value: &str) -> Result<String, Error> {
        self.reach("keeping a note").await?;
        let kept = self.inner.note_or(key, value).await;
        self.back().await;
        if self.world.strikes(self.world.faults.store_after) {
            return Err(unavailable("keeping a note"));
        }
        kept
    }

    async fn paused(&self) -> Result<BTreeSet<JobType>, Error> {
        self.reach("looking what is paused").await?;
        let paused = self.inner.paused().await;
        self.back().await;
        paused
    }

    async fn set_paused(&self, job_type: &JobType, paused: bool) -> Result<(), Error> {
        self.reach("pausing").await?;
        self.inner.set_paused(job_type, paused).await
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn settle(&self) -> Result<(), Error> {
        self.reach("confirming").await?;
        if self.world.bug != Some(Bug::NeverSettled) {
            self.world.history().settled();
        }
        self.back().await;
        Ok(())
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }
}
