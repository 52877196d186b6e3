//! The project's own chores: `cargo xtask test` and what else a developer runs.
//!
//! Nothing here is part of the product.
#![expect(clippy::print_stdout, reason = "a chore talks to the one who runs it")]

mod chaos;
mod check;
mod clients;
mod deploy;
mod servers;
mod shell;
mod sim;
mod up;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Find or install the servers that the tests need, then check format, lints and docs and run
    /// every test.
    Test,
    /// Run Google's own clients, installed from their registries, against the real binary.
    Clients {
        /// Only these: python, node, go, java, rust.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Run the simulation over so many seeds; the first that fails is printed with its history.
    Sim(sim::Seeds),
    /// Break an installation of real processes on real servers, and check that nothing was lost;
    /// `--help` after it shows what it takes.
    #[command(disable_help_flag = true)]
    Chaos {
        /// For the cases' own binary: --case NAME, --seed S, --minutes M, --quick, --list.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Lint, render and check the Helm chart.
    Chart {
        /// First copies rules and dashboards from deploy/ into the chart.
        #[arg(long)]
        copy: bool,
    },
    /// Check the chart, the image, the Compose file, and the topology as processes.
    Deploy,
    /// Run two gateways behind nginx, two state replicas, workers, Redis and NATS until Ctrl-C.
    Up(up::Site),
    /// Find or install the servers that the tests need, and say where they are.
    Servers,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Test => check::all(),
        Chore::Clients { only } => check::clients(&only),
        Chore::Sim(seeds) => sim::run(&seeds),
        Chore::Chaos { arguments } => chaos::chaos(&arguments),
        Chore::Chart { copy } => check::counted(|count| deploy::chart(copy, count)),
        Chore::Deploy => check::counted(deploy::all),
        Chore::Up(site) => up::run_all(&site),
        Chore::Servers => servers::find_or_install().map(|servers| {
            println!("redis-server: {}", servers.redis.display());
            println!("nats-server: {}", servers.nats.display());
            match &servers.newest_nats {
                Some(path) => println!("newest nats-server: {}", path.display()),
                None => println!("newest nats-server: none"),
            }
            true
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
