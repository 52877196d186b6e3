//! What all of a simulation share: the clock, the faults of this seed, the history.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use longshore_core::{lifecycle::Rules, time::Time};
use tokio::time::Instant;

use crate::{Bug, history::History};

/// 2030-01-01, by the store's clock: far from where the machine's own clock is, so that whoever
/// decides by that one is found out.
pub(crate) const BEGINNING: i64 = 1_893_456_000_000_000;

/// How much later than it is [`World::store_time`] may say that it is.
pub(crate) const STORE_IS_AHEAD: Duration = Duration::from_millis(10);

pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) bug: Option<Bug>,
    pub(crate) faults: Faults,
    /// After the faults nothing that is published arrives: all has to be found out by reading.
    pub(crate) deaf: bool,
    start: Instant,
    faulty: AtomicBool,
    strict: AtomicBool,
    /// By how much the store's clock is off, in microseconds.
    offset: AtomicI64,
    /// How often it was read: no two readings are the same.
    readings: AtomicI64,
    /// The latest that it was read.
    latest: AtomicI64,
    serial: AtomicU64,
    irked: AtomicBool,
    lost_a_grant: AtomicBool,
    /// How many calls there were in this moment, and when it is.
    calls: Mutex<(Duration, u32)>,
    history: Mutex<History>,
}

/// So many calls in one moment are no work, but a loop.
const LOOP: u32 = 20_000;

impl World {
    /// The world of the seed that `fastrand` has.
    pub(crate) fn new(bug: Option<Bug>) -> Arc<Self> {
        let rules = Rules {
            lease: millis(2_000..20_000),
            cancel_grace: millis(1_000..15_000),
            hint_check: millis(1_000..15_000),
        };
        Arc::new(Self {
            rules,
            bug,
            faults: Faults::draw(),
            deaf: fastrand::u8(..4) == 0,
            start: Instant::now(),
            faulty: AtomicBool::new(true),
            strict: AtomicBool::new(false),
            offset: AtomicI64::new(0),
            readings: AtomicI64::new(0),
            latest: AtomicI64::new(0),
            serial: AtomicU64::new(0),
            irked: AtomicBool::new(false),
            lost_a_grant: AtomicBool::new(false),
            calls: Mutex::default(),
            history: Mutex::new(History::new(rules)),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The store's time, or a little later: the store never lets its clock go back.
    pub(crate) fn store_time(&self) -> Time {
        let latest = Time::from_micros(self.latest.load(Ordering::SeqCst));
        self.clock().max(latest) + STORE_IS_AHEAD
    }

    /// How long the store's time hardly passes, since its clock was put back.
    pub(crate) fn stands_still(&self) -> Duration {
        Time::from_micros(self.latest.load(Ordering::SeqCst)).since(self.clock())
    }

    /// The clock that the store has.
    fn clock(&self) -> Time {
        let passed = i64::try_from(self.now().as_micros()).unwrap_or(i64::MAX);
        let offset = self.offset.load(Ordering::SeqCst);
        Time::from_micros(BEGINNING + passed + offset + self.readings.load(Ordering::SeqCst) * 7)
    }

    pub(crate) fn read_store_time(&self) -> Time {
        self.readings.fetch_add(1, Ordering::SeqCst);
        let clock = self.clock().as_micros();
        // As the store does: while its clock was put back, its time hardly passes, but it does.
        let next = |latest: i64| clock.max(latest + 1);
        let update = |latest| Some(next(latest));
        let latest = self.latest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
        Time::from_micros(next(latest.unwrap_or_else(|latest| latest)))
    }

    /// Puts the store's clock forward, or back.
    pub(crate) fn jump(&self, millis: i64) {
        self.offset.fetch_add(millis * 1000, Ordering::SeqCst);
        let now = self.store_time();
        self.history().jumped(self.now(), now, millis);
    }

    /// Counts a call; whether they go on without end while no time passes.
    pub(crate) fn is_looping(&self) -> bool {
        let now = self.now();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls = if calls.0 == now { (now, calls.1 + 1) } else { (now, 0) };
        calls.1 > LOOP
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.faulty.load(Ordering::SeqCst)
    }

    /// No more faults from here on.
    pub(crate) fn heal(&self) {
        self.faulty.store(false, Ordering::SeqCst);
        self.note("all faults end");
    }

    /// From here on what may be late otherwise has to be in time.
    pub(crate) fn be_strict(&self) {
        self.strict.store(true, Ordering::SeqCst);
        let now = self.store_time();
        self.history().be_strict(now, self.deaf);
        self.note("from here on all is to be in time");
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict.load(Ordering::SeqCst)
    }

    /// Whether what is published gets nowhere now.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf && !self.is_faulty()
    }

    /// How late news may come once all has to be in time.
    pub(crate) fn lag(&self) -> Duration {
        if self.deaf { Duration::from_millis(13_000) } else { Duration::from_secs(3) }
    }

    /// Whether a fault of this probability is to happen now.
    pub(crate) fn strikes(&self, probability: f64) -> bool {
        self.is_faulty() && probability > 0.0 && fastrand::f64() < probability
    }

    /// Whether an event is not taken, although all is to be in time: the worker has to say it again.
    /// Never two in a row.
    pub(crate) fn irks(&self) -> bool {
        let irks = self.is_strict() && fastrand::u8(..6) == 0;
        let before = self.irked.swap(irks, Ordering::SeqCst);
        irks && !before
    }

    /// Whether the answer to a claim gets lost, although all is to be in time: once, and only if the
    /// lease is long enough for asking again.
    pub(crate) fn loses_a_grant(&self) -> bool {
        self.is_strict()
            && self.rules.lease > Duration::from_secs(6)
            && !self.lost_a_grant.swap(true, Ordering::SeqCst)
    }

    /// A number that was not given before.
    pub(crate) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.history().note(self.now(), None, text.into());
    }
}

/// How likely each fault is. Many are left out in each seed: what happens only while something
/// else does not would otherwise never be seen.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) lose: f64,
    pub(crate) double: f64,
    pub(crate) delay: f64,
    pub(crate) lose_request: f64,
    pub(crate) lose_answer: f64,
    pub(crate) enqueue_before: f64,
    pub(crate) enqueue_after: f64,
    pub(crate) lose_ack: f64,
    pub(crate) redeliver: f64,
    pub(crate) store_before: f64,
    pub(crate) store_after: f64,
    pub(crate) store_slow: f64,
    pub(crate) stale_due: f64,
    /// That a process dies within its next calls.
    pub(crate) crash: f64,
    /// That a process stands still for a while.
    pub(crate) stall: f64,
    /// That a process has no bus for a while.
    pub(crate) cut: f64,
    /// That the bus's storage is lost, each few seconds.
    pub(crate) wipe: f64,
    /// That the store's clock jumps, each few seconds.
    pub(crate) jump: f64,
}

impl Faults {
    fn draw() -> Self {
        let some = |most: f64| if fastrand::bool() { fastrand::f64() * most } else { 0.0 };
        Self {
            lose: some(0.4),
            double: some(0.4),
            delay: some(0.4),
            lose_request: some(0.3),
            lose_answer: some(0.3),
            enqueue_before: some(0.3),
            enqueue_after: some(0.3),
            lose_ack: some(0.4),
            redeliver: some(0.3),
            store_before: some(0.2),
            store_after: some(0.2),
            store_slow: some(0.2),
            stale_due: some(0.5),
            crash: some(0.8),
            stall: some(0.4),
            cut: some(0.4),
            wipe: some(0.3),
            jump: some(0.2),
        }
    }
}

/// A random span.
pub(crate) fn millis(range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}
