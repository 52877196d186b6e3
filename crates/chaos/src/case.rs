//! What a case is, and what it gets.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use futures::future::LocalBoxFuture;
use tempfile::TempDir;

/// Something that is broken on purpose.
pub struct Case {
    /// What it is called, in words joined by hyphens.
    pub name: &'static str,
    /// What has to stay true besides what always has to (see [`check`](crate::check)), in a sentence.
    pub invariant: &'static str,
    /// Whether it is of the half that runs with every change: short, and light on the machine.
    pub quick: bool,
    /// Does it.
    pub run: fn(Scene) -> LocalBoxFuture<'static, Result<()>>,
}

/// Makes a [`Case`] of an `async fn(Scene) -> Result<()>`.
#[macro_export]
macro_rules! case {
    ($name:literal, $quick:expr, $run:path, $invariant:literal) => {
        $crate::case::Case {
            name: $name,
            invariant: $invariant,
            quick: $quick,
            run: |scene| Box::pin($run(scene)),
        }
    };
}

/// What a case gets: where it may write, what to draw from, and whom to tell.
#[derive(Clone)]
pub struct Scene {
    /// What its random choices follow from.
    pub seed: u64,
    /// Whether it should be done soon: fewer operations, shorter outages.
    pub quick: bool,
    /// The `longshore` binary.
    pub longshore: PathBuf,
    dir: Arc<TempDir>,
    costs: Arc<Mutex<Vec<Cost>>>,
}

/// What the fault has cost, beside what it may.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// What is measured.
    pub what: String,
    /// What it was.
    pub took: f64,
    /// What it may be.
    pub bound: f64,
    /// Of what; `s` for seconds.
    pub unit: &'static str,
}

/// Why a case can't run on this machine.
#[derive(Debug, thiserror::Error)]
#[error("skipped: {0}")]
pub struct Skipped(pub String);

impl Scene {
    /// A scene in a directory of its own.
    ///
    /// # Errors
    /// If that can't be made.
    pub fn new(seed: u64, quick: bool, longshore: PathBuf) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("longshore-chaos-").tempdir()?;
        Ok(Self { seed, quick, longshore, dir: Arc::new(dir), costs: Arc::default() })
    }

    /// Where the case's files are; what ends with `.log` is shown if the case fails.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// To draw from.
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// One or the other, for a short and for a long run.
    pub fn pick<T>(&self, quick: T, long: T) -> T {
        if self.quick { quick } else { long }
    }

    /// Notes how long something took. More than the bound fails the case at its end.
    pub fn took(&self, what: impl Into<String>, took: Duration, bound: Duration) {
        self.cost(what, took.as_secs_f64(), bound.as_secs_f64(), "s");
    }

    /// Notes how much there was of something. More than the bound fails the case at its end; what
    /// is only to be shown has an infinite one.
    pub fn cost(&self, what: impl Into<String>, took: f64, bound: f64, unit: &'static str) {
        let cost = Cost { what: what.into(), took, bound, unit };
        self.costs.lock().expect("nothing panics with the lock").push(cost);
    }

    /// What was noted.
    pub fn costs(&self) -> Vec<Cost> {
        self.costs.lock().expect("nothing panics with the lock").clone()
    }
}

impl Cost {
    /// Whether it is more than it may be.
    pub fn is_too_much(&self) -> bool {
        self.took > self.bound
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, took, bound, unit } = self;
        let digits = if took.fract() == 0.0 { 0 } else { 1 };
        if bound.is_finite() {
            write!(f, "{what}: {took:.digits$} of {bound:.0} {unit}")
        } else {
            write!(f, "{what}: {took:.digits$} {unit}")
        }
    }
}
