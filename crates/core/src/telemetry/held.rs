//! What is counted while it lasts.

use opentelemetry::{KeyValue, metrics::UpDownCounter};

use super::metrics::Metrics;

/// Something that is counted while it lasts.
#[must_use = "it counts until it is dropped"]
pub struct Held(&'static UpDownCounter<i64>);

impl Held {
    pub(super) fn new(counter: &'static UpDownCounter<i64>) -> Self {
        counter.add(1, &[]);
        Self(counter)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}

/// A worker's slot that is taken.
#[must_use = "it counts until it is dropped"]
pub struct Slot {
    metrics: &'static Metrics,
    job_type: [KeyValue; 1],
}

impl Slot {
    pub(super) fn new(metrics: &'static Metrics, job_type: KeyValue) -> Self {
        let job_type = [job_type];
        metrics.slots_used.add(1, &job_type);
        metrics.slots_free.add(-1, &[]);
        Self { metrics, job_type }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.metrics.slots_used.add(-1, &self.job_type);
        self.metrics.slots_free.add(1, &[]);
    }
}
