//! `cargo xtask test`: everything that has to hold before a change lands.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{
    chaos, clients, deploy,
    servers::{self, Servers},
    shell::{cargo, follow, run, which},
    sim::{self, Seeds},
};

/// What the test runners counted.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Checks and tests everything; whether all is well.
pub(crate) fn all() -> Result<bool> {
    let servers = servers::find_or_install()?;
    run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run("lints", &mut cargo(&lints))?;
    let docs = ["doc", "--workspace", "--no-deps", "--locked"];
    run("docs", cargo(&docs).env("RUSTDOCFLAGS", "-D warnings"))?;
    if which("cargo-deny").is_some() {
        run("licences and sources", &mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        println!("--- licences and sources: skipped, cargo-deny is not installed");
    }

    let mut count = Count::default();
    let everything = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let mut well = test("tests", &mut cargo(&everything), &servers, &mut count)?;
    // Before anything else builds the binaries with other features.
    well &= chaos::quick(&servers, &mut count)?;
    if let Some(newest) = &servers.newest_nats {
        // What talks to NATS, once more at the other end of the supported versions.
        let again = [
            "test",
            "--locked",
            "--no-fail-fast",
            "--package",
            "longshore-bus",
            "--package",
            "longshore",
        ];
        let mut command = cargo(&again);
        command.env("LONGSHORE_TEST_NATS_SERVER", newest);
        well &= test("tests with the newest NATS", &mut command, &servers, &mut count)?;
    }
    println!("--- simulation");
    count.check(sim::run(&Seeds::default())?);
    well &= clients::check(&[], &mut count)?;
    well &= deploy::all(&mut count)?;
    well &= bench(&servers, &mut count)?;
    Ok(count.conclude() & well)
}

/// Checks that every scenario of the bench works; how fast says nothing here. Whether it does.
fn bench(servers: &Servers, count: &mut Count) -> Result<bool> {
    println!("--- the bench, in short");
    let mut command = cargo(&["run", "--locked", "--quiet", "--package", "longshore-bench"]);
    command.args(["--", "all", "--short", "--json"]).stdout(Stdio::null());
    command.env("LONGSHORE_TEST_REDIS_SERVER", &servers.redis);
    command.env("LONGSHORE_TEST_NATS_SERVER", &servers.nats);
    let well = command.status().with_context(|| format!("can't start {command:?}"))?.success();
    println!("bench: all scenarios work ... {}", if well { "ok" } else { "FAILED" });
    if well {
        count.passed += 1;
    } else {
        count.failed += 1;
    }
    Ok(well)
}

/// Checks Google's clients against the binary; whether all is well.
pub(crate) fn clients(only: &[String]) -> Result<bool> {
    let mut count = Count::default();
    let well = clients::check(only, &mut count)?;
    Ok(count.conclude() & well)
}

/// Runs some checks; whether all is well.
pub(crate) fn counted(checks: impl FnOnce(&mut Count) -> Result<bool>) -> Result<bool> {
    let mut count = Count::default();
    let well = checks(&mut count)?;
    Ok(count.conclude() & well)
}

fn test(title: &str, command: &mut Command, servers: &Servers, count: &mut Count) -> Result<bool> {
    command.env("LONGSHORE_TEST_REDIS_SERVER", &servers.redis);
    if command.get_envs().all(|(name, _)| name != "LONGSHORE_TEST_NATS_SERVER") {
        command.env("LONGSHORE_TEST_NATS_SERVER", &servers.nats);
    }
    follow(title, command, |line| count.add(line))
}

impl Count {
    /// Shows the totals, and tells whether something passed and nothing failed.
    fn conclude(&self) -> bool {
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        self.failed == 0 && self.passed > 0
    }

    /// Counts a check that is no test of cargo's.
    fn check(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Reads the line with which each test binary ends:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result:").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) =
                (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}
