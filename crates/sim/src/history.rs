//! What happened, in order, and what is wrong with it.
//!
//! Whatever the world does is told to the history in the moment in which it happens, and is judged
//! there and then: by [`check`](crate::check) if it changes a record, else here.

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
use longshore_proto::internal::event;
use longshore_state::store::{After, Change};

use crate::check;

/// How many lines a shortened history has at most.
const SHORT: usize = 80;

pub(crate) use told::{Ask, Started};

pub(crate) struct History {
    rules: Rules,
    lines: Vec<Line>,
    operations: BTreeMap<OperationId, Operation>,
    /// The last forward jump of the store's clock, by its line.
    jumped: usize,
    /// The runs of handlers that came to a response.
    finished: BTreeSet<u64>,
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
}

/// What is known about an operation.
#[derive(Default)]
pub(crate) struct Operation {
    /// All that it ever was, by revision; `None` where it was removed.
    pub(crate) versions: BTreeMap<u64, Option<Record>>,
    /// What attempts reported: attempt, claim, event.
    pub(crate) reported: Vec<(u32, u64, event::Event)>,
    pub(crate) submit_tried: bool,
    pub(crate) cancel_tried: bool,
    pub(crate) delete_tried: bool,
    /// The line at which each attempt was claimed, by input and attempt.
    claimed: BTreeMap<(u64, u32), usize>,
    /// The handlers that run.
    runs: Vec<Run>,
    /// The latest revision that each watcher saw.
    watched: BTreeMap<usize, u64>,
}

struct Run {
    run: u64,
    input: u64,
    attempt: u32,
    process: String,
}

impl Operation {
    /// The record as it is.
    pub(crate) fn current(&self) -> Option<&Record> {
        self.versions.last_key_value().and_then(|(_, record)| record.as_ref())
    }
}

impl History {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            lines: Vec::new(),
            operations: BTreeMap::new(),
            jumped: 0,
            finished: BTreeSet::new(),
            failure: None,
        }
    }

    /// What is wrong, with the shortened history of the operation; `None` if nothing is.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.failure.as_ref()?;
        let lines: Vec<String> = self
            .lines
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
        operation.versions.last_key_value().filter(|(_, it)| it.is_some()).map(|(at, _)| *at)
    }

    pub(crate) fn note(&mut self, at: Duration, id: Option<&OperationId>, text: String) {
        self.lines.push(Line { at, id: id.cloned(), text });
    }

    /// Something is wrong. Only the first of it is kept.
    pub(crate) fn wrong(&mut self, id: Option<&OperationId>, what: String) {
        if self.failure.is_none() {
            let at = self.lines.last().map_or(Duration::ZERO, |line| line.at);
            self.note(at, id, format!("WRONG: {what}"));
            self.failure = Some(Failure { id: id.cloned(), what });
        }
    }

    pub(crate) fn jumped(&mut self, at: Duration, millis: i64) {
        self.note(at, None, format!("the store's clock jumps by {millis} ms"));
        if millis > 0 {
            self.jumped = self.lines.len();
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
            let (line, input) = (self.lines.len(), after.as_ref().map_or(0, input_of));
            self.operation(id).claimed.entry((input, *attempt)).or_insert(line);
        }

        let rules = self.rules;
        let operation = self.operation(id);
        let latest = operation.versions.last_key_value().map_or(0, |(revision, _)| *revision);
        let legal = check::change(operation, before.as_ref(), after.as_ref(), now, &rules);
        operation.versions.insert(revision, after);
        if revision <= latest {
            self.wrong(Some(id), format!("revision {revision} comes after {latest}"));
        }
        if let Err(why) = legal {
            self.wrong(Some(id), why);
        }
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

/// The number that the job's input is: another one for each submit that is not a repetition.
pub(crate) fn input_of(record: &Record) -> u64 {
    let input = longshore_core::json::payload_to_json(record.job.input.as_ref());
    input["input"].as_f64().map_or(0, |input| input as u64)
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
