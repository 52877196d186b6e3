//! Handlers: when they run, when they have to have stopped, and how they ended.

use std::time::Duration;

use longshore_core::{
    names::OperationId,
    record::{Record, State},
    time::Time,
};
use longshore_worker::{Context, JobError, StopReason};

use super::{Debt, History, Operation, owed::LONGEST_GRACE};
use crate::world::STORE_IS_AHEAD;

/// How many handlers a worker may run.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) of_type: usize,
    pub(crate) of_worker: usize,
}

/// A handler that runs.
pub(crate) struct Started<'a> {
    pub(crate) id: &'a OperationId,
    pub(crate) run: u64,
    pub(crate) input: u64,
    pub(crate) attempt: u32,
    pub(crate) process: &'a str,
    pub(crate) job_type: &'a str,
    pub(crate) is_its_type: bool,
    pub(crate) run_timeout: Option<Duration>,
    /// The store's time.
    pub(crate) now: Time,
    pub(crate) limits: Limits,
    pub(crate) context: &'a Context,
}

pub(super) struct Run {
    pub(super) run: u64,
    input: u64,
    pub(super) attempt: u32,
    /// When the operation was created; it may be gone already.
    pub(super) created: Option<Time>,
    process: String,
    job_type: String,
    at: Duration,
    /// By the store's clock.
    begun: Time,
    run_timeout: Option<Duration>,
    context: Context,
}

/// A run that has ended.
pub(super) struct Known {
    attempt: u32,
    created: Option<Time>,
    process: String,
    ended: Ended,
}

/// How a handler ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Which run.
    pub(crate) run: u64,
    /// What it gave; nothing if it was dropped, or panicked.
    pub(crate) gave: Option<Result<u64, JobError>>,
    /// Why it was to stop, if it was.
    pub(crate) told: Option<StopReason>,
}

impl History {
    /// A handler starts: none of the same operation may be at it, unless the store's clock has
    /// jumped ahead since the other was claimed, which ends leases early.
    pub(crate) fn started(&mut self, at: Duration, started: &Started<'_>) {
        let Started { id, run, input, attempt, process, job_type, run_timeout, limits, .. } =
            *started;
        self.note(at, Some(id), format!("{process} starts attempt {attempt}, run {run}"));
        if !started.is_its_type {
            self.wrong(Some(id), format!("it runs as a {job_type}"));
        }
        self.check_limits(started.id, process, job_type, limits);
        let jumped = self.jumped;
        let operation = self.operation(id);
        let created = operation.current().map(|record| record.create_time);
        let claimed = &operation.claimed;
        let at_it = operation.runs.iter().find(|other| {
            let begun = claimed.get(&(input, other.attempt)).copied().unwrap_or(Time::MAX);
            // One that was cancelled and deleted may come to its end beside the next of its name.
            other.input == input && other.created == created && begun > jumped
        });
        let overlap = at_it.map(|other| (other.run, other.attempt));
        let process = process.to_owned();
        let job_type = job_type.to_owned();
        operation.runs.push(Run {
            begun: started.now,
            created,
            run,
            input,
            attempt,
            process,
            job_type,
            at,
            run_timeout,
            context: started.context.clone(),
        });
        if let Some((run, attempt)) = overlap {
            self.wrong(Some(id), format!("attempt {attempt}, run {run}, is still at it"));
        }
    }

    fn check_limits(&mut self, id: &OperationId, process: &str, job_type: &str, limits: Limits) {
        let runs = self.operations.values().flat_map(|operation| &operation.runs);
        let (mut of_type, mut of_worker) = (1, 1);
        for run in runs.filter(|run| run.process == process) {
            of_worker += 1;
            of_type += usize::from(run.job_type == job_type);
        }
        if of_type > limits.of_type || of_worker > limits.of_worker {
            self.wrong(Some(id), format!("{process} runs more at once than it may"));
        }
    }

    /// A handler has reported how far it is.
    pub(crate) fn progressed(&mut self, at: Duration, id: &OperationId, run: u64, units: i64) {
        self.owes(at + Duration::from_secs(5), id, Debt::Progress(run, units));
    }

    /// A handler has stopped, by itself or because it was dropped.
    pub(crate) fn stopped(&mut self, at: Duration, now: Time, id: &OperationId, ended: &Ended) {
        let jumped = self.jumped + self.rules.lease;
        let operation = self.operation(id);
        let place = operation.runs.iter().position(|run| run.run == ended.run);
        // It died with its process.
        let Some(place) = place else { return };
        let run = operation.runs.swap_remove(place);
        let overdue = run.run_timeout.is_some_and(|timeout| {
            at > run.at + timeout + LONGEST_GRACE + Duration::from_millis(200)
        });
        let late = operation.is_late(&run, now, jumped);
        let Run { attempt, created, process, .. } = run;
        operation.ended.push(Known { attempt, created, process, ended: ended.clone() });
        self.note(at, Some(id), format!("run {} stops", ended.run));
        if overdue {
            self.wrong(Some(id), format!("run {} went on after its run_timeout", ended.run));
        }
        if late {
            self.wrong(Some(id), format!("run {} went on to the end of its lease", ended.run));
        }
    }

    /// The handlers of a process have stopped.
    pub(crate) fn process_died(&mut self, process: &str) {
        for operation in self.operations.values_mut() {
            operation.runs.retain(|run| run.process != process);
        }
    }
}

impl Run {
    /// Whether its handler knows that it is to stop.
    pub(super) fn is_told(&self) -> bool {
        self.context.stop_reason().is_some()
    }
}

impl Operation {
    /// Whether a run stopped later than work has to stop: well before its lease ends. A lease that
    /// ends before `from` may have been given before the store's clock jumped.
    fn is_late(&self, run: &Run, now: Time, from: Time) -> bool {
        let Some(record) = self.current() else { return false };
        let State::Running(running) = &record.state else { return false };
        let same = record.attempt == run.attempt && super::input_of(record) == run.input;
        // What is left of a lease may be short already when its handler starts.
        let margin = (running.lease_end.since(run.begun) / 2).min(Duration::from_millis(80));
        same && running.lease_end > from && now > running.lease_end - margin + STORE_IS_AHEAD
    }

    /// Where an attempt is given up because its lease has ended its handler has stopped.
    pub(super) fn no_run_is_left_behind(
        &self,
        before: Option<&Record>,
        after: Option<&Record>,
        from: Time,
    ) -> Result<(), String> {
        let Some(before) = before else { return Ok(()) };
        let State::Running(running) = &before.state else { return Ok(()) };
        let over = after.is_none_or(|after| {
            !matches!(after.state, State::Running(_)) && running.lease_end <= after.update_time
        });
        let at_it = self
            .runs
            .iter()
            .find(|run| run.attempt == before.attempt && run.created == Some(before.create_time));
        match at_it {
            Some(run) if over && after.is_some() && running.lease_end > from => {
                Err(format!("its lease has ended, but run {} has not", run.run))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Once all is in time, no worker loses a lease.
    pub(super) fn lease_was_kept(
        &self,
        before: Option<&Record>,
        after: Option<&Record>,
        now: Time,
        strict: Time,
    ) -> Result<(), String> {
        let Some(before) = before else { return Ok(()) };
        let State::Running(running) = &before.state else { return Ok(()) };
        let goes_on = after.is_some_and(|after| matches!(after.state, State::Running(_)));
        let was_in_time = before.start_time.is_some_and(|start| start > strict);
        if !goes_on && was_in_time && running.lease_end <= now {
            return Err("a lease has ended, although nothing kept it from being renewed".to_owned());
        }
        Ok(())
    }

    /// How the handlers of an attempt ended in a process. Nothing stands for one that has not even
    /// begun: an operation that was deleted and handed in again has attempts of the same numbers.
    pub(super) fn endings(&self, attempt: u32, process: &str) -> Vec<Option<&Ended>> {
        let of_it = |known: &&Known| (known.attempt, &*known.process) == (attempt, process);
        let created = self.current().map(|record| record.create_time);
        let begun = self.ended.iter().filter(of_it).any(|known| known.created == created);
        let mut endings: Vec<Option<&Ended>> =
            self.ended.iter().filter(of_it).map(|known| Some(&known.ended)).collect();
        if !begun {
            endings.push(None);
        }
        endings
    }
}
