//! Processes: what one does to the world goes through its gate, where it may die.

use std::{
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::world::{World, millis};

/// One life of a process. A process that has died does nothing to the world any more: whichever
/// of its tasks comes to the gate stays there for ever.
pub(crate) struct Gate {
    pub(crate) name: String,
    pub(crate) dead: CancellationToken,
    world: Arc<World>,
    fate: Mutex<Fate>,
}

struct Fate {
    /// How many more times it gets through the gate alive.
    calls_left: Option<u32>,
    stalled_until: Instant,
    cut_until: Instant,
}

impl Gate {
    pub(crate) fn new(world: &Arc<World>, name: String) -> Arc<Self> {
        let calls_left = world.strikes(world.faults.crash).then(|| fastrand::u32(1..80));
        let now = Instant::now();
        world.note(format!("{name} starts"));
        Arc::new(Self {
            name,
            dead: CancellationToken::new(),
            world: world.clone(),
            fate: Mutex::new(Fate { calls_left, stalled_until: now, cut_until: now }),
        })
    }

    /// To be passed before and after everything that the world can notice.
    pub(crate) async fn pass(&self) {
        self.spend();
        if self.world.is_looping() {
            let what = format!("{} goes round and round while no time passes", self.name);
            self.world.history().wrong(None, what);
            self.die();
        }
        let until = self.fate().stalled_until;
        if until > Instant::now() {
            sleep_until(until).await;
        }
        if self.dead.is_cancelled() {
            pending::<()>().await;
        }
    }

    pub(crate) fn die(&self) {
        if !self.dead.is_cancelled() {
            self.dead.cancel();
            self.world.note(format!("{} dies", self.name));
            self.world.history().process_died(&self.name);
        }
    }

    /// Everything that it does from now on waits for some time.
    pub(crate) fn stall(&self, span: Duration) {
        self.world.note(format!("{} stands still for {span:?}", self.name));
        self.fate().stalled_until = Instant::now() + span;
    }

    /// It has no bus for some time.
    pub(crate) fn cut(&self, span: Duration) {
        self.world.note(format!("{} has no bus for {span:?}", self.name));
        self.fate().cut_until = Instant::now() + span;
    }

    /// When it has its bus again, if it has none now.
    pub(crate) fn cut_until(&self) -> Option<Instant> {
        let until = self.fate().cut_until;
        (until > Instant::now() && self.world.is_faulty()).then_some(until)
    }

    /// Stands still or loses the bus now and then, until it is dead.
    pub(crate) async fn suffer(&self) {
        while self.world.is_faulty() && !self.dead.is_cancelled() {
            tokio::time::sleep(millis(2_000..15_000)).await;
            if self.world.strikes(self.world.faults.stall) {
                self.stall(millis(100..30_000));
            }
            if self.world.strikes(self.world.faults.cut) {
                self.cut(millis(100..30_000));
            }
        }
    }

    fn spend(&self) {
        let mut fate = self.fate();
        let last = match &mut fate.calls_left {
            Some(left) if self.world.is_faulty() => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Some(_) | None => false,
        };
        drop(fate);
        if last {
            self.die();
        }
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
