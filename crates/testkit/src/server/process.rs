use std::{
    ffi::OsString,
    fs::OpenOptions,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A child process that is killed on drop, or soon after this process has died.
pub(super) struct Process {
    child: Child,
    /// A shell that reads from a pipe to this process: at its end it kills the child.
    watcher: Child,
}

impl Process {
    pub(super) fn spawn(program: &Path, arguments: &[OsString], folder: &Path, log: &Path) -> Self {
        let log =
            OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} can't be started: {error}", program.display()));
        let watcher = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        Self { child, watcher }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("the process has not been waited for, so it can be signalled");
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
