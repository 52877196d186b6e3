use std::{
    fs::OpenOptions,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A child process that is killed on drop, or soon after this process has died.
pub struct Process {
    child: Child,
    /// A shell that reads from a pipe to this process: at its end it kills the child.
    watcher: Child,
}

impl Process {
    /// Starts a program, without input; what it says is added to the file.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn spawn(command: &mut Command, log: &Path) -> Self {
        let log =
            OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let watcher = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        Self { child, watcher }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.exit_status().is_some()
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal, which does nothing if it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // Fails only if it has ended and was waited for.
        kill(pid, signal).ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first: it must not kill a process that has got the child's number later.
        for process in [&mut self.watcher, &mut self.child] {
            // Fails only if it has ended already.
            process.kill().ok();
            process.wait().ok();
        }
    }
}
