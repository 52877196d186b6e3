//! How keys are named.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ls:{p}:ID` | string | 8-byte big-endian revision, then the record |
//! | `ls:{p}:in:PARENT` | zset | ids under PARENT by create time |
//! | `ls:{p}:active:PARENT` | zset | the same, those that are not done |
//! | `ls:{p}:on:RESOURCE` | zset | ids that work on RESOURCE by create time |
//! | `ls:{p}:all:` | zset | all ids by create time |
//! | `ls:{p}:all:active` | zset | the same, those that are not done |
//! | `ls:timer:{p}` | zset | ids by when their record's timer is due |
//! | `ls:meta` | hash | `partitions`, notes as `note:KEY`, paused job types as `paused:TYPE`, and `settled`, which says nothing |
//!
//! Times are in microseconds. The hash tag `{p}` is the number of the partition: text of clients
//! stands behind it, so that it never decides about the slot. No id has a colon, so that no record's
//! key is another's.

use longshore_core::{index::Index, names::OperationId};

pub(super) const META: &str = "ls:meta";

/// The keys of a store with so many partitions.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) partitions: u16,
}

impl Keys {
    pub(super) fn partition(self, id: &OperationId) -> u16 {
        id.partition(self.partitions)
    }

    pub(super) fn record(self, id: &OperationId) -> String {
        format!("ls:{{{}}}:{id}", self.partition(id))
    }

    pub(super) fn list(self, partition: u16, index: &Index) -> String {
        match index {
            Index::In(parent) => format!("ls:{{{partition}}}:in:{parent}"),
            Index::Active(parent) => format!("ls:{{{partition}}}:active:{parent}"),
            Index::On(resource) => format!("ls:{{{partition}}}:on:{resource}"),
            Index::All => format!("ls:{{{partition}}}:all:"),
            Index::AllActive => format!("ls:{{{partition}}}:all:active"),
        }
    }

    pub(super) fn timer(self, partition: u16) -> String {
        format!("ls:timer:{{{partition}}}")
    }
}
