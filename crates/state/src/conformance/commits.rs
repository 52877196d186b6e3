//! Loading and committing.

use bytes::Bytes;
use futures::future::join_all;
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
    record::{Payload, Record},
    time::Time,
};

use super::sample::{
    at, change, commit, create, create_all, load, now, parent, put, queued, remove,
};
use crate::store::{Store, Stored, Verdict};

/// A record comes back as it was committed, and what was not committed is not there.
pub async fn loads_what_was_committed(store: &dyn Store) {
    let stored = create(store, queued("a", at(1), Time::MAX)).await;
    assert_eq!(load(store, &stored.record.id).await, Some(stored));
    assert_eq!(load(store, &OperationId::random()).await, None);
    assert_eq!(store.load(&[]).await.len(), 0);
}

/// Of two that create the same operation one wins.
pub async fn refuses_to_create_twice(store: &dyn Store) {
    let first = create(store, queued("a", at(1), Time::MAX)).await;
    let second = Record { id: first.record.id.clone(), ..queued("b", at(2), Time::MAX) };
    assert_eq!(commit(store, change(None, Some(&second))).await, Verdict::Conflict);
    assert_eq!(load(store, &second.id).await, Some(first));
}

/// A change needs the record that is there.
pub async fn refuses_a_stale_revision(store: &dyn Store) {
    let first = create(store, queued("a", at(1), Time::MAX)).await;
    let second = put(store, Some(&first), Record { attempt: 1, ..first.record.clone() }).await;
    let stale = Record { attempt: 2, ..first.record.clone() };
    assert_eq!(commit(store, change(Some(&first), Some(&stale))).await, Verdict::Conflict);
    assert_eq!(commit(store, change(Some(&first), None)).await, Verdict::Conflict);
    let absent = Stored { revision: 1, record: queued("a", at(1), Time::MAX) };
    assert_eq!(commit(store, change(Some(&absent), None)).await, Verdict::Conflict);
    assert_eq!(load(store, &first.record.id).await, Some(second));
}

/// An id is free again once its record is gone.
pub async fn creates_again_after_a_removal(store: &dyn Store) {
    let first = create(store, queued("a", at(1), Time::MAX)).await;
    remove(store, &first).await;
    assert_eq!(load(store, &first.record.id).await, None);
    let second = create(store, Record { attempt: 7, ..first.record.clone() }).await;
    assert_eq!(load(store, &first.record.id).await, Some(second));
}

/// A change whose answer got lost is repeated: it conflicts, and what it wanted is there.
pub async fn takes_a_repeated_change_for_a_conflict(store: &dyn Store) {
    let first = create(store, queued("a", at(1), Time::MAX)).await;
    let after = Record { attempt: 1, ..first.record.clone() };
    let change = change(Some(&first), Some(&after));
    assert_eq!(commit(store, change.clone()).await, Verdict::Committed);
    assert_eq!(commit(store, change).await, Verdict::Conflict);
    assert_eq!(load(store, &after.id).await.map(|stored| stored.record), Some(after));
}

/// A conflict leaves record, lists and timer alone.
pub async fn writes_nothing_on_a_conflict(store: &dyn Store) {
    let now = now(store).await;
    let first = create(store, queued("a", at(1), Time::MAX)).await;
    let mut other = Record { id: first.record.id.clone(), ..queued("b", at(1), now) };
    other.job.works_on = vec!["r".to_owned()];
    assert_eq!(commit(store, change(None, Some(&other))).await, Verdict::Conflict);
    for (index, count) in
        [(Index::In(parent("a")), 1), (Index::In(parent("b")), 0), (Index::On("r".into()), 0)]
    {
        assert_eq!(
            store.list(&index, None, 10).await.expect("the store lists").len(),
            count,
            "{index:?}"
        );
    }
    assert_eq!(store.due(10).await.expect("the store looks").ids, []);
}

/// Each item of a batch has its own answer, in order, whichever partition it is in.
pub async fn answers_each_of_a_batch(store: &dyn Store) {
    let records: Vec<Record> = (0..600).map(|n| queued("a", at(n), Time::MAX)).collect();
    let (there, missing): (Vec<_>, Vec<_>) =
        records.iter().enumerate().partition(|(n, _)| n % 3 != 0);
    let there: Vec<Record> = there.into_iter().map(|(_, record)| record.clone()).collect();
    create_all(store, &there).await;

    let ids: Vec<OperationId> = records.iter().map(|record| record.id.clone()).collect();
    let loaded = store.load(&ids).await;
    assert_eq!(loaded.len(), records.len());
    for ((n, loaded), record) in loaded.into_iter().enumerate().zip(&records) {
        let found = loaded.expect("the store loads").stored.map(|stored| stored.record);
        assert_eq!(found.as_ref(), (n % 3 != 0).then_some(record));
    }
    let changes = records.iter().map(|record| change(None, Some(record))).collect();
    let verdicts = store.commit(changes).await;
    assert_eq!(verdicts.len(), records.len());
    for (n, verdict) in verdicts.into_iter().enumerate() {
        let expected = if n % 3 == 0 { Verdict::Committed } else { Verdict::Conflict };
        assert_eq!(verdict.expect("the store commits"), expected);
    }
    assert_eq!(missing.len(), 200);
}

/// Many that change the same record at once: each change counts once.
pub async fn counts_every_increment_once(store: &dyn Store) {
    let id = create(store, queued("a", at(1), Time::MAX)).await.record.id;
    let increment = async || {
        for _ in 0..5 {
            loop {
                let before = load(store, &id).await.expect("the record is there");
                let after = Record { attempt: before.record.attempt + 1, ..before.record.clone() };
                if commit(store, change(Some(&before), Some(&after))).await == Verdict::Committed {
                    break;
                }
            }
        }
    };
    join_all((0..16).map(|_| increment())).await;
    let stored = load(store, &id).await.expect("the record is there");
    assert_eq!((stored.record.attempt, stored.revision), (80, 81));
}

/// A record may hold hundreds of kilobytes.
pub async fn keeps_large_records(store: &dyn Store) {
    let mut record = queued("a", at(1), Time::MAX);
    let value = Bytes::from((0..300 << 10).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
    record.job.input = Some(Payload { type_url: "type.googleapis.com/test".to_owned(), value });
    let first = create(store, record).await;
    let second = put(store, Some(&first), Record { attempt: 1, ..first.record.clone() }).await;
    assert_eq!(load(store, &first.record.id).await, Some(second));
}

/// Notes are kept until they are overwritten.
pub async fn keeps_notes(store: &dyn Store) {
    let note = async |key| store.note(key).await.expect("the store reads");
    assert_eq!(note("epoch").await, None);
    for value in ["one", "", "zwei"] {
        store.set_note("epoch", value).await.expect("the store writes");
        assert_eq!(note("epoch").await.as_deref(), Some(value));
        assert_eq!(note("partitions").await, None);
    }

    let note_or = async |key, value| store.note_or(key, value).await.expect("the store writes");
    assert_eq!(note_or("epoch", "three").await, "zwei");
    assert_eq!(note_or("key", "first").await, "first");
    assert_eq!(note_or("key", "second").await, "first");
    assert_eq!(note("key").await.as_deref(), Some("first"));
}

/// A job type is paused until it is let go on, beside others and beside notes.
pub async fn keeps_what_is_paused(store: &dyn Store) {
    let job_type = |name| JobType::parse(name).expect("a job type");
    let paused = async || {
        let paused = store.paused().await.expect("the store reads");
        paused.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let set = async |name, paused| {
        store.set_paused(&job_type(name), paused).await.expect("the store writes");
    };
    assert_eq!(paused().await, [""; 0]);
    store.set_note("z", "").await.expect("the store writes");
    for (name, is_paused, expected) in [
        ("b", true, &["b"][..]),
        ("a", true, &["a", "b"]),
        ("b", true, &["a", "b"]),
        ("b", false, &["a"]),
        ("b", false, &["a"]),
        ("a", false, &[]),
    ] {
        set(name, is_paused).await;
        assert_eq!(paused().await, expected);
    }
    assert_eq!(store.note("z").await.expect("the store reads").as_deref(), Some(""));
}

/// Time never goes back, and goes on by itself.
pub async fn has_a_clock_that_goes_on(store: &dyn Store) {
    let start = now(store).await;
    assert!(start > at(1_577_836_800_000_000), "it is later than the year 2020: {start:?}");
    let mut last = start;
    while last == start {
        let next = now(store).await;
        assert!(next >= last);
        last = next;
    }
}

/// It is ready, and says over how many partitions it spreads operations.
pub async fn is_ready(store: &dyn Store) {
    store.check().await.expect("the store is ready");
    assert!(store.partitions() >= 1);
}
