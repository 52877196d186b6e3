//! Runs cases, and tells how they went.
#![expect(clippy::print_stdout, reason = "it talks to the one who runs it")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use futures::{StreamExt, stream};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinError, spawn_blocking},
    time::{Instant, error::Elapsed},
};

use crate::{
    case::{Case, Scene, Skipped},
    cases,
};

/// How long a case may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(15 * 60);
/// How many lines of each log are shown when a case fails.
const TAIL: usize = 30;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only the cases whose names contain this; several are separated by commas.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// What random choices follow from [default: drawn, and shown].
    #[arg(long)]
    seed: Option<u64>,
    /// Run random cases with random seeds for so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Only the cases that are short, and those shortened.
    #[arg(long)]
    quick: bool,
    /// How many cases run at once.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Keep the files of cases that fail.
    #[arg(long)]
    keep: bool,
    /// Only show the cases, with what has to stay true in each.
    #[arg(long)]
    list: bool,
}

/// How a case went.
enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Runs what is asked for.
pub fn run(options: &Options) -> ExitCode {
    let outcome = || {
        let chosen = choose(&options.case, options.quick)?;
        if options.list {
            for case in &chosen {
                let quick = if case.quick { " (quick)" } else { "" };
                println!("{}{quick}\n    {}", case.name, case.invariant);
            }
            return Ok(true);
        }
        let longshore = longshore()?;
        let runtime = Runtime::new()?;
        Ok::<_, anyhow::Error>(runtime.block_on(run_all(options, &chosen, &longshore)))
    };
    match outcome() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("longshore-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn choose(names: &[String], quick: bool) -> Result<Vec<Case>> {
    let named = |case: &Case| names.is_empty() || names.iter().any(|n| case.name.contains(&**n));
    let chosen: Vec<Case> =
        cases::all().into_iter().filter(|case| named(case) && (case.quick || !quick)).collect();
    if chosen.is_empty() {
        bail!("there is no such case; --list shows them");
    }
    Ok(chosen)
}

/// The binary under test: cargo puts it beside this one.
fn longshore() -> Result<PathBuf> {
    let itself = std::env::current_exe()?;
    let beside = itself.with_file_name("longshore");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(anyhow!("there is no {}: cargo build --package longshore", beside.display()))
}

/// Whether all is well.
async fn run_all(options: &Options, cases: &[Case], longshore: &Path) -> bool {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("seed {seed}");
    let end = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let mut random = fastrand::Rng::with_seed(seed);
    let turns: Box<dyn Iterator<Item = (&Case, u64)> + Send> = match end {
        None => Box::new(cases.iter().map(|case| (case, seed))),
        Some(end) => Box::new(std::iter::from_fn(move || {
            let case = random.choice(cases)?;
            let seed = random.u64(..1_000_000);
            (Instant::now() < end).then_some((case, seed))
        })),
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let start = Instant::now();
    let mut running = stream::iter(turns)
        .map(|(case, seed)| run_one(case, seed, options, longshore))
        .buffer_unordered(options.jobs.max(1));
    while let Some(verdict) = running.next().await {
        match verdict {
            Verdict::Passed => passed += 1,
            Verdict::Skipped(_) => skipped += 1,
            Verdict::Failed(_) => failed += 1,
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {passed} passed; {failed} failed; {skipped} ignored; \
         finished in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    failed == 0 && passed > 0
}

async fn run_one(case: &Case, seed: u64, options: &Options, longshore: &Path) -> Verdict {
    let start = Instant::now();
    let scene = match Scene::new(seed, options.quick, longshore.to_owned()) {
        Ok(scene) => scene,
        Err(error) => return Verdict::Failed(format!("{error:#}")),
    };
    // A runtime of its own: a case need not be `Send`, and what it leaves behind ends with it.
    let (run, given) = (case.run, scene.clone());
    let ended = spawn_blocking(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(runtime.block_on(tokio::time::timeout(STUCK, run(given))))
    });
    let verdict = judge(ended.await, &scene);
    let took = start.elapsed().as_secs_f64();
    let name = case.name;
    let costs: Vec<String> = scene.costs().iter().map(ToString::to_string).collect();
    let costs = costs.join("; ");
    match &verdict {
        Verdict::Passed => println!("case {name} ... ok ({took:.0} s) {costs}"),
        Verdict::Skipped(why) => println!("case {name} ... SKIPPED: {why}"),
        Verdict::Failed(why) => {
            let logs = tails(scene.dir());
            println!(
                "case {name} ... FAILED ({took:.0} s) {costs}\n{why}\n\
                 again: cargo xtask chaos --case {name} --seed {seed}\n{logs}"
            );
            if options.keep {
                let kept = scene.dir().with_extension("kept");
                if fs::rename(scene.dir(), &kept).is_ok() {
                    println!("its files: {}", kept.display());
                }
            }
        }
    }
    verdict
}

/// A case's own result, unless it was stuck, unless it had no runtime, unless it panicked.
type Ended = Result<io::Result<Result<Result<()>, Elapsed>>, JoinError>;

fn judge(ended: Ended, scene: &Scene) -> Verdict {
    let too_much: Vec<String> = scene
        .costs()
        .iter()
        .filter(|cost| cost.is_too_much())
        .map(|cost| format!("too much: {cost}"))
        .collect();
    match ended {
        Err(panic) => Verdict::Failed(said(panic)),
        Ok(Err(error)) => Verdict::Failed(format!("no runtime: {error}")),
        Ok(Ok(Err(_))) => Verdict::Failed(format!("it is stuck: not done after {STUCK:?}")),
        Ok(Ok(Ok(Err(error)))) => match error.downcast_ref::<Skipped>() {
            Some(Skipped(why)) => Verdict::Skipped(why.clone()),
            None => Verdict::Failed(format!("{error:#}")),
        },
        Ok(Ok(Ok(Ok(())))) if too_much.is_empty() => Verdict::Passed,
        Ok(Ok(Ok(Ok(())))) => Verdict::Failed(too_much.join("\n")),
    }
}

fn said(panic: JoinError) -> String {
    let Ok(panic) = panic.try_into_panic() else { return "it was cancelled".to_owned() };
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "it panicked without a word".to_owned(),
    }
}

/// The last lines of each log.
fn tails(dir: &Path) -> String {
    let mut text = String::new();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "log")) {
        let log = fs::read(path).context("can't be read").unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text += &format!("=== {name} ===\n{tail}\n");
    }
    text
}
