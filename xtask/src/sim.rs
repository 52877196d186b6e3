//! `cargo xtask sim`: the simulation, over as many seeds as one likes.

use anyhow::Result;

use crate::shell::cargo;

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Seeds {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Prints all that happened, whether it is right or not.
    #[arg(long)]
    history: bool,
}

impl Default for Seeds {
    /// Those of every check.
    fn default() -> Self {
        Self { start: 0, seeds: 10_000, history: false }
    }
}

/// Runs the seeds; whether all is well.
pub(crate) fn run(seeds: &Seeds) -> Result<bool> {
    let program = ["run", "--profile", "soak", "--locked", "--package", "longshore-sim", "--"];
    let mut command = cargo(&program);
    command.arg("--start").arg(seeds.start.to_string());
    command.arg("--seeds").arg(seeds.seeds.to_string());
    if seeds.history {
        command.arg("--history");
    }
    Ok(command.status()?.success())
}
