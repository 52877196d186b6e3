use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

const INTERVAL: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok` and returns it. An `Err` says what was seen instead.
///
/// The deadline is a ceiling for a machine under load, not an expectation: be generous.
///
/// # Panics
/// With the last `Err`, when the deadline has passed.
///
/// ```
/// # use std::{cell::Cell, time::Duration};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let seen = Cell::new(0);
/// let three = longshore_testkit::eventually(Duration::from_secs(20), || async {
///     seen.set(seen.get() + 1);
///     if seen.get() == 3 { Ok(3) } else { Err(format!("saw {}", seen.get())) }
/// });
/// assert_eq!(three.await, 3);
/// # });
/// ```
#[track_caller]
pub fn eventually<T, E: Display, F: Future<Output = Result<T, E>>>(
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + deadline;
        loop {
            match probe().await {
                Ok(answer) => return answer,
                Err(last) if Instant::now() >= end => {
                    panic!("not within {deadline:?} (asked at {caller}); the last answer: {last}")
                }
                Err(_) => sleep(INTERVAL).await,
            }
        }
    }
}
