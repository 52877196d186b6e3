//! `cargo xtask clients`: Google's own clients, from their registries, against the real binary.
//!
//! Each client has a folder under `tests/clients` with its checks, written for the test runner of
//! its language, and its versions, pinned. Here they are installed into `.cache/clients` and run
//! beside one `longshore dev`.

pub(crate) mod client;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use self::client::{CLIENTS, Client};
use crate::{
    check::Count,
    shell::{cargo, root, run, which},
};

/// Where a client's checks are, where it is installed, and what it talks to.
pub(crate) struct Place<'a> {
    /// `tests/clients/NAME`.
    pub(crate) sources: PathBuf,
    /// `.cache/clients/NAME`.
    pub(crate) cache: PathBuf,
    /// `HOST:PORT`.
    pub(crate) address: &'a str,
}

/// Runs the checks of these clients, or of all; whether all is well. What they counted goes to
/// `count`.
pub(crate) fn check(only: &[String], count: &mut Count) -> Result<bool> {
    if let Some(unknown) =
        only.iter().find(|name| !CLIENTS.iter().any(|client| client.name == **name))
    {
        let known: Vec<_> = CLIENTS.iter().map(|client| client.name).collect();
        bail!("there is no client {unknown}, but there are: {}", known.join(", "));
    }
    run("build the binary", &mut cargo(&["build", "--package", "longshore", "--locked"]))?;
    let server = Server::start()?;
    let mut well = true;
    for client in CLIENTS {
        if !only.is_empty() && !only.iter().any(|name| name == client.name) {
            continue;
        }
        let title = client.title;
        println!("--- {title}");
        let place = Place {
            sources: root().join("tests/clients").join(client.name),
            cache: root().join(".cache/clients").join(client.name),
            address: &server.address,
        };
        if let Some(tool) = client.tools.iter().find(|tool| which(tool).is_none()) {
            println!("{title}: skipped, {tool} is not on this machine");
            count.skipped += 1;
        } else if let Err(error) = install(client, &place) {
            println!("{title}: skipped, it can't be installed: {error:#}");
            count.skipped += 1;
        } else {
            well &= verdicts(client, &place, count)?;
        }
    }
    Ok(well)
}

/// Installs a client, unless these very versions are there.
pub(crate) fn install(client: &Client, place: &Place<'_>) -> Result<()> {
    fs::create_dir_all(&place.cache)?;
    let mut wanted = Vec::new();
    for pins in client.pins {
        wanted.extend(fs::read(place.sources.join(pins))?);
    }
    let installed = place.cache.join("installed");
    if fs::read(&installed).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    if installed.exists() {
        fs::remove_file(&installed)?;
    }
    for command in (client.install)(place)? {
        let mut command = command;
        let output =
            command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("{command:?}: {}", String::from_utf8_lossy(&said).trim());
        }
    }
    fs::write(installed, wanted)?;
    Ok(())
}

/// Runs a client's checks, and shows one line for each, and all that was said if one fails.
pub(crate) fn verdicts(client: &Client, place: &Place<'_>, count: &mut Count) -> Result<bool> {
    let log = place.cache.join("stderr.log");
    let mut command = (client.checks)(place);
    command
        .env("LONGSHORE_ADDRESS", place.address)
        .env("LONGSHORE_PROTOS", root().join("proto"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log)?);
    let mut child = command.spawn().with_context(|| format!("can't start {command:?}"))?;
    let output = child.stdout.take().context("the checks have no output")?;
    let mut said = Vec::new();
    let (mut checks, mut failed) = (0, 0);
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some((verdict, check)) = verdict(&line) {
            println!("{}: {check} ... {}", client.name, verdict.as_str());
            checks += 1;
            match verdict {
                Verdict::Passed => count.passed += 1,
                Verdict::Skipped => count.skipped += 1,
                Verdict::Failed => {
                    count.failed += 1;
                    failed += 1;
                }
            }
        }
        said.push(line);
    }
    let well = child.wait()?.success() && failed == 0 && checks > 0;
    if !well {
        println!("{}", said.join("\n"));
        println!("{}", String::from_utf8_lossy(&fs::read(&log)?));
        if failed == 0 {
            println!("{}: the checks ended badly", client.title);
            count.failed += 1;
        }
    }
    Ok(well)
}

enum Verdict {
    Passed,
    Failed,
    Skipped,
}

impl Verdict {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// Reads a line of pytest, TAP, `go test` or `cargo test` that tells how a check went.
fn verdict(line: &str) -> Option<(Verdict, &str)> {
    let line = line.trim();
    for (begin, verdict) in [
        ("--- PASS: ", Verdict::Passed),
        ("--- FAIL: ", Verdict::Failed),
        ("--- SKIP: ", Verdict::Skipped),
    ] {
        if let Some(rest) = line.strip_prefix(begin) {
            return Some((verdict, rest.split_once(" (").map_or(rest, |(name, _)| name)));
        }
    }
    for (begin, verdict) in [("ok ", Verdict::Passed), ("not ok ", Verdict::Failed)] {
        if let Some((_, name)) = line.strip_prefix(begin).and_then(|rest| rest.split_once("- ")) {
            return Some(match name.split_once(" # SKIP") {
                Some((name, _)) => (Verdict::Skipped, name),
                None => (verdict, name),
            });
        }
    }
    for (word, verdict) in [
        (" PASSED", Verdict::Passed),
        (" FAILED", Verdict::Failed),
        (" ERROR", Verdict::Failed),
        (" SKIPPED", Verdict::Skipped),
    ] {
        if let Some((name, _)) = line.split_once(word)
            && name.contains("::")
            && !name.contains(' ')
        {
            return Some((verdict, name));
        }
    }
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    match verdict {
        "ok" => Some((Verdict::Passed, name)),
        "FAILED" => Some((Verdict::Failed, name)),
        "ignored" => Some((Verdict::Skipped, name)),
        _ => None,
    }
}

/// A `longshore dev` with jobs to look at; it ends with this.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Self> {
        let folder = root().join("tests/clients");
        let cache = root().join(".cache/clients");
        fs::create_dir_all(&cache)?;
        let log = fs::File::create(cache.join("longshore.log"))?;
        // Cargo puts both binaries into the same folder.
        let binary = env::current_exe()?.with_file_name("longshore");
        let mut process = Command::new(&binary)
            .args(["dev", "--listen", "127.0.0.1:0", "--config"])
            .arg(folder.join("longshore.toml"))
            .arg("--jobs")
            .arg(folder.join("jobs.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("can't start {}", binary.display()))?;
        let mut line = String::new();
        let output = process.stdout.take().context("the server has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let mut server = Self { process, address: String::new() };
        match line.trim().rsplit_once("http://") {
            Some((_, address)) => server.address = address.to_owned(),
            None => bail!("the server did not start: see {}/longshore.log", cache.display()),
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing that it holds is worth a graceful end; its guards end the jobs' processes.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            println!("can't end the server: {error}");
        }
    }
}

/// How long a check may take, for the runners that want to be told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A path as an argument.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
