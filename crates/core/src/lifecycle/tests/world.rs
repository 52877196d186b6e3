//! One operation, the store's clock, and what the worker of its latest attempt believes.

use std::rc::Rc;

use super::{check, *};
use crate::record::State;

/// What can happen.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// An input arrives; attempts are told relative to the latest.
    Input(Arriving),
    /// Time goes by.
    Wait(Duration),
    /// Time goes by until the record's timer.
    WaitForTimer,
    /// Somebody sets the store's clock back.
    SetBack(Duration),
}

/// An input, as far as it does not depend on the record that it meets.
#[derive(Clone, Debug)]
pub(super) enum Arriving {
    Submit(Box<Job>),
    Claim(&'static str, u64),
    Renew(&'static str, Attempt),
    Progress(Attempt, u64),
    Complete(Attempt),
    Fail(Attempt, Verdict, i32),
    Cancel(&'static str),
    Delete(&'static str),
    Timer(Hints),
}

/// Which attempt an input speaks of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt {
    Latest,
    Before,
}

/// What is known about the hints that are out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hints {
    Unknown,
    None,
    Older,
    Newer,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) record: Option<Record>,
    /// The store's clock.
    pub(super) now: Time,
    /// A clock that nobody sets.
    pub(super) elapsed: Duration,
    /// Until when, by that clock, the worker of the latest attempt works on.
    pub(super) works_until: Option<Duration>,
    /// Whether a client was told that its cancellation is taken care of.
    pub(super) cancel_accepted: bool,
    pub(super) rules: Rules,
    /// How it came to this.
    pub(super) history: Vec<Rc<Move>>,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            record: None,
            now: START,
            elapsed: Duration::ZERO,
            works_until: None,
            cancel_accepted: false,
            rules,
            history: Vec::new(),
        }
    }

    /// Lets something happen and checks all that must hold afterwards.
    pub(super) fn happen(&mut self, event: &Rc<Move>) {
        self.history.push(Rc::clone(event));
        match &**event {
            Move::Input(arriving) => {
                let input = self.input(arriving);
                self.apply(&input);
            }
            Move::Wait(span) => self.wait(*span),
            Move::WaitForTimer => {
                let wake = self.record.as_ref().map_or(self.now, Record::next_wake);
                self.wait(wake.since(self.now));
            }
            Move::SetBack(span) => self.now = self.now - *span,
        }
    }

    pub(super) fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.elapsed += span;
    }

    fn input(&self, arriving: &Arriving) -> Input {
        let latest = self.record.as_ref().map_or(0, |record| record.attempt);
        let number = |attempt: Attempt| match attempt {
            Attempt::Latest => latest,
            Attempt::Before => latest.saturating_sub(1),
        };
        let running = match self.record.as_ref().map(|record| &record.state) {
            Some(State::Running(running)) => running.claim,
            Some(State::Queued(_) | State::Done(_)) | None => 0,
        };
        let parent = |text: &str| Parent::parse(text).unwrap();
        match arriving {
            Arriving::Submit(job) => submit((**job).clone()),
            Arriving::Claim(name, number) => claim(name, *number),
            Arriving::Renew(name, attempt) => {
                Input::Renew { worker: worker(name), attempt: number(*attempt) }
            }
            Arriving::Progress(attempt, sequence) => {
                progress_of(number(*attempt), running, *sequence)
            }
            Arriving::Complete(attempt) => complete_of(number(*attempt), running),
            Arriving::Fail(attempt, verdict, code) => {
                fail_with((number(*attempt), running), *verdict, *code)
            }
            Arriving::Cancel(text) => Input::Cancel { parent: parent(text) },
            Arriving::Delete(text) => Input::Delete { parent: parent(text) },
            Arriving::Timer(hints) => timer(self.hints(*hints)),
        }
    }

    fn hints(&self, hints: Hints) -> HintsOut {
        let hinted = match self.record.as_ref().map(|record| &record.state) {
            Some(State::Queued(queued)) => queued.hint.map_or(self.now, |hint| hint.time),
            Some(State::Running(_) | State::Done(_)) | None => self.now,
        };
        match hints {
            Hints::Unknown => HintsOut::Unknown,
            Hints::None => HintsOut::None,
            Hints::Older => HintsOut::Since(hinted - SECOND),
            Hints::Newer => HintsOut::Since(hinted + SECOND * 5),
        }
    }

    /// Applies an input and returns its effects; none if it is rejected.
    pub(super) fn apply(&mut self, input: &Input) -> Vec<Effect> {
        let before = self.record.clone();
        let result = step(before.clone(), input.clone(), self.now, &self.rules);
        check::step_is_sound(self, before.as_ref(), input, &result);
        let Ok(done) = result else {
            return Vec::new();
        };
        self.follow_the_worker(before.as_ref(), input, &done.record);
        self.follow_the_client(before.as_ref(), input);
        match done.write {
            Write::Keep => {}
            Write::Put => self.record = Some(done.record),
            Write::Remove => self.record = None,
        }
        done.effects
    }

    /// A worker counts its lease from before it asked, and stops when it reports the end.
    fn follow_the_worker(&mut self, before: Option<&Record>, input: &Input, after: &Record) {
        match input {
            Input::Submit(_) if before.is_none() => self.works_until = None,
            Input::Claim { .. } | Input::Renew { .. } => {
                if let State::Running(running) = &after.state {
                    self.works_until = Some(self.elapsed + running.lease_end.since(self.now));
                }
            }
            Input::Complete { attempt, .. } | Input::Fail { attempt, .. } => {
                if *attempt == after.attempt {
                    self.works_until = None;
                }
            }
            Input::Submit(_)
            | Input::Unqueue { .. }
            | Input::Progress { .. }
            | Input::Cancel { .. }
            | Input::Delete { .. }
            | Input::Timer { .. } => {}
        }
    }

    fn follow_the_client(&mut self, before: Option<&Record>, input: &Input) {
        match input {
            Input::Submit(_) if before.is_none() => self.cancel_accepted = false,
            Input::Cancel { .. } => {
                self.cancel_accepted |= before.is_some_and(|record| !record.is_done());
            }
            Input::Submit(_)
            | Input::Claim { .. }
            | Input::Unqueue { .. }
            | Input::Renew { .. }
            | Input::Progress { .. }
            | Input::Complete { .. }
            | Input::Fail { .. }
            | Input::Delete { .. }
            | Input::Timer { .. } => {}
        }
    }
}
