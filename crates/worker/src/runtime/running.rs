//! What runs here at the moment, and for how long it may.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longshore_core::names::OperationId;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The shortest pause between two renewals, whatever the leases.
pub(super) const SOONEST: Duration = Duration::from_millis(50);
/// How many interrupts are kept that came before the grant that they are for.
const EARLY: usize = 256;

/// For how long an attempt is the worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// Until then, by the worker's own clock, unless it is renewed.
    Until(Instant),
    /// No more.
    Lost,
}

/// A lease as the state role gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    /// When it was asked for: it is counted from there, so that it never ends here later than there.
    pub(super) asked: Instant,
    /// How long it is.
    pub(super) span: Duration,
}

impl Given {
    /// Work stops some time before the end, as stopping takes time as well.
    fn until(self) -> Instant {
        let margin = (self.span / 10).max(Duration::from_millis(100)).min(self.span / 2);
        self.asked + (self.span - margin)
    }

    fn renew_at(self) -> Instant {
        self.asked + (self.span / 3).max(SOONEST)
    }
}

/// The attempts that run here or wait for their slots, at most one of an operation.
#[derive(Default)]
pub(super) struct Running {
    state: Mutex<State>,
    /// There is a new attempt, whose renewal is due before all others.
    entered: Notify,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<OperationId, Entry>,
    /// Until when nobody looks whether a renewal is due; unless a sooner one enters.
    next_look: Option<Instant>,
    /// An interrupt can overtake the answer to the claim.
    early: VecDeque<(OperationId, u32)>,
    /// How many attempts have begun to run, by job type.
    started: BTreeMap<String, u64>,
}

/// What runs, and what has been started, for operators.
pub(super) struct Tally {
    pub(super) running: Vec<Attempt>,
    pub(super) started: BTreeMap<String, u64>,
}

/// An attempt that runs.
pub(super) struct Attempt {
    pub(super) id: OperationId,
    pub(super) attempt: u32,
    pub(super) job_type: String,
    pub(super) since: Instant,
}

struct Entry {
    attempt: u32,
    job_type: String,
    /// Since when it runs; none if it waits for its slot.
    since: Option<Instant>,
    span: Duration,
    /// None once it is lost: there is nothing to renew.
    renew_at: Option<Instant>,
    lease: watch::Sender<Lease>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

/// An attempt's place among those that are here. Dropping it says that its work has stopped.
pub(super) struct Tenure {
    running: Arc<Running>,
    id: OperationId,
    attempt: u32,
    lease: watch::Receiver<Lease>,
    /// Somebody asked for the attempt to stop.
    pub(super) cancel: CancellationToken,
    ended: CancellationToken,
}

impl Running {
    /// Enters an attempt, once an earlier one of the same operation has stopped; `None` if the
    /// attempt, or a later one, is here already.
    pub(super) async fn enter(
        self: &Arc<Self>,
        id: &OperationId,
        attempt: u32,
        job_type: &str,
        given: Given,
    ) -> Option<Tenure> {
        loop {
            let ended = {
                let mut state = self.state();
                match state.entries.get(id) {
                    None => {
                        let entry = Entry {
                            attempt,
                            job_type: job_type.to_owned(),
                            since: None,
                            span: given.span,
                            renew_at: Some(given.renew_at()),
                            lease: watch::Sender::new(Lease::Until(given.until())),
                            cancel: CancellationToken::new(),
                            ended: CancellationToken::new(),
                        };
                        let tenure = Tenure {
                            running: self.clone(),
                            id: id.clone(),
                            attempt,
                            lease: entry.lease.subscribe(),
                            cancel: entry.cancel.clone(),
                            ended: entry.ended.clone(),
                        };
                        if state.early.iter().any(|early| (&early.0, early.1) == (id, attempt)) {
                            entry.cancel.cancel();
                        }
                        // As leases are mostly of one length, most are due after those before.
                        if state.next_look.is_none_or(|look| given.renew_at() < look) {
                            self.entered.notify_one();
                        }
                        state.entries.insert(id.clone(), entry);
                        return Some(tenure);
                    }
                    Some(entry) if entry.attempt >= attempt => return None,
                    Some(earlier) => {
                        earlier.lease.send_replace(Lease::Lost);
                        earlier.ended.clone()
                    }
                }
            };
            ended.cancelled().await;
        }
    }

    /// What runs now, and what has been started.
    pub(super) fn tally(&self) -> Tally {
        let state = self.state();
        let attempt = |(id, entry): (&OperationId, &Entry)| {
            Some(Attempt {
                id: id.clone(),
                attempt: entry.attempt,
                job_type: entry.job_type.clone(),
                since: entry.since?,
            })
        };
        Tally {
            running: state.entries.iter().filter_map(attempt).collect(),
            started: state.started.clone(),
        }
    }

    /// Waits until a renewal is due, and returns all that there is to renew, with the shortest of
    /// the leases.
    pub(super) async fn due(&self) -> (Vec<(OperationId, u32)>, Duration) {
        loop {
            let next = self.look();
            match next {
                None => self.entered.notified().await,
                Some(at) if at <= Instant::now() => break,
                Some(at) => tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = self.entered.notified() => {}
                },
            }
        }
        let state = self.state();
        let kept = || state.entries.iter().filter(|(_, entry)| entry.renew_at.is_some());
        let shortest = kept().map(|(_, entry)| entry.span).min().unwrap_or_default();
        (kept().map(|(id, entry)| (id.clone(), entry.attempt)).collect(), shortest)
    }

    /// When the next renewal is due; until then nobody looks again.
    fn look(&self) -> Option<Instant> {
        let mut state = self.state();
        state.next_look = state.entries.values().filter_map(|entry| entry.renew_at).min();
        state.next_look
    }

    /// The lease goes on.
    pub(super) fn renewed(&self, id: &OperationId, attempt: u32, given: Given) {
        self.change(id, attempt, |entry| {
            entry.span = given.span;
            entry.renew_at = Some(given.renew_at());
            entry.lease.send_replace(Lease::Until(given.until()));
        });
    }

    /// The lease could not be renewed; it is to be tried again then.
    pub(super) fn postponed(&self, id: &OperationId, attempt: u32, renew_at: Instant) {
        self.change(id, attempt, |entry| entry.renew_at = Some(renew_at));
    }

    /// The attempt is not the worker's any more.
    pub(super) fn lost(&self, id: &OperationId, attempt: u32) {
        self.change(id, attempt, |entry| {
            entry.renew_at = None;
            entry.lease.send_replace(Lease::Lost);
        });
    }

    /// Somebody asked for the attempt to stop.
    pub(super) fn cancel(&self, id: &OperationId, attempt: u32) {
        let mut state = self.state();
        match state.entries.get(id).filter(|entry| entry.attempt == attempt) {
            Some(entry) => entry.cancel.cancel(),
            None => {
                state.early.truncate(EARLY - 1);
                state.early.push_front((id.clone(), attempt));
            }
        }
    }

    fn change(&self, id: &OperationId, attempt: u32, change: impl FnOnce(&mut Entry)) {
        let mut state = self.state();
        if let Some(entry) = state.entries.get_mut(id).filter(|entry| entry.attempt == attempt) {
            change(entry);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and each change is complete by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenure {
    /// The attempt begins to run.
    pub(super) fn begin(&self) {
        let mut state = self.running.state();
        let State { entries, started, .. } = &mut *state;
        if let Some(entry) = entries.get_mut(&self.id) {
            entry.since = Some(Instant::now());
            *started.entry(entry.job_type.clone()).or_default() += 1;
        }
    }

    /// Completes when the work has to stop because the attempt is, or may be, another worker's.
    pub(super) async fn over(&mut self) {
        loop {
            let lease = *self.lease.borrow_and_update();
            let Lease::Until(end) = lease else { return };
            tokio::select! {
                biased;
                () = sleep_until(end) => return,
                changed = self.lease.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Completes when the attempt is not the worker's for certain, so that nobody wants to know
    /// any more what became of it.
    pub(super) async fn lost(&mut self) {
        // An error says that the entry is gone, which it isn't before this is dropped.
        drop(self.lease.wait_for(|lease| *lease == Lease::Lost).await);
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        let mut state = self.running.state();
        if state.entries.get(&self.id).is_some_and(|entry| entry.attempt == self.attempt) {
            state.entries.remove(&self.id);
        }
        drop(state);
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn given(millis: u64) -> Given {
        Given { asked: Instant::now(), span: Duration::from_millis(millis) }
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_early_and_go_on_when_renewed() {
        let running = Arc::new(Running::default());
        let id = OperationId::random();
        let start = Instant::now();
        let mut tenure = running.enter(&id, 1, "work", given(30_000)).await.unwrap();

        assert_eq!(running.due().await, (vec![(id.clone(), 1)], Duration::from_secs(30)));
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        running.renewed(&id, 1, given(30_000));
        tenure.over().await;
        assert_eq!(start.elapsed(), Duration::from_secs(37));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_attempt_enters_once() {
        let running = Arc::new(Running::default());
        let id = OperationId::random();
        let tenure = running.enter(&id, 2, "work", given(1000)).await.unwrap();
        assert!(running.enter(&id, 2, "work", given(1000)).await.is_none());
        assert!(running.enter(&id, 1, "work", given(1000)).await.is_none());
        drop(tenure);
        assert!(running.enter(&id, 3, "work", given(1000)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_may_come_before_the_grant() {
        let running = Arc::new(Running::default());
        let id = OperationId::random();
        for attempt in 0..1000 {
            running.cancel(&id, attempt);
        }
        assert_eq!(running.state().early.len(), EARLY);
        assert!(running.enter(&id, 999, "work", given(1000)).await.unwrap().cancel.is_cancelled());
        assert!(!running.enter(&id, 1, "work", given(1000)).await.unwrap().cancel.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_attempt_waits_until_the_earlier_has_stopped() {
        let running = Arc::new(Running::default());
        let id = OperationId::random();
        let mut earlier = running.enter(&id, 1, "work", given(1000)).await.unwrap();
        let mut later = Box::pin(running.enter(&id, 2, "work", given(1000)));
        assert!(later.as_mut().now_or_never().is_none());
        earlier.over().await;
        assert!(later.as_mut().now_or_never().is_none(), "it is told to stop, but has not");
        drop(earlier);
        assert!(later.await.is_some());
    }
}
