//! How far an operation has come: a bar on a terminal, lines elsewhere.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use longshore_proto::{
    longrunning::Operation,
    v1::{OperationMetadata, Progress, operation_metadata::State},
};
use tokio::time::Instant;

use super::show::{complain, metadata, say};

/// Where progress is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Draws the progress of one operation.
pub(crate) struct Drawing(Kind);

enum Kind {
    Bar(ProgressBar),
    Lines { stream: Stream, last: Option<Milestone>, since: Instant },
}

/// What is worth a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Milestone {
    state: State,
    attempt: i32,
    /// Tenths of the whole, if they are known.
    tenths: Option<i64>,
}

impl Drawing {
    /// A bar if the stream is a terminal, else lines.
    pub(crate) fn new(stream: Stream) -> Self {
        let (terminal, target) = match stream {
            Stream::Output => (io::stdout().is_terminal(), ProgressDrawTarget::stdout()),
            Stream::Error => (io::stderr().is_terminal(), ProgressDrawTarget::stderr()),
        };
        if !terminal {
            return Self(Kind::Lines { stream, last: None, since: Instant::now() });
        }
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        bar.set_style(style("{spinner} {wide_msg}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Kind::Bar(bar))
    }

    /// Shows how the operation stands.
    pub(crate) fn draw(&mut self, operation: &Operation) {
        let metadata = metadata(operation).unwrap_or_default();
        match &mut self.0 {
            Kind::Bar(bar) => {
                if let Some(percent) = share(&metadata) {
                    bar.set_style(style("{spinner} [{bar:30}] {wide_msg}"));
                    // From 0 to 1000, so it fits.
                    bar.set_position((percent * 10.0) as u64);
                } else {
                    bar.set_style(style("{spinner} {wide_msg}"));
                }
                bar.set_message(describe(&metadata));
            }
            Kind::Lines { stream, last, since } => {
                let milestone = Milestone::of(&metadata);
                let aged = milestone.tenths.is_none() && since.elapsed() >= Duration::from_secs(1);
                if last.as_ref() == Some(&milestone) && !aged {
                    return;
                }
                *last = Some(milestone);
                *since = Instant::now();
                let line = describe(&metadata);
                let written = match stream {
                    Stream::Output => say(&line),
                    Stream::Error => complain(&line),
                };
                // Nobody reads it: the operation's end is what counts.
                drop(written);
            }
        }
    }

    /// Leaves the place to what comes next.
    pub(crate) fn finish(self) {
        if let Kind::Bar(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Milestone {
    fn of(metadata: &OperationMetadata) -> Self {
        Self {
            state: metadata.state(),
            attempt: metadata.attempt,
            tenths: share(metadata).map(|percent| (percent / 10.0) as i64),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// State, amount, message: `RUNNING 45% (1.20 MiB of 2.60 MiB) reading a.txt`.
fn describe(metadata: &OperationMetadata) -> String {
    let mut parts = vec![metadata.state().as_str_name().to_owned()];
    if metadata.attempt > 1 {
        parts.push(format!("attempt {}", metadata.attempt));
    }
    parts.extend(amount(metadata));
    if let Some(progress) = &metadata.progress {
        parts.extend(units(progress).map(|units| format!("({units})")));
        if !progress.message.is_empty() {
            parts.push(progress.message.clone());
        }
    }
    parts.join(" ")
}

/// The percentage, if it is known.
pub(super) fn amount(metadata: &OperationMetadata) -> Option<String> {
    share(metadata).map(|percent| format!("{}%", percent as i64))
}

/// How far the operation has come, 0 to 100, if it is known.
pub(crate) fn percent(operation: &Operation) -> Option<f64> {
    share(&metadata(operation)?)
}

/// 0 to 100, as the job says or as its units do.
fn share(metadata: &OperationMetadata) -> Option<f64> {
    let progress = metadata.progress.as_ref()?;
    let by_units = || {
        (progress.total_units > 0)
            .then(|| progress.completed_units as f64 * 100.0 / progress.total_units as f64)
    };
    progress.percent.or_else(by_units).map(|percent| percent.clamp(0.0, 100.0))
}

fn units(progress: &Progress) -> Option<String> {
    let count = |count: i64| {
        let count = u64::try_from(count).unwrap_or(0);
        if progress.unit == "bytes" {
            HumanBytes(count).to_string()
        } else {
            HumanCount(count).to_string()
        }
    };
    let unit = if progress.unit.is_empty() || progress.unit == "bytes" {
        String::new()
    } else {
        format!(" {}", progress.unit)
    };
    match (progress.completed_units, progress.total_units) {
        (0, 0) => None,
        (done, 0) => Some(format!("{}{unit}", count(done))),
        (done, total) => Some(format!("{} of {}{unit}", count(done), count(total))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(progress: Progress) -> OperationMetadata {
        OperationMetadata {
            state: State::Running.into(),
            attempt: 1,
            progress: Some(progress),
            ..OperationMetadata::default()
        }
    }

    #[test]
    fn describes_what_is_known() {
        assert_eq!(
            describe(&OperationMetadata { state: State::Pending.into(), ..Default::default() }),
            "PENDING"
        );
        let bytes = Progress {
            completed_units: 1024 * 1024,
            total_units: 4 * 1024 * 1024,
            unit: "bytes".into(),
            message: "a.txt".into(),
            ..Progress::default()
        };
        assert_eq!(describe(&running(bytes)), "RUNNING 25% (1.00 MiB of 4.00 MiB) a.txt");
        let rows = Progress { completed_units: 1200, unit: "rows".into(), ..Progress::default() };
        assert_eq!(
            describe(&OperationMetadata { attempt: 2, ..running(rows) }),
            "RUNNING attempt 2 (1,200 rows)"
        );
    }

    #[test]
    fn nonsense_does_no_harm() {
        let wild = Progress {
            percent: Some(f64::NAN),
            completed_units: i64::MIN,
            total_units: -1,
            ..Progress::default()
        };
        assert_eq!(describe(&running(wild)), "RUNNING 0% (0 of 0)");
    }
}
