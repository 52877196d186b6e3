//! What is told to the history beside the changes of records.

use std::time::Duration;

use bytes::Bytes;
use longshore_core::{
    codec, json, lifecycle::Verdict, names::OperationId, record::State, time::Time,
};
use longshore_proto::{
    internal::{Changed, Changes, Event, Events, Hint, Interrupt, event},
    rpc::Code,
};
use longshore_worker::StopReason;
use prost::Message;

use super::{Ended, History};

impl History {
    /// Announcements were sent: of something that is so.
    pub(crate) fn announced(&mut self, at: Duration, payload: &Bytes) {
        for changed in Changes::decode(payload.clone()).unwrap_or_default().changes {
            self.change_announced(at, changed);
        }
    }

    fn change_announced(&mut self, at: Duration, changed: Changed) {
        let Ok(id) = OperationId::parse(&changed.id) else { return };
        self.note(at, Some(&id), format!("announced {}", changed.revision));
        self.operation(&id).announced.insert(changed.revision);
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

    /// A hint was sent.
    pub(crate) fn hinted(&mut self, payload: &Bytes) {
        let Some((id, hint)) = hint(payload) else { return };
        self.operation(&id).hinted.insert(Time::from_micros(hint.time));
    }

    /// So many more copies of a hint are out.
    pub(crate) fn hint_is_out(&mut self, payload: &Bytes, copies: usize) {
        if let Some((id, _)) = hint(payload) {
            self.operation(&id).hints_out += copies;
        }
    }

    /// One copy of a hint was acknowledged: what it tells of is claimed, or is not to be.
    pub(crate) fn hint_is_gone(&mut self, payload: &Bytes, now: Time) {
        let Some((id, hint)) = hint(payload) else { return };
        let operation = self.operation(&id);
        operation.hints_out = operation.hints_out.saturating_sub(1);
        let waits = operation.current().is_some_and(|record| match &record.state {
            State::Queued(queued) => {
                let its_own = queued.hint.is_some_and(|it| it.time.as_micros() == hint.time);
                its_own && queued.deadline.is_none_or(|deadline| now < deadline)
            }
            State::Running(_) | State::Done(_) => false,
        });
        if waits {
            self.wrong(
                Some(&id),
                "its hint was acknowledged, but nobody has claimed it".to_owned(),
            );
        }
    }

    /// No hint is out any more.
    pub(crate) fn hints_are_lost(&mut self) {
        for operation in self.operations.values_mut() {
            operation.hints_out = 0;
        }
    }

    /// A worker was told to stop.
    pub(crate) fn interrupted(&mut self, payload: &Bytes) {
        let Ok(interrupt) = Interrupt::decode(payload.clone()) else { return };
        if let Ok(id) = OperationId::parse(&interrupt.id) {
            self.operation(&id).interrupted.insert(interrupt.attempt);
        }
    }

    /// A worker sends events: they have to be what its handlers came to.
    pub(crate) fn reported(&mut self, at: Duration, who: &str, payload: &Bytes) {
        for (id, event) in decoded(payload) {
            self.event_reported(at, who, &id, event);
        }
    }

    fn event_reported(&mut self, at: Duration, who: &str, id: &OperationId, event: Event) {
        let Event { attempt, claim, event: Some(event), .. } = event else {
            return;
        };
        let operation = self.operation(id);
        let report = (attempt, claim, event);
        let is_progress = matches!(report.2, event::Event::Progress(_));
        if operation.reported.contains(&report) {
            return;
        }
        let legal = match &report.2 {
            event::Event::Progress(_) => Ok(String::new()),
            outcome => {
                let mut fitting = Err(String::new());
                for ending in operation.endings(attempt, who) {
                    fitting = fitting.or_else(|_| fits(outcome, ending));
                }
                fitting
            }
        };
        operation.reported.push(report);
        match legal {
            Ok(_) if is_progress => {}
            Ok(what) => {
                self.note(at, Some(id), format!("{who} reports attempt {attempt}: {what}"));
            }
            Err(what) => self.wrong(Some(id), format!("{who} reports attempt {attempt}: {what}")),
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
}

fn decoded(payload: &Bytes) -> Vec<(OperationId, Event)> {
    let events = Events::decode(payload.clone()).unwrap_or_default().events;
    let named = events.into_iter().map(|event| Some((OperationId::parse(&event.id).ok()?, event)));
    named.flatten().collect()
}

fn hint(payload: &Bytes) -> Option<(OperationId, Hint)> {
    let hint = Hint::decode(payload.clone()).ok()?;
    Some((OperationId::parse(&hint.id).ok()?, hint))
}

/// Whether a report is what became of the handler: its own words, unless it was to stop.
fn fits(outcome: &event::Event, ended: Option<&Ended>) -> Result<String, String> {
    let (gave, told) = ended.map_or((None, None), |ended| (ended.gave.as_ref(), ended.told));
    match outcome {
        event::Event::Progress(_) => Ok(String::new()),
        event::Event::Completed(response) => {
            let response = codec::payload_from_message(response.clone());
            let run = json::payload_to_json(Some(&response))["run"].as_f64().map(|run| run as u64);
            match gave {
                Some(Ok(given)) if Some(*given) == run => Ok(format!("completed by run {given}")),
                Some(_) | None => Err("a response that no handler gave".to_owned()),
            }
        }
        event::Event::Failed(failure) => {
            let failure = codec::failure_from_message(failure.clone());
            let code = Code::try_from(failure.error.code).unwrap_or(Code::Ok);
            let what = (code, failure.verdict);
            let fits = match (ended, gave, told) {
                // It was to stop before it could begin.
                (None, _, _) => what == (Code::Unavailable, Verdict::HandedBack),
                (Some(_), Some(Ok(_)), _) => false,
                (Some(_), _, Some(StopReason::Cancelled)) => {
                    what == (Code::Cancelled, Verdict::Final)
                }
                (Some(_), _, Some(StopReason::TimedOut)) => {
                    what == (Code::DeadlineExceeded, Verdict::ByPolicy)
                }
                (Some(_), _, Some(StopReason::Draining)) => {
                    what == (Code::Unavailable, Verdict::HandedBack)
                }
                (Some(_), Some(Err(error)), None) => {
                    what == (error.code(), error.verdict())
                        && failure.error.message == error.message()
                }
                (Some(_), None, None) => what == (Code::Internal, Verdict::ByPolicy),
            };
            let text = format!("failed with {what:?}, {:?}", failure.error.message);
            if fits { Ok(text) } else { Err(format!("{text}, but it ended as {ended:?}")) }
        }
    }
}
