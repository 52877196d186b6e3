//! `cargo xtask chaos`: breaks an installation of real processes on real servers.

use std::{env, ffi::OsString, process::Command};

use anyhow::Result;

use crate::{
    check::Count,
    servers::{self, Servers},
    shell::{cargo, command, follow, run},
};

/// The half that runs with every change always makes the same choices.
const SEED: &str = "1";
/// They wait more than they work.
const JOBS: &str = "4";

/// Builds what is needed and runs the cases; whether all is well.
pub(crate) fn chaos(arguments: &[OsString]) -> Result<bool> {
    let servers = servers::find_or_install()?;
    servers::find_or_install_libfaketime();
    let build = ["build", "--package", "longshore", "--package", "longshore-chaos", "--locked"];
    run("build the binaries", &mut cargo(&build))?;
    Ok(cases(&servers)?.args(arguments).status()?.success())
}

/// Runs the quick half with the binaries that the tests have built; whether all is well. What was
/// counted goes to `count`.
pub(crate) fn quick(servers: &Servers, count: &mut Count) -> Result<bool> {
    servers::find_or_install_libfaketime();
    let mut quick = cases(servers)?;
    quick.args(["--quick", "--seed", SEED, "--jobs", JOBS]);
    follow("faults on real servers", &mut quick, |line| count.add(line))
}

/// The cases' own binary, which cargo puts beside this one.
fn cases(servers: &Servers) -> Result<Command> {
    let mut cases = command(env::current_exe()?.with_file_name("longshore-chaos"), &[]);
    cases.env("LONGSHORE_TEST_REDIS_SERVER", &servers.redis);
    if env::var_os("LONGSHORE_TEST_NATS_SERVER").is_none() {
        cases.env("LONGSHORE_TEST_NATS_SERVER", &servers.nats);
    }
    Ok(cases)
}
