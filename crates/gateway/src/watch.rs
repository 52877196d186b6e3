//! `WatchOperation`.

use std::sync::Arc;

use futures::{Stream, stream};
use longshore_proto::{longrunning::Operation, v1::WatchOperationRequest};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::{
    api::Api,
    errors::Refusal,
    follow::Follower,
    surface::{Method, Surface},
};

/// A stream of an operation's states.
struct Watch {
    follower: Follower,
    surface: Arc<Surface>,
    shutdown: CancellationToken,
    /// What the client saw last. Not every change of a record can be seen.
    seen: Operation,
}

impl Api {
    /// The operation's state now, and each newer one that the client is fast enough for.
    pub(crate) async fn watch(
        &self,
        request: &Request<WatchOperationRequest>,
    ) -> Result<impl Stream<Item = Result<Operation, Refusal>> + Send + use<>, Refusal> {
        let (name, surface) = self.named(request, Method::Watch, &request.get_ref().name)?;
        let mut follower = self.follow(name);
        let now = surface.operation(&follower.read().await?.record);
        let shutdown = self.shutdown.clone();
        let watch = Watch { follower, surface, shutdown, seen: now.clone() };
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
