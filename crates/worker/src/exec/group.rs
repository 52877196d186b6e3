//! A process group that leaves nothing behind.
//!
//! Its leader is a guard, a shell that does nothing but wait for the end of a pipe that only the
//! worker holds. Should the worker die, even by SIGKILL, the pipe ends and the guard kills the
//! group. And as long as the guard is not reaped, the group's number can't become another's, so
//! that a signal never reaches a stranger.

use std::{io, process::Stdio};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::{Child, ChildStdin, Command};

const GUARD: &str = "trap '' HUP INT QUIT TERM; read -r _; kill -KILL 0";

/// A group of processes. Dropping it kills them all.
pub(super) struct Group {
    guard: Child,
    /// Ends when the worker does.
    _lifeline: Option<ChildStdin>,
    id: Pid,
}

impl Group {
    /// A group with nothing in it but its guard.
    pub(super) fn new() -> io::Result<Self> {
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let lifeline = guard.stdin.take();
        let id = guard.id().and_then(|id| i32::try_from(id).ok()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { guard, _lifeline: lifeline, id: Pid::from_raw(id) })
    }

    /// Starts a process in the group.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.process_group(self.id.as_raw()).spawn()
    }

    /// Sends a signal to all of the group. The guard ignores SIGTERM.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = killpg(self.id, signal) {
            // There is nobody left to be told.
            tracing::debug!(group = %self.id, %signal, %error, "could not signal");
        }
    }

    /// Kills what is left of the group.
    pub(super) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        drop(self.guard.wait().await);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Without an id it has been reaped, after all of the group was killed.
        if self.guard.id().is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_group_dies_with_the_worker() {
        let mut group = Group::new().unwrap();
        let mut child = group.spawn(Command::new("sleep").arg("1000")).unwrap();
        // What happens to the pipe when the worker is killed.
        drop(group._lifeline.take());
        let status = child.wait().await.unwrap();
        assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn the_guard_outlives_a_polite_request() {
        let group = Group::new().unwrap();
        let mut ready = Command::new("sh");
        // The guard was started first, and both start in the same way.
        group.spawn(ready.args(["-c", "sleep 0.2"])).unwrap().wait().await.unwrap();
        group.signal(Signal::SIGTERM);
        let mut child = group.spawn(Command::new("sleep").arg("1000")).unwrap();
        group.kill().await;
        assert_eq!(child.wait().await.unwrap().to_string(), "signal: 9 (SIGKILL)");
    }
}
