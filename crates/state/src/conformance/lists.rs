//! Lists and their pages.

use std::{cmp::Reverse, collections::BTreeSet};

use longshore_core::{index::Index, names::OperationId, record::Record, time::Time};

use super::sample::{at, create, create_all, done, load, parent, place, put, queued, remove};
use crate::store::{Position, Store};

async fn page(
    store: &dyn Store,
    index: &Index,
    after: Option<&Position>,
    limit: usize,
) -> Vec<Record> {
    let found = store.list(index, after, limit).await.expect("the store lists");
    assert!(found.len() <= limit);
    found.into_iter().map(|stored| stored.expect("no record is damaged").record).collect()
}

async fn listed(store: &dyn Store, index: &Index) -> Vec<OperationId> {
    page(store, index, None, 10_000).await.into_iter().map(|record| record.id).collect()
}

fn in_order(mut records: Vec<Record>) -> Vec<OperationId> {
    records.sort_by_key(|record| Reverse((record.create_time, record.id.clone())));
    records.into_iter().map(|record| record.id).collect()
}

/// The order is by create time and then id, both descending, over all partitions.
pub async fn lists_the_latest_first(store: &dyn Store) {
    // Times of today and beyond: as large as they get.
    let records: Vec<Record> =
        (0..200).map(|n| queued("a", at(9_000_000_000_000_000 + n * 37 % 50), Time::MAX)).collect();
    create_all(store, &records).await;
    assert_eq!(listed(store, &Index::In(parent("a"))).await, in_order(records));
}

/// Pages of any size give the whole list, even if all have the same create time.
pub async fn pages_through_equal_times(store: &dyn Store) {
    let records: Vec<Record> =
        (0..150).map(|n| queued("a", at(if n < 120 { 5 } else { n }), Time::MAX)).collect();
    create_all(store, &records).await;
    let expected = in_order(records);
    for limit in [1, 7, 50, 150, 1000] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = page(store, &Index::In(parent("a")), after.as_ref(), limit).await;
            after = page.last().map(place);
            found.extend(page.iter().map(|record| record.id.clone()));
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
}

/// Those that stay are seen once and in order, whatever comes and goes between the pages; even the
/// one that the page before ended with.
pub async fn pages_while_records_come_and_go(store: &dyn Store) {
    let index = Index::In(parent("a"));
    let records: Vec<Record> =
        (0..120).map(|n| queued("a", at(1000 + n / 10), Time::MAX)).collect();
    create_all(store, &records).await;
    let (goes, stays): (Vec<_>, Vec<_>) =
        records.into_iter().enumerate().partition(|(n, _)| n % 3 == 0);
    let stays = in_order(stays.into_iter().map(|(_, record)| record).collect());
    let goes: Vec<OperationId> = goes.into_iter().map(|(_, record)| record.id).collect();

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = page(store, &index, after.as_ref(), 8).await;
        seen.extend(page.iter().map(|record| record.id.clone()));
        let Some(last) = page.last() else { break };
        after = Some(place(last));
        for id in
            page.iter().map(|record| &record.id).filter(|id| goes.contains(id)).chain(goes.last())
        {
            if let Some(stored) = load(store, id).await {
                remove(store, &stored).await;
            }
        }
        // Before the place, at it and behind it: that is listed, so it has to end some time.
        let time = last.create_time.as_micros();
        for time in [time + 1, time, time - 1].iter().take(if seen.len() < 100 { 3 } else { 1 }) {
            create(store, queued("a", at(*time), Time::MAX)).await;
        }
    }
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), seen.len(), "one was seen twice");
    seen.retain(|id| stays.contains(id));
    assert_eq!(seen, stays);
}

/// A record is in all its lists, in that of the active ones until it is done, and in none once it
/// is deleted.
pub async fn moves_records_between_lists(store: &dyn Store) {
    let mut record = queued("a/b", at(1), Time::MAX);
    record.job.works_on = vec!["r1".to_owned(), "r {2}".to_owned()];
    let id = record.id.clone();
    let all = Index::In(parent("a/b"));
    let active = Index::Active(parent("a/b"));
    let on = [Index::On("r1".into()), Index::On("r {2}".into())];
    let counts = async || {
        let mut counts = Vec::new();
        for (index, spanning) in [(&all, &Index::All), (&active, &Index::AllActive)] {
            assert_eq!(listed(store, index).await, listed(store, spanning).await);
        }
        for index in [&all, &active, &on[0], &on[1]] {
            let found = listed(store, index).await;
            assert!(found.iter().all(|found| *found == id));
            counts.push(found.len());
        }
        counts
    };
    assert_eq!(counts().await, [0, 0, 0, 0]);
    let stored = create(store, record).await;
    assert_eq!(counts().await, [1, 1, 1, 1]);
    let stored = put(store, Some(&stored), Record { attempt: 1, ..stored.record.clone() }).await;
    assert_eq!(counts().await, [1, 1, 1, 1]);
    let ended = put(store, Some(&stored), done(&stored.record, Time::MAX)).await;
    assert_eq!(counts().await, [1, 0, 1, 1]);
    remove(store, &ended).await;
    assert_eq!(counts().await, [0, 0, 0, 0]);

    let stored = create(store, stored.record).await;
    assert_eq!(counts().await, [1, 1, 1, 1]);
    let hidden = Record { deleted: true, ..stored.record.clone() };
    let hidden = put(store, Some(&stored), hidden).await;
    assert_eq!(counts().await, [0, 0, 0, 0]);
    assert_eq!(load(store, &id).await.as_ref(), Some(&hidden));
    remove(store, &hidden).await;
    assert_eq!(counts().await, [0, 0, 0, 0]);
}

/// Lists with names that look alike have nothing to do with each other.
pub async fn keeps_lists_apart(store: &dyn Store) {
    let mut expected = Vec::new();
    for under in ["", "a", "a/b", "a/b/c", "active", "in:a", "timer"] {
        let mut record = queued(under, at(1), Time::MAX);
        record.job.works_on = vec![format!("{under}/x")];
        expected.push((under, create(store, record).await.record.id));
    }
    for (under, id) in expected {
        for index in [
            Index::In(parent(under)),
            Index::Active(parent(under)),
            Index::On(format!("{under}/x").into()),
        ] {
            assert_eq!(listed(store, &index).await, std::slice::from_ref(&id), "{index:?}");
        }
        assert_eq!(listed(store, &Index::On(under.into())).await, []);
    }
}

/// The lists that span all parents have the records of each, in one order.
pub async fn lists_over_all_parents(store: &dyn Store) {
    let records: Vec<Record> = (0..60)
        .map(|n| queued(["", "a", "a/b"][n as usize % 3], at(n * 7 % 20), Time::MAX))
        .collect();
    create_all(store, &records).await;
    assert_eq!(listed(store, &Index::All).await, in_order(records.clone()));
    let ended = load(store, &records[7].id).await.expect("it was created");
    put(store, Some(&ended), done(&ended.record, Time::MAX)).await;
    let active: Vec<Record> =
        records.iter().filter(|record| record.id != ended.record.id).cloned().collect();
    assert_eq!(listed(store, &Index::AllActive).await, in_order(active));
    assert_eq!(listed(store, &Index::All).await, in_order(records));
    let mut lost = BTreeSet::new();
    let whole = store.list_reachable(&Index::All, None, 100, &mut lost).await;
    assert_eq!((whole.expect("the store lists").len(), lost.len()), (60, 0));
}

/// An empty list has no page, and a page of none is empty.
pub async fn lists_nothing_of_nothing(store: &dyn Store) {
    let index = Index::In(parent("a"));
    assert_eq!(listed(store, &index).await, []);
    let record = create(store, queued("a", at(1), Time::MAX)).await.record;
    assert_eq!(page(store, &index, None, 0).await, []);
    assert_eq!(page(store, &index, Some(&place(&record)), 10).await, []);
}
