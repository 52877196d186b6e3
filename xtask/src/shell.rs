//! Running other programs, visibly.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A command in the workspace's folder.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Cargo itself, the same that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Runs a step and stops at its failure.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<()> {
    println!("--- {title}");
    let status = command.status().with_context(|| format!("{title}: can't start {command:?}"))?;
    if !status.success() {
        bail!("{title} failed");
    }
    Ok(())
}

/// Runs a command, shows its output, and gives each line to `see`. Returns whether it succeeded.
pub(crate) fn follow(
    title: &str,
    command: &mut Command,
    mut see: impl FnMut(&str),
) -> Result<bool> {
    println!("--- {title}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{title}: can't start {command:?}"))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            see(&line);
        }
    }
    Ok(child.wait()?.success())
}

/// Where a program is: in PATH, or where Debian puts servers.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
