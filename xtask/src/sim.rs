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

/// Runs the seeds; whether all is well.
pub(crate) fn run(seeds: &Seeds) -> Result<bool> {
    let mut command = cargo(&["run", "--release", "--quiet", "--package", "longshore-sim", "--"]);
    command.arg("--start").arg(seeds.start.to_string());
    command.arg("--seeds").arg(seeds.seeds.to_string());
    if seeds.history {
        command.arg("--history");
    }
    Ok(command.status()?.success())
}
