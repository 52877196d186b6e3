//! Changes records on behalf of calls.

use std::{sync::Arc, time::Duration};

use longshore_core::{
    lifecycle::Input,
    names::{OperationId, OperationName},
    telemetry,
};
use longshore_state::ledger::{Applied, Ledger};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{errors::Refusal, reads::bounded};

/// How many changes may be told to others at once.
const ROOM: usize = 1024;
/// How long it may take to tell others of one change.
const TELLING: Duration = Duration::from_secs(10);

/// Applies inputs, and tells others what came of it without making the client wait for that.
pub(crate) struct Changes {
    ledger: Arc<Ledger>,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    limit: Duration,
}

impl Changes {
    /// Changes that take at most so long each.
    pub(crate) fn new(ledger: Arc<Ledger>, limit: Duration) -> Self {
        Self { ledger, tasks: TaskTracker::new(), room: Arc::new(Semaphore::new(ROOM)), limit }
    }

    /// Applies one input. It goes on even if the client hangs up meanwhile: a commit without its
    /// effects would have to wait for the timer.
    pub(crate) async fn apply(
        &self,
        id: OperationId,
        input: Input,
    ) -> Result<Arc<Applied>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let ledger = Arc::clone(&self.ledger);
        let room = Arc::clone(&self.room);
        let limit = self.limit;
        let work = async move {
            let applied = bounded(limit, ledger.apply(id, input)).await.map(Arc::new);
            if let Ok(applied) = &applied {
                telemetry::concerns(&applied.record);
            }
            let told = applied.clone();
            // Whoever asked may have gone.
            drop(answer.send(applied));
            if let Ok(applied) = told {
                tell(&ledger, &room, &applied).await;
            }
        };
        self.tasks.spawn(work.in_current_span());
        answered.await.unwrap_or_else(|_| Err(Refusal::shutting_down()))
    }

    /// Waits until others have been told everything.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn tell(ledger: &Ledger, room: &Semaphore, applied: &Applied) {
    if applied.effects.is_empty() {
        return;
    }
    let Ok(_place) = room.try_acquire() else {
        let (operation, trace_id) = about(applied);
        tracing::warn!(%operation, trace_id, "too much to tell others; the timer will see to it");
        return;
    };
    if timeout(TELLING, ledger.perform(applied)).await.is_err() {
        let (operation, trace_id) = about(applied);
        tracing::warn!(%operation, trace_id, "could not tell others in time; the timer will see to it");
    }
}

fn about(applied: &Applied) -> (OperationName, &str) {
    (applied.record.name(), applied.record.job.trace.trace_id())
}
