//! How a role's process is started, and what it takes.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use longshore_testkit::Process;

use super::{Backend, Role, Site};

/// What a process takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its resident memory in KiB.
    pub memory: u64,
    /// How many files and sockets it has open.
    pub files: u64,
}

impl Usage {
    /// Asks the system.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .context("the system does not tell how much memory the process has")?;
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self { memory, files })
    }
}

impl Site {
    /// Starts a role's process, and kills the one before.
    pub(super) fn launch(&mut self, name: &str) {
        self.member_mut(name).process = None;
        let member = self.member(name);
        let mut command = Command::new(&self.longshore);
        command.arg(member.role.to_string()).args(["--nats", &self.url(name, Backend::Nats)]);
        match member.role {
            Role::Gateway => {
                command.args(["--redis", &self.url(name, Backend::Redis)]);
                command.args(["--listen", &self.address(name)]);
            }
            Role::State => {
                command.args(["--redis", &self.url(name, Backend::Redis)]);
            }
            Role::Worker => {
                command.arg("--jobs").arg(self.jobs_file());
            }
        }
        command.env("LONGSHORE_WORKER__NAME", name);
        for (key, value) in self.plan.settings.iter().chain(&member.variables) {
            command.env(key, value);
        }
        command.current_dir(&self.dir);
        let process = Process::spawn(&mut command, &self.dir.join(format!("{name}.log")));
        self.member_mut(name).process = Some(process);
    }

    fn url(&self, name: &str, backend: Backend) -> String {
        match self.links.get(&(name.to_owned(), backend)) {
            Some(link) => format!("{}://127.0.0.1:{}", backend.scheme(), link.port()),
            None => self.plan.url(backend).to_owned(),
        }
    }
}
