//! What can be said to the bench.

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use crate::{part::Part, report::Output, scenario::Scenario};

/// Load scenarios, each measured against the floor that its parts set.
#[derive(Parser)]
#[command(
    name = "longshore-bench",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub part: Option<Part>,
    /// What to measure: `all`, or one or more of get, get-http, submit, jobs, drain, latency,
    /// progress, waiters, list, memory, backlog, scale, embedded.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Against which installation: real servers, or all roles in one process.
    #[arg(long, value_enum, default_value_t = Against::Real)]
    pub against: Against,
    /// Print one JSON object and nothing else on standard output.
    #[arg(long)]
    json: bool,
    /// Print the tables of docs/performance.md.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Only show that it works: tiny sizes, one round; the figures mean nothing.
    #[arg(long)]
    pub short: bool,
    /// How many rounds, of the product and of the floor alternating.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Scales the sizes of the large scenarios: 1 is a million operations, 50,000 waiters.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
}

/// Which installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Against {
    /// All roles in one process, on the embedded store in memory and the in-process bus.
    Embedded,
    /// Redis, NATS, and a process for each role.
    Real,
}

impl Arguments {
    /// How the report is to look.
    pub(crate) fn output(&self) -> Output {
        match (self.json, self.markdown) {
            (true, _) => Output::Json,
            (false, true) => Output::Markdown,
            (false, false) => Output::Table,
        }
    }

    /// What is to be measured.
    ///
    /// # Errors
    /// If there is no such scenario, or it can't run against the installation.
    pub(crate) fn scenarios(&self) -> Result<Vec<Scenario>> {
        let fits = |scenario: &Scenario| self.against == Against::Real || scenario.runs_embedded();
        if self.scenarios.iter().any(|name| name == "all") {
            return Ok(Scenario::value_variants().iter().copied().filter(fits).collect());
        }
        let mut chosen = Vec::new();
        for name in &self.scenarios {
            let Ok(scenario) = Scenario::from_str(name, false) else {
                let known: Vec<_> = Scenario::value_variants().iter().map(Scenario::name).collect();
                bail!("there is no scenario {name}; there are: all, {}", known.join(", "));
            };
            if !fits(&scenario) {
                bail!("{name} needs real servers: it measures them, or what lies in them");
            }
            chosen.push(scenario);
        }
        Ok(chosen)
    }
}
