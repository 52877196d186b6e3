//! `WaitOperation`.

use std::{sync::Arc, time::Duration};

use longshore_core::telemetry;
use longshore_proto::longrunning::{Operation, WaitOperationRequest};
use longshore_state::store::Stored;
use tokio::time::{Instant, sleep_until};
use tonic::Request;

use crate::{
    api::Api,
    deadline,
    errors::{Reason, Refusal},
    reads::bounded,
    surface::Method,
};

impl Api {
    /// Answers the moment the operation ends, and at the end of the time with its latest state.
    ///
    /// A store that goes away meanwhile changes nothing of that: then the latest state is the one
    /// that was read last. Only who has not read any is told of it, as soon as by other methods.
    pub(crate) async fn wait(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Operation, Refusal> {
        let arrived = Instant::now();
        let (name, surface) = self.named(&request, Method::Wait, &request.get_ref().name)?;
        let asked_for = request.get_ref().timeout.as_ref().map(timeout).transpose()?;
        let longest = [asked_for, deadline::time_to_wait(request.metadata())];
        let end = arrived + longest.into_iter().flatten().fold(surface.max_wait, Duration::min);

        let time = self.time_for(request.metadata());
        // Many wait at once and for long: they keep no more than they need.
        drop(request);
        let show = |stored: Arc<Stored>| surface.operation(&stored.record);
        let first_end = end.min(arrived + time);
        let mut follower = self.follow(name);
        let _held = telemetry::metrics().waiter();
        let mut latest = match bounded(time, follower.read()).await {
            Ok(stored) => {
                telemetry::concerns(&stored.record);
                Some(show(stored))
            }
            // There is time for it to come back.
            Err(refusal) if refusal.is_transient() && Instant::now() < first_end => None,
            Err(refusal) => return Err(refusal),
        };
        while latest.as_ref().is_none_or(|latest| !latest.done) {
            let end = if latest.is_some() { end } else { first_end };
            tokio::select! {
                // The end of the operation before the end of the time, if both have come.
                biased;
                next = follower.next() => {
                    let stored = next?;
                    if stored.record.is_done() {
                        telemetry::woke(&stored.record);
                    }
                    latest = Some(show(stored));
                }
                () = sleep_until(end) => break,
                () = self.shutdown.cancelled() => break,
            }
        }
        latest.ok_or_else(Refusal::unavailable)
    }
}

fn timeout(timeout: &prost_types::Duration) -> Result<Duration, Refusal> {
    Duration::try_from(*timeout)
        .map_err(|_| Refusal::field(Reason::InvalidRequest, "timeout", "must not be negative"))
}
