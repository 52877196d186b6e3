//! Applies what workers report to the records.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use futures::future::join_all;
use longshore_bus::{self as bus, Delivery, Work};
use longshore_core::{codec, lifecycle::Input, names::OperationId, telemetry};
use longshore_proto::internal::{Event, event};
use prost::Message;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, Span};

use super::Settings;
use crate::{
    ledger::{Applied, Error, Ledger},
    retry,
};

/// Takes events in batches and applies them, several batches at once. That two of them may hold
/// events of one operation is no harm: attempt and sequence numbers sort them out.
pub(super) async fn record(ledger: Arc<Ledger>, settings: Settings, shutdown: CancellationToken) {
    let attempt = || ledger.bus().consume(Work::Events);
    let consumer = retry::until(&shutdown, attempt, |error: &bus::Error| {
        tracing::warn!(error = error as &dyn StdError, "can't take events yet");
    });
    let Some(mut consumer) = consumer.await else { return };

    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(settings.recorders.max(1)));
    loop {
        let Some(Ok(slot)) = shutdown.run_until_cancelled(slots.clone().acquire_owned()).await
        else {
            break;
        };
        let Some(Some(batch)) =
            shutdown.run_until_cancelled(consumer.next(settings.batch.max(1))).await
        else {
            break;
        };
        let ledger = ledger.clone();
        tasks.spawn(async move {
            apply(&ledger, batch).await;
            drop(slot);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn apply(ledger: &Ledger, batch: Vec<Delivery>) {
    let mut inputs = Vec::with_capacity(batch.len());
    let mut deliveries = Vec::with_capacity(batch.len());
    for delivery in batch {
        match input(&delivery) {
            Ok((id, input)) => {
                deliveries.push((span(&id, &input, &delivery), delivery));
                inputs.push((id, input));
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn StdError, "dropped an event that is none");
                settle(delivery, None).await;
            }
        }
    }
    let results = ledger.apply_all(inputs).await;
    let all = deliveries
        .into_iter()
        .zip(results)
        .map(|((span, delivery), result)| conclude(ledger, delivery, result).instrument(span));
    join_all(all).await;
}

/// The recording of an outcome as a part of the operation's trace; progress would only fill it.
fn span(id: &OperationId, input: &Input, delivery: &Delivery) -> Span {
    let (Input::Complete { attempt, .. } | Input::Fail { attempt, .. }) = input else {
        return Span::none();
    };
    let span = tracing::info_span!("record", otel.kind = "consumer", operation = %id, attempt);
    telemetry::follow(&span, &delivery.message.trace);
    span
}

/// Tells the world first: who waits for the end is not to wait for our acknowledgement.
async fn conclude(ledger: &Ledger, delivery: Delivery, result: Result<Applied, Error>) {
    let again = match result {
        Ok(applied) => {
            ledger.perform(&applied).await;
            None
        }
        Err(Error::Rejected(rejection)) => {
            tracing::debug!(%rejection, "dropped a stale event");
            None
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn StdError,
                "could not apply an event; will try again"
            );
            Some(Duration::from_millis(fastrand::u64(500..1500)))
        }
    };
    settle(delivery, again).await;
}

async fn settle(delivery: Delivery, again: Option<Duration>) {
    let settled = match again {
        Some(delay) => delivery.handle.give_back(delay).await,
        None => delivery.handle.ack().await,
    };
    if let Err(error) = settled {
        tracing::debug!(
            error = &error as &dyn StdError,
            "could not settle an event; it will come again"
        );
    }
}

#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("not an encoded event")]
    Decode(#[from] prost::DecodeError),
    #[error("its id is none")]
    Id(#[from] longshore_core::names::Error),
    #[error("it says nothing")]
    Empty,
}

fn input(delivery: &Delivery) -> Result<(OperationId, Input), Malformed> {
    let Event { id, attempt, claim, event } = Event::decode(delivery.message.payload.clone())?;
    let input = match event.ok_or(Malformed::Empty)? {
        event::Event::Progress(progress) => {
            Input::Progress { attempt, claim, progress: codec::progress_from_message(progress) }
        }
        event::Event::Completed(response) => {
            Input::Complete { attempt, claim, response: codec::payload_from_message(response) }
        }
        event::Event::Failed(failure) => {
            Input::Fail { attempt, claim, failure: codec::failure_from_message(failure) }
        }
    };
    Ok((OperationId::parse(&id)?, input))
}
