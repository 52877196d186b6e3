//! Keeps from asking for what is paused.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Until when a queue is not asked for more, as it is paused.
#[derive(Default)]
pub(crate) struct Rest(Mutex<Option<Instant>>);

impl Rest {
    /// The queue is paused: not to be asked for so long.
    pub(super) fn begin(&self, span: Duration) {
        self.set(Some(Instant::now() + span));
    }

    /// The queue is not paused any more.
    pub(super) fn end(&self) {
        self.set(None);
    }

    /// Waits until the queue may be asked, and returns how much of it, if only to find out whether
    /// it is still paused, or all that there is room for.
    pub(super) async fn over(&self, room: usize) -> usize {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            None => room,
            Some(until) => {
                sleep_until(until).await;
                1
            }
        }
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_asked_for_until_it_is_known_that_the_queue_goes_on() {
        let rest = Rest::default();
        let start = Instant::now();
        assert_eq!(rest.over(5).await, 5);
        rest.begin(Duration::from_secs(4));
        assert_eq!(rest.over(5).await, 1);
        assert!(start.elapsed() >= Duration::from_secs(4));
        assert_eq!(rest.over(5).await, 1);
        rest.end();
        assert_eq!(rest.over(5).await, 5);
    }
}
