//! The shell around the lifecycle: load, step, commit if the revision is unchanged (else load
//! again), then perform the effects. Every change of a record goes through here.

mod untold;

use std::{borrow::Borrow, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::{future::join_all, join};
use longshore_bus::{self as bus, Bus, Message, subjects};
use longshore_core::{
    codec,
    index::Presence,
    lifecycle::{Effect, Input, Rejection, Rules, Step, Write, step},
    names::{OperationId, WorkerInstance},
    record::{Record, TraceContext},
    telemetry::{self, Before, metrics},
    time::Time,
};
use longshore_proto::internal as pb;
use tracing::{Instrument, Span};

use self::untold::Untold;
use crate::store::{self, After, Change, Loaded, Store, Verdict};

/// How often a change is tried before the operation counts as contended.
const TRIES: usize = 16;

/// Why an input was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lifecycle does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Others changed the operation again and again in between.
    #[error("{0} changes too often")]
    Contended(OperationId),
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The record as it is now; as it last was, if it is gone.
    pub record: Record,
    /// Its revision.
    pub revision: u64,
    /// What was written.
    pub write: Write,
    /// What is to be told to others: for [`Ledger::perform`].
    pub effects: Vec<Effect>,
    /// The record as others are told of it, if it was written and is to be seen: encoded without
    /// its job's input. No client sees that, and with a large response it might be too large for
    /// the bus.
    told: Option<Bytes>,
    /// The store's time.
    pub now: Time,
}

/// The way to every record.
pub struct Ledger {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    rules: Rules,
    untold: Untold,
}

impl Ledger {
    /// A ledger over a store, which tells others by a bus.
    pub fn new(store: Arc<dyn Store>, bus: Arc<dyn Bus>, rules: Rules) -> Self {
        Self { store, bus, rules, untold: Untold::default() }
    }

    /// The store beneath, for reading.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The bus that effects go by.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// The spans of the lifecycle.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Applies one input. Its effects are left to the caller: [`Ledger::perform`].
    ///
    /// # Errors
    /// After [`Error::Store`] the change may have been written; repeating the input is safe.
    pub async fn apply(&self, id: OperationId, input: Input) -> Result<Applied, Error> {
        let contended = Error::Contended(id.clone());
        let span = commit_span(&id);
        let mut answers = self.apply_all(vec![(id, input)]).instrument(span).await;
        answers.pop().unwrap_or(Err(contended))
    }

    /// Applies inputs with as few round trips as there can be, one answer for each in their
    /// order. Inputs for the same operation are applied one after the other.
    pub async fn apply_all(
        &self,
        inputs: Vec<(OperationId, Input)>,
    ) -> Vec<Result<Applied, Error>> {
        let mut answers: Vec<Option<Result<Applied, Error>>> =
            inputs.iter().map(|_| None).collect();
        let mut open: VecDeque<Open> = inputs
            .into_iter()
            .enumerate()
            .map(|(place, (id, input))| Open { place, id, input, tries: 0 })
            .collect();
        while !open.is_empty() {
            for (place, answer) in self.round(&mut open).await {
                answers[place] = Some(answer);
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// One load and one commit for the first open input of each operation.
    async fn round(&self, open: &mut VecDeque<Open>) -> Vec<(usize, Result<Applied, Error>)> {
        let batch = first_of_each(open);
        let ids: Vec<OperationId> = batch.iter().map(|open| open.id.clone()).collect();
        let mut answers = Vec::with_capacity(batch.len());
        let mut decided = Vec::with_capacity(batch.len());
        let mut changes = Vec::with_capacity(batch.len());
        let mut kept = Vec::new();
        for (item, loaded) in batch.into_iter().zip(self.store.load(&ids).await) {
            match loaded.map_err(Error::from).and_then(|loaded| self.decide(&item, loaded)) {
                Ok(Decided { before, applied, change: Some(change) }) => {
                    changes.push(change);
                    decided.push((item, applied, before));
                }
                Ok(Decided { applied, change: None, .. }) => kept.push((item, applied)),
                Err(error) => answers.push((item.place, Err(error))),
            }
        }
        answers.extend(self.keep(kept).await);
        if changes.is_empty() {
            return answers;
        }
        for ((mut item, applied, before), verdict) in
            decided.into_iter().zip(self.store.commit(changes).await)
        {
            match verdict {
                Ok(Verdict::Committed) => {
                    let Applied { record, write, effects, now, .. } = &applied;
                    metrics().changed(before, &item.input, record, *write, effects, *now);
                    answers.push((item.place, Ok(applied)));
                }
                Ok(Verdict::Conflict) if item.tries + 1 < TRIES => {
                    metrics().conflict();
                    item.tries += 1;
                    open.push_front(item);
                }
                Ok(Verdict::Conflict) => answers.push((item.place, Err(Error::Contended(item.id)))),
                Err(error) => answers.push((item.place, Err(error.into()))),
            }
        }
        answers
    }

    /// Answers those for whom all is as they want it already. A client is told so only once that
    /// lasts: the commit that brought it about may have been its own, unanswered one.
    async fn keep(&self, kept: Vec<(Open, Applied)>) -> Vec<(usize, Result<Applied, Error>)> {
        let is_clients = |input: &Input| {
            matches!(
                input,
                Input::Submit(_)
                    | Input::Cancel { .. }
                    | Input::Delete { .. }
                    | Input::Unqueue { .. }
            )
        };
        let mut answers = Vec::with_capacity(kept.len());
        for (item, applied) in kept {
            let settled = if is_clients(&item.input) { self.store.settle().await } else { Ok(()) };
            answers.push((item.place, settled.map(|()| applied).map_err(Error::from)));
        }
        answers
    }

    fn decide(&self, item: &Open, loaded: Loaded) -> Result<Decided, Error> {
        let Loaded { now, stored } = loaded;
        let (expected, record) = stored.map(|stored| (stored.revision, stored.record)).unzip();
        let was = record.as_ref().map_or(Presence::ABSENT, Presence::of);
        let before = record.as_ref().map(Before::of);
        let was_due = record.as_ref().map(Record::next_wake);
        let Step { record, write, effects } = step(record, item.input.clone(), now, &self.rules)
            .inspect_err(|rejection| {
                if *rejection == Rejection::Stale {
                    metrics().fenced();
                }
            })?;

        // From the clock for a new record: one that comes again under the same id goes on from
        // where the one before ended.
        let first = u64::try_from(now.as_micros()).unwrap_or(0);
        let revision = match write {
            Write::Keep => expected.unwrap_or(first),
            Write::Put | Write::Remove => expected.map_or(first, |revision| revision + 1),
        };
        let mut told = None;
        let (after, presence) = match write {
            Write::Keep => {
                let applied = Applied { record, revision, write, effects, told: None, now };
                return Ok(Decided { before, applied, change: None });
            }
            Write::Put => {
                let (bytes, shorter) = codec::encode_both(&record);
                told = (!record.deleted).then_some(shorter);
                (
                    After::Record { revision, bytes, next_wake: record.next_wake() },
                    Presence::of(&record),
                )
            }
            Write::Remove => (After::Nothing, Presence::ABSENT),
        };
        let change = Change {
            id: item.id.clone(),
            expected,
            was_due,
            after,
            create_time: record.create_time,
            lists: was.changes(presence, &record),
        };
        let applied = Applied { record, revision, write, effects, told, now };
        Ok(Decided { before, applied, change: Some(change) })
    }

    /// Tells others what was written. What can't be told now is logged and left to the timer.
    pub async fn perform(&self, applied: &Applied) {
        self.perform_all(std::slice::from_ref(applied)).await;
    }

    /// Tells others what was written together, with as few messages as there can be.
    pub async fn perform_all(&self, applied: &[impl Borrow<Applied> + Sync]) {
        // First those who wait for an end, then who is to work.
        let applied: Vec<&Applied> = applied.iter().map(Borrow::borrow).collect();
        self.announce(&applied).await;
        let interrupts = applied.iter().flat_map(|applied| {
            applied.effects.iter().filter_map(|effect| match effect {
                Effect::Interrupt { worker, attempt } => {
                    Some(self.interrupt(&applied.record, worker, *attempt))
                }
                Effect::Dispatch { .. } | Effect::Announce => None,
            })
        });
        join!(self.dispatch(&applied), join_all(interrupts));
    }

    async fn announce(&self, applied: &[&Applied]) {
        let mut changes = pb::Changes::default();
        let mut size = 0;
        for applied in applied.iter().filter(|applied| applied.effects.contains(&Effect::Announce))
        {
            let (id, revision) = (applied.record.id.to_string(), applied.revision);
            let changed = pb::Changed { id, revision, record: applied.told.clone() };
            let more = changed.record.as_ref().map_or(0, Bytes::len) + OVERHEAD;
            if size + more > ANNOUNCEMENT && size > 0 {
                self.publish(std::mem::take(&mut changes)).await;
                size = 0;
            }
            size += more;
            changes.changes.push(changed);
        }
        if size > 0 {
            self.publish(changes).await;
        }
    }

    async fn publish(&self, changes: pb::Changes) {
        let message = message(subjects::CHANGES.to_owned(), TraceContext::default(), &changes);
        if let Err(error) = self.bus.publish(message).await {
            metrics().untold("announce");
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                changes = changes.changes.len(),
                error,
                "could not announce; whoever waits reads again"
            );
        }
    }

    /// Sends hints, those together that come together.
    async fn dispatch(&self, applied: &[&Applied]) {
        let mut hints = Vec::new();
        let mut hinted = Vec::new();
        for Applied { record, effects, .. } in applied {
            for effect in effects {
                let Effect::Dispatch { queue, priority, time } = effect else { continue };
                let hint = pb::Hint { id: record.id.to_string(), time: time.as_micros() };
                let subject = subjects::job(queue, *priority);
                let span = sending(record, &subject);
                let trace = telemetry::context_of(&span, &record.job.trace);
                hints.push(message(subject, trace, &hint));
                hinted.push((record, span));
            }
        }
        if hints.is_empty() {
            return;
        }
        let Err(error) = self.bus.enqueue_all(&hints).await else { return };
        if matches!(error, bus::Error::Unavailable { .. }) {
            hints.into_iter().for_each(|hint| self.untold.send_later(&self.bus, hint));
        }
        for (record, _) in hinted {
            log_untold(record, "dispatch", &error);
        }
    }

    async fn interrupt(&self, record: &Record, worker: &WorkerInstance, attempt: u32) {
        let interrupt = pb::Interrupt { id: record.id.to_string(), attempt };
        let subject = subjects::interrupt(worker);
        let message = message(subject, TraceContext::default(), &interrupt);
        if let Err(error) = self.bus.publish(message).await {
            log_untold(record, "interrupt", &error);
        }
    }
}

/// The commit as a part of the trace of the call that waits for it.
pub fn commit_span(id: &OperationId) -> Span {
    tracing::debug_span!("commit", otel.kind = "client", operation = %id)
}

/// How many bytes of records go into one announcement; one larger record goes alone.
const ANNOUNCEMENT: usize = 128 * 1024;
/// What a record in an announcement takes besides its own bytes, at most.
const OVERHEAD: usize = 96;

struct Open {
    place: usize,
    id: OperationId,
    input: Input,
    tries: usize,
}

/// What an input comes to.
struct Decided {
    before: Option<Before>,
    applied: Applied,
    /// What has to be written for it.
    change: Option<Change>,
}

/// Takes the first input of each operation, and leaves the others for a later round.
fn first_of_each(open: &mut VecDeque<Open>) -> Vec<Open> {
    let mut seen = std::collections::HashSet::new();
    let (batch, later): (Vec<Open>, Vec<Open>) =
        open.drain(..).partition(|item| seen.insert(item.id.clone()));
    open.extend(later);
    batch
}

fn message(subject: String, trace: TraceContext, payload: &impl prost::Message) -> Message {
    Message { subject, trace, payload: payload.encode_to_vec().into() }
}

/// The sending of a hint as a part of the operation's trace, whenever it happens.
fn sending(record: &Record, subject: &str) -> Span {
    let span = tracing::debug_span!(
        "enqueue",
        otel.kind = "producer",
        messaging.operation.type = "send",
        messaging.destination.name = subject,
        operation = %record.id,
    );
    telemetry::follow(&span, &record.job.trace);
    span
}

fn log_untold(record: &Record, effect: &'static str, error: &bus::Error) {
    metrics().untold(effect);
    tracing::warn!(
        operation = %record.name(),
        attempt = record.attempt,
        trace_id = record.job.trace.trace_id(),
        effect,
        error = error as &dyn std::error::Error,
        "could not tell; the timer will see to it"
    );
}
