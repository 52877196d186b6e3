//! The file that says which executables are jobs.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_core::names::JobType;
use serde::Deserialize;

/// Why a file of jobs can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no TOML, or has keys or values that it must not have.
    #[error("{} is no file of jobs", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is not what it must be.
    #[error("{}: `{key}` must be {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// What it must be.
        expected: String,
    },
}

/// An executable that is a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobConfig {
    /// The job's type.
    pub job_type: JobType,
    /// The executable. A path if it has a slash, else looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// How many of them run at once.
    pub concurrency: NonZeroUsize,
    /// Where they run.
    pub cwd: PathBuf,
    /// What they find in their environment beside the worker's own.
    pub env: BTreeMap<String, String>,
    /// How long they have between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How much of their standard output is kept, in bytes: the end of it.
    pub max_output: NonZeroUsize,
    /// Exit codes that are tried again while attempts are left, beside 69 and 75.
    pub retry_exit_codes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    jobs: BTreeMap<String, Table>,
}

/// `[jobs.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    command: Vec<String>,
    #[serde(default = "one")]
    concurrency: NonZeroUsize,
    cwd: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "grace", with = "humantime_serde")]
    grace: Duration,
    #[serde(default = "max_output")]
    max_output: NonZeroUsize,
    #[serde(default)]
    retry_exit_codes: Vec<u8>,
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

fn grace() -> Duration {
    Duration::from_secs(5)
}

fn max_output() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(1024 * 1024 - 1)
}

/// Reads a file of jobs. Relative paths in it start from the file's directory, which is also where
/// its jobs run unless they say otherwise.
///
/// # Errors
/// Names the file, the key and what was expected there.
pub fn load(path: impl AsRef<Path>) -> Result<Vec<JobConfig>, Error> {
    let path = path.as_ref();
    let text =
        fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let file: File = toml::from_str(&text)
        .map_err(|source| Error::Parse { path: path.into(), source: Box::new(source) })?;
    let absolute =
        std::path::absolute(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let root = absolute.parent().unwrap_or_else(|| Path::new("/"));
    file.jobs.into_iter().map(|(name, table)| check(path, root, &name, table)).collect()
}

fn check(path: &Path, root: &Path, name: &str, table: Table) -> Result<JobConfig, Error> {
    let wrong = |key: &str, expected: String| {
        let key =
            if key.is_empty() { format!("jobs.{name}") } else { format!("jobs.{name}.{key}") };
        Error::Value { path: path.into(), key, expected }
    };
    let job_type = JobType::parse(name).map_err(|_| {
        wrong("", "called by a letter and then at most 62 of A-Z, a-z, 0-9, `-` and `_`".to_owned())
    })?;
    let mut command = table.command.into_iter();
    let program = command.next().filter(|program| !program.is_empty()).ok_or_else(|| {
        wrong("command", "an executable and its arguments, `[\"./hash.sh\", \"-x\"]`".to_owned())
    })?;
    let program = if program.contains('/') { root.join(program) } else { PathBuf::from(program) };
    if program.is_absolute() && !program.is_file() {
        return Err(wrong("command", format!("an executable: there is no {}", program.display())));
    }
    let cwd = root.join(table.cwd.unwrap_or_default());
    if !cwd.is_dir() {
        return Err(wrong("cwd", format!("a directory: there is no {}", cwd.display())));
    }
    if let Some(key) = table.env.keys().find(|key| key.is_empty() || key.contains(['=', '\0'])) {
        return Err(wrong("env", format!("a table of names without `=`, which {key:?} is not")));
    }
    Ok(JobConfig {
        job_type,
        program,
        args: command.collect(),
        concurrency: table.concurrency,
        cwd,
        env: table.env,
        grace: table.grace,
        max_output: table.max_output,
        retry_exit_codes: table.retry_exit_codes,
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn loaded(text: &str) -> Result<Vec<JobConfig>, String> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("run.sh"), "").unwrap();
        let path = directory.path().join("jobs.toml");
        fs::write(&path, text).unwrap();
        load(&path).map_err(|error| {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}")
        })
    }

    #[test]
    fn reads_jobs_relative_to_the_file() {
        let jobs = loaded(
            "[jobs.a]\ncommand = ['./run.sh', '-x']\nconcurrency = 3\ngrace = '2s'\nenv.A = 'b'\n\
             [jobs.b]\ncommand = ['true']\nretry_exit_codes = [3]",
        )
        .unwrap();
        assert!(jobs[0].program.ends_with("run.sh") && jobs[0].program.is_absolute());
        assert_eq!((jobs[0].concurrency.get(), jobs[0].grace), (3, Duration::from_secs(2)));
        assert_eq!(jobs[0].args, ["-x"]);
        assert_eq!(jobs[1].program, Path::new("true"));
        assert_eq!((jobs[1].max_output.get(), jobs[1].concurrency.get()), (1 << 20, 1));
    }

    #[test]
    fn errors_name_file_key_and_what_was_expected() {
        for (text, expected) in [
            (
                "[jobs.a]\ncommand = ['true']\nretries = 3",
                vec!["retries", "expected one of", "line 3"],
            ),
            ("[jobs.a]\ncommand = []", vec!["jobs.toml", "jobs.a.command", "an executable"]),
            ("[jobs.a]\ncommand = ['./no']", vec!["jobs.a.command", "there is no"]),
            ("[jobs.a]\ncommand = ['true']\ncwd = 'no'", vec!["jobs.a.cwd", "a directory"]),
            ("[jobs.'a.b']\ncommand = ['true']", vec!["jobs.a.b", "a letter"]),
            ("[jobs.a]\ncommand = ['true']\nconcurrency = 0", vec!["concurrency", "nonzero"]),
            ("[jobs.a]\ncommand = ['true']\ngrace = 5", vec!["grace", "duration"]),
            (
                "[jobs.a]\ncommand = ['true']\nretry_exit_codes = [256]",
                vec!["retry_exit_codes", "256"],
            ),
        ] {
            let error = loaded(text).unwrap_err();
            for part in expected {
                assert!(error.contains(part), "{part:?} is not in {error}");
            }
        }
    }
}
