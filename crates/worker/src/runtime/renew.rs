//! Keeps the leases of all that runs, and listens for those who want it to stop.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use longshore_bus::{Message, Subscription, subjects};
use longshore_core::{names::OperationId, time::span};
use longshore_proto::internal::{
    Interrupt, RenewReply, RenewRequest, Renewal, renew_answer::Answer,
};
use prost::Message as _;
use tokio::time::{Instant, sleep};

use super::{
    Shared, pause,
    running::{Given, SOONEST},
};

/// How many leases one request renews at most: well below what a message may hold.
const BATCH: usize = 4096;
/// How long the state role has to answer at most.
const ANSWER: Duration = Duration::from_secs(5);

/// Listens for interrupts, as soon as the bus lets it; `None` at shutdown.
pub(super) async fn subscribe(shared: &Shared) -> Option<Box<dyn Subscription>> {
    let subject = subjects::interrupt(&shared.instance);
    let mut failures = 0;
    loop {
        match shared.shutdown.run_until_cancelled(shared.bus.subscribe(&subject, None)).await? {
            Ok(subscription) => return Some(subscription),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn StdError,
                    "can't listen for cancellations yet"
                );
            }
        }
        shared.shutdown.run_until_cancelled(sleep(pause(failures))).await?;
        failures += 1;
    }
}

/// Passes on who is to stop.
pub(super) async fn interrupts(shared: Arc<Shared>, mut subscription: Box<dyn Subscription>) {
    while let Some(incoming) = subscription.next().await {
        let interrupt = match Interrupt::decode(incoming.message.payload) {
            Ok(interrupt) => interrupt,
            Err(error) => {
                tracing::error!(%error, "dropped an interrupt that is none");
                continue;
            }
        };
        if let Ok(id) = OperationId::parse(&interrupt.id) {
            shared.running.cancel(&id, interrupt.attempt);
        }
    }
}

/// Renews all leases together whenever one of them is due, for ever.
pub(super) async fn renew(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let (due, shortest) = shared.running.due().await;
        let mut failed = false;
        for batch in due.chunks(BATCH) {
            failed |= !renew_batch(&shared, batch, shortest, failures).await;
        }
        failures = if failed { failures + 1 } else { 0 };
    }
}

/// Whether all of them were answered.
async fn renew_batch(
    shared: &Shared,
    batch: &[(OperationId, u32)],
    shortest: Duration,
    failures: u32,
) -> bool {
    let asked = Instant::now();
    let answers = ask(shared, batch, shortest).await;
    // A short lease can't wait for long pauses.
    let again = Instant::now() + pause(failures).min((shortest / 10).max(SOONEST));
    let Some(reply) = answers else {
        for (id, attempt) in batch {
            shared.running.postponed(id, *attempt, again);
        }
        return false;
    };
    let mut complete = true;
    for ((id, attempt), answer) in batch.iter().zip(reply.answers) {
        match answer.answer {
            Some(Answer::Lease(lease)) => {
                shared.running.renewed(id, *attempt, Given { asked, span: span(lease) });
            }
            Some(Answer::Lost(why)) => {
                tracing::warn!(%id, attempt, why, "the attempt is not ours any more");
                shared.running.lost(id, *attempt);
            }
            Some(Answer::Unavailable(_)) | None => {
                complete = false;
                shared.running.postponed(id, *attempt, again);
            }
        }
        if answer.cancel_requested {
            shared.running.cancel(id, *attempt);
        }
    }
    complete
}

async fn ask(
    shared: &Shared,
    batch: &[(OperationId, u32)],
    shortest: Duration,
) -> Option<RenewReply> {
    let renewals = batch
        .iter()
        .map(|(id, attempt)| Renewal { id: id.to_string(), attempt: *attempt })
        .collect();
    let request = RenewRequest { worker: shared.instance.to_string(), renewals };
    let message = Message::new(subjects::RENEW, request.encode_to_vec());
    let patience = (shortest / 6).clamp(Duration::from_millis(100), ANSWER);
    match shared.bus.request(message, patience).await {
        Ok(bytes) => match RenewReply::decode(bytes) {
            Ok(reply) if reply.answers.len() == batch.len() => return Some(reply),
            Ok(_) => tracing::error!("the state role's answer does not fit the renewals"),
            Err(error) => tracing::error!(%error, "the state role's answer is none"),
        },
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn StdError,
                "leases were not renewed; asking again"
            );
        }
    }
    None
}
