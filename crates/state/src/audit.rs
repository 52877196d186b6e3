//! Records against lists against timers: what a commit keeps together, looked at from both sides.
//!
//! Where an operation stands is derived from its record, so each difference can be mended from
//! there. A live store changes while it is looked at: no difference counts unless record and places
//! were seen as of one moment.

mod port;
mod walk;

use std::collections::{HashMap, HashSet};

use longshore_core::{names::OperationId, record::Record};

pub use self::port::{Auditable, Place, Sighting, Standing};
pub(crate) use self::walk::Walk;
use crate::store::{Error, Verdict};

/// How often an operation is looked at that changes between record and places.
const LOOKS: usize = 16;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A record does not stand where it has to.
    Missing {
        /// Whose.
        id: OperationId,
        /// Where.
        place: Place,
    },
    /// Something stands where its record says that it does not, or there is no record.
    Stray {
        /// Whose.
        id: OperationId,
        /// Where.
        place: Place,
    },
    /// What lies under an operation's key is no record.
    Damaged {
        /// Which.
        id: OperationId,
        /// What is wrong with it.
        why: String,
    },
    /// Something among Longshore's keys that Longshore does not write.
    Foreign {
        /// What it is.
        what: String,
    },
}

impl Difference {
    /// Whether it can be derived from the record what would be right.
    pub fn can_be_mended(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Stray { .. } => true,
            Self::Damaged { .. } | Self::Foreign { .. } => false,
        }
    }
}

/// What is done about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// They are told, and left.
    No,
    /// Those that can be mended are.
    Yes,
}

/// What an audit has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// How many places in lists and timers.
    pub places: u64,
    /// How many differences.
    pub differences: u64,
    /// How many of them were mended.
    pub mended: u64,
    /// How many operations changed whenever they were looked at, and were left out.
    pub restless: u64,
}

/// Looks at all that is in a store, in pages, and tells each difference and whether it was mended.
///
/// # Errors
/// If the store can't be asked. What was mended before stays so.
pub async fn audit(
    store: &dyn Auditable,
    repair: Repair,
    mut tell: impl FnMut(&Difference, bool),
) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    let mut walk = store.walk();
    while let Some(sightings) = walk.next().await? {
        let mut page = Page::default();
        for sighting in sightings {
            match sighting {
                Sighting::Record(id) => {
                    summary.records += 1;
                    page.0.entry(id).or_default().whole = true;
                }
                Sighting::Place(id, place) => {
                    summary.places += 1;
                    page.0.entry(id).or_default().seen.insert(place);
                }
                Sighting::Foreign(what) => {
                    summary.differences += 1;
                    tell(&Difference::Foreign { what }, false);
                }
            }
        }
        let mut told = |difference: &Difference, mended: bool| {
            summary.differences += 1;
            summary.mended += u64::from(mended);
            tell(difference, mended);
        };
        summary.restless += page.examine(store, repair, &mut told).await?;
    }
    Ok(summary)
}

/// Operations that came up together.
#[derive(Default)]
struct Page(HashMap<OperationId, Seen>);

/// What came up of an operation.
#[derive(Default)]
struct Seen {
    /// Its record, so that it is looked at wherever it has to stand.
    whole: bool,
    /// Where it stands, or stood.
    seen: HashSet<Place>,
}

impl Page {
    /// Looks until each operation was seen as of one moment, and returns how many never were.
    async fn examine(
        self,
        store: &dyn Auditable,
        repair: Repair,
        told: &mut impl FnMut(&Difference, bool),
    ) -> Result<u64, Error> {
        let mut open: Vec<(OperationId, Seen)> = self.0.into_iter().collect();
        for _ in 0..LOOKS {
            if open.is_empty() {
                break;
            }
            open = look(store, repair, open, told).await?;
        }
        Ok(open.len() as u64)
    }
}

/// One look at each; those that changed meanwhile come back.
async fn look(
    store: &dyn Auditable,
    repair: Repair,
    open: Vec<(OperationId, Seen)>,
    told: &mut impl FnMut(&Difference, bool),
) -> Result<Vec<(OperationId, Seen)>, Error> {
    let ids: Vec<OperationId> = open.iter().map(|(id, _)| id.clone()).collect();
    let mut asked = Vec::new();
    let mut suspects = Vec::new();
    for ((id, seen), loaded) in open.into_iter().zip(store.load(&ids).await) {
        let stored = match loaded {
            Ok(loaded) => loaded.stored,
            // Told where the record itself came up, not at each of its places.
            Err(Error::Damaged { source, .. }) => {
                if seen.whole {
                    told(&Difference::Damaged { id, why: source.to_string() }, false);
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let expected = stored.as_ref().map(|stored| Place::all_of(&stored.record));
        let expected = expected.unwrap_or_default();
        let places = seen.doubtful(&expected, repair);
        if !places.is_empty() {
            asked.push((id.clone(), places));
            let revision = stored.map(|stored| stored.revision);
            suspects.push(Suspect { id, seen, revision, expected });
        }
    }
    let mut again = Vec::new();
    let standing = store.standing(&asked).await;
    for ((suspect, (_, places)), standing) in suspects.into_iter().zip(asked).zip(standing) {
        let stands = match standing {
            Ok(Standing::At { revision, stands }) if revision == suspect.revision => stands,
            Ok(Standing::At { .. } | Standing::Changing) => {
                again.push((suspect.id, suspect.seen));
                continue;
            }
            Err(error) => {
                suspect.damaged(error, told)?;
                continue;
            }
        };
        let differences = suspect.differences(places, &stands);
        if differences.is_empty() {
            continue;
        }
        let mended = match repair {
            Repair::No => false,
            Repair::Yes => match suspect.mend(store, &differences).await {
                Ok(Verdict::Committed) => true,
                Ok(Verdict::Conflict) => {
                    again.push((suspect.id, suspect.seen));
                    continue;
                }
                Err(error) => {
                    suspect.damaged(error, told)?;
                    continue;
                }
            },
        };
        differences.iter().for_each(|difference| told(difference, mended));
    }
    Ok(again)
}

impl Seen {
    /// The places that have to be looked at, given those where the operation has to stand.
    fn doubtful(&self, expected: &HashSet<Place>, repair: Repair) -> Vec<Place> {
        let strays: Vec<Place> = self.seen.difference(expected).cloned().collect();
        // A repair puts all of an operation's places right, so it has to know them all.
        if self.whole || (repair == Repair::Yes && !strays.is_empty()) {
            expected.iter().cloned().chain(strays).collect()
        } else {
            strays
        }
    }
}

/// An operation whose places are looked at.
struct Suspect {
    id: OperationId,
    seen: Seen,
    revision: Option<u64>,
    expected: HashSet<Place>,
}

impl Suspect {
    /// A list where it has to stand can't be used: that is no reason not to look at the others.
    fn damaged(self, error: Error, told: &mut impl FnMut(&Difference, bool)) -> Result<(), Error> {
        let Error::Damaged { id, source } = error else { return Err(error) };
        if self.seen.whole {
            told(&Difference::Damaged { id, why: source.to_string() }, false);
        }
        Ok(())
    }

    fn differences(&self, places: Vec<Place>, stands: &[bool]) -> Vec<Difference> {
        let differs = |(place, stands): (Place, &bool)| {
            let id = self.id.clone();
            match (self.expected.contains(&place), stands) {
                (true, false) => Some(Difference::Missing { id, place }),
                (false, true) => Some(Difference::Stray { id, place }),
                (true, true) | (false, false) => None,
            }
        };
        places.into_iter().zip(stands).filter_map(differs).collect()
    }

    async fn mend(
        &self,
        store: &dyn Auditable,
        differences: &[Difference],
    ) -> Result<Verdict, Error> {
        let stray = |difference: &Difference| match difference {
            Difference::Stray { place, .. } => Some(place.clone()),
            _ => None,
        };
        let strays: Vec<Place> = differences.iter().filter_map(stray).collect();
        store.mend(&self.id, self.revision, &strays).await
    }
}

impl Place {
    /// Where a record has to stand.
    pub fn all_of(record: &Record) -> HashSet<Self> {
        use longshore_core::index::Presence;

        let lists = Presence::ABSENT.changes(Presence::of(record), record).add;
        let create_time = record.create_time;
        let listed = lists.into_iter().map(|index| Self::List { index, create_time });
        listed.chain([Self::Timer(record.next_wake())]).collect()
    }
}
