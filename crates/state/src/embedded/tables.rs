//! How records, lists and timers lie in the B-trees.
//!
//! | table | key | value |
//! |---|---|---|
//! | `records` | id | 8-byte revision, 8-byte time of the timer, record |
//! | `lists` | kind, length of the name, name, create time, id | |
//! | `timers` | time, id | |
//! | `meta` | `format`, `partitions`, `note:KEY`, `paused:TYPE` | text |
//!
//! Numbers are big-endian and times have their sign flipped, so that the order of the bytes is the
//! order of the values.

use longshore_core::{
    index::Index,
    names::{OperationId, Parent},
    time::Time,
};
use redb::TableDefinition;

use crate::store::Position;

pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
pub(super) const LISTS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("lists");
pub(super) const TIMERS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("timers");
pub(super) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

/// What the keys of paused job types begin with.
pub(super) const PAUSED: &str = "paused:";

const SIGN: u64 = 1 << 63;
const TIME: usize = 8;

/// A value of `records`, taken apart.
pub(super) struct Row<'a> {
    pub(super) revision: u64,
    pub(super) next_wake: Time,
    pub(super) record: &'a [u8],
}

impl<'a> Row<'a> {
    /// None if the value is too short to be one.
    pub(super) fn take(value: &'a [u8]) -> Option<Self> {
        let (revision, rest) = value.split_first_chunk()?;
        let (next_wake, record) = rest.split_first_chunk()?;
        Some(Self { revision: u64::from_be_bytes(*revision), next_wake: time(*next_wake), record })
    }

    pub(super) fn to_value(&self) -> Vec<u8> {
        [&self.revision.to_be_bytes()[..], &time_bytes(self.next_wake), self.record].concat()
    }
}

/// What all keys of a list begin with.
pub(super) fn list_prefix(index: &Index) -> Vec<u8> {
    let (kind, name) = match index {
        Index::In(parent) => (0, parent.as_str()),
        Index::Active(parent) => (1, parent.as_str()),
        Index::On(resource) => (2, &**resource),
        Index::All => (3, ""),
        Index::AllActive => (4, ""),
        Index::Ended(parent) => (5, parent.as_str()),
        Index::AllEnded => (6, ""),
    };
    [&[kind][..], &(name.len() as u64).to_be_bytes(), name.as_bytes()].concat()
}

pub(super) fn list_key(index: &Index, place: &Position) -> Vec<u8> {
    [&list_prefix(index)[..], &time_bytes(place.create_time), place.id.as_str().as_bytes()].concat()
}

/// Behind all keys of a list.
pub(super) fn list_end(index: &Index) -> Vec<u8> {
    [&list_prefix(index)[..], &[0xff; TIME + 1]].concat()
}

pub(super) fn timer_key(next_wake: Time, id: &OperationId) -> Vec<u8> {
    [&time_bytes(next_wake)[..], id.as_str().as_bytes()].concat()
}

/// When the timer with this key is due, and whose it is.
pub(super) fn timer_of(key: &[u8]) -> Option<(Time, OperationId)> {
    let (next_wake, id) = key.split_first_chunk()?;
    Some((time(*next_wake), id_of(id)?))
}

/// The list that an entry belongs to, and its place in it.
pub(super) fn place_of(key: &[u8]) -> Option<(Index, Position)> {
    let (kind, rest) = key.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
    let name = std::str::from_utf8(name).ok()?;
    let index = match (kind, name) {
        (1, parent) => Index::Active(Parent::parse(parent).ok()?),
        (2, resource) => Index::On(resource.into()),
        (4, "") => Index::AllActive,
        (5, parent) => Index::Ended(Parent::parse(parent).ok()?),
        (6, "") => Index::AllEnded,
        _ => return None,
    };
    let (create_time, id) = rest.split_first_chunk()?;
    Some((index, Position { create_time: time(*create_time), id: id_of(id)? }))
}

/// Whose place in a list it is, given the end of its key: create time and id.
pub(super) fn id_in_list(place: &[u8]) -> Option<OperationId> {
    id_of(place.get(TIME..)?)
}

fn id_of(bytes: &[u8]) -> Option<OperationId> {
    OperationId::parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn time_bytes(time: Time) -> [u8; TIME] {
    (time.as_micros().cast_unsigned() ^ SIGN).to_be_bytes()
}

fn time(bytes: [u8; TIME]) -> Time {
    Time::from_micros((u64::from_be_bytes(bytes) ^ SIGN).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_times_are() {
        let id = OperationId::parse("a").unwrap();
        let keys = [i64::MIN, -1, 0, 1, 255, 256, i64::MAX]
            .map(|micros| timer_key(Time::from_micros(micros), &id));
        assert!(keys.is_sorted());
        assert_eq!(timer_of(&keys[3]), Some((Time::from_micros(1), id)));
    }

    #[test]
    fn a_list_ends_before_the_next_begins() {
        let on = |name: &str| Index::On(name.into());
        let place = Position { create_time: Time::MAX, id: OperationId::parse("zzz").unwrap() };
        for (one, other) in [("a", "b"), ("a", "a\0"), ("", "a"), ("\u{ff}", "\u{ff}\u{ff}")] {
            assert!(list_key(&on(one), &place) < list_end(&on(one)));
            assert!(list_end(&on(one)) < list_prefix(&on(other)));
        }
        assert!(list_key(&Index::AllActive, &place) < list_end(&Index::AllActive));
        let parent = Parent::parse("a/b").unwrap();
        for index in [
            Index::Active(parent.clone()),
            Index::Ended(parent),
            on("r {x}"),
            Index::AllActive,
            Index::AllEnded,
        ] {
            let key = list_key(&index, &place);
            assert_eq!(place_of(&key), Some((index, place.clone())));
        }
        assert!(list_end(&Index::AllActive) < list_prefix(&Index::AllEnded));
    }
}
