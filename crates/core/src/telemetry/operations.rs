//! What a committed change of a record says about operations: read off the record before and
//! after, so that no shell has to know which input means what.

use longshore_proto::rpc::Code;
use opentelemetry::KeyValue;

use super::{metrics::Metrics, trace::waited};
use crate::{
    lifecycle::{Effect, Input, Write},
    record::{Done, Outcome, Record, State},
    time::Time,
};

/// What is remembered of a record until its change is committed.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    stage: Stage,
    attempt: u32,
    failures: u32,
    wake: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued { ready: Time, hinted: bool },
    Running { lease_end: Time, cancelled: Option<Time> },
    Done,
}

impl Before {
    /// Of a record that is about to change.
    pub fn of(record: &Record) -> Self {
        let stage = match &record.state {
            State::Queued(queued) => {
                Stage::Queued { ready: queued.ready_time, hinted: queued.hint.is_some() }
            }
            State::Running(running) => Stage::Running {
                lease_end: running.lease_end,
                cancelled: running.cancel.map(|cancel| cancel.time),
            },
            State::Done(_) => Stage::Done,
        };
        let (attempt, failures, wake) = (record.attempt, record.failures, record.next_wake());
        Self { stage, attempt, failures, wake }
    }
}

impl Metrics {
    /// A change was committed that an input brought about: `before` is `None` for a new record,
    /// `record` is as it is now, or as it last was if it is gone.
    pub fn changed(
        &self,
        before: Option<Before>,
        input: &Input,
        record: &Record,
        write: Write,
        effects: &[Effect],
        now: Time,
    ) {
        let job_type = [self.counted(record.job.job_type.as_str())];
        let Some(before) = before else {
            self.submitted.add(1, &job_type);
            return;
        };
        // Timers also fire before their time, to look for lost hints.
        if matches!(input, Input::Timer { .. }) && before.wake <= now {
            self.timer_lateness.record(now.since(before.wake).as_secs_f64(), &[]);
        }
        if write == Write::Remove {
            self.expired.add(u64::from(before.stage == Stage::Done), &job_type);
        }
        match (before.stage, &record.state) {
            (Stage::Queued { ready, .. }, State::Running(_)) => {
                let long = now.since(ready);
                self.schedule_to_start.record(long.as_secs_f64(), &job_type);
                waited(record, long);
            }
            (Stage::Queued { hinted: true, .. }, State::Queued(_)) => {
                let sent = effects.iter().any(|effect| matches!(effect, Effect::Dispatch { .. }));
                self.hints_repeated.add(u64::from(sent), &job_type);
            }
            (Stage::Running { lease_end, .. }, State::Queued(_)) => {
                self.attempt_over(record, now, &job_type);
                self.retries.add(u64::from(record.failures > before.failures), &job_type);
                self.leases_lost.add(u64::from(lease_end <= now), &job_type);
            }
            (Stage::Running { lease_end, cancelled }, State::Done(done)) => {
                self.attempt_over(record, now, &job_type);
                let silent = done.by_attempt.is_none() && lease_end <= now;
                self.leases_lost.add(u64::from(silent), &job_type);
                if let Some(cancelled) = cancelled {
                    self.cancel_to_end.record(now.since(cancelled).as_secs_f64(), &job_type);
                }
                self.ended(before, record, done, &job_type);
            }
            (Stage::Queued { .. }, State::Done(done)) => {
                self.ended(before, record, done, &job_type);
            }
            _ => {}
        }
    }

    fn attempt_over(&self, record: &Record, now: Time, job_type: &[KeyValue]) {
        if let Some(start) = record.start_time {
            self.run.record(now.since(start).as_secs_f64(), job_type);
        }
    }

    fn ended(&self, before: Before, record: &Record, done: &Done, job_type: &[KeyValue; 1]) {
        let [job_type] = job_type.clone();
        let outcome = [job_type, KeyValue::new("longshore.outcome", outcome(done))];
        self.finished.add(1, &outcome);
        let lasted = done.end_time.since(record.create_time);
        self.end_to_end.record(lasted.as_secs_f64(), &outcome);
        self.attempts.record(f64::from(before.attempt), &outcome[..1]);
    }

    /// The attribute of a job type, all of whose counters are there from then on.
    pub(super) fn counted(&self, job_type: &str) -> KeyValue {
        self.counted.of(job_type, |job_type| {
            let counters = [
                &self.submitted,
                &self.retries,
                &self.leases_lost,
                &self.hints_repeated,
                &self.expired,
            ];
            for counter in counters {
                counter.add(0, std::slice::from_ref(job_type));
            }
            let outcome = KeyValue::new("longshore.outcome", Code::Ok.as_str_name());
            self.finished.add(0, &[job_type.clone(), outcome]);
        })
    }
}

/// `OK` or the name of the error's code, such as `CANCELLED`.
fn outcome(done: &Done) -> &'static str {
    match &done.outcome {
        Outcome::Response(_) => Code::Ok.as_str_name(),
        Outcome::Error(status) => {
            Code::try_from(status.code).unwrap_or(Code::Unknown).as_str_name()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::{Before, Metrics};
    use crate::{
        lifecycle::{HintsOut, Input, Rules, Step, Submit, Write, step, tests::job},
        names::{OperationId, Parent, WorkerInstance},
        record::{Payload, Record},
        time::Time,
    };

    fn submit() -> Input {
        Input::Submit(Box::new(Submit {
            id: OperationId::random(),
            parent: Parent::default(),
            job: job(),
        }))
    }

    /// Runs inputs, each a second after the one before, and shows what was measured.
    fn measured(inputs: Vec<Input>) -> String {
        let registry = Registry::new();
        let asked = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .unwrap();
        let provider = SdkMeterProvider::builder().with_reader(asked).build();
        let metrics = Metrics::new(&provider.meter("test"));
        let mut now = Time::from_micros(1_000_000_000);
        let mut record: Option<Record> = None;
        for input in inputs {
            let before = record.as_ref().map(Before::of);
            let Step { record: after, write, effects } =
                step(record, input.clone(), now, &Rules::default()).unwrap();
            if write != Write::Keep {
                metrics.changed(before, &input, &after, write, &effects, now);
            }
            record = Some(after);
            now = now + Duration::from_secs(1);
        }
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn a_life_is_measured() {
        let worker = WorkerInstance::boot("w").unwrap();
        let claim = Input::Claim { worker, claim: 7, queue: None, paused: Default::default() };
        let complete = Input::Complete { attempt: 1, claim: 7, response: Payload::default() };
        let shown = measured(vec![submit(), claim, complete]);
        for line in [
            "longshore_operations_submitted_total{longshore_job_type=\"hash\"} 1",
            "longshore_operations_finished_total{longshore_job_type=\"hash\",longshore_outcome=\"OK\"} 1",
            "longshore_operation_schedule_to_start_seconds_sum{longshore_job_type=\"hash\"} 1",
            "longshore_operation_end_to_end_seconds_sum{longshore_job_type=\"hash\",longshore_outcome=\"OK\"} 2",
            "longshore_operation_attempts_sum{longshore_job_type=\"hash\"} 1",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn a_cancellation_of_what_waits_is_an_end() {
        let shown = measured(vec![submit(), Input::Cancel { parent: Parent::default() }]);
        assert!(shown.contains("longshore_outcome=\"CANCELLED\"} 1"), "{shown}");
        assert!(!shown.contains("schedule_to_start"), "{shown}");
    }

    #[test]
    fn a_repeated_hint_is_counted_and_the_first_is_not() {
        let timer = Input::Timer { hints: HintsOut::None };
        let again = vec![submit(), timer.clone(), timer.clone(), timer];
        assert!(measured(vec![submit()]).contains("submitted_total"));
        assert!(
            measured(vec![submit()])
                .contains("hints_repeated_total{longshore_job_type=\"hash\"} 0")
        );
        let shown = measured(again);
        assert!(
            shown.contains("longshore_hints_repeated_total{longshore_job_type=\"hash\"} 1"),
            "{shown}"
        );
    }
}
