//! What happened, in order, and what is wrong with it.
//!
//! Whatever the world does is told to the history in the moment in which it happens, and is judged
//! there and then: by [`check`](crate::check) if it changes a record, else here.

mod owed;
mod runs;
mod seen;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use longshore_core::{
    codec,
    lifecycle::Rules,
    names::OperationId,
    record::{Record, State},
    time::Time,
};
use longshore_proto::{internal::event, v1::RunJobRequest};
use longshore_state::store::{After, Change};
use prost::Message;
use prost_types::Struct;

use crate::{
    check,
    order::{number, number_in},
};

/// How many lines a shortened history has at most.
const SHORT: usize = 80;

pub(crate) use owed::Debt;
use owed::{LONGEST_GRACE, SOON};
pub(crate) use runs::{Ended, Limits, Started};
pub(crate) use seen::Listing;

pub(crate) struct History {
    rules: Rules,
    lines: Vec<Line>,
    operations: BTreeMap<OperationId, Operation>,
    /// The store's time after the last forward jump of its clock. Who was given a lease before may
    /// go on beyond its end.
    jumped: Time,
    /// How many changes there were.
    ticks: u64,
    /// What clients asked for, by the number that the job's input is.
    pub(crate) orders: BTreeMap<u64, RunJobRequest>,
    /// Which operation each of them became.
    made: BTreeMap<u64, OperationId>,
    /// The changes that were written without an answer, and not confirmed since: they may not last.
    unsettled: BTreeSet<(OperationId, u64)>,
    /// Since when, by the store's clock, everything has to be in time.
    strict: Option<Time>,
    /// Nothing that is published arrives then.
    deaf: bool,
    owed: Vec<owed::Owed>,
    failure: Option<Failure>,
}

struct Line {
    at: Duration,
    id: Option<OperationId>,
    text: String,
}

/// What is wrong, and with which operation.
struct Failure {
    id: Option<OperationId>,
    what: String,
    /// How many lines of the history lead to it.
    lines: usize,
}

/// What is known about an operation.
#[derive(Default)]
pub(crate) struct Operation {
    /// All that it ever was, by revision; `None` where it was removed.
    pub(crate) versions: BTreeMap<u64, Option<Record>>,
    /// What attempts reported: attempt, claim, event.
    pub(crate) reported: Vec<(u32, u64, event::Event)>,
    /// Each change, in order.
    log: Vec<Logged>,
    pub(crate) cancel_tried: bool,
    pub(crate) delete_tried: bool,
    /// The store's time when each attempt was claimed, by input and attempt.
    claimed: BTreeMap<(u64, u32), Time>,
    /// The handlers that run.
    runs: Vec<runs::Run>,
    /// How handlers ended.
    ended: Vec<runs::Known>,
    /// The times of the hints that were sent.
    hinted: BTreeSet<Time>,
    /// How many hints are out.
    hints_out: usize,
    /// The revisions that were announced.
    announced: BTreeSet<u64>,
    /// The attempts whose workers were told to stop.
    interrupted: BTreeSet<u32>,
}

struct Logged {
    /// How many changes there were before.
    tick: u64,
    at: Duration,
    /// The store's time.
    now: Time,
    revision: u64,
}

impl Operation {
    /// The record as it is.
    pub(crate) fn current(&self) -> Option<&Record> {
        self.at(self.log.last()?)
    }

    /// What it was when there had been so many changes, and all that it has been since.
    fn since(&self, tick: u64) -> impl Iterator<Item = Option<&Record>> {
        self.revisions_since(tick).map(|(_, record)| record)
    }

    /// The same with the revisions; 0 before the first.
    fn revisions_since(&self, tick: u64) -> impl Iterator<Item = (u64, Option<&Record>)> {
        let later = self.log.partition_point(|logged| logged.tick < tick);
        let before = later.checked_sub(1).map(|place| &self.log[place]);
        let first = before.map_or((0, None), |logged| (logged.revision, self.at(logged)));
        let later = self.log[later..].iter();
        std::iter::once(first).chain(later.map(|logged| (logged.revision, self.at(logged))))
    }

    fn at(&self, logged: &Logged) -> Option<&Record> {
        self.versions.get(&logged.revision)?.as_ref()
    }

    /// Whether a job was handed in before the one that had its request id was deleted, and is
    /// committed only after that: then it is new, with the revision of the time it was read at.
    fn is_overtaken(&self, after: Option<&Record>) -> bool {
        let Some(Logged { now, .. }) = self.log.last() else { return false };
        self.current().is_none() && after.is_some_and(|after| after.create_time <= *now)
    }

    /// When it ended, if it has.
    fn done_at(&self) -> Option<Duration> {
        let done = |logged: &&Logged| self.at(logged).is_some_and(Record::is_done);
        self.current().filter(|record| record.is_done())?;
        self.log.iter().rev().take_while(done).last().map(|logged| logged.at)
    }
}

impl History {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            lines: Vec::new(),
            operations: BTreeMap::new(),
            jumped: Time::default(),
            ticks: 0,
            orders: BTreeMap::new(),
            made: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            strict: None,
            deaf: false,
            owed: Vec::new(),
            failure: None,
        }
    }

    /// What is wrong, with the shortened history of the operation; `None` if nothing is.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.failure.as_ref()?;
        let lines: Vec<String> = self.lines[..failure.lines]
            .iter()
            .filter(|line| failure.id.is_none() || line.id.is_none() || line.id == failure.id)
            .map(Line::to_text)
            .collect();
        let left_out = lines.len().saturating_sub(SHORT);
        let mut text = match &failure.id {
            Some(id) => format!("{id}: {}\n", failure.what),
            None => format!("{}\n", failure.what),
        };
        if left_out > 0 {
            text.push_str(&format!("  ({left_out} lines before)\n"));
        }
        for line in &lines[left_out..] {
            text.push_str(&format!("  {line}\n"));
        }
        Some(text)
    }

    /// All that happened, as text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| line.to_text() + "\n").collect()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn operations(&self) -> &BTreeMap<OperationId, Operation> {
        &self.operations
    }

    pub(crate) fn revision(&self, id: &OperationId) -> Option<u64> {
        let operation = self.operations.get(id)?;
        operation.current()?;
        operation.log.last().map(|logged| logged.revision)
    }

    pub(crate) fn note(&mut self, at: Duration, id: Option<&OperationId>, text: String) {
        self.lines.push(Line { at, id: id.cloned(), text });
    }

    /// Something is wrong. Only the first of it is kept.
    pub(crate) fn wrong(&mut self, id: Option<&OperationId>, what: String) {
        if self.failure.is_none() {
            let at = self.lines.last().map_or(Duration::ZERO, |line| line.at);
            self.note(at, id, format!("WRONG: {what}"));
            self.failure = Some(Failure { id: id.cloned(), what, lines: self.lines.len() });
        }
    }

    pub(crate) fn jumped(&mut self, at: Duration, now: Time, millis: i64) {
        self.note(at, None, format!("the store's clock jumps by {millis} ms"));
        if millis > 0 {
            self.jumped = now;
        }
    }

    /// A process wrote a change.
    pub(crate) fn committed(&mut self, at: Duration, now: Time, who: &str, change: &Change) {
        let id = &change.id;
        let before = self.operation(id).current().cloned();
        let (revision, after) = match &change.after {
            After::Record { revision, bytes, next_wake } => {
                match codec::decode(id.clone(), bytes.clone()) {
                    Ok(record) => {
                        if *next_wake != record.next_wake() {
                            self.wrong(Some(id), "its timer is not as its state".to_owned());
                        }
                        (*revision, Some(record))
                    }
                    Err(error) => return self.wrong(Some(id), format!("damaged: {error}")),
                }
            }
            After::Nothing => (change.expected.map_or(0, |revision| revision + 1), None),
        };
        let text = format!("{who} commits {revision}: {}", described(after.as_ref()));
        self.note(at, Some(id), text);
        if let Some(Record { state: State::Running(_), attempt, .. }) = &after {
            let started = after.as_ref().and_then(|after| after.start_time).unwrap_or_default();
            let input = after.as_ref().map_or(0, input_of);
            self.operation(id).claimed.entry((input, *attempt)).or_insert(started);
        }
        let legal = self.judge(before.as_ref(), after.as_ref(), now, change);
        if self.strict.is_some() {
            self.owe(at, id, revision, (before.as_ref(), after.as_ref()));
        }

        let tick = self.ticks;
        self.ticks += 1;
        let operation = self.operation(id);
        let latest = operation.log.last().map_or(0, |logged| logged.revision);
        let grows = revision > latest || operation.is_overtaken(after.as_ref());
        operation.versions.insert(revision, after);
        operation.log.push(Logged { tick, at, now, revision });
        if !grows {
            self.wrong(Some(id), format!("revision {revision} comes after {latest}"));
        }
        if let Err(why) = legal {
            self.wrong(Some(id), why);
        }
    }

    /// A change was written, but nobody was told so.
    pub(crate) fn unanswered(&mut self, change: &Change) {
        let revision = match &change.after {
            After::Record { revision, .. } => *revision,
            After::Nothing => change.expected.map_or(0, |revision| revision + 1),
        };
        self.unsettled.insert((change.id.clone(), revision));
    }

    /// The store has confirmed all that was written before.
    pub(crate) fn settled(&mut self) {
        self.unsettled.clear();
    }

    /// Whether it was so since then by a change that lasts.
    fn lasts(&self, id: &OperationId, since: u64, so: impl Fn(Option<&Record>) -> bool) -> bool {
        self.operations.get(id).is_some_and(|operation| {
            operation.revisions_since(since).any(|(revision, record)| {
                so(record) && !self.unsettled.contains(&(id.clone(), revision))
            })
        })
    }

    /// Whether a change is legal by all that is known.
    fn judge(
        &mut self,
        before: Option<&Record>,
        after: Option<&Record>,
        now: Time,
        change: &Change,
    ) -> Result<(), String> {
        if let (None, Some(after)) = (before, after) {
            let number = input_of(after);
            let order = self.orders.get(&number).ok_or("nobody submitted it")?;
            check::ordered(order, after)?;
            if self.made.entry(number).or_insert_with(|| after.id.clone()) != &after.id {
                return Err("one request became two operations".to_owned());
            }
        }
        check::lists(before, after, change)?;
        let Some(operation) = self.operations.get(&change.id) else { return Ok(()) };
        operation.no_run_is_left_behind(before, after, self.jumped + self.rules.lease)?;
        if let Some(since) = self.strict {
            operation.hints_are_needed(before, after)?;
            operation.lease_was_kept(before, after, now, since)?;
            let grace = self.tells_within() + LONGEST_GRACE + SOON;
            worker_was_told(before, after, since, grace)?;
        }
        check::change(operation, before, after, now, &self.rules)
    }

    /// How many changes there were: for asking later what was since.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks
    }

    /// A client will ask for this.
    pub(crate) fn ordered(&mut self, order: &RunJobRequest) {
        self.orders.insert(number(order), order.clone());
    }

    /// Somebody will cancel it.
    pub(crate) fn will_cancel(&mut self, id: &OperationId) {
        self.operation(id).cancel_tried = true;
    }

    /// Somebody will delete it.
    pub(crate) fn will_delete(&mut self, id: &OperationId) {
        self.operation(id).delete_tried = true;
    }

    fn operation(&mut self, id: &OperationId) -> &mut Operation {
        self.operations.entry(id.clone()).or_default()
    }
}

impl Line {
    fn to_text(&self) -> String {
        let id = self.id.as_ref().map_or("", OperationId::as_str);
        format!("{:>9.3} {id:<12.12} {}", self.at.as_secs_f64(), self.text)
    }
}

/// Once all is in time, the worker of an attempt ends it before somebody else has to.
fn worker_was_told(
    before: Option<&Record>,
    after: Option<&Record>,
    strict: Time,
    within: Duration,
) -> Result<(), String> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
    let (State::Running(running), State::Done(done)) = (&before.state, &after.state) else {
        return Ok(());
    };
    let untold = running.cancel.is_some_and(|cancel| {
        done.by_attempt.is_none() && cancel.time > strict && cancel.time + within < cancel.deadline
    });
    if untold { Err("its worker was not told to stop".to_owned()) } else { Ok(()) }
}

/// The number that the job's input is: another one for each submit that is not a repetition.
pub(crate) fn input_of(record: &Record) -> u64 {
    let input = record.job.input.as_ref().map(|input| Struct::decode(input.value.clone()));
    input.and_then(Result::ok).map_or(0, |input| number_in(&input))
}

fn described(record: Option<&Record>) -> String {
    let Some(record) = record else { return "gone".to_owned() };
    let state = match &record.state {
        State::Queued(queued) => format!("queued, hint {:?}", queued.hint.map(|hint| hint.time)),
        State::Running(running) => format!(
            "running on {}, lease to {:?}, cancel {:?}",
            running.worker.as_str(),
            running.lease_end,
            running.cancel.map(|cancel| cancel.deadline)
        ),
        State::Done(done) => format!("done by {:?}", done.by_attempt),
    };
    let deleted = if record.deleted { ", deleted" } else { "" };
    format!("attempt {}, {state}{deleted}", record.attempt)
}
