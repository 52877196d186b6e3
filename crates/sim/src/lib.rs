//! Deterministic simulation: the code that ships, against a simulated clock, store and bus.
//!
//! One seed is one history of an installation: gateways, state replicas and workers, which run the
//! real API, ledger, state role and worker runtime, and their clients, while messages get lost,
//! doubled, delayed and reordered, processes die and come back, and the store fails before and
//! after it writes. Then all faults end, and everything has to come to its end. The same seed gives the same history.
//!
//! Gateways, state replicas and workers are processes; each may die between any two of its calls.
//! Clients call gateways, and whatever they are shown has to have been so between call and answer.
//!
//! It must never decide what is right by asking the lifecycle: `check` says it in other words.

mod bus;
mod check;
mod client;
mod drill;
mod end;
mod gate;
mod gateway;
mod history;
mod order;
mod roles;
mod store;
mod world;

use std::{
    cell::Cell,
    sync::{Arc, Once},
    time::Duration,
};

use longshore_state::embedded::EmbeddedStore;
use tokio::time::sleep;

use crate::{
    bus::Hub,
    roles::Site,
    world::{World, millis},
};

/// Bugs to be planted at the ports, to show that the checks bite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// The store commits whatever the revision is.
    NoFencing,
    /// The store keeps no timer for what is new.
    NoTimerOnSubmit,
    /// The store drops the timer of what changes.
    NoTimerOnUpdate,
    /// The store never finds anything due.
    NoTimers,
    /// The store says that it has committed before it has.
    AckBeforeCommit,
    /// The store reads from a copy that is behind.
    StaleReads,
    /// The store puts nothing into lists.
    ListsForgotten,
    /// The store takes nothing out of lists.
    ListsKept,
    /// Events are acknowledged before they are applied.
    EventAckedEarly,
    /// Events count for whichever attempt runs.
    NoAttempts,
    /// Progress gets nowhere.
    ProgressLost,
    /// Jobs go to workers of another type.
    QueuesMixedUp,
    /// A lost hint is never found out.
    HintsBelieved,
    /// Workers go on whatever becomes of their leases.
    LeaseIgnored,
    /// Workers count leases longer than they are.
    LeasesStretched,
    /// Nobody hears of changes, but has to read.
    AnnouncementsLost,
    /// Workers are not told to stop, but have to ask.
    InterruptsLost,
    /// Leases are not renewed.
    RenewalsLost,
    /// A repeated claim is another one.
    ClaimsRenumbered,
    /// Hints are acknowledged before anything is claimed.
    HintAckedEarly,
    /// A hint that is out is not found, and another one is sent.
    HintsDisbelieved,
    /// Nobody notices that the bus has lost its storage.
    WipeUnnoticed,
    /// Acknowledgements get nowhere.
    NothingSettled,
    /// What was written without an answer is acknowledged, although it may not last.
    NeverSettled,
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

/// How long the last consequences of faults may go on: pauses, messages on their way, cut buses.
const SETTLES: Duration = Duration::from_secs(45);

/// Runs a seed, on this thread.
pub fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    listen_for_panics();
    PANIC.take();
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
    let mut history = world.history();
    if let Some(panic) = PANIC.take() {
        history.wrong(None, panic);
    }
    let outcome = Outcome {
        failure: history.failure(),
        history: history.text(),
        operations: history.operations().len(),
    };
    drop(history);
    outcome
}

thread_local! {
    /// The first panic of the seed that runs on this thread. One in a task would go unnoticed.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// Makes panics known. Those of handlers are unwound without one, as they are played.
fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let first = PANIC.take().unwrap_or_else(|| panic.to_string());
            PANIC.set(Some(first));
            before(panic);
        }));
    });
}

async fn play(world: Arc<World>) {
    let clock = world.clone();
    let store = EmbeddedStore::in_memory_with_clock(move || clock.read_store_time());
    let store = Arc::new(store.expect("memory for a store"));
    let hub = Hub::new(&world);
    let site =
        Site { hub, store, world: world.clone(), doors: Arc::default(), processes: Arc::default() };
    for number in 0..2 {
        tokio::spawn(site.clone().state(number));
        tokio::spawn(site.clone().worker(number));
        tokio::spawn(site.clone().gateway(number));
    }
    let pause = Duration::from_secs(20);
    let clients = (0..4).map(|it| {
        let jobs = fastrand::usize(1..4);
        tokio::spawn(site.clone().client(format!("client-{it}"), jobs, pause))
    });
    let clients: Vec<_> = clients.collect();

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
    sleep(SETTLES).await;
    if !world.history().has_failed() {
        end::play(&site).await;
    }
}
