//! `WatchOperation`.

use std::sync::Arc;

use futures::{Stream, stream};
use longshore_core::telemetry::{self, Held};
use longshore_proto::{longrunning::Operation, v1::WatchOperationRequest};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::{
    api::Api,
    deadline,
    errors::Refusal,
    follow::Follower,
    reads::bounded,
    surface::{Method, Surface},
};

/// A stream of an operation's states.
struct Watch {
    follower: Follower,
    surface: Arc<Surface>,
    shutdown: CancellationToken,
    /// What the client saw last. Not every change of a record can be seen.
    seen: Operation,
    /// When the client's time is over.
    end: Option<Instant>,
    _held: Held,
}

impl Api {
    /// The operation's state now, and each newer one that the client is fast enough for.
    pub(crate) async fn watch(
        &self,
        request: &Request<WatchOperationRequest>,
    ) -> Result<impl Stream<Item = Result<Operation, Refusal>> + Send + use<>, Refusal> {
        let (name, surface) = self.named(request, Method::Watch, &request.get_ref().name)?;
        let mut follower = self.follow(name);
        let end = deadline::time_to_wait(request.metadata()).map(|time| Instant::now() + time);
        let first = bounded(self.time_for(request.metadata()), follower.read()).await?;
        telemetry::concerns(&first.record);
        let now = surface.operation(&first.record);
        let shutdown = self.shutdown.clone();
        let _held = telemetry::metrics().watcher();
        let watch = Watch { follower, surface, shutdown, seen: now.clone(), end, _held };
        let later = stream::unfold(Some(watch), |watch| async { watch?.next().await });
        Ok(futures::StreamExt::chain(stream::iter([Ok(now)]), later))
    }
}

impl Watch {
    /// The next state, and the watch if there can be more.
    async fn next(mut self) -> Option<(Result<Operation, Refusal>, Option<Self>)> {
        while !self.seen.done {
            let next = tokio::select! {
                biased;
                next = self.follower.next() => next,
                // Another gateway goes on from here.
                () = self.shutdown.cancelled() => Err(Refusal::shutting_down()),
                () = over(self.end) => Err(Refusal::out_of_time()),
            };
            let operation = match next {
                Ok(stored) => self.surface.operation(&stored.record),
                Err(refusal) => return Some((Err(refusal), None)),
            };
            if operation != self.seen {
                self.seen = operation.clone();
                return Some((Ok(operation), Some(self)));
            }
        }
        None
    }
}

async fn over(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}
