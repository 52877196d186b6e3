//! A store whose calls are measured.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
    telemetry::metrics,
};
use tokio::time::Instant;

use crate::store::{Change, Due, Error, Loaded, Position, Store, Stored, Sweep, Verdict};

/// Measures how long the calls of another store take, and how they fail.
pub struct Measured {
    inner: Arc<dyn Store>,
    system: &'static str,
}

impl Measured {
    /// `system` is what the store is called in the measured values, such as `redis`.
    pub fn new(inner: Arc<dyn Store>, system: &'static str) -> Self {
        Self { inner, system }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = call.await;
        metrics().stored(self.system, name, answer.as_ref().err().map(kind), begun.elapsed());
        answer
    }

    /// One call for all of a batch; it failed if any of them did.
    async fn batch<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Vec<Result<T, Error>>>,
    ) -> Vec<Result<T, Error>> {
        let begun = Instant::now();
        let answers = call.await;
        let failed = answers.iter().find_map(|answer| answer.as_ref().err()).map(kind);
        metrics().stored(self.system, name, failed, begun.elapsed());
        answers
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Unavailable { .. } => "unavailable",
        Error::Full { .. } => "full",
        Error::Damaged { .. } => "damaged",
        Error::Misconfigured(_) => "misconfigured",
    }
}

#[async_trait]
impl Store for Measured {
    async fn load(&self, ids: &[OperationId]) -> Vec<Result<Loaded, Error>> {
        self.batch("load", self.inner.load(ids)).await
    }

    async fn read(&self, id: &OperationId) -> Result<Option<Stored>, Error> {
        self.call("read", self.inner.read(id)).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        self.batch("commit", self.inner.commit(changes)).await
    }

    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        self.call("list", self.inner.list(index, after, limit)).await
    }

    async fn list_reachable(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
        lost: &mut BTreeSet<u16>,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        self.call("list", self.inner.list_reachable(index, after, limit, lost)).await
    }

    async fn size(&self) -> Result<u64, Error> {
        self.call("size", self.inner.size()).await
    }

    async fn due(&self, limit: usize) -> Result<Due, Error> {
        self.call("due", self.inner.due(limit)).await
    }

    async fn sweep(
        &self,
        from: &Sweep,
        limit: usize,
    ) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
        self.call("sweep", self.inner.sweep(from, limit)).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        self.call("note", self.inner.note(key)).await
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<(), Error> {
        self.call("set_note", self.inner.set_note(key, value)).await
    }

    async fn note_or(&self, key: &str, value: &str) -> Result<String, Error> {
        self.call("note_or", self.inner.note_or(key, value)).await
    }

    async fn paused(&self) -> Result<BTreeSet<JobType>, Error> {
        self.call("paused", self.inner.paused()).await
    }

    async fn set_paused(&self, job_type: &JobType, paused: bool) -> Result<(), Error> {
        self.call("set_paused", self.inner.set_paused(job_type, paused)).await
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn lane(&self, id: &OperationId) -> u16 {
        self.inner.lane(id)
    }

    async fn settle(&self) -> Result<(), Error> {
        self.call("settle", self.inner.settle()).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.call("check", self.inner.check()).await
    }
}
