//! One of the processes, kept running.
#![expect(clippy::disallowed_types, reason = "nothing here is asynchronous")]

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process that lived for less did not really start.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// So many short lives in a row are enough.
const TRIES: u32 = 5;
/// The pause before a process is started anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the processes of a tier may take to end: more than any role's drain.
const GRACE: Duration = Duration::from_secs(60);

/// In which order processes end: each needs those of the later tiers while it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// What brings work and what does it.
    Edge,
    Gateway,
    State,
    Server,
}

pub(super) struct Process {
    pub(super) name: String,
    tier: Tier,
    command: Command,
    child: Child,
    log: PathBuf,
    started: Instant,
    /// When it was seen to have ended.
    ended: Option<Instant>,
    short_lives: u32,
}

impl Process {
    /// Starts it, with what it says in a file of its name.
    pub(super) fn start(
        tier: Tier,
        name: String,
        mut command: Command,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = spawn(&name, &mut command)?;
        let started = Instant::now();
        Ok(Self { name, tier, command, child, log, started, ended: None, short_lives: 0 })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts it anew some time after it has ended, as Compose would.
    pub(super) fn revive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let Some(ended) = self.ended else {
            println!("{} has ended ({status})", self.name);
            self.ended = Some(Instant::now());
            let is_short = self.started.elapsed() < SHORT_LIFE;
            self.short_lives = if is_short { self.short_lives + 1 } else { 0 };
            if self.short_lives == TRIES {
                bail!("{} does not keep running: see {}", self.name, self.log.display());
            }
            return Ok(());
        };
        if ended.elapsed() >= PAUSE {
            self.child = spawn(&self.name, &mut self.command)?;
            println!("{} is started anew: {}", self.name, self.id());
            (self.started, self.ended) = (Instant::now(), None);
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal) {
        // Once it was waited for, its number may be another's.
        if self.has_ended() {
            return;
        }
        if let Ok(id) = i32::try_from(self.child.id())
            && let Err(error) = kill(Pid::from_raw(id), signal)
        {
            println!("{} can't be ended: {error}", self.name);
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

fn spawn(name: &str, command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("can't start {name}"))
}

/// Ends all, tier by tier: gracefully, but at once after a signal.
pub(super) fn stop(processes: &mut [Process], signals: &Receiver<()>) {
    let mut hurry = false;
    for tier in [Tier::Edge, Tier::Gateway, Tier::State, Tier::Server] {
        let mut left: Vec<_> = processes.iter_mut().filter(|p| p.tier == tier).collect();
        for process in &mut left {
            process.signal(Signal::SIGTERM);
        }
        let deadline = Instant::now() + GRACE;
        loop {
            left.retain_mut(|process| !process.has_ended());
            if left.is_empty() {
                break;
            }
            if hurry || Instant::now() > deadline {
                for process in &mut left {
                    process.signal(Signal::SIGKILL);
                }
            }
            hurry |= signals.recv_timeout(Duration::from_millis(50)).is_ok();
        }
    }
}
