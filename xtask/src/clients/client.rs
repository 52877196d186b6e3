//! How each client is installed and its checks are run.

use std::{fs, process::Command};

use anyhow::Result;

use super::{PATIENCE, Place, text};
use crate::shell::{cargo, command};

/// A client, or some of one language.
pub(crate) struct Client {
    /// What its folders are called.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) title: &'static str,
    /// The programs that it needs.
    pub(crate) tools: &'static [&'static str],
    /// The files that say which versions are wanted.
    pub(crate) pins: &'static [&'static str],
    /// What brings them.
    pub(crate) install: fn(&Place<'_>) -> Result<Vec<Command>>,
    /// What runs the checks.
    pub(crate) checks: fn(&Place<'_>) -> Command,
}

/// All clients.
pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "python",
        title: "Python: google-api-core, google-api-python-client, google-cloud-*",
        tools: &["python3"],
        pins: &["requirements.txt"],
        install: install_python,
        checks: check_python,
    },
    Client {
        name: "node",
        title: "Node: google-gax",
        tools: &["node", "npm"],
        pins: &["package-lock.json"],
        install: install_node,
        checks: check_node,
    },
    Client {
        name: "go",
        title: "Go: cloud.google.com/go/longrunning",
        tools: &["go"],
        pins: &["go.sum"],
        install: install_go,
        checks: check_go,
    },
    Client {
        name: "java",
        title: "Java: gax",
        tools: &["java", "mvn"],
        pins: &["pom.xml"],
        install: install_java,
        checks: check_java,
    },
    Client {
        name: "rust",
        title: "Rust: google-cloud-longrunning",
        tools: &["cargo"],
        pins: &["Cargo.lock"],
        install: install_rust,
        checks: check_rust,
    },
];

pub(crate) fn install_python(place: &Place<'_>) -> Result<Vec<Command>> {
    let folder = text(&place.cache.join("venv"));
    let python = format!("{folder}/bin/python");
    let requirements = text(&place.sources.join("requirements.txt"));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries=2",
        "--requirement",
    ];
    Ok(vec![
        command("python3", &["-m", "venv", "--clear", &folder]),
        command(python, &[&pip[..], &[&requirements]].concat()),
    ])
}

pub(crate) fn check_python(place: &Place<'_>) -> Command {
    let timeout = format!("--timeout={}", PATIENCE.as_secs());
    // Without a cache of its own and compiled files, so that the sources' folder stays clean.
    let arguments = ["-B", "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", &timeout];
    let mut command = command(place.cache.join("venv/bin/python"), &arguments);
    command.current_dir(&place.sources);
    command
}

fn install_node(place: &Place<'_>) -> Result<Vec<Command>> {
    for file in ["package.json", "package-lock.json"] {
        fs::copy(place.sources.join(file), place.cache.join(file))?;
    }
    let mut npm =
        command("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]);
    npm.current_dir(&place.cache);
    Ok(vec![npm])
}

fn check_node(place: &Place<'_>) -> Command {
    let mut command = command("node", &["--test-reporter=tap", "checks.cjs"]);
    command.env("NODE_PATH", place.cache.join("node_modules")).current_dir(&place.sources);
    command
}

fn install_go(place: &Place<'_>) -> Result<Vec<Command>> {
    let mut go = command("go", &["mod", "download"]);
    go.current_dir(&place.sources);
    Ok(vec![go])
}

fn check_go(place: &Place<'_>) -> Command {
    let timeout = format!("-timeout={}s", PATIENCE.as_secs());
    let mut command =
        command("go", &["test", "-v", "-vet=off", "-count=1", "-mod=readonly", &timeout, "."]);
    command.current_dir(&place.sources);
    command
}

fn install_java(place: &Place<'_>) -> Result<Vec<Command>> {
    let lib = format!("-DoutputDirectory={}", text(&place.cache.join("lib")));
    let copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
    let mut maven = command("mvn", &["--batch-mode", "--quiet", copy, &lib]);
    maven.current_dir(&place.sources);
    Ok(vec![maven])
}

fn check_java(place: &Place<'_>) -> Command {
    let lib = format!("{}/*", text(&place.cache.join("lib")));
    let mut command = command("java", &["-cp", &lib, "Checks.java"]);
    command.current_dir(&place.sources);
    command
}

fn install_rust(place: &Place<'_>) -> Result<Vec<Command>> {
    let manifest = text(&place.sources.join("Cargo.toml"));
    Ok(vec![cargo(&["fetch", "--quiet", "--locked", "--manifest-path", &manifest])])
}

fn check_rust(place: &Place<'_>) -> Command {
    let manifest = text(&place.sources.join("Cargo.toml"));
    let target = text(&place.cache.join("target"));
    let arguments = ["test", "--locked", "--manifest-path", &manifest, "--target-dir", &target];
    let mut command = cargo(&arguments);
    command.current_dir(&place.sources);
    command
}
