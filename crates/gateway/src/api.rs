//! What all methods share.

use std::{sync::Arc, time::Duration};

use longshore_core::{names::OperationName, record::TraceContext, telemetry};
use longshore_state::ledger::Ledger;
use tokio_util::sync::CancellationToken;
use tonic::{Request, metadata::MetadataMap};
use tracing::Span;

use crate::{
    changes::Changes,
    deadline,
    errors::{Reason, Refusal},
    follow::Follower,
    hub::Hub,
    page::SealKey,
    reads::Reader,
    settings::{Settings, SettingsError},
    surface::{Method, Surface, Surfaces},
};

/// The API, whichever way it is called: the generated service traits `Operations` and `Jobs` are
/// implemented for it. [`serve`](crate::serve) puts it on a listener.
pub struct Api {
    pub(crate) settings: Settings,
    pub(crate) surfaces: Surfaces,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) changes: Changes,
    pub(crate) seal_key: SealKey,
    pub(crate) hub: Arc<Hub>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) shutdown: CancellationToken,
}

impl Api {
    /// The API over a ledger. From the shutdown on, whoever waits or watches is answered.
    ///
    /// # Errors
    /// If the settings can't be used.
    pub fn new(
        settings: Settings,
        ledger: Arc<Ledger>,
        shutdown: CancellationToken,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let surfaces = Surfaces::new(&settings)?;
        let limit = settings.call_timeout;
        let changes = Changes::new(Arc::clone(&ledger), limit);
        let reader = Arc::new(Reader::new(Arc::clone(&ledger), limit));
        let hub = Arc::new(Hub::default());
        let seal_key = SealKey::default();
        Ok(Self { settings, surfaces, ledger, changes, seal_key, hub, reader, shutdown })
    }

    /// Hears of changes for those who wait and watch, until the shutdown.
    pub async fn hear(&self) {
        self.hub.run(&**self.ledger.bus(), &self.shutdown).await;
    }

    /// Waits until others have been told of all that was changed.
    pub async fn drain(&self) {
        self.changes.drain().await;
    }

    /// The operation that a call names, and the surface that it belongs to.
    pub(crate) fn named<T>(
        &self,
        request: &Request<T>,
        method: Method,
        name: &str,
    ) -> Result<(OperationName, Arc<Surface>), Refusal> {
        let name = operation_name(name)?;
        let surface = self.surfaces.of_call(request, method, &name.parent)?;
        Ok((name, surface))
    }

    /// Begins to follow an operation.
    pub(crate) fn follow(&self, name: OperationName) -> Follower {
        Follower::new(Arc::clone(&self.reader), &self.hub, name)
    }

    /// How long a call may take.
    pub(crate) fn time_for(&self, metadata: &MetadataMap) -> Duration {
        let longest = self.settings.call_timeout;
        deadline::time_to_wait(metadata).map_or(longest, |time| time.min(longest))
    }
}

/// The name that a client gives.
fn operation_name(text: &str) -> Result<OperationName, Refusal> {
    OperationName::parse(text)
        .map_err(|error| Refusal::field(Reason::InvalidName, "name", error.to_string()))
}

/// The context that a client sent.
pub(crate) fn received_trace(metadata: &MetadataMap) -> TraceContext {
    let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
    telemetry::received(text("traceparent"), text("tracestate"))
}

/// Where the present call stands in its trace.
pub(crate) fn trace(metadata: &MetadataMap) -> TraceContext {
    telemetry::context_of(&Span::current(), &received_trace(metadata))
}
