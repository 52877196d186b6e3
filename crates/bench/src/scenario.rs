//! The scenarios.

mod backlog;
mod embedded;
mod gateway;
mod latency;
mod list;
mod memory;
mod pipeline;
mod progress;
mod scale;
mod waiters;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    arguments::{Against, Arguments},
    binary,
    report::Outcome,
    site::Site,
    stats::median,
};

/// Whether it works must not depend on how loaded the machine is.
const PATIENT: [(&str, &str); 3] = [
    ("LONGSHORE_REDIS__RESPONSE_TIMEOUT", "120s"),
    ("LONGSHORE_REDIS__CONNECT_TIMEOUT", "60s"),
    ("LONGSHORE_GATEWAY__CALL_TIMEOUT", "120s"),
];

/// How the scenarios are run.
pub(crate) struct Bench {
    /// Against which installation.
    pub against: Against,
    /// The `longshore` binary.
    pub binary: PathBuf,
    /// Only show that it works.
    pub short: bool,
    /// How many rounds.
    pub rounds: usize,
    /// Scales the sizes of the large scenarios.
    pub scale: f64,
}

impl Bench {
    /// As the arguments say. Finds or builds the binary.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            against: arguments.against,
            binary: binary::longshore()?,
            short: arguments.short,
            rounds: if arguments.short { 1 } else { arguments.rounds.max(1) },
            scale: arguments.scale,
        })
    }

    /// A size: as it is meant to be, or just to show that it works.
    pub(crate) fn size(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }

    /// The size of a large scenario, scaled, but no smaller than `least`.
    pub(crate) fn large(&self, full: usize, least: usize) -> usize {
        if self.short { least } else { ((full as f64 * self.scale) as usize).max(least) }
    }

    /// An installation without a worker.
    pub(crate) async fn site(&self) -> Result<Site> {
        match self.against {
            Against::Real => self.real(1, &[]).await,
            Against::Embedded => Site::embedded(false).await,
        }
    }

    /// One on real servers with so many state replicas, and with settings as variables.
    pub(crate) async fn real(&self, replicas: usize, settings: &[(&str, &str)]) -> Result<Site> {
        let mut all = settings.to_vec();
        if self.short {
            all.extend(PATIENT);
        }
        Site::real(&self.binary, replicas, &all).await
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    Get,
    GetHttp,
    Submit,
    Jobs,
    Drain,
    Latency,
    Progress,
    Waiters,
    List,
    Memory,
    Backlog,
    Scale,
    Embedded,
}

impl Scenario {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetHttp => "get-http",
            Self::Submit => "submit",
            Self::Jobs => "jobs",
            Self::Drain => "drain",
            Self::Latency => "latency",
            Self::Progress => "progress",
            Self::Waiters => "waiters",
            Self::List => "list",
            Self::Memory => "memory",
            Self::Backlog => "backlog",
            Self::Scale => "scale",
            Self::Embedded => "embedded",
        }
    }

    /// What it measures.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Get => "GetOperation over gRPC, 64 in flight, operations of 1 KB",
            Self::GetHttp => "the same over HTTP/JSON",
            Self::Submit => "RunJob, 64 in flight",
            Self::Jobs => "jobs that do nothing, from RunJob to done, 64 submitters, 100 slots",
            Self::Drain => "a full queue of jobs that do nothing, one worker with 64 slots",
            Self::Latency => "one job at a time, from RunJob to WaitOperation's answer",
            Self::Progress => "running jobs that report a hundred times a second",
            Self::Waiters => "WaitOperation by very many at once on one gateway",
            Self::List => "pages among few and among very many operations",
            Self::Memory => "bytes per operation in Redis, and the roles' memory",
            Self::Backlog => "a very long queue of jobs that do nothing, one worker",
            Self::Scale => "jobs of 10 ms on more and more workers and state replicas",
            Self::Embedded => "jobs and latency of all roles in one process",
        }
    }

    /// Whether it can run without Redis and NATS.
    pub(crate) fn runs_embedded(self) -> bool {
        match self {
            Self::Get | Self::GetHttp | Self::Submit | Self::Jobs | Self::Drain | Self::Latency => {
                true
            }
            Self::Progress
            | Self::Waiters
            | Self::List
            | Self::Memory
            | Self::Backlog
            | Self::Scale
            | Self::Embedded => false,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// If something can't be started, or what was measured is wrong.
    pub(crate) async fn run(self, bench: &Bench) -> Result<Outcome> {
        let outcome = match self {
            Self::Get => gateway::get(bench).await,
            Self::GetHttp => gateway::get_http(bench).await,
            Self::Submit => gateway::submit(bench).await,
            Self::Jobs => pipeline::jobs(bench).await,
            Self::Drain => pipeline::drain(bench).await,
            Self::Latency => latency::latency(bench).await,
            Self::Progress => progress::progress(bench).await,
            Self::Waiters => waiters::waiters(bench).await,
            Self::List => list::list(bench).await,
            Self::Memory => memory::memory_of(bench).await,
            Self::Backlog => backlog::backlog(bench).await,
            Self::Scale => scale::scale(bench).await,
            Self::Embedded => embedded::embedded(bench).await,
        };
        outcome.with_context(|| format!("the scenario {} fails", self.name()))
    }
}

/// Figures of rounds, each of the product and its floor.
#[derive(Default)]
pub(crate) struct Rounds {
    product: Vec<f64>,
    floor: Vec<f64>,
}

impl Rounds {
    /// Adds a round.
    pub(crate) fn push(&mut self, product: f64, floor: f64) {
        self.product.push(product);
        self.floor.push(floor);
    }

    /// The figure of all rounds.
    pub(crate) fn figure(&self, name: &str) -> crate::report::Figure {
        let ratios = self.product.iter().zip(&self.floor).map(|(product, floor)| product / floor);
        crate::report::Figure::new(name, median(self.product.iter().copied()))
            .against(median(self.floor.iter().copied()), median(ratios))
    }
}

/// What was used between two looks, added to what was used before.
pub(crate) fn add_used(
    total: &mut BTreeMap<&'static str, f64>,
    before: &BTreeMap<&'static str, f64>,
    after: &BTreeMap<&'static str, f64>,
) {
    for (role, seconds) in after {
        *total.entry(role).or_default() += seconds - before.get(role).copied().unwrap_or(0.0);
    }
}
