//! The end of a history: no more faults, so all has to be in time, and to come to its end.

use std::{collections::BTreeSet, time::Duration};

use longshore_core::{
    index::Index,
    names::{OperationId, OperationName, Parent},
};
use longshore_state::store::Store;
use tokio::time::sleep;

use crate::{
    check,
    history::Operation,
    order::{PARENTS, RESOURCES},
    roles::Site,
};

/// After so much time everything has come to its end.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How far the store's clock goes in the end, so that every timer is due: a hundred years.
const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1000;

/// Clients go on for a while; then everything ends, and is as it was told.
pub(crate) async fn play(site: &Site) {
    let world = &site.world;
    // While the store's time stands still nothing that waits for it is in time.
    sleep(world.stands_still()).await;
    world.be_strict();
    let mut clients = Vec::new();
    for (number, name) in open(site).into_iter().enumerate() {
        let watcher = site.clone().watcher(format!("watcher-{number}"), name);
        clients.push(tokio::spawn(watcher));
    }
    clients.push(tokio::spawn(site.clone().drill()));
    for number in 0..3 {
        let client = site.clone().client(format!("guest-{number}"), 2, Duration::from_secs(5));
        clients.push(tokio::spawn(client));
    }
    let begun = world.now();
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) || !open(site).is_empty() {
        sleep(Duration::from_secs(1)).await;
        let mut history = world.history();
        history.collect(world.now(), world.store_time());
        if history.has_failed() {
            return;
        }
        if world.now() > begun + PATIENCE {
            drop(history);
            let open = open(site).pop();
            let id = open.as_ref().map(|name| &name.id);
            return world.history().wrong(id, "it never ends".to_owned());
        }
    }
    for client in clients {
        if let Err(error) = client.await {
            world.history().wrong(None, format!("a client came to a bad end: {error}"));
        }
    }
    sleep(Duration::from_secs(30)).await;
    world.history().collect(world.now(), world.store_time());
    agrees(site).await;
}

/// What has not ended yet.
fn open(site: &Site) -> Vec<OperationName> {
    let history = site.world.history();
    let open = history.operations().values().filter_map(Operation::current);
    open.filter(|record| !record.is_done()).map(|record| record.name()).collect()
}

/// Whether records, lists and timers are what they have to be after all that was committed.
async fn agrees(site: &Site) {
    for index in indexes() {
        let listed = site.store.list(&index, None, usize::MAX).await.unwrap_or_default();
        let listed: Vec<_> = listed.into_iter().flatten().collect();
        let mut history = site.world.history();
        let expected: BTreeSet<OperationId> = history
            .operations()
            .iter()
            .filter_map(|(id, operation)| Some((id, operation.current()?)))
            .filter(|(_, record)| check::is_in(&index, record))
            .map(|(id, _)| id.clone())
            .collect();
        let found: BTreeSet<OperationId> =
            listed.iter().map(|stored| stored.record.id.clone()).collect();
        if let Some(id) = expected.symmetric_difference(&found).next() {
            history.wrong(Some(id), format!("the list {index:?} should have it, or should not"));
        }
        for stored in &listed {
            let id = &stored.record.id;
            if history.operations()[id].current() != Some(&stored.record) {
                history.wrong(Some(id), "it is listed as it is not".to_owned());
            }
        }
    }

    for left in site.hub.leftovers() {
        site.world.history().wrong(None, format!("nobody is done with what the bus keeps: {left}"));
    }

    site.world.jump(CENTURY);
    let timed = site.store.due(usize::MAX).await.map(|due| due.ids).unwrap_or_default();
    let timed: BTreeSet<OperationId> = timed.into_iter().collect();
    let mut history = site.world.history();
    let there =
        |(id, operation): (&OperationId, &Operation)| operation.current().map(|_| id.clone());
    let there: BTreeSet<OperationId> = history.operations().iter().filter_map(there).collect();
    if let Some(id) = there.symmetric_difference(&timed).next() {
        history.wrong(Some(id), "it has no timer, or a timer has no record".to_owned());
    }
}

/// All lists that there can be.
fn indexes() -> Vec<Index> {
    let mut indexes = vec![Index::All, Index::AllActive, Index::AllEnded];
    for parent in PARENTS {
        let parent = Parent::parse(parent).unwrap_or_default();
        indexes.extend([
            Index::In(parent.clone()),
            Index::Active(parent.clone()),
            Index::Ended(parent),
        ]);
    }
    indexes.extend(RESOURCES.map(|name| Index::On(name.into())));
    indexes
}
