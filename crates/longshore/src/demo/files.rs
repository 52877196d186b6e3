//! What the demo works on. It comes with the binary, so that it works wherever that is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The job, as the examples have it.
const HASH: &str = include_str!("../../../../examples/jobs/hash.sh");
/// Run by `sh`, because what has just been written can't always be executed.
const JOBS: &str = "[jobs.hash]\ncommand = [\"sh\", \"./hash.sh\"]\n";
/// How many files the sample has: some seconds of work.
const FILES: usize = 600;
/// How large each is, in bytes.
const SIZE: usize = 64 << 10;

/// Writes the file of jobs, with the job beside it.
pub(super) fn write_jobs(home: &Path) -> Result<PathBuf> {
    let jobs = home.join("jobs.toml");
    write(&home.join("hash.sh"), HASH.as_bytes())?;
    write(&jobs, JOBS.as_bytes())?;
    Ok(jobs)
}

/// Writes files to be hashed, the same in every run.
pub(super) fn write_sample(directory: &Path) -> Result<PathBuf> {
    fs::create_dir(directory).with_context(|| format!("can't make {}", directory.display()))?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut content = vec![0; SIZE];
    for number in 0..FILES {
        random.fill(&mut content);
        write(&directory.join(format!("{number:04}.bin")), &content)?;
    }
    Ok(directory.to_owned())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("can't write {}", path.display()))
}
