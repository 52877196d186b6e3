//! What has to be told to others after a change, and be done by them, once all is to be in time.
//!
//! The record's timer makes up for whatever is not told, so nobody would ever miss it otherwise.

use std::time::Duration;

use longshore_core::{
    lifecycle::Rules,
    names::OperationId,
    record::{Record, State},
    time::Time,
};

use super::{History, Operation, runs};
use crate::world::STORE_IS_AHEAD;

/// How long it may take to tell others.
pub(super) const SOON: Duration = Duration::from_secs(3);
/// How late a timer may fire.
const LATE: Duration = Duration::from_secs(3);
/// The longest that a worker gives an attempt that is to stop.
pub(super) const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// Something that has to be so by some time.
pub(crate) enum Debt {
    /// A hint was sent.
    Hinted(Time),
    /// A hint was sent after this one, if it still waits for its claim.
    HintedAgain(Time),
    /// A revision was announced.
    Announced(u64),
    /// The worker of an attempt was told to stop.
    Interrupted(u32),
    /// The handlers that are at an attempt of the operation that was created then know that they are
    /// to stop.
    Told(u32, Time),
    /// No handler is at an attempt of the operation that was created then.
    Stopped(u32, Time),
    /// So many units of a run are in the record, if it still runs.
    Progress(u64, i64),
    /// What was created then has ended.
    Ended(Time),
}

pub(super) struct Owed {
    by: Duration,
    id: OperationId,
    debt: Debt,
}

impl Debt {
    fn is_paid(&self, operation: &Operation) -> bool {
        match *self {
            Self::Hinted(time) => operation.hinted.contains(&time),
            Self::HintedAgain(time) => {
                hint_of(operation.current()) != Some(time)
                    || operation.hinted.range(time..).count() > 1
            }
            Self::Announced(revision) => operation.announced.contains(&revision),
            Self::Interrupted(attempt) => operation.interrupted.contains(&attempt),
            Self::Told(attempt, created) => {
                operation.runs_of(attempt, created).all(runs::Run::is_told)
            }
            Self::Stopped(attempt, created) => operation.runs_of(attempt, created).next().is_none(),
            Self::Progress(run, units) => {
                let Some(run) = operation.runs.iter().find(|other| other.run == run) else {
                    return true;
                };
                operation.current().is_none_or(|record| {
                    Some(record.create_time) != run.created
                        || record.progress.completed_units >= units
                })
            }
            Self::Ended(created) => operation
                .current()
                .is_none_or(|record| record.is_done() || record.create_time != created),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Hinted(time) => format!("no hint of {time:?} was sent"),
            Self::HintedAgain(time) => {
                format!("the hint of {time:?} got lost, and no other was sent")
            }
            Self::Announced(revision) => format!("revision {revision} was not announced"),
            Self::Interrupted(attempt) => format!("attempt {attempt} was not interrupted"),
            Self::Told(attempt, _) => format!("attempt {attempt} was not told to stop in time"),
            Self::Stopped(attempt, _) => format!("attempt {attempt} goes on, but was to stop"),
            Self::Progress(run, _) => format!("progress of run {run} was lost"),
            Self::Ended(_) => "it was cancelled, but goes on".to_owned(),
        }
    }
}

impl History {
    pub(crate) fn be_strict(&mut self, now: Time, deaf: bool) {
        self.strict = Some(now);
        self.deaf = deaf;
    }

    /// Something has to be so in a while, if all has to be in time.
    pub(crate) fn owes(&mut self, by: Duration, id: &OperationId, debt: Debt) {
        if self.strict.is_some() {
            self.owed.push(Owed { by, id: id.clone(), debt });
        }
    }

    /// How long it takes at most until a worker knows that an attempt is to stop: from its next
    /// renewal, at a third of its lease, if it is not told.
    pub(super) fn tells_within(&self) -> Duration {
        let second = Duration::from_secs(1);
        if self.deaf { self.rules.lease / 2 + second } else { second }
    }

    /// What waits for its claim, with the time of its hint, which has arrived.
    pub(crate) fn waiting(&self, now: Time) -> Vec<(OperationId, Time)> {
        let waits = |(id, operation): (&OperationId, &Operation)| {
            let hint = hint_of(operation.current())?;
            (now.since(hint) > Rules::HINT_TRAVEL + STORE_IS_AHEAD).then(|| (id.clone(), hint))
        };
        self.operations.iter().filter_map(waits).collect()
    }

    /// What a change leads to.
    pub(super) fn owe(
        &mut self,
        at: Duration,
        id: &OperationId,
        revision: u64,
        (before, after): (Option<&Record>, Option<&Record>),
    ) {
        let by = at + SOON;
        if let Some(before) = before
            && after.is_none_or(|after| after.update_time != before.update_time)
        {
            self.owes(by, id, Debt::Announced(revision));
        }
        if let Some(time) = hint_of(after).filter(|time| hint_of(before) != Some(*time)) {
            self.owes(by, id, Debt::Hinted(time));
        }
        if let Some(after) = after
            && is_cancelled(after)
            && !before.is_some_and(is_cancelled)
        {
            self.owes(by, id, Debt::Interrupted(after.attempt));
            let grace = self.rules.cancel_grace;
            // The store's clock may stand still for a while after it was put back.
            self.owes(by + grace + Duration::from_secs(5), id, Debt::Ended(after.create_time));
            let told = at + self.tells_within();
            self.owes(told, id, Debt::Told(after.attempt, after.create_time));
            let stopped = told + LONGEST_GRACE + SOON;
            self.owes(stopped, id, Debt::Stopped(after.attempt, after.create_time));
        }
    }

    /// Whether all that was to be so by now is so, and no timer is overdue.
    pub(crate) fn collect(&mut self, at: Duration, now: Time) {
        let (due, later) =
            std::mem::take(&mut self.owed).into_iter().partition(|owed| owed.by <= at);
        self.owed = later;
        let due: Vec<Owed> = due;
        for Owed { id, debt, .. } in due {
            if !debt.is_paid(self.operation(&id)) {
                self.wrong(Some(&id), debt.to_text());
            }
        }
        let overdue = self.operations.iter().find_map(|(id, operation)| {
            let wake = wakes(operation.current()?);
            (wake + LATE < now).then(|| id.clone())
        });
        if let Some(id) = overdue {
            self.wrong(Some(&id), "nobody looks after it, although its time has come".to_owned());
        }
    }
}

impl Operation {
    /// The handlers that are at an attempt of what was created then.
    fn runs_of(&self, attempt: u32, created: Time) -> impl Iterator<Item = &runs::Run> {
        self.runs.iter().filter(move |run| (run.attempt, run.created) == (attempt, Some(created)))
    }

    /// No hint is sent again while one is out.
    pub(super) fn hints_are_needed(
        &self,
        before: Option<&Record>,
        after: Option<&Record>,
    ) -> Result<(), String> {
        let again = match (hint_of(before), hint_of(after)) {
            (Some(before), Some(after)) => before != after,
            (None, _) | (_, None) => false,
        };
        if again && self.hints_out > 0 {
            return Err("a hint is sent again, although the one before is still out".to_owned());
        }
        Ok(())
    }
}

/// When the record needs somebody to look after it.
fn wakes(record: &Record) -> Time {
    let times: &[Option<Time>] = &match &record.state {
        State::Queued(queued) => {
            let looked_after = queued.hint.map_or(queued.ready_time, |hint| hint.check_time);
            [Some(looked_after), queued.deadline, None]
        }
        State::Running(running) => {
            let cancelled = running.cancel.map(|cancel| cancel.deadline);
            [Some(running.lease_end), running.deadline, cancelled]
        }
        State::Done(done) => [Some(done.expire_time), None, None],
    };
    times.iter().flatten().copied().min().unwrap_or(Time::MAX)
}

fn hint_of(record: Option<&Record>) -> Option<Time> {
    match &record?.state {
        State::Queued(queued) => queued.hint.map(|hint| hint.time),
        State::Running(_) | State::Done(_) => None,
    }
}

fn is_cancelled(record: &Record) -> bool {
    matches!(&record.state, State::Running(running) if running.cancel.is_some())
}
