//! Records in this process: in one file, or in memory.
//!
//! Both are the same B-trees (redb). What is committed to the file is on the disk before the commit
//! is answered, whatever happens to the process or the machine; changes that come in while one
//! transaction is being written go into the next one together.

mod audit;
mod clock;
mod database;
mod error;
mod read;
mod tables;
mod write;
mod writer;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
    time::Time,
};

use self::{
    clock::Clock,
    database::Database,
    write::Write,
    writer::{Thread, Together},
};
use crate::{
    audit::{Auditable, Place, Standing, Walk},
    store::{Change, Due, Error, Loaded, Position, Store, Stored, Sweep, Verdict},
};

/// As many as Redis has by default, so that subjects of the bus are named alike.
const PARTITIONS: u16 = 16;

/// The store in this process.
pub struct EmbeddedStore {
    /// Before the database: it has to end first.
    writer: Writer,
    database: Arc<Database>,
    clock: Clock,
}

enum Writer {
    Memory(Together),
    File(Thread),
    /// Each caller, by itself and at once.
    Everybody,
}

impl EmbeddedStore {
    /// A store that is gone with the process.
    ///
    /// # Errors
    /// If it can't be set up, for want of memory.
    pub fn in_memory() -> Result<Self, Error> {
        let database = Arc::new(Database::in_memory()?);
        let writer = Writer::Memory(Together::default());
        Ok(Self { writer, database, clock: Clock::new(clock::system) })
    }

    /// The same with another clock, for simulations: each write is made as it is asked for, by who
    /// asks. Whatever the clock does, the store's time never goes back.
    ///
    /// # Errors
    /// As [`EmbeddedStore::in_memory`].
    pub fn in_memory_with_clock(
        clock: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let database = Arc::new(Database::in_memory()?);
        Ok(Self { writer: Writer::Everybody, database, clock: Clock::new(clock) })
    }

    /// The store in a directory, which is made if it is missing. It blocks while the file is
    /// repaired after a crash.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if the directory can't be used, another process uses it, or what is
    /// in it is no store.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let database = Arc::new(Database::open(directory)?);
        let writer = Writer::File(Thread::start(Arc::clone(&database))?);
        Ok(Self { writer, database, clock: Clock::new(clock::system) })
    }

    /// The same, but the store has to be there already: for those who look after it.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`], and if there is none.
    pub fn open_existing(directory: &Path) -> Result<Self, Error> {
        if Database::is_in(directory) {
            return Self::open(directory);
        }
        Err(Error::Misconfigured(format!("there is no store in {}", directory.display())))
    }

    /// Reads: from memory at once, from a file on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&redb::Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, Error> {
        if !matches!(self.writer, Writer::File(_)) {
            return self.database.with(read).map_err(error::at(doing));
        }
        let database = Arc::clone(&self.database);
        match tokio::task::spawn_blocking(move || database.with(read)).await {
            Ok(result) => result.map_err(error::at(doing)),
            Err(source) => Err(Error::Unavailable { doing, source: Box::new(source) }),
        }
    }

    async fn write(&self, doing: &'static str, write: Write) -> Result<Vec<Verdict>, Error> {
        match &self.writer {
            Writer::File(thread) => thread.write(doing, write).await,
            Writer::Memory(together) => together.write(&self.database, doing, write).await,
            Writer::Everybody => {
                let verdicts = self.database.with(|database| write::apply(database, &[&write]));
                Ok(verdicts.map_err(error::at(doing))?.into_iter().flatten().collect())
            }
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn load(&self, ids: &[OperationId]) -> Vec<Result<Loaded, Error>> {
        const DOING: &str = "loading records";
        let asked = ids.to_vec();
        let found = self.read(DOING, move |database| read::records(database, &asked)).await;
        let now = self.clock.now();
        match found {
            Ok(found) => found
                .into_iter()
                .map(|stored| stored.transpose().map(|stored| Loaded { now, stored }))
                .collect(),
            Err(error) => error::for_each(DOING, ids.len(), error),
        }
    }

    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        const DOING: &str = "committing";
        let count = changes.len();
        match self.write(DOING, Write::Changes(changes)).await {
            Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
            Err(error) => error::for_each(DOING, count, error),
        }
    }

    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        let (index, after) = (index.clone(), after.cloned());
        self.read("listing", move |database| read::list(database, &index, after.as_ref(), limit))
            .await
    }

    async fn due(&self, limit: usize) -> Result<Due, Error> {
        let now = self.clock.now();
        self.read("looking for due timers", move |database| read::due(database, now, limit)).await
    }

    async fn sweep(
        &self,
        from: &Sweep,
        limit: usize,
    ) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
        let from = from.clone();
        self.read("sweeping over timers", move |database| read::sweep(database, &from, limit)).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        let key = key.to_owned();
        self.read("reading a note", move |database| read::note(database, &key)).await
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<(), Error> {
        let write = Write::Note { key: key.to_owned(), value: value.to_owned(), again: true };
        self.write("keeping a note", write).await.map(drop)
    }

    async fn size(&self) -> Result<u64, Error> {
        self.read("counting records", read::size).await
    }

    async fn note_or(&self, key: &str, value: &str) -> Result<String, Error> {
        let write = Write::Note { key: key.to_owned(), value: value.to_owned(), again: false };
        self.write("keeping a note", write).await?;
        Ok(self.note(key).await?.unwrap_or_else(|| value.to_owned()))
    }

    async fn paused(&self) -> Result<BTreeSet<JobType>, Error> {
        self.read("looking which job types are paused", read::paused).await
    }

    async fn set_paused(&self, job_type: &JobType, paused: bool) -> Result<(), Error> {
        let write = Write::Pause { job_type: job_type.clone(), paused };
        self.write("pausing a job type", write).await.map(drop)
    }

    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    async fn check(&self) -> Result<(), Error> {
        self.note("").await.map(drop)
    }
}

#[async_trait]
impl Auditable for EmbeddedStore {
    fn walk(&self) -> Walk<'_> {
        audit::walk(self)
    }

    async fn standing(&self, asked: &[(OperationId, Vec<Place>)]) -> Vec<Result<Standing, Error>> {
        const DOING: &str = "looking where operations stand";
        let (count, asked) = (asked.len(), asked.to_vec());
        match self.read(DOING, move |database| audit::standing(database, &asked)).await {
            Ok(standing) => standing.into_iter().map(Ok).collect(),
            Err(error) => error::for_each(DOING, count, error),
        }
    }

    async fn mend(
        &self,
        id: &OperationId,
        revision: Option<u64>,
        strays: &[Place],
    ) -> Result<Verdict, Error> {
        let write = Write::Mend { id: id.clone(), revision, strays: strays.to_vec() };
        let verdicts = self.write("mending an operation's places", write).await?;
        Ok(verdicts.into_iter().next().unwrap_or(Verdict::Conflict))
    }
}
