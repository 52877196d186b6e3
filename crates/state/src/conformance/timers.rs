//! Timers.

use std::{collections::HashSet, time::Duration};

use longshore_core::{names::OperationId, record::Record, time::Time};

use super::sample::{at, create, create_all, done, now, put, queued, remove};
use crate::store::{Store, Stored, Sweep};

const HOUR: Duration = Duration::from_secs(3600);

async fn due(store: &dyn Store, limit: usize) -> HashSet<OperationId> {
    let ids = store.due(limit).await.expect("the store looks").ids;
    assert!(ids.len() <= limit);
    let count = ids.len();
    let ids: HashSet<OperationId> = ids.into_iter().collect();
    assert_eq!(ids.len(), count, "one was found twice");
    ids
}

fn ids<'a>(of: impl IntoIterator<Item = &'a Stored>) -> HashSet<OperationId> {
    of.into_iter().map(|stored| stored.record.id.clone()).collect()
}

/// Due is what has come, in all partitions, and stays so until it is changed.
pub async fn finds_what_is_due(store: &dyn Store) {
    let now = now(store).await;
    let mut expected = Vec::new();
    for n in 0..50 {
        expected.push(create(store, queued("a", at(n), now - HOUR * u32::from(n % 2 == 0))).await);
        create(store, queued("a", at(n), now + HOUR)).await;
    }
    let expected = ids(&expected);
    assert_eq!(due(store, 1000).await, expected);
    assert_eq!(due(store, 1000).await, expected);
    assert_eq!(store.due(1000).await.expect("the store looks").next, None);
}

/// A record has one timer, which moves with it.
pub async fn finds_a_moved_timer_at_its_new_time(store: &dyn Store) {
    let now = now(store).await;
    let later = create(store, queued("a", at(1), now)).await;
    let sooner = create(store, queued("a", at(1), now + HOUR)).await;
    assert_eq!(due(store, 10).await, ids([&later]));
    let moved = |stored: &Stored, wake| Record {
        state: queued("a", at(1), wake).state,
        ..stored.record.clone()
    };
    let later = put(store, Some(&later), moved(&later, now + HOUR)).await;
    let sooner = put(store, Some(&sooner), moved(&sooner, now)).await;
    assert_eq!(due(store, 10).await, ids([&sooner]));
    remove(store, &sooner).await;
    remove(store, &later).await;
    assert_eq!(due(store, 10).await, ids([]));
}

/// What is gone is never due.
pub async fn forgets_the_timer_of_a_removed_record(store: &dyn Store) {
    let now = now(store).await;
    let stored = create(store, queued("a", at(1), now)).await;
    remove(store, &stored).await;
    let found = store.due(10).await.expect("the store looks");
    assert_eq!((found.ids, found.next), (Vec::new(), None));
}

/// Every record counts, whatever became of its operation.
pub async fn counts_what_it_holds(store: &dyn Store) {
    let size = async || store.size().await.expect("the store counts");
    assert_eq!(size().await, 0);
    let now = now(store).await;
    let first = create(store, queued("a", at(1), now)).await;
    create(store, done(&queued("a", at(2), now), now + HOUR)).await;
    assert_eq!(size().await, 2);
    remove(store, &first).await;
    assert_eq!(size().await, 1);
}

/// A record that is done is due when its time to be kept is over.
pub async fn finds_expired_records(store: &dyn Store) {
    let now = now(store).await;
    let mut stored = Vec::new();
    for expire in [now, now + HOUR] {
        let before = create(store, queued("a", at(1), now)).await;
        stored.push(put(store, Some(&before), done(&before.record, expire)).await);
    }
    assert_eq!(due(store, 10).await, ids(&stored[..1]));
}

/// A limit is kept, nothing is lost by it, and no partition is left out for ever.
pub async fn finds_no_more_than_asked_for(store: &dyn Store) {
    let now = now(store).await;
    let mut waiting = Vec::new();
    for n in 0..100 {
        waiting.push(create(store, queued("a", at(n), now)).await);
    }
    assert_eq!(due(store, 0).await.len(), 0);
    while !waiting.is_empty() {
        let found = due(store, 7).await;
        assert_eq!(found.len(), 7.min(waiting.len()));
        let (handled, left) =
            waiting.into_iter().partition(|stored: &Stored| found.contains(&stored.record.id));
        waiting = left;
        for stored in handled as Vec<Stored> {
            remove(store, &stored).await;
        }
    }
    assert_eq!(due(store, 7).await, ids([]));
}

/// While nothing is due it is known when to look again.
pub async fn tells_how_long_until_the_next(store: &dyn Store) {
    let next = async || store.due(10).await.expect("the store looks").next;
    assert_eq!(next().await, None);
    let now = now(store).await;
    let last = create(store, queued("a", at(1), now + HOUR * 3)).await;
    let first = create(store, queued("a", at(1), now + HOUR)).await;
    let within = |next: Option<Duration>, longest: Duration| {
        let next = next.expect("there is a timer");
        assert!(longest - HOUR < next && next <= longest, "{next:?}");
    };
    within(next().await, HOUR);
    remove(store, &first).await;
    within(next().await, HOUR * 3);
    remove(store, &last).await;
    assert_eq!(next().await, None);
}

/// A sweep sees all that stay, due or not, even if their timers move.
pub async fn sweeps_over_all(store: &dyn Store) {
    let now = now(store).await;
    let records: Vec<Record> = (0..700)
        .map(|n| queued("a", at(n), if n % 2 == 0 { now - HOUR } else { now + HOUR }))
        .collect();
    create_all(store, &records).await;
    let mut stored: Vec<Stored> =
        records.into_iter().map(|record| Stored { revision: 1, record }).collect();

    let mut seen = HashSet::new();
    let mut from = Sweep::default();
    for round in 0.. {
        assert!(round < 1000, "it does not end");
        let (ids, next) = store.sweep(&from, 100).await.expect("the store sweeps");
        seen.extend(ids);
        let Some(next) = next else { break };
        from = next;
        let moves = fastrand::usize(..stored.len());
        let state =
            queued("a", at(0), Time::from_micros(fastrand::i64(1..now.as_micros() * 2))).state;
        let record = Record { state, ..stored[moves].record.clone() };
        stored[moves] = put(store, Some(&stored[moves]), record).await;
    }
    assert_eq!(seen, ids(&stored));
}
