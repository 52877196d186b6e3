//! The port to where records are kept.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_core::{
    codec,
    index::{Changes, Index},
    names::{JobType, OperationId},
    record::Record,
    time::Time,
};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be reached, is not ready, or did not answer in time. A commit may have happened.
    #[error("the store is not available: {doing}")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// What the client library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It has no room for more. Nothing was written.
    #[error("the store is full: {doing}")]
    Full {
        /// What was attempted.
        doing: &'static str,
        /// What the client library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What lies under an operation's key is no record.
    #[error("the record of {id} is damaged")]
    Damaged {
        /// The operation.
        id: OperationId,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is set up in a way that would lose records, or for another number of partitions.
    #[error("the store is not set up for Longshore: {0}")]
    Misconfigured(String),
}

/// A record and its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Grows with every commit.
    pub revision: u64,
    /// The record.
    pub record: Record,
}

/// What [`Store::load`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The store's time when it looked.
    pub now: Time,
    /// The record, if there is one.
    pub stored: Option<Stored>,
}

/// A change of one record, to be written if the record is still as it was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which operation.
    pub id: OperationId,
    /// The revision that was loaded; `None` if there was no record.
    pub expected: Option<u64>,
    /// The `next_wake` of the record that was loaded; `None` if there was no record. Where it is
    /// wrong the timer is found all the same, but not as fast.
    pub was_due: Option<Time>,
    /// What is to be there then.
    pub after: After,
    /// When the operation was accepted: its place in every list.
    pub create_time: Time,
    /// Lists that it comes into and lists that it leaves.
    pub lists: Changes,
}

/// What is to be there after a change.
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    /// A record.
    Record {
        /// Its revision, larger than the one before.
        revision: u64,
        /// Its encoding (`longshore_core::codec`).
        bytes: Bytes,
        /// When it is to be found due.
        next_wake: Time,
    },
    /// Nothing.
    Nothing,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written: record, lists and timer, all or nothing.
    Committed,
    /// The record is not as it was loaded; nothing was written. (Or an earlier try of this very
    /// change was, whose answer got lost.)
    Conflict,
}

/// A place in a list: behind the operation with this create time and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The operation's create time.
    pub create_time: Time,
    /// The operation's id.
    pub id: OperationId,
}

/// Operations whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which; in no order.
    pub ids: Vec<OperationId>,
    /// How long until the next one's time comes, if none is due; `None` if there is none at all.
    pub next: Option<std::time::Duration>,
}

/// A place in the sweep over all timers; opaque but to the store that made it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sweep(pub Vec<u8>);

/// Where records are kept.
///
/// A commit is atomic and is seen by every load and list that begins after it. Operations are
/// independent of each other: nothing spans two of them. Every method is safe to repeat.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Loads records, one answer for each id in their order. Each comes with the store's time.
    async fn load(&self, ids: &[OperationId]) -> Vec<Result<Loaded, Error>>;

    /// The record as it is now, for those who only show it: nothing may be decided by it, as it
    /// comes without the store's time.
    async fn read(&self, id: &OperationId) -> Result<Option<Stored>, Error> {
        match self.load(std::slice::from_ref(id)).await.pop() {
            Some(loaded) => Ok(loaded?.stored),
            None => Ok(None),
        }
    }

    /// Commits changes of different operations, one answer for each in their order.
    async fn commit(&self, changes: Vec<Change>) -> Vec<Result<Verdict, Error>>;

    /// At most `limit` records of a list, from behind a place on, ordered by create time and then
    /// id, both descending. Fewer than `limit` means that the list has ended. A record that can't
    /// be read is an entry of its own, so that it hides no others.
    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error>;

    /// The same, but what lies in partitions that can't be reached is left out. They are added to
    /// `_lost`; those that are in it already are not asked again. It fails if none can be reached.
    async fn list_reachable(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
        _lost: &mut BTreeSet<u16>,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        // Unless partitions lie on different servers, either all can be reached or none.
        self.list(index, after, limit).await
    }

    /// At most `limit` operations whose `next_wake` has come, of all partitions alike.
    async fn due(&self, limit: usize) -> Result<Due, Error>;

    /// Some `limit` operations that have a timer, due or not, and the place to go on from; `None`
    /// after the last. There may be fewer, even none, or some more, and one may come twice. What
    /// comes and goes meanwhile may be left out; what stays is not, even if its timer moves.
    async fn sweep(
        &self,
        from: &Sweep,
        limit: usize,
    ) -> Result<(Vec<OperationId>, Option<Sweep>), Error>;

    /// A note that is kept beside the records, such as the bus's epoch.
    async fn note(&self, key: &str) -> Result<Option<String>, Error>;

    /// Keeps a note.
    async fn set_note(&self, key: &str, value: &str) -> Result<(), Error>;

    /// How many records there are. It costs the same however many.
    async fn size(&self) -> Result<u64, Error>;

    /// Keeps a note unless there is one, and gives the one that is kept: of those who do this at
    /// the same time the first decides for all.
    async fn note_or(&self, key: &str, value: &str) -> Result<String, Error>;

    /// The job types whose operations are not to be started at the moment.
    async fn paused(&self) -> Result<BTreeSet<JobType>, Error>;

    /// Pauses a job type, or lets it go on.
    async fn set_paused(&self, job_type: &JobType, paused: bool) -> Result<(), Error>;

    /// Over how many partitions operations are spread: fixed when the store is first used.
    fn partitions(&self) -> u16;

    /// Operations of different lanes lie on different servers: who works on one of them must not
    /// wait for those of another, which may be away.
    fn lane(&self, _id: &OperationId) -> u16 {
        0
    }

    /// Returns once all that was committed before lasts as long as an answered commit does: for
    /// who answers by what another commit did, of which nobody knows whether it was answered.
    async fn settle(&self) -> Result<(), Error> {
        // Unless the store writes first and confirms later.
        Ok(())
    }

    /// Whether the store can be used now.
    async fn check(&self) -> Result<(), Error>;
}

/// The record under an operation's key.
///
/// # Errors
/// [`Error::Damaged`] if it is something else.
pub fn decode(id: &OperationId, revision: u64, bytes: Bytes) -> Result<Stored, Error> {
    match codec::decode(id.clone(), bytes) {
        Ok(record) => Ok(Stored { revision, record }),
        Err(source) => Err(Error::Damaged { id: id.clone(), source: Box::new(source) }),
    }
}
