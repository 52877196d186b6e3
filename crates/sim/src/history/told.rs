//! What is told to the history beside the changes of records.

use std::time::Duration;

use bytes::Bytes;
use longshore_core::{
    codec, json,
    lifecycle::Write,
    names::OperationId,
    record::{Record, State},
};
use longshore_proto::internal::{Changed, Changes, Event, Events, event};
use longshore_state::ledger::Applied;
use prost::Message;

use super::{History, Run};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Submit,
    Cancel,
    Delete,
}

/// A handler that runs.
pub(crate) struct Started<'a> {
    pub(crate) id: &'a OperationId,
    pub(crate) run: u64,
    pub(crate) input: u64,
    pub(crate) attempt: u32,
    pub(crate) process: &'a str,
}

impl History {
    pub(crate) fn asked(&mut self, at: Duration, who: &str, id: &OperationId, ask: Ask) {
        self.note(at, Some(id), format!("{who} asks: {ask:?}"));
        let operation = self.operation(id);
        match ask {
            Ask::Submit => operation.submit_tried = true,
            Ask::Cancel => operation.cancel_tried = true,
            Ask::Delete => operation.delete_tried = true,
        }
    }

    /// A client was told that it is done. It must be so already.
    pub(crate) fn answered(&mut self, at: Duration, who: &str, ask: Ask, applied: &Applied) {
        let id = applied.record.id.clone();
        self.note(at, Some(&id), format!("{who} is answered: {ask:?}"));
        let removed = applied.write == Write::Remove;
        let committed = match self.operation(&id).versions.get(&applied.revision) {
            Some(Some(record)) => *record == applied.record,
            Some(None) => removed,
            None => false,
        };
        if !committed {
            self.wrong(Some(&id), format!("{ask:?} was acknowledged, but is not committed"));
        }
        let record = &applied.record;
        let honoured = match (ask, &record.state) {
            (Ask::Submit, _) => true,
            (Ask::Cancel, State::Running(running)) => running.cancel.is_some(),
            (Ask::Cancel, State::Done(_)) => true,
            (Ask::Cancel, State::Queued(_)) => false,
            (Ask::Delete, _) => record.deleted,
        };
        if !honoured {
            self.wrong(Some(&id), format!("{ask:?} was acknowledged, but not done"));
        }
    }

    /// Somebody read a record.
    pub(crate) fn read(&mut self, id: &OperationId, revision: u64, record: &Record) {
        let known = self.operation(id).versions.get(&revision);
        if known.and_then(Option::as_ref) != Some(record) {
            self.wrong(Some(id), format!("revision {revision} was read, but never committed"));
        }
    }

    /// Announcements were sent: of something that is so.
    pub(crate) fn announced(&mut self, at: Duration, payload: &Bytes) {
        for changed in Changes::decode(payload.clone()).unwrap_or_default().changes {
            self.change_announced(at, changed);
        }
    }

    fn change_announced(&mut self, at: Duration, changed: Changed) {
        let Ok(id) = OperationId::parse(&changed.id) else { return };
        self.note(at, Some(&id), format!("announced {}", changed.revision));
        let known = self.operation(&id).versions.get(&changed.revision);
        let told = changed.record.map(|record| codec::decode(id.clone(), record));
        let so = match (known, told) {
            (Some(Some(known)), Some(Ok(told))) => known.state == told.state,
            (Some(known), None) => known.as_ref().is_none_or(|known| known.deleted),
            (Some(None) | None, Some(_)) | (Some(Some(_)), Some(Err(_))) | (None, None) => false,
        };
        if !so {
            let what = format!("revision {} was announced, but is not committed", changed.revision);
            self.wrong(Some(&id), what);
        }
    }

    /// A watcher was shown a revision.
    pub(crate) fn watched(&mut self, watcher: usize, id: &OperationId, revision: u64) {
        let operation = self.operation(id);
        let known = operation.versions.contains_key(&revision);
        let before = operation.watched.insert(watcher, revision).unwrap_or(0);
        if before >= revision || !known {
            let what = format!("watcher {watcher} saw revision {revision} after {before}");
            self.wrong(Some(id), what);
        }
    }

    /// The watchers have seen the end.
    pub(crate) fn check_watchers(&mut self, watchers: usize) {
        let missed = self.operations.iter().find_map(|(id, operation)| {
            let (latest, record) = operation.versions.last_key_value()?;
            record.as_ref()?;
            let saw_all = (0..watchers).all(|it| operation.watched.get(&it) == Some(latest));
            (!saw_all).then(|| id.clone())
        });
        if let Some(id) = missed {
            self.wrong(Some(&id), "a watcher did not see the end".to_owned());
        }
    }

    /// A worker sends events.
    pub(crate) fn reported(&mut self, at: Duration, who: &str, payload: &Bytes) {
        for (id, event) in decoded(payload) {
            self.event_reported(at, who, &id, event);
        }
    }

    fn event_reported(&mut self, at: Duration, who: &str, id: &OperationId, event: Event) {
        let Event { attempt, claim, event: Some(event), .. } = event else { return };
        let what = match &event {
            event::Event::Progress(_) => return,
            event::Event::Completed(response) => {
                let response = codec::payload_from_message(response.clone());
                let run = json::payload_to_json(Some(&response))["run"].as_f64().unwrap_or(0.0);
                if !self.finished.contains(&(run as u64)) {
                    self.wrong(Some(id), "a response that no handler gave".to_owned());
                }
                format!("completed by run {run}")
            }
            event::Event::Failed(failure) => {
                format!("failed with {:?}", failure.error.as_ref().map(|error| &error.message))
            }
        };
        let operation = self.operation(id);
        let report = (attempt, claim, event);
        if !operation.reported.contains(&report) {
            operation.reported.push(report);
            self.note(at, Some(id), format!("{who} reports attempt {attempt}: {what}"));
        }
    }

    /// The bus was told that events are done with: they have been applied then.
    pub(crate) fn acknowledged(&mut self, at: Duration, payload: &Bytes) {
        for (id, event) in decoded(payload) {
            self.event_acknowledged(at, &id, event);
        }
    }

    fn event_acknowledged(&mut self, at: Duration, id: &OperationId, event: Event) {
        let Event { attempt, claim, event, .. } = event;
        if matches!(event, Some(event::Event::Progress(_)) | None) {
            return;
        }
        self.note(at, Some(id), format!("the outcome of attempt {attempt} is acknowledged"));
        let open = self.operation(id).current().is_some_and(|record| match &record.state {
            State::Running(running) => (record.attempt, running.claim) == (attempt, claim),
            State::Queued(_) | State::Done(_) => false,
        });
        if open {
            let what = format!("the outcome of attempt {attempt} was acknowledged unapplied");
            self.wrong(Some(id), what);
        }
    }

    /// The events as they would be if attempts had no numbers.
    pub(crate) fn as_if_current(&mut self, payload: &Bytes) -> Bytes {
        let mut events = Vec::new();
        for (id, mut event) in decoded(payload) {
            if let Some(record) = self.operation(&id).current()
                && let State::Running(running) = &record.state
            {
                (event.attempt, event.claim) = (record.attempt, running.claim);
            }
            events.push(event);
        }
        Events { events }.encode_to_vec().into()
    }

    /// A handler starts: none of the same operation may be at it, unless the store's clock has
    /// jumped ahead since the other was claimed, which ends leases early.
    pub(crate) fn started(&mut self, at: Duration, started: &Started<'_>) {
        let Started { id, run, input, attempt, process } = *started;
        self.note(at, Some(id), format!("{process} starts attempt {attempt}, run {run}"));
        let jumped = self.jumped;
        let operation = self.operation(id);
        let claimed = &operation.claimed;
        let at_it = operation.runs.iter().find(|other| {
            let line = claimed.get(&(input, other.attempt)).copied().unwrap_or(usize::MAX);
            other.input == input && line > jumped
        });
        let overlap = at_it.map(|other| (other.run, other.attempt));
        let process = process.to_owned();
        operation.runs.push(Run { run, input, attempt, process });
        if let Some((run, attempt)) = overlap {
            self.wrong(Some(id), format!("attempt {attempt}, run {run}, is still at it"));
        }
    }

    /// A handler has stopped.
    pub(crate) fn stopped(&mut self, at: Duration, id: &OperationId, run: u64) {
        let operation = self.operation(id);
        let before = operation.runs.len();
        operation.runs.retain(|other| other.run != run);
        if operation.runs.len() < before {
            self.note(at, Some(id), format!("run {run} stops"));
        }
    }

    /// A handler gives a response.
    pub(crate) fn finished(&mut self, run: u64) {
        self.finished.insert(run);
    }

    /// The handlers of a process have stopped.
    pub(crate) fn process_died(&mut self, process: &str) {
        for operation in self.operations.values_mut() {
            operation.runs.retain(|run| run.process != process);
        }
    }
}

fn decoded(payload: &Bytes) -> Vec<(OperationId, Event)> {
    let events = Events::decode(payload.clone()).unwrap_or_default().events;
    let named = events.into_iter().map(|event| Some((OperationId::parse(&event.id).ok()?, event)));
    named.flatten().collect()
}
