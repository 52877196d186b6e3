//! Changes records on behalf of calls.
//!
//! What calls ask for while other changes are under way is done together in the next round: under
//! load a round trip to the store is for many of them, at rest none waits for others.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longshore_core::{
    lifecycle::Input,
    names::{OperationId, OperationName},
    telemetry,
};
use longshore_state::ledger::{self, Applied, Ledger};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{errors::Refusal, reads::bounded};

/// How many rounds of a lane may be under way at once.
const ROUNDS: usize = 2;
/// How many changes go into a round at most.
const TOGETHER: usize = 64;
/// How many rounds may be telling others at once.
const ROOM: usize = 1024;
/// How long it may take to tell others of one round.
const TELLING: Duration = Duration::from_secs(10);

/// Applies inputs, and tells others what came of it without making the client wait for that.
pub(crate) struct Changes {
    office: Arc<Office>,
    tasks: TaskTracker,
}

/// An input, and who waits for what comes of it.
struct Asked {
    id: OperationId,
    input: Input,
    answer: oneshot::Sender<Result<Arc<Applied>, Refusal>>,
}

/// What is to be changed of the operations of one lane.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Asked>,
    /// How many rounds are under way.
    rounds: usize,
}

struct Office {
    ledger: Arc<Ledger>,
    /// Those in which something waits or is under way.
    lanes: Mutex<BTreeMap<u16, Lane>>,
    room: Semaphore,
    limit: Duration,
    tasks: TaskTracker,
}

impl Changes {
    /// Changes that take at most so long each.
    pub(crate) fn new(ledger: Arc<Ledger>, limit: Duration) -> Self {
        let tasks = TaskTracker::new();
        let (lanes, room) = (Mutex::default(), Semaphore::new(ROOM));
        let office = Office { ledger, lanes, room, limit, tasks: tasks.clone() };
        Self { office: Arc::new(office), tasks }
    }

    /// Applies one input. It goes on even if the client hangs up meanwhile: a commit without its
    /// effects would have to wait for the timer.
    pub(crate) async fn apply(
        &self,
        id: OperationId,
        input: Input,
    ) -> Result<Arc<Applied>, Refusal> {
        let span = ledger::commit_span(&id);
        let lane = self.office.ledger.store().lane(&id);
        let (answer, answered) = oneshot::channel();
        if self.office.ask(lane, Asked { id, input, answer }) {
            let turn = Turn { office: Arc::clone(&self.office), lane, is_over: false };
            self.tasks.spawn(turn.serve());
        }
        let answered = async { answered.await.unwrap_or_else(|_| Err(Refusal::shutting_down())) };
        let applied = bounded(self.office.limit, answered.instrument(span)).await?;
        telemetry::concerns(&applied.record);
        Ok(applied)
    }

    /// Waits until others have been told everything.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Office {
    /// Takes an input, and says whether somebody has to serve the lane for it.
    fn ask(&self, lane: u16, asked: Asked) -> bool {
        let mut lanes = self.lanes();
        let lane = lanes.entry(lane).or_default();
        lane.waiting.push_back(asked);
        let is_free = lane.rounds < ROUNDS;
        lane.rounds += usize::from(is_free);
        is_free
    }

    /// Applies inputs and answers who asked. Returns what others are to be told. What takes too
    /// long is given up: it may have been written.
    async fn apply(&self, round: Vec<Asked>) -> Vec<Arc<Applied>> {
        let (inputs, answers): (Vec<_>, Vec<_>) =
            round.into_iter().map(|asked| ((asked.id, asked.input), asked.answer)).unzip();
        // Whoever asked does not wait for longer.
        let Ok(results) = timeout(self.limit, self.ledger.apply_all(inputs)).await else {
            return Vec::new();
        };
        let mut applied = Vec::with_capacity(results.len());
        for (answer, result) in answers.into_iter().zip(results) {
            let result = result.map(Arc::new).map_err(Refusal::from);
            applied.extend(result.iter().filter(|applied| !applied.effects.is_empty()).cloned());
            // Whoever asked may have gone.
            drop(answer.send(result));
        }
        applied
    }

    async fn tell(&self, applied: &[Arc<Applied>]) {
        if applied.is_empty() {
            return;
        }
        let Ok(_place) = self.room.try_acquire() else {
            return untold(applied, "too much to tell others; the timer will see to it");
        };
        if timeout(TELLING, self.ledger.perform_all(applied)).await.is_err() {
            untold(applied, "could not tell others in time; the timer will see to it");
        }
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<u16, Lane>> {
        // The map is whole at any moment, whoever panicked.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to go round after round for a lane.
struct Turn {
    office: Arc<Office>,
    lane: u16,
    is_over: bool,
}

impl Turn {
    async fn serve(mut self) {
        let mut next = self.next();
        while let Some(round) = next {
            let applied = self.office.apply(round).await;
            next = self.next();
            let office = Arc::clone(&self.office);
            let tell = async move { office.tell(&applied).await };
            if next.is_some() {
                self.office.tasks.spawn(tell);
            } else {
                tell.await;
            }
        }
    }

    /// What waits; if that is nothing, the turn is over.
    fn next(&mut self) -> Option<Vec<Asked>> {
        if self.is_over {
            return None;
        }
        let mut lanes = self.office.lanes();
        let lane = lanes.get_mut(&self.lane)?;
        let mut round = Vec::new();
        while round.len() < TOGETHER
            && let Some(asked) = lane.waiting.pop_front()
        {
            // Whoever does not wait any more was not answered: nothing need have been done.
            if !asked.answer.is_closed() {
                round.push(asked);
            }
        }
        if !round.is_empty() {
            return Some(round);
        }
        self.is_over = true;
        lane.rounds -= 1;
        if lane.rounds == 0 {
            lanes.remove(&self.lane);
        }
        None
    }
}

impl Drop for Turn {
    /// Others must be able to go on, however this ended.
    fn drop(&mut self) {
        if !self.is_over
            && let Some(lane) = self.office.lanes().get_mut(&self.lane)
        {
            lane.rounds -= 1;
        }
    }
}

fn untold(applied: &[Arc<Applied>], why: &'static str) {
    for applied in applied {
        let operation: OperationName = applied.record.name();
        tracing::warn!(%operation, trace_id = applied.record.job.trace.trace_id(), why);
    }
}

#[cfg(test)]
mod tests {
    use longshore_bus::local::LocalBus;
    use longshore_core::{lifecycle::Rules, names::Parent};
    use longshore_state::embedded::EmbeddedStore;

    use super::*;

    type Answer = oneshot::Receiver<Result<Arc<Applied>, Refusal>>;

    fn office() -> Arc<Office> {
        let (store, bus) = (EmbeddedStore::in_memory().unwrap(), LocalBus::new());
        let ledger = Ledger::new(Arc::new(store), Arc::new(bus), Rules::default());
        Changes::new(Arc::new(ledger), Duration::from_secs(60)).office
    }

    /// Asks for something in a lane; whether that begins a round, and where the answer comes.
    fn ask(office: &Office, lane: u16) -> (bool, Answer) {
        let (answer, answered) = oneshot::channel();
        let input = Input::Cancel { parent: Parent::default() };
        (office.ask(lane, Asked { id: OperationId::random(), input, answer }), answered)
    }

    fn turn(office: &Arc<Office>, lane: u16) -> Turn {
        Turn { office: Arc::clone(office), lane, is_over: false }
    }

    fn next(turn: &mut Turn) -> Option<usize> {
        turn.next().map(|round| round.len())
    }

    #[test]
    fn what_waits_goes_together_and_no_lane_holds_up_another() {
        let office = office();
        let asked: Vec<(bool, Answer)> = (0..100).map(|_| ask(&office, 0)).collect();
        let begun = asked.iter().filter(|(begins, _)| *begins).count();
        assert_eq!(begun, ROUNDS, "no more rounds than that, however much waits");
        assert!(ask(&office, 1).0, "another lane has rounds of its own");
        let (mut first, mut second) = (turn(&office, 0), turn(&office, 0));
        assert_eq!(next(&mut first), Some(TOGETHER));
        assert_eq!(next(&mut second), Some(100 - TOGETHER));
        assert_eq!((next(&mut first), next(&mut second)), (None, None));
        assert!(!office.lanes().contains_key(&0), "a lane at rest is forgotten");
        assert!(ask(&office, 0).0);
    }

    #[test]
    fn what_nobody_waits_for_is_not_done() {
        let office = office();
        let (_, gone) = ask(&office, 0);
        let (_, _stays) = ask(&office, 0);
        drop(gone);
        assert_eq!(next(&mut turn(&office, 0)), Some(1));
    }

    #[test]
    fn a_round_that_fails_keeps_no_others_from_theirs() {
        let office = office();
        let _asked: Vec<(bool, Answer)> = (0..ROUNDS).map(|_| ask(&office, 0)).collect();
        for _ in 0..ROUNDS {
            let mut turn = turn(&office, 0);
            turn.next();
            // As by a panic.
            drop(turn);
        }
        assert!(ask(&office, 0).0);
    }
}
