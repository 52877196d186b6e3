//! The file in which attempts write down that they run. Its order is the order of events: each line
//! is added to its end by one write.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use longshore_testkit::eventually;
use serde::{Deserialize, Serialize};

/// What an attempt writes down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The operation's full name.
    pub operation: String,
    /// The attempt's number.
    pub attempt: u32,
    /// The process of its worker.
    pub worker_pid: u32,
    /// What it does.
    pub event: Event,
}

/// What an attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It starts.
    Start,
    /// It is still at it.
    Beat,
    /// It ends by itself.
    End,
}

/// Adds a line.
///
/// # Errors
/// If the file can't be written.
pub fn write(path: &Path, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    OpenOptions::new().create(true).append(true).open(path)?.write_all(&text)
}

/// All attempts of a site.
#[derive(Clone, Debug)]
pub struct Attempts {
    path: PathBuf,
}

impl Attempts {
    /// Those that are written down there.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was written down so far, in order.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn lines(&self) -> Result<Vec<Line>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context("can't read what attempts have written"),
        };
        // The last one may be on its way.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).context("an attempt's line is broken"))
            .collect()
    }

    /// Waits until an attempt of the operation, of this number or a later one, has started, and
    /// returns what it wrote.
    pub async fn started(&self, operation: &str, attempt: u32, deadline: Duration) -> Line {
        self.wrote(operation, attempt, Event::Start, deadline).await
    }

    /// Waits until an attempt of the operation, of this number or a later one, has ended by itself.
    pub async fn ended(&self, operation: &str, attempt: u32, deadline: Duration) -> Line {
        self.wrote(operation, attempt, Event::End, deadline).await
    }

    async fn wrote(&self, operation: &str, attempt: u32, event: Event, deadline: Duration) -> Line {
        eventually(deadline, || async {
            let lines = self.lines().map_err(|error| format!("{error:#}"))?;
            lines
                .into_iter()
                .find(|line| {
                    line.operation == operation && line.attempt >= attempt && line.event == event
                })
                .ok_or_else(|| format!("no {event:?} of attempt {attempt} of {operation}"))
        })
        .await
    }

    /// How many attempts of the operation have started.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn count(&self, operation: &str) -> Result<usize> {
        let lines = self.lines()?;
        let starts = lines.iter().filter(|l| l.operation == operation && l.event == Event::Start);
        Ok(starts.count())
    }

    /// Checks that no attempt did anything after a later one of the same operation had started,
    /// but for these operations.
    ///
    /// # Errors
    /// With the two attempts.
    pub fn check_apart(&self, except: &[String]) -> Result<()> {
        let mut latest: BTreeMap<String, u32> = BTreeMap::new();
        for line in self.lines()? {
            let latest = latest.entry(line.operation.clone()).or_default();
            ensure!(
                line.attempt >= *latest || except.contains(&line.operation),
                "attempt {} of {} goes on ({:?}) while attempt {latest} runs",
                line.attempt,
                line.operation,
                line.event,
            );
            *latest = line.attempt.max(*latest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(attempt: u32, event: Event) -> Line {
        Line { operation: "operations/a".to_owned(), attempt, worker_pid: 1, event }
    }

    #[tokio::test]
    async fn overlaps_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::at(dir.path().join("attempts"));
        assert!(attempts.lines().unwrap().is_empty());
        for line in [line(1, Event::Start), line(1, Event::Beat), line(2, Event::Start)] {
            write(attempts.path(), &line).unwrap();
        }
        attempts.check_apart(&[]).unwrap();
        assert_eq!(attempts.count("operations/a").unwrap(), 2);
        assert_eq!(attempts.started("operations/a", 2, Duration::ZERO).await.attempt, 2);
        write(attempts.path(), &line(1, Event::Beat)).unwrap();
        let error = attempts.check_apart(&[]).unwrap_err();
        assert!(error.to_string().contains("attempt 1 of operations/a goes on"), "{error}");
        attempts.check_apart(&["operations/a".to_owned()]).unwrap();
    }
}
