//! A store and a bus that fail when a test tells them to.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_bus::{Bus, Consumer, Message, Status, Subscription, Work, local::LocalBus};
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
};
use longshore_state::{
    embedded::EmbeddedStore,
    store::{Change, Due, Error, Loaded, Position, Store, Stored, Sweep, Verdict},
};
use tokio::sync::watch;

/// A store in memory that can be away, lose answers and have damaged records.
pub(crate) struct FaultyStore {
    inner: EmbeddedStore,
    /// Nothing is answered but errors.
    pub(crate) down: AtomicBool,
    /// Nothing is answered at all.
    pub(crate) stalled: AtomicBool,
    /// Loads take a while.
    pub(crate) slow: AtomicBool,
    /// How many loads are under way, and how many at most were.
    pub(crate) loading: (AtomicUsize, AtomicUsize),
    /// How many there were.
    pub(crate) loads: AtomicUsize,
    /// So many commits are made whose answers get lost.
    pub(crate) lost_answers: AtomicU32,
    /// So many loads fail.
    pub(crate) failing_loads: AtomicU32,
    /// Lists can't read these.
    pub(crate) damaged: Mutex<HashSet<OperationId>>,
    /// These partitions can't be reached by lists. The notes are with the first.
    pub(crate) lost: Mutex<BTreeSet<u16>>,
    /// How many records were listed.
    pub(crate) listed: AtomicU32,
}

impl FaultyStore {
    pub(crate) fn new() -> Self {
        Self {
            inner: EmbeddedStore::in_memory().unwrap(),
            down: AtomicBool::default(),
            stalled: AtomicBool::default(),
            slow: AtomicBool::default(),
            loading: Default::default(),
            loads: AtomicUsize::default(),
            lost_answers: AtomicU32::default(),
            failing_loads: AtomicU32::default(),
            damaged: Mutex::default(),
            lost: Mutex::default(),
            listed: AtomicU32::default(),
        }
    }

    async fn entries(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        let entries = self.inner.list(index, after, limit).await?;
        self.listed.fetch_add(u32::try_from(entries.len()).unwrap(), SeqCst);
        let damaged = self.damaged.lock().unwrap();
        let damage = |entry: Result<Stored, Error>| match entry {
            Ok(stored) if damaged.contains(&stored.record.id) => {
                Err(Error::Damaged { id: stored.record.id, source: "a test".into() })
            }
            other => other,
        };
        Ok(entries.into_iter().map(damage).collect())
    }

    async fn answers(&self) {
        if self.stalled.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn up(&self) -> Result<(), Error> {
        if self.down.load(SeqCst) { Err(away()) } else { Ok(()) }
    }
}

fn away() -> Error {
    Error::Unavailable { doing: "a test", source: "10.1.2.3:6379 went away".into() }
}

fn take_one(counter: &AtomicU32) -> bool {
    counter.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Store for FaultyStore {
    async fn load(&self, ids: &[OperationId]) -> Vec<Result<Loaded, Error>> {
        self.answers().await;
        self.loads.fetch_add(1, SeqCst);
        let _loading = Loading::new(&self.loading);
        if self.slow.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if self.up().is_err() || take_one(&self.failing_loads) {
            return ids.iter().map(|_| Err(away())).collect();
        }
        self.inner.load(ids).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        self.answers().await;
        if self.up().is_err() {
            return changes.iter().map(|_| Err(away())).collect();
        }
        let verdicts = self.inner.commit(changes).await;
        if take_one(&self.lost_answers) {
            return verdicts.iter().map(|_| Err(away())).collect();
        }
        verdicts
    }

    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        self.answers().await;
        self.up()?;
        if !self.lost.lock().unwrap().is_empty() {
            return Err(away());
        }
        self.entries(index, after, limit).await
    }

    async fn list_reachable(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
        lost: &mut BTreeSet<u16>,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        self.answers().await;
        self.up()?;
        lost.extend(&*self.lost.lock().unwrap());
        // As the real one does: those that are there fill the page.
        let mut entries = self.entries(index, after, usize::MAX).await?;
        entries.retain(|entry| match entry {
            Ok(stored) => !lost.contains(&stored.record.id.partition(self.partitions())),
            Err(_) => true,
        });
        entries.truncate(limit);
        Ok(entries)
    }

    async fn due(&self, limit: usize) -> Result<Due, Error> {
        self.inner.due(limit).await
    }

    async fn sweep(
        &self,
        from: &Sweep,
        limit: usize,
    ) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
        self.inner.sweep(from, limit).await
    }

    async fn size(&self) -> Result<u64, Error> {
        self.inner.size().await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        self.up()?;
        if self.lost.lock().unwrap().contains(&0) {
            return Err(away());
        }
        self.inner.note(key).await
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<(), Error> {
        self.up()?;
        self.inner.set_note(key, value).await
    }

    async fn note_or(&self, key: &str, value: &str) -> Result<String, Error> {
        self.up()?;
        self.inner.note_or(key, value).await
    }

    async fn paused(&self) -> Result<BTreeSet<JobType>, Error> {
        self.up()?;
        self.inner.paused().await
    }

    async fn set_paused(&self, job_type: &JobType, paused: bool) -> Result<(), Error> {
        self.up()?;
        self.inner.set_paused(job_type, paused).await
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn check(&self) -> Result<(), Error> {
        self.answers().await;
        self.up()?;
        self.inner.check().await
    }
}

/// Counts a load for as long as it lives.
struct Loading<'a>(&'a AtomicUsize);

impl<'a> Loading<'a> {
    fn new((now, most): &'a (AtomicUsize, AtomicUsize)) -> Self {
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        Self(now)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A bus that can lose what is published.
pub(crate) struct FaultyBus {
    inner: LocalBus,
    /// What is published goes nowhere.
    pub(crate) deaf: AtomicBool,
    /// It panics if anybody subscribes.
    pub(crate) broken: AtomicBool,
    /// Whether it can be used.
    pub(crate) status: watch::Sender<Status>,
    /// How many hints were stored.
    pub(crate) enqueued: AtomicU32,
}

impl FaultyBus {
    pub(crate) fn new() -> Self {
        let inner = LocalBus::new();
        let status = watch::Sender::new(inner.status().borrow().clone());
        Self {
            inner,
            deaf: AtomicBool::default(),
            broken: AtomicBool::default(),
            status,
            enqueued: AtomicU32::default(),
        }
    }
}

#[async_trait]
impl Bus for FaultyBus {
    async fn publish(&self, message: Message) -> Result<(), longshore_bus::Error> {
        if self.deaf.load(SeqCst) { Ok(()) } else { self.inner.publish(message).await }
    }

    async fn enqueue(&self, message: Message) -> Result<(), longshore_bus::Error> {
        self.enqueued.fetch_add(1, SeqCst);
        self.inner.enqueue(message).await
    }

    async fn request(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, longshore_bus::Error> {
        self.inner.request(message, timeout).await
    }

    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, longshore_bus::Error> {
        assert!(!self.broken.load(SeqCst), "the bus is broken");
        self.inner.subscribe(subject, group).await
    }

    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, longshore_bus::Error> {
        self.inner.consume(work).await
    }

    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, longshore_bus::Error> {
        self.inner.oldest(subject).await
    }

    async fn depths(&self) -> Result<BTreeMap<String, u64>, longshore_bus::Error> {
        self.inner.depths().await
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}
