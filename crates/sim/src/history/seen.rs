//! What clients are shown: each answer has to be true of some moment between call and answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use longshore_core::{
    names::{OperationId, OperationName},
    record::{Outcome, Record, State},
    time::Time,
};
use longshore_proto::{
    longrunning::{Operation as Shown, operation},
    v1::{OperationMetadata, RunJobRequest, operation_metadata},
};
use prost::Message;

use super::{History, input_of};
use crate::order::number;

/// A list that a client asked for, and what it was shown.
pub(crate) struct Listing<'a> {
    pub(crate) parent: &'a str,
    /// Only those that are done, or are not.
    pub(crate) done: Option<bool>,
    /// Only those that work on it.
    pub(crate) works_on: Option<&'a str>,
    pub(crate) shown: &'a [Shown],
}

impl Listing<'_> {
    fn has(&self, record: &Record) -> bool {
        let parent = record.parent.as_str();
        let covered = match self.parent.strip_suffix("/-") {
            Some(before) => parent.strip_prefix(before).is_some_and(|rest| rest.starts_with('/')),
            None => parent == self.parent,
        };
        covered
            && !record.deleted
            && self.done.is_none_or(|done| done == record.is_done())
            && self.works_on.is_none_or(|name| record.job.works_on.iter().any(|it| it == name))
    }
}

impl History {
    /// A client asks for something.
    pub(crate) fn asks(&mut self, at: Duration, who: &str, id: Option<&OperationId>, what: &str) {
        self.note(at, id, format!("{who} asks: {what}"));
    }

    /// A job was accepted: it is committed, and it is the one that was asked for.
    pub(crate) fn accepted(&mut self, since: u64, order: &RunJobRequest, shown: &Shown) {
        let Some(id) = self.named(shown, &order.parent) else { return };
        let number = number(order);
        let so =
            |record: &Record| !record.deleted && input_of(record) == number && shows(shown, record);
        if !self.lasts(&id, since, |record| record.is_some_and(so)) {
            self.wrong(Some(&id), "a job was acknowledged, but is not committed".to_owned());
        }
    }

    /// A request id is taken: by another request, or by what was deleted and still runs.
    pub(crate) fn taken(&mut self, since: u64, id: &OperationId, order: &RunJobRequest) {
        let number = number(order);
        let other = |record: &Record| record.deleted || input_of(record) != number;
        if !self.operation(id).since(since).flatten().any(other) {
            self.wrong(Some(id), "the same request was refused".to_owned());
        }
    }

    /// A client was shown an operation.
    pub(crate) fn saw(&mut self, since: u64, name: &OperationName, shown: &Shown) {
        let Some(id) = self.named(shown, name.parent.as_str()) else { return };
        let so = self
            .operation(&id)
            .since(since)
            .flatten()
            .any(|record| !record.deleted && shows(shown, record));
        if !so || id != name.id {
            self.wrong(Some(&id), "it was shown as it was not at that time".to_owned());
        }
    }

    /// A client was told that there is no such operation.
    pub(crate) fn missed(&mut self, since: u64, id: &OperationId) {
        let hidden = self.operation(id).since(since).any(|it| it.is_none_or(|it| it.deleted));
        if !hidden {
            self.wrong(Some(id), "it was not found, but was there".to_owned());
        }
    }

    /// A client was told that its cancel is accepted.
    pub(crate) fn cancelled(&mut self, since: u64, id: &OperationId) {
        let honoured = |record: &Record| {
            !record.deleted
                && match &record.state {
                    State::Queued(_) => false,
                    State::Running(running) => running.cancel.is_some(),
                    State::Done(_) => true,
                }
        };
        if !self.lasts(id, since, |record| record.is_some_and(honoured)) {
            self.wrong(Some(id), "a cancel was acknowledged, but not done".to_owned());
        }
    }

    /// A client was told that it is deleted.
    pub(crate) fn deleted(&mut self, since: u64, id: &OperationId) {
        let strict = self.strict.is_some();
        let hides = |it: Option<&Record>| it.is_none_or(|it| it.deleted);
        if !self.lasts(id, since, hides) {
            self.wrong(Some(id), "a delete was acknowledged, but not done".to_owned());
        } else if strict && self.operation(id).since(since).all(hides) {
            self.wrong(Some(id), "it was deleted, but was not there".to_owned());
        }
    }

    /// A client waits, and was shown a state that is not the end. Once all is in time the end must
    /// not have come for a while.
    pub(crate) fn waited(
        &mut self,
        at: Duration,
        id: &OperationId,
        asked: Duration,
        late: Duration,
    ) {
        let done_at = self.operation(id).done_at();
        if self.strict.is_some() && done_at.is_some_and(|done_at| done_at.max(asked) + late < at) {
            self.wrong(Some(id), "whoever waited was not told of the end in time".to_owned());
        }
    }

    /// A watcher was shown a state: the first, or a later one than before. Returns its revision.
    pub(crate) fn watched(
        &mut self,
        since: u64,
        name: &OperationName,
        after: Option<u64>,
        shown: &Shown,
    ) -> u64 {
        let Some(after) = after else {
            self.saw(since, name, shown);
            let operation = self.operation(&name.id);
            let begin = operation.log.partition_point(|logged| logged.tick < since);
            let begin = &operation.log[begin.saturating_sub(1)..];
            let showing = begin
                .iter()
                .find(|logged| operation.at(logged).is_some_and(|record| shows(shown, record)));
            return showing.map_or(0, |logged| logged.revision);
        };
        let Some(id) = self.named(shown, name.parent.as_str()) else { return after };
        let operation = self.operation(&id);
        let seen = operation.log.iter().position(|logged| logged.revision == after);
        let later = operation.log.iter().skip(seen.map_or(0, |seen| seen + 1)).find_map(|logged| {
            let record = operation.at(logged).filter(|record| !record.deleted)?;
            shows(shown, record).then_some(logged.revision)
        });
        match later {
            Some(revision) => revision,
            None => {
                let what = format!("a watcher saw what was not so after revision {after}");
                self.wrong(Some(&id), what);
                after
            }
        }
    }

    /// A client was shown a list, in pages.
    pub(crate) fn listed(&mut self, since: u64, listing: &Listing<'_>) {
        let mut seen = BTreeMap::new();
        for shown in listing.shown {
            let Some(id) = self.named(shown, "") else { return };
            let so = self
                .operation(&id)
                .since(since)
                .flatten()
                .any(|record| listing.has(record) && shows(shown, record));
            if !so {
                return self
                    .wrong(Some(&id), "it is in a list to which it does not belong".to_owned());
            }
            let created = metadata(shown).and_then(|it| Time::from_timestamp(&it.create_time?));
            if seen.values().any(|before| *before < created) || seen.contains_key(&id) {
                return self.wrong(Some(&id), "a list is not in order".to_owned());
            }
            seen.insert(id, created);
        }
        let seen: BTreeSet<&OperationId> = seen.keys().collect();
        let left_out = self.operations.iter().find_map(|(id, operation)| {
            let belongs = |record: &Record| listing.has(record);
            let created = operation.current()?.create_time;
            let always = operation
                .since(since)
                .all(|it| it.is_some_and(|it| belongs(it) && it.create_time == created));
            (always && !seen.contains(id)).then(|| id.clone())
        });
        if let Some(id) = left_out {
            self.wrong(Some(&id), "it is not in a list to which it belongs".to_owned());
        }
    }

    /// The id that an operation is shown under, which has to be under this parent, if any.
    fn named(&mut self, shown: &Shown, parent: &str) -> Option<OperationId> {
        match OperationName::parse(&shown.name) {
            Ok(name) if parent.is_empty() || name.parent.as_str() == parent => Some(name.id),
            Ok(name) => {
                self.wrong(Some(&name.id), format!("it is shown as {:?}", shown.name));
                None
            }
            Err(_) => {
                self.wrong(None, format!("an operation is shown as {:?}", shown.name));
                None
            }
        }
    }
}

fn metadata(shown: &Shown) -> Option<OperationMetadata> {
    OperationMetadata::decode(&*shown.metadata.as_ref()?.value).ok()
}

/// Whether a record is shown as it is, as far as what changes in it goes.
fn shows(shown: &Shown, record: &Record) -> bool {
    let Some(metadata) = metadata(shown) else { return false };
    let time = |time: Time| Some(prost_types::Timestamp::from(time));
    let same = metadata.create_time == time(record.create_time)
        && metadata.update_time == time(record.update_time)
        && metadata.attempt == record.attempt as i32
        && metadata.progress.unwrap_or_default().completed_units == record.progress.completed_units
        && shown.name == format!("{}operations/{}", slashed(record.parent.as_str()), record.id);
    let (state, cancelled, result) = match &record.state {
        State::Queued(_) => (operation_metadata::State::Pending, false, None),
        State::Running(running) if running.cancel.is_some() => {
            (operation_metadata::State::Cancelling, true, None)
        }
        State::Running(_) => (operation_metadata::State::Running, false, None),
        State::Done(done) => match &done.outcome {
            Outcome::Response(payload) => {
                let any = prost_types::Any {
                    type_url: payload.type_url.clone(),
                    value: payload.value.to_vec(),
                };
                let result = operation::Result::Response(any);
                (operation_metadata::State::Succeeded, false, Some(result))
            }
            Outcome::Error(error) => {
                let result = operation::Result::Error(error.clone());
                match error.code {
                    1 => (operation_metadata::State::Cancelled, true, Some(result)),
                    _ => (operation_metadata::State::Failed, false, Some(result)),
                }
            }
        },
    };
    same && metadata.state == state as i32
        && metadata.cancel_requested == cancelled
        && shown.done == result.is_some()
        && shown.result == result
}

fn slashed(parent: &str) -> String {
    if parent.is_empty() { String::new() } else { format!("{parent}/") }
}
