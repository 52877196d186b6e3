//! Keeps so many calls in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{task::JoinSet, time::Instant};

use crate::stats::Samples;

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After so many calls.
    Calls(usize),
    /// After so long.
    Time(Duration),
}

/// What a load measured.
pub(crate) struct Run {
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// How long each call took.
    pub samples: Samples,
}

impl Run {
    /// Calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.samples.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Makes one call after the other.
pub(crate) trait Caller: Send + 'static {
    /// Makes a call and checks its answer. It is given the call's number over all callers, from 0.
    ///
    /// # Errors
    /// If it fails or the answer is wrong.
    fn call(&mut self, number: usize) -> impl Future<Output = Result<()>> + Send;
}

/// Has each of the callers make one call after the other.
///
/// # Errors
/// The first error of a call: a load that fails measures nothing.
pub(crate) async fn closed(callers: Vec<impl Caller>, until: Until) -> Result<Run> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let mut samples = Samples::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let begin = Instant::now();
                let over = match until {
                    Until::Calls(calls) => number >= calls,
                    Until::Time(time) => begin - start >= time,
                };
                if over {
                    return Ok::<_, anyhow::Error>(samples);
                }
                caller.call(number).await?;
                samples.push(begin.elapsed());
            }
        });
    }
    let mut samples = Samples::default();
    while let Some(done) = tasks.join_next().await {
        samples.extend(done??);
    }
    Ok(Run { elapsed: start.elapsed(), samples })
}
