//! Runs seeds, prints the first failure with its seed, and says how many went well.
#![expect(clippy::print_stdout, reason = "it talks to the one who runs it")]

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use clap::Parser;

/// Runs the simulation.
#[derive(Parser)]
struct Arguments {
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

fn main() -> ExitCode {
    let Arguments { start, seeds, history } = Arguments::parse();
    let (next, done, operations) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return;
            }
            let seed = start.wrapping_add(number);
            let outcome = longshore_sim::run(seed, None);
            if history {
                println!("seed {seed}\n{}", outcome.history);
            }
            if let Some(failure) = outcome.failure {
                failed.store(true, Ordering::Relaxed);
                println!("seed {seed} fails: {failure}");
                println!("again: cargo xtask sim --start {seed} --seeds 1 --history");
                return;
            }
            done.fetch_add(1, Ordering::Relaxed);
            operations.fetch_add(outcome.operations as u64, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{} seeds with {} operations went well", done.into_inner(), operations.into_inner());
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
