//! What is measured, in one place: every instrument, its name and its unit.
//!
//! Names follow OpenTelemetry's semantic conventions where those have one (1.44); Prometheus shows
//! them with underscores, their unit and `_total`. `docs/metrics.md` lists them. An attribute's
//! values are bounded: there are so many job types at most, and no attribute holds the name of an
//! operation. Nothing is allocated to count.
//!
//! Without [`super::init`] all of this costs next to nothing and goes nowhere.

use std::{sync::OnceLock, time::Duration};

use longshore_proto::rpc::Code;
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter},
};

use super::{
    held::{Held, Slot},
    job_types::JobTypes,
};

/// Bounds for what takes as long as a round trip, in seconds.
const CALLS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for what takes as long as a job, in seconds: up to a day.
const JOBS: [f64; 15] = [
    0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0,
    86400.0,
];
const ATTEMPTS: [f64; 8] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// The instruments of this process. To be asked for after [`super::init`]: what is there before
/// it goes nowhere for good.
pub fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics::new(&global::meter("longshore")))
}

/// All instruments; see [`metrics`].
pub struct Metrics {
    rpc: Histogram<f64>,
    waiters: UpDownCounter<i64>,
    watchers: UpDownCounter<i64>,

    pub(super) submitted: Counter<u64>,
    pub(super) finished: Counter<u64>,
    pub(super) schedule_to_start: Histogram<f64>,
    pub(super) run: Histogram<f64>,
    pub(super) end_to_end: Histogram<f64>,
    pub(super) cancel_to_end: Histogram<f64>,
    pub(super) attempts: Histogram<f64>,
    pub(super) retries: Counter<u64>,
    pub(super) leases_lost: Counter<u64>,
    pub(super) hints_repeated: Counter<u64>,
    pub(super) expired: Counter<u64>,

    fenced: Counter<u64>,
    conflicts: Counter<u64>,
    pub(super) timer_lateness: Histogram<f64>,
    event_lag: Histogram<f64>,
    untold: Counter<u64>,

    queued: Gauge<u64>,
    oldest: Gauge<f64>,
    records: Gauge<u64>,

    slots: Gauge<u64>,
    pub(super) slots_used: UpDownCounter<i64>,
    pub(super) slots_free: UpDownCounter<i64>,
    job_attempts: Counter<u64>,
    worker_leases_lost: Counter<u64>,

    store: Histogram<f64>,
    bus: Histogram<f64>,
    exports_failed: Counter<u64>,

    /// Those that were counted, and so have all their counters.
    pub(super) counted: JobTypes,
    /// Those that the worker runs.
    worked: JobTypes,
}

/// What a part of a process does, and so what it has to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves the API.
    Gateway,
    /// It answers workers.
    State,
    /// It runs jobs.
    Worker,
}

impl Metrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, bounds: &[f64], about: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_boundaries(bounds.to_vec())
                .with_description(about)
                .build()
        };
        let counter = |name: &'static str, about: &'static str| {
            meter.u64_counter(name).with_description(about).build()
        };
        let held = |name: &'static str, about: &'static str| {
            meter.i64_up_down_counter(name).with_description(about).build()
        };
        let level = |name: &'static str, about: &'static str| {
            meter.u64_gauge(name).with_description(about).build()
        };
        Self {
            rpc: seconds(
                "rpc.server.call.duration",
                &CALLS,
                "Calls of the API that were answered.",
            ),
            waiters: held("longshore.waiters", "WaitOperation calls that wait."),
            watchers: held("longshore.watchers", "WatchOperation streams that are open."),

            submitted: counter("longshore.operations.submitted", "Operations that were accepted."),
            finished: counter("longshore.operations.finished", "Operations that ended."),
            schedule_to_start: seconds(
                "longshore.operation.schedule_to_start",
                &JOBS,
                "From when an attempt could start to when a worker had claimed it.",
            ),
            run: seconds("longshore.operation.run", &JOBS, "Of attempts that ended."),
            end_to_end: seconds(
                "longshore.operation.end_to_end",
                &JOBS,
                "From acceptance to the end, pauses and all attempts included.",
            ),
            cancel_to_end: seconds(
                "longshore.operation.cancel_to_end",
                &JOBS,
                "From a cancellation of what ran to its end.",
            ),
            attempts: meter
                .f64_histogram("longshore.operation.attempts")
                .with_boundaries(ATTEMPTS.to_vec())
                .with_description("How many attempts an operation took that ended.")
                .build(),
            retries: counter(
                "longshore.operations.retried",
                "Attempts that failed and were followed by another.",
            ),
            leases_lost: counter("longshore.leases.expired", "Attempts whose worker fell silent."),
            hints_repeated: counter(
                "longshore.hints.repeated",
                "Hints sent again because they had got lost.",
            ),
            expired: counter("longshore.operations.expired", "Records removed after their ttl."),

            fenced: counter(
                "longshore.writes.fenced",
                "Reports of attempts that no longer ran, refused.",
            ),
            conflicts: counter(
                "longshore.commit.conflicts",
                "Commits tried again because the record had changed.",
            ),
            timer_lateness: seconds("longshore.timer.lateness", &CALLS, "How late timers fired."),
            event_lag: seconds(
                "longshore.event.lag",
                &CALLS,
                "From when the bus had a worker's report to its commit.",
            ),
            untold: counter(
                "longshore.effects.untold",
                "Messages that could not be sent and are left to a timer.",
            ),

            queued: level("longshore.queue.depth", "Hints that wait in a queue."),
            oldest: meter
                .f64_gauge("longshore.queue.oldest_age")
                .with_unit("s")
                .with_description("How long the oldest hint of a queue has waited.")
                .build(),
            records: level(
                "longshore.records",
                "Records in the store, of operations that have ended or not.",
            ),

            slots: level("longshore.worker.slots", "Attempts that the worker may run at once."),
            slots_used: held("longshore.worker.slots.used", "Attempts that the worker runs."),
            slots_free: held(
                "longshore.worker.slots.free",
                "Attempts that the worker could run besides.",
            ),
            job_attempts: counter("longshore.worker.attempts", "Attempts that the worker ended."),
            worker_leases_lost: counter(
                "longshore.worker.leases.lost",
                "Attempts that the worker gave up because it could not renew them.",
            ),

            store: seconds("db.client.operation.duration", &CALLS, "Calls of the store."),
            bus: seconds("messaging.client.operation.duration", &CALLS, "Calls of the bus."),
            exports_failed: counter(
                "longshore.exports.failed",
                "Batches that the collector did not take.",
            ),

            counted: JobTypes::default(),
            worked: JobTypes::default(),
        }
    }

    /// Shows 0 for what a role has to count and has not yet: a rate needs a first value.
    pub fn begins(&self, role: Role) {
        for signal in ["traces", "metrics"] {
            self.exports_failed.add(0, &[KeyValue::new("longshore.signal", signal)]);
        }
        match role {
            Role::Gateway => {
                self.waiters.add(0, &[]);
                self.watchers.add(0, &[]);
                self.begins_to_commit();
            }
            Role::State => {
                self.fenced.add(0, &[]);
                self.begins_to_commit();
            }
            Role::Worker => self.worker_leases_lost.add(0, &[]),
        }
    }

    fn begins_to_commit(&self) {
        self.conflicts.add(0, &[]);
        for effect in ["dispatch", "interrupt", "announce"] {
            self.untold.add(0, &[KeyValue::new("longshore.effect", effect)]);
        }
    }

    /// A call of the API was answered. `method` is its full name, such as
    /// `google.longrunning.Operations/GetOperation`.
    pub fn called(
        &self,
        transport: &'static str,
        method: &'static str,
        code: Code,
        took: Duration,
    ) {
        self.rpc.record(
            took.as_secs_f64(),
            &[
                KeyValue::new("rpc.system.name", transport),
                KeyValue::new("rpc.method", method),
                KeyValue::new("rpc.response.status_code", code.as_str_name()),
            ],
        );
    }

    /// A WaitOperation begins to wait; dropping what this returns ends it.
    pub fn waiter(&'static self) -> Held {
        Held::new(&self.waiters)
    }

    /// A watch is opened; dropping what this returns ends it.
    pub fn watcher(&'static self) -> Held {
        Held::new(&self.watchers)
    }

    /// An attempt that no longer runs reported something.
    pub fn fenced(&self) {
        self.fenced.add(1, &[]);
    }

    /// A commit met another revision than it expected.
    pub fn conflict(&self) {
        self.conflicts.add(1, &[]);
    }

    /// A worker's report was committed so long after the bus had it.
    pub fn event_applied(&self, lag: Duration) {
        self.event_lag.record(lag.as_secs_f64(), &[]);
    }

    /// A message could not be sent.
    pub fn untold(&self, effect: &'static str) {
        self.untold.add(1, &[KeyValue::new("longshore.effect", effect)]);
    }

    /// How a queue stands. `oldest` is `None` if nothing waits in it.
    pub fn queue(&self, job_type: &str, depth: u64, oldest: Option<Duration>) {
        let queue = [self.counted(job_type)];
        self.queued.record(depth, &queue);
        self.oldest.record(oldest.unwrap_or_default().as_secs_f64(), &queue);
    }

    /// How many records the store holds.
    pub fn records(&self, records: u64) {
        self.records.record(records, &[]);
    }

    /// How many attempts the worker may run at once, and of which job types.
    pub fn slots<'a>(&self, slots: u64, job_types: impl Iterator<Item = &'a str>) {
        self.slots.record(slots, &[]);
        self.slots_free.add(i64::try_from(slots).unwrap_or(i64::MAX), &[]);
        for job_type in job_types {
            self.slots_used.add(0, &[self.worked(job_type)]);
        }
    }

    /// The worker begins an attempt; dropping what this returns ends it.
    pub fn slot(&'static self, job_type: &str) -> Slot {
        Slot::new(self, self.worked(job_type))
    }

    /// An attempt came to its end in the worker: `outcome` is a fixed word such as `succeeded`.
    pub fn attempt_ended(&self, job_type: &str, outcome: &'static str) {
        let outcome = KeyValue::new("longshore.outcome", outcome);
        self.job_attempts.add(1, &[self.worked(job_type), outcome]);
    }

    /// The worker gave up an attempt that it could not renew.
    pub fn lease_lost(&self) {
        self.worker_leases_lost.add(1, &[]);
    }

    /// A call of the store ended; `error` is a fixed word if it failed.
    pub fn stored(
        &self,
        system: &'static str,
        call: &'static str,
        error: Option<&'static str>,
        took: Duration,
    ) {
        let what =
            [KeyValue::new("db.system.name", system), KeyValue::new("db.operation.name", call)];
        record(&self.store, what, error, took);
    }

    /// A call of the bus ended; `error` is a fixed word if it failed.
    pub fn sent(
        &self,
        system: &'static str,
        call: &'static str,
        error: Option<&'static str>,
        took: Duration,
    ) {
        let what = [
            KeyValue::new("messaging.system", system),
            KeyValue::new("messaging.operation.name", call),
        ];
        record(&self.bus, what, error, took);
    }

    /// The collector did not take a batch of what it is sent by OTLP.
    pub(super) fn export_failed(&self, signal: &'static str) {
        self.exports_failed.add(1, &[KeyValue::new("longshore.signal", signal)]);
    }

    /// The attribute of a job type that the worker runs.
    fn worked(&self, job_type: &str) -> KeyValue {
        self.worked.of(job_type, |_| {})
    }
}

fn record(
    histogram: &Histogram<f64>,
    what: [KeyValue; 2],
    error: Option<&'static str>,
    took: Duration,
) {
    match error {
        None => histogram.record(took.as_secs_f64(), &what),
        Some(error) => {
            let [first, second] = what;
            let error = KeyValue::new("error.type", error);
            histogram.record(took.as_secs_f64(), &[first, second, error]);
        }
    }
}
