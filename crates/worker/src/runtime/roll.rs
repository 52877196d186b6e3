//! Answers whoever calls the roll, and lets an operator drain the worker.

use std::{collections::BTreeMap, error::Error as StdError, sync::Arc};

use longshore_bus::{Incoming, Message, Subscription, subjects};
use longshore_core::{names::JobType, time::micros};
use longshore_proto::internal::{Present, RollCall, present};
use prost::Message as _;
use tokio::time::sleep;

use super::{Job, Shared, pause};

/// How many attempts an answer names at most: it has to fit into a message.
const NAMED: usize = 2000;

/// How many attempts of each job type the worker runs at once.
pub(super) type Slots = BTreeMap<JobType, usize>;

/// The slots of these jobs.
pub(super) fn slots(jobs: &[Job]) -> Slots {
    jobs.iter().map(|job| (job.job_type.clone(), job.concurrency)).collect()
}

/// Answers, for ever. A worker that can't be asked works all the same.
pub(super) async fn answer(shared: Arc<Shared>, slots: Slots) {
    let mut failures = 0;
    loop {
        match shared.bus.subscribe(subjects::WORKERS, None).await {
            Ok(subscription) => {
                failures = 0;
                listen(&shared, &slots, subscription).await;
            }
            Err(error) => {
                let error = &error as &dyn StdError;
                tracing::warn!(error, "operators can't ask this worker yet");
            }
        }
        sleep(pause(failures)).await;
        failures += 1;
    }
}

async fn listen(shared: &Shared, slots: &Slots, mut subscription: Box<dyn Subscription>) {
    while let Some(Incoming { message, .. }) = subscription.next().await {
        let call = match RollCall::decode(message.payload) {
            Ok(call) => call,
            Err(error) => {
                tracing::error!(%error, "dropped a roll call that is none");
                continue;
            }
        };
        let instance = &shared.instance;
        let is_meant = |name: &String| name == instance.name() || name == instance.as_str();
        if call.drain.iter().any(is_meant) && !shared.shutdown.is_cancelled() {
            tracing::info!(worker = %instance, "an operator drains this worker");
            shared.shutdown.cancel();
        }
        let answer = Message::new(call.reply_to, present(shared, slots).encode_to_vec());
        if let Err(error) = shared.bus.publish(answer).await {
            let error = &error as &dyn StdError;
            tracing::warn!(error, "could not answer the roll call; it will come again");
        }
    }
}

fn present(shared: &Shared, slots: &Slots) -> Present {
    let tally = shared.running.tally();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let of_type = |(job_type, slots): (&JobType, &usize)| present::Queue {
        job_type: job_type.to_string(),
        slots: count(*slots),
        started: tally.started.get(job_type.as_str()).copied().unwrap_or(0),
        running: count(tally.running.iter().filter(|it| it.job_type == job_type.as_str()).count()),
    };
    let attempt = |it: &super::running::Attempt| present::Attempt {
        id: it.id.to_string(),
        attempt: it.attempt,
        job_type: it.job_type.clone(),
        running_for: micros(it.since.elapsed()),
    };
    Present {
        worker: shared.instance.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: shared.shutdown.is_cancelled(),
        slots: shared.settings.slots.map_or(0, |slots| count(slots.get())),
        queues: slots.iter().map(of_type).collect(),
        attempts: tally.running.iter().take(NAMED).map(attempt).collect(),
    }
}
