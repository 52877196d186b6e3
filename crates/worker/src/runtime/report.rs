//! Tells the state role how attempts go and how they ended.

use std::{error::Error as StdError, future::pending, sync::Arc};

use longshore_bus as bus;
use longshore_core::{codec, names::OperationId, record::TraceContext, telemetry};
use longshore_proto::{
    internal::{Event, event},
    rpc::Code,
};
use prost::Message as _;
use tokio::{sync::watch, time::sleep};

use super::{Shared, pause, running::Tenure};
use crate::{error::JobError, progress::Progress};

/// What may be too much for one message.
const LARGE: usize = 256 * 1024;

/// The way of one attempt's reports.
pub(super) struct Reporter {
    pub(super) shared: Arc<Shared>,
    pub(super) id: OperationId,
    pub(super) attempt: u32,
    pub(super) claim: u64,
    pub(super) trace: TraceContext,
}

impl Reporter {
    fn event(&self, event: event::Event) -> Event {
        Event {
            id: self.id.to_string(),
            attempt: self.attempt,
            claim: self.claim,
            traceparent: self.trace.traceparent.clone(),
            tracestate: self.trace.tracestate.clone(),
            event: Some(event),
        }
    }

    /// Reports the end, as often as it takes: until it is stored, or the attempt is lost for
    /// certain, so that nobody wants to know any more. The `last` progress goes with it: alone it
    /// could be applied after the end, and be void.
    pub(super) async fn outcome(
        &self,
        tenure: &mut Tenure,
        mut last: Option<Event>,
        event: event::Event,
    ) {
        let mut event = self.event(event);
        let mut failures = 0;
        loop {
            let events = last.iter().chain([&event]).cloned().collect();
            let stored = tokio::select! {
                biased;
                () = tenure.lost() => {
                    telemetry::metrics().lease_lost();
                    tracing::warn!("the end of the attempt goes unreported: it is not ours any more");
                    return;
                }
                stored = self.shared.outbox.send(events) => stored,
            };
            let Err(error) = stored else { return };
            let size = event.encoded_len();
            tracing::warn!(error = &*error as &dyn StdError, size, "can't report the end yet");
            if matches!(*error, bus::Error::Refused { .. }) {
                // Progress may get lost, and it may be what is refused.
                last = None;
                if size > LARGE && failures >= 2 {
                    event = self.event(too_large(size));
                }
            }
            tokio::select! {
                biased;
                () = tenure.lost() => {}
                () = sleep(pause(failures)) => {}
            }
            failures += 1;
        }
    }
}

fn too_large(size: usize) -> event::Event {
    let message = format!("the bus refuses the job's outcome: it takes {size} bytes");
    failed(JobError::fatal(Code::ResourceExhausted, message))
}

/// The end by an error.
pub(super) fn failed(error: JobError) -> event::Event {
    event::Event::Failed(codec::failure_to_message(error.into_failure()))
}

/// Sends the newest progress of an attempt, and no more than one in an interval; at most one is
/// on its way.
pub(super) struct Pacer<'a> {
    reporter: &'a Reporter,
    newest: watch::Receiver<Progress>,
    sequence: u64,
    /// The newest that was taken may not have arrived.
    unsent: bool,
}

impl<'a> Pacer<'a> {
    pub(super) fn new(reporter: &'a Reporter, newest: watch::Receiver<Progress>) -> Self {
        Self { reporter, newest, sequence: 0, unsent: false }
    }

    /// Sends whatever is reported. Never completes; may be dropped at any point.
    pub(super) async fn run(&mut self) {
        loop {
            if !self.unsent && self.newest.changed().await.is_err() {
                // Nobody is left who could report anything.
                pending::<()>().await;
            }
            self.send().await;
            sleep(self.reporter.shared.settings.progress_interval).await;
        }
    }

    /// What is not sent yet.
    pub(super) fn last(&mut self) -> Option<Event> {
        let is_new = self.unsent || self.newest.has_changed().unwrap_or(false);
        is_new.then(|| self.take())
    }

    fn take(&mut self) -> Event {
        let progress = self.newest.borrow_and_update().clone();
        self.unsent = true;
        self.sequence += 1;
        let progress = codec::progress_to_message(progress.into_record(self.sequence));
        self.reporter.event(event::Event::Progress(progress))
    }

    async fn send(&mut self) {
        let event = self.take();
        match self.reporter.shared.outbox.send(vec![event]).await {
            Ok(()) => self.unsent = false,
            Err(error) => {
                tracing::debug!(error = &*error as &dyn StdError, "could not send progress");
                // What is refused now will be refused again.
                self.unsent = !matches!(*error, bus::Error::Refused { .. });
            }
        }
    }
}
