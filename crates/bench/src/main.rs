//! `longshore-bench`: load scenarios, each measured against the floor that its parts set.
//!
//! The floor is what the same machine does in the same rounds with the same client, the same bytes
//! and the same number in flight, and without Longshore: figures of different machines and days
//! can't be compared, the ratio can. What a scenario is and what it should reach is told in
//! `docs/performance.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the one who runs it")]

mod arguments;
mod binary;
mod client;
mod fill;
mod floor;
mod lives;
mod load;
mod part;
mod process;
mod report;
mod scenario;
mod site;
mod stats;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::runtime;

use crate::{arguments::Arguments, report::Report, scenario::Bench};

/// The one that the roles have, so that the workers and the floors here are no slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longshore-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    if let Some(part) = arguments.part {
        return part::run(part).await;
    }
    let output = arguments.output();
    let bench = Bench::new(&arguments)?;
    let mut report = Report::default();
    for scenario in arguments.scenarios()? {
        eprintln!("--- {}: {}", scenario.name(), scenario.about());
        let outcome = Box::pin(scenario.run(&bench)).await?;
        eprintln!("{outcome}");
        report.scenarios.push(outcome);
    }
    println!("{}", report.show(output)?);
    Ok(())
}
