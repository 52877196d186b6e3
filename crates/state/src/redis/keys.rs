//! How keys are named.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ls:{p}:ID` | string | 8-byte big-endian revision, then the record |
//! | `ls:{p}:active:PARENT` | zset | ids under PARENT that are not done, by create time |
//! | `ls:{p}:ended:PARENT` | zset | ids under PARENT that are done, by create time |
//! | `ls:{p}:on:RESOURCE` | zset | ids that work on RESOURCE by create time |
//! | `ls:{p}:all:active` | zset | all ids that are not done, by create time |
//! | `ls:{p}:all:ended` | zset | all ids that are done, by create time |
//! | `ls:timer:{p}` | zset | ids by when their record's timer is due |
//! | `ls:packs:SET`, `ls:pack:START:SET`, `ls:packed:SET` | zset, zset, string | what is packed away of one of these sets (`lua/packs.lua`) |
//! | `ls:meta` | hash | `partitions` with the layout, notes as `note:KEY`, paused job types as `paused:TYPE`, and `settled`, which says nothing |
//!
//! Times are in microseconds. The hash tag `{p}` is the number of the partition: text of clients
//! stands behind it, so that it never decides about the slot. No id has a colon, so that no record's
//! key is another's.

use longshore_core::{
    index::Index,
    names::{OperationId, Parent},
};

pub(super) const META: &str = "ls:meta";

/// The keys of a store with so many partitions.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) partitions: u16,
}

/// What stands in a sorted set.
#[derive(Clone)]
pub(super) enum Set {
    List(Index),
    Timers,
}

/// What is under a key.
pub(super) enum Named {
    Record(OperationId),
    Set(Set),
    /// Some of a set.
    Pack(Set),
    /// What belongs to a set's packs.
    OfPacks,
}

/// Which keys a scan looks for.
#[derive(Clone, Copy)]
pub(super) enum Pattern {
    /// Records, and some others.
    Records,
    All,
}

impl Keys {
    pub(super) fn partition(self, id: &OperationId) -> u16 {
        id.partition(self.partitions)
    }

    pub(super) fn record(self, id: &OperationId) -> String {
        format!("ls:{{{}}}:{id}", self.partition(id))
    }

    /// A list that is kept; of another there is no such key.
    pub(super) fn list(self, partition: u16, index: &Index) -> String {
        match index {
            Index::In(parent) => format!("ls:{{{partition}}}:in:{parent}"),
            Index::Active(parent) => format!("ls:{{{partition}}}:active:{parent}"),
            Index::Ended(parent) => format!("ls:{{{partition}}}:ended:{parent}"),
            Index::On(resource) => format!("ls:{{{partition}}}:on:{resource}"),
            Index::All => format!("ls:{{{partition}}}:all:"),
            Index::AllActive => format!("ls:{{{partition}}}:all:active"),
            Index::AllEnded => format!("ls:{{{partition}}}:all:ended"),
        }
    }

    pub(super) fn timer(self, partition: u16) -> String {
        format!("ls:timer:{{{partition}}}")
    }

    /// Under which key it is counted how many are packed of a set.
    pub(super) fn packed(self, set: &str) -> String {
        format!("ls:packed:{set}")
    }

    /// Which keys of a partition there are, or of all.
    pub(super) fn patterns(self, partition: Option<u16>, what: Pattern) -> Vec<String> {
        match (partition, what) {
            (None, Pattern::Records) => vec!["ls:{*".to_owned()],
            (None, Pattern::All) => vec!["ls:*".to_owned()],
            (Some(partition), Pattern::Records) => vec![format!("ls:{{{partition}}}:*")],
            (Some(partition), Pattern::All) => {
                vec![format!("ls:{{{partition}}}:*"), format!("ls:pack*{{{partition}}}*")]
            }
        }
    }

    /// Whose record a key is.
    pub(super) fn id_of(self, key: &str) -> Option<OperationId> {
        match self.named(key)? {
            (_, Named::Record(id)) => Some(id),
            _ => None,
        }
    }

    /// What a key is, and of which partition; none if it is nothing that is written here.
    pub(super) fn named(self, key: &str) -> Option<(u16, Named)> {
        if let Some((partition, set)) = self.set(key) {
            return Some((partition, Named::Set(set)));
        }
        if let Some(pack) = key.strip_prefix("ls:pack:") {
            let (partition, set) = self.set(pack.split_once(':')?.1)?;
            return Some((partition, Named::Pack(set)));
        }
        if let Some(set) = key.strip_prefix("ls:packs:").or_else(|| key.strip_prefix("ls:packed:"))
        {
            return Some((self.set(set)?.0, Named::OfPacks));
        }
        let (partition, rest) = self.split(key)?;
        let id = OperationId::parse(rest).ok().filter(|id| self.partition(id) == partition)?;
        Some((partition, Named::Record(id)))
    }

    fn set(self, key: &str) -> Option<(u16, Set)> {
        if key.starts_with("ls:timer:{") {
            let partition = (0..self.partitions).find(|partition| self.timer(*partition) == key)?;
            return Some((partition, Set::Timers));
        }
        let (partition, rest) = self.split(key)?;
        Some((partition, Set::List(index(rest)?)))
    }

    /// `ls:{p}:REST`.
    fn split(self, key: &str) -> Option<(u16, &str)> {
        let (partition, rest) = key.strip_prefix("ls:{")?.split_once("}:")?;
        let partition = partition.parse().ok().filter(|partition| *partition < self.partitions)?;
        Some((partition, rest))
    }
}

fn index(rest: &str) -> Option<Index> {
    let (kind, name) = rest.split_once(':')?;
    match (kind, name) {
        ("active", parent) => Parent::parse(parent).ok().map(Index::Active),
        ("ended", parent) => Parent::parse(parent).ok().map(Index::Ended),
        ("on", resource) => Some(Index::On(resource.into())),
        ("all", "active") => Some(Index::AllActive),
        ("all", "ended") => Some(Index::AllEnded),
        _ => None,
    }
}
