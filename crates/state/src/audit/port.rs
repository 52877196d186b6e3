//! What a store must allow so that it can be audited.

use async_trait::async_trait;
use longshore_core::{index::Index, names::OperationId, time::Time};

use super::Walk;
use crate::store::{Error, Store, Verdict};

/// A place beside its record where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a list.
    List {
        /// Which.
        index: Index,
        /// Under which create time.
        create_time: Time,
    },
    /// Among the timers, to be found due at this time.
    Timer(Time),
}

/// Something that a walk has come upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// There is something under an operation's key.
    Record(OperationId),
    /// An operation stands somewhere.
    Place(OperationId, Place),
    /// What Longshore does not write, in words.
    Foreign(String),
}

/// Whether an operation stands at some places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As of one moment.
    At {
        /// The record's revision at that moment; `None` if there was none.
        revision: Option<u64>,
        /// One answer for each place.
        stands: Vec<bool>,
    },
    /// It changed while it was looked at.
    Changing,
}

/// A store that can be looked at as a whole, and mended.
#[async_trait]
pub trait Auditable: Store {
    /// Goes over all that is kept, in pages. What comes and goes meanwhile may be left out; what
    /// stays is not; something may come up twice.
    fn walk(&self) -> Walk<'_>;

    /// Whether each operation stands at the places beside it; one answer for each, in their order.
    async fn standing(&self, asked: &[(OperationId, Vec<Place>)]) -> Vec<Result<Standing, Error>>;

    /// If an operation's record still has this revision (or there is still none): puts it wherever
    /// the record says that it stands, and takes it away from the `strays` among all other places.
    /// The record itself and its revision stay as they are.
    async fn mend(
        &self,
        id: &OperationId,
        revision: Option<u64>,
        strays: &[Place],
    ) -> Result<Verdict, Error>;
}
