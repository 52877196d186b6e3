//! What was measured, for people and for programs.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
    Markdown,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// One figure: the median of all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is, with its unit.
    pub name: String,
    /// The median.
    pub median: f64,
    /// The floor's median in the same rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// The median of each round's ratio to its floor, or to what else it is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What the ratio is to reach; the figure itself, if it has no ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Figure {
    /// A figure that stands for itself.
    pub(crate) fn new(name: impl Into<String>, median: f64) -> Self {
        let name = name.into();
        Self { name, median, floor: None, ratio: None, target: None, met: None }
    }

    /// With its floor and the ratio to it.
    #[must_use]
    pub(crate) fn against(self, floor: f64, ratio: f64) -> Self {
        Self { floor: Some(floor), ratio: Some(ratio), ..self }
    }

    /// With what it is to reach.
    #[must_use]
    pub(crate) fn target(self, target: Target) -> Self {
        let met = Some(target.is_met(self.ratio.unwrap_or(self.median)));
        Self { target: Some(target), met, ..self }
    }
}

/// What an operation cost a role.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    /// Processor time per operation, in seconds.
    pub cpu_seconds_per_operation: f64,
    /// The most memory, in bytes; of several processes that of the largest.
    pub peak_memory_bytes: u64,
}

/// What a scenario measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Its name.
    pub scenario: &'static str,
    /// The ratio of its first figure.
    pub ratio: Option<f64>,
    /// How many rounds.
    pub rounds: usize,
    /// What was measured; the first figure is the scenario's own.
    pub figures: Vec<Figure>,
    /// What it cost, by role.
    pub processes: BTreeMap<&'static str, Cost>,
}

impl Outcome {
    /// An outcome without costs.
    pub(crate) fn new(scenario: &'static str, rounds: usize, figures: Vec<Figure>) -> Self {
        let ratio = figures.first().and_then(|figure| figure.ratio);
        Self { scenario, ratio, rounds, figures, processes: BTreeMap::new() }
    }

    /// With what so many operations cost.
    #[must_use]
    pub(crate) fn with_costs(
        mut self,
        seconds: &BTreeMap<&'static str, f64>,
        operations: usize,
        peaks: &BTreeMap<&'static str, u64>,
    ) -> Self {
        for (role, seconds) in seconds {
            let cost = Cost {
                cpu_seconds_per_operation: seconds / operations.max(1) as f64,
                peak_memory_bytes: peaks.get(role).copied().unwrap_or_default(),
            };
            self.processes.insert(role, cost);
        }
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(FIGURES);
        table.add_rows(self.rows());
        writeln!(f, "{table}")?;
        if self.processes.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(COSTS);
        table.add_rows(self.costs());
        writeln!(f, "{table}")
    }
}

const FIGURES: [&str; 6] = ["scenario", "figure", "median", "floor", "ratio", "target"];
const COSTS: [&str; 4] = ["scenario", "process", "CPU µs per operation", "peak memory, MiB"];

impl Outcome {
    fn rows(&self) -> Vec<[String; 6]> {
        let row = |figure: &Figure| {
            let target = match (figure.target, figure.met) {
                (Some(target), Some(true)) => format!("{target} ✓"),
                (Some(target), _) => format!("{target} ✗"),
                (None, _) => String::new(),
            };
            [
                self.scenario.to_owned(),
                figure.name.clone(),
                number(figure.median),
                figure.floor.map(number).unwrap_or_default(),
                figure.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                target,
            ]
        };
        self.figures.iter().map(row).collect()
    }

    fn costs(&self) -> Vec<[String; 4]> {
        let row = |(role, cost): (&&str, &Cost)| {
            [
                self.scenario.to_owned(),
                (*role).to_owned(),
                format!("{:.1}", cost.cpu_seconds_per_operation * 1e6),
                format!("{:.0}", cost.peak_memory_bytes as f64 / 1048576.0),
            ]
        };
        self.processes.iter().map(row).collect()
    }
}

/// With as many digits as it is good for.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What all scenarios measured.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    pub scenarios: Vec<Outcome>,
}

impl Report {
    /// The whole report as text.
    ///
    /// # Errors
    /// If a figure can't be written as JSON.
    pub(crate) fn show(&self, output: Output) -> Result<String> {
        let rows = self.scenarios.iter().flat_map(Outcome::rows);
        let costs = self.scenarios.iter().flat_map(Outcome::costs);
        let (figures, costs) = match output {
            Output::Json => return Ok(serde_json::to_string(self)?),
            Output::Table => {
                let (mut figures, mut prices) = (Table::new(), Table::new());
                figures.load_preset(presets::UTF8_FULL_CONDENSED).set_header(FIGURES);
                prices.load_preset(presets::UTF8_FULL_CONDENSED).set_header(COSTS);
                (figures.add_rows(rows).to_string(), prices.add_rows(costs).to_string())
            }
            Output::Markdown => (
                markdown(&FIGURES, &rows.map(Vec::from).collect::<Vec<_>>()),
                markdown(&COSTS, &costs.map(Vec::from).collect::<Vec<_>>()),
            ),
        };
        Ok(format!("{figures}\n\n{costs}"))
    }
}

fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let ruler = vec!["---".to_owned(); header.len()];
    let lines = [line(&header), line(&ruler).replace(' ', "")];
    lines.into_iter().chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}
