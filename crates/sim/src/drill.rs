//! What operators do, and what has to go unnoticed: nothing else goes wrong meanwhile.

use std::time::Duration;

use tokio::time::sleep;

use crate::{history::Debt, roles::Site, world::millis};

/// How long it takes at most until all processes are back.
const PATIENCE: Duration = Duration::from_secs(120);

impl Site {
    /// One of the drills, or none.
    pub(crate) async fn drill(self) {
        match fastrand::u8(..6) {
            0 => self.rolling_restart().await,
            1 => self.backlog().await,
            _ => {}
        }
    }

    /// Restarts one process after the other: calls are answered, work is handed back, and what was
    /// committed is told.
    async fn rolling_restart(&self) {
        self.world.note("a rolling restart begins");
        for role in ["state", "gateway", "worker"] {
            for number in 0..2 {
                sleep(millis(0..5_000)).await;
                let name = format!("{role}-{number}");
                self.processes.stop(&name);
                self.until(|| self.processes.is_up(&name), "a process does not come back").await;
            }
        }
    }

    /// Jobs wait for workers, and the bus loses their hints.
    async fn backlog(&self) {
        self.world.note("all workers stop");
        self.processes.rest(Some("worker"));
        let workers = ["worker-0", "worker-1"];
        for name in workers {
            self.processes.stop(name);
        }
        let stopped = || !workers.iter().any(|name| self.processes.lives(name));
        self.until(stopped, "a worker does not stop").await;
        self.hand_in("crowd".to_owned(), 6).await;
        sleep(millis(3_000..20_000)).await;
        self.hub.wipe();
        self.owe_hints();
        sleep(millis(5_000..10_000)).await;
        self.world.note("the workers come back");
        self.processes.rest(None);
    }

    /// The hints that got lost are to be sent again.
    fn owe_hints(&self) {
        let (at, now) = (self.world.now(), self.world.store_time());
        let mut history = self.world.history();
        for (id, hinted) in history.waiting(now) {
            history.owes(at + Duration::from_secs(4), &id, Debt::HintedAgain(hinted));
        }
    }

    async fn until(&self, holds: impl Fn() -> bool + Send, otherwise: &str) {
        let begun = self.world.now();
        while !holds() {
            sleep(Duration::from_millis(200)).await;
            if self.world.now() > begun + PATIENCE {
                return self.world.history().wrong(None, otherwise.to_owned());
            }
        }
    }
}
