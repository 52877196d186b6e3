//! What the bench runs in processes of its own: workers, the empty server, all roles in one.

mod dev;
mod empty;
pub(crate) mod worker;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

/// A process that the bench starts for itself.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// A server that does nothing but answer.
    #[command(name = "part-empty", hide = true)]
    Empty {
        /// What it answers gRPC calls with.
        #[arg(long)]
        grpc: PathBuf,
        /// What it answers HTTP/JSON calls with.
        #[arg(long)]
        http: PathBuf,
    },
    /// A worker with the bench's jobs.
    #[command(name = "part-worker", hide = true)]
    Worker {
        /// Where the bus is.
        #[arg(long)]
        nats: String,
        /// How many jobs of each type it runs at once.
        #[arg(long)]
        slots: usize,
    },
    /// All roles, with the bench's jobs. The worker starts when a line with its slots comes.
    #[command(name = "part-dev", hide = true)]
    Dev {
        /// Where records are kept; in memory without it.
        #[arg(long)]
        data: Option<PathBuf>,
    },
}

/// Runs a part until it is killed.
///
/// # Errors
/// If it can't start.
pub(crate) async fn run(part: Part) -> Result<()> {
    match part {
        Part::Empty { grpc, http } => empty::run(&grpc, &http).await,
        Part::Worker { nats, slots } => worker::run(nats, slots).await,
        Part::Dev { data } => dev::run(data).await,
    }
}
