//! Records in Redis: a single server, one watched by Sentinel, or a Cluster. Valkey too.
//!
//! Operations spread over partitions. All keys of a partition share a hash tag, so that a commit
//! touches one slot of a cluster and one busy parent still spreads over all of it. What changes
//! records is `lua/commit.lua`; how keys are named is in `keys`.

mod audit;
mod batch;
mod commit;
mod connection;
mod durable;
mod error;
mod gather;
mod keys;
mod lasting;
mod list;
mod load;
mod meta;
mod scan;
mod scripts;
mod sentinel;
mod settings;
mod timers;
mod url;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
};

pub use self::settings::{Durability, Settings};
use self::{
    batch::{Batches, MAX},
    connection::Connection,
    durable::Durable,
    gather::Gatherer,
    keys::Keys,
    scripts::Scripts,
    url::Target,
};
use crate::{
    audit::{Auditable, Place, Standing, Walk},
    store::{Change, Due, Error, Loaded, Position, Store, Stored, Sweep, Verdict},
};

/// The store over Redis.
pub struct RedisStore {
    connection: Arc<Connection>,
    gatherer: Gatherer,
    durable: Durable,
    scripts: Scripts,
    keys: Keys,
}

impl RedisStore {
    /// Connects, and checks that this Redis can be trusted with records.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if the settings are wrong, evict records, or name another number
    /// of partitions than the store was first used with, or if Redis can't be as durable as they ask
    /// for; [`Error::Unavailable`] if Redis can't be
    /// reached, which may be tried again.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        settings.check()?;
        let target = Target::parse(&settings.url)?;
        let connection =
            Connection::open(target, settings).await.map_err(error::at("connecting"))?;
        meta::check_policy(&connection).await?;
        let partitions = meta::settle_partitions(&connection, settings.partitions).await?;
        let durable = Durable::open(&connection, settings).await?;
        let connection = Arc::new(connection);
        let store = Self {
            gatherer: Gatherer::new(Arc::clone(&connection)),
            connection,
            durable,
            scripts: Scripts::new(),
            keys: Keys { partitions },
        };
        store.tell_wrong_types().await;
        Ok(store)
    }

    /// Says which keys that all operations of a partition share can't be used. The other partitions
    /// can: it is no reason to stop.
    async fn tell_wrong_types(&self) {
        let keys = |partition| {
            [Index::AllActive, Index::AllEnded]
                .map(|index| self.keys.list(partition, &index))
                .into_iter()
                .chain([self.keys.timer(partition)])
        };
        for partition in 0..self.keys.partitions {
            for key in keys(partition) {
                let mut first = redis::cmd("ZRANGE");
                first.arg(&key).arg(0).arg(0);
                let answer = self.connection.command(&first).await;
                if answer.is_err_and(|error| error.code() == Some("WRONGTYPE")) {
                    tracing::error!(
                        key,
                        "a key in Redis is of another type: what needs it can't be done, remove it"
                    );
                }
            }
        }
    }

    fn batches<'a>(&self, ids: impl Iterator<Item = &'a OperationId>) -> Batches {
        Batches::new(ids.map(|id| self.lane(id)), MAX)
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn load(&self, ids: &[OperationId]) -> Vec<Result<Loaded, Error>> {
        load::load(self, ids).await
    }

    async fn read(&self, id: &OperationId) -> Result<Option<Stored>, Error> {
        load::read(self, id).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>> {
        commit::commit(self, &changes).await
    }

    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        list::list(self, index, after, limit).await
    }

    async fn list_reachable(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
        lost: &mut BTreeSet<u16>,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        list::list_reachable(self, index, after, limit, lost).await
    }

    async fn due(&self, limit: usize) -> Result<Due, Error> {
        timers::due(self, limit).await
    }

    async fn sweep(
        &self,
        from: &Sweep,
        limit: usize,
    ) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
        timers::sweep(self, from, limit).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        meta::note(&self.connection, key).await
    }

    async fn set_note(&self, key: &str, value: &str) -> Result<(), Error> {
        meta::set_note(&self.connection, key, value).await
    }

    async fn size(&self) -> Result<u64, Error> {
        timers::size(self).await
    }

    async fn note_or(&self, key: &str, value: &str) -> Result<String, Error> {
        meta::note_or(&self.connection, key, value).await
    }

    async fn paused(&self) -> Result<BTreeSet<JobType>, Error> {
        meta::paused(&self.connection).await
    }

    async fn set_paused(&self, job_type: &JobType, paused: bool) -> Result<(), Error> {
        meta::set_paused(&self.gatherer, &self.durable, job_type, paused).await
    }

    fn partitions(&self) -> u16 {
        self.keys.partitions
    }

    fn lane(&self, id: &OperationId) -> u16 {
        self.connection.lane(self.keys.partition(id))
    }

    async fn check(&self) -> Result<(), Error> {
        meta::settle_partitions(&self.connection, Some(self.keys.partitions)).await?;
        self.durable.check(&self.connection).await
    }

    async fn settle(&self) -> Result<(), Error> {
        meta::settle(&self.gatherer, &self.durable).await
    }
}

#[async_trait]
impl Auditable for RedisStore {
    fn walk(&self) -> Walk<'_> {
        audit::walk(self)
    }

    async fn standing(&self, asked: &[(OperationId, Vec<Place>)]) -> Vec<Result<Standing, Error>> {
        audit::standing(self, asked).await
    }

    async fn mend(
        &self,
        id: &OperationId,
        revision: Option<u64>,
        strays: &[Place],
    ) -> Result<Verdict, Error> {
        audit::mend(self, id, revision, strays).await
    }
}
