//! What clients were told, and what of it can't be true together.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use longshore_proto::longrunning::Operation;
use tokio::time::Instant;
use tonic::Code;

use crate::client::Job;

/// What clients were told. All of it counts once it was told to any of them.
pub struct History {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<Call>,
    accepted: BTreeMap<String, Accepted>,
    wrong: Vec<String>,
}

/// A call and its answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: &'static str,
    /// When it began, since the site's start.
    pub start: Duration,
    /// How long it took.
    pub took: Duration,
    /// How it was answered.
    pub code: Code,
}

/// An operation that was acknowledged.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What was asked for.
    pub job: Job,
    /// Whether a request to cancel it was acknowledged.
    pub cancelled: bool,
    /// Whether its deletion was acknowledged.
    pub deleted: bool,
    /// Its end as it was told first, and when.
    pub end: Option<(Instant, Operation)>,
}

impl Default for History {
    fn default() -> Self {
        Self { start: Instant::now(), inner: Mutex::default() }
    }
}

impl History {
    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    /// All operations that were acknowledged, by name.
    pub fn accepted(&self) -> BTreeMap<String, Accepted> {
        self.inner().accepted.clone()
    }

    /// What was told and can't be.
    pub fn wrong(&self) -> Vec<String> {
        self.inner().wrong.clone()
    }

    pub(crate) fn called(&self, method: &'static str, begun: Instant, code: Code) {
        let start = begun.duration_since(self.start);
        self.inner().calls.push(Call { method, start, took: begun.elapsed(), code });
    }

    pub(crate) fn submitted(&self, job: &Job, operation: &Operation, begun: Instant) {
        {
            let mut inner = self.inner();
            let new = Accepted { job: job.clone(), cancelled: false, deleted: false, end: None };
            inner.accepted.entry(operation.name.clone()).or_insert(new);
        }
        self.saw(operation, begun);
    }

    pub(crate) fn cancelled(&self, name: &str) {
        self.change(name, |accepted| accepted.cancelled = true);
    }

    pub(crate) fn deleted(&self, name: &str) {
        self.change(name, |accepted| accepted.deleted = true);
    }

    /// An operation was shown to a client, in answer to a call that began then.
    pub(crate) fn saw(&self, operation: &Operation, begun: Instant) {
        let mut inner = self.inner();
        let Inner { accepted, wrong, .. } = &mut *inner;
        let Some(known) = accepted.get_mut(&operation.name) else {
            return;
        };
        match (&known.end, operation.done) {
            (None, true) => known.end = Some((Instant::now(), operation.clone())),
            (Some((_, end)), true) if end != operation => {
                wrong.push(format!("ended twice: as {end:?} and as {operation:?}"));
            }
            (Some((told, end)), false) if *told < begun => {
                wrong.push(format!("goes on after its end {end:?}: {operation:?}"));
            }
            (None, false) | (Some(_), _) => {}
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Accepted)) {
        if let Some(accepted) = self.inner().accepted.get_mut(name) {
            change(accepted);
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics with the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(done: bool, text: &str) -> Operation {
        let any = prost_types::Any { type_url: text.to_owned(), value: Vec::new() };
        Operation {
            name: "operations/a".to_owned(),
            done,
            metadata: Some(any),
            ..Operation::default()
        }
    }

    #[tokio::test]
    async fn what_contradicts_itself_is_found() {
        let history = History::default();
        let begun = Instant::now();
        history.submitted(&Job::new(1), &operation(false, ""), begun);
        history.saw(&operation(true, "a"), begun);
        history.saw(&operation(true, "a"), begun);
        // An answer that was on its way.
        history.saw(&operation(false, ""), begun);
        assert!(history.wrong().is_empty());
        history.saw(&operation(true, "b"), begun);
        assert_eq!(history.wrong().len(), 1);
        tokio::time::sleep(Duration::from_millis(5)).await;
        history.saw(&operation(false, ""), Instant::now());
        assert_eq!(history.wrong().len(), 2);
    }
}
