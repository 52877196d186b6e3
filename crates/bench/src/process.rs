//! Processes that the bench starts, and what the system says about processes.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

/// How long a process may take until it serves, on a machine under load.
const PATIENCE: Duration = Duration::from_secs(300);
/// What `/proc` counts processor time in: Linux says hundredths of a second on all machines.
const TICKS: f64 = 100.0;

/// This program, also after a build has put another file in its place.
pub(crate) fn own() -> &'static Path {
    Path::new("/proc/self/exe")
}

/// A process that ends with this. Should the bench be killed instead, a watching shell kills it.
pub(crate) struct Process {
    child: Child,
    watcher: Child,
    pid: u32,
    log: PathBuf,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts a program. What it says goes to a log in `dir`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
        dir: &Path,
    ) -> Result<Self> {
        let log = dir.join(format!("{:08x}.log", fastrand::u32(..)));
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let pid = child.id().context("it has ended already")?;
        let watcher = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("can't start a shell")?;
        let stdin = child.stdin.take();
        Ok(Self { child, watcher, pid, log, stdin })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The address in the first line that it writes, once it serves.
    pub(crate) async fn address(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(output) = self.child.stdout.take() {
            let mut output = BufReader::new(output);
            timeout(PATIENCE, output.read_line(&mut line)).await.context("it does not start")??;
        }
        match line.trim().rsplit_once("http://") {
            Some((_, address)) => Ok(address.to_owned()),
            None => bail!("it did not start; its log: {}", self.log()),
        }
    }

    /// Writes a line to its standard input.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await?;
        Ok(())
    }

    /// The end of what it has logged.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first: it must not kill a process that has got the number later. Both fail
        // only if the process has ended already; the runtime waits for them.
        self.watcher.start_kill().ok();
        self.child.start_kill().ok();
    }
}

/// The processor time that a process has used, in seconds; 0 if it has ended.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name may have spaces and brackets in it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS
}

/// The processor time that all processes of the machine have used, and what there was, in seconds.
pub(crate) fn machine_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
    let all: f64 = ticks.iter().sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    ((all - idle) / TICKS, all / TICKS)
}

/// The most memory that a process has had, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// The memory that a process has now, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kilobytes: u64 =
        line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default();
    kilobytes * 1024
}
