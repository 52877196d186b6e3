//! Runs seeds, prints the first failure with its seed, and says how many went well.

use std::{
    io::Write,
    process::ExitCode,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Parser;
use longshore_sim::Bug;
use tokio::time::Instant;

/// The pause between two lines about how far it is.
const PAUSE: Duration = Duration::from_secs(10);

/// Runs the simulation.
#[derive(Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Prints all that happened, whether it is right or not.
    #[arg(long)]
    history: bool,
    /// A bug that is planted.
    #[arg(long)]
    bug: Option<Bug>,
}

/// How far all threads are.
struct Run {
    arguments: Arguments,
    begun: Instant,
    next: AtomicU64,
    done: AtomicU64,
    operations: AtomicU64,
    failed: AtomicBool,
    /// How many threads are at it.
    at_it: Mutex<usize>,
    ended: Condvar,
}

fn main() -> ExitCode {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let run = Run {
        arguments: Arguments::parse(),
        begun: Instant::now(),
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        operations: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        at_it: Mutex::new(threads),
        ended: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                run.seeds();
                *run.at_it() -= 1;
                run.ended.notify_all();
            });
        }
        run.tell();
    });
    let failed = run.failed.load(Ordering::Relaxed);
    say(&run.progress());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tells the one who runs it, who may have heard enough: the exit code says it as well.
fn say(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").ok();
}

impl Run {
    /// Runs one seed after the other, until all are done or one has failed.
    fn seeds(&self) {
        while !self.failed.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.arguments.seeds {
                return;
            }
            let seed = self.arguments.start.wrapping_add(number);
            let outcome = longshore_sim::run(seed, self.arguments.bug);
            if self.arguments.history {
                say(&format!("seed {seed}\n{}", outcome.history));
            }
            if let Some(failure) = outcome.failure {
                self.failed.store(true, Ordering::Relaxed);
                let again = format!("cargo xtask sim --start {seed} --seeds 1 --history");
                say(&format!("seed {seed} fails: {failure}\nagain: {again}"));
                return;
            }
            self.done.fetch_add(1, Ordering::Relaxed);
            self.operations.fetch_add(outcome.operations as u64, Ordering::Relaxed);
        }
    }

    /// Tells now and then how far it is, until all threads have ended.
    fn tell(&self) {
        let mut at_it = self.at_it();
        while *at_it > 0 {
            let waited = self.ended.wait_timeout(at_it, PAUSE);
            let (guard, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            at_it = guard;
            if timed_out.timed_out() {
                say(&self.progress());
            }
        }
    }

    fn progress(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let operations = self.operations.load(Ordering::Relaxed);
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(0.001);
        let all = self.arguments.seeds;
        format!(
            "{done} of {all} seeds with {operations} operations went well in {seconds:.0} s, {rate:.0} a second"
        )
    }

    fn at_it(&self) -> MutexGuard<'_, usize> {
        self.at_it.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
