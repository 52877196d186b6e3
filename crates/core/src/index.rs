//! Which lists a record stands in: derived from the record, never kept beside it.

use crate::{names::Parent, record::Record};

/// A list of operations, ordered by create time.
///
/// Whatever is asked for that is not kept as a list of its own consists of lists that are
/// ([`Index::parts`]): an operation stands in as few as possible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// All under a parent: those that are not done and those that are.
    In(Parent),
    /// Those under a parent that are not done.
    Active(Parent),
    /// Those under a parent that are done.
    Ended(Parent),
    /// All that work on a resource, under whichever parent.
    On(Box<str>),
    /// All there are: those that are not done and those that are.
    All,
    /// All that are not done.
    AllActive,
    /// All that are done.
    AllEnded,
}

impl Index {
    /// The lists that are kept of which this one consists. No operation stands in two of them at
    /// the same moment.
    pub fn parts(&self) -> Vec<Self> {
        match self {
            Self::In(parent) => vec![Self::Active(parent.clone()), Self::Ended(parent.clone())],
            Self::All => vec![Self::AllActive, Self::AllEnded],
            Self::Active(_) | Self::Ended(_) | Self::On(_) | Self::AllActive | Self::AllEnded => {
                vec![self.clone()]
            }
        }
    }
}

/// What of a record decides which lists it stands in. Parent and resources never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Presence {
    active: bool,
    ended: bool,
}

impl Presence {
    /// In no list: there is no record.
    pub const ABSENT: Self = Self { active: false, ended: false };

    /// Where the record stands. A deleted one stands in no list.
    pub fn of(record: &Record) -> Self {
        let (listed, done) = (!record.deleted, record.is_done());
        Self { active: listed && !done, ended: listed && done }
    }

    /// The lists that a record comes into and those that it leaves when its presence changes
    /// from `self` to `after`.
    pub fn changes(self, after: Self, record: &Record) -> Changes {
        let mut changes = Changes::default();
        if self.active != after.active {
            let side = changes.side(after.active);
            side.extend([Index::AllActive, Index::Active(record.parent.clone())]);
        }
        if self.ended != after.ended {
            let side = changes.side(after.ended);
            side.extend([Index::AllEnded, Index::Ended(record.parent.clone())]);
        }
        if self.is_listed() != after.is_listed() {
            let side = changes.side(after.is_listed());
            side.extend(record.job.works_on.iter().map(|name| Index::On(name.as_str().into())));
        }
        changes
    }

    fn is_listed(self) -> bool {
        self.active || self.ended
    }
}

/// Lists that a record comes into and lists that it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Changes {
    /// Comes into these.
    pub add: Vec<Index>,
    /// Leaves these.
    pub remove: Vec<Index>,
}

impl Changes {
    fn side(&mut self, comes: bool) -> &mut Vec<Index> {
        if comes { &mut self.add } else { &mut self.remove }
    }
}
