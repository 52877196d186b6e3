//! Deterministic simulation: the code that ships, against a simulated clock, store and bus.
//!
//! One seed is one history of an installation: state replicas, workers and clients, which run the
//! real ledger, state role and worker runtime, while messages get lost, doubled, delayed and
//! reordered, processes die and come back, and the store fails before and after it writes. Then all
//! faults end, and everything has to come to its end. The same seed gives the same history.
//!
//! It must never decide what is right by asking the lifecycle: `check` says it in other words.

mod bus;
mod check;
mod client;
mod gate;
mod history;
mod roles;
mod store;
mod watcher;
mod world;

use std::{sync::Arc, time::Duration};

use longshore_core::{index::Index, names::Parent};
use longshore_state::{
    embedded::EmbeddedStore,
    store::{Store, Sweep},
};
use tokio::time::sleep;

use crate::{
    bus::Hub,
    roles::Site,
    world::{World, millis},
};

/// Bugs to be planted, to show that the checks bite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The store commits whatever the revision is.
    NoFencing,
    /// The store keeps no timer for what is new.
    NoTimerOnSubmit,
    /// The store never finds anything due.
    NoTimers,
    /// The store says that it has committed before it has.
    AckBeforeCommit,
    /// Clients' changes are announced before they are committed.
    EffectsBeforeCommit,
    /// Events are acknowledged before they are applied.
    EventAckedEarly,
    /// Events count for whichever attempt runs.
    NoAttempts,
    /// Workers go on whatever becomes of their leases.
    LeaseIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoFencing,
        Self::NoTimerOnSubmit,
        Self::NoTimers,
        Self::AckBeforeCommit,
        Self::EffectsBeforeCommit,
        Self::EventAckedEarly,
        Self::NoAttempts,
        Self::LeaseIgnored,
    ];
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is wrong, with the shortened history of the operation; `None` if all is well.
    pub failure: Option<String>,
    /// All that happened, a line each.
    pub history: String,
    /// How many operations there were.
    pub operations: usize,
}

/// How many watchers there are.
const WATCHERS: usize = 2;
/// After so much time without faults everything has come to its end.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs a seed, on this thread.
pub fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output");
    let world = runtime.block_on(async {
        let world = World::new(bug);
        play(world.clone()).await;
        world
    });
    // What is dropped with its tasks is no part of the history.
    let history = world.history();
    let outcome = Outcome {
        failure: history.failure(),
        history: history.text(),
        operations: history.operations().len(),
    };
    drop(history);
    outcome
}

async fn play(world: Arc<World>) {
    let clock = world.clone();
    let store = EmbeddedStore::in_memory_with_clock(move || clock.read_store_time());
    let store = Arc::new(store.expect("memory for a store"));
    let site = Site { hub: Hub::new(&world), store, world: world.clone() };
    for number in 0..2 {
        tokio::spawn(site.clone().state(number));
        tokio::spawn(site.clone().worker(number));
        tokio::spawn(site.clone().watcher(number));
    }
    let clients: Vec<_> = (0..4).map(|it| tokio::spawn(site.clone().client(it))).collect();

    let faulty = async {
        loop {
            sleep(millis(2_000..10_000)).await;
            if world.strikes(world.faults.wipe) {
                site.hub.wipe();
            }
            if world.strikes(world.faults.jump) {
                world.jump(fastrand::i64(-60_000..60_000));
            }
        }
    };
    drop(tokio::time::timeout(millis(20_000..90_000), faulty).await);
    world.heal();
    for client in clients {
        if let Err(error) = client.await {
            world.history().wrong(None, format!("a client came to a bad end: {error}"));
        }
    }
    drain(&site).await;
}

/// Waits until everything has ended, and checks that it has.
async fn drain(site: &Site) {
    let world = &site.world;
    let healed = world.now();
    loop {
        sleep(Duration::from_secs(1)).await;
        let mut history = world.history();
        let open = history.operations().iter().find_map(|(id, operation)| {
            operation.current().filter(|record| !record.is_done()).map(|_| id.clone())
        });
        if history.has_failed() {
            return;
        }
        match open {
            None => break,
            Some(id) if world.now() > healed + PATIENCE => {
                return history.wrong(Some(&id), "it never ends".to_owned());
            }
            Some(_) => {}
        }
    }
    sleep(watcher::READ + Duration::from_secs(40)).await;
    world.history().check_watchers(WATCHERS);
    agrees(site).await;
}

/// Whether records, lists and timers are what they have to be after all that was committed.
async fn agrees(site: &Site) {
    let Ok((timed, None)) = site.store.sweep(&Sweep::default(), usize::MAX).await else {
        return site.world.history().wrong(None, "the store can't be swept".to_owned());
    };
    let mut listed = Vec::new();
    for parent in ["", "projects/p"] {
        let index = Index::In(Parent::parse(parent).unwrap_or_default());
        let all = site.store.list(&index, None, usize::MAX).await.unwrap_or_default();
        listed.extend(all.into_iter().flatten());
    }
    let active = site.store.list(&Index::AllActive, None, usize::MAX).await.unwrap_or_default();

    let mut history = site.world.history();
    let mut there = 0;
    let mut wrong = None;
    for (id, operation) in history.operations() {
        let Some(record) = operation.current() else { continue };
        there += 1;
        if !timed.contains(id) || !listed.iter().any(|stored| stored.record == *record) {
            wrong = Some(id.clone());
        }
    }
    if let Some(id) = wrong {
        history.wrong(Some(&id), "it has no timer, or is in no list".to_owned());
    }
    if there != listed.len() || !active.is_empty() {
        history.wrong(None, format!("{there} records, but {} listed", listed.len()));
    }
}
