//! The store's clock.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::SystemTime,
};

use longshore_core::time::{Time, micros};

/// A clock that never goes back, nor stands still: a name that is used again gets its revisions from
/// it, and has to go on above where it ended.
pub(super) struct Clock {
    read: Box<dyn Fn() -> Time + Send + Sync>,
    latest: AtomicI64,
}

impl Clock {
    pub(super) fn new(read: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), latest: AtomicI64::new(0) }
    }

    pub(super) fn now(&self) -> Time {
        let read = (self.read)().as_micros();
        let next = |latest: i64| read.max(latest.saturating_add(1));
        let update = |latest| Some(next(latest));
        let latest = self.latest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
        Time::from_micros(next(latest.unwrap_or_else(|latest| latest)))
    }
}

/// The machine's clock; 1970 if it is set to before.
pub(super) fn system() -> Time {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(micros(since_1970))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn never_goes_back_nor_stands_still() {
        let time = Arc::new(Mutex::new(5));
        let clock = Clock::new({
            let time = Arc::clone(&time);
            move || Time::from_micros(*time.lock().unwrap())
        });
        let at = |micros| {
            *time.lock().unwrap() = micros;
            clock.now().as_micros()
        };
        assert_eq!([at(5), at(3), at(9), at(9)], [5, 6, 9, 10]);
    }
}
