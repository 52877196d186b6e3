//! Records to test with.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use longshore_core::{
    codec,
    index::Presence,
    names::{JobType, OperationId, Parent},
    record::{Done, Job, Outcome, Payload, Progress, Queued, Record, Retry, State, TraceContext},
    time::Time,
};
use longshore_proto::v1::Priority;

use crate::store::{After, Change, Position, Store, Stored, Verdict};

pub(super) fn parent(text: &str) -> Parent {
    Parent::parse(text).expect("the test's parents are well-formed")
}

pub(super) fn at(micros: i64) -> Time {
    Time::from_micros(micros)
}

/// A queued operation whose timer is due at `wake`.
pub(super) fn queued(under: &str, create_time: Time, wake: Time) -> Record {
    Record {
        id: OperationId::random(),
        parent: parent(under),
        job: job(),
        create_time,
        update_time: create_time,
        attempt: 0,
        failures: 0,
        start_time: None,
        worker: String::new(),
        last_error: None,
        progress: Progress::default(),
        deleted: false,
        state: State::Queued(Queued { ready_time: wake, hint: None, deadline: None }),
    }
}

/// The same operation when it has ended.
pub(super) fn done(record: &Record, expire_time: Time) -> Record {
    let outcome = Outcome::Response(Payload::default());
    let state =
        State::Done(Done { end_time: record.update_time, expire_time, by_attempt: None, outcome });
    Record { state, ..record.clone() }
}

fn job() -> Job {
    Job {
        job_type: JobType::parse("test").expect("it is well-formed"),
        input: None,
        labels: BTreeMap::new(),
        works_on: Vec::new(),
        priority: Priority::Normal,
        schedule_time: None,
        queue_timeout: None,
        run_timeout: None,
        ttl: Duration::from_secs(1),
        retry: Retry {
            max_attempts: 1,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(1),
            backoff_multiplier: 1.0,
            retryable_codes: Vec::new(),
        },
        fingerprint: Bytes::new(),
        trace: TraceContext::default(),
    }
}

/// The change from what is stored to a record, or to nothing.
pub(super) fn change(before: Option<&Stored>, after: Option<&Record>) -> Change {
    let record =
        after.or_else(|| before.map(|stored| &stored.record)).expect("a change is of a record");
    let was = before.map_or(Presence::ABSENT, |stored| Presence::of(&stored.record));
    let is = after.map_or(Presence::ABSENT, Presence::of);
    Change {
        id: record.id.clone(),
        expected: before.map(|stored| stored.revision),
        was_due: before.map(|stored| stored.record.next_wake()),
        after: match after {
            Some(record) => After::Record {
                revision: before.map_or(1, |stored| stored.revision + 1),
                bytes: codec::encode(record),
                next_wake: record.next_wake(),
            },
            None => After::Nothing,
        },
        create_time: record.create_time,
        lists: was.changes(is, record),
    }
}

pub(super) async fn commit(store: &dyn Store, change: Change) -> Verdict {
    store.commit(vec![change]).await.remove(0).expect("the store commits")
}

/// Commits a record over what is stored.
pub(super) async fn put(store: &dyn Store, before: Option<&Stored>, record: Record) -> Stored {
    assert_eq!(commit(store, change(before, Some(&record))).await, Verdict::Committed);
    Stored { revision: before.map_or(1, |stored| stored.revision + 1), record }
}

pub(super) async fn create(store: &dyn Store, record: Record) -> Stored {
    put(store, None, record).await
}

/// Commits many new records together.
pub(super) async fn create_all(store: &dyn Store, records: &[Record]) {
    let changes = records.iter().map(|record| change(None, Some(record))).collect();
    for verdict in store.commit(changes).await {
        assert_eq!(verdict.expect("the store commits"), Verdict::Committed);
    }
}

pub(super) async fn remove(store: &dyn Store, before: &Stored) {
    assert_eq!(commit(store, change(Some(before), None)).await, Verdict::Committed);
}

pub(super) async fn load(store: &dyn Store, id: &OperationId) -> Option<Stored> {
    store.load(std::slice::from_ref(id)).await.remove(0).expect("the store loads").stored
}

/// The store's time.
pub(super) async fn now(store: &dyn Store) -> Time {
    store.load(&[OperationId::random()]).await.remove(0).expect("the store loads").now
}

pub(super) fn place(record: &Record) -> Position {
    Position { create_time: record.create_time, id: record.id.clone() }
}
