//! Processes of the command.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is to happen.
const CEILING: Duration = Duration::from_secs(60);

const JOBS: &str = r#"
[jobs.echo]
command = ["cat"]
concurrency = 4

[jobs.report]
command = ["sh", "-c", 'echo "{\"percent\": 40, \"message\": \"half done\"}" >&3; sleep 1; echo "{}"']

[jobs.refuse]
command = ["sh", "-c", "echo it is wrong >&2; exit 65"]

[jobs.hang]
command = ["sleep", "600"]
concurrency = 4
grace = "1s"
"#;

/// The command, with nothing of the surrounding settings.
pub(crate) fn longshore() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    let ours = std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("LONGSHORE"));
    for name in ours {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A role that runs until it is dropped.
pub(crate) struct Role {
    child: Child,
    /// What it wrote to standard error, line by line.
    log: mpsc::Receiver<String>,
    first_line: mpsc::Receiver<String>,
}

impl Role {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let (sender, first_line) = mpsc::channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = String::new();
            if output.read_line(&mut line).is_ok() {
                drop(sender.send(line));
            }
            drop(output.read_to_end(&mut Vec::new()));
        });
        Self { child, log, first_line }
    }

    /// The address that it says it serves on.
    pub(crate) fn address(&self) -> String {
        let line = self.first_line.recv_timeout(CEILING).unwrap();
        line.trim().rsplit(' ').next().unwrap().to_owned()
    }

    /// Waits for a line of the log that has this in it.
    pub(crate) fn logged(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(CEILING) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("{part:?} is not in the log:\n{}", seen.join("\n")),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // SIGTERM first, so that no executable outlives the test.
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::SIGTERM);
            self.signal(Signal::SIGTERM);
            self.child.wait().unwrap();
        }
    }
}

fn lines(stream: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Goes on reading when nobody listens, so that the process never blocks.
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    receiver
}

/// `longshore dev` with some jobs, on a port of its own.
pub(crate) struct Dev {
    pub(crate) role: Role,
    pub(crate) address: String,
    pub(crate) home: TempDir,
}

impl Dev {
    pub(crate) fn start() -> Self {
        Self::at(tempfile::tempdir().unwrap(), &[])
    }

    pub(crate) fn at(home: TempDir, flags: &[&str]) -> Self {
        let jobs = home.path().join("jobs.toml");
        fs::write(&jobs, JOBS).unwrap();
        Self::with_jobs(home, &jobs, flags)
    }

    /// With the jobs of a file.
    pub(crate) fn with_jobs(home: TempDir, jobs: &Path, flags: &[&str]) -> Self {
        let mut command = longshore();
        command.env("LONGSHORE_WORKER__DRAIN_TIMEOUT", "2s");
        command.args(["dev", "--listen", "127.0.0.1:0", "--jobs"]).arg(jobs).args(flags);
        let role = Role::start(&mut command);
        let address = role.address();
        Self { role, address, home }
    }

    /// Runs a client command against it.
    pub(crate) fn client(&self, args: &[&str]) -> Done {
        let mut command = longshore();
        command.args(args).env("LONGSHORE_SERVER", &self.address);
        done(&mut command)
    }

    /// The same, with something on its standard input.
    pub(crate) fn client_reading(&self, args: &[&str], input: &str) -> Done {
        let mut command = longshore();
        command.args(args).env("LONGSHORE_SERVER", &self.address).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Done::from(child.wait_with_output().unwrap())
    }

    /// Submits a job and returns its operation's name.
    pub(crate) fn submit(&self, args: &[&str]) -> String {
        let done = self.client(&[&["run"], args, &["-o", "name"]].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stdout.trim().to_owned()
    }

    /// Waits until a worker is at it.
    pub(crate) fn until_running(&self, name: &str) {
        let state = || self.client(&["get", name]).json()["metadata"]["state"].clone();
        let tries = (0..3000).map(|_| state());
        assert!(tries.into_iter().any(|state| state == "RUNNING"), "{name} does not start");
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn done(command: &mut Command) -> Done {
    Done::from(command.output().unwrap())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
