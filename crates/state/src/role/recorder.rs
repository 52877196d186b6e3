//! Applies what workers report to the records.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use futures::future::join_all;
use longshore_bus::{self as bus, Delivery, Work};
use longshore_core::{
    codec, lifecycle::Input, names::OperationId, record::TraceContext, telemetry,
};
use longshore_proto::internal::{Event, Events, event};
use prost::Message;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Span;

use super::Settings;
use crate::{
    ledger::{Error, Ledger},
    retry,
};

/// How many events a message carries under load, about.
const EVENTS: usize = 8;

/// A batch that takes longer than this is not waited for. It is a multiple of what one takes under
/// load: taken earlier, the next would hold less, and the same events cost more commits.
const LONG: Duration = Duration::from_millis(10);

/// Takes events in batches and applies them. What comes while a batch is applied goes into the next
/// one; if that takes long, several are applied at once. That two of them may hold events of one
/// operation is no harm: attempt and sequence numbers sort them out.
pub(super) async fn record(ledger: Arc<Ledger>, settings: Settings, shutdown: CancellationToken) {
    let attempt = || ledger.bus().consume(Work::Events);
    let consumer = retry::until(&shutdown, attempt, |error: &bus::Error| {
        tracing::warn!(error = error as &dyn StdError, "can't take events yet");
    });
    let Some(mut consumer) = consumer.await else { return };

    let messages = (settings.batch / EVENTS).max(1);
    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(settings.recorders.max(1)));
    loop {
        let Some(Ok(slot)) = shutdown.run_until_cancelled(slots.clone().acquire_owned()).await
        else {
            break;
        };
        let Some(Some(batch)) = shutdown.run_until_cancelled(consumer.next(messages)).await else {
            break;
        };
        let ledger = ledger.clone();
        let applying = tasks.spawn(async move {
            apply(&ledger, batch).await;
            drop(slot);
        });
        // It goes on by itself if it takes long.
        timeout(LONG, applying).await.ok();
    }
    tasks.close();
    tasks.wait().await;
}

/// An event of a batch, while it is applied.
struct Reported {
    /// The place of its delivery.
    place: usize,
    id: OperationId,
    attempt: u32,
    trace: TraceContext,
    /// The recording of an outcome as a part of the operation's trace; progress would only fill it.
    _span: Span,
}

async fn apply(ledger: &Ledger, batch: Vec<Delivery>) {
    let begun = Instant::now();
    let (mut inputs, mut reported) = (Vec::new(), Vec::new());
    for (place, delivery) in batch.iter().enumerate() {
        match Events::decode(delivery.message.payload.clone()) {
            Ok(Events { events }) => events.into_iter().for_each(|event| {
                let attempt = event.attempt;
                match input(event) {
                    Ok((id, input, trace)) => {
                        let _span = span(&id, &input, &trace);
                        reported.push(Reported { place, id: id.clone(), attempt, trace, _span });
                        inputs.push((id, input));
                    }
                    Err(error) => {
                        let error = &error as &dyn StdError;
                        tracing::error!(error, "dropped an event that is none");
                    }
                }
            }),
            Err(error) => {
                tracing::error!(error = &error as &dyn StdError, "dropped events that are none");
            }
        }
    }
    let mut again = vec![false; batch.len()];
    let mut recorded = Vec::with_capacity(inputs.len());
    for (event, result) in reported.iter().zip(ledger.apply_all(inputs).await) {
        match result {
            Ok(applied) => recorded.push(applied),
            Err(Error::Rejected(rejection)) => tracing::debug!(%rejection, "dropped a stale event"),
            Err(error) => {
                tracing::warn!(
                    operation = %event.id,
                    attempt = event.attempt,
                    trace_id = event.trace.trace_id(),
                    error = &error as &dyn StdError,
                    "could not apply an event; will try again"
                );
                again[event.place] = true;
            }
        }
    }
    // First the world: who waits for the end is not to wait for our acknowledgement.
    ledger.perform_all(&recorded).await;
    drop(reported);
    for (delivery, _) in batch.iter().zip(&again).filter(|(_, again)| !**again) {
        telemetry::metrics().event_applied(delivery.waited + begun.elapsed());
    }
    let settled = batch.into_iter().zip(again).map(|(delivery, again)| settle(delivery, again));
    join_all(settled).await;
}

fn span(id: &OperationId, input: &Input, trace: &TraceContext) -> Span {
    let (Input::Complete { attempt, .. } | Input::Fail { attempt, .. }) = input else {
        return Span::none();
    };
    let span = tracing::debug_span!("record", otel.kind = "consumer", operation = %id, attempt);
    telemetry::follow(&span, trace);
    span
}

/// Those of its events that were applied do nothing when they come again.
async fn settle(delivery: Delivery, again: bool) {
    let settled = if again {
        delivery.handle.give_back(Duration::from_millis(fastrand::u64(500..1500))).await
    } else {
        delivery.handle.ack().await
    };
    if let Err(error) = settled {
        tracing::debug!(
            error = &error as &dyn StdError,
            "could not settle events; they will come again"
        );
    }
}

#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("its id is none")]
    Id(#[from] longshore_core::names::Error),
    #[error("it says nothing")]
    Empty,
}

fn input(event: Event) -> Result<(OperationId, Input, TraceContext), Malformed> {
    let Event { id, attempt, claim, traceparent, tracestate, event } = event;
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
    Ok((OperationId::parse(&id)?, input, TraceContext { traceparent, tracestate }))
}
