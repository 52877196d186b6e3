//! A worker in Rust, with a job that counts the primes below a limit.
//!
//! Beside a gateway and the state role on the same NATS:
//!
//! ```text
//! cargo run -p longshore-worker --example rust-worker -- nats://127.0.0.1:4222
//! longshore run primes --input '{"below": 20000000}' --wait
//! ```

use std::{env, ops::Range, sync::Arc};

use longshore_bus::nats::{self, NatsBus};
use longshore_worker::{Context, JobError, Progress, Settings, Worker};
use serde::{Deserialize, Serialize};
use tokio::{signal, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

/// How many numbers are looked at between two reports.
const CHUNK: u64 = 100_000;

/// The input; what does not fit fails with `INVALID_ARGUMENT` before the job is called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    below: u64,
}

#[derive(Serialize)]
struct Found {
    primes: u64,
}

async fn primes(input: Input, context: Context) -> Result<Found, JobError> {
    let total = i64::try_from(input.below)
        .map_err(|_| JobError::invalid_input("`below` must be below 2^63"))?;
    let mut primes = 0;
    for start in (0..input.below).step_by(CHUNK as usize) {
        // Only the job knows where it can stop; if it doesn't look, it is dropped after a while.
        if context.is_cancelled() {
            return Err(JobError::cancelled());
        }
        let chunk = start..input.below.min(start + CHUNK);
        // Work that keeps a thread busy goes where it holds nothing up.
        primes += spawn_blocking(move || count(chunk)).await?;
        // As often as one likes: the worker sends what is newest, a few times a second.
        let done = i64::try_from(start + CHUNK)?.min(total);
        context.report(Progress::units(done, total, "numbers").message(format!("{primes} primes")));
    }
    Ok(Found { primes })
}

fn count(numbers: Range<u64>) -> u64 {
    numbers.filter(|number| is_prime(*number)).count() as u64
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let url = env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let bus = NatsBus::connect(&nats::Settings { url, ..nats::Settings::default() }).await?;

    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    let worker = Worker::new().register("primes", 2, primes);
    worker.run(Arc::new(bus), Settings::default(), shutdown).await?;
    Ok(())
}
