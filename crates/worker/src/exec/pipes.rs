//! What goes through the pipes between the worker and an executable. All of it is bounded, and an
//! executable that writes faster than it is read waits.

use std::io;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    process::{ChildStderr, ChildStdin, ChildStdout},
};

use longshore_core::json;

use super::{
    lines::{Line, Lines},
    output::Tail,
};
use crate::context::Context;

/// The longest line of progress, in bytes.
const MAX_REPORT: usize = 64 * 1024;
/// The longest line of standard error that is one entry of the log, in bytes.
const MAX_LOG_LINE: usize = 8 * 1024;
/// How much of standard error goes into an error, in bytes.
const STDERR_TAIL: usize = 4 * 1024;

/// Hands over the input. That the executable does not read it is its own business.
pub(super) async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    let Some(mut stdin) = stdin else { return };
    if let Err(error) = stdin.write_all(input).await {
        tracing::debug!(%error, "the job did not read all of its input");
    }
}

/// Reads all of standard output, and keeps the end of it.
pub(super) async fn stdout(stdout: Option<ChildStdout>, tail: &mut Tail) -> io::Result<()> {
    let Some(mut stdout) = stdout else { return Ok(()) };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = read(&mut stdout, &mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        tail.push(&buffer[..read]);
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    from.read(buffer).await
}

/// The end of standard error.
pub(super) fn stderr_tail() -> Tail {
    Tail::new(STDERR_TAIL)
}

/// Logs standard error line by line, and keeps the end of it.
pub(super) async fn stderr(stderr: Option<ChildStderr>, tail: &mut Tail) -> io::Result<()> {
    let Some(stderr) = stderr else { return Ok(()) };
    let mut lines = Lines::new(BufReader::new(stderr), MAX_LOG_LINE);
    while let Some(line) = lines.next().await? {
        let (text, end) = match line {
            Line::Whole(text) => (text, "\n"),
            Line::Part(text) => (text, ""),
        };
        tail.push(text);
        tail.push(end.as_bytes());
        tracing::info!(stderr = %String::from_utf8_lossy(text).trim_end());
    }
    Ok(())
}

/// Reads progress, and reports it.
pub(super) async fn progress(reports: pipe::Receiver, context: &Context) -> io::Result<()> {
    let mut lines = Lines::new(BufReader::new(reports), MAX_REPORT);
    let mut skipping = false;
    let mut bad = 0_u64;
    while let Some(line) = lines.next().await? {
        let outcome = match line {
            Line::Part(_) if skipping => continue,
            Line::Part(_) => {
                skipping = true;
                Err(format!("it is longer than {MAX_REPORT} bytes"))
            }
            Line::Whole(_) if skipping => {
                skipping = false;
                continue;
            }
            Line::Whole(text) if text.trim_ascii().is_empty() => continue,
            Line::Whole(text) => report(text, context),
        };
        if let Err(error) = outcome {
            // Once in a while: a job that gets it wrong gets it wrong all the time.
            if bad.is_power_of_two() || bad == 0 {
                tracing::warn!(error, ignored = bad + 1, "ignored a line on file descriptor 3");
            }
            bad += 1;
        }
    }
    Ok(())
}

fn report(text: &[u8], context: &Context) -> Result<(), String> {
    let report: Report = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let details = report.details.map(json::response_from_json).transpose();
    let details = details.map_err(|error| format!("`details` {error}"))?;
    context.update(|progress| {
        progress.percent = report.percent.or(progress.percent);
        progress.completed_units = report.completed_units.unwrap_or(progress.completed_units);
        progress.total_units = report.total_units.unwrap_or(progress.total_units);
        if let Some(unit) = report.unit {
            progress.unit = unit;
        }
        if let Some(message) = report.message {
            progress.message = message;
        }
        progress.details = details.or_else(|| progress.details.take());
    });
    Ok(())
}

/// A line of progress.
#[derive(Deserialize)]
struct Report {
    percent: Option<f64>,
    #[serde(default, alias = "completedUnits", deserialize_with = "units")]
    completed_units: Option<i64>,
    #[serde(default, alias = "totalUnits", deserialize_with = "units")]
    total_units: Option<i64>,
    unit: Option<String>,
    message: Option<String>,
    details: Option<Value>,
}

/// A whole number: plain, with a fraction that is cut (awk prints `1e+06`), or as a string, which
/// is how proto3 JSON writes 64 bits.
fn units<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Units {
        Whole(i64),
        Fraction(f64),
        Text(String),
    }
    match Option::<Units>::deserialize(from)? {
        None => Ok(None),
        Some(Units::Whole(number)) => Ok(Some(number)),
        // Saturates at the ends.
        Some(Units::Fraction(number)) => Ok(Some(number as i64)),
        Some(Units::Text(text)) => text.trim().parse().map(Some).map_err(serde::de::Error::custom),
    }
}
