//! Which lists a record stands in: derived from the record, never kept beside it.

use crate::{names::Parent, record::Record};

/// A list of operations, ordered by create time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// All under a parent.
    In(Parent),
    /// Those under a parent that are not done.
    Active(Parent),
    /// All that work on a resource, under whichever parent.
    On(Box<str>),
    /// All there are.
    All,
    /// All that are not done.
    AllActive,
}

/// What of a record decides which lists it stands in. Parent and resources never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Presence {
    listed: bool,
    active: bool,
}

impl Presence {
    /// In no list: there is no record.
    pub const ABSENT: Self = Self { listed: false, active: false };

    /// Where the record stands. A deleted one stands in no list.
    pub fn of(record: &Record) -> Self {
        Self { listed: !record.deleted, active: !record.deleted && !record.is_done() }
    }

    /// The lists that a record comes into and those that it leaves when its presence changes
    /// from `self` to `after`.
    pub fn changes(self, after: Self, record: &Record) -> Changes {
        let mut changes = Changes::default();
        if self.listed != after.listed {
            let side = changes.side(after.listed);
            side.extend([Index::All, Index::In(record.parent.clone())]);
            side.extend(record.job.works_on.iter().map(|name| Index::On(name.as_str().into())));
        }
        if self.active != after.active {
            let side = changes.side(after.active);
            side.extend([Index::AllActive, Index::Active(record.parent.clone())]);
        }
        changes
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
