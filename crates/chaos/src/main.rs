//! Runs the cases; see `--help`. It is also the executable that the cases' jobs run.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use longshore_chaos::{handler, runner};

/// Breaks an installation of real processes on real servers, and checks that nothing was lost.
#[derive(Parser)]
#[command(name = "longshore-chaos")]
struct Arguments {
    #[command(subcommand)]
    work: Option<Work>,
    #[command(flatten)]
    run: runner::Options,
}

#[derive(Subcommand)]
enum Work {
    /// Runs a job of the cases' own, for a worker.
    #[command(hide = true)]
    Handle(handler::Arguments),
}

fn main() -> ExitCode {
    let Arguments { work, run } = Arguments::parse();
    match work {
        Some(Work::Handle(arguments)) => handler::run(&arguments),
        None => runner::run(&run),
    }
}
