//! What can be said to the client commands.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// The server's address.
    #[arg(
        long,
        env = "LONGSHORE_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
    /// The trace that the calls are part of (W3C Trace Context).
    #[arg(long, env = "TRACEPARENT", value_name = "CONTEXT", hide_env_values = true)]
    pub traceparent: Option<String>,
}

/// How operations are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As google.longrunning's JSON.
    Json,
    /// For people.
    Table,
    /// The same with the worker and the trace.
    Wide,
    /// The names alone.
    Name,
}

/// How one operation is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// How to show the operation on standard output.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Json, value_name = "FORMAT")]
    pub format: Format,
}

/// One operation.
#[derive(Clone, Debug, Args)]
pub(crate) struct Named {
    /// The operation: `PARENT/operations/ID`, `operations/ID`, or the id alone for the latter.
    #[arg(value_parser = operation_name)]
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub output: Output,
}

/// One operation and how long to wait for it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wait {
    /// The longest to wait, such as `90s` or `2h`; for ever without it.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub named: Named,
}

/// Operations of a parent.
#[derive(Clone, Debug, Args)]
pub(crate) struct List {
    /// The resource that they are named under; without it those without a parent.
    #[arg(default_value = "", hide_default_value = true)]
    pub parent: String,
    /// Which of them (AIP-160), such as `done = false`.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FILTER")]
    pub filter: String,
    /// How many to ask the server for at a time; 0 leaves it to the server.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub page_size: i32,
    /// How many to show at most; all without it.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// How to show them on standard output; as JSON they are one array.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub format: Format,
    #[command(flatten)]
    pub connection: Connection,
}

/// Where a JSON value is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Here it is.
    Text(String),
    /// In a file.
    File(PathBuf),
    /// On standard input.
    Stdin,
}

/// Before or after others of the same job type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Priority {
    /// After all others.
    Low,
    /// The usual.
    Normal,
    /// Before all others.
    High,
}

/// A job to submit.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Which work: the name that workers have it under.
    #[arg(value_name = "TYPE")]
    pub job_type: String,
    /// What the work needs to know: a JSON object, `@FILE` with one, or `-` for standard input.
    #[arg(long, value_parser = input, value_name = "JSON|@FILE|-", conflicts_with = "typed_input")]
    pub input: Option<Input>,
    /// The same as a message of a type of its own: JSON with `@type`.
    #[arg(long, value_parser = input, value_name = "JSON|@FILE|-")]
    pub typed_input: Option<Input>,
    /// The resource to name the operation under.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub parent: String,
    /// Makes it safe to submit again: the same request with the same id is the same operation.
    /// Without it a random one is drawn.
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Wait until the operation has ended, and show it then.
    #[arg(long, conflicts_with = "watch")]
    pub wait: bool,
    /// Show progress until the operation has ended, and show it then.
    #[arg(long)]
    pub watch: bool,
    /// The longest to wait with --wait, such as `90s` or `2h`; for ever without it.
    #[arg(long, value_parser = duration, value_name = "DURATION", requires = "wait")]
    pub timeout: Option<Duration>,
    /// A label for filters; can be repeated.
    #[arg(long = "label", value_parser = label, value_name = "KEY=VALUE")]
    pub labels: Vec<(String, String)>,
    /// The name of a resource that the work changes; can be repeated.
    #[arg(long, value_name = "RESOURCE")]
    pub works_on: Vec<String>,
    /// Before or after others of the same type.
    #[arg(long, value_enum)]
    pub priority: Option<Priority>,
    /// Not to start before this time, such as `2030-01-31T12:00:00Z`.
    #[arg(long, value_parser = timestamp, value_name = "TIME", conflicts_with = "delay")]
    pub at: Option<Timestamp>,
    /// Not to start for so long, by this machine's clock.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub delay: Option<Duration>,
    /// End with DEADLINE_EXCEEDED if it has not started for so long after it could have.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub queue_timeout: Option<Duration>,
    /// The longest that one attempt may run.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub run_timeout: Option<Duration>,
    /// How many attempts may fail.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub max_attempts: Option<i32>,
    /// How long to keep the record after the end.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub ttl: Option<Duration>,
    /// Check the request and run nothing.
    #[arg(long, conflicts_with_all = ["wait", "watch"])]
    pub validate_only: bool,
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub output: Output,
}

#[expect(clippy::unnecessary_wraps, reason = "clap asks for a Result")]
fn operation_name(text: &str) -> Result<String, String> {
    Ok(if text.contains('/') { text.to_owned() } else { format!("operations/{text}") })
}

#[expect(clippy::unnecessary_wraps, reason = "clap asks for a Result")]
fn input(text: &str) -> Result<Input, String> {
    Ok(match text.strip_prefix('@') {
        Some(path) => Input::File(path.into()),
        None if text == "-" => Input::Stdin,
        None => Input::Text(text.to_owned()),
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}, expected such as `90s` or `1h 30m`"))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "expected a time such as `2030-01-31T12:00:00Z`".to_owned())?;
    Ok(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}
