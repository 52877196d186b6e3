//! The store as one process reaches it: slow, out of reach before a write, and after it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use longshore_core::{index::Index, names::OperationId, time::Time};
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
}

impl SimStore {
    pub(crate) fn new(world: &Arc<World>, inner: &Arc<EmbeddedStore>, gate: &Arc<Gate>) -> Self {
        let (world, inner, gate) = (world.clone(), inner.clone(), gate.clone());
        Self { world, inner, gate, was_due: Mutex::new(None) }
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
                through.push((answers.len() - 1, self.spoil(change)));
            }
        }
        let written = through.iter().map(|(_, change)| change.clone()).collect();
        for ((place, change), verdict) in through.into_iter().zip(self.inner.commit(written).await)
        {
            if let Ok(Verdict::Committed) = verdict {
                let (at, store_time) = (self.world.now(), self.world.store_time());
                self.world.history().committed(at, store_time, &self.gate.name, &change);
            }
            let after = self.world.strikes(self.world.faults.store_after);
            answers[place] = if after { Err(lost()) } else { verdict };
        }
        answers
    }

    /// What a store with a bug makes of a change.
    fn spoil(&self, mut change: Change) -> Change {
        match self.world.bug {
            Some(Bug::NoFencing) => {
                let current = self.world.history().revision(&change.id);
                if let (After::Record { revision, .. }, Some(current)) =
                    (&mut change.after, current)
                {
                    *revision = (*revision).max(current + 1);
                }
                change.expected = current;
            }
            Some(Bug::NoTimerOnSubmit) if change.expected.is_none() => {
                if let After::Record { next_wake, .. } = &mut change.after {
                    *next_wake = Time::MAX;
                }
            }
            _ => {}
        }
        change
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
        let loaded = self.inner.load(ids).await;
        self.back().await;
        loaded
    }

    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        self.gate.pass().await;
        if self.world.strikes(self.world.faults.store_slow) {
            sleep(millis(10..4_000)).await;
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

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }
}
