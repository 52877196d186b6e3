//! `WaitOperation`.

use std::{sync::Arc, time::Duration};

use longshore_core::telemetry::{self, Held};
use longshore_proto::longrunning::{Operation, WaitOperationRequest};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::{
    api::Api,
    deadline,
    errors::{Reason, Refusal},
    follow::Follower,
    reads::bounded,
    surface::{Method, Surface},
};

/// A call that waits. Very many do at once and for long: it keeps no more than it needs.
struct Wait {
    follower: Follower,
    surface: Arc<Surface>,
    /// None until it has been read.
    latest: Option<Operation>,
    /// When it is over.
    end: Instant,
    /// The same, if nothing has been read by then.
    first_end: Instant,
    _held: Held,
}

impl Api {
    /// Answers the moment the operation ends, and at the end of the time with its latest state.
    ///
    /// A store that goes away meanwhile changes nothing of that: then the latest state is the one
    /// that was read last. Only who has not read any is told of it, as soon as by other methods.
    pub(crate) fn wait(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> impl Future<Output = Result<Operation, Refusal>> + Send + '_ {
        // What is large and needed only at first lies in a box, which is gone while it waits.
        let begun = Box::pin(self.begin(request));
        async {
            let mut wait = begun.await?;
            wait.until_done(&self.shutdown).await?;
            wait.latest.ok_or_else(Refusal::unavailable)
        }
    }

    async fn begin(&self, request: Request<WaitOperationRequest>) -> Result<Wait, Refusal> {
        let arrived = Instant::now();
        let (name, surface) = self.named(&request, Method::Wait, &request.get_ref().name)?;
        let asked_for = request.get_ref().timeout.as_ref().map(timeout).transpose()?;
        let longest = [asked_for, deadline::time_to_wait(request.metadata())];
        let end = arrived + longest.into_iter().flatten().fold(surface.max_wait, Duration::min);

        let time = self.time_for(request.metadata());
        let first_end = end.min(arrived + time);
        let mut follower = self.follow(name);
        let _held = telemetry::metrics().waiter();
        let latest = match bounded(time, follower.read()).await {
            Ok(stored) => {
                telemetry::concerns(&stored.record);
                Some(surface.operation(&stored.record))
            }
            // There is time for it to come back.
            Err(refusal) if refusal.is_transient() && Instant::now() < first_end => None,
            Err(refusal) => return Err(refusal),
        };
        Ok(Wait { follower, surface, latest, end, first_end, _held })
    }
}

impl Wait {
    /// Until the operation is done, or there is no more time.
    async fn until_done(&mut self, shutdown: &CancellationToken) -> Result<(), Refusal> {
        while self.latest.as_ref().is_none_or(|latest| !latest.done) {
            let end = if self.latest.is_some() { self.end } else { self.first_end };
            tokio::select! {
                // The end of the operation before the end of the time, if both have come.
                biased;
                next = self.follower.next() => {
                    let stored = next?;
                    if stored.record.is_done() {
                        telemetry::woke(&stored.record);
                    }
                    self.latest = Some(self.surface.operation(&stored.record));
                }
                () = sleep_until(end) => break,
                () = shutdown.cancelled() => break,
            }
        }
        Ok(())
    }
}

fn timeout(timeout: &prost_types::Duration) -> Result<Duration, Refusal> {
    Duration::try_from(*timeout)
        .map_err(|_| Refusal::field(Reason::InvalidRequest, "timeout", "must not be negative"))
}

#[cfg(test)]
mod tests {
    use longshore_bus::local::LocalBus;
    use longshore_core::lifecycle::Rules;
    use longshore_state::{embedded::EmbeddedStore, ledger::Ledger};

    use super::*;
    use crate::settings::Settings;

    #[tokio::test]
    async fn whoever_waits_takes_little_room() {
        let (store, bus) = (EmbeddedStore::in_memory().unwrap(), LocalBus::new());
        let ledger = Ledger::new(Arc::new(store), Arc::new(bus), Rules::default());
        let shutdown = CancellationToken::new();
        let api = Api::new(Settings::default(), Arc::new(ledger), shutdown).unwrap();
        let size = size_of_val(&api.wait(Request::new(WaitOperationRequest::default())));
        assert!(size <= 1000, "{size} bytes are kept for each of very many");
    }
}
