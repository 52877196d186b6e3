//! Operations with all that their lives write and send, decided by the lifecycle that ships.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use longshore_bus::{Message, subjects};
use longshore_core::{
    codec,
    index::Presence,
    lifecycle::{Effect, Input, Rules, Step, Submit, Write, step},
    names::{JobType, OperationId, Parent, WorkerInstance},
    record::{Job, Payload, Record, Retry, State, TraceContext},
    time::{Time, micros},
};
use longshore_proto::{internal as pb, v1::Priority};
use longshore_state::store::{After, Change};
use prost::Message as _;

use crate::part::worker::micros_now;

/// Over how many partitions the installations of the bench spread operations.
pub(crate) const PARTITIONS: u16 = 1;

/// What a step writes and sends.
pub(crate) struct Stage {
    /// What is written.
    pub change: Change,
    /// The hints that are sent then.
    pub hints: Vec<Message>,
    /// What is announced then.
    pub announced: Option<pb::Changed>,
    /// The record after it.
    pub record: Record,
}

/// An operation from its submission to its end, and what it is told and says in between.
pub(crate) struct Life {
    /// Its id.
    pub id: OperationId,
    /// A client hands it in.
    pub submitted: Stage,
    /// A worker claims it.
    pub claimed: Stage,
    /// The worker's part of the request.
    pub claim: pb::Claim,
    /// The state role's part of the answer.
    pub answer: pb::ClaimAnswer,
    /// The worker completes it.
    pub completed: Stage,
    /// What the worker says then.
    pub event: pb::Event,
}

/// What operations are made of.
pub(crate) struct Mould {
    /// What they are named under.
    pub parent: Parent,
    /// What is to be done.
    pub job: Job,
    /// What they end with.
    pub response: Payload,
    worker: WorkerInstance,
    rules: Rules,
}

impl Mould {
    /// Jobs of a type under the root, with an input and a response of so many bytes each, and what
    /// else a gateway fills in.
    pub(crate) fn new(job_type: &str, input: usize) -> Result<Self> {
        let payload = payload(input);
        let job = Job {
            job_type: JobType::parse(job_type)?,
            input: Some(payload.clone()),
            labels: HashMap::new().into_iter().collect(),
            works_on: Vec::new(),
            priority: Priority::Normal,
            schedule_time: None,
            queue_timeout: None,
            run_timeout: None,
            ttl: std::time::Duration::from_secs(7 * 24 * 60 * 60),
            retry: Retry {
                max_attempts: 3,
                initial_backoff: std::time::Duration::from_secs(1),
                max_backoff: std::time::Duration::from_secs(60),
                backoff_multiplier: 2.0,
                retryable_codes: vec![14],
            },
            fingerprint: Bytes::new(),
            trace: TraceContext::default(),
        };
        let worker = WorkerInstance::boot("bench")?;
        let (parent, rules) = (Parent::default(), Rules::default());
        Ok(Self { parent, job, response: payload, worker, rules })
    }

    /// The submission of a new operation.
    pub(crate) fn submission(&self) -> Result<Stage> {
        let id = OperationId::random();
        let submit = Submit { id, parent: self.parent.clone(), job: self.job.clone() };
        self.stage(None, Input::Submit(Box::new(submit)))
    }

    /// The claim of a submitted operation, with the claim's number.
    pub(crate) fn claim(&self, submitted: &Stage) -> Result<(Stage, u64)> {
        let claim = fastrand::u64(..);
        let input = Input::Claim {
            worker: self.worker.clone(),
            claim,
            queue: None,
            paused: Default::default(),
        };
        Ok((self.stage(Some(submitted), input)?, claim))
    }

    /// The end of a claimed operation.
    pub(crate) fn completion(&self, claimed: &Stage, claim: u64) -> Result<Stage> {
        let attempt = claimed.record.attempt;
        let input = Input::Complete { attempt, claim, response: self.response.clone() };
        self.stage(Some(claimed), input)
    }

    /// A whole life.
    pub(crate) fn life(&self) -> Result<Life> {
        let submitted = self.submission()?;
        let (claimed, claim) = self.claim(&submitted)?;
        let completed = self.completion(&claimed, claim)?;
        let id = submitted.record.id.clone();
        let attempt = claimed.record.attempt;
        let event = pb::Event {
            id: id.to_string(),
            attempt,
            claim,
            event: Some(pb::event::Event::Completed(codec::payload_to_message(
                self.response.clone(),
            ))),
            traceparent: String::new(),
            tracestate: String::new(),
        };
        Ok(Life {
            claim: pb::Claim {
                id: id.to_string(),
                claim,
                job_type: claimed.record.job.job_type.to_string(),
            },
            answer: pb::ClaimAnswer {
                answer: Some(pb::claim_answer::Answer::Granted(grant(&claimed.record))),
            },
            event,
            id,
            submitted,
            claimed,
            completed,
        })
    }

    /// A new operation that has ended already, as one change.
    pub(crate) fn finished(&self) -> Result<Change> {
        let submitted = self.submission()?;
        let (claimed, claim) = self.claim(&submitted)?;
        let Stage { change, record, .. } = self.completion(&claimed, claim)?;
        let lists = Presence::ABSENT.changes(Presence::of(&record), &record);
        Ok(Change { expected: None, was_due: None, lists, ..change })
    }

    /// What an input leads to, as the ledger would write and send it.
    fn stage(&self, before: Option<&Stage>, input: Input) -> Result<Stage> {
        let now = Time::from_micros(micros_now());
        let (expected, old) =
            before.map(|stage| (revision(&stage.change), stage.record.clone())).unzip();
        let presence = old.as_ref().map_or(Presence::ABSENT, Presence::of);
        let was_due = old.as_ref().map(Record::next_wake);
        let Step { record, write, effects } = step(old, input, now, &self.rules)?;
        anyhow::ensure!(write == Write::Put, "the lifecycle writes something else");
        let revision =
            expected.map_or_else(|| now.as_micros().cast_unsigned(), |before| before + 1);
        let (bytes, told) = codec::encode_both(&record);
        let change = Change {
            id: record.id.clone(),
            expected,
            was_due,
            after: After::Record { revision, bytes, next_wake: record.next_wake() },
            create_time: record.create_time,
            lists: presence.changes(Presence::of(&record), &record),
        };
        let hints = effects.iter().filter_map(|effect| hint(&record, effect)).collect();
        let announced = effects.contains(&Effect::Announce).then(|| pb::Changed {
            id: record.id.to_string(),
            revision,
            record: Some(told),
        });
        Ok(Stage { change, hints, announced, record })
    }
}

/// A Struct of about so many bytes.
fn payload(bytes: usize) -> Payload {
    use prost_types::{Struct, Value, value::Kind};
    // What a struct with one text takes beside the text.
    let text = "x".repeat(bytes.saturating_sub(16));
    let value = Value { kind: Some(Kind::StringValue(text)) };
    let value = Struct { fields: [("text".to_owned(), value)].into() }.encode_to_vec().into();
    Payload { type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(), value }
}

fn revision(change: &Change) -> u64 {
    match &change.after {
        After::Record { revision, .. } => *revision,
        After::Nothing => 0,
    }
}

fn hint(record: &Record, effect: &Effect) -> Option<Message> {
    let Effect::Dispatch { queue, priority, time } = effect else { return None };
    let hint = pb::Hint { id: record.id.to_string(), time: time.as_micros() };
    Some(Message::new(subjects::job(queue, *priority), hint.encode_to_vec()))
}

fn grant(record: &Record) -> pb::Grant {
    let lease = match &record.state {
        State::Running(running) => micros(running.lease_end.since(record.update_time)),
        State::Queued(_) | State::Done(_) => 0,
    };
    pb::Grant {
        id: record.id.to_string(),
        parent: record.parent.to_string(),
        job: Some(codec::job_to_message(&record.job)),
        attempt: record.attempt,
        lease,
        cancel_requested: false,
        failures: record.failures,
    }
}

/// Many lives, and where each is.
pub(crate) struct Lives {
    pub all: Vec<Life>,
    /// Where the worker's events go.
    pub events: String,
    places: HashMap<String, usize>,
}

impl Lives {
    /// So many of them.
    pub(crate) fn new(mould: &Mould, count: usize) -> Result<Self> {
        let all = (0..count).map(|_| mould.life()).collect::<Result<Vec<_>>>()?;
        let places =
            all.iter().enumerate().map(|(place, life)| (life.id.to_string(), place)).collect();
        Ok(Self { all, events: subjects::events(&mould.worker), places })
    }

    /// The place of an operation.
    pub(crate) fn place(&self, id: &str) -> Result<usize> {
        self.places.get(id).copied().with_context(|| format!("nobody has submitted {id}"))
    }
}
