//! What can be said to the operator's commands.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use longshore_core::config::Override;

use super::{client::duration, role::Flags};

/// Where an installation is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Site {
    /// The TOML file with settings that the roles have; weaker than LONGSHORE_ variables, which
    /// are weaker than flags.
    #[arg(long, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the records are, such as `redis://127.0.0.1:6379`.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Where the bus is, such as `nats://127.0.0.1:4222`.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// Where records are: in an installation's Redis, or in a directory.
#[derive(Clone, Debug, Args)]
pub(crate) struct Records {
    #[command(flatten)]
    pub site: Site,
    /// The directory in which `dev` keeps records; it must not be running. Without it they are in
    /// Redis.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["redis", "nats"])]
    pub data: Option<PathBuf>,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What an operator does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Admin {
    /// Checks or shows the settings.
    #[command(subcommand)]
    Config(Config),
    /// Shows what waits and what runs, by job type.
    Queues(Queues),
    /// Has nothing more of a job type started; what runs goes on.
    Pause(Pause),
    /// Lets a job type that was paused go on.
    Resume(Pause),
    /// Gives operations that wait another job type.
    Move(Move),
    /// Ends operations that wait, with ABORTED.
    Discard(Clear),
    /// Shows the workers, their slots, and what they run.
    Workers(Workers),
    /// Has workers take no more work, and end when what runs has ended.
    Drain(Drain),
    /// Holds records, lists and timers against each other. Exits with 1 if they differ.
    Audit(Audit),
    /// Writes all records into a file.
    Backup(Backup),
    /// Takes records from a backup.
    Restore(Restore),
}

/// Settings.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Config {
    /// Says `ok`, or what is wrong and where: all that would stop a role before it reaches a server.
    Check(Site),
    /// Shows what is set, and where, without secrets.
    Print(Print),
}

/// Settings to be shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Print {
    /// All settings, not only those that are set.
    #[arg(long)]
    pub effective: bool,
    #[command(flatten)]
    pub site: Site,
}

/// Queues to be shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Queues {
    /// Look again every second, and show what has come and started in between, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// How they are shown.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = ReportFormat::Table, value_name = "FORMAT")]
    pub format: ReportFormat,
    #[command(flatten)]
    pub site: Site,
}

/// Job types to be paused, or to go on.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pause {
    /// The job types.
    #[arg(required = true, value_name = "TYPE")]
    pub job_types: Vec<String>,
    #[command(flatten)]
    pub site: Site,
}

/// Operations that are to leave their queue.
#[derive(Clone, Debug, Args)]
pub(crate) struct Clear {
    /// Those of this job type that wait to be started, or to be tried again.
    #[arg(long, value_name = "TYPE")]
    pub job_type: String,
    /// Only those that were accepted so long ago, such as `90s` or `1h 30m`.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub older: Option<Duration>,
    /// Only count them.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub site: Site,
}

/// Operations that are to go into another queue.
#[derive(Clone, Debug, Args)]
pub(crate) struct Move {
    /// The job type that they get.
    #[arg(long, value_name = "TYPE")]
    pub to: String,
    #[command(flatten)]
    pub clear: Clear,
}

/// Workers to be shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Workers {
    /// How they are shown.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = ReportFormat::Table, value_name = "FORMAT")]
    pub format: ReportFormat,
    #[command(flatten)]
    pub site: Site,
}

/// Workers that are to take no more work.
#[derive(Clone, Debug, Args)]
pub(crate) struct Drain {
    /// Their names, as operations show them, or their instances, `NAME.BOOT`.
    #[arg(required = true, value_name = "WORKER")]
    pub workers: Vec<String>,
    /// Wait until they run nothing any more.
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub site: Site,
}

/// An audit.
#[derive(Clone, Debug, Args)]
pub(crate) struct Audit {
    /// Mend whatever can be derived from the records.
    #[arg(long)]
    pub repair: bool,
    /// How the report looks.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = ReportFormat::Table, value_name = "FORMAT")]
    pub format: ReportFormat,
    #[command(flatten)]
    pub records: Records,
}

/// A backup.
#[derive(Clone, Debug, Args)]
pub(crate) struct Backup {
    /// The file, which must not be there yet; `-` is standard output.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub records: Records,
}

/// A restoration.
#[derive(Clone, Debug, Args)]
pub(crate) struct Restore {
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace records that are there already. Without it one of them stops the restoration before
    /// it begins.
    #[arg(long)]
    pub overwrite: bool,
    /// Only check that the backup is whole, and whether it could be restored.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub records: Records,
}

impl Flags for Site {
    fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    fn overrides(&self) -> Vec<Override> {
        let given = [("--redis", "redis.url", &self.redis), ("--nats", "nats.url", &self.nats)];
        let given = given.into_iter().filter_map(|(flag, key, value)| {
            value.clone().map(|value| Override { flag, key, value })
        });
        given.collect()
    }
}
