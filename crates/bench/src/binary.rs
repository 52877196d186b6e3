//! Where the `longshore` binary is.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The `longshore` binary beside this one. If Cargo runs this, it builds the binary first, in the
/// same profile, which costs nothing if there is nothing to build.
pub(crate) fn longshore() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let binary = own.with_file_name("longshore");
    if let Some(cargo) = env::var_os("CARGO") {
        let folder = own.parent().and_then(|folder| folder.file_name());
        let folder = folder.and_then(|name| name.to_str()).context("this runs from nowhere")?;
        let profile = if folder == "debug" { "dev" } else { folder };
        // Together with this package, so that both have the same dependencies.
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--profile", profile])
            .args(["--package", "longshore", "--package", "longshore-bench"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdout(Stdio::null())
            .status()
            .context("can't run cargo")?;
        ensure!(status.success(), "the longshore binary can't be built");
    }
    ensure!(
        binary.is_file(),
        "there is no {}: cargo build --release --package longshore",
        binary.display()
    );
    Ok(binary)
}
