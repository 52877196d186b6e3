//! `cargo xtask chaos`: breaks an installation of real processes on real servers.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    servers,
    shell::{cargo, root, run},
};

/// Builds what is needed and runs the cases; whether all is well.
pub(crate) fn chaos(arguments: &[OsString]) -> Result<bool> {
    let servers = servers::find_or_install()?;
    let build = ["build", "--package", "longshore", "--package", "longshore-chaos", "--locked"];
    run("build the binaries", &mut cargo(&build))?;
    let mut command =
        std::process::Command::new(std::env::current_exe()?.with_file_name("longshore-chaos"));
    command.args(arguments).current_dir(root());
    command.env("LONGSHORE_TEST_REDIS_SERVER", &servers.redis);
    if std::env::var_os("LONGSHORE_TEST_NATS_SERVER").is_none() {
        command.env("LONGSHORE_TEST_NATS_SERVER", &servers.nats);
    }
    Ok(command.status()?.success())
}
